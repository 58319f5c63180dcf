"""Equal weights are stored once, also those of bodies; small ones and those that differ anywhere stay."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from normfold.files.protos.convert import to_ir, to_proto
from normfold.fold.cleanup.tidy import tidy
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort


def tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    found = to_ir(model)
    tidy(found)
    return to_proto(found)


@pytest.mark.parametrize(("size", "last", "left"), [(300, 0.0, 1), (300, 1.0, 2), (8, 0.0, 2)])
def test_equal_weights_are_one(size: int, last: float, left: int) -> None:
    model = parse(f"(float[N,{size}] x) => (float[N,{size}] y) <float[{size}] v, float[{size}] w> "
                  "{ a = Mul (x, v) b = Relu (a) y = Mul (b, w) }")  # fmt: skip
    v, w = model.graph.initializer
    array = numpy_helper.to_array(v).copy()
    array[-1] += last
    w.CopyFrom(numpy_helper.from_array(array, w.name))
    found = tidied(model)
    assert len(found.graph.initializer) == left
    feeds = feeds_of(model)
    assert_close(run_in_ort(found, feeds, ["y"]), run_in_ort(model, feeds, ["y"]), note="shared")


def test_both_branches_of_an_if_read_one_copy() -> None:
    model = parse(
        "(float[N,20] x, bool c) => (float[N,20] y) <float[20,20] w1, float[20,20] w2> { y = If (c) < "
        "then_branch = t () => (float[N,20] p) { p = MatMul (x, w1) }, "
        "else_branch = e () => (float[N,20] q) { a = Relu (x) q = MatMul (a, w2) } > }"
    )
    weight = numpy_helper.to_array(model.graph.initializer[0])
    del model.graph.initializer[:]
    for name, attribute in zip(("w1", "w2"), model.graph.node[0].attribute, strict=True):
        attribute.g.initializer.append(numpy_helper.from_array(weight.copy(), name))
    found = tidied(model)
    assert len(found.graph.initializer) == 1
    assert not any(attribute.g.initializer for attribute in found.graph.node[0].attribute)
    onnx.checker.check_model(found)
    for condition in (True, False):
        feeds = {**feeds_of(model), "c": np.array(condition)}
        assert_close(run_in_ort(found, feeds, ["y"]), run_in_ort(model, feeds, ["y"]), note="shared")
