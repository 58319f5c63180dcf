"""Shapes behind the operators of classic machine learning, and the pipelines of scikit-learn that need them."""

from __future__ import annotations

import onnx
import pytest

from normfold import optimize
from normfold.operators.shape_inference import infer_shapes
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort

ML = '"ai.onnx.ml":3'
SCALER = "ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0,4.0],scale=[0.5,0.25,2.0,1.0]>"
SHAPES = {
    "a scaler keeps it": (f"s = {SCALER}(x) y = Relu(s)", [None, 4]),
    "a normalizer behind a scaler": (f"a = {SCALER}(x) s = ai.onnx.ml.Normalizer(a) y = Relu(s)", [None, 4]),
    "a regressor has targets": (
        "s = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0],targets=2>(x) y = Relu(s)",
        [None, 2],
    ),
    "features by index": ("s = ai.onnx.ml.ArrayFeatureExtractor(x, i) y = Relu(s)", [None, 3]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    body, expected = SHAPES[name]
    model = parse(f"(float[N,4] x) => (float[N,K] y) <int64[3] i = {{2, 0, 1}}> {{ {body} }}", domains=ML)
    del model.graph.value_info[:]
    known = {value.name: value.type.tensor_type for value in infer_shapes(model).graph.value_info}
    assert [dim.dim_value or None for dim in known["s"].shape.dim] == expected


def test_an_encoder_of_the_first_version_keeps_the_shape() -> None:
    text = '(int64[N,4] x) => (string[N,K] y) { s = ai.onnx.ml.LabelEncoder<classes_strings=["a"]>(x) y = Identity(s) }'
    model = parse(text, opset=11, domains='"ai.onnx.ml":1')
    known = {value.name: value.type.tensor_type for value in infer_shapes(model).graph.value_info}
    assert known["s"].elem_type == onnx.TensorProto.STRING and len(known["s"].shape.dim) == 2


PIPELINES = {
    "scaler, PCA, regressor": (
        f"a = {SCALER}(x) c = Sub(a, m) p = MatMul(c, w) y = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0]>(p)",
        "float[4] m, float[4,2] w",
        "float[N,1] y",
        "Gemm LinearRegressor",
    ),
    "scaler, selection, regressor": (
        f"a = {SCALER}(x) c = ai.onnx.ml.ArrayFeatureExtractor(a, i)"
        " y = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0]>(c)",
        "int64[2] i = {3, 1}",
        "float[N,1] y",
        "ArrayFeatureExtractor LinearRegressor",
    ),
    "scaler and a perceptron of two layers": (
        f"a = {SCALER}(x) f = Cast<to=1>(a) c = MatMul(f, w) d = Add(c, b) e = Relu(d) g = MatMul(e, v) y = Add(g, t)",
        "float[4,3] w, float[3] b, float[3,2] v, float[2] t",
        "float[N,2] y",
        "Gemm Relu Gemm",
    ),
    "a regressor and what is done with its result": (
        "a = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0,4.0],intercepts=[0.5]>(x)"
        " c = Mul(a, k) y = Add(c, t)",
        "float k = {2}, float t = {3}",
        "float[N,1] y",
        "LinearRegressor",
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines(name: str) -> None:
    body, weights, output, left = PIPELINES[name]
    model = parse(f"(float[N,4] x) => ({output}) <{weights}> {{ {body} }}", domains=ML)
    folded = optimize(model).model
    assert " ".join(node.op_type for node in folded.graph.node) == left
    feeds = feeds_of(model)
    assert_close(run_in_ort(folded, feeds, ["y"]), run_in_ort(model, feeds, ["y"]), note=name, limit=1e-5)
