"""The editor: new operators stand where they are put, and new constants have names that the caller knows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir

from normfold.files.protos.convert import to_ir
from normfold.graph.display_names import display_name
from normfold.graph.editor import Editor, Rewrite, UniqueNames
from normfold.graph.reader import GraphReader
from tests.onnx_text import parse


def test_a_constant_that_was_written_is_reported_by_the_name_that_the_caller_knows() -> None:
    model = to_ir(parse("(float[N,4] x) => (float[N,3] y) <float[4,3] w> { y = MatMul(x, w) }"))
    editor = Editor(GraphReader(model, model.graph), UniqueNames(model))
    (node,) = model.graph
    for factor in (2.0, 3.0):
        editor.rewrite(Rewrite(node, inputs={1: np.full((4, 3), factor)}), "test", "test")
    assert node.inputs[1] is not None and node.inputs[1].name != "w" and display_name(node.inputs[1]) == "w"
    assert display_name(editor.constant(np.ones(3), ir.DataType.FLOAT, "y_bias_folded")) == "y_bias"


def test_operators_that_come_later_stand_where_they_are_put() -> None:
    model = to_ir(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { a = Abs(x) y = Abs(a) }'
        )
    )
    reader = GraphReader(model, model.graph)
    editor = Editor(reader, UniqueNames(model))
    first, last = list(model.graph)
    for count in range(200):
        new = [ir.node("Abs", [first.outputs[0]], name=f"n{count}_{each}") for each in range(2)]
        if count % 2:
            editor.insert_before(last, new)
        else:
            editor.insert_after(first, new[0])
    orders = [reader.order(node) for node in model.graph]
    assert len(orders) == 302 and all(one < other for one, other in pairwise(orders))
