"""Gather from a constant table: an embedding takes an affine of its features into the table."""

from __future__ import annotations

import pytest

from tests.fold.rows import Folds, Refuses, assert_folds, assert_refuses

BACKWARD = {
    "an embedding": Folds(
        "(int64[N,5] i) => (float[N,5,8] y) <float[9,8] w, float[8] k, float[8] t> "
        "{ c = Gather(w, i) d = Mul(c, k) y = Add(d, t) }",
        "Gather",
    ),
    "an embedding along the columns": Folds(
        "(int64[5] i) => (float[8,5] y) <float[8,9] w, float[8,1] k> { c = Gather<axis=1>(w, i) y = Mul(c, k) }",
        "Gather",
    ),
}
REFUSES = {
    "an embedding, along the tokens": Refuses(
        "(int64[5] i) => (float[5,8] y) <float[9,8] w, float[5,1] k> { c = Gather(w, i) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_folds_backward(name: str) -> None:
    assert_folds(BACKWARD[name])


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])
