"""How an affine passes an operator: every carrier, backward into the Conv before it and forward into the one behind."""

from __future__ import annotations

import pytest

from tests.fold.rows import Folds, Refuses, assert_folds, assert_refuses

BN4 = "float[4] g, float[4] be, float[4] m, float[4] var"
NORM = "BatchNormalization(c, g, be, m, var)"
K4, T4 = "float[4,1,1] k", "float[4,1,1] t"
POSITIVE = "float[4,1,1] pos"
BOTH = f"{K4}, {T4}"


def back(
    shape: str, node: str, last: str, weights: str = BN4, *, opset: int = 17, after: str = "", more: str = ""
) -> str:
    """Text in which a Conv of 4 channels makes c [N,4,6,6], ``node`` makes d of c, and ``last`` makes y of d."""
    extra = f", {more}" if more else ""
    return (
        f"(float[N,3,8,8] x{extra}) => (float[{shape}] y{after}) <float[4,3,3,3] w, float[4] b, {weights}>"
        f"{{ c = Conv(x, w, b) {node} {last} }}"
    )


def ahead(
    node: str, last: str, shape: str, weights: str, *, first: str = "c = BatchNormalization(x, g, be, m, var)"
) -> str:
    """Text in which ``first`` makes c of x [N,4,6,6], ``node`` makes d of c, and ``last`` makes y of d."""
    return f"(float[N,4,6,6] x) => (float[{shape}] y) <{weights}> {{ {first} {node} {last} }}"


