"""Constants that the runtime computes: which are stored, and which are left as they are."""

from __future__ import annotations

import pytest

from tests.fold.rows import assert_sound, fold, operators
from tests.onnx_text import parse

STORED = {
    "softmax of stored logits beside a weight": (
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] v, float[3] a, float[4,1,1] k, int64[4] q={1,3,1,1}> "
        "{ s = Softmax(a) u = Reshape(s, q) w = Mul(v, u) c = Conv(x, w) y = Mul(c, k) }",
        "Conv",
    ),
    "rows scattered into a table": (
        "(int64[N] x) => (float[N,4] y) <float[5,4] t, int64[2,1] i={0,3}, float[2,4] u, float[4] k> "
        "{ s = ScatterND(t, i, u) g = Gather(s, x) y = Mul(g, k) }",
        "Gather",
    ),
    "halves of a weight": (
        "(float[N,3] x) => (float[N,2] y) <float[3,4] w, int64[2] p={2,2}, float[2] k> "
        "{ a, b = Split<axis=1>(w, p) d = Add(a, b) c = MatMul(x, d) y = Mul(c, k) }",
        "MatMul",
    ),
}
LEFT = {
    "numbers drawn at random": (
        "(float[N,3] x) => (float[N,3] y) <float[3] t> { r = RandomNormalLike(t) a = Add(x, r) y = Relu(a) }",
        "RandomNormalLike Add Relu",
    ),
    "a weight that is quantized": (
        "(float[N,3] x) => (float[N,2] y) <int8[3,2] q, float s={0.1}> { w = DequantizeLinear(q, s) y = MatMul(x, w) }",
        "DequantizeLinear MatMul",
    ),
    "what would be much larger": (
        "(float[N,300] x) => (float[N,300,300] y) <float[300] t, int64[1] a={2}> "
        '{ e = Einsum<equation="i,j->ij">(t, t) u = Unsqueeze(x, a) y = Mul(u, e) }',
        "Einsum Unsqueeze Mul",
    ),
}


@pytest.mark.parametrize("name", STORED)
def test_what_is_stored(name: str) -> None:
    text, left = STORED[name]
    assert operators(assert_sound(parse(text), decides_alike_in_float64=False).model) == left


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left(name: str) -> None:
    text, left = LEFT[name]
    assert operators(fold(parse(text)).model) == left
