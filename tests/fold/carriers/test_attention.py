"""Carriers of attention as one operator, and of linear maps that only one number passes: rotary embeddings, spectra."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

BACKWARD = {
    "one number behind turned features, by the operator of ONNX Runtime": Folds(
        "(float[2,4,8] x, int64[2,4] p) => (float[2,4,8] y) <float[8,8] w, float s = {2}, float[9,4] c, float[9,4] d>"
        "{ a = MatMul(x, w) r = com.microsoft.RotaryEmbedding<num_heads=1>(a, p, c, d) y = Mul(r, s) }",
        "MatMul RotaryEmbedding",
        domains='"com.microsoft":1',
    ),
    "Attention: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = Attention(z, u, c) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t",
            more=", float[N,4,6,6] z, float[N,4,6,6] u",
        ),
        "Conv Attention",
        opset=23,
    ),
    "RotaryEmbedding: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = RotaryEmbedding(c, co, si) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t",
            more=", float[N,6,3] co, float[N,6,3] si",
        ),
        "Conv RotaryEmbedding Add",
        kept="y",
        opset=23,
    ),
    "DFT: a factor and a shift": Folds(
        back(
            "N,4,6,6,2",
            'e = Unsqueeze(c, un) d = DFT(e, "", ax) m = Mul(d, k) y = Add(m, t)',
            "float k = {-2}, float t = {0.75}, int64[1] un = {4}, int64 ax = {2}",
        ),
        "Conv Unsqueeze DFT Add",
        kept="y",
        opset=20,
    ),
    "Col2Im: a factor": Folds(
        "(float[1,3,36] x) => (float[1,4,6,6] y) <float[4,3] w, float k = {-2}, int64[2] im = {6, 6}, "
        "int64[2] bl = {1, 1}> "
        "{ c = MatMul(w, x) d = Col2Im(c, im, bl) y = Mul(d, k) }",
        "MatMul Col2Im",
        opset=18,
    ),
}
FORWARD = {
    "one number through turned features": Folds(
        "(float[2,4,8] x, int64[2,4] p) => (float[2,4,6] y) <float[8,6] w, float s = {2}, float[9,4] c, float[9,4] d>"
        "{ a = Mul(x, s) r = com.microsoft.RotaryEmbedding<num_heads=1>(a, p, c, d) y = MatMul(r, w) }",
        "RotaryEmbedding MatMul",
        "forward",
        domains='"com.microsoft":1',
    ),
    "Attention: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = Attention(c, z, u) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t",
            more=", float[N,4,6,6] z, float[N,4,6,6] u",
        ),
        "Conv Attention BatchNormalization",
        "merge",
        kept="y",
        opset=23,
    ),
    "Attention: a shift by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Attention(z, c, u) y = Conv(d, v)",
            "float[4,1,1] t, float[5,4,1,1] v",
            more=", float[N,4,6,6] z, float[N,4,6,6] u",
            first="c = Add(x, t)",
        ),
        "Attention Conv",
        "forward",
        opset=23,
    ),
    "Attention: a positive scale by channel and a shift again": Folds(
        ahead(
            "N,5,6,6",
            "d = Attention(z, u, c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            more=", float[N,4,6,6] z, float[N,4,6,6] u",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Attention Conv",
        "forward",
        opset=23,
    ),
    "RotaryEmbedding: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = RotaryEmbedding(c, co, si) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            more=", float[N,6,3] co, float[N,6,3] si",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add RotaryEmbedding Conv",
        "forward",
        kept="c",
        opset=23,
    ),
    "DFT: a factor and a shift": Folds(
        ahead(
            "N,4,6,6,5",
            'e = Unsqueeze(c, un) d = DFT(e, "", ax) y = MatMul(d, v)',
            "float k = {-2}, float t = {0.75}, int64[1] un = {4}, int64 ax = {2}, float[2,5] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Add Unsqueeze DFT MatMul",
        "forward",
        kept="c",
        opset=20,
    ),
    "Attention: a positive scale by channel and a shift again again": Folds(
        ahead(
            "N,5,6,6",
            "d = Attention(c, z, u) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            more=", float[N,4,6,6] z, float[N,4,6,6] u",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "BatchNormalization Attention Conv",
        "merge",
        kept="c",
        opset=23,
    ),
    "Attention: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Attention(c, z, u) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,4,1,1] v",
            more=", float[N,4,6,6] z, float[N,4,6,6] u",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "BatchNormalization Attention Conv",
        "merge",
        kept="c",
        opset=23,
    ),
    "Col2Im: a factor": Folds(
        "(float[1,4,36] x) => (float[1,5,6,6] y) <float k = {-2}, int64[2] im = {6, 6}, "
        "int64[2] bl = {1, 1}, float[5,4,1,1] v> "
        "{ c = Mul(x, k) d = Col2Im(c, im, bl) y = Conv(d, v) }",
        "Col2Im Conv",
        "forward",
        opset=18,
    ),
}
REFUSES = {
    "Attention: a positive scale by channel": Refuses(
        back(
            "N,4,6,6",
            "d = Attention(c, z, u) y = Mul(d, pos)",
            "float[4,1,1] pos",
            more=", float[N,4,6,6] z, float[N,4,6,6] u",
        ),
        "NF118 d, NF104 y",
        opset=23,
    ),
    "STFT: a positive factor, forward": Refuses(
        ahead(
            "R",
            "e = Reshape(c, sh) d = STFT(e, st, wi) y = Sigmoid(d)",
            "float k = {0.5}, int64[3] sh = {0, -1, 1}, int64 st = {8}, float[16] wi",
            first="c = Mul(x, k)",
        ),
        "NF110 y, NF118 c",
    ),
    "RotaryEmbedding: a scale along the last axis": Refuses(
        back(
            "N,4,6,6",
            "d = RotaryEmbedding(c, co, si) y = Mul(d, kw)",
            "float[6] kw",
            more=", float[N,6,3] co, float[N,6,3] si",
        ),
        "NF111 d, NF104 y",
        opset=23,
    ),
    "DFT: a shift by channel": Refuses(
        back(
            "N,4,6,6,2",
            'e = Unsqueeze(c, un) d = DFT(e, "", ax) y = Add(d, t)',
            "float[4,1,1,1] t, int64[1] un = {4}, int64 ax = {2}",
        ),
        "NF108 d, NF104 y",
        opset=20,
    ),
    "DFT: a positive scale by channel": Refuses(
        back(
            "N,4,6,6,2",
            'e = Unsqueeze(c, un) d = DFT(e, "", ax) y = Mul(d, pos)',
            "float[4,1,1,1] pos, int64[1] un = {4}, int64 ax = {2}",
        ),
        "NF111 d, NF104 y",
        opset=20,
    ),
    "Col2Im: a scale along the last axis": Refuses(
        back(
            "N,4,5,6",
            "e = Reshape(c, sh) d = Col2Im(e, im, bl) y = Mul(d, kw)",
            "float[6] kw, int64[3] sh = {0, 4, 36}, int64[2] im = {6, 6}, int64[2] bl = {1, 1}",
        ),
        "NF111 d, NF104 y",
        opset=18,
    ),
    "Col2Im: a shift": Refuses(
        "(float[1,3,36] x) => (float[1,4,6,6] y) <float[4,3] w, float t = {2}, int64[2] im = {6, 6}, "
        "int64[2] bl = {1, 1}> "
        "{ c = MatMul(w, x) d = Col2Im(c, im, bl) y = Add(d, t) }",
        "NF108 d, NF104 y",
        opset=18,
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
