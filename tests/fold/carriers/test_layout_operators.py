"""Carriers that only move elements: Transpose, Reshape and the like, Expand, Slice, Gather, DepthToSpace."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, ahead, assert_same_values, back, every, fold, operators
from tests.onnx_text import parse

BACKWARD = {
    "scalars behind a squeeze whose result is of unknown rank": Folds(
        "(float[N,16] x) => (float[M] y) <float[16,1] w, float[1] b, float k, float t, int64[1] s = {-1}>"
        "{ g = Gemm(x, w, b) q = Squeeze(g) m = Mul(q, k) a = Add(m, t) z = Tanh(a) y = Reshape(z, s) }",
        "Gemm Squeeze Tanh Reshape",
        opset=13,
    ),
    "a number through a Relu of unknown rank": Folds(
        "(float[N,16] x) => (float[M] y) <float[16,1] w, float[1] b, float k = {2.5}, int64[1] s = {-1}>"
        "{ g = Gemm(x, w, b) q = Squeeze(g) r = Relu(q) m = Mul(r, k) z = Tanh(m) y = Reshape(z, s) }",
        "Gemm Squeeze Relu Tanh Reshape",
        opset=13,
    ),
    "a number through a Slice of unknown rank": Folds(
        "(float[N,16] x) => (float[M] y) <float[16,3] w, float[3] b, float k = {2.5}, int64[1] s = {-1}, "
        "int64[1] st = {0}, int64[1] en = {2}> "
        "{ g = Gemm(x, w, b) q = Squeeze(g) r = Slice(q, st, en, st) m = Mul(r, k) z = Tanh(m) y = Reshape(z, s) }",
        "Gemm Squeeze Slice Tanh Reshape",
        opset=13,
    ),
    "a slice of everything, on axes of unknown size": Folds(
        "(float[N,3,H,7] x) => (float[N,4,h,5] y) <float[4,3,1,1] w, float[4] b, int64[3] st = {0, 0, 0},"
        "int64[3] en = {2147483647, 9223372036854775807, 5}, int64[3] ax = {0, 2, 3}, float[1,4,1,1] k>"
        "{ c = Conv(x, w, b) d = Slice(c, st, en, ax) y = Mul(d, k) }",
        "Conv Slice",
    ),
    "transpose": Folds(
        back("N,6,6,4", "d = Transpose<perm=[0,2,3,1]>(c) e = Mul(d, k) y = Add(t, e)", "float[4] k, float[4] t"),
        "Conv Transpose",
    ),
    "transpose that turns all three axes around": Folds(
        back("6,4,N,6", "d = Transpose<perm=[3,1,0,2]>(c) y = Mul(d, k)", "float[4,1,1] k"), "Conv Transpose"
    ),
    "transpose without a permutation": Folds(
        back("6,6,4,N", "d = Transpose(c) y = Mul(d, k)", "float[4,1] k"), "Conv Transpose"
    ),
    "reshape that joins space": Folds(
        back(
            "N,4,36", "d = Reshape(c, s) y = BatchNormalization(d, g, be, m, var)", f"{BN4}, int64[3] s = {{0, 4, -1}}"
        ),
        "Conv Reshape",
    ),
    "reshape that parts channels into heads": Folds(
        back("N,2,2,36", "d = Reshape(c, s) y = Mul(d, k)", "float[2,2,1] k, int64[4] s = {0, 2, 2, -1}"),
        "Conv Reshape",
    ),
    "reshape that joins batch and space, behind a transpose": Folds(
        back(
            "M,4",
            "t1 = Transpose<perm=[0,2,3,1]>(c) d = Reshape(t1, s) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, int64[2] s = {{-1, 4}}",
        ),
        "Conv Transpose Reshape",
    ),
    "flatten, each channel repeated": Folds(
        back("N,144", "d = Flatten(c) y = Mul(d, k)", "float k = {2}"), "Conv Flatten"
    ),
    "flatten of a pooled value": Folds(
        back("N,4", "p = GlobalAveragePool(c) d = Flatten(p) y = BatchNormalization(d, g, be, m, var)"),
        "Conv GlobalAveragePool Flatten",
    ),
    "squeeze": Folds(
        back(
            "N,4",
            "p = GlobalAveragePool(c) d = Squeeze(p, a) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, int64[2] a = {{2, -1}}",
        ),
        "Conv GlobalAveragePool Squeeze",
    ),
    "squeeze of opset 11": Folds(
        back("N,4", "p = GlobalAveragePool(c) d = Squeeze<axes=[2,3]>(p) y = BatchNormalization(d, g, be, m, var)"),
        "Conv GlobalAveragePool Squeeze",
        opset=11,
    ),
    "unsqueeze": Folds(
        back("N,1,4,6,6", "d = Unsqueeze(c, a) y = Mul(d, k)", "float[4,1,1] k, int64[1] a = {1}"), "Conv Unsqueeze"
    ),
    "expand": Folds(
        back(
            "N,4,5,5",
            "p = GlobalAveragePool(c) d = Expand(p, s) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, int64[4] s = {{1, 4, 5, 5}}",
        ),
        "Conv GlobalAveragePool Expand",
    ),
    "expand to a higher rank": Folds(
        back("2,N,4,6,6", "d = Expand(c, s) y = Mul(d, k)", "float[4,1,1] k, int64[5] s = {2, 1, 4, 1, 1}"),
        "Conv Expand",
    ),
    "tile": Folds(
        back(
            "N,4,12,6", "d = Tile(c, r) y = BatchNormalization(d, g, be, m, var)", f"{BN4}, int64[4] r = {{1, 1, 2, 1}}"
        ),
        "Conv Tile",
    ),
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
            "d = Slice(c, st, en, ax) y = BatchNormalization(d, g, be, m, var)",
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
    "depth to space, channels equal in a block": Folds(
        back("N,1,12,12", "d = DepthToSpace<blocksize=2>(c) y = Mul(d, k)", "float k = {-2}"), "Conv DepthToSpace"
    ),
    "depth to space, columns first": Folds(
        "(float[N,3,6,6] x) => (float[N,2,12,12] y) <float[8,3,1,1] w, float[2,1,1] k, float[2,1,1] t> "
        '{ c = Conv(x, w) d = DepthToSpace<blocksize=2, mode="CRD">(c) e = Mul(d, k) y = Add(e, t) }',
        "Conv DepthToSpace",
    ),
    "depth to space, depth first": Folds(
        "(float[N,3,6,6] x) => (float[N,2,12,12] y) <float[8,3,1,1] w, float[2,1,1] k, float[2,1,1] t> "
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
    "ArrayFeatureExtractor: a scale and a shift of the features": Folds(
        "(float[N,3] x) => (float[N,2] y) <float[3,4] w, float[4] b, float[2] k, float[2] t, "
        "int64[2] i = {3, 1}> "
        "{ c = Gemm(x, w, b) d = ai.onnx.ml.ArrayFeatureExtractor(c, i) m = Mul(d, k) y = Add(m, t) }",
        "Gemm ArrayFeatureExtractor",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
    "Flatten: channels become the first axis": Folds(
        "(float[1,3,8,8] x) => (float[4,36] y) <float[4,3,3,3] w, float[4] b, float[4,1] k> { c = Conv(x, w, "
        "b) d = Flatten<axis=2>(c) y = Mul(d, k) }",
        "Conv Flatten",
    ),
    "Squeeze: the batch goes": Folds(
        "(float[1,3,8,8] x) => (float[4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k, int64[1] a = "
        "{0}> { c = Conv(x, w, b) d = Squeeze(c, a) y = Mul(d, k) }",
        "Conv Squeeze",
    ),
}
FORWARD = {
    "flatten into a gemm, each weight of a channel scaled": Folds(
        ahead("N,5", "d = Flatten(c) y = Gemm(d, w)", f"{BN4}, float[144,5] w"), "Flatten Gemm", "forward"
    ),
    "transpose": Folds(
        ahead(
            "N,6,6,5",
            "d = Transpose<perm=[0,2,3,1]>(c) e = MatMul(d, w) y = Add(e, b)",
            f"{BN4}, float[4,5] w, float[5] b",
        ),
        "Transpose MatMul Add",
        "forward",
        kept="y",
    ),
    "reshape": Folds(
        ahead(
            "N,5,36",
            "d = Reshape(c, s) y = MatMul(w, d)",
            "float[4,1,1] k, float[5,4] w, int64[3] s = {0, 4, -1}",
            first="c = Mul(x, k)",
        ),
        "Reshape MatMul",
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
    "Squeeze: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5",
            "e = GlobalAveragePool(c) d = Squeeze(e, a) y = MatMul(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64[2] a = {2, 3}, float[4,5] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "GlobalAveragePool Squeeze Gemm",
        "forward",
    ),
    "Unsqueeze: a factor and a shift": Folds(
        ahead(
            "N,4,6,6,5",
            "d = Unsqueeze(c, a) y = MatMul(d, v)",
            "float k = {-2}, float t = {0.75}, int64[1] a = {4}, float[1,5] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Unsqueeze MatMul Add",
        "forward",
    ),
    "unsqueeze conv1d": Folds(
        f"(float[N,4] x) => (float[N,5,1] y) <{BN4}, float[5,4,1] v, int64[1] ax={{2}}> "
        "{ c = BatchNormalization(x, g, be, m, var) d = Unsqueeze(c, ax) y = Conv(d, v) }",
        "Unsqueeze Conv",
        "forward",
    ),
    "Expand: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,5,5",
            "e = GlobalAveragePool(c) d = Expand(e, s) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64[4] s = {1, 4, 5, 5}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "GlobalAveragePool Expand Conv",
        "forward",
    ),
    "Tile: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,12,6",
            "d = Tile(c, r) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64[4] r = {1, 1, 2, 1}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Tile Conv",
        "forward",
    ),
    "Gather: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Gather<axis=1>(c, i) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64[4] i = {3, 0, 1, 2}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Conv",
        "forward",
    ),
    "ArrayFeatureExtractor: a scale and a shift of the features": Folds(
        "(float[N,4] x) => (float[N,5] y) <float[2,5] v, float[5] b, float[4] k, float[4] t, "
        "int64[2] i = {3, 1}> "
        "{ m = Mul(x, k) c = Add(m, t) d = ai.onnx.ml.ArrayFeatureExtractor(c, i) y = Gemm(d, v, b) }",
        "ArrayFeatureExtractor Gemm",
        "forward",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
    "ArrayFeatureExtractor: one factor for features of unknown number": Folds(
        "(float[N,M] x) => (float[N,3] y) <float k, int64[2] i = {0, 0}, float[2,3] w> { c = Mul(x, k) d = "
        "ai.onnx.ml.ArrayFeatureExtractor(c, i) y = MatMul(d, w) }",
        "ArrayFeatureExtractor MatMul",
        "forward",
        domains='"ai.onnx.ml":3',
    ),
}
REFUSES = {
    "a vector of one number, which may add an axis to a value of unknown rank": Refuses(
        "(float[N,16] x) => (float[M] y) <float[16,1] w, float[1] b, float[1] k, int64[1] s = {-1}>"
        "{ g = Gemm(x, w, b) q = Squeeze(g) m = Mul(q, k) y = Reshape(m, s) }",
        "NF112 m",
        opset=13,
    ),
    "a number between operators that stop it whatever the rank": Refuses(
        "(float[N,16] x) => (float[M] y) <float[16,1] w, float[1] b, float k, int64[1] s = {-1}>"
        "{ g = Gemm(x, w, b) q = Squeeze(g) f = Sigmoid(q) m = Mul(f, k) z = Sigmoid(m) y = Reshape(z, s) }",
        "NF110 f, NF110 z",
        opset=13,
    ),
    "a number at an operator that asks for the rank": Refuses(
        "(float[N,16] x) => (float[M] y) <float[16,1] w, float[1] b, float k, int64[1] s = {-1}>"
        "{ g = Gemm(x, w, b) q = Squeeze(g) f = Softplus(q) t = Transpose(f) m = Mul(t, k) z = Tanh(m)"
        "y = Reshape(z, s) }",
        "NF112 t, NF112 z",
        opset=13,
    ),
    "reshape that cannot be traced": Refuses(
        back("M,9", "d = Reshape(c, s) y = Mul(d, k)", "float[9] k, int64[2] s = {-1, 9}"), "NF111 d, NF104 y"
    ),
    "reshape to a shape of run time": Refuses(
        back("N,4,R", "d = Reshape(c, s) y = BatchNormalization(d, g, be, m, var)", more=", int64[3] s"),
        "NF111 d, NF104 y",
    ),
    "gather of one channel twice with two scales": Refuses(
        back("N,2,6,6", "d = Gather<axis=1>(c, i) y = Mul(d, k)", "float[2,1,1] k, int64[2] i = {1, 1}"),
        "NF130 d, NF104 y",
    ),
    "depth to space, a block of different channels": Refuses(
        ahead("N,5,12,12", "d = DepthToSpace<blocksize=2>(c) y = Conv(d, w)", f"{BN4}, float[5,1,1,1] w"),
        "NF111 d, NF118 c",
    ),
    "Unsqueeze: a positive scale by channel, forward": Refuses(
        ahead(
            "N,4,6,6,5",
            "d = Unsqueeze(c, a) y = MatMul(d, v)",
            "float[4,1,1] pos, int64[1] a = {4}, float[1,5] v",
            first="c = Mul(x, pos)",
        ),
        "NF111 y, NF118 c",
    ),
    "Unsqueeze: a scale along the last axis, forward": Refuses(
        ahead(
            "N,4,6,6,5",
            "d = Unsqueeze(c, a) y = MatMul(d, v)",
            "float[6] kw, int64[1] a = {4}, float[1,5] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 y, NF118 c",
    ),
    "Tile: a positive scale by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = Tile(c, r) y = Conv(d, v)",
            "float[4,1,1] pos, int64[4] r = {1, 2, 1, 1}, float[5,8,1,1] v",
            first="c = Mul(x, pos)",
        ),
        "NF111 d, NF118 c",
    ),
    "DepthToSpace: a scale along the last axis": Refuses(
        back("N,1,12,12", "d = DepthToSpace<blocksize=2>(c) y = Mul(d, kw)", "float[12] kw"), "NF111 d, NF104 y"
    ),
    "Transpose: a scale along the last axis, forward": Refuses(
        ahead(
            "N,5,6,4",
            "d = Transpose<perm=[0,2,3,1]>(c) y = Conv(d, v)",
            "float[6] kw, float[5,6,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 y, NF118 c",
    ),
    "Flatten: a scale along the last axis": Refuses(
        back("N,144", "d = Flatten(c) y = Mul(d, kw)", "float[144] kw"), "NF111 c, NF104 y"
    ),
    "Squeeze: a scale along the last axis, forward": Refuses(
        ahead(
            "N,5",
            "e = GlobalAveragePool(c) d = Squeeze(e, a) y = MatMul(d, v)",
            "float[6] kw, int64[2] a = {2, 3}, float[4,5] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 e, NF118 c",
    ),
    "Expand: a scale along the last axis": Refuses(
        back(
            "N,4,5,5",
            "e = GlobalAveragePool(c) d = Expand(e, s) y = Mul(d, kw)",
            "float[5] kw, int64[4] s = {1, 4, 5, 5}",
        ),
        "NF111 d, NF104 y",
    ),
    "Slice: a scale along the last axis": Refuses(
        back(
            "N,4,3,6",
            "d = Slice(c, st, en, ax) y = Mul(d, kw)",
            "float[6] kw, int64[1] st = {0}, int64[1] en = {3}, int64[1] ax = {2}",
        ),
        "NF111 c, NF104 y",
    ),
    "SpaceToDepth: a scale along the last axis": Refuses(
        back("N,16,3,3", "d = SpaceToDepth<blocksize=2>(c) y = Mul(d, kw)", "float[3] kw"), "NF111 d, NF104 y"
    ),
    "ArrayFeatureExtractor: one feature twice": Refuses(
        "(float[N,3] x) => (float[N,2] y) <float[3,4] w, float[2] k, int64[2] i = {3, 3}> "
        "{ c = MatMul(x, w) d = ai.onnx.ml.ArrayFeatureExtractor(c, i) y = Mul(d, k) }",
        "NF130 d, NF104 y",
        domains='"ai.onnx.ml":3',
    ),
    "ArrayFeatureExtractor: a value of three dimensions": Refuses(
        "(float[2,3,4] x) => (float[2,3,2] y) <float[4] k, int64[2] i = {0, 2}> { c = Mul(x, k) y = "
        "ai.onnx.ml.ArrayFeatureExtractor(c, i) }",
        "NF110 y, NF118 c",
        domains='"ai.onnx.ml":3',
    ),
    "Gather: a scale along the axis that is indexed at run time": Refuses(
        "(float[N,4] x, int64[2] i) => (float[N,3] y) <float[4] k, float[2,3] w> { c = Mul(x, k) d = "
        "Gather<axis=1>(c, i) y = MatMul(d, w) }",
        "NF111 d, NF118 c",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)


def test_a_slice_that_begins_before_the_front_is_empty_for_some_sizes() -> None:
    text = (
        "(float[N,4] x) => (float[N,1] y) <float[4] s, float[1,1] w, int64[1] b={-10}, int64[1] e={-100}, "
        "int64[1] i={1}, int64[1] p={-1}> { a = Mul(x, s) c = Slice(a, b, e, i, p) y = MatMul(c, w) }"
    )
    model = parse(text)
    folded = fold(model).model
    assert operators(folded) == "Slice MatMul"
    assert_same_values(model, folded)
