"""Carriers that are functions of one number: powers, Exp and Log, odd functions, QuickGelu."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

MS = '"com.microsoft":1'
HEAD = "(float[N,5,8] x) => (float[N,5,6] y) <float[8,6] w"
BEHIND = "(float[N,5,8] x) => (float[N,5,8] y) <float[8,8] w, float s = {2}"
QUICK = "com.microsoft.QuickGelu<alpha=1.5>"

BACKWARD = {
    "Exp: a positive scale by channel and a shift": Folds(
        back("N,4,6,6", "d = Exp(c) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Exp Add",
        kept="y",
    ),
    "logarithm takes a shift": Folds(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float t={0.5}> "
        "{ c = MatMul(x, w) a = Softplus(c) l = Log(a) d = Abs(x) e = MatMul(d, w) h = Abs(e) o = Log(h) "
        "k = Add(o, t) y = Add(l, k) }",
        "MatMul Softplus Log Abs MatMul Abs Log Add",
    ),
    **{
        f"{operator}: signs by channel": Folds(
            back("N,4,6,6", f"d = {operator}(c) y = Mul(d, k)", "float[4,1,1] k = {1, -1, 1, -1}"), f"Conv {operator}"
        )
        for operator in ("Tanh", "Erf", "Sin", "Sinh", "Asinh", "Tan", "Atan", "Softsign", "Round")
    },
    "Asin: signs by channel": Folds(
        back("N,4,6,6", "e = Tanh(c) d = Asin(e) y = Mul(d, k)", "float[4,1,1] k = {1, -1, 1, -1}"), "Conv Tanh Asin"
    ),
    "Atanh: signs by channel behind a factor": Folds(
        back(
            "N,4,6,6",
            "e = Tanh(c) g = Mul(e, half) d = Atanh(g) y = Mul(d, k)",
            "float half = {0.5}, float[4,1,1] k = {1, -1, 1, -1}",
        ),
        "Conv Tanh Mul Atanh",
        kept="g",
    ),
    "Sqrt: a positive scale by channel and a shift": Folds(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Abs Sqrt Add",
        kept="y",
    ),
    "Reciprocal: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6", "a = Exp(c) d = Reciprocal(a) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"
        ),
        "Conv Exp Reciprocal Add",
        kept="y",
    ),
    "Pow: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6", "d = Pow(c, p) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t, float p = {2}"
        ),
        "Conv Pow Add",
        kept="y",
    ),
}
FORWARD = {
    "one number from behind an activation": Folds(
        f"{BEHIND}> {{ a = MatMul(x, w) b = {QUICK}(a) y = Mul(b, s) }}",
        "MatMul QuickGelu",
        domains=MS,
    ),
    "one number through an activation": Folds(
        f"{HEAD}> {{ a = Neg(x) b = {QUICK}(a) y = MatMul(b, w) }}",
        "QuickGelu MatMul",
        "forward",
        domains=MS,
    ),
    "Exp: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Exp(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul Exp Conv",
        "forward",
        kept="m",
    ),
    "Log: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "a = Exp(c) d = Log(a) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul Exp Log Conv",
        "forward",
        kept="m",
    ),
    "Tanh: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Tanh(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Tanh Conv",
        "forward",
    ),
    "Erf: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Erf(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Erf Conv",
        "forward",
    ),
    "Sin: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Sin(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Sin Conv",
        "forward",
    ),
    "Sinh: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Sinh(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Sinh Conv",
        "forward",
    ),
    "Asin: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "e = Tanh(c) d = Asin(e) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Tanh Asin Conv",
        "forward",
    ),
    "Asinh: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Asinh(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Asinh Conv",
        "forward",
    ),
    "Tan: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Tan(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Tan Conv",
        "forward",
    ),
    "Atan: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Atan(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Atan Conv",
        "forward",
    ),
    "Atanh: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "e = Tanh(c) d = Atanh(e) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Tanh Atanh Conv",
        "forward",
    ),
    "Softsign: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Softsign(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Softsign Conv",
        "forward",
    ),
    "Round: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Round(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Round Conv",
        "forward",
    ),
    "Cos: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Cos(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Cos Conv",
        "forward",
    ),
    "Cosh: signs by channel": Folds(
        ahead(
            "N,5,6,6",
            "d = Cosh(c) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "Cosh Conv",
        "forward",
    ),
    "Exp: a scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Exp(c) y = Conv(d, v)",
            "float[4,1,1] k, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "BatchNormalization Exp Conv",
        "merge",
        kept="c",
    ),
    "Log: a positive scale by channel and a shift behind it": Folds(
        back("N,4,6,6", "a = Exp(c) d = Log(a) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Exp Log BatchNormalization",
        "merge",
        kept="y",
    ),
    "Tanh: a positive scale by channel and a shift": Folds(
        back("N,4,6,6", "d = Tanh(c) m = Mul(d, pos) y = Add(m, t)", "float[4,1,1] pos, float[4,1,1] t"),
        "Conv Tanh BatchNormalization",
        "merge",
        kept="y",
    ),
    "Sqrt: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Sqrt(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="r = Abs(x) m = Mul(r, pos) c = Add(m, t)",
        ),
        "Abs Add Sqrt Conv",
        "forward",
        kept="c",
    ),
    "Reciprocal: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "a = Exp(c) d = Reciprocal(a) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul Exp Reciprocal Conv",
        "forward",
        kept="m",
    ),
    "Pow: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Pow(c, p) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float p = {2}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Pow Conv",
        "forward",
        kept="c",
    ),
    "Sqrt: a scale by channel and a shift": Folds(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) m = Mul(d, k) y = Add(m, t)", "float[4,1,1] k, float[4,1,1] t"),
        "Conv Abs Sqrt BatchNormalization",
        "merge",
        kept="y",
    ),
}
REFUSES = {
    "a factor by feature through an activation": Refuses(
        f"{HEAD}, float[8] k> {{ a = Mul(x, k) b = {QUICK}(a) y = MatMul(b, w) }}",
        "NF111 b, NF118 a",
        site="a",
        domains=MS,
    ),
    "a factor of 0": Refuses(
        f"{HEAD}, float o = {{0}}> {{ a = Mul(x, o) b = {QUICK}(a) y = MatMul(b, w) }}",
        "NF109 b, NF118 a",
        site="a",
        domains=MS,
    ),
    "a factor that an attribute cannot hold": Refuses(
        f"{HEAD}, float o = {{1e38}}> {{ a = Mul(x, o) b = com.microsoft.QuickGelu<alpha=100.0>(a) y = MatMul(b, w) }}",
        "NF115 b, NF118 a",
        site="a",
        domains=MS,
    ),
    "Log: a shift by channel": Refuses(
        back("N,4,6,6", "a = Exp(c) d = Log(a) y = Add(d, t)", "float[4,1,1] t"), "NF108 d, NF104 y"
    ),
    "Exp: signs by channel": Refuses(
        back("N,4,6,6", "d = Exp(c) y = Mul(d, k)", "float[4,1,1] k = {1, -1, 1, -1}"), "NF109 d, NF104 y"
    ),
    "Tanh: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Tanh(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Erf: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Erf(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Sin: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Sin(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Sinh: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Sinh(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Asin: a scale along the last axis": Refuses(
        back("N,4,6,6", "e = Tanh(c) d = Asin(e) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Asinh: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Asinh(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Tan: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Tan(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Atan: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Atan(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Atanh: a scale along the last axis": Refuses(
        back("N,4,6,6", "e = Tanh(c) d = Atanh(e) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Softsign: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Softsign(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Round: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Round(c) y = Mul(d, kw)", "float[6] kw"), "NF110 d, NF104 y"
    ),
    "Cos: a scale along the last axis, forward": Refuses(
        ahead("N,5,6,6", "d = Cos(c) y = Conv(d, v)", "float[6] kw, float[5,4,1,1] v", first="c = Mul(x, kw)"),
        "NF110 d, NF118 c",
    ),
    "Cosh: a scale along the last axis, forward": Refuses(
        ahead("N,5,6,6", "d = Cosh(c) y = Conv(d, v)", "float[6] kw, float[5,4,1,1] v", first="c = Mul(x, kw)"),
        "NF110 d, NF118 c",
    ),
    "Atanh: a positive scale": Refuses(
        back("N,4,6,6", "e = Tanh(c) g = Mul(e, half) d = Atanh(g) y = Mul(d, k)", "float half = {0.5}, float k = {3}"),
        "NF110 d, NF104 y",
    ),
    "exponents by channel": Refuses(
        back("N,4,6,6", "d = Pow(c, e) y = Mul(d, pos)", "float[4,1,1] e = {1, 2, 3, 4}, float[4,1,1] pos"),
        "NF110 d, NF104 y",
    ),
    "an exponent gives a power its rank": Refuses(
        "(float[N,4] x) => (float[1,N,4] y) <float[1,1,1] p={2}, float[4] pos, float[4,4] w> "
        "{ a = MatMul(x, w) b = Pow(a, p) y = Mul(b, pos) }",
        "NF110 b, NF104 y",
    ),
    "Sqrt: a shift by channel": Refuses(
        back("N,4,6,6", "a = Abs(c) d = Sqrt(a) y = Add(d, t)", "float[4,1,1] t"), "NF108 d, NF104 y"
    ),
    "Reciprocal: a scale along the last axis": Refuses(
        back("N,4,6,6", "a = Exp(c) d = Reciprocal(a) y = Mul(d, kw)", "float[6] kw"), "NF109 a, NF104 y"
    ),
    "Exp: a shift behind it": Refuses(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] t> { c = "
        "Conv(x, w, b) d = Exp(c) y = Add(d, t) }",
        "NF108 d, NF104 y",
    ),
    "Exp: a shift that would be a factor of several thousand": Refuses(
        "(float[N,4] x) => (float[N,3] y) <float t = {9}, float[4,3] w> { c = Add(x, t) d = Exp(c) y = MatMul(d, w) }",
        "NF110 d, NF118 c",
    ),
    "Pow: an exponent of 0": Refuses(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float k = {2}, float p = "
        "{0}> { c = Conv(x, w, b) d = Pow(c, p) y = Mul(d, k) }",
        "NF110 d, NF104 y",
    ),
    "Log: a shift before it": Refuses(
        "(float[N,4] x) => (float[N,3] y) <float[4] t, float[4,3] w> { c = Add(x, t) d = Log(c) y = MatMul(d, w) }",
        "NF108 d, NF118 c",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
