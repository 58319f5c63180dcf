"""What onnx infers wrongly is not believed."""

from __future__ import annotations

import onnx
import pytest

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


@pytest.mark.parametrize(
    "limit", ["limit = Identity(million)", "limit = Mul(million, two)", "k = Add(million, two) limit = Cast<to=7>(k)"]
)
def test_a_range_is_not_written_out_as_a_list_of_sizes(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 2^62 entries takes all memory."""
    asked: list[bool] = []

    def spy(model: onnx.ModelProto, data_prop: bool) -> onnx.ModelProto:
        asked.append(data_prop)
        return model

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", spy)
    head = "(float[N] x) => (float[N] y) <int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 million = {MANY}>"
    text = f"{head} {{ {limit} r = Range(zero, limit, one) s = Size(r) f = Cast<to=1>(s) y = Add(x, f) }}"
    for many, propagates in (("1000000000", False), ("1000", True)):
        infer_shapes(parse(text.replace("MANY", many)))
        assert asked[-1] is propagates
    ends = f"{head} {{ n = Shape(x) e = Slice(n, zeros, ends) limit = Squeeze(e) r = Range(zero, limit, one) "
    ends = ends.replace("MANY}", f"{2**63 - 1}}}, int64[1] zeros = {{0}}, int64[1] ends = {{{2**63 - 1}}}")
    infer_shapes(parse(f"{ends} f = Cast<to=1>(r) y = Add(x, f) }}"))
    assert asked[-1]
