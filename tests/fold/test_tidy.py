"""Tidying: Identity goes where its name can go with it, and the outputs keep their names and values."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from normfold.fold.tidy import tidy

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
TABLE = {
    "between two operators": (
        "net (float[2] x) => (float[2] y) { a = Relu (x) b = Identity (a) y = Neg (b) }",
        ["Relu", "Neg"],
    ),
    "that makes an output": ("net (float[2] x) => (float[2] y) { a = Relu (x) y = Identity (a) }", ["Relu"]),
    "of an input stays": ("net (float[2] x) => (float[2] y) { y = Identity (x) }", ["Identity"]),
    "of another output stays": (
        "net (float[2] x) => (float[2] a, float[2] y) { a = Relu (x) y = Identity (a) }",
        ["Relu", "Identity"],
    ),
    "whose value has more readers": (
        "net (float[2] x) => (float[2] y, float[2] z) { a = Relu (x) y = Identity (a) z = Neg (a) }",
        ["Relu", "Neg"],
    ),
    "of a captured value stays in the branch": (
        """net (float[2] x, bool c) => (float[2] y) {
            a = Relu (x)
            y = If (c) <
                then_branch = t () => (float[2] p) { p = Identity (a) },
                else_branch = e () => (float[2] q) { q = Neg (a) }
            >
        }""",
        ["Relu", "If"],
    ),
}


@pytest.mark.parametrize(("text", "left"), TABLE.values(), ids=TABLE)
def test_identity(text: str, left: list[str]) -> None:
    model = ir.from_proto(onnx.parser.parse_model(HEAD + text))
    outputs = [value.name for value in model.graph.outputs]
    tidy(model)
    assert [node.op_type for node in model.graph] == left
    assert [value.name for value in model.graph.outputs] == outputs
    onnx.checker.check_model(ir.to_proto(model))
