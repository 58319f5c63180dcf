"""What is a constant affine: every source, folded into the Conv before it, and what is no source."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import normfold
from tests.fold.rows import BN4, Folds, Refuses, assert_folds, assert_sound, every, fold, model_of, operators
from tests.onnx_text import parse

BN8 = "float[8] g, float[8] be, float[8] m, float[8] var"


def after_conv(weights: str, nodes: str, *, kind: str = "float", opset: int = 17, left: str = "Conv") -> Folds:
    """A row in which ``nodes`` lead from c, which a Conv makes, to y."""
    return Folds(
        f"({kind}[N,4,6,6] x) => ({kind}[N,8,4,4] y) <{kind}[8,4,3,3] w, {weights}> {{ c = Conv(x, w) {nodes} }}",
        left,
        opset=opset,
    )


FOLDS = {
    **{
        f"batchnorm of opset {opset}": after_conv(
            BN8, "y = BatchNormalization<epsilon=0.01>(c, g, be, m, var)", opset=opset
        )
        for opset in (7, 9, 14, 15, 17, 23)
    },
    "batchnorm with the default epsilon and variance 0": after_conv(
        "float[8] g, float[8] be, float[8] m, float[8] v = {0, 0, 0, 0, 0, 0, 0, 0}",
        "y = BatchNormalization(c, g, be, m, v)",
    ),
    "parameters for every position, into the Gemm behind": Folds(
        "(float[N,2,3,3] x) => (float[N,5] y) <float[2,3,3] g, float[2,3,3] be, float[2,3,3] m, float[2,3,3] var,"
        "float[18,5] w, float[5] b>"
        "{ c = BatchNormalization<spatial=0>(x, g, be, m, var) d = Flatten(c) y = Gemm(d, w, b) }",
        "Flatten Gemm",
        "forward",
        opset=7,
    ),
    "batchnorm with momentum and spatial": after_conv(
        BN8, "y = BatchNormalization<momentum=0.5, spatial=1>(c, g, be, m, var)", opset=7
    ),
    "multiply, constant on the right": after_conv("float[8,1,1] k", "y = Mul(c, k)"),
    "multiply, constant on the left": after_conv("float[8,1,1] k", "y = Mul(k, c)"),
    "multiply by a scalar": after_conv("float k = {-0.5}", "y = Mul(k, c)"),
    "multiply by one number of full rank": after_conv("float[1,1,1,1] k", "y = Mul(c, k)"),
    "add, constant on the right": after_conv("float[8,1,1] k", "y = Add(c, k)"),
    "add, constant on the left": after_conv("float[1,8,1,1] k", "y = Add(k, c)"),
    "add a scalar": after_conv("float k = {2.5}", "y = Add(c, k)"),
    "subtract a constant": after_conv("float[8,1,1] k", "y = Sub(c, k)"),
    "subtract from a constant": after_conv("float[8,1,1] k", "y = Sub(k, c)"),
    "divide by a constant": after_conv("float[8,1,1] k", "y = Div(c, k)"),
    "divide by a scalar": after_conv("float k = {255.0}", "y = Div(c, k)"),
    "a convolution of one element for each channel": after_conv(
        "float[8,1,1,1] k, float[8] t", "y = Conv<group=8, strides=[1,1]>(c, k, t)"
    ),
    "a convolution that scales, without a bias": after_conv("float[8,1,1,1] k", "y = Conv<group=8>(c, k)"),
    "a convolution that scales, behind an activation": Folds(
        "(float[N,8,6,6] x) => (float[N,4,4,4] y) <float[8,1,1,1] k, float[8] t, float[4,8,3,3] w> {"
        " r = Sigmoid(x) c = Conv<group=8>(r, k, t) y = Conv(c, w) }",
        "Sigmoid Conv",
        "forward",
    ),
    "negate": after_conv("float k", "y = Neg(c)"),
    "a constant behind an expand": after_conv("int64[3] s = {8, 1, 1}, float[1] k", "e = Expand(k, s) y = Mul(c, e)"),
    "a constant node": after_conv("float k", "e = Constant<value = float[1] {-3.0}>() y = Mul(e, c)"),
    "a constant node with a float": after_conv("float k", "e = Constant<value_float = 3.5>() y = Add(c, e)"),
    "a constant node with floats": after_conv("float k", "e = Constant<value_floats = [3.5]>() y = Sub(e, c)"),
    "a chain of all": after_conv(
        "float[8,1,1] k, float[8,1,1] t, float[8,1,1] u, float q = {3.0}",
        "d = Sub(c, k) e = Div(d, q) f = Neg(e) h = Mul(t, f) y = Add(u, h)",
    ),
    "a chain through a batchnorm": after_conv(
        f"float[8,1,1] k, {BN8}", "d = Neg(c) e = BatchNormalization(d, g, be, m, var) y = Mul(k, e)"
    ),
    "gamma negative, zero and positive": after_conv(
        "float[8] g = {0, -1, 2, 0, -3, 0.5, 1, -0.0}, float[8] be, float[8] m, float[8] var",
        "y = BatchNormalization(c, g, be, m, var)",
    ),
    "scale all zero": after_conv("float k = {0}", "y = Mul(c, k)"),
    "nothing at all": after_conv("float k = {1}, float z = {0}", "d = Mul(c, k) e = Add(d, z) y = Sub(e, z)"),
    "float16": after_conv(BN8.replace("float", "float16"), "y = BatchNormalization(c, g, be, m, var)", kind="float16"),
    "float16 with float32 parameters": after_conv(BN8, "y = BatchNormalization(c, g, be, m, var)", kind="float16"),
    "float16 scalar arithmetic": after_conv(
        "float16 k, float16[8,1,1] t", "d = Mul(k, c) y = Add(t, d)", kind="float16"
    ),
    "float64": Folds(
        "(double[N,5,8] x) => (double[N,5,8] y) <double[8,8] w, double[8] k, double[8] t>"
        "{ c = MatMul(x, w) d = Mul(c, k) y = Add(d, t) }",
        "MatMul Add",
    ),
    "gamma zero or negative": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] g = {0, -1, -0.0, -2}, "
        "float[4] be, float[4] m, float[4] var> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "variance zero": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] g, float[4] be, "
        "float[4] m, float[4] v = {0, 1, 0, 2}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, v) }",
        "Conv",
    ),
}
FOLDS["nothing at all"] = Folds(**{**vars(FOLDS["nothing at all"]), "direction": "removal"})

REFUSES = {
    "parameters of run time": Refuses(
        "(float[N,8,4,4] x, float[8] g, float[8] be, float[8] m, float[8] var) => (float[N,8,4,4] y)"
        "{ y = BatchNormalization(x, g, be, m, var) }",
        "NF102 y",
    ),
    "parameters of another number than the channels": Refuses(
        f"(float[N,4,8,4] x) => (float[N,4,8,4] y) <{BN8}> {{ y = BatchNormalization(x, g, be, m, var) }}",
        "NF136 y",
    ),
    "training mode with one output": Refuses(  # as exporters write it, though the checker wants three
        f"(float[N,8,4,4] x) => (float[N,8,4,4] y) <{BN8}>"
        f"{{ y = BatchNormalization<training_mode=1>(x, g, be, m, var) }}",
        "NF101 y",
    ),
    "training mode with three outputs": Refuses(
        f"(float[N,8,4,4] x) => (float[N,8,4,4] y, float[8] rm, float[8] rv) <{BN8}>"
        "{ y, rm, rv = BatchNormalization<training_mode=1>(x, g, be, m, var) }",
        "NF101 y",
    ),
    "training mode of opset 9, which is its number of outputs": Refuses(
        f"(float[N,8,4,4] x) => (float[N,8,4,4] y) <{BN8}>"
        "{ y, rm, rv, sm, sv = BatchNormalization(x, g, be, m, var) }",
        "NF101 y",
        opset=9,
    ),
    "variance + epsilon not positive": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4] g, float[4] be, float[4] m, float[4] v = {1, 1, -0.1, 1},"
        "float[4,4,1,1] w> { c = Conv(x, w) y = BatchNormalization<epsilon=0.01>(c, g, be, m, v) }",
        "NF114 y",
    ),
    "a variance that is not a number": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4] g, float[4] be, float[4] m, float[4] v = {1, nan, 1, 1},"
        "float[4,4,1,1] w> { c = Conv(x, w) y = BatchNormalization(c, g, be, m, v) }",
        "NF114 y",
    ),
    "division by zero": Refuses(
        "(float[N,2,6,6] x) => (float[N,2,6,6] y) <float[2,1,1] k = {1, 0}, float[2,2,1,1] w>"
        "{ c = Conv(x, w) y = Div(c, k) }",
        "NF115 y",
    ),
    "the constant makes the value larger": Refuses(
        "(float[N,1,6,6] x) => (float[N,8,6,6] y) <float[8,1,1] k, float[1,1,1,1] w> { c = Conv(x, w) y = Mul(c, k) }",
        "NF119 y",
    ),
    "the constant has a higher rank": Refuses(
        "(float[5,8] x) => (float[2,5,8] y) <float[2,1,1] k, float[8,8] w> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF119 y",
    ),
    "the constant meets a dimension of unknown size": Refuses(
        "(float[N,C,6,6] x) => (float[N,C,6,6] y) <float[8,1,1] k> { c = Relu(x) y = Mul(c, k) }",
        "NF112 y",
    ),
    "an overridable gamma": Refuses(
        "(float[N,2,6,6] x, float[2] g) => (float[N,2,6,6] y) <float[2] g = {1, 2}, float[2] be, float[2] m,"
        "float[2] var, float[2,2,1,1] w> { c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF106 y",
    ),
    "an overridable factor": Refuses(
        "(float[N,2,6,6] x, float k) => (float[N,2,6,6] y) <float k = {2}, float[2,2,1,1] w>"
        "{ c = Conv(x, w) y = Mul(c, k) }",
        "NF106 y",
    ),
    "an overridable weight": Refuses(
        "(float[N,2,6,6] x, float[2,2,1,1] w) => (float[N,2,6,6] y) <float[2,2,1,1] w = {1, 2, 3, 4}, float k = {2}>"
        "{ c = Conv(x, w) y = Mul(c, k) }",
        "NF106 c, NF104 y",
    ),
    "training mode behind a conv, one output": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, {BN4}> "
        "{ c = Conv(x, w) y = BatchNormalization<training_mode=1>(c, g, be, m, var) }",
        "NF101 y",
    ),
    "training mode behind a conv, three outputs": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, {BN4}> "
        "{ c = Conv(x, w) y, rm, rv = BatchNormalization<training_mode=1>(c, g, be, m, var) }",
        "NF101 y",
    ),
    "training mode with empty outputs": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, {BN4}> "
        '{ c = Conv(x, w) y, "", "" = BatchNormalization<training_mode=1>(c, g, be, m, var) }',
        "NF101 y",
    ),
    "variance + epsilon not positive, default epsilon": Refuses(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] g, float[4] be, "
        "float[4] m, float[4] v = {1, -1, 1, 1}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, v) }",
        "NF114 y",
    ),
}

NOTHING_FOUND = {
    "integers": "(int64[N,4] x) => (int64[N,4] y) <int64 k = {3}> { y = Mul(x, k) }",
    "two variables": "(float[N,4] x, float[N,4] z) => (float[N,4] y) { y = Mul(x, z) }",
    "a constant divided by the value": "(float[N,4] x) => (float[N,4] y) <float k = {3}> { y = Div(k, x) }",
    "a square": "(float[N,4] x) => (float[N,4] y) { y = Mul(x, x) }",
    "a product of constants": "(float[N,4] x) => (float[N,4] y, float[4] z) <float[4] k, float[4] j>"
    "{ y = Relu(x) z = Mul(k, j) }",
    **{
        f"a depthwise convolution with {what}": f"(float[N,4,8,8] x) => (float[N,{made},I,J] y) <float[{weight}] w>"
        f"{{ r = Relu(x) y = Conv<group=4{how}>(r, w) }}"
        for what, made, weight, how in (
            ("a stride", 4, "4,1,1,1", ", strides=[2,1]"),
            ("a padding", 4, "4,1,1,1", ", pads=[0,0,1,0]"),
            ("two results a channel", 8, "8,1,1,1", ""),
            ("a kernel", 4, "4,1,1,2", ""),
        )
    },
    "a convolution of groups": "(float[N,4,8,8] x) => (float[N,2,8,8] y) <float[2,2,1,1] w>"
    "{ r = Relu(x) y = Conv<group=2>(r, w) }",
    "an operator that is unused": "(float[N,4] x) => (float[N,4] y) <float[4] k> { y = Relu(x) z = Mul(x, k) }",
}


test_folds = every(FOLDS)
test_refuses = every(REFUSES)


def test_an_initializer_that_is_an_input_is_fixed_before_ir_version_4() -> None:
    text = (
        "(float[N,2,6,6] x, float k, float[2,2,1,1] w) => (float[N,2,6,6] y) <float k = {2},"
        "float[2,2,1,1] w = {1, 2, 3, 4}> { c = Conv(x, w) y = Mul(c, k) }"
    )
    assert_folds(Folds(text, "Conv", ir_version=3))


def test_empty_outputs_are_none() -> None:
    """Only folded, not run: ONNX Runtime crashes on a BatchNormalization with empty outputs."""
    row = after_conv(BN8, 'y, "", "", "", "" = BatchNormalization(c, g, be, m, var)', opset=9)
    assert operators(fold(model_of(row)).model) == "Conv"


@pytest.mark.parametrize("name", NOTHING_FOUND)
def test_finds_nothing(name: str) -> None:
    result = assert_sound(parse(NOTHING_FOUND[name]))
    assert not result.verdicts


# Operators of the first converters: the checker knows them no more, so the rows are proven in ONNX Runtime.
@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        ("c = Conv(x, w) y = Affine<alpha = 2.5, beta = -0.5>(c)", "Conv"),
        ("c = Affine<alpha = 2.5>(x) y = Conv(c, w)", "Conv"),
        ("c = Scale<scale = -2.5>(x) y = Conv(c, w)", "Conv"),
        ("c = ImageScaler<scale = 0.5, bias = [0.1, 0.2, -3.0]>(x) y = Conv(c, w)", "Conv"),
        ("c = Conv(x, w) d = Crop<border = [0, 0, 0, 0]>(c) y = Scale<scale = 2.0>(d)", "Conv Crop"),
        (
            "c = ImageScaler<bias = [0.1, 0.2, -3.0]>(x) d = Crop<border = [0, 0, 0, 0]>(c) y = Conv(d, w)",
            "Crop Conv",
        ),
        ("c = ImageScaler<bias = [0.1, 0.2, -3.0]>(x) y = Conv<pads = [1, 1, 1, 1]>(c, w)", "ImageScaler Conv"),
        (
            "c = Relu(x) d = Affine<alpha = 2.0, beta = 1.0>(c) e = Sigmoid(d) y = Conv(e, w)",
            "Relu Affine Sigmoid Conv",
        ),
    ],
)
def test_affines_of_the_first_converters(nodes: str, left: str) -> None:
    size = 6 if "pads" in nodes else 4
    head = f'<ir_version: 8, opset_import: ["" : 9]> g (float[2,3,6,6] x) => (float[2,4,{size},{size}] y)'
    model = onnx.parser.parse_model(f"{head} {{ {nodes} }}")
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    result = normfold.optimize(model)
    folded = result.model
    assert [node.op_type for node in folded.graph.node] == left.split()
    assert normfold.verify(model, folded)


def test_numbers_that_are_not_finite_are_refused_without_a_warning() -> None:
    """A power transformer of scikit-learn writes such a Scaler for a column that it cannot transform."""
    model = parse(
        "(float[N,2] x) => (float[N,3] y) <float[2,3] w> "
        "{ c = ai.onnx.ml.Scaler<offset = [1.0, 5.0], scale = [0.0, 0.5]>(x) y = MatMul(c, w) }",
        domains='"ai.onnx.ml":3',
    )
    offset = next(attribute for attribute in model.graph.node[0].attribute if attribute.name == "offset")
    offset.floats[0] = np.inf
    (verdict,) = normfold.inspect(model).verdicts
    assert (verdict.main_obstacle.reason.code, verdict.main_obstacle.detail) == (
        "NF115",
        "its scale or shift is not finite",
    )
