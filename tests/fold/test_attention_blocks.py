"""Scales and biases of a self-attention that a runtime fuses stay; those of any other product of activations go."""

from __future__ import annotations

import pytest

import normfold
from normfold.findings.reason import Reason
from tests.onnx_text import parse

_HEAD = (
    "(float[N,5,8] x, float[N,5,8] z, float[N,1,1,5] mask) => (float[N,5,8] y) <float[8,8] wq, float[8,8] wk,"
    " float[8,8] wv, float[8,8] wo, float[8] bq, float[8] bk, float[8] bv, float[8] bo, float root = {2.0},"
    " float half = {0.7}, int64[4] heads = {0, 5, 2, 4}, int64[3] whole = {0, 5, 8}>"
)
_PARTED = "{0}2 = Reshape({0}1, heads) {0}3 = Transpose<perm = {1}>({0}2)"
_Q = "q0 = MatMul(x, wq) q1 = Add(q0, bq)" + _PARTED.format("q", [0, 2, 1, 3])
_K = "k0 = MatMul(x, wk) k1 = Add(bk, k0)" + _PARTED.format("k", [0, 2, 3, 1])
_V = "v0 = MatMul(x, wv) v1 = Add(v0, bv)" + _PARTED.format("v", [0, 2, 1, 3])
_REST = "t = MatMul(p, v3) u = Transpose<perm = [0, 2, 1, 3]>(t) r = Reshape(u, whole) o = MatMul(r, wo) y = Add(o, bo)"
_PLAIN_V = "v2 = Reshape(z, heads) v3 = Transpose<perm = [0, 2, 1, 3]>(v2)"
_SCORES = "s = MatMul(q3, k3) d = Div(s, root) m = Add(d, mask) p = Softmax<axis = -1>(m)"
_BOTH = "q4 = Mul(q3, half) k4 = Mul(half, k3) s = MatMul(q4, k4) p = Softmax<axis = -1>(s)"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        pytest.param(_Q + _K + _V + _SCORES + _REST, {"bq", "bk", "bv", "root"}, id="as BERT"),
        pytest.param(_Q + _K + _V + _BOTH + _REST, {"bq", "bk", "bv", "half"}, id="scales before the product"),
        pytest.param(
            _Q + _K.replace("(x,", "(z,") + _V + _SCORES + _REST, {"bq"}, id="keys of another value, as in a decoder"
        ),
        pytest.param(
            _Q + _K + _PLAIN_V + _SCORES + _REST,
            {"bq"},
            id="values that are not projected",
        ),
    ],
)
def test_what_the_runtime_knows_an_attention_by_stays(body: str, kept: set[str]) -> None:
    model = parse(f"{_HEAD} {{ {body} }}")
    result = normfold.optimize(model)
    names = {"bq", "bk", "bv", "root", "half"}
    assert {name.removesuffix("_folded") for node in result.model.graph.node for name in node.input} & names == kept
    if len(kept) > 1:
        assert {each.obstacles[0].reason for each in result.kept} <= {Reason.PART_OF_ACTIVATION, Reason.BIAS}


def test_a_target_that_fuses_nothing_by_itself_gets_neither() -> None:
    model = parse(f"{_HEAD} {{ {_Q + _K + _V + _SCORES + _REST} }}")
    result = normfold.optimize(model, target="tensorrt")
    assert not {"bk", "root"} & {name for node in result.model.graph.node for name in node.input}
