"""Carriers of ONNX Runtime's own operators."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, every

MS = '"com.microsoft":1'
HEAD = "(float[N,5,8] x) => (float[N,5,6] y) <float[8,6] w"
BEHIND = "(float[N,5,8] x) => (float[N,5,8] y) <float[8,8] w, float s = {2}"
QUICK = "com.microsoft.QuickGelu<alpha=1.5>"
TWO = "(float[N,5,8] x, float[N,7,8] z) => (float[N,5,7] y)"
SCORES = "com.microsoft.FusedMatMul<transB=1, alpha=0.5>"

FOLDS = {
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
    "one number into a product of two values, from behind": Folds(
        f"{TWO} <float s = {{2}}> {{ a = {SCORES}(x, z) y = Mul(a, s) }}", "FusedMatMul", domains=MS
    ),
    "one number into a product of two values, from before": Folds(
        f"{TWO} <float s = {{2}}> {{ b = Mul(z, s) y = {SCORES}(x, b) }}", "FusedMatMul", "forward", domains=MS
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
    "a factor by feature of a product of two values": Refuses(
        f"{TWO} <float[8] k> {{ b = Mul(z, k) y = {SCORES}(x, b) }}", "NF111 y, NF118 b", domains=MS
    ),
    "a factor that alpha cannot hold": Refuses(
        "(float[N,5,8] x, float[N,7,8] z) => (float[N,5,7] y) <float o = {1e38}>"
        "{ b = Mul(z, o) y = com.microsoft.FusedMatMul<transB=1, alpha=100.0>(x, b) }",
        "NF115 y, NF118 b",
        domains=MS,
    ),
}

test_folds = every(FOLDS)
test_refuses = every(REFUSES)