NORM_D = "y = BatchNormalization(d, g, be, m, var)"
SCALE_D = "y = Mul(d, pos)"
BACKWARD = {
    "identity": Folds(back("N,4,6,6", "d = Identity(c)", NORM_D), "Conv"),
    "dropout": Folds(back("N,4,6,6", "d = Dropout(c)", NORM_D), "Conv"),
    "dropout of opset 7": Folds(back("N,4,6,6", "d = Dropout<ratio=0.3>(c)", NORM_D), "Conv", opset=7),
    "dropout whose mask nobody reads": Folds(
        back("N,4,6,6", "d, mask = Dropout(c, r, f)", NORM_D, f"{BN4}, float r = {{0.5}}, bool f = {{0}}"),
        "Conv",
    ),
    "relu": Folds(back("N,4,6,6", "d = Relu(c)", SCALE_D, POSITIVE), "Conv Relu"),
    "relu with a scale of zero": Folds(
        back("N,4,6,6", "d = Relu(c)", "y = Mul(k, d)", "float[4,1,1] k = {0, 1, 2, 0}"), "Conv Relu"
    ),
    "leaky relu": Folds(back("N,4,6,6", "d = LeakyRelu<alpha=-0.3>(c)", SCALE_D, POSITIVE), "Conv LeakyRelu"),
    "max pool": Folds(
        back(
            "N,4,3,3",
            "d = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(c)",
            f"e = Add(d, t) {SCALE_D}".replace("(d, pos)", "(e, pos)"),
            f"{POSITIVE}, {T4}",
        ),
        "Conv MaxPool",
    ),
    "average pool without padding": Folds(
        back("N,4,3,3", "d = AveragePool<kernel_shape=[2,2], strides=[2,2]>(c)", NORM_D), "Conv AveragePool"
    ),
    "average pool with padding that is not counted": Folds(
        back("N,4,3,3", "d = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(c)", NORM_D),
        "Conv AveragePool",
    ),
    "average pool with padding that is counted takes a scale": Folds(
        back(
            "N,4,3,3",
            "d = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1>(c)",
            SCALE_D,
            POSITIVE,
        ),
        "Conv AveragePool",
    ),
    "global average pool": Folds(back("N,4,1,1", "d = GlobalAveragePool(c)", NORM_D), "Conv GlobalAveragePool"),
    "mean over space": Folds(back("N,4,1,1", "d = ReduceMean<axes=[2,3]>(c)", NORM_D), "Conv ReduceMean"),
    "mean over space, axes gone": Folds(
        back("N,4", "d = ReduceMean<axes=[-1,2], keepdims=0>(c)", NORM_D), "Conv ReduceMean"
    ),
    "mean over space, axes as an input": Folds(
        back("N,4", "d = ReduceMean<keepdims=0>(c, a)", NORM_D, f"{BN4}, int64[2] a = {{3, -2}}"),
        "Conv ReduceMean",
        opset=18,
    ),
    "mean over everything takes a scalar": Folds(
        back(
            "", "d = ReduceMean<keepdims=0>(c)", "e = Mul(d, k) y = Add(e, t)", "float k = {-2}, float t = {3}"
        ).replace("float[]", "float"),
        "Conv ReduceMean",
    ),
    "mean over no axes": Folds(
        back("N,4,6,6", "d = ReduceMean<noop_with_empty_axes=1>(c)", NORM_D), "Conv ReduceMean", opset=18
    ),
    "transpose": Folds(
        back("N,6,6,4", "d = Transpose<perm=[0,2,3,1]>(c)", "e = Mul(d, k) y = Add(t, e)", "float[4] k, float[4] t"),
        "Conv Transpose",
    ),
    "transpose that turns all three axes around": Folds(
        back("6,4,N,6", "d = Transpose<perm=[3,1,0,2]>(c)", "y = Mul(d, k)", "float[4,1,1] k"), "Conv Transpose"
    ),
    "transpose without a permutation": Folds(
        back("6,6,4,N", "d = Transpose(c)", "y = Mul(d, k)", "float[4,1] k"), "Conv Transpose"
    ),
    "reshape that joins space": Folds(
        back("N,4,36", "d = Reshape(c, s)", NORM_D, f"{BN4}, int64[3] s = {{0, 4, -1}}"), "Conv Reshape"
    ),
    "reshape that parts channels into heads": Folds(
        back("N,2,2,36", "d = Reshape(c, s)", "y = Mul(d, k)", "float[2,2,1] k, int64[4] s = {0, 2, 2, -1}"),
        "Conv Reshape",
    ),
    "reshape that joins batch and space, behind a transpose": Folds(
        back(
            "M,4",
            "t1 = Transpose<perm=[0,2,3,1]>(c) d = Reshape(t1, s)",
            NORM_D,
            f"{BN4}, int64[2] s = {{-1, 4}}",
        ),
        "Conv Transpose Reshape",
    ),
    "flatten, each channel repeated": Folds(
        back("N,144", "d = Flatten(c)", "y = Mul(d, k)", "float k = {2}"), "Conv Flatten"
    ),
    "flatten of a pooled value": Folds(
        back("N,4", "p = GlobalAveragePool(c) d = Flatten(p)", NORM_D), "Conv GlobalAveragePool Flatten"
    ),
    "squeeze": Folds(
        back("N,4", "p = GlobalAveragePool(c) d = Squeeze(p, a)", NORM_D, f"{BN4}, int64[2] a = {{2, -1}}"),
        "Conv GlobalAveragePool Squeeze",
    ),
    "squeeze of opset 11": Folds(
        back("N,4", "p = GlobalAveragePool(c) d = Squeeze<axes=[2,3]>(p)", NORM_D),
        "Conv GlobalAveragePool Squeeze",
        opset=11,
    ),
    "unsqueeze": Folds(
        back("N,1,4,6,6", "d = Unsqueeze(c, a)", "y = Mul(d, k)", "float[4,1,1] k, int64[1] a = {1}"), "Conv Unsqueeze"
    ),
    "split whose other part is read elsewhere": Folds(
        back(
            "N,1,6,6",
            "d, e = Split<axis=1>(c, s)",
            "y = Mul(d, k) z = Relu(e)",
            "float k = {-3}, int64[2] s = {1, 3}",
            after=", float[N,3,6,6] z",
        ),
        "Conv Split Relu",
    ),
    "split of opset 11 with both parts scaled": Folds(
        back(
            "N,2,6,6",
            "d, e = Split<axis=1, split=[2,2]>(c)",
            "y = Mul(d, k) z = Add(e, t)",
            "float[2,1,1] k, float[2,1,1] t",
            after=", float[N,2,6,6] z",
        ),
        "Conv Split",
        opset=11,
    ),
    "cast": Folds(
        "(float16[N,3,8,8] x) => (float[N,4,6,6] y) <float16[4,3,3,3] w, float[4,1,1] k>"
        "{ c = Conv(x, w) d = Cast<to=1>(c) y = Mul(d, k) }",
        "Conv Cast",
    ),
}

