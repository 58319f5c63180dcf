"""A model file that is made piece by piece is the file that protobuf makes of the whole model."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from normfold.files.protos import stream
from normfold.files.protos.convert import to_ir

TYPES = (np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint64, np.bool_, ml_dtypes.int4)


def model(*tensors: onnx.TensorProto) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph("g (float[N] x) => (float[N] y) { y = Relu(x) }")
    graph.initializer.extend(tensors)
    graph.doc_string = "said in words"
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    onnx.helper.set_model_props(proto, {"key": "value"})
    return proto


def tensor(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).integers(0, 2, shape)
    return numpy_helper.from_array(values.astype(dtype), name)


def written(loaded: ir.Model) -> onnx.ModelProto:
    proto: onnx.ModelProto = onnx.ModelProto.FromString(b"".join(map(bytes, stream.streamed(loaded).pieces())))
    return proto


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: dtype.__name__)
def test_every_type_is_written_as_it_is(dtype: type) -> None:
    loaded = to_ir(
        model(tensor("big", 90, 101, dtype=dtype), tensor("small", 3, dtype=dtype), tensor("one", dtype=dtype))
    )
    assert any(map(stream.is_big, loaded.graph.initializers.values())), "nothing is streamed, so nothing is tested"
    assert written(loaded) == ir.to_proto(loaded)


def test_the_order_of_the_initializers_stays() -> None:
    tensors = [tensor(f"w{index}", 2000 if index % 2 else 2) for index in range(6)]
    assert [each.name for each in written(to_ir(model(*tensors))).graph.initializer] == [each.name for each in tensors]


def test_no_weight_is_copied() -> None:
    array = np.ones(5000, np.float32)
    piece = stream.content(ir.Tensor(array))
    assert isinstance(piece, memoryview)
    array[0] = 7
    assert bytes(piece[:4]) == np.float32(7).tobytes()


def test_a_transposed_array_is_written_in_its_own_order() -> None:
    array = np.arange(6000, dtype=np.float32).reshape(2, 3000).T
    assert bytes(stream.content(ir.Tensor(array))) == array.tobytes()


def test_the_model_is_as_before_when_it_was_written() -> None:
    loaded = to_ir(model(tensor("big", 5000)))
    before = ir.to_proto(loaded)
    list(stream.streamed(loaded).pieces())
    assert ir.to_proto(loaded) == before
