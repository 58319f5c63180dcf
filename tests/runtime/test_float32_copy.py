"""A type without a kernel is compared in float32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from normfold.verify import Equivalence, Site, prove
from tests.verify.nets import conv_bn_pair, edited


def test_a_type_without_kernel_is_compared_in_float32() -> None:
    raw, folded = conv_bn_pair(kind=np.float64)
    sites = [Site(f"bn{i}", f"norm{i}") for i in range(3)]
    result = prove(raw, folded, sites)
    assert result
    assert any("compared in float32" in note for note in result.notes)
    assert prove(raw, edited(folded, "b2", lambda b: b * 1.01), sites).failing_folds == ("norm2",)


def test_bfloat16_is_compared_in_float32() -> None:
    def linear(factor: float) -> onnx.ModelProto:
        weight = np.random.default_rng(0).normal(size=(8, 4)) * factor
        tensor = numpy_helper.from_array(weight.astype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)), "w")
        info = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, ["N", c]) for n, c in (("x", 8), ("y", 4))]
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", info[:1], info[1:], [tensor])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    result = prove(linear(1.0), linear(1.0))
    assert result
    assert any("compared in float32" in note for note in result.notes)
    assert prove(linear(1.0), linear(1.1)).verdict is Equivalence.DIFFERENT
