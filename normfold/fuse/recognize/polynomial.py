"""Polynomials over the moments of a value: what every spelling of a norm computes, whatever operators it uses.

For a root value ``x`` and the axes a norm reduces, the atoms are ``x`` itself, ``m = E[x]``, ``q = E[x^2]``, the number
``n`` of reduced elements where it is known only at run time, and spreads ``W = sqrt(q - m^2 + eps) + outer`` (of the
variance), ``sqrt(q + eps) + outer`` (of the mean square) or ``E[|x|]``, perhaps bounded from below. Coefficients are
constant arrays of the rank of ``x``; a monomial may also carry parameters, which are values computed elsewhere. So is

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
class Spread:
    """``W = max(sqrt(variance + eps) + outer, floor)``, or of the mean square, or ``max(E[|x|], floor)``."""

    kind: Kind
    eps: float
    outer: float = 0.0
    floor: float = 0.0

    @property
    def is_root_of_moments(self) -> bool:
        """Whether ``W^2`` is made of mean, mean square and epsilon alone."""
        return self.kind is not Kind.MAGNITUDE and not self.outer and not self.floor


@dataclass(frozen=True, eq=False)
class Parameter:
    """A value from outside the region that multiplies or is added; ``dims`` are its sizes, aligned to the view."""

    value: ir.Value
    dims: tuple[int, ...]

    def transposed(self, order: tuple[int, ...]) -> Parameter:
        """The same numbers, aligned to a transposed view; sizes of 1 may lie anywhere."""
        return Parameter(self.value, tuple(self.dims[axis] for axis in order))


class Monomial(NamedTuple):
    """Exponents of the atoms. ``n2`` counts in halves, so that n^(-1/2) is -1; ``a`` is that of ``|x|``."""

    x: int = 0
    m: int = 0
    q: int = 0
    n2: int = 0
    spreads: tuple[tuple[Spread, int], ...] = ()
    parameters: tuple[Parameter, ...] = ()
    a: int = 0

    @property
    def is_one(self) -> bool:
        return self == ONE

    def times(self, other: Monomial) -> Monomial:
        powers: dict[Spread, int] = dict(self.spreads)
        for spread, power in other.spreads:
            powers[spread] = powers.get(spread, 0) + power
        magnitudes = self.a + other.a
        return Monomial(
            self.x + other.x + magnitudes // 2 * 2,
            self.m + other.m,
            self.q + other.q,
            self.n2 + other.n2,
            tuple(sorted(((s, p) for s, p in powers.items() if p), key=repr)),
            tuple(sorted((*self.parameters, *other.parameters), key=id)),
            magnitudes % 2,
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
        """The polynomial ``x``."""
        return Poly({X: np.ones((1,) * rank)}, rank)

    @staticmethod
    def of(terms: Mapping[Monomial, float], rank: int) -> Poly:
        """From plain numbers."""
        return Poly({monomial: np.full((1,) * rank, number) for monomial, number in terms.items()}, rank)

    @property
    def has_x(self) -> bool:
        return any(monomial.x or monomial.a for monomial in self.terms)

    @property
    def degree(self) -> int:
        """The highest power of x, or of what came from it."""
        return max((term.x + term.a + term.m + 2 * term.q for term in self.terms), default=0)

    @property
    def has_spread(self) -> bool:
        return any(monomial.spreads for monomial in self.terms)

    @property
    def has_parameters(self) -> bool:
        return any(monomial.parameters for monomial in self.terms)

    # -- sums and products ----------------------------------------------------------------------------------------
    def plus(self, other: Poly) -> Poly | None:
        """The sum; terms that cancel are gone."""
        terms = dict(self.terms)
        for monomial, coefficient in other.terms.items():
            terms[monomial] = compact(terms[monomial] + coefficient) if monomial in terms else coefficient
        kept = {monomial: array for monomial, array in terms.items() if array.any()}
        return Poly(kept, self.rank) if len(kept) <= _MOST_TERMS else None

    def scaled(self, factor: Array | float) -> Poly:
        """Every coefficient times ``factor``."""
        array = compact(factor)
        kept = {monomial: _product(coefficient, array) for monomial, coefficient in self.terms.items()}
        return Poly({monomial: c for monomial, c in kept.items() if c.any()}, self.rank)

    def times(self, other: Poly) -> Poly | None:
        """The product, with squares of spreads written out; None when it grows beyond a norm's size."""
        total: Poly | None = Poly({}, self.rank)
        for one, a in self.terms.items():
            for two, b in other.terms.items():
                product = one.times(two)
                if product.x + product.a > _MOST_X or total is None:
                    return None
                total = total.plus(_written_out(Poly({product: _product(a, b)}, self.rank)))
        return total

    def with_monomial(self, factor: Monomial) -> Poly | None:
        """Every term times ``factor``."""
        return self.times(Poly({factor: np.ones((1,) * self.rank)}, self.rank))

    # -- expectation ----------------------------------------------------------------------------------------------
    def expectation(self, axes: tuple[int, ...] | None) -> Poly | None:
        """``E[.]`` over the norm's own axes; ``axes`` are those along which no coefficient may vary (None: all)."""
        total: Poly | None = Poly({}, self.rank)
        for term, array in self.terms.items():
            varies = array.size > 1 if axes is None else any(array.shape[axis] > 1 for axis in axes)
            if varies or term.parameters or total is None or (term.x and term.a):
                return None
            moments = Monomial(0, term.m + (term.x == 1), term.q + (term.x == 2), term.n2, term.spreads)
            if term.a:
                moments = moments.times(Monomial(spreads=((Spread(Kind.MAGNITUDE, 0.0), 1),)))
            total = total.plus(Poly({moments: array}, self.rank))
        return total

    # -- bounds ---------------------------------------------------------------------------------------------------
    def magnitude(self) -> Poly | None:
        """``|.|`` of a multiple of x, or of what is never negative."""
        if self.is_never_negative():
            return self
        if set(self.terms) != {X}:
            return None
        return Poly({Monomial(a=1): np.abs(self.terms[X])}, self.rank)

    def is_never_negative(self) -> bool:
        """A variance or mean square, with or without epsilon, and products of their roots."""
        single = self._as_power()
        return self.spread() is not None or (single is not None and single[0] > 0)

    def at_least(self, low: float) -> Poly | None:
        """``max(., low)`` where it is no change, or of the length of x: ``W`` or ``W^2`` without epsilon."""
        if low <= 0:
            return self if self.is_never_negative() else None
        found, single = self.spread(), self._as_power()
        if found is not None:
            single = found[0], Monomial(n2=found[1], spreads=((found[2], 2),))
        if single is None or single[1].n2 or len(single[1].spreads) != 1 or single[0] <= 0:
            return None
        number, ((spread, power),) = single[0], single[1].spreads
        if power not in (1, 2) or spread.outer or spread.floor:
            return None
        if number * spread.eps ** (power / 2) >= low:  # it never binds
            return self
        if spread.kind is Kind.VARIANCE or spread.eps:
            return None
        bounded = Spread(spread.kind, 0.0, floor=float((low / number) ** (1 / power)))
        return self._single(number, Monomial(spreads=((bounded, power),)))

    # -- roots and inverses ---------------------------------------------------------------------------------------
    def spread(self) -> tuple[float, int, Spread] | None:
        """``(a, n2, W)`` where this is ``a * n^(n2/2) * W^2``: a variance or mean square with its epsilon."""
        found = self.uniform_terms()
        if found is None:
            return None
        squares = {(term.n2, term.q, term.m): number for term, number in found.items()}
        if any(term.x or term.a or term.spreads or term.parameters for term in found) or not squares:
            return None
        leading = [(n2, number) for (n2, q, m), number in squares.items() if (q, m) == (1, 0)]
        if len(leading) != 1 or leading[0][1] <= 0:
            return None
        n2, a = leading[0]
        rest = dict(squares)
        del rest[(n2, 1, 0)]
        mean = rest.pop((n2, 0, 2), 0.0) / a
        eps = rest.pop((n2, 0, 0), 0.0) / a
        if rest or eps < 0:
            return None
        eps = float(f"{eps:.13g}")  # so that the same epsilon met on two ways is the same atom
        if mean == 0:
            return a, n2, Spread(Kind.SQUARE, eps)
        return (a, n2, Spread(Kind.VARIANCE, eps)) if abs(mean + 1) < TOLERANCE else None

    def uniform_terms(self) -> dict[Monomial, float] | None:
        """The terms with plain numbers as coefficients; None when one varies."""
        if any(array.size != 1 for array in self.terms.values()):
            return None
        return {monomial: float(array.reshape(-1)[0]) for monomial, array in self.terms.items()}

    def square_root(self) -> Poly | None:
        """The square root of a spread's square."""
        found = self.spread()
        if found is not None:
            a, n2, spread = found
            return (
                self._single(float(np.sqrt(a)), Monomial(n2=n2 // 2, spreads=((spread, 1),))) if n2 % 2 == 0 else None
            )
        single = self._as_power()
        if single is None or single[0] <= 0 or single[1].n2 % 2 or any(power % 2 for _, power in single[1].spreads):
            return None
        number, term = single
        halves = tuple((spread, power // 2) for spread, power in term.spreads)
        return self._single(float(np.sqrt(number)), Monomial(n2=term.n2 // 2, spreads=halves))

    def inverse(self) -> Poly | None:
        """``1 / .`` of a product of spreads, of a spread's square, or of a spread plus a constant."""
        single = self._as_power()
        if single is not None:
            number, term = single
            powers = tuple((spread, -power) for spread, power in term.spreads)
            return self._single(1.0 / number, Monomial(n2=-term.n2, spreads=powers))
        found = self.spread()
        if found is not None:
            a, n2, spread = found
            return self._single(1.0 / a, Monomial(n2=-n2, spreads=((spread, -2),)))
        return self._shifted_inverse()

    def _shifted_inverse(self) -> Poly | None:
        """``1 / (a*W + c)``: epsilon outside the root."""
        found = self.uniform_terms()
        if found is None or len(found) != 2 or ONE not in found:
            return None
        outer = found.pop(ONE)
        ((term, a),) = found.items()
        if term._replace(spreads=()) != ONE or len(term.spreads) != 1 or term.spreads[0][1] != 1 or outer / a < 0:
            return None
        spread = term.spreads[0][0]
        if not spread.is_root_of_moments:
            return None
        return self._single(1.0 / a, Monomial(spreads=((Spread(spread.kind, spread.eps, outer / a), -1),)))

    def _as_power(self) -> tuple[float, Monomial] | None:
        """A single term made of spreads and n alone, with a number other than 0."""
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
        """The same polynomial in another view: each term with its new monomial and coefficient."""
        return Poly({change[term][0]: change[term][1] for term in self.terms}, rank)


def _product(one: Array, two: Array) -> Array:
    """Of two compact arrays; a plain number leaves the other compact."""
    return one * two if one.size == 1 or two.size == 1 else compact(one * two)


def _written_out(poly: Poly) -> Poly:
    """``W^2 = q - m^2 + eps`` wherever a spread without outer epsilon has a power of 2 or more."""
    ((term, array),) = poly.terms.items()
    for spread, power in term.spreads:
        if power >= 2 and spread.is_root_of_moments:
            rest = tuple((s, p - 2 if s == spread else p) for s, p in term.spreads)
            base = term._replace(spreads=tuple((s, p) for s, p in rest if p))
            square = {Q: 1.0, ONE: spread.eps} | ({M2: -1.0} if spread.kind is Kind.VARIANCE else {})
            total = Poly({}, poly.rank)
            for atom, number in square.items():
                grown = (
                    total.plus(_written_out(Poly({base.times(atom): array * number}, poly.rank))) if number else total
                )
                total = total if grown is None else grown
            return total
    return poly
