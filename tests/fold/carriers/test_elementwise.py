"""Carriers that act element by element: identities, casts, and positively homogeneous functions."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, ahead, back, every

BACKWARD = {
    "identity": Folds(back("N,4,6,6", "d = Identity(c) y = BatchNormalization(d, g, be, m, var)"), "Conv"),
    "dropout": Folds(back("N,4,6,6", "d = Dropout(c) y = BatchNormalization(d, g, be, m, var)"), "Conv"),
    "dropout of opset 7": Folds(
        back("N,4,6,6", "d = Dropout<ratio=0.3>(c) y = BatchNormalization(d, g, be, m, var)"), "Conv", opset=7
    ),
    "dropout whose mask is unused": Folds(
        back(
            "N,4,6,6",
            "d, mask = Dropout(c, r, f) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, float r = {{0.5}}, bool f = {{0}}",
        ),
        "Conv",
    ),
    "relu": Folds(back("N,4,6,6", "d = Relu(c) y = Mul(d, pos)", "float[4,1,1] pos"), "Conv Relu"),
    "relu with a scale of zero": Folds(
        back("N,4,6,6", "d = Relu(c) y = Mul(k, d)", "float[4,1,1] k = {0, 1, 2, 0}"), "Conv Relu"
    ),
    "leaky relu": Folds(
        back("N,4,6,6", "d = LeakyRelu<alpha=-0.3>(c) y = Mul(d, pos)", "float[4,1,1] pos"), "Conv LeakyRelu"
    ),
    "cast": Folds(
        "(float16[N,3,8,8] x) => (float[N,4,6,6] y) <float16[4,3,3,3] w, float[4,1,1] k> "
        "{ c = Conv(x, w) d = Cast<to=1>(c) y = Mul(d, k) }",
        "Conv Cast",
    ),
    "prelu": Folds(
        back("N,4,6,6", "d = PRelu(c, s) y = Mul(d, pos)", "float[4,1,1] s, float[4,1,1] pos"), "Conv PRelu"
    ),
    "abs": Folds(back("N,4,6,6", "d = Abs(c) y = Mul(d, pos)", "float[4,1,1] pos"), "Conv Abs"),
    "no bound, written as a number that float32 rounds down": Folds(
        "(float[N,4] x) => (float[N,4] y) <float lo={0}, float hi={3.4e38}, float k={2}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Clip(a, lo, hi) y = Mul(b, k) }",
        "MatMul Clip",
    ),
    "ThresholdedRelu: a positive factor": Folds(
        back("N,4,6,6", "d = ThresholdedRelu<alpha=0.5>(c) y = Mul(d, k)", "float k = {0.5}"), "Conv ThresholdedRelu"
    ),
    "Shrink: a positive factor": Folds(
        back("N,4,6,6", "d = Shrink<lambd=0.5, bias=0.25>(c) y = Mul(d, k)", "float k = {0.5}"), "Conv Shrink"
    ),
    "Celu: a positive factor": Folds(
        back("N,4,6,6", "d = Celu<alpha=1.5>(c) y = Mul(d, k)", "float k = {0.5}"), "Conv Celu"
    ),
    "Trilu: a positive scale by channel and a shift": Folds(
        back("N,4,6,6", "d = Trilu(c) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Trilu Add",
        kept="y",
    ),
    "CumSum: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = CumSum(c, ax) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, int64 ax = {2}",
        ),
        "Conv CumSum Add",
        kept="y",
    ),
    "LeakyRelu: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6", "d = LeakyRelu<alpha=0.3>(c) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"
        ),
        "Conv LeakyRelu Add",
        kept="y",
    ),
    "Abs: a positive scale by channel and a shift": Folds(
        back("N,4,6,6", "d = Abs(c) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Abs Add",
        kept="y",
    ),
    "LRN: a positive factor": Folds(
        back("N,4,6,6", "d = LRN<size=3, alpha=0.5>(c) y = Mul(d, k)", "float k = {0.5}"), "Conv LRN"
    ),
    "LRN: a negative factor": Folds(
        back("N,4,6,6", "d = LRN<size=3, alpha=0.5>(c) y = Mul(d, k)", "float k = {-2}"), "Conv LRN"
    ),
    "dropout whose mask is an output": Folds(
        back(
            "N,4,6,6",
            "d, mask = Dropout(c) y = BatchNormalization(d, g, be, m, var)",
            outputs=", bool[N,4,6,6] mask",
        ),
        "Conv Dropout",
    ),
}
FORWARD = {
    "a cast to a wider type": Folds(
        "(float16[N,4] x) => (float[N,3] y) <float16[4] k, float[4,3] w>"
        "{ c = Mul(x, k) d = Cast<to=1>(c) y = MatMul(d, w) }",
        "Cast MatMul",
        "forward",
        values={"k": (2, -0.5, 4, 1)},
    ),
    "identity": Folds(
        ahead("N,5,4,4", "d = Identity(c) y = Conv(d, w, b)", f"{BN4}, float[5,4,3,3] w, float[5] b"), "Conv", "forward"
    ),
    "dropout": Folds(
        ahead("N,5,4,4", "d = Dropout(c) y = Conv(d, w, b)", f"{BN4}, float[5,4,3,3] w, float[5] b"), "Conv", "forward"
    ),
    "relu": Folds(
        ahead(
            "N,5,4,4",
            "d = Relu(c) y = Conv(d, w, b)",
            "float[4,1,1] pos, float[5,4,3,3] w, float[5] b",
            first="c = Mul(x, pos)",
        ),
        "Relu Conv",
        "forward",
    ),
    "LeakyRelu: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = LeakyRelu<alpha=0.3>(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add LeakyRelu Conv",
        "forward",
        kept="c",
    ),
    "LeakyRelu: a scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = LeakyRelu<alpha=0.3>(c) y = Conv(d, v)",
            "float[4,1,1] k, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Add PRelu Conv",
        "forward",
        kept="c",
    ),
    "PRelu: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = PRelu(c, s) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[4,1,1] s, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add PRelu Conv",
        "forward",
        kept="c",
    ),
    "PRelu: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = PRelu(c, s) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[4,1,1] s, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "PRelu Conv",
        "forward",
    ),
    "Abs: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Abs(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Abs Conv",
        "forward",
        kept="c",
    ),
    "Abs: a scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Abs(c) y = Conv(d, v)",
            "float[4,1,1] k, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Add Abs Conv",
        "forward",
        kept="c",
    ),
    "Clip: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Clip(c, lo, hi) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float lo = {-0.5}, float hi = {1}, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Clip Conv",
        "forward",
    ),
    "Clip: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Clip(c, lo) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float lo = {0}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Clip Conv",
        "forward",
        kept="c",
    ),
    "ThresholdedRelu: a positive factor": Folds(
        ahead(
            "N,5,6,6",
            "d = ThresholdedRelu<alpha=0.5>(c) y = Conv(d, v)",
            "float k = {0.5}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "ThresholdedRelu Conv",
        "forward",
    ),
    "Shrink: a positive factor": Folds(
        ahead(
            "N,5,6,6",
            "d = Shrink<lambd=0.5, bias=0.25>(c) y = Conv(d, v)",
            "float k = {0.5}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Shrink Conv",
        "forward",
    ),
    "Celu: a positive factor": Folds(
        ahead(
            "N,5,6,6",
            "d = Celu<alpha=1.5>(c) y = Conv(d, v)",
            "float k = {0.5}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Celu Conv",
        "forward",
    ),
    "Trilu: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Trilu(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Trilu Conv",
        "forward",
        kept="c",
    ),
    "CumSum: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = CumSum(c, ax) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64 ax = {2}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add CumSum Conv",
        "forward",
        kept="c",
    ),
    "Shape: a positive scale by channel and a shift": Folds(
        ahead(
            "4",
            "s = Shape(c) d = Cast<to=1>(s) y = Sigmoid(d)",
            "float[4,1,1] pos, float[4,1,1] t",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Shape Cast Sigmoid",
        "forward",
    ),
    "Abs: a scale by channel and a shift behind it": Folds(
        back("N,4,6,6", "d = Abs(c) m = Mul(d, k) y = Add(m, t)", "float[4,1,1] k, float[4,1,1] t"),
        "Conv Abs BatchNormalization",
        "merge",
        kept="y",
    ),
    "ThresholdedRelu: a factor and a shift": Folds(
        back(
            "N,4,6,6",
            "d = ThresholdedRelu<alpha=0.5>(c) m = Mul(d, k) y = Add(m, t)",
            "float k = {-2}, float t = {0.75}",
        ),
        "Conv ThresholdedRelu BatchNormalization",
        "merge",
        kept="y",
    ),
    "CumSum: a positive scale by channel and a shift behind it": Folds(
        back(
            "N,4,6,6",
            "d = CumSum(c, ax) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, int64 ax = {1}",
        ),
        "Conv CumSum BatchNormalization",
        "merge",
        kept="y",
    ),
    "Clip: a positive scale by channel and a shift behind it": Folds(
        back(
            "N,4,6,6",
            "d = Clip(c, lo, hi) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, float lo = {-0.5}, float hi = {1}",
        ),
        "Conv Clip BatchNormalization",
        "merge",
        kept="y",
    ),
    "LRN: a positive factor": Folds(
        ahead(
            "N,5,6,6",
            "d = LRN<size=3, alpha=0.5>(c) y = Conv(d, v)",
            "float k = {0.5}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "LRN Conv",
        "forward",
    ),
    "LRN: a negative factor": Folds(
        ahead(
            "N,5,6,6",
            "d = LRN<size=3, alpha=0.5>(c) y = Conv(d, v)",
            "float k = {-2}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "LRN Conv",
        "forward",
    ),
    "Size: a scale by channel and a shift": Folds(
        ahead(
            "1",
            "s = Size(c) e = Cast<to=1>(s) d = Reshape(e, one) y = Sigmoid(d)",
            "float[4,1,1] pos, float[4,1,1] t, int64[1] one = {1}",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Size Cast Reshape Sigmoid",
        "forward",
    ),
    "dropout whose mask is an output": Folds(
        "(float[N,4] x) => (float[N,3] y, bool[N,4] mask) <float[4] k, float[4] t, float[4,3] w> "
        "{ m = Mul(x, k) c = Add(m, t) d, mask = Dropout(c) y = MatMul(d, w) }",
        "Dropout Gemm",
        "forward",
    ),
}
REFUSES = {
    "a factor that an attribute of an activation cannot hold": Refuses(
        back("N,4,6,6", "d = ThresholdedRelu<alpha=100.0>(c) y = Mul(d, k)", "float k = {1e38}"), "NF115 d, NF104 y"
    ),
    "a factor of 0 behind a local response": Refuses(
        back("N,4,6,6", "d = LRN<size=3>(c) y = Mul(d, k)", "float k = {0}"), "NF109 d, NF104 y"
    ),
    "a negative factor behind one bound": Refuses(
        back("N,4,6,6", "d = Clip(c, lo) y = Mul(d, k)", "float k = {-2}, float lo = {1}"), "NF109 d, NF104 y"
    ),
    "a negative factor behind a bound and an infinite one": Refuses(
        back("N,4,6,6", "d = Clip(c, lo, hi) y = Mul(d, k)", "float k = {-2}, float lo = {1}, float hi = {3.4e38}"),
        "NF109 d, NF104 y",
    ),
    "a bound of an attribute that a factor takes out of range": Refuses(
        back("N,4,6,6", "d = Clip<min=-100.0, max=100.0>(c) y = Mul(d, k)", "float k = {1e37}"),
        "NF115 d, NF104 y",
        opset=7,
    ),
    "a dropout whose mask is read": Refuses(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y, bool[N,4,6,6] o) <float[4,3,3,3] w, float[4,1,1] pos>"
        "{ c = Conv(x, w) d, mask = Dropout(c) y = Mul(d, pos) o = Not(mask) }",
        "NF110 d, NF104 y",
    ),
    "a negative factor by channel behind slopes of opset 8": Refuses(
        back("N,4,6,6", "d = LeakyRelu<alpha=0.5>(c) y = Mul(d, k)", "float[1,4,1,1] k = {-1, 2, 3, -4}"),
        "NF109 d, NF104 y",
        opset=8,
    ),
    "dropout in training": Refuses(
        back("N,4,6,6", "d = Dropout(c, r, f) y = Mul(d, pos)", "float[4,1,1] pos, float r = {0.5}, bool f = {1}"),
        "NF101 d, NF104 y",
    ),
    "relu and a shift": Refuses(
        back("N,4,6,6", "d = Relu(c) y = BatchNormalization(d, g, be, m, var)"), "NF108 d, NF104 y"
    ),
    "relu and a negative scale": Refuses(back("N,4,6,6", "d = Relu(c) y = Neg(d)"), "NF109 d, NF104 y"),
    "leaky relu and a negative scale": Refuses(
        back("N,4,6,6", "d = LeakyRelu<alpha=0.0>(c) y = Mul(d, k)", "float k = {-1}"), "NF109 d, NF104 y"
    ),
    "a cast to integers": Refuses(
        "(float[N,4] x) => (int64[N,4] y) <float k = {2}> { c = Mul(x, k) y = Cast<to=7>(c) }", "NF128 y, NF118 c"
    ),
    "bounds the wrong way round": Refuses(
        "(float[N,4] x) => (float[N,4] y) <float lo={1}, float hi={-1}, float k={-2}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Clip(a, lo, hi) y = Mul(b, k) }",
        "NF109 b, NF104 y",
    ),
    "a bound that would leave its type": Refuses(
        "(float[N,4] x) => (float[N,4] y) <float lo={-1}, float hi={3e38}, float k={2}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Clip(a, lo, hi) y = Mul(b, k) }",
        "NF115 b, NF104 y",
    ),
    "an attribute that would vanish": Refuses(
        "(float[N,4,3,3] x) => (float[N,4,3,3] y) <float s> "
        "{ a = Mul(x, s) b = LRN<size=3>(a) c = Div(b, s) y = Tanh(c) }",
        "NF115 b, NF110 y",
        values={"s": (1e-21,)},
    ),
    "PRelu: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = PRelu(c, s) y = Mul(d, kw)", "float[6] kw, float[4,1,1] s"), "NF109 d, NF104 y"
    ),
    "Abs: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Abs(c) y = Mul(d, kw)", "float[6] kw"), "NF109 d, NF104 y"
    ),
    "ThresholdedRelu: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = ThresholdedRelu<alpha=0.5>(c) y = Mul(d, kw)", "float[6] kw"), "NF111 d, NF104 y"
    ),
    "Shrink: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Shrink<lambd=0.5, bias=0.25>(c) y = Mul(d, kw)", "float[6] kw"), "NF111 d, NF104 y"
    ),
    "Celu: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Celu<alpha=1.5>(c) y = Mul(d, kw)", "float[6] kw"), "NF111 d, NF104 y"
    ),
    "Trilu: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Trilu(c) y = Mul(d, kw)", "float[6] kw"), "NF111 c, NF104 y"
    ),
    "CumSum: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = CumSum(c, ax) y = Mul(d, kw)", "float[6] kw, int64 ax = {2}"), "NF111 c, NF104 y"
    ),
    "LRN: a scale by channel": Refuses(
        back("N,4,6,6", "d = LRN<size=3, alpha=0.5>(c) y = Mul(d, k)", "float[4,1,1] k"), "NF111 d, NF104 y"
    ),
    "LRN: a scale by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = LRN<size=3, alpha=0.5>(c) y = Conv(d, v)",
            "float[4,1,1] k, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "NF111 d, NF118 c",
    ),
    "Cast: to integers behind a shift, forward": Refuses(
        "(float[N,4] x) => (int64[N,4] y) <float[4] t> { c = Add(x, t) y = Cast<to=7>(c) }", "NF128 y, NF118 c"
    ),
    "Clip: a factor of 0": Refuses(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float k = {0}, float lo = "
        "{-1}, float hi = {1}> { c = Conv(x, w, b) d = Clip(c, lo, hi) y = Mul(d, k) }",
        "NF109 d, NF104 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
