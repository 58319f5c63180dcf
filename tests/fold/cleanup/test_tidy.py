"""Tidying: Identity goes where its name can go with it, and the outputs keep their names and values."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest

from normfold.files.protos.convert import to_ir, to_proto
from normfold.fold.cleanup.tidy import tidy
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort

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


RESHAPES = {
    "twice": (
        "[2,3,4]",
        "[m,n]",
        "a = Reshape (x, s) y = Reshape (a, t)",
        "int64[2] s = {6, 4}, int64[2] t = {-1, 3}",
        "Reshape",
    ),
    "a size of its input": (
        "[2,3,4]",
        "[m,n,k]",
        "a = Reshape (x, s) y = Reshape (a, t)",
        "int64[2] s = {6, 4}, int64[3] t = {0, 2, 2}",
        "Reshape Reshape",
    ),
    "behind a Transpose of one size": (
        "[2,1,4]",
        "[m]",
        "a = Transpose <perm = [1, 0, 2]> (x) b = Unsqueeze (a, s) y = Reshape (b, t)",
        "int64[1] s = {0}, int64[1] t = {-1}",
        "Reshape",
    ),
    "an Unsqueeze behind it": (
        "[N,3,4]",
        "[m,n,k]",
        "a = Reshape (x, s) y = Unsqueeze (a, t)",
        "int64[2] s = {-1, 12}, int64[1] t = {1}",
        "Reshape",
    ),
    "an Unsqueeze of two sizes that are unknown": (
        "[N,M,2,4]",
        "[m,n,k,l]",
        "a = Reshape (x, s) y = Unsqueeze (a, t)",
        "int64[3] s = {0, 0, 8}, int64[1] t = {1}",
        "Reshape Unsqueeze",
    ),
    "behind a Transpose of two sizes": (
        "[2,3,4]",
        "[m]",
        "a = Transpose <perm = [1, 0, 2]> (x) y = Reshape (a, t)",
        "int64[1] t = {-1}",
        "Transpose Reshape",
    ),
}


@pytest.mark.parametrize(("shape", "sizes", "body", "constants", "left"), RESHAPES.values(), ids=RESHAPES)
def test_elements_are_grouped_once(shape: str, sizes: str, body: str, constants: str, left: str) -> None:
    assert_tidied(f"(float{shape} x) => (float{sizes} y) <{constants}> {{ {body} }}", left, tidy)


def test_constant_nodes_become_initializers_also_in_bodies() -> None:
    text = (
        "(float[2] x, bool c) => (float[2] y) { k = Constant <value_floats = [1.0, 2.0]> () y = If (c) < "
        "then_branch = t () => (float[2] p) { j = Constant <value = float {3}> () p = Mul (x, j) }, "
        "else_branch = e () => (float[2] q) { q = Add (x, k) } > }"
    )
    assert_tidied(text, "If", tidy)
    old = to_ir(parse(text, ir_version=3))
    tidy(old)
    assert [node.op_type for node in old.graph] == ["Constant", "If"]


def assert_tidied(text: str, left: str, how: Callable[[ir.Model], object], *, runs: bool = True) -> None:
    original = parse(text)
    model = to_ir(original)
    how(model)
    tidied = to_proto(model)
    assert " ".join(node.op_type for node in tidied.graph.node) == left
    feeds = feeds_of(original)
    if runs:
        assert_close(run_in_ort(tidied, feeds, ["y"]), run_in_ort(original, feeds, ["y"]), note=text)
