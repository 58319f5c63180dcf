"""A linear operator whose weight comes from DequantizeLinear: a positive scale goes into the weight's own scale."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, assert_sound, back, every, operators
from tests.onnx_text import parse

BACKWARD = {
    "a quantized weight with one scale": Folds(
        "(float[N,4,6,6] x) => (float[N,3,6,6] y) <int8[3,4,1,1] q, float s = {0.02}, int8 z = {3}, "
        "float[3] b, float[3] pos, float[3] be, float[3] m, float[3] var> "
        "{ w = DequantizeLinear<axis=0>(q, s, z) c = Conv(x, w, b) "
        "y = BatchNormalization(c, pos, be, m, var) }",
        "DequantizeLinear Conv",
        values={"q": tuple(range(-6, 6))},
    ),
    "a quantized weight with a scale by channel": Folds(
        "(float[N,4,6,6] x) => (float[N,3,6,6] y) <int8[3,4,1,1] q, float[3] s = {0.02, 0.1, 3}, "
        "int8[3] z = {3, 0, -1}, float[3] b, float[3] pos, float[3] be, float[3] m, float[3] var> "
        "{ w = DequantizeLinear<axis=0>(q, s, z) c = Conv(x, w, b) "
        "y = BatchNormalization(c, pos, be, m, var) }",
        "DequantizeLinear Conv",
        values={"q": tuple(range(-6, 6))},
    ),
    "a quantized Gemm whose bias has two dimensions": Folds(
        "(float[N,4] x) => (float[N,3] y) <int8[4,3] q, float s = {0.02}, float[1,3] b, float[3] pos, "
        "float[3] t> "
        "{ w = DequantizeLinear(q, s) c = Gemm(x, w, b) d = Mul(c, pos) y = Add(d, t) }",
        "DequantizeLinear Gemm",
        values={"q": tuple(range(-6, 6))},
    ),
}
BLOCKS = (
    "int8[4,6] q, float[2,6] s = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2}, "
    "int8[2,6] z = {1, 0, 2, 0, 3, 0, 1, 1, 0, 0, 2, 5}"
)
WIDE = "int8[4,6] q, float[4,2] s = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}"
BY_BLOCKS = {
    "a scale of columns into blocks along the rows": Folds(
        f"(float[N,4] x) => (float[N,6] y) <{BLOCKS}, float[6] pos>"
        "{ w = DequantizeLinear<axis=0, block_size=2>(q, s, z) c = MatMul(x, w) y = Mul(c, pos) }",
        "DequantizeLinear MatMul",
        opset=21,
        ir_version=10,
        values={"q": tuple(range(-12, 12))},
    ),
    "a scale of columns that is the same inside each block": Folds(
        f"(float[N,4] x) => (float[N,6] y) <{WIDE}, float[6] k = {{2, 2, 2, 5, 5, 5}}>"
        "{ w = DequantizeLinear<axis=1, block_size=3>(q, s) c = MatMul(x, w) y = Mul(c, k) }",
        "DequantizeLinear MatMul",
        opset=21,
        ir_version=10,
        values={"q": tuple(range(-12, 12))},
    ),
}
INTO_BLOCKS = {
    "a shift before blocks, into the bias behind": Folds(
        f"(float[N,4] x) => (float[N,6] y) <{BLOCKS}, float[4] m, float[6] b>"
        "{ a = Sub(x, m) w = DequantizeLinear<axis=0, block_size=2>(q, s, z) c = MatMul(a, w) y = Add(c, b) }",
        "DequantizeLinear MatMul Add",
        "forward",
        kept="y",
        opset=21,
        ir_version=10,
        values={"q": tuple(range(-12, 12))},
    ),
    "a scale of rows across blocks along the columns": Folds(
        f"(float[N,4] x) => (float[N,6] y) <{WIDE}, float[4] pos>"
        "{ a = Mul(x, pos) w = DequantizeLinear<axis=1, block_size=3>(q, s) y = MatMul(a, w) }",
        "DequantizeLinear MatMul",
        "forward",
        opset=21,
        ir_version=10,
        values={"q": tuple(range(-12, 12))},
    ),
}
REFUSES = {
    "a scale of columns that differs inside a block": Refuses(
        f"(float[N,4] x) => (float[N,6] y) <{WIDE}, float[6] pos>"
        "{ w = DequantizeLinear<axis=1, block_size=3>(q, s) c = MatMul(x, w) y = Mul(c, pos) }",
        "NF120 w, NF104 y",
        opset=21,
        ir_version=10,
        values={"q": tuple(range(-12, 12))},
    ),
    "a quantizer": Refuses(
        back(
            "N,4,6,6",
            "q = QuantizeLinear(c, sc, zp) d = DequantizeLinear(q, sc, zp) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, float sc = {{0.1}}, int8 zp = {{0}}",
        ),
        "NF120 d, NF104 y",
    ),
    "a quantized weight with the lowest number, and a negative scale": Refuses(
        "(float[N,4,6,6] x) => (float[N,3,6,6] y) <int8[3,4,1,1] q, float s = {0.02}, int8 z = {0}, "
        "float[3] b, float[3,1,1] k> "
        "{ w = DequantizeLinear<axis=0>(q, s, z) c = Conv(x, w, b) y = Neg(c) }",
        "NF120 w, NF104 y",
        values={"q": (-128, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)},
    ),
    "a quantized weight that two read": Refuses(
        "(float[N,4] x, float[N,4] u) => (float[N,3] y, float[N,3] z) <int8[4,3] q, float s = {0.02}, "
        "float[3] pos> "
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, pos) z = MatMul(u, w) }",
        "NF103 w, NF104 y",
        values={"q": tuple(range(-6, 6))},
    ),
    "a batch of quantized matrices": Refuses(
        "(float[2,5,3] x) => (float[2,5,3] y) <int8[2,3,3] q, float s = {0.02}, float[3] pos> "
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, pos) }",
        "NF120 c, NF104 y",
        values={"q": tuple(range(-9, 9))},
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_backward_into_blocks = every(BY_BLOCKS)
test_folds_forward_into_blocks = every(INTO_BLOCKS)
test_refuses = every(REFUSES)


def test_a_dequantized_weight_that_is_an_output_stays() -> None:
    model = parse(
        "(float[3,4] x) => (float[3,5] y, float[4,5] w) <float[4] s, int8[4,5] q, float k>"
        " { a = Mul(x, s) w = DequantizeLinear(q, k) b = MatMul(a, w) y = Relu(b) }"
    )
    assert operators(assert_sound(model).model) == operators(model)
