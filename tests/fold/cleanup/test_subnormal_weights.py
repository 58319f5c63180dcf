"""Subnormal weights of convolutions become zero, and nothing else does; the results stay what they were."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import normfold
from tests.onnx_text import parse

_TINY = np.array([1, 1e-40, 0, 2, -1e-42, 3, 1.2e-38, -1, 1e-44], np.float32)  # onnx 1.20 cannot read them as text


def _with_tiny(text: str) -> onnx.ModelProto:
    """Parse a model, and give its weight ``w`` tiny values, as many as it has."""
    model = parse(text)
    weight = next(each for each in model.graph.initializer if each.name == "w")
    weight.CopyFrom(numpy_helper.from_array(_TINY[: math.prod(weight.dims)].reshape(weight.dims), "w"))
    return model


@pytest.mark.parametrize(
    ("text", "flushed"),
    [
        pytest.param("<float[3,3,1,1] w, float[3] b> { y = Conv(x, w, b) }", 3, id="weight"),
        pytest.param("<float[3,3,1,1] w, float[3] b> { y = ConvTranspose(x, w, b) }", 3, id="transposed"),
        pytest.param(
            "<float[3,3,1,1] k, float[3] w> { y = Conv(x, k, w) }",
            1,
            id="bias",
        ),
        pytest.param("<float[3,3,1,1] w> { c = Conv(x, w) y = Max(c, w) }", 0, id="read elsewhere"),
        pytest.param("<float[1,3,3,1] w> { y = Mul(x, w) }", 0, id="of a product"),
    ],
)
def test_what_adds_nothing_is_zero(text: str, flushed: int) -> None:
    model = _with_tiny(f"(float[3,3,3,3] x) => (float[3,3,3,3] y) {text}")
    result = normfold.optimize(model)
    before, after = (
        {each.name: numpy_helper.to_array(each) for each in one.graph.initializer} for one in (model, result.model)
    )
    assert any("written as zero" in note for note in result.notes) is bool(flushed)
    if "w" in after:
        changed = before["w"] != after["w"]
        assert changed.sum() == flushed
        assert not after["w"][changed].any()
        assert (np.abs(before["w"][changed]) < np.finfo(np.float32).tiny).all()
    assert result.is_changed is bool(flushed) or "w" not in after
    assert not normfold.optimize(result.model).is_changed


_SMALL = np.array([1, 1e-31, 1e-19, 1e-31, 1e-13, 0, 1e-11, 1e-31, 1e-33], np.float32)
"""Three filters: the small one goes in the first, 2**64 times 1e-31 is 1.8e-12."""


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        pytest.param("{ y = Conv(s, w) }", [1, 7, 8], id="next to a weight"),
        pytest.param("{ y = Conv(s, w, b) }", [1, 3, 7, 8], id="next to a bias"),
        pytest.param("{ y = Conv(x, w, b) }", [], id="what the user feeds"),
        pytest.param("{ y = ConvTranspose(s, w, b) }", [], id="transposed"),
        pytest.param("{ c = Conv(s, w, b) d = Conv(s, w) y = Max(c, d) }", [], id="of two"),
    ],
)
def test_what_is_lost_in_a_sum_is_zero(text: str, gone: list[int]) -> None:
    start = "<float[3,3,1,1] w, float[3] b = {0, 0.001, 0}> { s = Sin(x) "
    model = parse(f"(float[3,3,3,3] x) => (float[3,3,3,3] y) {start} {text.removeprefix('{')}")
    weight = next(each for each in model.graph.initializer if each.name == "w")
    weight.CopyFrom(numpy_helper.from_array(_SMALL.reshape(3, 3, 1, 1), "w"))
    result = normfold.optimize(model)
    after = {each.name: numpy_helper.to_array(each).reshape(-1) for each in result.model.graph.initializer}
    assert np.flatnonzero((after["w"] == 0) & (_SMALL != 0)).tolist() == gone
    assert not normfold.optimize(result.model).is_changed


def test_a_weight_that_the_caller_may_give_stays() -> None:
    model = _with_tiny(
        "(float[N,3,3,3] x, float[3,3,1,1] w, float[3] b) => (float[N,3,3,3] y)"
        " <float[3,3,1,1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}> { y = Conv(x, w, b) }"
    )
    assert not normfold.optimize(model, keep_initializer_inputs=True).is_changed
