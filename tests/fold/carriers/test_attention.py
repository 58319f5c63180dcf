"""Carriers of attention as one operator, and of linear maps that only one number passes: rotary embeddings, spectra."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

MS = '"com.microsoft":1'
HEADS = "com.microsoft.MultiHeadAttention<num_heads=2>"
GROUPS = "com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads={}>"
THREE = "(float[2,5,32] q, float[2,5,32] k, float[2,5,32] x) => (float[2,5,32] y) <float[32] s, float[32] t"
LINEAR = "a = MatMul(x, w) c = Add(a, b)"
LENGTHS = "int32[2] sl = {4, 4}, int32 tl = {5}"

BACKWARD = {
    "MultiHeadAttention: a scale and a shift by feature": Folds(
        f"{THREE}, float[32,32] w, float[32] b> {{ {LINEAR} d = {HEADS}(q, k, c) m = Mul(d, s) y = Add(m, t) }}",
        "MatMul Add MultiHeadAttention",
        kept="c",
        domains=MS,
    ),
    "MultiHeadAttention with biases, which take the shift": Folds(
        f"{THREE}, float[32,32] w, float[96] b> {{ a = MatMul(x, w) d = {HEADS}(q, k, a, b) m = Mul(d, s) "
        "y = Add(m, t) }",
        "MatMul MultiHeadAttention",
        domains=MS,
    ),
    "GroupQueryAttention: a scale by feature": Folds(
        f"{THREE}, float[32,32] w, float[32] b, {LENGTHS}> {{ {LINEAR} d = {GROUPS.format(2)}(q, k, c, , , sl, tl) "
        "y = Mul(d, s) }",
        "MatMul Add GroupQueryAttention",
        kept="c",
        domains=MS,
    ),
    "GroupQueryAttention: one number where two queries share a value": Folds(
        "(float[2,5,32] q, float[2,5,16] k, float[2,5,16] x) => (float[2,5,32] y) <float s = {2}, float[16,16] w, "
        f"float[16] b, {LENGTHS}> {{ {LINEAR} d = {GROUPS.format(1)}(q, k, c, , , sl, tl) y = Mul(d, s) }}",
        "MatMul Add GroupQueryAttention",
        kept="c",
        domains=MS,
    ),
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
    "STFT: a factor and a shift": Folds(
        "(float[1,1,32] x) => (float[1,5,9,2] y) <float[32,32] w, float k = {-2}, float t = {1}, int64 st = {4}, "
        "float[16] wi> { a = MatMul(x, w) c = Transpose<perm=[0,2,1]>(a) d = STFT<onesided=1>(c, st, wi) "
        "m = Mul(d, k) y = Add(m, t) }",
        "MatMul Transpose STFT Add",
        kept="y",
    ),
    "Col2Im: a factor, behind a Transpose": Folds(
        "(float[1,36,4] x) => (float[1,4,6,6] y) <float[4,4] w, float k = {-2}, int64[2] im = {6, 6}, "
        "int64[2] bl = {1, 1}> { a = MatMul(x, w) c = Transpose<perm=[0,2,1]>(a) d = Col2Im(c, im, bl) y = "
        "Mul(d, k) }",
        "MatMul Transpose Col2Im",
        opset=18,
    ),
}
FORWARD = {
    "MultiHeadAttention: what the values lack goes on": Folds(
        f"{THREE}, float[32,32] w, float[32] b> {{ a = Mul(x, s) c = Add(a, t) d = {HEADS}(q, k, c) e = MatMul(d, w) "
        "y = Add(e, b) }",
        "MultiHeadAttention MatMul Add",
        "forward",
        kept="y",
        domains=MS,
    ),
    "MultiHeadAttention with biases: they take all shifts, the scores a number, the result a scale": Folds(
        f"{THREE}, float[32,32] w, float[96] b, float n = {{2}}> {{ u = Mul(q, n) v = Add(u, t) l = Sub(k, t) "
        f"a = Mul(x, s) c = Add(a, t) d = {HEADS}(v, l, c, b) y = MatMul(d, w) }}",
        "MultiHeadAttention MatMul",
        "forward",
        domains=MS,
    ),
    "MultiHeadAttention: a shift of all keys is dead": Folds(
        f"{THREE}> {{ l = Add(k, t) d = {HEADS}(q, l, x) y = Relu(d) }}",
        "MultiHeadAttention Relu",
        "forward",
        domains=MS,
    ),
    "GroupQueryAttention: a number of the queries, where no scale is given": Folds(
        f"{THREE}, float n = {{2}}, {LENGTHS}> {{ u = Mul(q, n) d = {GROUPS.format(2)}(u, k, x, , , sl, tl) "
        "y = Relu(d) }",
        "GroupQueryAttention Relu",
        "forward",
        domains=MS,
    ),
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
    "Attention: a positive scale by channel and a shift of the values": Folds(
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
    "Attention: a positive scale by channel and a shift of the queries": Folds(
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
    "STFT: a factor": Folds(
        "(float[1,32,1] x) => (float[1,9,5,3] y) <float k = {-2}, int64 st = {4}, float[16] wi, float[2,3] w> "
        "{ c = Mul(x, k) d = STFT<onesided=1>(c, st, wi) e = Transpose<perm=[0,2,1,3]>(d) y = MatMul(e, w) }",
        "STFT Transpose MatMul",
        "forward",
    ),
    "Col2Im: a factor, before a Transpose": Folds(
        "(float[1,4,36] x) => (float[1,6,6,3] y) <float[4,3] w, float k = {-2}, int64[2] im = {6, 6}, "
        "int64[2] bl = {1, 1}> { c = Mul(x, k) d = Col2Im(c, im, bl) e = Transpose<perm=[0,2,3,1]>(d) y = "
        "MatMul(e, w) }",
        "Col2Im Transpose MatMul",
        "forward",
        opset=18,
    ),
}
REFUSES = {
    "MultiHeadAttention: a scale by token of what is averaged": Refuses(
        f"{THREE}, float[32,32] w, float[32] b, float[5,1] n> {{ {LINEAR} d = {HEADS}(q, k, c) y = Mul(d, n) }}",
        "NF111 d, NF104 y",
        site="y",
        domains=MS,
    ),
    "MultiHeadAttention with biases: a scale by token of the values": Refuses(
        f"{THREE}, float[96] b, float[5,1] n> {{ a = Mul(x, n) d = {HEADS}(q, k, a, b) y = Relu(d) }}",
        "NF111 d, NF118 a",
        site="a",
        domains=MS,
    ),
    "MultiHeadAttention: a scale of what is added to the scores": Refuses(
        "(float[2,5,32] q, float[2,5,32] k, float[2,5,32] x, float[2,2,5,5] m) => (float[2,5,32] y) <float n = {2}> "
        f"{{ a = Mul(m, n) d = {HEADS}(q, k, x, , , a) y = Relu(d) }}",
        "NF110 d, NF118 a",
        site="a",
        domains=MS,
    ),
    "MultiHeadAttention: values that lie by heads": Refuses(
        "(float[2,5,32] q, float[2,2,5,16] k, float[2,2,5,16] x) => (float[2,5,32] y) <float[16] s> "
        f"{{ a = Mul(x, s) d = {HEADS}(q, k, a) y = Relu(d) }}",
        "NF112 d, NF118 a",
        site="a",
        domains=MS,
    ),
    "GroupQueryAttention: a scale by feature where two queries share a value": Refuses(
        "(float[2,5,32] q, float[2,5,16] k, float[2,5,16] x) => (float[2,5,32] y) <float[32] s, float[16,16] w, "
        f"float[16] b, {LENGTHS}> {{ {LINEAR} d = {GROUPS.format(1)}(q, k, c, , , sl, tl) y = Mul(d, s) }}",
        "NF111 d, NF104 y",
        site="y",
        domains=MS,
    ),
    "GroupQueryAttention: a shift, where a length may leave no value": Refuses(
        f"{THREE}, float[32,32] w, float[32] b, {LENGTHS}> {{ {LINEAR} d = {GROUPS.format(2)}(q, k, c, , , sl, tl) "
        "y = Add(d, t) }",
        "NF108 d, NF104 y",
        site="y",
        domains=MS,
    ),
    "GroupQueryAttention: values that are kept for the future": Refuses(
        "(float[2,5,32] q, float[2,5,32] k, float[2,5,32] x) => (float[2,5,32] y, float[2,2,5,16] z) <float[32] s, "
        f"float[32,32] w, float[32] b, {LENGTHS}> {{ {LINEAR} d, e, z = {GROUPS.format(2)}(q, k, c, , , sl, tl) "
        "y = Mul(d, s) }",
        "NF110 d, NF104 y",
        site="y",
        domains=MS,
    ),
    "MultiHeadAttention: queries, keys and values in one": Refuses(
        "(float[2,5,2,3,16] x) => (float[2,5,32] y) <float[32] s, float[16,16] w> { a = MatMul(x, w) "
        f"d = {HEADS}(a) y = Mul(d, s) }}",
        "NF112 y",
        site="y",
        domains=MS,
    ),
    "MultiHeadAttention with biases: a scale of 0 of the values": Refuses(
        f"{THREE}, float[32,32] w, float[96] b, float o = {{0}}> {{ a = Mul(x, o) d = {HEADS}(q, k, a, b) "
        "y = MatMul(d, w) }",
        "NF109 d, NF118 a",
        site="a",
        domains=MS,
    ),
    "MultiHeadAttention: a scale by feature of the queries": Refuses(
        f"{THREE}> {{ u = Mul(q, s) d = {HEADS}(u, k, x) y = Relu(d) }}",
        "NF111 d, NF118 u",
        site="u",
        domains=MS,
    ),
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
    "Attention: a factor that its scale cannot hold": Refuses(
        "(float[2,2,5,16] q, float[2,2,5,16] k, float[2,2,5,16] v) => (float[2,2,5,16] y) <float n = {1e30}> "
        "{ c = Mul(q, n) y = Attention<scale=1e20>(c, k, v) }",
        "NF115 y, NF118 c",
        opset=23,
    ),
    "Attention: a factor of queries whose scores are read": Refuses(
        "(float[2,2,5,16] q, float[2,2,5,16] k, float[2,2,5,16] v) => (float[2,2,5,16] y, float[2,2,5,16] a, "
        "float[2,2,5,16] b, float[2,2,5,5] z) <float n = {2}> { c = Mul(q, n) y, a, b, z = Attention(c, k, "
        "v) }",
        "NF110 y, NF118 c",
        opset=23,
    ),
    "MultiHeadAttention: a factor of queries, keys and values in one": Refuses(
        "(float[2,5,2,3,16] x) => (float[2,5,32] y) <float n = {2}> { a = Mul(x, n) y = "
        "com.microsoft.MultiHeadAttention<num_heads=2>(a) }",
        "NF110 y, NF118 a",
        domains=MS,
    ),
    "MultiHeadAttention: a factor that its biases cannot hold": Refuses(
        "(float[2,5,32] q, float[2,5,32] k, float[2,5,32] x) => (float[2,5,32] y) <float[96] b, float n = "
        "{1e20}> { d = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, x, b) y = Mul(d, n) }",
        "NF115 d, NF104 y",
        domains=MS,
        values={"b": (1e30,) * 96},
    ),
    "MultiHeadAttention: a scale by feature of values that lie by heads": Refuses(
        "(float[2,5,32] q, float[2,2,5,16] k, float[2,2,5,16] x) => (float[2,5,32] y) <float[16] s> { a = "
        "Mul(x, s) y = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, a) }",
        "NF111 y, NF118 a",
        domains=MS,
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
