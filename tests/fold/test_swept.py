"""What sweeps over random graphs found wrong once: a row for each, smaller than what they found."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from normfold.files.convert import to_ir
from normfold.findings.verdict import Outcome
from normfold.graph.editor import Editor, Names, Rewrite
from normfold.graph.reader import GraphReader, known_as
from tests.fold.rows import Folds, assert_folds, assert_ledger, assert_sound, fold, operators
from tests.onnx_text import parse

FOLDS = {
    "two sums in a row, of which the second meets what the first has written": Folds(
        "(float[N,5,4] x) => (float[N,5,4] y) <float t, float[4,4] w, float[4] b>"
        " { c = Add(x, t) d = MatMul(c, w) e = Add(d, b) f = Sum(x, c, e) y = Relu(f) }",
        "MatMul Add Relu",
        "branches forward",
    ),
    "a division by what was multiplied with": Folds(
        "(float[4,4] x) => (float[4,4] y) <float[4] c> { a = Mul(x, c) b = Div(a, c) y = Relu(b) }",
        "Relu",
        "removal",
        values={"c": [0.49, 1.1, 4.9, 0.98]},
    ),
}


@pytest.mark.parametrize("name", FOLDS)
def test_folds(name: str) -> None:
    assert_folds(FOLDS[name])


def test_a_dequantized_weight_that_is_an_output_stays() -> None:
    model = parse(
        "(float[3,4] x) => (float[3,5] y, float[4,5] w) <float[4] s, int8[4,5] q, float k>"
        " { a = Mul(x, s) w = DequantizeLinear(q, k) b = MatMul(a, w) y = Relu(b) }"
    )
    assert operators(assert_sound(model).model) == operators(model)


@pytest.mark.parametrize("dies", ["Abs(b)", "LpPool<kernel_shape=[2,2]>(b)", "Cos(b)"])
def test_where_a_sign_dies_is_a_site(dies: str) -> None:
    model = parse(
        f"(float[N,3,5,5] x) => (float y) {{ a = Tanh(x) b = Neg(a) c = {dies} y = ReduceSum<keepdims=0>(c) }}"
    )
    (verdict,) = fold(model).verdicts
    assert verdict.outcome is Outcome.FOLDED and verdict.sites


def test_an_output_is_told_by_its_own_name() -> None:
    model = parse(
        "(float[4,4] x) => (float[4,4] y, float[3,4] z) <float[4,1] t, float c, float[3,4] w>"
        " { d = Transpose(x) a = Add(d, t) b = Mul(a, c) y = Div(b, c) z = MatMul(w, b) }"
    )
    said = " ".join(str(obstacle) for verdict in fold(model).verdicts for obstacle in verdict.obstacles)
    assert "output y" in said and "output b" not in said


def test_a_constant_that_was_written_is_told_by_the_name_that_the_caller_knows() -> None:
    model = to_ir(parse("(float[N,4] x) => (float[N,3] y) <float[4,3] w> { y = MatMul(x, w) }"))
    editor = Editor(GraphReader(model, model.graph), Names(model))
    (node,) = model.graph
    for factor in (2.0, 3.0):
        editor.rewrite(Rewrite(node, inputs={1: np.full((4, 3), factor)}), "test", "test")
    assert node.inputs[1] is not None and node.inputs[1].name != "w" and known_as(node.inputs[1]) == "w"
    assert known_as(editor.constant(np.ones(3), ir.DataType.FLOAT, "y_bias_folded")) == "y_bias"


def test_operators_that_come_later_stand_where_they_are_put() -> None:
    model = to_ir(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { a = Abs(x) y = Abs(a) }'
        )
    )
    reader = GraphReader(model, model.graph)
    editor = Editor(reader, Names(model))
    first, last = list(model.graph)
    for count in range(200):
        new = [ir.node("Abs", [first.outputs[0]], name=f"n{count}_{each}") for each in range(2)]
        if count % 2:
            editor.insert_before(last, new)
        else:
            editor.insert_after(first, new[0])
    orders = [reader.order(node) for node in model.graph]
    assert len(orders) == 302 and all(one < other for one, other in pairwise(orders))


def test_a_norm_does_not_go_to_and_fro_between_two_biases() -> None:
    weights = "float[4,4] w, float[4] g, float[4] b, float[4] m, float[4] var, float[4,4] v, float[4,1] t, float[4] k"
    text = (
        f"(float[N,4,4] x, float[N,4,4] z) => (float[N,4,4] y) <{weights}> {{ a = MatMul(x, w)"
        " n = BatchNormalization(a, g, b, m, var) c = MatMul(z, v) d = Mul(c, k) e = Transpose<perm=[0,2,1]>(d)"
        " f = MatMul(n, e) h = Add(f, t) y = Softmax<axis=1>(h) }"
    )
    left = operators(assert_sound(parse(text)).model).split()
    assert left.count("BatchNormalization") == 1 and len(left) < 8


STAYS = {
    "an epsilon that would vanish": (
        "(float[N,4] x) => (float[N,4] y) <float s, float[4] g, float[4] b>"
        " { a = Mul(x, s) y = LayerNormalization(a, g, b) }",
        {"s": [1e22]},
    ),
    "an epsilon that would vanish, by batch": (
        "(float[N,4] x) => (float[N,4] y) <float s, float[4] g, float[4] b, float[4] m, float[4] var>"
        " { a = Mul(x, s) y, r, v = BatchNormalization<training_mode=1>(a, g, b, m, var) }",
        {"s": [1e18]},
    ),
    "a bias that would be infinite": (
        "(float[N,2] x) => (float[N,2] y) <float[2] t, float[2,2] w> { a = Add(x, t) y = MatMul(a, w) }",
        {"t": [1e30, 1.0], "w": [1e10, 1.0, 1.0, 1.0]},
    ),
    "an attribute that would vanish": (
        "(float[N,4,3,3] x) => (float[N,4,3,3] y) <float s>"
        " { a = Mul(x, s) b = LRN<size=3>(a) c = Div(b, s) y = Tanh(c) }",
        {"s": [1e-21]},
    ),
    "zeros beside a magnitude that is negative, as that of the lowest integer is": (
        "(int8[N,3,4,4] x) => (int8[N,3,6,6] y) <int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}>"
        " { a = Abs(x) b = Pad(a, p) y = MaxPool<kernel_shape=[2,2]>(b) }",
        {},
    ),
}


@pytest.mark.parametrize("name", STAYS)
def test_stays(name: str) -> None:
    text, values = STAYS[name]
    model = parse(text, values=values)
    assert operators(fold(model).model) == operators(model)


SAYS = {  # each refusal names its operator, and axes where axes are in the way: assert_ledger
    "LRN": "b = LRN<size=3>(a)",
    "Selu": "c = Selu(a) b = Mul(c, s)",
    "DFT": "c = Unsqueeze(a, i) d = DFT(c) b = Abs(d)",
}


@pytest.mark.parametrize("name", SAYS)
def test_says(name: str) -> None:
    head = "(float[N,4,3] x) => (float y) <float[4,1] s, int64[1] i = {3}>"
    text = f"{head} {{ a = Mul(x, s) {SAYS[name]} y = ReduceMax<keepdims=0>(b) }}"
    model = parse(text, opset=17)
    assert_ledger(model, fold(model))


def test_an_unknown_type_is_told_of_an_operator() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 12]> g (float16[2,4] x) => (float16[2,4] y) <float16[1] s = {15360}>'
        " { a = Abs(x) b = Mul(a, s) c = Add(b, s) y = Log(c) }"
    )
    assert all(obstacle.node for verdict in fold(model).verdicts for obstacle in verdict.obstacles)
