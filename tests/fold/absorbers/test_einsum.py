"""Einsum of a variable and a constant: a linear operator whose axes have letters."""

from __future__ import annotations

import pytest

from tests.fold.rows import Folds, assert_folds

BACKWARD = {
    "einsum": Folds(
        "(float[N,5,4] x) => (float[N,8,5] y) <float[4,8] w, float[8,1] k> "
        '{ c = Einsum<equation="bij,jo->boi">(x, w) y = Mul(c, k) }',
        "Einsum",
    ),
    "einsum and a shift": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] k, float[8] t> "
        '{ c = Einsum<equation="bij,jo->bio">(x, w) d = Mul(c, k) y = Add(d, t) }',
        "Einsum Add",
    ),
}
FORWARD = {
    "einsum": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[4] k> "
        '{ c = Mul(x, k) y = Einsum<equation="bij,jo->bio">(c, w) }',
        "Einsum",
        "forward",
    ),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_folds_backward(name: str) -> None:
    assert_folds(BACKWARD[name])


@pytest.mark.parametrize("name", FORWARD)
def test_folds_forward(name: str) -> None:
    assert_folds(FORWARD[name])
