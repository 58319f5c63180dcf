"""Gamma and beta of a norm go into all that read it, on demand."""

from __future__ import annotations

import pytest
from onnx import numpy_helper

from normfold.findings.rules import Selection
from tests.fold.rows import assert_folds_with


def test_gamma_and_beta_go_into_all_that_read() -> None:
    text = (
        "(float[N,5,4] x) => (float[N,5,3] y, float[N,5,2] z) <float[4] ga, float[4] ba, float[4,3] w, float[3] b, "
        "float[4,2] v, float[2] u> { c = LayerNormalization(x, ga, ba) d = MatMul(c, w) y = Add(d, b) "
        "e = MatMul(c, v) z = Add(e, u) }"
    )
    result = assert_folds_with(text, Selection(fold_norm_scale=True))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    (norm,) = (node for node in result.graph.node if node.op_type == "LayerNormalization")
    assert len(norm.input) == 2 and (weights[norm.input[1]] == 1).all()


SKIPS = {
    "SkipSimplifiedLayerNormalization(x, k, ga)": 3,
    "SkipSimplifiedLayerNormalization(x, k, ga, bi)": 4,
    "SkipLayerNormalization(x, k, ga, ba)": 3,
    "SkipLayerNormalization(x, k, ga, ba, bi)": 5,
}


@pytest.mark.parametrize("call", SKIPS)
def test_gamma_and_beta_of_the_norms_of_onnx_runtime(call: str) -> None:
    """The sum that goes on to the next block sees nothing of them."""
    text = (
        "(float[N,5,4] x, float[N,5,4] k) => (float[N,5,3] y, float[N,5,4] r) "
        "<float[4] ga, float[4] ba, float[4] bi, float[4,3] w, float[3] b> "
        f"{{ c, p, q, s = com.microsoft.{call} d = MatMul(c, w) y = Add(d, b) r = Relu(s) }}"
    )
    result = assert_folds_with(text, Selection(fold_norm_scale=True), '"com.microsoft":1')
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    norm = result.graph.node[0]
    assert len(norm.input) == SKIPS[call] and (weights[norm.input[2]] == 1).all()
