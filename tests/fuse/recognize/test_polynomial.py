"""Polynomials of moments against numbers: whatever is computed with them is what the data itself gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normfold.algebra.affine import Array
from normfold.fuse.recognize.polynomial import ONE, Denominator, Kind, Monomial, Poly

AXES = (1, 2)
SHAPE = (2, 3, 4)
NUMBERS = st.integers(-3, 3)
POLYS = st.fixed_dictionaries(
    {
        Monomial(x=1): NUMBERS,
        Monomial(m=1): NUMBERS,
        ONE: NUMBERS,
        Monomial(x=1, denominators=((Denominator(Kind.VARIANCE, 0.5), -1),)): NUMBERS,
        Monomial(m=1, denominators=((Denominator(Kind.SQUARE, 0.25, 0.5), -1),)): NUMBERS,
    }
)


def value(poly: Poly, x: Array) -> Array:
    """The polynomial at ``x``."""
    mean = x.mean(axis=AXES, keepdims=True)
    square = (x * x).mean(axis=AXES, keepdims=True)
    count = float(SHAPE[1] * SHAPE[2])
    total = np.zeros_like(x)
    for term, coefficient in poly.terms.items():
        factor = x**term.x * mean**term.m * square**term.q * count ** (term.n_half_powers / 2)
        for denominator, power in term.denominators:
            inside = square - mean**2 if denominator.kind is Kind.VARIANCE else square
            factor = factor * (np.sqrt(inside + denominator.eps) + denominator.outer_eps) ** power
        total = total + coefficient * factor
    return total


DATA = np.random.default_rng(0).normal(size=SHAPE)


@settings(max_examples=60, deadline=None)
@given(POLYS, POLYS)
def test_sums_products_and_means_are_those_of_the_values(one: dict[Monomial, int], two: dict[Monomial, int]) -> None:
    a, b = (Poly.of({term: float(n) for term, n in terms.items() if n}, 3) for terms in (one, two))
    total, product = a.plus(b), a.times(b)
    assert total is not None
    assert product is not None
    np.testing.assert_allclose(value(total, DATA), value(a, DATA) + value(b, DATA), atol=1e-10)
    np.testing.assert_allclose(value(product, DATA), value(a, DATA) * value(b, DATA), rtol=1e-9, atol=1e-9)
    mean = product.expectation(AXES)
    assert mean is not None
    wanted = (value(a, DATA) * value(b, DATA)).mean(axis=AXES, keepdims=True)
    np.testing.assert_allclose(value(mean, DATA), np.broadcast_to(wanted, SHAPE), rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 9.0), st.floats(0.0, 2.0), st.booleans(), st.floats(0.0, 1.0))
def test_roots_and_inverses_are_those_of_the_values(factor: float, eps: float, centred: bool, outer_eps: float) -> None:
    terms = {Monomial(q=1): factor, ONE: eps} | ({Monomial(m=2): -factor} if centred else {})
    inside = Poly.of({term: number for term, number in terms.items() if number}, 3)
    root = inside.square_root()
    assert root is not None
    np.testing.assert_allclose(value(root, DATA), np.sqrt(value(inside, DATA)), rtol=1e-9)
    shifted = root.plus(Poly.of({ONE: outer_eps}, 3) if outer_eps else Poly({}, 3))
    inverse = None if shifted is None else shifted.inverse()
    assert inverse is not None
    np.testing.assert_allclose(value(inverse, DATA), 1.0 / (np.sqrt(value(inside, DATA)) + outer_eps), rtol=1e-9)
    again = root.times(root)
    assert again is not None
    np.testing.assert_allclose(value(again, DATA), value(inside, DATA), rtol=1e-9)


@pytest.mark.parametrize(
    "terms",
    [
        {Monomial(q=1): 1.0, Monomial(m=2): -0.5},
        {Monomial(q=-0): 1.0, Monomial(x=1): 1.0},
        {Monomial(q=1): -1.0},
        {Monomial(q=1): 1.0, ONE: -1.0},
        {Monomial(m=2): 1.0},
    ],
)
def test_what_is_no_variance_has_no_root(terms: dict[Monomial, float]) -> None:
    assert Poly.of(terms, 3).square_root() is None


def test_a_coefficient_that_varies_along_the_axes_has_no_mean() -> None:
    poly = Poly({Monomial(x=1): np.arange(1.0, 5.0).reshape(1, 1, 4)}, 3)
    assert poly.expectation(AXES) is None
    assert poly.expectation((1,)) is not None
