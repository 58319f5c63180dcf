"""Carriers that raise to a power: Sqrt, Reciprocal, Pow by a constant, the square of a value. Only a scale passes."""

from __future__ import annotations

import pytest

from tests.fold.rows import Refuses, assert_refuses

REFUSES = {
    "an exponent gives a power its rank": Refuses(
        "(float[N,4] x) => (float[1,N,4] y) <float[1,1,1] p={2}, float[4] pos, float[4,4] w> "
        "{ a = MatMul(x, w) b = Pow(a, p) y = Mul(b, pos) }",
        "NF110 b, NF104 y",
    ),
}


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])
