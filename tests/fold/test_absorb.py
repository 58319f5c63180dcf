"""Where an affine ends: every absorber, what it takes and what it refuses."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from normfold.findings.reason import Reason
from normfold.fold.engine import fold_affines
from tests.fold.rows import Folds, Refuses, assert_folds, assert_refuses

BN8 = "float[8] g, float[8] be, float[8] m, float[8] var"
BN6 = "float[6] g, float[6] be, float[6] m, float[6] var"
BN4 = "float[4] g, float[4] be, float[4] m, float[4] var"
NORM = "BatchNormalization(c, g, be, m, var)"
NORM_X = "BatchNormalization(x, g, be, m, var)"

BACKWARD = {
    # -- Conv
    "conv1d": Folds(
        f"(float[N,4,9] x) => (float[N,8,7] y) <float[8,4,3] w, float[8] b, {BN8}> {{ c = Conv(x, w, b) y = {NORM} }}",
        "Conv",
    ),
    "conv2d": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,9,9] y) <float[8,4,3,3] w, float[8] b, {BN8}>"
        f"{{ c = Conv<pads=[1,1,1,1]>(x, w, b) y = {NORM} }}",
        "Conv",
    ),
    "conv3d": Folds(
        f"(float[N,4,5,5,5] x) => (float[N,8,2,2,2] y) <float[8,4,3,3,3] w, float[8] b, {BN8}>"
        f"{{ c = Conv<strides=[2,2,2]>(x, w, b) y = {NORM} }}",
        "Conv",
    ),
    "conv without bias": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, {BN8}> {{ c = Conv(x, w) y = {NORM} }}", "Conv"
    ),
    "conv with two groups": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,2,3,3] w, float[8] b, {BN8}>"
        f"{{ c = Conv<group=2>(x, w, b) y = {NORM} }}",
        "Conv",
    ),
    "depthwise conv": Folds(
        f"(float[N,8,9,9] x) => (float[N,8,5,5] y) <float[8,1,3,3] w, {BN8}>"
        f"{{ c = Conv<group=8, dilations=[2,2]>(x, w) y = {NORM} }}",
        "Conv",
    ),
    "conv, scale only, keeps its bias absent": Folds(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, float[8,1,1] k>{ c = Conv(x, w) y = Mul(c, k) }",
        "Conv",
    ),
    "conv, shift only, makes a bias": Folds(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, float[1,8,1,1] k>{ c = Conv(x, w) y = Add(k, c) }",
        "Conv",
    ),
    # -- ConvTranspose
    "transposed conv1d": Folds(
        f"(float[N,4,9] x) => (float[N,8,11] y) <float[4,8,3] w, float[8] b, {BN8}>"
        f"{{ c = ConvTranspose(x, w, b) y = {NORM} }}",
        "ConvTranspose",
    ),
    "transposed conv2d with groups and output padding": Folds(
        f"(float[N,6,5,5] x) => (float[N,8,12,12] y) <float[6,4,3,3] w, float[8] b, {BN8}>"
        f"{{ c = ConvTranspose<group=2, strides=[2,2], output_padding=[1,1]>(x, w, b) y = {NORM} }}",
        "ConvTranspose",
    ),
    "transposed depthwise conv without bias": Folds(
        f"(float[N,8,5,5] x) => (float[N,8,9,9] y) <float[8,1,3,3] w, {BN8}>"
        f"{{ c = ConvTranspose<group=8, strides=[2,2], pads=[1,1,1,1]>(x, w) y = {NORM} }}",
        "ConvTranspose",
    ),
    "transposed conv3d": Folds(
        f"(float[N,4,3,3,3] x) => (float[N,8,4,4,4] y) <float[4,8,2,2,2] w, {BN8}>"
        f"{{ c = ConvTranspose(x, w) y = {NORM} }}",
        "ConvTranspose",
    ),
    # -- Gemm
    "gemm": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[4,8] w, float[8] b, {BN8}> {{ c = Gemm(x, w, b) y = {NORM} }}", "Gemm"
    ),
    "gemm transB, alpha, beta": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[8,4] w, float[8] b, {BN8}>"
        f"{{ c = Gemm<transB=1, alpha=0.5, beta=-2.0>(x, w, b) y = {NORM} }}",
        "Gemm",
    ),
    "gemm transA": Folds(
        f"(float[4,3] x) => (float[3,8] y) <float[4,8] w, float[1,8] b, {BN8}>"
        f"{{ c = Gemm<transA=1>(x, w, b) y = {NORM} }}",
        "Gemm",
    ),
    "gemm without C": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[8,4] w, {BN8}> {{ c = Gemm<transB=1, alpha=3.0>(x, w) y = {NORM} }}",
        "Gemm",
    ),
    "gemm with C of one column": Folds(
        f"(float[3,4] x) => (float[3,8] y) <float[4,8] w, float[3,1] b, {BN8}> {{ c = Gemm(x, w, b) y = {NORM} }}",
        "Gemm",
    ),
    "gemm with a whole C": Folds(
        f"(float[3,4] x) => (float[3,8] y) <float[4,8] w, float[3,8] b, {BN8}>"
        f"{{ c = Gemm<beta=0.5>(x, w, b) y = {NORM} }}",
        "Gemm",
    ),
    "gemm with a scalar C": Folds(
        f"(float[3,4] x) => (float[3,8] y) <float[4,8] w, float b = {{0.7}}, {BN8}>{{ c = Gemm(x, w, b) y = {NORM} }}",
        "Gemm",
    ),
    "gemm with beta 0": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[4,8] w, float[8] b, {BN8}>"
        f"{{ c = Gemm<beta=0.0>(x, w, b) y = {NORM} }}",
        "Gemm",
    ),
    "gemm with the weight on the left": Folds(
        "(float[4,5] x) => (float[8,5] y) <float[8,4] w, float[5] b, float[8,1] k, float[8,1] t>"
        "{ c = Gemm(w, x, b) d = Mul(c, k) y = Add(d, t) }",
        "Gemm",
    ),
    "gemm with the transposed weight on the left": Folds(
        "(float[5,4] x) => (float[8,5] y) <float[4,8] w, float[8,1] k, float[8,1] t>"
        "{ c = Gemm<transA=1, transB=1, alpha=2.0>(w, x) d = Mul(c, k) y = Add(d, t) }",
        "Gemm",
    ),
    # -- MatMul
    "matmul becomes a gemm for the shift": Folds(
        f"(float[N,4] x) => (float[N,8] y) <float[4,8] w, {BN8}> {{ c = MatMul(x, w) y = {NORM} }}", "Gemm"
    ),
    "matmul at rank 2, scale only, stays a matmul": Folds(
        "(float[N,4] x) => (float[N,8] y) <float[4,8] w, float[8] k> { c = MatMul(x, w) y = Div(c, k) }", "MatMul"
    ),
    "matmul and bias and scale at rank 3": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] b, float[8] k>"
        "{ c = MatMul(x, w) d = Add(c, b) y = Mul(d, k) }",
        "MatMul Add",
    ),
    "matmul with the weight on the left": Folds(
        f"(float[N,4,5] x) => (float[N,8,5] y) <float[8,4] w, {BN8}> {{ c = MatMul(w, x) y = {NORM} }}", "MatMul Add"
    ),
    "matmul with a batched weight": Folds(
        "(float[N,3,5,4] x) => (float[N,3,5,8] y) <float[3,4,8] w, float[3,1,8] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
    ),
    "matmul with a batched weight that makes the rank": Folds(
        "(float[5,4] x) => (float[3,5,8] y) <float[3,4,8] w, float[3,1,1] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
    ),
    "matmul with a weight of size 1 in a batch axis": Folds(
        "(float[N,3,5,4] x) => (float[N,3,5,8] y) <float[1,1,4,8] w, float[8] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
    ),
    "matmul with a vector on the right, scalar scale": Folds(
        "(float[N,5,4] x) => (float[N,5] y) <float[4] w, float k = {-0.5}> { c = MatMul(x, w) y = Mul(c, k) }", "MatMul"
    ),
    "matmul with a vector on the left, scalar scale": Folds(
        "(float[N,4,5] x) => (float[N,5] y) <float[4] w, float k = {3.0}> { c = MatMul(w, x) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a vector with a matrix": Folds(
        "(float[4] x) => (float[8] y) <float[4,8] w, float[8] k> { c = MatMul(x, w) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a matrix with a vector": Folds(
        "(float[4] x) => (float[8] y) <float[8,4] w, float[8] k> { c = MatMul(w, x) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a vector with a batch of matrices": Folds(
        "(float[4] x) => (float[3,8] y) <float[3,4,8] w, float[3,8] k> { c = MatMul(x, w) y = Mul(c, k) }", "MatMul"
    ),
    "matmul of a batch of matrices with a vector": Folds(
        "(float[4] x) => (float[3,8] y) <float[3,8,4] w, float[3,8] k> { c = MatMul(w, x) y = Mul(c, k) }", "MatMul"
    ),
    # -- norms
    "layer norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] ba, float[8] k, float[8] t>"
        "{ c = LayerNormalization(x, ga, ba) d = Mul(c, k) y = Add(d, t) }",
        "LayerNormalization",
    ),
    "layer norm without beta gets one": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] k, float[8] t>"
        "{ c = LayerNormalization(x, ga) d = Mul(c, k) y = Add(d, t) }",
        "LayerNormalization",
    ),
    "layer norm over two axes, scale along the first": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[5,8] ga, float[5,8] ba, float[5,1] k>"
        "{ c = LayerNormalization<axis=1>(x, ga, ba) y = Mul(c, k) }",
        "LayerNormalization",
    ),
    "layer norm over two axes of one size, gamma of the last, scale along the first": Folds(
        "(float[N,8,8] x) => (float[N,8,8] y) <float[8] ga, float[8] ba, float[8,1] k>"
        "{ c = LayerNormalization<axis=1>(x, ga, ba) y = Mul(c, k) }",
        "LayerNormalization",
    ),
    "layer norm with gamma of one number": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[1] ga, float[8] k, float[8] t>"
        "{ c = LayerNormalization(x, ga) d = Mul(c, k) y = Add(d, t) }",
        "LayerNormalization",
    ),
    "layer norm with gamma of one number and a whole beta": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[1] ga, float[8] ba, float k = {-2.0}>"
        "{ c = LayerNormalization(x, ga, ba) y = Mul(c, k) }",
        "LayerNormalization",
    ),
    "rms norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] k>{ c = RMSNormalization(x, ga) y = Mul(c, k) }",
        "RMSNormalization",
        opset=23,
    ),
    "instance norm": Folds(
        f"(float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8] ga, float[8] ba, {BN8}>"
        f"{{ c = InstanceNormalization(x, ga, ba) y = {NORM} }}",
        "InstanceNormalization",
    ),
    "group norm from opset 21": Folds(
        "(float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8] ga, float[8] ba, float[8,1,1] k, float[8,1,1] t,"
        "float[N,8,5,5] c>"
        "{ c = GroupNormalization<num_groups=2>(x, ga, ba) d = Mul(c, k) y = Sub(d, t) }",
        "GroupNormalization",
        opset=21,
    ),
    # -- another affine
    "two norms in a row become one": Folds(
        f"(float[N,8,5,5] x) => (float[N,8,5,5] y) <{BN8}, float[8] g2, float[8] be2, float[8] m2, float[8] var2>"
        f"{{ c = {NORM_X} y = BatchNormalization(c, g2, be2, m2, var2) }}",
        "BatchNormalization",
        direction="merge",
        kept="y",
    ),
    "multiply and add by channel become one batchnorm": Folds(
        "(float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8,1,1] k, float[8,1,1] t> { c = Mul(k, x) y = Add(c, t) }",
        "BatchNormalization",
        direction="merge",
        kept="y",
    ),
    "add and multiply on the last axis become multiply and add only where that is less": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] k, float[8] t, float[8] u>"
        "{ c = Add(x, t) d = Mul(c, k) y = Add(d, u) }",
        "Mul Add",
        direction="merge",
        kept="d y",
    ),
    "a norm meets another through a transpose": Folds(
        f"(float[N,8,5] x) => (float[N,5,8] y) <{BN8}, float[8] k>"
        f"{{ c = {NORM_X} d = Transpose<perm=[0,2,1]>(c) y = Mul(d, k) }}",
        "BatchNormalization Transpose",
        kept="c",
    ),
}

FORWARD = {
    "conv without padding takes scale and shift": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y) <{BN4}, float[8,4,3,3] w, float[8] b>"
        f"{{ c = {NORM_X} y = Conv(c, w, b) }}",
        "Conv",
        "forward",
    ),
    "conv with groups": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,4,4] y) <{BN4}, float[8,2,3,3] w>"
        f"{{ c = {NORM_X} y = Conv<group=2, strides=[2,2]>(c, w) }}",
        "Conv",
        "forward",
    ),
    "depthwise conv1d": Folds(
        f"(float[N,4,9] x) => (float[N,8,7] y) <{BN4}, float[8,1,3] w, float[8] b>"
        f"{{ c = {NORM_X} y = Conv<group=4>(c, w, b) }}",
        "Conv",
        "forward",
    ),
    "conv3d": Folds(
        f"(float[N,4,3,3,3] x) => (float[N,8,2,2,2] y) <{BN4}, float[8,4,2,2,2] w>{{ c = {NORM_X} y = Conv(c, w) }}",
        "Conv",
        "forward",
    ),
    "padded conv takes a scale": Folds(
        "(float[N,4,9,9] x) => (float[N,8,9,9] y) <float[4,1,1] k, float[8,4,3,3] w>"
        "{ c = Mul(x, k) y = Conv<pads=[1,1,1,1]>(c, w) }",
        "Conv",
        "forward",
    ),
    "padded conv takes the scale of a pair, the shift stays": Folds(
        "(float[N,4,9,9] x) => (float[N,8,9,9] y) <float[4,1,1] k, float[4,9,9] t, float[8,4,3,3] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = Conv<pads=[1,1,1,1]>(d, w) }",
        "Add Conv",
        "forward",
        kept="d",
    ),
    "pointwise conv with auto_pad SAME": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,5,5] y) <{BN4}, float[8,4,1,1] w>"
        f'{{ c = {NORM_X} y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(c, w) }}',
        "Conv",
        "forward",
    ),
    "transposed conv takes a scale": Folds(
        "(float[N,4,5,5] x) => (float[N,6,11,11] y) <float[4,1,1] k, float[4,3,3,3] w, float[6] b>"
        "{ c = Mul(x, k) y = ConvTranspose<group=2, strides=[2,2]>(c, w, b) }",
        "ConvTranspose",
        "forward",
    ),
    "pointwise transposed conv takes a shift": Folds(
        f"(float[N,4,5,5] x) => (float[N,6,5,5] y) <{BN4}, float[4,3,1,1] w, float[6] b>"
        f"{{ c = {NORM_X} y = ConvTranspose<group=2>(c, w, b) }}",
        "ConvTranspose",
        "forward",
    ),
    "gemm": Folds(
        f"(float[N,8] x) => (float[N,4] y) <{BN8}, float[8,4] w, float[4] b> {{ c = {NORM_X} y = Gemm(c, w, b) }}",
        "Gemm",
        "forward",
    ),
    "gemm transB, alpha, beta": Folds(
        f"(float[N,8] x) => (float[N,4] y) <{BN8}, float[4,8] w, float[4] b>"
        f"{{ c = {NORM_X} y = Gemm<transB=1, alpha=-0.5, beta=3.0>(c, w, b) }}",
        "Gemm",
        "forward",
    ),
    "gemm transA without C": Folds(
        "(float[8,3] x) => (float[3,4] y) <float[8,1] k, float[8,1] t, float[8,4] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = Gemm<transA=1>(d, w) }",
        "Gemm",
        "forward",
    ),
    "gemm with the weight on the left": Folds(
        "(float[8,3] x) => (float[4,3] y) <float[8,1] k, float[8,1] t, float[4,8] w, float[3] b>"
        "{ c = Mul(x, k) d = Add(c, t) y = Gemm<alpha=2.0>(w, d, b) }",
        "Gemm",
        "forward",
    ),
    "gemm with the weight on the left, both transposed": Folds(
        "(float[3,8] x) => (float[4,3] y) <float[8] k, float[8] t, float[8,4] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = Gemm<transA=1, transB=1>(w, d) }",
        "Gemm",
        "forward",
    ),
    "matmul becomes a gemm": Folds(
        f"(float[N,8] x) => (float[N,4] y) <{BN8}, float[8,4] w> {{ c = {NORM_X} y = MatMul(c, w) }}",
        "Gemm",
        "forward",
    ),
    "matmul and its bias": Folds(
        "(float[N,5,8] x) => (float[N,5,4] y) <float[8] k, float[8] t, float[8,4] w, float[4] b>"
        "{ c = Mul(x, k) d = Add(c, t) e = MatMul(d, w) y = Add(e, b) }",
        "MatMul Add",
        "forward",
        kept="y",
    ),
    "a norm before a matmul leaves an add behind it": Folds(
        f"(float[N,8,5] x) => (float[N,4,5] y) <{BN8}, float[4,8] w> {{ c = {NORM_X} y = MatMul(w, c) }}",
        "MatMul Add",
        "forward",
    ),
    "matmul with a batched weight": Folds(
        "(float[N,3,5,8] x) => (float[N,3,5,4] y) <float[8] k, float[8] t, float[3,8,4] w, float[3,1,4] b>"
        "{ c = Mul(x, k) d = Add(c, t) e = MatMul(d, w) y = Add(e, b) }",
        "MatMul Add",
        "forward",
        kept="y",
    ),
    "matmul with a vector on the right": Folds(
        "(float[N,5,8] x) => (float[N,5] y) <float[8] k, float[8] t, float[8] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(d, w) }",
        "MatMul Add",
        "forward",
    ),
    "matmul with a vector on the left": Folds(
        "(float[N,8,5] x) => (float[N,5] y) <float[8,1] k, float[8,1] t, float[8] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(w, d) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of two vectors": Folds(
        "(float[8] x) => (float y) <float[8] k, float[8] t, float[8] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(d, w) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of two vectors, the weight on the left": Folds(
        "(float[8] x) => (float y) <float[8] k, float[8] t, float[8] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(w, d) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of a vector with a batch of matrices": Folds(
        "(float[8] x) => (float[3,4] y) <float[8] k, float[8] t, float[3,8,4] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(d, w) }",
        "MatMul Add",
        "forward",
    ),
    "matmul of a batch of matrices with a vector": Folds(
        "(float[8] x) => (float[3,4] y) <float[8] k, float[8] t, float[3,4,8] w>"
        "{ c = Mul(x, k) d = Add(c, t) y = MatMul(w, d) }",
        "MatMul Add",
        "forward",
    ),
    "two convs take the same norm": Folds(
        f"(float[N,4,9,9] x) => (float[N,8,7,7] y, float[N,6,9,9] z) <{BN4}, float[8,4,3,3] w, float[6,4,1,1] v>"
        f"{{ c = {NORM_X} y = Conv(c, w) z = Conv(c, v) }}",
        "Conv Conv",
        "forward",
    ),
}

REFUSES = {
    "conv with a weight of run time": Refuses(
        f"(float[N,4,9,9] x, float[8,4,3,3] w) => (float[N,8,7,7] y) <{BN8}> {{ c = Conv(x, w) y = {NORM} }}",
        "NF113 c, NF104 y",
    ),
    "conv with a bias of run time": Refuses(
        f"(float[N,4,9,9] x, float[8] b) => (float[N,8,7,7] y) <{BN8}, float[8,4,3,3] w>"
        f"{{ c = Conv(x, w, b) y = {NORM} }}",
        "NF113 c, NF104 y",
    ),
    "conv whose output varies along the width": Refuses(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, float[7] k> { c = Conv(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "padded conv and a norm before it": Refuses(
        f"(float[N,4,9,9] x) => (float[N,8,9,9] y) <{BN4}, float[8,4,3,3] w>"
        f"{{ c = {NORM_X} y = Conv<pads=[1,1,1,1]>(c, w) }}",
        "NF107 y, NF118 c",
        site="c",
    ),
    "conv with auto_pad SAME and a norm before it": Refuses(
        f"(float[N,4,9,9] x) => (float[N,8,9,9] y) <{BN4}, float[8,4,3,3] w>"
        f'{{ c = {NORM_X} y = Conv<auto_pad="SAME_LOWER">(c, w) }}',
        "NF107 y, NF118 c",
        site="c",
    ),
    "conv whose input varies along the height": Refuses(
        "(float[N,4,9,9] x) => (float[N,8,7,7] y) <float[9,1] k, float[8,4,3,3] w> { c = Mul(x, k) y = Conv(c, w) }",
        "NF111 y, NF118 c",
        site="c",
    ),
    "conv whose weight is the affine": Refuses(
        "(float[N,4,9,9] x, float[8,4,3,3] w) => (float[N,8,7,7] y) <float[8,1,1,1] k>{ c = Mul(w, k) y = Conv(x, c) }",
        "NF113 y, NF118 c",
        site="c",
    ),
    "transposed conv and a norm before it": Refuses(
        f"(float[N,4,5,5] x) => (float[N,8,7,7] y) <{BN4}, float[4,8,3,3] w>{{ c = {NORM_X} y = ConvTranspose(c, w) }}",
        "NF107 y, NF118 c",
        site="c",
    ),
    "gemm with two variables": Refuses(
        f"(float[N,4] x, float[4,8] w) => (float[N,8] y) <{BN8}> {{ c = Gemm(x, w) y = {NORM} }}",
        "NF118 c, NF104 y",
    ),
    "gemm and a scale of its rows": Refuses(
        "(float[3,4] x) => (float[3,8] y) <float[4,8] w, float[3,1] k> { c = Gemm(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "gemm and a scale of the rows it reads": Refuses(
        "(float[3,8] x) => (float[3,4] y) <float[8,4] w, float[3,1] k> { c = Mul(x, k) y = Gemm(c, w) }",
        "NF111 y, NF118 c",
        site="c",
    ),
    "matmul with two variables": Refuses(
        "(float[N,5,4] x, float[N,4,8] w) => (float[N,5,8] y) <float[5,8] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "batchnorm on the wrong axis of a matmul": Refuses(
        f"(float[N,8,4] x) => (float[N,8,5] y) <float[4,5] w, {BN8}> {{ c = MatMul(x, w) y = {NORM} }}",
        "NF111 c, NF104 y",
    ),
    "batchnorm on the wrong axis of a square matmul": Refuses(
        f"(float[N,8,8] x) => (float[N,8,8] y) <float[8,8] w, {BN8}> {{ c = MatMul(x, w) y = {NORM} }}",
        "NF111 c, NF104 y",
    ),
    "batchnorm before a matmul on an axis that is not summed": Refuses(
        f"(float[N,8,8] x) => (float[N,8,5] y) <float[8,5] w, {BN8}> {{ c = {NORM_X} y = MatMul(c, w) }}",
        "NF111 y, NF118 c",
        site="c",
    ),
    "matmul with a vector and a scale of the rest": Refuses(
        "(float[N,5,4] x) => (float[N,5] y) <float[4] w, float[5] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "a lone bias of a matmul": Refuses(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] b> { c = MatMul(x, w) y = Add(c, b) }",
        "NF121 c, NF104 y",
    ),
    "layer norm and an affine of another axis": Refuses(
        f"(float[N,8,8] x) => (float[N,8,8] y) <float[8] ga, {BN8}> {{ c = LayerNormalization(x, ga) y = {NORM} }}",
        "NF111 c, NF104 y",
    ),
    "layer norm with a gamma of run time": Refuses(
        "(float[N,5,8] x, float[8] ga) => (float[N,5,8] y) <float[8] k>{ c = LayerNormalization(x, ga) y = Mul(c, k) }",
        "NF113 c, NF104 y",
    ),
    "rms norm has no beta": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] t> { c = RMSNormalization(x, ga) y = Add(c, t) }",
        "NF108 c, NF104 y",
        opset=23,
    ),
    "an operator of another domain of the same name": Refuses(
        "(float[N,4,9,9] x) => (float[N,4,9,9] y) <float[4,1,1] k> { c = Mul(x, k) y = com.microsoft.Gelu(c) }",
        "NF110 y, NF118 c",
        site="c",
        domains='"com.microsoft":1',
    ),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_folds_backward(name: str) -> None:
    assert_folds(BACKWARD[name])


@pytest.mark.parametrize("name", FORWARD)
def test_folds_forward(name: str) -> None:
    assert_folds(FORWARD[name])


def test_group_norm_before_opset_21_has_gamma_by_group() -> None:
    """The checker calls it deprecated and no runtime here has it, so only the decision is looked at."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["":18]> g (float[N,8,5,5] x) => (float[N,8,5,5] y)'
        "<float[2] ga = {1, 2}, float[2] ba = {0, 1}, float k = {3}, float[N,8,5,5] c>"
        "{ c = GroupNormalization<num_groups=2>(x, ga, ba) y = Mul(c, k) }"
    )
    (verdict,) = fold_affines(ir.from_proto(model))
    assert [(obstacle.reason, obstacle.node) for obstacle in verdict.obstacles] == [
        (Reason.AXIS_STOPS, "c"),
        (Reason.GRAPH_OUTPUT, "y"),
    ]


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])
