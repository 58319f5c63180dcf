"""A linear operator whose weight comes from DequantizeLinear: a positive scale goes into the weight's own scale."""

from __future__ import annotations

import onnx
import pytest

from normfold.files.protos.convert import to_ir
from normfold.runtime.fused_operators import fused_operators
from tests.fold.absorbers.quantized_formats import CELLS, FORMATS, PLACES, cell
from tests.fold.rows import BN4, Folds, Refuses, assert_sound, back, every, fold, model_of, operators
from tests.onnx_text import parse

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
TABLE = "<uint8[2,4] q, float s = {0.02}, uint8 z = {3},"
QLINEAR = "<float s = {0.1}, uint8 z = {3}, int8[2,4,1,1] q, int8 zw = {0}"
FLOATS = "float[4,3] w0, float[3] s = {0.02, 0.1, 0.5}"
# What the search brings to a scale: through layouts, by other operators, from integers made at every start.
WHEREVER = {
    "a batch of quantized matrices": Folds(
        "(float[2,5,3] x) => (float[2,5,3] y) <int8[2,3,3] q, float s = {0.02}, float[3] pos> "
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, pos) }",
        "DequantizeLinear MatMul",
        values={"q": tuple(range(-9, 9))},
    ),
    "integers that a Cast and a Mul scale": Folds(
        "(float[N,5,4] x) => (float[N,5,3] y) <int8[4,3] q, float[1,3] s, float[3] pos> "
        "{ f = Cast<to=1>(q) w = Mul(f, s) c = MatMul(x, w) y = Mul(c, pos) }",
        "Cast Mul MatMul",
        values={"q": tuple(range(-6, 6))},
    ),
    "behind a Transpose": Folds(
        "(float[2,5,4] x) => (float[2,5,3] y) <int8[3,4] q, float s = {0.02}, int8 z = {3}, float[3] pos> "
        "{ w = DequantizeLinear(q, s, z) t = Transpose<perm=[1,0]>(w) c = MatMul(x, t) y = Mul(c, pos) }",
        "DequantizeLinear Transpose MatMul",
        values={"q": tuple(range(-6, 6))},
    ),
    "from the left": Folds(
        "(float[4,5] x) => (float[3,5] y) <int8[3,4] q, float s = {0.02}, float[3,1] pos> "
        "{ w = DequantizeLinear(q, s) c = MatMul(w, x) y = Mul(c, pos) }",
        "DequantizeLinear MatMul",
        values={"q": tuple(range(-6, 6))},
    ),
    "a Gemm with alpha": Folds(
        "(float[N,4] x) => (float[N,3] y) <int8[4,3] q, float s = {0.02}, float[3] b, float[3] pos> "
        "{ w = DequantizeLinear(q, s) c = Gemm<alpha=0.5>(x, w, b) y = Mul(c, pos) }",
        "DequantizeLinear Gemm",
        values={"q": tuple(range(-6, 6))},
    ),
    "an Einsum": Folds(
        "(float[N,2,4] x) => (float[N,2,3] y) <int8[4,3] q, float s = {0.02}, float[3] pos> "
        '{ w = DequantizeLinear(q, s) c = Einsum<equation="nij,jk->nik">(x, w) y = Mul(c, pos) }',
        "DequantizeLinear Einsum",
        values={"q": tuple(range(-6, 6))},
    ),
    "an embedding": Folds(
        f"(int64[N,5] i) => (float[N,5,4] y) {TABLE} float[4] pos> "
        "{ w = DequantizeLinear(q, s, z) c = Gather(w, i) y = Mul(c, pos) }",
        "DequantizeLinear Gather",
        values={"q": tuple(range(8))},
    ),
    "a convolution in groups of several channels": Folds(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <int8[4,2,1,1] q, float s = {0.02}, "
        "float[4] pos, float[4] be, float[4] m, float[4] var> "
        "{ w = DequantizeLinear<axis=0>(q, s) c = Conv<group=2>(x, w) y = BatchNormalization(c, pos, be, m, var) }",
        "DequantizeLinear Conv",
        values={"q": tuple(range(-4, 4))},
    ),
    "numbers of eight floating bits, and a negative factor": Folds(
        "(float[N,4] x) => (float[N,3] y) <float8e4m3fn[4,3] q, float s = {0.02}, float[3] k> "
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, k) }",
        "DequantizeLinear MatMul",
        opset=19,
        ir_version=9,
        values={"q": (0.5, -448, 448, 1, 2, 3, 4, 5, 6, 7, -8, 9)},
    ),
    "numbers of four bits, and a negative factor": Folds(
        "(float[N,4] x) => (float[N,3] y) <int4[4,3] q, float[3] s = {0.02, 0.1, 3}, float[3] k> "
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, k) }",
        "DequantizeLinear MatMul",
        opset=21,
        ir_version=10,
        values={"q": (-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 7)},
    ),
    "a weight that is quantized at every start": Folds(
        f"(float[N,4] x) => (float[N,3] y) <{FLOATS}, int8[3] z = {{0, 1, -2}}, float[3] pos> "
        "{ q = QuantizeLinear(w0, s, z) w = DequantizeLinear(q, s, z) c = MatMul(x, w) y = Mul(c, pos) }",
        "DequantizeLinear MatMul",
    ),
    "a weight that is quantized at every start, without a zero point": Folds(
        f"(float[N,4] x) => (float[N,3] y) <{FLOATS}, float[3] pos> "
        "{ q = QuantizeLinear(w0, s) w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, pos) }",
        "DequantizeLinear MatMul",
    ),
    "a weight that is quantized to eight floating bits at every start": Folds(
        f"(float[N,4] x) => (float[N,3] y) <{FLOATS}, float8e4m3fn[3] z = {{0, 0, 0}}, float[3] pos> "
        "{ q = QuantizeLinear(w0, s, z) w = DequantizeLinear(q, s, z) c = MatMul(x, w) y = Mul(c, pos) }",
        "DequantizeLinear MatMul",
        opset=19,
        ir_version=9,
        values={"z": (0, 0, 0)},
    ),
    "integers of the runtime's own domain": Folds(
        "(float[N,5,8] x) => (float[N,5,6] y) <int8[8,6] q, float k = {0.1}, int8 z = {1}, float[6] pos>"
        "{ w = com.microsoft.DequantizeLinear(q, k, z) c = MatMul(x, w) y = Mul(c, pos) }",
        "DequantizeLinear MatMul",
        domains='"com.microsoft":1',
        values={"q": tuple(range(-24, 24))},
    ),
    "integers that a convolution of integers makes": Folds(
        f"(uint8[N,4,3,3] x) => (float[N,2,3,3] y) {QLINEAR}, float[2,1,1] pos>"
        "{ c = QLinearConv(x, s, z, q, s, zw, s, z) d = DequantizeLinear(c, s, z) y = Mul(d, pos) }",
        "QLinearConv DequantizeLinear",
        values={"q": tuple(range(8))},
    ),
}
PARAMETERS = {
    "gamma of a norm": Folds(
        "(float[N,4] x) => (float[N,4] y) <int8[4] q = {1, -2, 3, 4}, float s = {0.1}, float[4] b, float[4] k>"
        "{ g = DequantizeLinear(q, s) c = LayerNormalization(x, g, b) y = Mul(c, k) }",
        "LayerNormalization",
    ),
    "the statistics of a norm, by blocks": Folds(
        "(float[N,3,5,5] x) => (float[N,4,3,3] y) <float[4,3,3,3] w, uint8[4] q = {1, 2, 3, 4}, "
        "float[2] s = {0.1, 0.2}, float[4] g, float[4] b, float[4] m>"
        "{ v = DequantizeLinear<axis=0, block_size=2>(q, s) c = Conv(x, w) y = BatchNormalization(c, g, b, m, v) }",
        "Conv",
        opset=21,
        ir_version=10,
    ),
    "a factor by channel": Folds(
        "(float[N,4] x) => (float[N,3] y) <float[4,3] w, int8[3] q = {1, -2, 3}, float[3] s = {0.1, 0.2, 0.4}>"
        "{ k = DequantizeLinear<axis=0>(q, s) c = MatMul(x, w) y = Mul(c, k) }",
        "MatMul",
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
    "a shift before blocks, whose product rounds its input: 50 +- 1 had 2.5 % of error": Refuses(
        f"(float[N,4] x) => (float[N,6] y) <{BLOCKS}, float[4] m, float[6] b>"
        "{ a = Sub(x, m) w = DequantizeLinear<axis=0, block_size=2>(q, s, z) c = MatMul(a, w) y = Add(c, b) }",
        "NF120 c, NF118 a",
        site="a",
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
        "NF103 z, NF104 y",
        values={"q": tuple(range(-6, 6))},
    ),
    "a factor of each element of a quantized matrix": Refuses(
        "(float[5,3] x) => (float[4,3] y) <int8[4,5] q, float s = {0.02}, float[4,3] pos> "
        "{ w = DequantizeLinear(q, s) c = MatMul(w, x) y = Mul(c, pos) }",
        "NF111 c, NF104 y",
        values={"q": tuple(range(-10, 10))},
    ),
    "a shift of integers that an operator makes": Refuses(
        f"(uint8[N,4,3,3] x) => (float[N,2,3,3] y) {QLINEAR}, float[2,1,1] t>"
        "{ c = QLinearConv(x, s, z, q, s, zw, s, z) d = DequantizeLinear(c, s, z) y = Add(d, t) }",
        "NF108 d, NF104 y",
        values={"q": tuple(range(8))},
    ),
    "a factor of each number": Refuses(
        "(float[N,4] x) => (float[N,4,3] y) <int8[4,3] q, float s = {0.02}, float[4,3] pos> "
        '{ w = DequantizeLinear(q, s) c = Einsum<equation="nj,jk->njk">(x, w) y = Mul(c, pos) }',
        "NF120 w, NF104 y",
        values={"q": tuple(range(-6, 6))},
    ),
    "a shift of a quantized table": Refuses(
        f"(int64[N,5] i) => (float[N,5,4] y) {TABLE} float[4] t> "
        "{ w = DequantizeLinear(q, s, z) c = Gather(w, i) y = Add(c, t) }",
        "NF120 c, NF104 y",
        values={"q": tuple(range(8))},
    ),
    "a factor of 0": Refuses(
        f"(int64[N,5] i) => (float[N,5,4] y) {TABLE} float[4] k = {{0, 1, 2, 3}}> "
        "{ w = DequantizeLinear(q, s, z) c = Gather(w, i) y = Mul(c, k) }",
        "NF120 w, NF104 y",
        values={"q": tuple(range(8))},
    ),
    "scales by channel before opset 13": Refuses(
        f"(int64[N,5] i) => (float[N,5,4] y) {TABLE} float[4] pos> "
        "{ w = DequantizeLinear(q, s, z) c = Gather(w, i) y = Mul(c, pos) }",
        "NF120 w, NF104 y",
        opset=12,
        values={"q": tuple(range(8))},
    ),
    "a negative factor of integers made at run time": Refuses(
        f"(uint8[N,4,3,3] x) => (float[N,2,3,3] y) {QLINEAR}, float[2,1,1] k = {{-1, 2}}>"
        "{ c = QLinearConv(x, s, z, q, s, zw, s, z) d = DequantizeLinear(c, s, z) y = Mul(d, k) }",
        "NF120 d, NF104 y",
        values={"q": tuple(range(8))},
    ),
    "a factor along another axis than that of the scales": Refuses(
        "(float[N,4] x) => (float[N,3] y) <int8[4,3] q, float[3] s = {0.02, 0.1, 3}, float[4] pos>"
        "{ a = Mul(x, pos) w = DequantizeLinear(q, s) y = MatMul(a, w) }",
        "NF120 w, NF118 a",
        site="a",
        values={"q": tuple(range(-6, 6))},
    ),
    "a number that a factor takes out of the range of its scale": Refuses(
        "(float[N,4] x) => (float[N,3] y) <int8[4,3] q, float s = {1e37}, float[3] k = {100, 1, 1}>"
        "{ w = DequantizeLinear(q, s) c = MatMul(x, w) y = Mul(c, k) }",
        "NF115 w, NF104 y",
        values={"q": tuple(range(-6, 6))},
    ),
    "a shift": Refuses(
        f"{MATRIX}, float k = {{0.1}}, float[3] b> {PRODUCT} m = Mul(f, s) y = Add(m, b) }}",
        "NF121 m, NF104 y",
        values=NUMBERS,
    ),
    "a factor of 0 behind a product of integers": Refuses(
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


test_folds_backward = every(BACKWARD)
test_folds_backward_wherever_the_weight_is = every(WHEREVER)
test_folds_parameters = every(PARAMETERS)
test_folds_backward_into_blocks = every(BY_BLOCKS)
test_folds_forward_into_blocks = every(INTO_BLOCKS)
test_refuses = every(REFUSES)


def test_a_dequantized_weight_that_is_an_output_stays() -> None:
    model = parse(
        "(float[3,4] x) => (float[3,5] y, float[4,5] w) <float[4] s, int8[4,5] q, float k>"
        " { a = Mul(x, s) w = DequantizeLinear(q, k) b = MatMul(a, w) y = Relu(b) }"
    )
    assert operators(assert_sound(model).model) == operators(model)


def test_the_integers_stay_bit_for_bit() -> None:
    for name, row in {**BACKWARD, **BY_BLOCKS, **INTO_BLOCKS}.items():
        model = model_of(row)
        assert integers(assert_sound(model).model) == integers(model), name


def integers(model: onnx.ModelProto) -> list[bytes]:
    """The stored tensors that are no floating-point numbers, but for zero points."""
    tensors = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return [array.tobytes() for array in tensors if array.dtype.kind in "iu" and array.ndim > 1 and array.shape[0] > 2]


test_folds = every(FOLDS)


@pytest.mark.parametrize("name", [name for name, row in FOLDS.items() if "MatMul" in row.left])
def test_the_runtime_still_executes_them_as_one(name: str) -> None:
    folded = fold(model_of(FOLDS[name])).model
    assert [each.operator for each in fused_operators(to_ir(folded)) or ()] == ["DynamicQuantizeMatMul"]


@pytest.mark.parametrize(("name", "place"), CELLS)
def test_every_format_takes_what_it_can(name: str, place: str) -> None:
    assert cell(FORMATS[name], place) == FORMATS[name].cells.split()[PLACES.index(place)]
