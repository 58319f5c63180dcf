"""LSTM, GRU and RNN: the input weight W and its bias take an affine of the input features."""

from __future__ import annotations

import pytest

from tests.fold.rows import Folds, assert_folds

FORWARD = {
    "lstm": Folds(
        "(float[5,N,4] x) => (float[5,1,N,3] y) <float[4] k, float[4] t, "
        "float[1,12,4] w,float[1,12,3] r, float[1,24] b> "
        "{ d = Mul(x, k) c = Add(d, t) y = LSTM<hidden_size=3>(c, w, r, b) }",
        "LSTM",
        "forward",
    ),
    "gru of two directions without bias": Folds(
        "(float[5,N,4] x) => (float[5,2,N,3] y) <float[4] k, float[4] t, float[2,9,4] w, float[2,9,3] r> "
        '{ d = Mul(x, k) c = Add(d, t) y = GRU<hidden_size=3, direction="bidirectional">(c, w, r) }',
        "GRU",
        "forward",
    ),
}


@pytest.mark.parametrize("name", FORWARD)
def test_folds_forward(name: str) -> None:
    assert_folds(FORWARD[name])
