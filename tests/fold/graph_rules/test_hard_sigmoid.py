"""Spellings of HardSigmoid and hard swish, and what is none."""

from __future__ import annotations

import pytest

from tests.fold.rows import assert_sound, operators
from tests.onnx_text import parse

CONV = "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] b, float three={3}, float lo={0},"
SIX = f"{CONV} float hi={{6}}, float six={{6}}>"
READ, LAST = f"{SIX[:-1]}, float[4,4,1,1] w2>", "y = Conv(h, w2)"
FOLDS = {
    "divided before the product": (
        f"{SIX} {{ c = Conv(x, w, b) a = Add(c, three) k = Clip(a, lo, hi) d = Div(k, six) y = Mul(c, d) }}",
        "Conv HardSigmoid Mul",
    ),
    "divided after the product": (
        f"{SIX} {{ c = Conv(x, w, b) a = Add(three, c) k = Clip(a, lo, hi) d = Mul(c, k) y = Div(d, six) }}",
        "Conv HardSigmoid Mul",
    ),
    "divided before the product, which a Conv reads": (
        f"{READ} {{ c = Conv(x, w, b) a = Add(c, three) k = Clip(a, lo, hi) d = Div(k, six) h = Mul(c, d) {LAST} }}",
        "Conv HardSigmoid Mul Conv",
    ),
    "divided after the product, which a Conv reads": (
        f"{READ} {{ c = Conv(x, w, b) a = Add(c, three) k = Clip(a, lo, hi) p = Mul(c, k) h = Div(p, six) {LAST} }}",
        "Conv HardSigmoid Mul Conv",
    ),
    "from 0 to 1, and a product with a factor behind it": (
        f"{SIX[:-1]}, float one={{1}}> {{ c = Conv(x, w, b) a = Add(c, three) k = Clip(a, lo, one) p = Mul(c, k)"
        f" y = Div(p, six) }}",
        "Conv HardSigmoid Mul Div",
    ),
    "with a learnable scale and shift behind the product": (
        f"{READ[:-1]}, float s={{0.7}}, float t={{-0.4}}> {{ c = Conv(x, w, b) a = Add(c, three) k = Clip(a, lo, hi)"
        f" p = Mul(c, k) d = Div(p, six) m = Mul(d, s) h = Add(m, t) {LAST} }}",
        "Conv HardSigmoid Mul Conv",
    ),
    "as a gate alone": (
        f"{SIX} {{ c = Conv(x, w, b) r = Relu(c) a = Add(r, three) k = Clip(a, lo, hi) y = Div(k, six) }}",
        "Conv Relu HardSigmoid",
    ),
}
STAYS = {
    "another upper bound": f"{SIX} {{ r = Conv(x, w, b) a = Add(r, three) k = Clip(a, lo, three) y = Mul(r, k) }}",
}


@pytest.mark.parametrize("name", FOLDS)
def test_is_a_hard_sigmoid(name: str) -> None:
    text, left = FOLDS[name]
    assert operators(assert_sound(parse(text, opset=13), same_decisions_in_float64=False).model) == left


@pytest.mark.parametrize("name", STAYS)
def test_is_none(name: str) -> None:
    result = assert_sound(parse(STAYS[name], opset=13), same_decisions_in_float64=False)
    assert "HardSigmoid" not in operators(result.model)
