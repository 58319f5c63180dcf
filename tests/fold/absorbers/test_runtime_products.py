"""Matrix products of ONNX Runtime with integers: columns go into the scale, shifts into the bias, integers stay."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, every

MS = '"com.microsoft":1'
X = "(float[N,4,32] x) => (float[N,4,3] y)"
BLOCKS = "uint8[3,2,8] q, float[6] k"
BITS = "com.microsoft.MatMulNBits<K=32, N=3, bits=4, block_size=16>"
BYTES = "com.microsoft.MatMulNBits<K=32, N=3, bits=8, block_size=16>"
BY_COLUMN = "float[3] s, float[3] t"
WHOLE = "int8[32,3] q, float k = {0.1}, int8 z = {2}"
NUMBERS = {"q": tuple(range(-48, 48))}
NIBBLES = {"q": tuple(range(100, 148)), "z": (3, 5, 200, 7, 8, 9)}
EIGHTS = {"q": tuple(range(40, 136)), "z": (3, 5, 200, 7, 8, 9)}
HALVES = ", ".join(["2"] * 16 + ["-3"] * 16)
DYNAMIC = "com.microsoft.DynamicQuantizeMatMul"
TO_FLOAT = "{ a, as, az = DynamicQuantizeLinear(x) c = com.microsoft.MatMulIntegerToFloat(a, q, as, k, az, z"
GEMM = "(uint8[N,8] x) => (float[N,3] y) <int8[8,3] q, float xs = {0.1}, uint8 xz = {3}, float k = {0.02}, int8 z = {2}"
GEMM_NUMBERS = {"q": tuple(range(-12, 12))}


def behind(weights: str, product: str, nodes: str = "m = Mul(c, s) y = Add(m, t)") -> str:
    return f"{X} <{weights}, {BY_COLUMN}> {product} {nodes} }}"


BACKWARD = {
    "columns of four bits in blocks": Folds(
        behind(BLOCKS, f"{{ c = {BITS}(x, q, k)"), "MatMulNBits", domains=MS, values=NIBBLES
    ),
    "columns of four bits with zero points": Folds(
        behind(f"{BLOCKS}, uint8[3] z", f"{{ c = {BITS}(x, q, k, z)"),
        "MatMulNBits",
        domains=MS,
        values={"q": tuple(range(100, 148)), "z": (0x35, 0x91, 0x7F)},
    ),
    "columns of eight bits and a bias": Folds(
        behind("uint8[3,2,16] q, float[3,2] k, uint8[6] z, float[3] b", f"{{ c = {BYTES}(x, q, k, z, , b)"),
        "MatMulNBits",
        domains=MS,
        values=EIGHTS,
    ),
    "one factor of four bits": Folds(
        behind(BLOCKS, f"{{ c = {BITS}(x, q, k)", "m = Neg(c) y = Relu(m)"),
        "MatMulNBits Relu",
        domains=MS,
        values=NIBBLES,
    ),
    "one scale becomes one by column": Folds(
        behind(WHOLE, f"{{ c = {DYNAMIC}(x, q, k, z)"), "DynamicQuantizeMatMul", domains=MS, values=NUMBERS
    ),
    "scales by column and a bias": Folds(
        behind("int8[32,3] q, float[3] k, int8[3] z, float[3] b", f"{{ c = {DYNAMIC}(x, q, k, z, b)"),
        "DynamicQuantizeMatMul",
        domains=MS,
        values={**NUMBERS, "z": (0, 1, 2)},
    ),
    "a shift alone": Folds(
        behind(WHOLE, f"{{ c = {DYNAMIC}(x, q, k, z)", "y = Add(c, t)"),
        "DynamicQuantizeMatMul",
        domains=MS,
        values=NUMBERS,
    ),
    "integers to float": Folds(
        behind(WHOLE, f"{TO_FLOAT})"), "DynamicQuantizeLinear MatMulIntegerToFloat", domains=MS, values=NUMBERS
    ),
    "integers to float, with a bias": Folds(
        behind(f"{WHOLE}, float[3] b", f"{TO_FLOAT}, b)"),
        "DynamicQuantizeLinear MatMulIntegerToFloat",
        domains=MS,
        values=NUMBERS,
    ),
    "a Gemm of integers": Folds(
        f"{GEMM}, int32[3] b = {{5, -6, 7}}, float[3] s>"
        "{ c = com.microsoft.QGemm(x, xs, xz, q, k, z, b) y = Mul(c, s) }",
        "QGemm",
        domains=MS,
        values=GEMM_NUMBERS,
    ),
}
FORWARD = {
    "a shift before four bits": Folds(
        f"{X} <{BLOCKS}, float[32] t> {{ a = Add(x, t) y = {BITS}(a, q, k) }}",
        "MatMulNBits",
        "forward",
        domains=MS,
        values=NIBBLES,
    ),
    "a shift before four bits with zero points and a bias": Folds(
        f"{X} <{BLOCKS}, uint8[3] z, float[3] b, float[32] t> {{ a = Add(x, t) y = {BITS}(a, q, k, z, , b) }}",
        "MatMulNBits",
        "forward",
        domains=MS,
        values={"q": tuple(range(100, 148)), "z": (0x35, 0x91, 0x7F)},
    ),
    "a shift before eight bits": Folds(
        f"{X} <uint8[3,2,16] q, float[3,2] k, uint8[6] z, float[32] t> {{ a = Add(x, t) y = {BYTES}(a, q, k, z) }}",
        "MatMulNBits",
        "forward",
        domains=MS,
        values=EIGHTS,
    ),
    "a shift before four bits with zero points that are no integers": Folds(
        f"{X} <{BLOCKS}, float[3,2] z, float[32] t> {{ a = Add(x, t) y = {BITS}(a, q, k, z) }}",
        "MatMulNBits",
        "forward",
        domains=MS,
        values={"q": tuple(range(100, 148)), "z": (3, 5, 12.5, 7, 8, 9)},
    ),
    "a factor that is the same in each block": Folds(
        f"{X} <{BLOCKS}, float[32] s = {{{HALVES}}}> {{ a = Mul(x, s) y = {BITS}(a, q, k) }}",
        "MatMulNBits",
        "forward",
        domains=MS,
        values=NIBBLES,
    ),
}
REFUSES = {
    "a factor of the rows of integers to float": Refuses(
        f"{X} <{WHOLE}, float[4,1] s> {TO_FLOAT}) y = Mul(c, s) }}", "NF111 c, NF104 y", domains=MS, values=NUMBERS
    ),
    "a factor inside a block": Refuses(
        f"{X} <{BLOCKS}, float[32] s> {{ a = Mul(x, s) y = {BITS}(a, q, k) }}",
        "NF120 y, NF118 a",
        domains=MS,
        values=NIBBLES,
    ),
    "rows in an order of their own": Refuses(
        f"{X} <{BLOCKS}, int32[32] g = {{{', '.join(['1', '0'] * 16)}}}, float[32] t>"
        f" {{ a = Add(x, t) y = {BITS}(a, q, k, , g) }}",
        "NF120 y, NF118 a",
        domains=MS,
        values=NIBBLES,
    ),
    "a factor of 0": Refuses(
        f"{X} <{BLOCKS}, float[3] s = {{0, 1, 2}}> {{ c = {BITS}(x, q, k) y = Mul(c, s) }}",
        "NF120 c, NF104 y",
        domains=MS,
        values=NIBBLES,
    ),
    "a factor of the rows of the result": Refuses(
        f"{X} <{BLOCKS}, float[4,1] s> {{ c = {BITS}(x, q, k) y = Mul(c, s) }}",
        "NF111 c, NF104 y",
        domains=MS,
        values=NIBBLES,
    ),
    "a factor before a product that quantizes its input": Refuses(
        f"{X} <{WHOLE}, float[32] s> {{ a = Mul(x, s) y = {DYNAMIC}(a, q, k, z) }}",
        "NF120 y, NF118 a",
        domains=MS,
        values=NUMBERS,
    ),
    "a bias out of range": Refuses(
        f"{X} <{WHOLE}, float[3] b = {{1e38, 0, 0}}, float[3] s = {{10, 1, 1}}>"
        f" {{ c = {DYNAMIC}(x, q, k, z, b) y = Mul(c, s) }}",
        "NF115 c, NF104 y",
        domains=MS,
        values=NUMBERS,
    ),
    "a factor of what is not summed": Refuses(
        f"{X} <{BLOCKS}, float[4,1] s> {{ a = Mul(x, s) y = {BITS}(a, q, k) }}",
        "NF111 y, NF118 a",
        domains=MS,
        values=NIBBLES,
    ),
    "a Gemm whose result is integers": Refuses(
        f"{GEMM}, float ys = {{0.3}}, uint8 yz = {{1}}, float[3] t>"
        "{ c = com.microsoft.QGemm(x, xs, xz, q, k, z, , ys, yz) d = DequantizeLinear(c, ys, yz) y = Add(d, t) }",
        "NF108 d, NF104 y",
        domains=MS,
        values=GEMM_NUMBERS,
    ),
}

test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