ADDENDS = "float[4,3,3,3] w, float[4] b, float[4,3,1,1] v"
JOINED = {
    "concat of two convs": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[1,3,1,1] w, float[3,3,1,1] v, float[3] b, {BN4}>"
        f"{{ d = Conv(x, w) e = Conv(x, v, b) c = Concat<axis=1>(d, e) y = {NORM} }}",
        "Conv Conv Concat",
    ),
    "concat on a negative axis of matmuls": Folds(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,1] w, float[3,3] v, float[4] k>"
        "{ d = MatMul(x, w) e = MatMul(x, v) c = Concat<axis=-1>(d, e) y = Mul(c, k) }",
        "MatMul MatMul Concat",
    ),
    "concat with a constant": Folds(
        f"(float[2,3,6,6] x) => (float[2,4,6,6] y) <float[2,1,6,6] w, float[3,3,1,1] v, float[3] b, {BN4}>"
        f"{{ e = Conv(x, v, b) c = Concat<axis=1>(w, e) y = {NORM} }}",
        "Conv Concat",
    ),
    "concat along another axis": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,12,6] y) <float[4,3,1,1] w, float[4,3,1,1] v, {BN4}>"
        f"{{ d = Conv(x, w) e = Conv(x, v) c = Concat<axis=2>(d, e) y = {NORM} }}",
        "Conv Conv Concat",
    ),
    "concat of a value with itself": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[2,3,1,1] w, float[4,1,1] k = {2, 3, 2, 3}>"
        "{ d = Conv(x, w) c = Concat<axis=1>(d, d) y = Mul(c, k) }",
        "Conv Concat",
    ),
    "sum of two convs, the scale to both, the shift to one": Folds(
        f"(float[N,3,6,6] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <{ADDENDS}, {BN4}>"
        f"{{ d = Conv(z, w, b) e = Conv(x, v) c = Add(d, e) y = {NORM} }}",
        "Conv Conv Add",
    ),
    "difference of two convs": Folds(
        f"(float[N,3,6,6] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <{ADDENDS}, {BN4}>"
        f"{{ d = Conv(z, w, b) e = Conv(x, v) c = Sub(d, e) y = {NORM} }}",
        "Conv Conv Sub",
    ),
    "sum of three": Folds(
        f"(float[N,3,6,6] x, float[N,3,8,8] z, float[N,3,6,6] q) => (float[N,4,6,6] y)"
        f"<{ADDENDS}, float[4,3,1,1] u, {BN4}>"
        f"{{ d = Conv(z, w, b) e = Conv(x, v) f = Conv(q, u) c = Sum(d, e, f) y = {NORM} }}",
        "Conv Conv Conv Sum",
    ),
    "a shift goes to the addend that can take it": Folds(
        "(float[N,3,6,6] x, float[N,4,6,6] z) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,1,1] t>"
        "{ e = Conv(x, v) d = Sub(z, e) y = Add(d, t) }",
        "Conv Sub",
    ),
    "a value added to itself": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, {BN4}>"
        f"{{ d = Conv(x, v) c = Add(d, d) y = {NORM} }}",
        "Conv",
    ),
    "a value added to its own transpose": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,1,1] k>"
        "{ d = Conv(x, v) e = Transpose<perm=[0,1,3,2]>(d) c = Add(d, e) y = Mul(c, k) }",
        "Conv Transpose Add",
    ),
    "a broadcast addend": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,3,6,6] w, {BN4}>"
        f"{{ d = Conv(x, v) e = Conv(x, w) c = Add(e, d) y = {NORM} }}",
        "Conv Conv Add",
    ),
    "two norms on one conv, the second becomes an affine of the first": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) <float[4,3,1,1] v, {BN4},"
        "float[4] g2, float[4] be2, float[4] m2, float[4] var2>"
        f"{{ c = Conv(x, v) y = {NORM} z = BatchNormalization(c, g2, be2, m2, var2) }}",
        "Conv BatchNormalization",
        kept="z",
    ),
    "two equal norms on one conv, both outputs of the graph": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) <float[4,3,1,1] v, {BN4}>"
        f"{{ c = Conv(x, v) y = {NORM} z = {NORM} }}",
        "Conv Identity",
        direction="backward merge",
    ),
}

