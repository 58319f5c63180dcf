"""LSTM, GRU and RNN: the input weight W and its bias take an affine of the input features."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, every

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
    "RNN: a positive scale by channel and a shift": Folds(
        ahead(
            "6,5,N,3",
            "e = ReduceMean<axes=[3], "
            "keepdims=0>(c) f = Transpose<perm=[2,0,1]>(e) d = RNN<hidden_size=3>(f, ww, rr, bb) y = Conv(d, "
            "v)",
            "float[4,1,1] pos, float[4,1,1] t, float[1,3,4] ww, float[1,3,3] rr, float[1,6] bb, float[5,1,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "ReduceMean Transpose RNN Conv",
        "forward",
    ),
    "rnn bidirectional": Folds(
        "(float[5,N,4] x) => (float[5,2,N,3] y) <float[2,3,4] w, float[2,3,3] r, float[2,6] b, "
        "float[4] s, float[4] t> "
        '{ a = Mul(x, s) c = Add(a, t) y, h = RNN<hidden_size=3,direction="bidirectional">(c, w, r, b) }',
        "RNN",
        "forward",
    ),
}
REFUSES = {
    "a factor of the steps": Refuses(
        "(float[4,2,3] x) => (float[4,1,2,5] y) <float[1,20,3] w, float[1,20,5] r, float[4,1,1] pos>"
        "{ c = Mul(x, pos) y = LSTM<hidden_size=5>(c, w, r) }",
        "NF111 y, NF118 c",
    ),
    "LSTM: a scale along the last axis, forward": Refuses(
        ahead(
            "6,5,N,3",
            "e = ReduceMean<axes=[3], "
            "keepdims=0>(c) f = Transpose<perm=[2,0,1]>(e) d = LSTM<hidden_size=3>(f, ww, rr) y = Conv(d, v)",
            "float[6] kw, float[1,12,4] ww, float[1,12,3] rr, float[5,1,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 e, NF118 c",
    ),
    "GRU: a scale along the last axis, forward": Refuses(
        ahead(
            "6,5,N,3",
            "e = ReduceMean<axes=[3], "
            "keepdims=0>(c) f = Transpose<perm=[2,0,1]>(e) d = GRU<hidden_size=3>(f, ww, rr, bb) y = Conv(d, "
            "v)",
            "float[6] kw, float[1,9,4] ww, float[1,9,3] rr, float[1,18] bb, float[5,1,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 e, NF118 c",
    ),
    "RNN: a scale along the last axis, forward": Refuses(
        ahead(
            "6,5,N,3",
            "e = ReduceMean<axes=[3], "
            "keepdims=0>(c) f = Transpose<perm=[2,0,1]>(e) d = RNN<hidden_size=3>(f, ww, rr, bb) y = Conv(d, "
            "v)",
            "float[6] kw, float[1,3,4] ww, float[1,3,3] rr, float[1,6] bb, float[5,1,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 e, NF118 c",
    ),
}


test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
