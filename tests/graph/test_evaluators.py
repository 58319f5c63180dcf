"""Chains of operators on constants: their value is what ONNX Runtime computes, and they leave no operator behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from normfold.files.protos.convert import to_proto
from normfold.fold.cleanup.tidy import tidy
from normfold.graph.evaluators import EVALUATORS, LARGEST, TooLargeError, evaluate
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort

W = "float[4,6] w"
TABLE = {
    "Slice": (
        "k = Slice(w, s, e, a, p)",
        f"{W}, int64[2] s={{1, -5}}, int64[2] e={{9, 5}}, int64[2] a={{0, 1}}, int64[2] p={{1, 2}}",
    ),
    "Slice backwards": (
        "k = Slice(w, s, e, a, p)",
        f"{W}, int64[2] s={{-1, 4}}, int64[2] e={{-99, 0}}, int64[2] a={{0, -1}}, int64[2] p={{-1, -2}}",
    ),
    "Slice to the start": (
        "k = Slice(w, s, e, a, p)",
        f"{W}, int64[1] s={{9}}, int64[1] e={{-2}}, int64[1] a={{1}}, int64[1] p={{-1}}",
    ),
    "Slice of the first axes": (
        "k = Slice(w, s, e)",
        f"{W}, int64[2] s={{1, 2}}, int64[2] e={{3, 9223372036854775807}}",
    ),
    "Slice of nothing": ("j = Slice(w, s, e) k = Concat<axis=0>(w, j)", f"{W}, int64[1] s={{3}}, int64[1] e={{3}}"),
    "gates of a recurrent layer": (
        "i = Slice(w, z, t) r = Slice(w, t, f) j = Concat<axis=0>(r, i) k = Unsqueeze(j, z)",
        f"{W}, int64[1] z={{0}}, int64[1] t={{2}}, int64[1] f={{4}}",
    ),
    "Tile": ("k = Tile(w, r)", f"{W}, int64[2] r={{2, 3}}"),
    "Clip": ("k = Clip(w, a, b)", f"{W}, float a={{-0.25}}, float b={{0.5}}"),
    "Clip from below": ("k = Clip(w, a)", f"{W}, float a={{0.1}}"),
    "Clip from above": ("k = Clip(w, , b)", f"{W}, float b={{0.1}}"),
    "spectral norm": (
        "a = MatMul(w, v) b = Mul(u, a) c = ReduceSum<keepdims=0>(b) k = Div(w, c)",
        f"{W}, float[6] v, float[4] u",
    ),
    "logic": (
        "a = Less(w, o) b = Not(a) c = Greater(w, q) d = And(b, c) f = Or(a, d) k = Where(f, w, o)",
        f"{W}, float o={{0.2}}, float q={{0.5}}",
    ),
    "extremes": ("a = ReduceMax<axes=[1]>(w) b = ReduceMin<axes=[0]>(w) k = Sub(a, b)", W),
    **{
        name: (f"k = {name}(w)", W)
        for name in ("Relu", "Sign", "Sigmoid", "Tanh", "Softplus", "Sin", "Cos", "Exp", "Abs", "Neg", "Reciprocal")
    },
}


def assert_one_operator_is_left(text: str, opset: int) -> None:
    original = parse(text, opset=opset)
    model = ir.from_proto(original)
    tidy(model)
    assert [node.op_type for node in model.graph if node.op_type != "Constant"] == ["Mul"]
    feeds = feeds_of(original)
    assert_close(run_in_ort(to_proto(model), feeds, ["y"]), run_in_ort(original, feeds, ["y"]), note=text)


@pytest.mark.parametrize(("body", "constants"), TABLE.values(), ids=TABLE)
def test_constant_chains_are_what_the_runtime_makes_of_them(body: str, constants: str) -> None:
    assert_one_operator_is_left(f"(float x) => (float[a,b] y) <{constants}> {{ {body} y = Mul(x, k) }}", opset=17)


def test_slice_with_attributes() -> None:
    body = "k = Slice<starts=[1, -3], ends=[3, 9], axes=[1, 0]>(w) y = Mul(x, k)"
    assert_one_operator_is_left(f"(float x) => (float[a,b] y) <{W}> {{ {body} }}", opset=9)


def test_the_logistic_function_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        node = ir.Node("", "Sigmoid", [None])
        assert EVALUATORS["Sigmoid"](node, [np.array([-800.0, 0.0, 800.0])]).tolist() == [0.0, 0.5, 1.0]


# -- one limit for every constant ------------------------------------------------------------------------------------

HUGE = np.array([2**20, 2**20], np.int64)
VECTOR = np.zeros(2**13)


def constant_node(operator: str, **attributes: Any) -> ir.Node:
    return ir.serde.deserialize_node(onnx.helper.make_node(operator, [], ["y"], **attributes))


@pytest.mark.parametrize(
    ("operator", "operands"),
    [
        ("ConstantOfShape", [HUGE]),
        ("Expand", [np.zeros((1, 1)), HUGE]),
        ("Tile", [np.zeros((1, 1)), HUGE]),
        ("Mul", [VECTOR[:, None], VECTOR]),
        ("Where", [VECTOR[:, None] > 0, VECTOR, 1.0]),
        ("MatMul", [VECTOR[:, None], VECTOR[None]]),
        ("Gather", [np.zeros((2, 2**13)), np.zeros(2**13, np.int64)]),
    ],
)
def test_what_would_be_huge_is_refused_before_it_is_made(operator: str, operands: list[np.ndarray]) -> None:
    with pytest.raises(TooLargeError, match=operator):
        evaluate(constant_node(operator), operands)


def test_a_constant_joined_with_itself_is_limited_and_one_of_large_weights_is_not() -> None:
    half = np.zeros(LARGEST // 2 + 1, np.int8)
    with pytest.raises(TooLargeError):
        evaluate(constant_node("Concat", axis=0), [half, half])
    assert evaluate(constant_node("Concat", axis=0), [half, half.copy()]).size > LARGEST


def test_large_weights_are_transposed() -> None:
    assert evaluate(constant_node("Transpose"), [np.zeros((1, LARGEST + 1), np.int8)]).shape == (LARGEST + 1, 1)