CONV4 = "float[5,4,3,3] w, float[5] b"
FORWARD = {
    "identity": Folds(ahead("d = Identity(c)", "y = Conv(d, w, b)", "N,5,4,4", f"{BN4}, {CONV4}"), "Conv", "forward"),
    "dropout": Folds(ahead("d = Dropout(c)", "y = Conv(d, w, b)", "N,5,4,4", f"{BN4}, {CONV4}"), "Conv", "forward"),
    "relu": Folds(
        ahead("d = Relu(c)", "y = Conv(d, w, b)", "N,5,4,4", f"{POSITIVE}, {CONV4}", first="c = Mul(x, pos)"),
        "Relu Conv",
        "forward",
    ),
    "max pool": Folds(
        ahead(
            "d = MaxPool<kernel_shape=[2,2]>(c)",
            "y = Conv(d, w, b)",
            "N,5,3,3",
            f"{POSITIVE}, {T4}, {CONV4}",
            first="e = Mul(x, pos) c = Sub(e, t)",
        ),
        "MaxPool Conv",
        "forward",
    ),
    "average pool": Folds(
        ahead(
            "d = AveragePool<kernel_shape=[2,2], pads=[0,0,1,1]>(c)", "y = Conv(d, w, b)", "N,5,4,4", f"{BN4}, {CONV4}"
        ),
        "AveragePool Conv",
        "forward",
    ),
    "the head of a network": Folds(
        ahead(
            "e = GlobalAveragePool(c) d = Flatten(e)",
            "y = Gemm<transB=1>(d, w, b)",
            "N,5",
            f"{BN4}, float[5,4] w, float[5] b",
        ),
        "GlobalAveragePool Flatten Gemm",
        "forward",
    ),
    "mean over space": Folds(
        ahead("d = ReduceMean<axes=[2,3], keepdims=0>(c)", "y = Gemm(d, w)", "N,5", f"{BN4}, float[4,5] w"),
        "ReduceMean Gemm",
        "forward",
    ),
    "flatten into a gemm, each weight of a channel scaled": Folds(
        ahead("d = Flatten(c)", "y = Gemm(d, w)", "N,5", f"{BN4}, float[144,5] w"), "Flatten Gemm", "forward"
    ),
    "transpose": Folds(
        ahead(
            "d = Transpose<perm=[0,2,3,1]>(c)",
            "e = MatMul(d, w) y = Add(e, b)",
            "N,6,6,5",
            f"{BN4}, float[4,5] w, float[5] b",
        ),
        "Transpose MatMul Add",
        "forward",
        kept="y",
    ),
    "reshape": Folds(
        ahead(
            "d = Reshape(c, s)",
            "y = MatMul(w, d)",
            "N,5,36",
            f"{K4}, float[5,4] w, int64[3] s = {{0, 4, -1}}",
            first="c = Mul(x, k)",
        ),
        "Reshape MatMul",
        "forward",
    ),
    "concat with another input": Folds(
        ahead("d = Concat<axis=1>(c, x)", "y = Conv(d, w)", "N,5,6,6", f"{BN4}, float[5,8,1,1] w"),
        "Concat Conv",
        "forward",
    ),
    "concat of two norms": Folds(
        ahead("e = Mul(x, k) d = Concat<axis=1>(c, e)", "y = Conv(d, w)", "N,5,6,6", f"{BN4}, {K4}, float[5,8,1,1] w"),
        "Concat Conv",
        "forward",
    ),
    "split into two convs": Folds(
        ahead(
            "d, e = Split<axis=1>(c, s)",
            "y = Conv(d, w) z = Conv(e, v)",
            "N,5,6,6",
            f"{BN4}, float[5,1,1,1] w, float[2,3,1,1] v, int64[2] s = {{1, 3}}",
        ).replace("y) <", "y, float[N,2,6,6] z) <"),
        "Split Conv Conv",
        "forward",
    ),
    "split whose other part nobody reads": Folds(
        ahead(
            "d, e = Split<axis=1>(c, s)", "y = Conv(d, w)", "N,5,6,6", f"{BN4}, float[5,1,1,1] w, int64[2] s = {{1, 3}}"
        ),
        "Split Conv",
        "forward",
    ),
    "a shift through a sum of two": Folds(
        ahead(
            "e = Relu(x) d = Add(e, c)", "y = Conv(d, w)", "N,5,6,6", f"{T4}, float[5,4,1,1] w", first="c = Sub(x, t)"
        ),
        "Relu Add Conv",
        "forward",
    ),
    "a shift through a difference": Folds(
        ahead(
            "e = Relu(x) d = Sub(e, c)", "y = Conv(d, w)", "N,5,6,6", f"{T4}, float[5,4,1,1] w", first="c = Sub(x, t)"
        ),
        "Relu Sub Conv",
        "forward",
    ),
    "a shift that both addends bring, one of them through a conv": Folds(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,1,1] t, float[4,4,1,1] w, float[4] b, float[4,4,3,3] v>"
        "{ c = Add(x, t) d = Conv(c, w, b) e = Add(d, c) y = Sigmoid(e) }",
        "Conv Sigmoid",
        "forward branches",
    ),
    "a norm whose value is added to itself": Folds(
        ahead("d = Add(c, c)", "y = Conv(d, w)", "N,5,6,6", f"{BN4}, float[5,4,1,1] w"), "Conv", "forward"
    ),
}

