"""Which of two equal models is the better one, and which types a file says."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import normfold
from normfold.files.protos.convert import to_ir
from normfold.fold.cleanup.model_size import ModelSize, drop_costly_types, has_inferred_types
from normfold.runtime.fused_operators import fused_operators
from tests.onnx_text import parse


@pytest.mark.parametrize(
    ("operators", "weights", "better"),
    [
        (9, 100_000, True),
        (9, 105_000, True),
        (9, 105_001, False),
        (10, 99_999, True),
        (10, 100_000, False),
        (11, 50, False),
    ],
)
def test_fewer_operators_count_and_then_bytes(operators: int, weights: int, better: bool) -> None:
    assert ModelSize(operators, weights).is_leaner(ModelSize(10, 100_000), 0.05) is better


def test_a_small_model_may_grow_by_some_bytes() -> None:
    """Constant nodes that become weights count as bytes."""
    assert ModelSize(9, 4096).is_leaner(ModelSize(10, 0), 0.05)
    assert not ModelSize(9, 4097).is_leaner(ModelSize(10, 0), 0.05)


def test_constants_bodies_and_dead_weights_count() -> None:
    model = parse(
        "(float[2] x, bool c) => (float[2] y) { k = Constant <value_float = 1.0> () y = If (c) < "
        "then_branch = t () => (float[2] p) { p = Mul (x, k) }, else_branch = e () => (float[2] q) { q = Neg (x) } > }"
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(6, np.float32), "dead"))
    size = ModelSize.of(to_ir(model))
    assert (size.operators, size.weights) == (4, 24)


def test_types_are_written_where_the_original_has_them_or_where_they_are_cheap() -> None:
    text = (
        "(float[N,{0}] x) => (float[N,{0}] y) <float[{0},{0}] w> "
        "{{ a = Identity (x) b = Sin (a) c = MatMul (b, w) y = Sin (c) }}"
    )
    small, large = parse(text.format(4)), parse(text.format(64))
    assert types_written(small) == {"b", "c"}
    for model, types in ((small, set[str]()), (large, {"b", "c"})):
        del model.graph.value_info[:]
        assert not has_inferred_types(to_ir(model))
        assert types_written(model) == types


def types_written(model: onnx.ModelProto) -> set[str]:
    """Return the values inside the optimized model whose types its file says, without the weights among them."""
    graph = normfold.optimize(model).model.graph
    return {value.name for value in graph.value_info} - {tensor.name for tensor in graph.initializer}


def test_types_of_outputs_stay() -> None:
    model = to_ir(parse("(float[N,4] x) => (float[N,4] y) { a = Neg (x) y = Relu (a) }"))
    drop_costly_types(model, 1000)
    first, last = model.graph
    assert (first.outputs[0].type, first.outputs[0].shape) == (None, None)
    assert last.outputs[0].type is not None


def test_the_shapes_of_addends_let_the_runtime_fuse_the_norm_behind_them() -> None:
    """Behind a Reshape to -1 ONNX Runtime does not know that both addends have N rows."""
    model = parse(
        "(float[1,N,8,8] q, float[1,N,64] x) => (float[1,N,64] y) <float[64,64] w, float[64] b, float[64] g, "
        "float[64] e, int64[3] rows = {1, -1, 64}> "
        "{ r = Reshape (q, rows) m = MatMul (r, w) a = Add (m, b) n = Identity (a) s = Add (x, n) "
        "y = LayerNormalization (s, g, e) }"
    )
    del model.graph.value_info[:]
    found = fused_operators(to_ir(normfold.optimize(model, target="onnxruntime-cuda").model)) or ()
    assert [each.operator for each in found] == ["SkipLayerNormalization"]
