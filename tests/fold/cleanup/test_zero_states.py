"""Initial states of zeros go, however they are made; all others stay."""

from __future__ import annotations

import pytest

from normfold.fold.cleanup.tidy import tidy
from tests.fold.cleanup.test_tidy import assert_tidied

CELL = (
    "(float[5,N,3] x) => (float[5,1,N,4] y) <float[1,16,3] w, float[1,16,4] r, float[1,1] one = {1}, "
    "float zero = {0}, int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i4 = {4}, float[1,1,4] some>"
    "{ s = Shape (x) n = Slice (s, i1, i2) "
)
SIZES = "d = Concat <axis = 0> (i1, n, i4) "
STATES = {
    "Expand": (CELL + SIZES + "z = Expand (zero, d) y, a, b = LSTM <hidden_size = 4> (x, w, r, , , z, z) }", "LSTM"),
    "ConstantOfShape": (
        CELL + SIZES + "z = ConstantOfShape (d) y, a = GRU <hidden_size = 4> (x, w, r, , , z) }",
        "GRU",
    ),
    "rows that are joined and cut": (
        CELL + "e = Concat <axis = 0> (n, i4) c = Expand (zero, e) u = Unsqueeze (c, i0) t = Concat <axis = 0> (u, u) "
        "z, z2 = Split <axis = 0> (t) y, a, b = LSTM <hidden_size = 4> (x, w, r, , , z, z2) }",
        "LSTM",
    ),
    "one of two": (
        CELL + SIZES + "z = Expand (zero, d) q = Expand (some, d) "
        "y, a, b = LSTM <hidden_size = 4> (x, w, r, , , z, q) }",
        "Shape Slice Concat Expand LSTM",
    ),
    "ones stay": (
        CELL + SIZES + "z = Expand (one, d) y, a, b = LSTM <hidden_size = 4> (x, w, r, , , z, z) }",
        "Shape Slice Concat Expand LSTM",
    ),
    "a factor stays, because 0 times an infinity is no 0": (
        CELL + SIZES + "e = Expand (zero, d) z = Mul (e, some) y, a, b = LSTM <hidden_size = 4> (x, w, r, , , z, z) }",
        "Shape Slice Concat Expand Mul LSTM",
    ),
}


@pytest.mark.parametrize(("text", "left"), STATES.values(), ids=STATES)
def test_initial_states_of_zeros_go(text: str, left: str) -> None:
    text = text.replace("[1,16,", "[1,12,") if "GRU" in text else text
    assert_tidied(text, left, tidy)