REFUSES = {
    "a shift whose other addend is made of the same value": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float t = {2}, float[4,1,1] u>"
        "{ b = Relu(x) c = Add(b, t) d = Transpose<perm=[0,1,3,2]>(c) e = Sub(b, d) y = Sigmoid(e) }",
        "NF103 e, NF110 y",
        site="c",
    ),
    "dropout in training": Refuses(
        back("N,4,6,6", "d = Dropout(c, r, f)", SCALE_D, f"{POSITIVE}, float r = {{0.5}}, bool f = {{1}}"),
        "NF101 d, NF104 y",
    ),
    "relu and a shift": Refuses(back("N,4,6,6", "d = Relu(c)", NORM_D), "NF108 d, NF104 y"),
    "relu and a negative scale": Refuses(back("N,4,6,6", "d = Relu(c)", "y = Neg(d)"), "NF109 d, NF104 y"),
    "leaky relu and a negative scale": Refuses(
        back("N,4,6,6", "d = LeakyRelu<alpha=0.0>(c)", "y = Mul(d, k)", "float k = {-1}"), "NF109 d, NF104 y"
    ),
    "max pool and a negative scale": Refuses(
        back("N,4,3,3", "d = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)", "y = Neg(d)"), "NF109 d, NF104 y"
    ),
    "max pool whose indices are read": Refuses(
        back(
            "N,4,5,5",
            "d, i = MaxPool<kernel_shape=[2,2]>(c)",
            "y = Mul(d, pos) z = Cast<to=1>(i)",
            POSITIVE,
            after=", float[N,4,5,5] z",
        ),
        "NF110 d, NF104 y",
    ),
    "max pool whose indices are an output": Refuses(
        back(
            "N,4,5,5",
            "d, i = MaxPool<kernel_shape=[2,2]>(c)",
            "y = Mul(d, k)",
            "float[4,1,1] k = {0,1,2,3}",
            after=", int64[N,4,5,5] i",
        ),
        "NF110 d, NF104 y",
    ),
    "average pool that counts its padding, and a shift": Refuses(
        back("N,4,6,6", "d = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(c)", NORM_D),
        "NF107 d, NF104 y",
    ),
    "mean over the channels": Refuses(
        ahead("d = ReduceMean<axes=[1]>(c)", "y = Relu(d)", "N,1,6,6", BN4), "NF111 d, NF118 c", site="c"
    ),
    "reshape that cannot be traced": Refuses(
        back("M,9", "d = Reshape(c, s)", "y = Mul(d, k)", "float[9] k, int64[2] s = {-1, 9}"), "NF111 d, NF104 y"
    ),
    "reshape to a shape of run time": Refuses(
        back("N,4,R", "d = Reshape(c, s)", NORM_D, more="int64[3] s"), "NF111 d, NF104 y"
    ),
    "softmax": Refuses(back("N,4,6,6", "d = Softmax(c)", NORM_D), "NF110 d, NF104 y"),
    "sigmoid ahead": Refuses(
        ahead("d = Sigmoid(c)", "y = Conv(d, w, b)", "N,5,4,4", f"{BN4}, {CONV4}"), "NF110 d, NF118 c", site="c"
    ),
    "a conv that has another reader": Refuses(
        back("N,4,6,6", "d = AveragePool<kernel_shape=[1,1]>(c) z = Relu(c)", NORM_D, after=", float[N,4,6,6] z"),
        "NF103 z, NF104 y",
    ),
    "a conv that is an output": Refuses(
        back("N,4,6,6", "d = Relu(c)", SCALE_D, POSITIVE, after=", float[N,4,6,6] c"), "NF104 y, NF104 y"
    ),
    "a sum with an input of the graph": Refuses(
        back("N,4,6,6", "d = Add(c, z)", NORM_D, more="float[N,4,6,6] z"), "NF118 d, NF104 y"
    ),
    "a sum of two, and a scale behind one": Refuses(
        ahead(
            "e = Relu(x) d = Add(e, c)", "y = Conv(d, w)", "N,5,6,6", f"{K4}, float[5,4,1,1] w", first="c = Mul(x, k)"
        ),
        "NF117 d, NF118 c",
        site="c",
    ),
    "a sum that broadcasts along the channels": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[1,3,1,1] v, float[4,3,1,1] w, {BN4}>"
        f"{{ d = Conv(x, v) e = Conv(x, w) c = Add(e, d) y = {NORM} }}",
        "NF111 c, NF104 y",
    ),
    "a value minus itself, and a shift": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, {BN4}>"
        f"{{ d = Conv(x, v) c = Sub(d, d) y = {NORM} }}",
        "NF108 c, NF104 y",
    ),
    "a value plus its own identity, and a shift": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, {T4}>"
        "{ d = Conv(x, v) e = AveragePool<kernel_shape=[1,1]>(d) c = Add(d, e) y = Add(c, t) }",
        "NF103 e, NF104 y",
    ),
    "a value times its own identity": Refuses(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] v, float[4,1,1] k>"
        "{ d = Conv(x, v) e = AveragePool<kernel_shape=[1,1]>(d) c = Mul(d, e) y = Mul(c, k) }",
        "NF103 e, NF104 y",
    ),
    "a matrix times its own transpose": Refuses(
        "(float[N,3,5] x) => (float[N,4,4] y) <float[4,3] v, float k = {2}>"
        "{ d = MatMul(v, x) e = Transpose<perm=[0,2,1]>(d) c = MatMul(d, e) y = Mul(c, k) }",
        "NF103 c, NF104 y",
    ),
    "concat of a value with itself that wants two scales": Refuses(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[2,3,1,1] w, float[4,1,1] k = {2, 3, 4, 5}>"
        "{ d = Conv(x, w) c = Concat<axis=1>(d, d) y = Mul(c, k) }",
        "NF130 c, NF104 y",
    ),
    "concat with an input of the graph": Refuses(
        f"(float[N,3,6,6] x, float[N,3,6,6] z) => (float[N,4,6,6] y) <float[1,3,1,1] w, {BN4}>"
        f"{{ d = Conv(x, w) c = Concat<axis=1>(d, z) y = {NORM} }}",
        "NF118 c, NF104 y",
    ),
    "one of two readers stops": Refuses(
        ahead("d = Sigmoid(c)", "y = Conv(c, w, b)", "N,5,4,4", f"{BN4}, {CONV4}").replace(
            "y) <", "y, float[N,4,6,6] d) <"
        ),
        "NF110 d, NF118 c",
        site="c",
    ),
    "a quantizer": Refuses(
        back(
            "N,4,6,6",
            "q = QuantizeLinear(c, sc, zp) d = DequantizeLinear(q, sc, zp)",
            NORM_D,
            f"{BN4}, float sc = {{0.1}}, int8 zp = {{0}}",
        ),
        "NF120 d, NF104 y",
    ),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_folds_backward(name: str) -> None:
    assert_folds(BACKWARD[name])


@pytest.mark.parametrize("name", JOINED)
def test_folds_backward_through_joints(name: str) -> None:
    assert_folds(JOINED[name])


@pytest.mark.parametrize("name", FORWARD)
def test_folds_forward(name: str) -> None:
    assert_folds(FORWARD[name])


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])
