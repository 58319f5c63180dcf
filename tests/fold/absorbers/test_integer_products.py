"""A factor behind a product of integers goes into the constant scale of its weight, and the group stays whole."""

from __future__ import annotations

import pytest

from normfold.files.convert import to_ir
from normfold.runtime.fused_operators import fused_operators
from tests.fold.rows import Folds, Refuses, every, fold, model_of

QUANTIZED = "{ q, qs, qz = DynamicQuantizeLinear(x)"
PRODUCT = f"{QUANTIZED} i = MatMulInteger(q, w, qz, z) f = Cast<to = 1>(i) s = Mul(qs, k)"
CONVOLUTION = f"{QUANTIZED} i = ConvInteger(q, w, qz, z) f = Cast<to = 1>(i) s = Mul(qs, k)"
MATRIX = "(float[N,4,8] x) => (float[N,4,3] y) <int8[8,3] w, int8 z = {0}, float[3] pos"
IMAGE = "(float[N,8,5,5] x) => (float[N,3,5,5] y) <int8[3,8,1,1] w, int8 z = {0}, float[3,1,1] pos"
NUMBERS = {"w": tuple(range(-12, 12))}

FOLDS = {
    "a factor by column into one scale": Folds(
        f"{MATRIX}, float k = {{0.1}}> {PRODUCT} m = Mul(f, s) y = Mul(m, pos) }}",
        "DynamicQuantizeLinear MatMulInteger Cast Mul Mul",
        kept="s",
        values=NUMBERS,
    ),
    "a factor by column into scales by column": Folds(
        f"{MATRIX}, float[3] k> {PRODUCT} m = Mul(s, f) y = Mul(m, pos) }}",
        "DynamicQuantizeLinear MatMulInteger Cast Mul Mul",
        kept="s",
        values=NUMBERS,
    ),
    "a factor behind the bias": Folds(
        f"{MATRIX}, float k = {{0.1}}, float[3] b> {PRODUCT} m = Mul(f, s) a = Add(m, b) y = Mul(a, pos) }}",
        "DynamicQuantizeLinear MatMulInteger Cast Mul Mul Add",
        kept="s",
        values=NUMBERS,
    ),
    "a norm behind a convolution": Folds(
        f"{IMAGE}, float k = {{0.1}}, float[3] pos2, float[3] be, float[3] me, float[3] var>"
        f" {CONVOLUTION} m = Mul(f, s) y = BatchNormalization(m, pos2, be, me, var) }}",
        "DynamicQuantizeLinear ConvInteger Cast Mul Mul Add",
        kept="s",
        values=NUMBERS,
    ),
}
REFUSES = {
    "a shift": Refuses(
        f"{MATRIX}, float k = {{0.1}}, float[3] b> {PRODUCT} m = Mul(f, s) y = Add(m, b) }}",
        "NF121 m, NF104 y",
        values=NUMBERS,
    ),
    "a factor of 0": Refuses(
        f"{MATRIX}, float k = {{0.1}}, float[3] c = {{0, 1, 2}}> {PRODUCT} m = Mul(f, s) y = Mul(m, c) }}",
        "NF120 s, NF104 y",
        values=NUMBERS,
    ),
    "a factor out of the range of the scale": Refuses(
        f"{MATRIX}, float k = {{1e30}}, float[3] c = {{1e10, 1, 2}}> {PRODUCT} m = Mul(f, s) y = Mul(m, c) }}",
        "NF115 s, NF104 y",
        values=NUMBERS,
    ),
    "a factor in front": Refuses(
        f"{MATRIX}, float k = {{0.1}}, float[8] c> {{ a = Mul(x, c) q, qs, qz = DynamicQuantizeLinear(a)"
        " i = MatMulInteger(q, w, qz, z) f = Cast<to = 1>(i) s = Mul(qs, k) y = Mul(f, s) }",
        "NF120 q, NF118 a",
        site="a",
        values=NUMBERS,
    ),
    "scales that another product reads": Refuses(
        "(float[N,4,8] x) => (float[N,4,3] y, float o) <int8[8,3] w, int8 z = {0}, float[3] pos, float k = {0.1}>"
        f" {PRODUCT} m = Mul(f, s) y = Mul(m, pos) o = Relu(s) }}",
        "NF103 o, NF104 y",
        values=NUMBERS,
    ),
}

test_folds = every(FOLDS)
test_refuses = every(REFUSES)


@pytest.mark.parametrize("name", [name for name, row in FOLDS.items() if "MatMul" in row.left])
def test_the_runtime_still_executes_them_as_one(name: str) -> None:
    folded = fold(model_of(FOLDS[name])).model
    assert [each.operator for each in fused_operators(to_ir(folded)) or ()] == ["DynamicQuantizeMatMul"]
