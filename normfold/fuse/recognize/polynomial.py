"""Polynomials over the moments of a value: what every decomposition of a norm computes, whatever operators it uses.

For a root value ``x`` and the axes a norm reduces, the atoms are ``x`` itself, ``m = E[x]``, ``q = E[x^2]``, the number
``n`` of reduced elements where it is known only at run time, and denominators ``W = sqrt(q - m^2 + eps) + outer_eps``
(of the variance), ``sqrt(q + eps) + outer_eps`` (of the mean square) or ``E[|x|]``, perhaps bounded from below.
Coefficients are constant arrays of the rank of ``x``; a monomial may also carry parameters, which are values computed
elsewhere. So is

    LayerNorm, InstanceNorm, GroupNorm   g * x/W - g * m/W + b
    RMSNorm                              g * x/W
    L2 normalization                     n^(-1/2) * x/W, eps = 0
    L1 normalization                     n^(-1) * x/W, W = E[|x|]

Everything is exact up to float64 rounding. ``None`` says: not such a polynomial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array, compact

TOLERANCE = 1e-6  # how far 1/N, written as a float32 constant, may be from its value
_MOST_TERMS = 32
_MOST_X = 2  # degree in x: a variance needs 2


class Kind(Enum):
    """What is under the root; of the mean magnitude no root is taken."""

    VARIANCE = "variance"
    SQUARE = "mean square"
    MAGNITUDE = "mean magnitude"


@dataclass(frozen=True)
class Denominator:
    """Describe ``W = max(sqrt(variance + eps) + outer_eps, lower_bound)``.

    Under the root may be the mean square instead; without a root it is ``max(E[|x|] + outer_eps, lower_bound)``.
    """

    kind: Kind
    eps: float
    outer_eps: float = 0.0
    lower_bound: float = 0.0

    @property
    def is_root_of_moments(self) -> bool:
        """Say whether ``W^2`` is made of mean, mean square and epsilon alone."""
        return self.kind is not Kind.MAGNITUDE and not self.outer_eps and not self.lower_bound


@dataclass(frozen=True, eq=False)
class Parameter:
    """A value from outside the region that multiplies or is added; ``dims`` are its sizes, aligned to the view."""

    value: ir.Value
    dims: tuple[int, ...]

    def transposed(self, order: tuple[int, ...]) -> Parameter:
        """Return the same numbers, aligned to a transposed view; sizes of 1 may lie anywhere."""
        return Parameter(self.value, tuple(self.dims[axis] for axis in order))


class Monomial(NamedTuple):
    """Exponents of the atoms.

    ``n_half_powers`` counts in halves, so that n^(-1/2) is -1; ``a`` is that of ``|x|``, ``statistics`` that of how
    many moments there are: a value has ``n * statistics`` elements.
    """

    x: int = 0
    m: int = 0
    q: int = 0
    n_half_powers: int = 0
    denominators: tuple[tuple[Denominator, int], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    a: int = 0
    statistics: int = 0

    def times(self, other: Monomial) -> Monomial:
        """Return the product; squares of denominators are written out, and None is what grows beyond a norm."""
        powers: dict[Denominator, int] = dict(self.denominators)
        for denominator, power in other.denominators:
            powers[denominator] = powers.get(denominator, 0) + power
        magnitudes = self.a + other.a
        return Monomial(
            self.x + other.x + magnitudes // 2 * 2,
            self.m + other.m,
            self.q + other.q,
            self.n_half_powers + other.n_half_powers,
            tuple(sorted(((s, p) for s, p in powers.items() if p), key=repr)),
            tuple(sorted((*self.parameters, *other.parameters), key=id)),
            magnitudes % 2,
            self.statistics + other.statistics,
        )


ONE = Monomial()
X, M, Q = Monomial(x=1), Monomial(m=1), Monomial(q=1)
M2 = Monomial(m=2)


@dataclass(frozen=True, eq=False)
class Poly:
    """A sum of monomials with constant coefficients, each an array of rank ``rank`` that broadcasts to the root."""

    terms: Mapping[Monomial, Array]
    rank: int

    @staticmethod
    def root(rank: int) -> Poly:
        """Return the polynomial ``x``."""
        return Poly({X: np.ones((1,) * rank)}, rank)

    @staticmethod
    def of(terms: Mapping[Monomial, float], rank: int) -> Poly:
        """Make a polynomial of plain numbers."""
        return Poly({monomial: np.full((1,) * rank, number) for monomial, number in terms.items()}, rank)

    @property
    def has_x(self) -> bool:
        """Say whether the data itself occurs."""
        return any(monomial.x or monomial.a for monomial in self.terms)

    @property
    def degree(self) -> int:
        """Return the highest power of x, or of what came from it."""
        return max((term.x + term.a + term.m + 2 * term.q for term in self.terms), default=0)

    @property
    def has_denominator(self) -> bool:
        """Say whether a denominator occurs."""
        return any(monomial.denominators for monomial in self.terms)

    @property
    def has_parameters(self) -> bool:
        """Say whether a value computed elsewhere occurs."""
        return any(monomial.parameters for monomial in self.terms)

    # -- sums and products ----------------------------------------------------------------------------------------
    def plus(self, other: Poly) -> Poly | None:
        """Return the sum; terms that cancel are gone."""
        terms = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            terms[monomial] = compact(terms[monomial] + coefficient) if monomial in terms else coefficient
        kept = {monomial: array for monomial, array in terms.items() if array.any()}
        return Poly(kept, self.rank) if len(kept) <= _MOST_TERMS else None

    def scaled(self, factor: Array | float) -> Poly:
        """Multiply every coefficient by ``factor``."""
        array = compact(factor)
        kept = {monomial: _product(coefficient, array) for monomial, coefficient in self.terms.items()}
        return Poly({monomial: c for monomial, c in kept.items() if c.any()}, self.rank)

    def times(self, other: Poly) -> Poly | None:
        """Return the product; squares of denominators are written out, and None is what grows beyond a norm."""
        total: Poly | None = Poly({}, self.rank)
        for one, a in self.terms.items():
            for two, b in other.terms.items():
                product = one.times(two)
                if product.x + product.a > _MOST_X or total is None:
                    return None
                total = total.plus(_written_out(Poly({product: _product(a, b)}, self.rank)))
        return total

    def with_monomial(self, factor: Monomial) -> Poly | None:
        """Multiply every term by ``factor``."""
        return self.times(Poly({factor: np.ones((1,) * self.rank)}, self.rank))

    # -- expectation ----------------------------------------------------------------------------------------------
    def expectation(self, axes: tuple[int, ...] | None) -> Poly | None:
        """Return ``E[.]`` over the norm's axes; no coefficient may vary along ``axes`` (None: all)."""
        total: Poly | None = Poly({}, self.rank)
        for term, array in self.terms.items():
            varies = array.size > 1 if axes is None else any(array.shape[axis] > 1 for axis in axes)
            if varies or term.parameters or total is None or (term.x and term.a):
                return None
            moments = term._replace(x=0, m=term.m + (term.x == 1), q=term.q + (term.x == 2), a=0)
            if term.a:
                moments = moments.times(Monomial(denominators=((Denominator(Kind.MAGNITUDE, 0.0), 1),)))
            total = total.plus(Poly({moments: array}, self.rank))
        return total

    # -- bounds ---------------------------------------------------------------------------------------------------
    def magnitude(self) -> Poly | None:
        """Return ``|.|`` of a multiple of x, or of what is never negative."""
        if self.is_never_negative():
            return self
        if set(self.terms) != {X}:
            return None
        return Poly({Monomial(a=1): np.abs(self.terms[X])}, self.rank)

    def is_count(self) -> bool:
        """Say whether it is a number of elements."""
        single = self._as_power()
        return single is not None and not single[1].denominators and single[1].statistics != 0

    def is_never_negative(self) -> bool:
        """Say whether it is a variance or mean square, with or without epsilon, or a product of their roots."""
        single = self._as_power()
        return self.denominator() is not None or (single is not None and single[0] > 0)

    def is_positive(self) -> bool:
        """Say whether it is a variance or mean square with an epsilon, or a product of roots that are never zero."""
        found, single = self.denominator(), self._as_power()
        if found is not None:
            return found[2].eps > 0
        roots = () if single is None or single[0] <= 0 else single[1].denominators
        return bool(roots) and all(each.eps + each.outer_eps + each.lower_bound > 0 for each, _ in roots)

    def at_least(self, low: float) -> Poly | None:
        """Return ``max(., low)`` where that is no change, or of the length of x: ``W`` or ``W^2`` without epsilon."""
        if low <= 0:
            return self if self.is_never_negative() else None
        found, single = self.denominator(), self._as_power()
        if found is not None:
            single = found[0], Monomial(n_half_powers=found[1], denominators=((found[2], 2),))
        if single is None or single[1].n_half_powers or len(single[1].denominators) != 1 or single[0] <= 0:
            return None
        number, ((denominator, power),) = single[0], single[1].denominators
        if power not in (1, 2) or denominator.outer_eps or denominator.lower_bound:
            return None
        if number * denominator.eps ** (power / 2) >= low:  # it never binds
            return self
        if denominator.kind is Kind.VARIANCE or denominator.eps:
            return None
        bounded = Denominator(denominator.kind, 0.0, lower_bound=float((low / number) ** (1 / power)))
        return self._single(number, Monomial(denominators=((bounded, power),)))

    # -- roots and inverses ---------------------------------------------------------------------------------------
    def denominator(self) -> tuple[float, int, Denominator] | None:
        """Return ``(a, h, W)`` where this is ``a * n^(h/2) * W^2``: a variance or mean square with its epsilon."""
        found = self.uniform_terms()
        if found is None:
            return None
        squares = {(term.n_half_powers, term.q, term.m): number for term, number in found.items()}
        if any(term.x or term.a or term.denominators or term.parameters or term.statistics for term in found):
            return None
        if not squares:
            return None
        leading = [(n_half_powers, number) for (n_half_powers, q, m), number in squares.items() if (q, m) == (1, 0)]
        if len(leading) != 1 or leading[0][1] <= 0:
            return None
        n_half_powers, a = leading[0]
        rest = dict(squares)
        del rest[(n_half_powers, 1, 0)]
        mean = rest.pop((n_half_powers, 0, 2), 0.0) / a
        eps = rest.pop((n_half_powers, 0, 0), 0.0) / a
        if rest or eps < 0:
            return None
        eps = float(f"{eps:.13g}")  # so that the same epsilon met on two ways is the same atom
        if mean == 0:
            return a, n_half_powers, Denominator(Kind.SQUARE, eps)
        return (a, n_half_powers, Denominator(Kind.VARIANCE, eps)) if abs(mean + 1) < TOLERANCE else None

    def uniform_terms(self) -> dict[Monomial, float] | None:
        """Return the terms with plain numbers as coefficients; None when one varies."""
        if any(array.size != 1 for array in self.terms.values()):
            return None
        return {monomial: float(array.reshape(-1)[0]) for monomial, array in self.terms.items()}

    def square_root(self) -> Poly | None:
        """Return the square root of a denominator's square."""
        found = self.denominator()
        if found is not None:
            a, n_half_powers, denominator = found
            return (
                self._single(
                    float(np.sqrt(a)), Monomial(n_half_powers=n_half_powers // 2, denominators=((denominator, 1),))
                )
                if n_half_powers % 2 == 0
                else None
            )
        single = self._as_power()
        if (
            single is None
            or single[0] <= 0
            or single[1].n_half_powers % 2
            or single[1].statistics
            or any(power % 2 for _, power in single[1].denominators)
        ):
            return None
        number, term = single
        halves = tuple((denominator, power // 2) for denominator, power in term.denominators)
        return self._single(
            float(np.sqrt(number)), Monomial(n_half_powers=term.n_half_powers // 2, denominators=halves)
        )

    def inverse(self) -> Poly | None:
        """Return ``1 / .`` of a product of denominators, of the square of one, or of one plus a constant."""
        single = self._as_power()
        if single is not None:
            number, term = single
            powers = tuple((denominator, -power) for denominator, power in term.denominators)
            inverse = Monomial(n_half_powers=-term.n_half_powers, denominators=powers, statistics=-term.statistics)
            return self._single(1.0 / number, inverse)
        found = self.denominator()
        if found is not None:
            a, n_half_powers, denominator = found
            return self._single(1.0 / a, Monomial(n_half_powers=-n_half_powers, denominators=((denominator, -2),)))
        return self._shifted_inverse()

    def _shifted_inverse(self) -> Poly | None:
        """Return ``1 / (a*W + c)``: epsilon outside the root."""
        found = self.uniform_terms()
        if found is None or len(found) != 2 or ONE not in found:
            return None
        outer_eps = found.pop(ONE)
        ((term, a),) = found.items()
        if (
            term._replace(denominators=()) != ONE
            or len(term.denominators) != 1
            or term.denominators[0][1] != 1
            or outer_eps / a < 0
        ):
            return None
        denominator = term.denominators[0][0]
        if denominator.outer_eps or denominator.lower_bound:
            return None
        return self._single(
            1.0 / a, Monomial(denominators=((Denominator(denominator.kind, denominator.eps, outer_eps / a), -1),))
        )

    def _as_power(self) -> tuple[float, Monomial] | None:
        """Return a single term made of denominators and n alone, with a number other than 0."""
        found = self.uniform_terms()
        if found is None or len(found) != 1:
            return None
        ((term, number),) = found.items()
        if term.x or term.a or term.m or term.q or term.parameters or number == 0:
            return None
        return number, term

    def _single(self, number: float, term: Monomial) -> Poly | None:
        return _written_out(Poly.of({term: number}, self.rank)) if np.isfinite(number) else None

    def reshaped(self, change: Mapping[Monomial, tuple[Monomial, Array]], rank: int) -> Poly:
        """Return the same polynomial in another view: each term with its new monomial and coefficient."""
        return Poly({change[term][0]: change[term][1] for term in self.terms}, rank)


def _product(one: Array, two: Array) -> Array:
    """Multiply two compact arrays; a plain number leaves the other compact."""
    return one * two if one.size == 1 or two.size == 1 else compact(one * two)


def _written_out(poly: Poly) -> Poly:
    """Replace ``W^2`` by ``q - m^2 + eps`` wherever a denominator without outer epsilon has a power of 2 or more."""
    ((term, array),) = poly.terms.items()
    for denominator, power in term.denominators:
        if power >= 2 and denominator.is_root_of_moments:
            rest = tuple((s, p - 2 if s == denominator else p) for s, p in term.denominators)
            base = term._replace(denominators=tuple((s, p) for s, p in rest if p))
            square = {Q: 1.0, ONE: denominator.eps} | ({M2: -1.0} if denominator.kind is Kind.VARIANCE else {})
            total = Poly({}, poly.rank)
            for atom, number in square.items():
                grown = (
                    total.plus(_written_out(Poly({base.times(atom): array * number}, poly.rank))) if number else total
                )
                total = total if grown is None else grown
            return total
    return poly
