"""Conv, ConvTranspose and DeformConv of any rank and group."""

from __future__ import annotations

import onnx
import onnx.parser
import onnx_ir as ir
import pytest

import normfold
from normfold.findings.verdict import Outcome
from normfold.fold.engine import fold_affines
from tests.fold.rows import BN4, BN8, Folds, Refuses, every
from tests.onnx_text import parse


def deformable(nodes: str, weights: str, inputs: str = "x, w, of", more: str = "", group: int = 1) -> str:
    """Return a text in which a DeformConv of 8 channels makes c of ``inputs``, and ``nodes`` make y of c."""
    head = (
        f"(float[N,4,5,5] x, float[N,18,3,3] of{more}) => (float[N,8,3,3] y) <float[8,{4 // group},3,3] w, {weights}>"
    )
    return f"{head} {{ c = DeformConv<group={group}>({inputs}) {nodes} }}"


BACKWARD = {
    **{
        f"deformable conv with {name}": Folds(
            deformable("y = BatchNormalization(c, g, be, m, var)", f"{BN8}{bias}", inputs, more, group),
            "DeformConv",
            opset=19,
            ir_version=10,
        )
        for name, inputs, more, bias, group in (
            ("a bias", "x, w, of, b", "", ", float[8] b", 1),
            ("no bias", "x, w, of", "", "", 1),
            ("a mask and no bias", "x, w, of, , ma", ", float[N,9,3,3] ma", "", 1),
            ("two groups", "x, w, of", "", "", 2),
        )
    },
    "conv1d": Folds(
        f"(float[N,4,9] x) => (float[N,8,7] y) <float[8,4,3] w, float[8] b, {BN8}> "
        "{ c = Conv(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "conv2d": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,9,9] y) <float[8,4,3,3] w, float[8] b, {BN8}> "
        "{ c = Conv<pads=[1,1,1,1]>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "conv3d": Folds(
        f"(float[N,4,5,5,5] x) => (float[N,8,2,2,2] y) <float[8,4,3,3,3] w, float[8] b, {BN8}> "
        "{ c = Conv<strides=[2,2,2]>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "conv without bias": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, {BN8}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "conv with two groups": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,2,3,3] w, float[8] b, {BN8}> "
        "{ c = Conv<group=2>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "depthwise conv": Folds(
        f"(float[N,8,9,9] x) => (float[N,8,5,5] y) <float[8,1,3,3] w, {BN8}> "
        "{ c = Conv<group=8, dilations=[2,2]>(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "conv, scale only, keeps its bias absent": Folds(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, float[8,1,1] k> { c = Conv(x, w) y = Mul(c, k) }",
        "Conv",
    ),
    "conv, shift only, makes a bias": Folds(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, float[1,8,1,1] k> "
        "{ c = Conv(x, w) y = Add(k, c) }",
        "Conv",
    ),
    "transposed conv1d": Folds(
        f"(float[N,4,9] x) => (float[N,8,11] y) <float[4,8,3] w, float[8] b, {BN8}> "
        "{ c = ConvTranspose(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "ConvTranspose",
    ),
    "transposed conv2d with groups and output padding": Folds(
        f"(float[N,6,5,5] x) => (float[N,8,12,12] y) <float[6,4,3,3] w, float[8] b, {BN8}> "
        "{ c = ConvTranspose<group=2, strides=[2,2], output_padding=[1,1]>(x, w, b) "
        "y = BatchNormalization(c, g, be, m, var) }",
        "ConvTranspose",
    ),
    "transposed depthwise conv without bias": Folds(
        f"(float[N,8,5,5] x) => (float[N,8,9,9] y) <float[8,1,3,3] w, {BN8}> "
        "{ c = ConvTranspose<group=8, strides=[2,2], pads=[1,1,1,1]>(x, w) "
        "y = BatchNormalization(c, g, be, m, var) }",
        "ConvTranspose",
    ),
    "transposed conv3d": Folds(
        f"(float[N,4,3,3,3] x) => (float[N,8,4,4,4] y) <float[4,8,2,2,2] w, {BN8}> "
        "{ c = ConvTranspose(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "ConvTranspose",
    ),
    "a weight shared by two convs": Folds(
        "(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, float[N,4,9,9] z) <float[4,3,1,1] w, "
        f"{BN4}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) z = Conv(q, w) }",
        "Conv Conv",
    ),
    "a weight shared by two convs that both have a norm": Folds(
        "(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, float[N,4,9,9] z) <float[4,3,1,1] w, "
        f"{BN4},float[4] g2, float[4] be2, float[4] m2, float[4] var2> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) d = Conv(q, w) "
        "z = BatchNormalization(d, g2, be2, m2, var2) }",
        "Conv Conv",
    ),
    "a bias shared by two convs": Folds(
        "(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, "
        f"float[N,4,9,9] z) <float[4,3,1,1] w,float[4,3,1,1] v, float[4] b, {BN4}> "
        "{ c = Conv(x, w, b) y = BatchNormalization(c, g, be, m, var) z = Conv(q, v, b) }",
        "Conv Conv",
    ),
    "parameters shared by two norms": Folds(
        "(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, "
        f"float[N,4,9,9] z) <float[4,3,1,1] w,float[4,3,1,1] v, {BN4}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) d = Conv(q, v) "
        "z = BatchNormalization(d, g, be, m, var) }",
        "Conv Conv",
    ),
    "a conv without bias": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, {BN4}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "weights in Constant nodes": Folds(
        "(float[N,1,6,6] x) => (float[N,2,6,6] y) <float[2] be, float[2] m, float[2] var> "
        "{ w = Constant<value = float[2,1,1,1] {2, -3}>() "
        "g = Constant<value_floats = [0.5, 4.0]>()c = Conv(x, w) "
        "y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "weights behind an Identity": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, {BN4}> "
        "{ w = Identity(v) h = Identity(g) c = Conv(x, w) y = BatchNormalization(c, h, be, m, var) }",
        "Conv",
    ),
    "weights behind a Cast": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <double[4,3,1,1] v, {BN4}> "
        "{ w = Cast<to=1>(v) c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "weights behind a Reshape": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[12] v, int64[4] s = {{4, 3, 1, 1}}, {BN4}> "
        "{ w = Reshape(v, s) c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "weights behind a Transpose": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[1,1,3,4] v, {BN4}> "
        "{ w = Transpose<perm=[3,2,0,1]>(v) c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "weights from ConstantOfShape": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <int64[4] s = {{4, 3, 1, 1}}, {BN4}> "
        "{ w = ConstantOfShape<value = float[1] {0.25}>(s) c = Conv(x, w) "
        "y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
    "float16 conv with float32 parameters": Folds(
        f"(float16[N,3,6,6] x) => (float16[N,4,6,6] y) <float16[4,3,1,1] w, float16[4] b, {BN4}> "
        "{ c = Conv(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "Conv",
    ),
}
FORWARD = {
    "deformable conv, a scale by channel": Folds(
        "(float[N,4,5,5] x, float[N,18,3,3] of) => (float[N,8,3,3] y) <float[8,4,3,3] w, float[4,1,1] k> "
        "{ c = Mul(x, k) y = DeformConv(c, w, of) }",
        "DeformConv",
        "forward",
        opset=19,
        ir_version=10,
    ),
    "a convolution that ONNX Runtime fused with any activation": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] b, float[3,1,1] k, float[3,1,1] t>"
        '{ m = Mul(x, k) a = Add(m, t) y = com.microsoft.FusedConv<activation="Tanh">(a, w, b) }',
        "FusedConv",
        "forward",
        domains='"com.microsoft":1',
    ),
    "conv without padding takes scale and shift": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y) <{BN4}, float[8,4,3,3] w, float[8] b> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv(c, w, b) }",
        "Conv",
        "forward",
    ),
    "conv with groups": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,4,4] y) <{BN4}, float[8,2,3,3] w> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv<group=2, strides=[2,2]>(c, w) }",
        "Conv",
        "forward",
    ),
    "depthwise conv1d": Folds(
        f"(float[N,4,9] x) => (float[N,8,7] y) <{BN4}, float[8,1,3] w, float[8] b> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv<group=4>(c, w, b) }",
        "Conv",
        "forward",
    ),
    "conv3d": Folds(
        f"(float[N,4,3,3,3] x) => (float[N,8,2,2,2] y) <{BN4}, float[8,4,2,2,2] w> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv(c, w) }",
        "Conv",
        "forward",
    ),
    "padded conv takes a scale": Folds(
        "(float[N,4,9,9] x) => (float[N,8,9,9] y) <float[4,1,1] k, float[8,4,3,3] w> "
        "{ c = Mul(x, k) y = Conv<pads=[1,1,1,1]>(c, w) }",
        "Conv",
        "forward",
    ),
    "padded conv takes the scale of a pair, the shift stays": Folds(
        "(float[N,4,9,9] x) => (float[N,8,9,9] y) <float[4,1,1] k, float[4,9,9] t, float[8,4,3,3] w> "
        "{ c = Mul(x, k) d = Add(c, t) y = Conv<pads=[1,1,1,1]>(d, w) }",
        "Add Conv",
        "forward",
        kept="d",
    ),
    "pointwise conv with auto_pad SAME": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,5,5] y) <{BN4}, float[8,4,1,1] w> "
        "{ c = BatchNormalization(x, g, be, m, var) "
        'y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(c, w) }',
        "Conv",
        "forward",
    ),
    "transposed conv takes a scale": Folds(
        "(float[N,4,5,5] x) => (float[N,6,11,11] y) <float[4,1,1] k, float[4,3,3,3] w, float[6] b> "
        "{ c = Mul(x, k) y = ConvTranspose<group=2, strides=[2,2]>(c, w, b) }",
        "ConvTranspose",
        "forward",
    ),
    "pointwise transposed conv takes a shift": Folds(
        f"(float[N,4,5,5] x) => (float[N,6,5,5] y) <{BN4}, float[4,3,1,1] w, float[6] b> "
        "{ c = BatchNormalization(x, g, be, m, var) y = ConvTranspose<group=2>(c, w, b) }",
        "ConvTranspose",
        "forward",
    ),
    "two convs take the same norm": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y, float[N,6,9,9] z) <{BN4}, float[8,4,3,3] w, "
        "float[6,4,1,1] v> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv(c, w) z = Conv(c, v) }",
        "Conv Conv",
        "forward",
    ),
}
REFUSES = {
    "deformable conv: a shift before it, where offsets lead outside": Refuses(
        "(float[N,4,5,5] x, float[N,18,3,3] of) => (float[N,8,3,3] y) <float[8,4,3,3] w, float[4,1,1] t> "
        "{ c = Add(x, t) y = DeformConv(c, w, of) }",
        "NF107 y, NF118 c",
        opset=19,
        ir_version=10,
    ),
    "deformable conv: a scale of its offsets is none of its data": Refuses(
        "(float[N,4,5,5] x, float[N,18,3,3] o) => (float[N,8,3,3] y) <float[8,4,3,3] w, float[18,1,1] k> "
        "{ of = Mul(o, k) y = DeformConv(x, w, of) }",
        "NF113 y, NF118 of",
        opset=19,
        ir_version=10,
    ),
    "a shift before a padded convolution that ONNX Runtime fused": Refuses(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[3,1,1] t>"
        '{ c = Add(x, t) y = com.microsoft.FusedConv<activation="Relu", pads=[1,1,1,1]>(c, w, b) }',
        "NF107 y, NF118 c",
        site="c",
        domains='"com.microsoft":1',
    ),
    "conv with a weight of run time": Refuses(
        f"(float[N,4,9,9] x, float[8,4,3,3] w) => (float[N,8,7,7] y) <{BN8}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF113 c, NF104 y",
    ),
    "conv with a bias of run time": Refuses(
        f"(float[N,4,9,9] x, float[8] b) => (float[N,8,7,7] y) <{BN8}, float[8,4,3,3] w> "
        "{ c = Conv(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "NF113 c, NF104 y",
    ),
    "conv whose output varies along the width": Refuses(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, float[7] k> { c = Conv(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "padded conv and a norm before it": Refuses(
        f"(float[N,4,9,9] x) => (float[N,8,9,9] y) <{BN4}, float[8,4,3,3] w> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv<pads=[1,1,1,1]>(c, w) }",
        "NF107 y, NF118 c",
        site="c",
    ),
    "conv with auto_pad SAME and a norm before it": Refuses(
        f"(float[N,4,9,9] x) => (float[N,8,9,9] y) <{BN4}, float[8,4,3,3] w> "
        '{ c = BatchNormalization(x, g, be, m, var) y = Conv<auto_pad="SAME_LOWER">(c, w) }',
        "NF107 y, NF118 c",
        site="c",
    ),
    "conv whose input varies along the height": Refuses(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[9,1] k, float[8,4,3,3] w> { c = Mul(x, k) y = Conv(c, w) }",
        "NF111 y, NF118 c",
        site="c",
    ),
    "conv whose weight is the affine": Refuses(
        "(float[N,4,9,9] x, float[8,4,3,3] w) => (float[N,8,7,7] y) <float[8,1,1,1] k> "
        "{ c = Mul(w, k) y = Conv(x, c) }",
        "NF113 y, NF118 c",
        site="c",
    ),
    "transposed conv and a norm before it": Refuses(
        f"(float[N,4,5,5] x) => (float[N,8,7,7] y) <{BN4}, float[4,8,3,3] w> "
        "{ c = BatchNormalization(x, g, be, m, var) y = ConvTranspose(c, w) }",
        "NF107 y, NF118 c",
        site="c",
    ),
    "a bias that has one element for all channels": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[1] b, {BN4}> "
        "{ c = Conv(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        "NF112 c, NF104 y",
    ),
    "a weight of run time": Refuses(
        f"(float[N,3,6,6] x, float[4,3,1,1] w) => (float[N,4,6,6] y) <{BN4}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF113 c, NF104 y",
    ),
    "an overridable initializer": Refuses(
        "(float[N,1,6,6] x, float[2,1,1,1] w) => (float[N,2,6,6] y) <float[2,1,1,1] w = {1, 2}, "
        "float[2] g,float[2] be, float[2] m, float[2] var> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF106 c, NF104 y",
    ),
    "a padded conv between": Refuses(
        f"(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,4,3,3] w, {BN4}> "
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv<pads=[1,1,1,1]>(c, w) }",
        "NF107 y, NF118 c",
        site="c",
    ),
    "a float16 overflow of a weight": Refuses(
        "(float16[N,1,6,6] x) => (float16[N,2,6,6] y) <float16[2,1,1,1] w, float16[2,1,1] k> "
        "{ c = Conv(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (600, 1), "k": (200, 1)},
    ),
    "a float16 overflow of a bias": Refuses(
        "(float16[N,1,6,6] x) => (float16[N,2,6,6] y) <float16[2,1,1,1] w, float16[2] b, "
        "float16[2,1,1] t> "
        "{ c = Conv(x, w, b) y = Add(c, t) }",
        "NF115 c, NF104 y",
        values={"b": (60000, 1), "t": (60000, 1)},
    ),
    "a row of weights that would become subnormal": Refuses(
        "(float16[N,1,6,6] x) => (float16[N,2,6,6] y) <float16[2,1,1,1] w, float16[2,1,1] k> "
        "{ c = Conv(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
    "most rows of weights would be faint": Refuses(
        "(float[N,1,6,6] x) => (float[N,3,6,6] y) <float[3,1,1,1] w, float[3,1,1] k> { c = Conv(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (1, 1, 1), "k": (1e-22, 1e-22, 1)},
    ),
    "an output channel of a transposed conv that would become subnormal": Refuses(
        "(float16[N,1,6,6] x) => (float16[N,2,6,6] y) <float16[1,2,1,1] w, float16[2,1,1] k> "
        "{ c = ConvTranspose(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
    "no groups": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,1,1,1] w, float[4,1,1] k> { c = Mul(x, k) y = "
        "Conv<group=0>(c, w) }",
        "NF136 y, NF118 c",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)


# A bias of a shape that Conv does not allow was a traceback once.
TWO_BIASES = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,4,4] x) => (float[1,2,4,4] y)
    <float[2,2,1,1] w = {1, 2, 3, 4}, float[2,2] b = {1, 2, 3, 4}, float[2,1,1] s = {2, 3}>
"""


@pytest.mark.parametrize(
    "tail", ["{ c = Conv(x, w, b) y = Mul(c, s) }", "{ c = Conv(x, w, b) d = Conv(x, w) y = Add(c, d) }"]
)
def test_a_bias_of_two_dimensions_stays(tail: str) -> None:
    model = ir.from_proto(onnx.parser.parse_model(TWO_BIASES + tail))
    for node in model.graph:
        node.outputs[0].shape, node.outputs[0].dtype = ir.Shape([1, 2, 4, 4]), ir.DataType.FLOAT
    before = [node.op_type for node in model.graph]
    verdicts = fold_affines(model)
    assert all(verdict.outcome is Outcome.KEPT for verdict in verdicts)
    assert [node.op_type for node in model.graph] == before


@pytest.mark.parametrize("group", [0, -1])
def test_a_number_of_groups_that_is_none_is_no_error(group: int) -> None:
    """ONNX Runtime loads such a model; only a run of it fails."""
    model = parse(
        "(float[N,4,5,5] x) => (float[N,4,5,5] y) <float[4,4,1,1] w, float[4] b, float[4] var> "
        "{ c = Conv(x, w) d = BatchNormalization(x, b, b, b, var) s = Add(c, d) "
        "y = BatchNormalization(s, b, b, b, var) }"
    )
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("group", group))
    assert normfold.inspect(model).verdicts
