"""Fold to the limit: the rarer carriers and absorbers, both ways, and what stops them."""

from __future__ import annotations

import pytest

from tests.fold.rows import Folds, Refuses, assert_folds, assert_refuses

BN4 = "float[4] g, float[4] be, float[4] m, float[4] var"
NORM_X = "c = BatchNormalization(x, g, be, m, var)"
IN4 = "float[N,4,6,6] x"
CONV = "float[4,3,3,3] w, float[4] b"


def back(shape: str, nodes: str, weights: str, more: str = "") -> str:
    """Text in which a Conv of 4 channels makes c [N,4,6,6] of x, and ``nodes`` make y of c."""
    return f"(float[N,3,8,8] x{more}) => (float[{shape}] y) <{CONV}, {weights}> {{ c = Conv(x, w, b) {nodes} }}"


def ahead(shape: str, nodes: str, weights: str, more: str = "", first: str = NORM_X) -> str:
    """Text in which ``first`` makes c of x [N,4,6,6], and ``nodes`` make y of c."""
    return f"({IN4}{more}) => (float[{shape}] y) <{weights}> {{ {first} {nodes} }}"


NORM_D = "y = BatchNormalization(d, g, be, m, var)"
PADS = "int64[8] p = {0, 0, 1, 0, 0, 0, 2, 1}"
BACKWARD = {
    "prelu": Folds(
        back("N,4,6,6", "d = PRelu(c, s) y = Mul(d, pos)", "float[4,1,1] s, float[4,1,1] pos"), "Conv PRelu"
    ),
    "abs": Folds(back("N,4,6,6", "d = Abs(c) y = Mul(d, pos)", "float[4,1,1] pos"), "Conv Abs"),
    "largest over space": Folds(
        back(
            "N,4,1,1", "d = ReduceMax<axes=[2,3]>(c) e = Mul(d, pos) y = Sub(e, t)", "float[4,1,1] pos, float[4,1,1] t"
        ),
        "Conv ReduceMax",
    ),
    "smallest over space": Folds(
        back(
            "N,4", "d = ReduceMin<axes=[2,3], keepdims=0>(c) e = Mul(d, pos) y = Sub(e, t)", "float[4] pos, float[4] t"
        ),
        "Conv ReduceMin",
    ),
    "sum over space takes a scale": Folds(
        back("N,4", "d = ReduceSum<keepdims=0>(c, a) y = Mul(d, k)", "float[4] k, int64[2] a = {2, 3}"),
        "Conv ReduceSum",
    ),
    "global max pool": Folds(
        back("N,4,1,1", "d = GlobalMaxPool(c) y = Mul(pos, d)", "float[4,1,1] pos"), "Conv GlobalMaxPool"
    ),
    "expand": Folds(
        back("N,4,5,5", "p = GlobalAveragePool(c) d = Expand(p, s) " + NORM_D, f"{BN4}, int64[4] s = {{1, 4, 5, 5}}"),
        "Conv GlobalAveragePool Expand",
    ),
    "expand to a higher rank": Folds(
        back("2,N,4,6,6", "d = Expand(c, s) y = Mul(d, k)", "float[4,1,1] k, int64[5] s = {2, 1, 4, 1, 1}"),
        "Conv Expand",
    ),
    "tile": Folds(back("N,4,12,6", "d = Tile(c, r) " + NORM_D, f"{BN4}, int64[4] r = {{1, 1, 2, 1}}"), "Conv Tile"),
    "slice of the channels": Folds(
        back(
            "N,2,6,6",
            "d = Slice(c, st, en, ax) y = Mul(d, k)",
            "float[2,1,1] k, int64[1] st = {1}, int64[1] en = {3}, int64[1] ax = {1}",
        ),
        "Conv Slice",
    ),
    "slice backwards with steps": Folds(
        back(
            "N,2,6,6",
            "d = Slice(c, st, en, ax, sp) y = Mul(d, k)",
            "float[2,1,1] k, int64[1] st = {-1}, int64[1] en = {-9}, int64[1] ax = {-3}, int64[1] sp = {-2}",
        ),
        "Conv Slice",
    ),
    "slice of space": Folds(
        back(
            "N,4,3,6",
            "d = Slice(c, st, en, ax) " + NORM_D,
            f"{BN4}, int64[1] st = {{0}}, int64[1] en = {{3}}, int64[1] ax = {{2}}",
        ),
        "Conv Slice",
    ),
    "slice of opset 9": Folds(
        back("N,2,6,6", "d = Slice<axes=[1], starts=[2], ends=[100]>(c) y = Mul(d, k)", "float[2,1,1] k"),
        "Conv Slice",
        opset=9,
    ),
    "gather of channels": Folds(
        back("N,3,6,6", "d = Gather<axis=1>(c, i) y = Mul(d, k)", "float[3,1,1] k, int64[3] i = {3, 0, -2}"),
        "Conv Gather",
    ),
    "gather of one channel": Folds(
        back("N,6,6", "d = Gather<axis=1>(c, i) y = Mul(d, k)", "float k = {3}, int64 i = {2}"), "Conv Gather"
    ),
    "a product takes a scale on one side": Folds(
        back("N,4,6,6", "d = Mul(c, z) y = Mul(d, k)", "float[4,1,1] k", ", float[N,1,6,6] z"), "Conv Mul"
    ),
    "a quotient": Folds(
        back("N,4,6,6", "d = Div(c, z) y = Mul(d, k)", "float[4,1,1] k", ", float[N,4,6,6] z"), "Conv Div"
    ),
    "a divisor takes the inverse": Folds(
        back("N,4,6,6", "e = Relu(z) d = Div(e, c) y = Mul(d, k)", "float[4,1,1] k", ", float[N,4,6,6] z"),
        "Conv Relu Div",
        values={"b": (100,) * 4},
    ),
    "attention: 1/sqrt(d) goes into the weight of the query": Folds(
        "(float[N,5,8] x) => (float[N,5,5] y) <float[8,8] q, float[8,8] k, float s = {0.35}>"
        "{ a = MatMul(x, q) b = MatMul(x, k) t = Transpose<perm=[0,2,1]>(b) c = MatMul(a, t) d = Mul(c, s)"
        " y = Softmax(d) }",
        "MatMul MatMul Transpose MatMul Softmax",
    ),
    "attention: into the query part of one weight": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8,24] w, float s = {0.35}, int64[3] p = {8, 8, 8}>"
        "{ a = MatMul(x, w) q, k, v = Split<axis=2>(a, p) t = Transpose<perm=[0,2,1]>(k) c = MatMul(q, t) d = Mul(c, s)"
        " e = Softmax(d) y = MatMul(e, v) }",
        "MatMul Split Transpose MatMul Softmax MatMul",
    ),
    "pad that repeats the edge": Folds(
        back("N,4,9,7", 'd = Pad<mode="edge">(c, p) ' + NORM_D, f"{BN4}, {PADS}"), "Conv Pad"
    ),
    "pad with a constant that stays one": Folds(
        back(
            "N,4,9,7",
            "d = Pad(c, p, v) e = Mul(d, k) y = Add(e, t)",
            f"float k = {{-2}}, float t = {{3}}, float v = {{0.5}}, {PADS}",
        ),
        "Conv Pad",
    ),
    "pad with zeros and a scale": Folds(
        back("N,4,9,7", "d = Pad(c, p) y = Mul(d, k)", f"float[4,1,1] k, {PADS}"), "Conv Pad"
    ),
    "pad of opset 10": Folds(
        back("N,4,8,6", "d = Pad<pads=[0,0,1,0,0,0,1,0], value=2.0>(c) y = Sub(d, t)", "float t = {0.75}"),
        "Conv Pad",
        opset=10,
    ),
    "resize": Folds(
        back("N,4,12,12", 'd = Resize<mode="linear">(c, "", s) ' + NORM_D, f"{BN4}, float[4] s = {{1, 1, 2, 2}}"),
        "Conv Resize",
    ),
    "upsample": Folds(
        back("N,4,12,12", 'd = Upsample<mode="nearest">(c, s) ' + NORM_D, f"{BN4}, float[4] s = {{1, 1, 2, 2}}"),
        "Conv Upsample",
        opset=9,
    ),
    "depth to space, channels alike in a block": Folds(
        back("N,1,12,12", "d = DepthToSpace<blocksize=2>(c) y = Mul(d, k)", "float k = {-2}"), "Conv DepthToSpace"
    ),
    "depth to space, columns first": Folds(
        "(float[N,3,6,6] x) => (float[N,2,12,12] y) <float[8,3,1,1] w, float[2,1,1] k, float[2,1,1] t>"
        '{ c = Conv(x, w) d = DepthToSpace<blocksize=2, mode="CRD">(c) e = Mul(d, k) y = Add(e, t) }',
        "Conv DepthToSpace",
    ),
    "depth to space, depth first": Folds(
        "(float[N,3,6,6] x) => (float[N,2,12,12] y) <float[8,3,1,1] w, float[2,1,1] k, float[2,1,1] t>"
        "{ c = Conv(x, w) d = DepthToSpace<blocksize=2>(c) e = Mul(d, k) y = Add(e, t) }",
        "Conv DepthToSpace",
    ),
    "space to depth": Folds(
        back(
            "N,16,3,3",
            "d = SpaceToDepth<blocksize=2>(c) y = Mul(d, k)",
            "float[16,1,1] k = {1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4}",
        ),
        "Conv SpaceToDepth",
    ),
    "einsum": Folds(
        "(float[N,5,4] x) => (float[N,8,5] y) <float[4,8] w, float[8,1] k>"
        '{ c = Einsum<equation="bij,jo->boi">(x, w) y = Mul(c, k) }',
        "Einsum",
    ),
    "einsum and a shift": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] k, float[8] t>"
        '{ c = Einsum<equation="bij,jo->bio">(x, w) d = Mul(c, k) y = Add(d, t) }',
        "Einsum Add",
    ),
    "an embedding": Folds(
        "(int64[N,5] i) => (float[N,5,8] y) <float[9,8] w, float[8] k, float[8] t>"
        "{ c = Gather(w, i) d = Mul(c, k) y = Add(d, t) }",
        "Gather",
    ),
    "an embedding along the columns": Folds(
        "(int64[5] i) => (float[8,5] y) <float[8,9] w, float[8,1] k> { c = Gather<axis=1>(w, i) y = Mul(c, k) }",
        "Gather",
    ),
}
FORWARD = {
    "lstm": Folds(
        "(float[5,N,4] x) => (float[5,1,N,3] y) <float[4] k, float[4] t, float[1,12,4] w,"
        "float[1,12,3] r, float[1,24] b>"
        "{ d = Mul(x, k) c = Add(d, t) y = LSTM<hidden_size=3>(c, w, r, b) }",
        "LSTM",
        "forward",
    ),
    "gru of two directions without bias": Folds(
        "(float[5,N,4] x) => (float[5,2,N,3] y) <float[4] k, float[4] t, float[2,9,4] w, float[2,9,3] r>"
        '{ d = Mul(x, k) c = Add(d, t) y = GRU<hidden_size=3, direction="bidirectional">(c, w, r) }',
        "GRU",
        "forward",
    ),
    "einsum": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[4] k> {"
        ' c = Mul(x, k) y = Einsum<equation="bij,jo->bio">(c, w) }',
        "Einsum",
        "forward",
    ),
    "a shift dies in layer norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] ba, float[5,1] t>"
        "{ c = Add(x, t) y = LayerNormalization(c, ga, ba) }",
        "LayerNormalization",
        "forward",
    ),
    "a scale goes into the epsilon of layer norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {2}>"
        "{ c = Mul(x, k) y = LayerNormalization<epsilon=0.125>(c, ga) }",
        "LayerNormalization",
        "forward",
    ),
    "a scale goes into the epsilon of rms norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {0.5}>"
        "{ c = Mul(x, k) y = RMSNormalization<epsilon=0.125>(c, ga) }",
        "RMSNormalization",
        "forward",
        opset=23,
    ),
    "a shift by channel dies in instance norm": Folds(
        ahead(
            "N,4,6,6",
            "y = InstanceNormalization(c, ga, ba)",
            "float[4,1,1] t, float[4] ga, float[4] ba",
            first="c = Sub(x, t)",
        ),
        "InstanceNormalization",
        "forward",
    ),
    "the bias of a conv dies in instance norm": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] b, float[4] ga, float[4] ba>"
        "{ c = Conv(x, w, b) y = InstanceNormalization(c, ga, ba) }",
        "Conv InstanceNormalization",
        "forward",
    ),
    "a product with a variable": Folds(
        ahead(
            "N,5,4,4",
            "d = Mul(c, z) y = Conv(d, w)",
            "float[4,1,1] k, float[5,4,3,3] w",
            ", float[N,4,6,6] z",
            "c = Mul(x, k)",
        ),
        "Mul Conv",
        "forward",
    ),
    "slice of the channels": Folds(
        ahead(
            "N,5,6,6",
            "d = Slice(c, st, en, ax) y = Conv(d, w)",
            f"{BN4}, float[5,2,1,1] w, int64[1] st = {{1}}, int64[1] en = {{3}}, int64[1] ax = {{1}}",
        ),
        "Slice Conv",
        "forward",
    ),
    "gather that turns the channels around": Folds(
        ahead(
            "N,5,6,6",
            "d = Gather<axis=1>(c, i) y = Conv(d, w)",
            f"{BN4}, float[5,4,1,1] w, int64[4] i = {{3, 2, 1, 0}}",
        ),
        "Conv",
        "forward",
    ),
    "depth to space": Folds(
        ahead(
            "N,5,12,12",
            "d = DepthToSpace<blocksize=2>(c) y = Conv(d, w)",
            "float k = {2}, float[5,1,1,1] w",
            first="c = Mul(x, k)",
        ),
        "DepthToSpace Conv",
        "forward",
    ),
    "space to depth": Folds(
        ahead("N,5,3,3", "d = SpaceToDepth<blocksize=2>(c) y = Conv(d, w)", f"{BN4}, float[5,16,1,1] w"),
        "SpaceToDepth Conv",
        "forward",
    ),
    "resize": Folds(
        ahead(
            "N,5,12,12",
            'd = Resize<mode="cubic">(c, "", s) y = Conv(d, w)',
            f"{BN4}, float[5,4,1,1] w, float[4] s = {{1, 1, 2, 2}}",
        ),
        "Resize Conv",
        "forward",
    ),
    "pad that reflects": Folds(
        ahead("N,5,9,7", 'd = Pad<mode="reflect">(c, p) y = Conv(d, w)', f"{BN4}, float[5,4,1,1] w, {PADS}"),
        "Pad Conv",
        "forward",
    ),
    "a scalar pair before a padded conv becomes the value of its Pad": Folds(
        ahead(
            "N,5,9,7",
            "d = Pad(c, p) y = Conv(d, w)",
            f"float k = {{2}}, float t = {{3}}, float[5,4,1,1] w, {PADS}",
            first="e = Mul(x, k) c = Add(e, t)",
        ),
        "Pad Conv",
        "forward",
    ),
}
GELU = "h = Div(d, r) i = Erf(h) j = Add(i, one) l = Mul(d, j) y = Mul(l, half)"
CONSTANTS = "float r = {1.414213562}, float one = {1}, float half = {0.5}"
TOGETHER = {
    "a norm before a biased matmul and a gelu": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4] k, float[4] t, float[4,8] w, float[8] b, " + CONSTANTS + ">"
        "{ a = Mul(x, k) s = Add(a, t) c = MatMul(s, w) d = Add(c, b) " + GELU + " }",
        "MatMul Add Div Erf Add Mul Mul",
        "forward",
        kept="d h j y",
    ),
    "a scale on a biased matmul before a gelu": Folds(
        "(float[N,5,4] x) => (float[N,5,8] y) <float[4,8] w, float[8] b, float[8] k, " + CONSTANTS + ">"
        "{ c = MatMul(x, w) s = Add(c, b) d = Mul(s, k) " + GELU + " }",
        "MatMul Add Div Erf Add Mul Mul",
        kept="h j y",
    ),
    "the shift of a norm makes an Add that the scale behind it passes": Folds(
        "(float[N,4,5] x) => (float[N,8,5] y) <" + BN4 + ", float[8,4] w, float[8,1] k>"
        "{ c = BatchNormalization(x, g, be, m, var) d = MatMul(w, c) e = Mul(d, k) y = Relu(e) }",
        "MatMul Add Relu",
        "forward backward",
    ),
    "the Add that a norm's shift makes goes on into the next norm": Folds(
        "(float[N,4,6] x, float[N,4,6] z) => (float[N,4,6] y) <float[1,4] w, float[1] g1, float[1] be1, float[1] m1,"
        f"float[1] var1, float k = {{3}}, {BN4}>"
        "{ a = MatMul(w, x) b = BatchNormalization(a, g1, be1, m1, var1) c = Mul(k, b) d = Sub(z, c)"
        " y = BatchNormalization(d, g, be, m, var) }",
        "MatMul Sub BatchNormalization",
        "backward",
        kept="y",
    ),
    "a value, itself again and its opposite, and a shift": Folds(
        "(float[N,6] x) => (float[N,6] y) <float t = {3}> { c = Sub(t, x) d = Sum(x, x, c) y = Sigmoid(d) }",
        "Add Sigmoid",
        "branches",
        kept="c",
    ),
    "a shift between a value and what is made of it": Folds(
        "(float[N,2,3,2] x) => (float[N,1,3,2] y) <float[2] g1, float[2] be1, float[2] m1, float[2] var1,"
        "int64[1] i = {0}, float[1] k, float[1] g, float[1] be, float[1] m, float[1] var>"
        "{ a = BatchNormalization(x, g1, be1, m1, var1) b = Gather<axis=1>(a, i) c = Add(k, b) d = Sub(b, c)"
        " e = BatchNormalization(d, g, be, m, var) y = Relu(e) }",
        "Gather Sub BatchNormalization Relu",
        "forward",
        kept="e",
    ),
    "the shift of a norm makes an Add, and a scale along the other axis stays": Folds(
        "(float[N,4,5] x) => (float[N,8,5] y) <" + BN4 + ", float[8,4] w, float[5] k>"
        "{ c = BatchNormalization(x, g, be, m, var) d = MatMul(w, c) e = Mul(d, k) y = Relu(e) }",
        "MatMul Add Mul Relu",
        "forward",
        kept="e",
    ),
    "the shift one way and the scale the other, between a max pool and zero padding": Folds(
        back(
            "N,2,3,3",
            "d = MaxPool<kernel_shape=[2,2],strides=[2,2]>(c) e = BatchNormalization(d, g, be, m, var)"
            " y = Conv<pads=[1,1,1,1]>(e, w2)",
            f"{BN4}, float[2,4,3,3] w2",
        ),
        "Conv MaxPool Conv",
        "forward",
    ),
    "the scale one way and the shift the other, between an average of zeros and a sum": Folds(
        back(
            "N,4,6,6",
            "d = AveragePool<kernel_shape=[3,3],pads=[1,1,1,1],count_include_pad=1>(c)"
            " e = BatchNormalization(d, g, be, m, var) f = Conv<pads=[1,1,1,1]>(z, w2, b2) y = Add(f, e)",
            f"{BN4}, float[4,3,5,5] w2, float[4] b2",
            ", float[N,3,8,8] z",
        ),
        "Conv AveragePool Conv Add",
    ),
    "a norm on the product of two variables leaves its shift as a bias": Folds(
        "(float[N,5] x, float[N,N] a) => (float[N,4] y) <float[5,4] w, float[4] b," + BN4 + ">"
        "{ c = MatMul(x, w) d = MatMul(a, c) e = Add(d, b) f = BatchNormalization(e, g, be, m, var) y = Relu(f) }",
        "MatMul MatMul Add Relu",
        kept="e",
    ),
    "a norm on the product of two variables, without a bias": Folds(
        "(float[N,5] x, float[N,N] a) => (float[N,4] y) <float[5,4] w," + BN4 + ">"
        "{ c = MatMul(x, w) d = MatMul(a, c) e = BatchNormalization(d, g, be, m, var) y = Relu(e) }",
        "MatMul MatMul Add Relu",
    ),
    "the bias of the values of an attention": Folds(
        "(float[N,5,4] x, float[N,5,5] a) => (float[N,5,6] y) <float[4,4] w, float[4] b, float[4,6] v, float[6] c>"
        "{ d = MatMul(x, w) e = Add(d, b) p = Softmax(a) f = MatMul(p, e) g = MatMul(f, v)"
        " h = Add(g, c) y = Sigmoid(h) }",
        "MatMul Softmax MatMul MatMul Add Sigmoid",
        "forward",
        kept="h",
    ),
    "a norm behind an attention": Folds(
        "(float[N,5,4] x, float[N,5,5] a) => (float[N,5,4] y) <float[4,4] w, float[4] b, float[4] k, float[4] t>"
        "{ d = MatMul(x, w) e = Add(d, b) p = Softmax(a) f = MatMul(p, e) g = Mul(f, k) h = Add(g, t) y = Sigmoid(h) }",
        "MatMul Add Softmax MatMul Sigmoid",
        kept="e",
    ),
    "a norm behind an attention of channels first": Folds(
        "(float[N,3,5] x, float[N,5,5] a) => (float[N,4,5] y) <float[4,3,1] w, float[4] b, " + BN4 + ">"
        "{ d = Conv(x, w, b) p = Softmax<axis=2>(a) q = Transpose<perm=[0,2,1]>(p) f = MatMul(d, q)"
        " e = BatchNormalization(f, g, be, m, var) y = Relu(e) }",
        "Conv Softmax Transpose MatMul Relu",
    ),
}
REFUSES = {
    "a shift behind an attention over the queries": Refuses(
        "(float[N,3,5] x, float[N,5,5] a) => (float[N,4,5] y) <float[4,3,1] w, float[4] b, float[4,1] t>"
        "{ d = Conv(x, w, b) p = Softmax<axis=2>(a) f = MatMul(d, p) e = Add(f, t) y = Relu(e) }",
        "NF108 f, NF108 y",
    ),
    "a shift behind an attention of which some is dropped": Refuses(
        "(float[N,5,4] x, float[N,5,5] a, bool train) => (float[N,5,4] y) <float[4,4] w, float[4] t, float r>"
        "{ d = MatMul(x, w) p = Softmax(a) q = Dropout(p, r, train) f = MatMul(q, d) e = Add(f, t) y = Relu(e) }",
        "NF108 f, NF108 y",
    ),
    "layer norm whose mean is read": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y, float[N,5,1] mean) <float[8] ga, float[8] ba, float t = {3}>"
        "{ c = Add(x, t) y, mean = LayerNormalization(c, ga, ba) }",
        "NF110 y, NF118 c",
    ),
    "rms norm and a shift": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float t = {3}>"
        "{ c = Add(x, t) y = RMSNormalization(c, ga) }",
        "NF108 y, NF118 c",
        opset=23,
    ),
    "layer norm and a scale of zero": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {0}>"
        "{ c = Mul(x, k) y = LayerNormalization(c, ga) }",
        "NF109 y, NF118 c",
    ),
    "layer norm and a scale too small for its epsilon": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {1e-25}> {"
        " c = Mul(x, k) y = LayerNormalization(c, ga) }",
        "NF115 y, NF118 c",
    ),
    "resize to the same size that still interpolates": Refuses(
        "(float[N,6,3] x) => (float[N,6,6] y) <float[3,6] w, float[6] k, float[3] s = {1, 1, 1.1}>"
        '{ c = MatMul(x, w) d = Resize<mode="nearest">(c, "", s) y = Mul(d, k) }',
        "NF111 d, NF104 y",
    ),
    "resize that crops": Refuses(
        back(
            "N,4,12,12",
            'd = Resize<coordinate_transformation_mode="tf_crop_and_resize">(c, r, s) ' + NORM_D,
            BN4 + ", float[8] r = {0,0,0,0,1,1,1,1}, float[4] s = {1, 1, 2, 2}",
        ),
        "NF110 d, NF104 y",
    ),
    "pad with zeros and a shift": Refuses(
        back("N,4,9,7", "d = Pad(c, p) " + NORM_D, f"{BN4}, {PADS}"), "NF107 d, NF104 y"
    ),
    "gather of one channel twice with two scales": Refuses(
        back("N,2,6,6", "d = Gather<axis=1>(c, i) y = Mul(d, k)", "float[2,1,1] k, int64[2] i = {1, 1}"),
        "NF130 d, NF104 y",
    ),
    "a square": Refuses(back("N,4,6,6", "d = Mul(c, c) y = Mul(d, k)", "float[4,1,1] k"), "NF109 d, NF104 y"),
    "a product and a shift": Refuses(
        back("N,4,6,6", "d = Mul(c, z) y = Add(d, k)", "float[4,1,1] k", ", float[N,4,6,6] z"), "NF108 d, NF104 y"
    ),
    "a sum over space and a shift": Refuses(
        back("N,4", "d = ReduceSum<keepdims=0>(c, a) y = Add(d, k)", "int64[1] a = {0}, float[4,6,6] k").replace(
            "float[N,4] y", "float[4,6,6] y"
        ),
        "NF108 d, NF104 y",
    ),
    "depth to space, a block of different channels": Refuses(
        ahead("N,5,12,12", "d = DepthToSpace<blocksize=2>(c) y = Conv(d, w)", BN4 + ", float[5,1,1,1] w"),
        "NF111 d, NF118 c",
    ),
    "a cast to integers": Refuses(
        "(float[N,4] x) => (int64[N,4] y) <float k = {2}> { c = Mul(x, k) y = Cast<to=7>(c) }", "NF128 y, NF118 c"
    ),
    "an embedding, along the tokens": Refuses(
        "(int64[5] i) => (float[5,8] y) <float[9,8] w, float[5,1] k> { c = Gather(w, i) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_folds_backward(name: str) -> None:
    assert_folds(BACKWARD[name])


@pytest.mark.parametrize("name", FORWARD)
def test_folds_forward(name: str) -> None:
    assert_folds(FORWARD[name])


@pytest.mark.parametrize("name", TOGETHER)
def test_folds_in_company(name: str) -> None:
    assert_folds(TOGETHER[name])


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])
