"""Carriers that choose between values, element by element: Where, Max and Min."""

from __future__ import annotations

import pytest

from tests.fold.rows import Folds, assert_folds

BACKWARD = {
    "a constant gives a maximum its rank": Folds(
        "(float[N,4] x) => (float[1,N,4] y) <float[1,1,1] c={0.5}, float k={2.5}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Max(a, c) y = Mul(b, k) }",
        "MatMul Max",
    ),
}
FORWARD = {
    "a constant of equal numbers gives a maximum its shape": Folds(
        "(float[N,1] x) => (float[N,5] y) <float[1,4] c={0.5,0.5,0.5,0.5}, float k={2.5}, float[4,5] w> "
        "{ a = Mul(x, k) b = Max(a, c) y = MatMul(b, w) }",
        "Max MatMul",
        "forward",
    ),
    "a fill of equal numbers gives a choice its shape": Folds(
        "(bool[N,1] q, float[N,1] x) => (float[N,5] y) <float[1,4] c={0.5,0.5,0.5,0.5}, float k={2.5}, "
        "float[4,5] w> "
        "{ a = Mul(x, k) b = Where(q, a, c) y = MatMul(b, w) }",
        "Where MatMul",
        "forward",
    ),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_folds_backward(name: str) -> None:
    assert_folds(BACKWARD[name])


@pytest.mark.parametrize("name", FORWARD)
def test_folds_forward(name: str) -> None:
    assert_folds(FORWARD[name])
