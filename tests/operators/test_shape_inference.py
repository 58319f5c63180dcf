"""What onnx infers wrongly is not believed."""

from __future__ import annotations

import normfold
from normfold.operators.shape_inference import infer_shapes
from tests.onnx_text import parse

STATES = parse(
    """(float[10] states) => (float[3] y, float[M] z) <int64[2] sizes = {3, 7}, int64 i = {0}, int64 j = {1}> {
        parts = SplitToSequence<axis = 0> (states, sizes)
        a = SequenceAt(parts, i) b = SequenceAt(parts, j) c = Relu(a) d = Relu(b)
        e = Identity(c) f = Identity(d) y = Neg(e) z = Neg(f) }"""
)


def test_elements_of_a_sequence_have_sizes_of_their_own() -> None:
    inferred = infer_shapes(STATES)
    names = {
        value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in inferred.graph.value_info
    }
    assert names["a"] == names["b"] == names["d"] == [""]
    assert [dim.dim_param for dim in inferred.graph.output[1].type.tensor_type.shape.dim] == ["M"]


def test_states_of_several_sizes_are_optimized() -> None:
    result = normfold.optimize(STATES)
    assert result.verification
    assert "Identity" not in [node.op_type for node in result.model.graph.node]
