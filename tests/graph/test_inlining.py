"""Model functions are inlined where a norm or affine could not go inside them, and stay where it could."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import normfold
from normfold.findings.verdict import Outcome
from normfold.graph.inlining import operators

BODY = (
    "eps = Constant<value_float=0.001>() m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d)"
    "v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(d, s) k = Mul(n, g)"
)


def norm(opset: int) -> str:
    return f'<domain: "own", opset_import: ["": {opset}]> Norm (x, g) => (k) {{ {BODY} }}'


def model(text: str, opset: int = 17) -> onnx.ModelProto:
    """The model of a graph in ONNX text with the functions behind it; ``g`` is a weight."""
    parsed = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}, "own": 1]> g {text}')
    del parsed.graph.value_info[:]
    weight = np.random.default_rng(0).uniform(0.5, 1.5, 4).astype(np.float32)
    parsed.graph.initializer.append(numpy_helper.from_array(weight, "g"))
    onnx.checker.check_model(parsed)
    return parsed


INLINED = {
    "calls that disagree on shapes": (
        "(float[N,3,4] x, float[N,4] z) => (float[N,3,4] y, float[N,4] u) <float[4] g>"
        f"{{ y = own.Norm(x, g) u = own.Norm(z, g) }} {norm(17)}",
        17,
        ["LayerNormalization", "LayerNormalization"],
    ),
    "an operator set that has to be raised": (
        "(float[N,3,4] x) => (float[N,3,4] y) <float[4] g>"
        f"{{ h = own.Norm(x, g) r = Relu(h) y = own.Norm(r, g) }} {norm(13)}",
        13,
        ["LayerNormalization", "Relu", "LayerNormalization"],
    ),
    "a norm that several functions make": (
        "(float[N,3,4] x) => (float[N,3,4] y) <float[4] g>"
        "{ m = own.Mean(x) d = Sub(x, m) p = own.Square(d) v = own.Mean(p) w = own.Rsqrt(v) n = Mul(d, w)"
        " y = Mul(n, g) }"
        '<domain: "own", opset_import: ["": 17]> Mean (x) => (k) { k = ReduceMean<axes=[-1]>(x) }'
        '<domain: "own", opset_import: ["": 17]> Square (x) => (k) { k = Mul(x, x) }'
        '<domain: "own", opset_import: ["": 17]> Rsqrt (x) => (k)'
        "{ eps = Constant<value_float=0.001>() w = Add(x, eps) s = Sqrt(w) k = Reciprocal(s) }",
        17,
        ["LayerNormalization"],
    ),
    "an affine whose weights are inputs of a function": (
        "(float[N,4] x) => (float[N,4] y) <float[4] g, float[4,4] m = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>"
        "{ h = MatMul(x, m) y = own.Scaled(h, g) }"
        '<domain: "own", opset_import: ["": 17]> Scaled (x, s) => (k) { k = Mul(x, s) }',
        17,
        ["MatMul"],
    ),
    "a linear operator inside and its affine outside": (
        "(float[N,4] x) => (float[N,4] y) <float[4] g, float[4,4] m = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>"
        "{ h = own.Linear(x, m) y = Mul(h, g) }"
        '<domain: "own", opset_import: ["": 17]> Linear (x, m) => (k) { k = MatMul(x, m) }',
        17,
        ["MatMul"],
    ),
    "two calls inside a branch": (
        "(float[N,4] x, bool c) => (float[N,4] y) <float[4] g, float[4,4] m = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}>"
        "{ y = If (c) <then_branch = a () => (float[N,4] p) { h = own.Linear(x, m) p = own.Scaled(h, g) },"
        " else_branch = b () => (float[N,4] q) { q = Relu(x) }> }"
        '<domain: "own", opset_import: ["": 17]> Linear (x, m) => (k) { k = MatMul(x, m) }'
        '<domain: "own", opset_import: ["": 17]> Scaled (x, s) => (k) { k = Mul(x, s) }',
        17,
        ["If"],
    ),
}


@pytest.mark.parametrize("name", INLINED)
def test_functions_that_stand_in_the_way_are_inlined(name: str) -> None:
    text, opset, operators = INLINED[name]
    result = normfold.optimize(model(text, opset))
    assert [node.op_type for node in result.ir_model.graph] == operators
    assert not result.ir_model.functions
    assert "the functions of the model were inlined" in result.notes
    assert result.verification


def test_functions_that_are_not_in_the_way_stay() -> None:
    shapes = "(float[N,3,4] x) => (float[N,3,4] y) <float[4] g>"
    result = normfold.optimize(model(f"{shapes} {{ y = own.Norm(x, g) }} {norm(17)}"))
    assert [verdict.outcome for verdict in result.verdicts] == [Outcome.FUSED]
    assert len(result.ir_model.functions) == 1
    assert result.notes == ()


def test_a_function_without_a_norm_stays_as_it_is() -> None:
    text = (
        "(float[N,3,4] x) => (float[N,3,1] y) <float[4] g> { z = Mul(x, g) y = own.Mean(z) }"
        '<domain: "own", opset_import: ["": 17]> Mean (x) => (k) { k = ReduceMean<axes=[-1]>(x) }'
    )
    result = normfold.optimize(model(text))
    assert len(result.ir_model.functions) == 1
    assert not result.changes


def test_a_function_that_folds_by_itself_stays() -> None:
    weights = "m = Constant<value = float[2,2] {1,2,3,4}>() b = Constant<value = float[2] {5,6}>()"
    body = f"{weights} h = Gemm(x, m, b) k = Mul(h, b)"
    text = (
        "(float[N,2] x) => (float[N,2] y) <float[4] g> { h = own.Layer(x) r = Tanh(h) s = own.Layer(r) y = Tanh(s) }"
        f'<domain: "own", opset_import: ["": 17]> Layer (x) => (k) {{ {body} }}'
    )
    result = normfold.optimize(model(text))
    assert result.changes
    assert len(result.ir_model.functions) == 1
    assert operators(result.ir_model) == 4
