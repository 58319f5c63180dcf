"""What ONNX Runtime executes as one in a model, seen without its weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from normfold.runtime.fused_operators import (
    FusedOperator,
    fused_operators,
    lost_operators,
    may_have_fused_operators,
)
from tests.onnx_text import parse

GELU = (
    "(float[4,64] x) => (float[4,64] y) <float[64,64] w, float root = {1.4142135}, float one = {1.0},"
    "float half = {0.5}> { m = MatMul(x, w) a = Div(m, root) e = Erf(a) p = Add(e, one) h = Mul(m, p)"
    "y = Mul(h, half) }"
)


def test_a_group_is_seen_and_no_weight_is_changed() -> None:
    original = parse(GELU)
    model = ir.from_proto(original)
    (found,) = fused_operators(model) or ()
    assert (found.kind, found.operator, found.output) == ("activation", "Gelu", "y")
    assert ir.to_proto(model).graph.initializer[0] == original.graph.initializer[0]


def test_a_model_that_the_runtime_does_not_load_is_none() -> None:
    model = parse(GELU)
    model.graph.node[0].domain = "nowhere"
    model.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
    assert fused_operators(ir.from_proto(model)) is None


def test_only_models_with_the_operators_of_such_groups_are_looked_at() -> None:
    assert may_have_fused_operators(ir.from_proto(parse(GELU)))
    plain = "(float[1,3,9,9] x) => (float[1,4,7,7] y) <float[4,3,3,3] w> { c = Conv(x, w) y = Relu(c) }"
    assert not may_have_fused_operators(ir.from_proto(parse(plain)))


def test_lost_are_those_whose_kind_is_rarer_and_whose_output_is_gone() -> None:
    def operators(*rows: tuple[str, str]) -> tuple[FusedOperator, ...]:
        return tuple(FusedOperator(kind, kind, (), output) for kind, output in rows)

    before = operators(("norm", "a"), ("norm", "b"), ("activation", "c"))
    assert not lost_operators(before, operators(("norm", "a"), ("norm", "z"), ("activation", "c")))
    assert [each.output for each in lost_operators(before, operators(("norm", "a"), ("activation", "c")))] == ["b"]
    assert [each.output for each in lost_operators(before, operators(("norm", "a"), ("norm", "b")))] == ["c"]
    assert np.all([each.kind == "norm" for each in lost_operators(before, operators(("activation", "c")))])
