"""Every way to store integers, with a factor and a shift behind and in front of what reads them.

Whatever folds, the integers that the runtime sees stay bit for bit, and so does the number of kernels that it makes of
several operators.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx

from normfold import optimize
from normfold.files.protos.convert import to_ir
from normfold.findings.verdict import Outcome
from normfold.runtime.fused_operators import fused_operators
from tests.fold.rows import assert_sound
from tests.onnx_text import Values, parse

PLACES = ("factor behind", "shift behind", "factor in front", "shift in front")


@dataclass(frozen=True)
class Format:
    """``nodes`` make c of a with weights ``stored``; ``cells`` say, place by place, "folds" or why not."""

    stored: str
    nodes: str
    cells: str
    input: str = "N,6,4"
    output: str = "N,6,3"
    along: tuple[str, str] = ("4", "3")
    opset: int = 21
    values: Values = field(default_factory=dict)
    kind: str = "float"


DQ = "w = DequantizeLinear"
SEVENS = {"q": tuple(range(-6, 6))}
IMAGE = ("4,1,1", "3,1,1")
ROWS = {"q": tuple(range(-12, 12))}
S3 = "float[3] s = {0.02, 0.1, 3}"
MS = "com.microsoft."
CONV: dict[str, Any] = {"input": "N,4,5,5", "along": IMAGE}
DYNAMIC = " d, ds, dz = DynamicQuantizeLinear(a)"
SCALED = "f = Cast<to=1>(i) s = Mul(ds, k)"
Q = "float s = {0.1}, uint8 z = {3}"
TO = " i = QuantizeLinear(a, s, z)"
FROM = "c = DequantizeLinear(j, s, z)"
FORMATS = {
    "int8, one scale, MatMul": Format(
        "int8[4,3] q, float s = {0.02}", f" {DQ}(q, s) c = MatMul(a, w)", "folds NF121 folds NF120", values=SEVENS
    ),
    "int8, one scale and zero point, MatMul": Format(
        "int8[4,3] q, float s = {0.02}, int8 z = {3}",
        f" {DQ}(q, s, z) c = MatMul(a, w)",
        "folds NF121 folds NF120",
        values=SEVENS,
    ),
    "int8, columns, MatMul": Format(
        f"int8[4,3] q, {S3}, int8[3] z = {{1, 0, -2}}",
        f" {DQ}<axis=1>(q, s, z) c = MatMul(a, w)",
        "folds NF121 NF120 NF120",
        values=SEVENS,
    ),
    "int8, rows, MatMul": Format(
        "int8[4,3] q, float[4] s = {0.02, 0.1, 3, 1}",
        f" {DQ}<axis=0>(q, s) c = MatMul(a, w)",
        "NF120 NF121 folds NF120",
        values=SEVENS,
    ),
    "uint8, columns, MatMul": Format(
        f"uint8[4,3] q, {S3}, uint8[3] z = {{1, 0, 200}}",
        f" {DQ}<axis=1>(q, s, z) c = MatMul(a, w)",
        "folds NF121 NF120 NF120",
        values={"q": tuple(range(100, 112))},
    ),
    "int4, blocks of rows": Format(
        "int4[4,3] q, float[2,3] s = {0.1,0.2,0.3,0.4,0.5,0.6}",
        f" {DQ}<axis=0, block_size=2>(q, s) c = MatMul(a, w)",
        "folds NF121 NF120 NF120",
        values=SEVENS,
    ),
    "uint4, blocks of rows with zero points": Format(
        "uint4[4,3] q, float[2,3] s = {0.1,0.2,0.3,0.4,0.5,0.6}, uint4[2,3] z",
        f" {DQ}<axis=0, block_size=2>(q, s, z) c = MatMul(a, w)",
        "folds NF121 NF120 NF120",
        values={"q": tuple(range(12)), "z": (1, 2, 3, 4, 5, 6)},
    ),
    "int8, blocks of columns": Format(
        "int8[4,6] q, float[4,2] s = {0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8}",
        f" {DQ}<axis=1, block_size=3>(q, s) c = MatMul(a, w)",
        "NF120 NF121 folds NF120",
        output="N,6,6",
        along=("4", "6"),
        values=ROWS,
    ),
    "int16, one scale": Format(
        "int16[4,3] q, float s = {0.02}, int16 z = {3}",
        f" {DQ}(q, s, z) c = MatMul(a, w)",
        "folds NF121 folds NF125",
        values=SEVENS,
    ),
    "uint16, columns": Format(
        f"uint16[4,3] q, {S3}, uint16[3] z = {{7, 8, 9}}",
        f" {DQ}<axis=1>(q, s, z) c = MatMul(a, w)",
        "folds NF121 NF120 NF125",
        values={"q": tuple(range(12))},
    ),
    "int32, one scale": Format(
        "int32[4,3] q, float s = {0.02}", f" {DQ}(q, s) c = MatMul(a, w)", "folds NF121 folds NF125", values=SEVENS
    ),
    "float8e4m3fn, one scale": Format(
        "float8e4m3fn[4,3] q, float s = {0.02}",
        f" {DQ}(q, s) c = MatMul(a, w)",
        "folds NF121 folds NF125",
        values=SEVENS,
    ),
    "float8e5m2, columns": Format(
        f"float8e5m2[4,3] q, {S3}", f" {DQ}<axis=1>(q, s) c = MatMul(a, w)", "folds NF121 NF120 NF125", values=SEVENS
    ),
    "int8, Q and DQ of floats": Format(
        f"float[4,3] w0, {S3}, int8[3] z = {{0, 1, -2}}",
        f" i = QuantizeLinear(w0, s, z) {DQ}(i, s, z) c = MatMul(a, w)",
        "folds NF121 NF120 NF120",
    ),
    "int8, Gemm with bias": Format(
        "int8[4,3] q, float s = {0.02}, float[3] b",
        f" {DQ}(q, s) c = Gemm(a, w, b)",
        "folds folds folds NF120",
        input="N,4",
        output="N,3",
        values=SEVENS,
    ),
    "int8, Gemm with transB": Format(
        "int8[3,4] q, float[3] s = {0.02,0.1,3}, float[3] b",
        f" {DQ}<axis=0>(q, s) c = Gemm<transB=1>(a, w, b)",
        "folds folds NF120 folds",
        input="N,4",
        output="N,3",
        values=SEVENS,
    ),
    "int8, Gemm with an int32 bias": Format(
        "int8[3,4] q, float s = {0.02}, int32[3] bq = {1,2,3}, float sb = {0.002}",
        f" {DQ}(q, s) b = DequantizeLinear(bq, sb) c = Gemm<transB=1>(a, w, b)",
        "folds folds folds folds",
        input="N,4",
        output="N,3",
        values=SEVENS,
    ),
    "int8, one scale, Conv": Format(
        "int8[3,4,1,1] q, float s = {0.02}, float[3] b",
        f" {DQ}(q, s) c = Conv(a, w, b)",
        "folds folds folds folds",
        output="N,3,5,5",
        values=SEVENS,
        **CONV,
    ),
    "int8, channels, Conv": Format(
        f"int8[3,4,1,1] q, {S3}, float[3] b",
        f" {DQ}<axis=0>(q, s) c = Conv(a, w, b)",
        "folds folds NF120 folds",
        output="N,3,5,5",
        values=SEVENS,
        **CONV,
    ),
    "int8, input channels, Conv": Format(
        "int8[3,4,1,1] q, float[4] s = {0.02,0.1,3,1}, float[3] b",
        f" {DQ}<axis=1>(q, s) c = Conv(a, w, b)",
        "NF120 folds folds folds",
        output="N,3,5,5",
        values=SEVENS,
        **CONV,
    ),
    "int8, channels, depthwise Conv": Format(
        "int8[4,1,3,3] q, float[4] s = {0.02,0.1,3,1}, float[4] b",
        f" {DQ}<axis=0>(q, s) c = Conv<group=4>(a, w, b)",
        "folds folds folds folds",
        input="N,4,5,5",
        output="N,4,3,3",
        along=("4,1,1", "4,1,1"),
        values={"q": tuple(range(-18, 18))},
    ),
    "int8, channels, ConvTranspose": Format(
        f"int8[4,3,1,1] q, {S3}, float[3] b",
        f" {DQ}<axis=1>(q, s) c = ConvTranspose(a, w, b)",
        "folds folds NF120 folds",
        output="N,3,5,5",
        values=SEVENS,
        **CONV,
    ),
    "int8 in microsoft's domain": Format(
        "int8[4,3] q, float s = {0.02}, int8 z = {3}",
        f" w = {MS}DequantizeLinear(q, s, z) c = MatMul(a, w)",
        "folds NF121 folds NF120",
        values=SEVENS,
    ),
    "Cast and Mul": Format(
        "int8[4,3] q, float[1,3] s",
        " f = Cast<to=1>(q) w = Mul(f, s) c = MatMul(a, w)",
        "folds NF121 NF128 NF125",
        values=SEVENS,
    ),
    "int8, a table of Gather": Format(
        "int8[9,3] q, float s = {0.02}",
        f" {DQ}(q, s) c = Gather(w, x)",
        "folds NF120",
        input="N,6",
        kind="int64",
        values={"q": tuple(range(-13, 14))},
    ),
    "MatMulInteger, one scale": Format(
        "int8[4,3] q, int8 z = {1}, float k = {0.1}",
        f"{DYNAMIC} i = MatMulInteger(d, q, dz, z) {SCALED} c = Mul(f, s)",
        "folds NF121 NF120 NF120",
        values=SEVENS,
    ),
    "MatMulInteger, columns": Format(
        "int8[4,3] q, int8[3] z = {0,1,2}, float[3] k = {0.1,0.2,0.3}",
        f"{DYNAMIC} i = MatMulInteger(d, q, dz, z) {SCALED} c = Mul(f, s)",
        "folds NF121 NF120 NF120",
        values=SEVENS,
    ),
    "MatMulInteger and a bias": Format(
        "int8[4,3] q, int8 z = {1}, float k = {0.1}, float[3] b",
        f"{DYNAMIC} i = MatMulInteger(d, q, dz, z) {SCALED} m = Mul(f, s) c = Add(m, b)",
        "folds folds NF120 NF120",
        values=SEVENS,
    ),
    "ConvInteger, one scale": Format(
        "int8[3,4,1,1] q, int8 z = {0}, float k = {0.1}",
        f"{DYNAMIC} i = ConvInteger(d, q, dz, z) {SCALED} c = Mul(f, s)",
        "folds NF121 NF120 NF120",
        output="N,3,5,5",
        values=SEVENS,
        **CONV,
    ),
    "ConvInteger and a bias": Format(
        "int8[3,4,1,1] q, int8 z = {0}, float k = {0.1}, float[1,3,1,1] b",
        f"{DYNAMIC} i = ConvInteger(d, q, dz, z) {SCALED} m = Mul(f, s) c = Add(m, b)",
        "folds folds NF120 NF120",
        output="N,3,5,5",
        values=SEVENS,
        **CONV,
    ),
    "DynamicQuantizeMatMul, one scale": Format(
        "int8[4,3] q, float k = {0.1}, int8 z = {1}",
        f" c = {MS}DynamicQuantizeMatMul(a, q, k, z)",
        "folds folds NF120 NF120",
        values=SEVENS,
    ),
    "DynamicQuantizeMatMul, columns and a bias": Format(
        "int8[4,3] q, float[3] k = {0.1,0.2,0.3}, int8[3] z = {0,1,2}, float[3] b",
        f" c = {MS}DynamicQuantizeMatMul(a, q, k, z, b)",
        "folds folds NF120 NF120",
        values=SEVENS,
    ),
    "MatMulIntegerToFloat": Format(
        "int8[4,3] q, float k = {0.1}, int8 z = {1}",
        f"{DYNAMIC} c = {MS}MatMulIntegerToFloat(d, q, ds, k, dz, z)",
        "folds folds NF120 NF120",
        values=SEVENS,
    ),
    "MatMulNBits, four bits": Format(
        "uint8[3,2,8] q, float[6] k",
        f" c = {MS}MatMulNBits<K=32, N=3, bits=4, block_size=16>(a, q, k)",
        "folds folds NF120 folds",
        input="N,6,32",
        along=("32", "3"),
        values={"q": tuple(range(100, 148))},
    ),
    "MatMulNBits, four bits, which rounds what it multiplies": Format(
        "uint8[3,2,8] q, float[6] k",
        f" c = {MS}MatMulNBits<K=32, N=3, bits=4, block_size=16, accuracy_level=4>(a, q, k)",
        "folds folds NF120 NF120",
        input="N,6,32",
        along=("32", "3"),
        values={"q": tuple(range(100, 148))},
    ),
    "MatMulNBits, eight bits with zero points and a bias": Format(
        "uint8[3,2,16] q, float[3,2] k, uint8[6] z, float[3] b",
        f" c = {MS}MatMulNBits<K=32, N=3, bits=8, block_size=16>(a, q, k, z, , b)",
        "folds folds NF120 folds",
        input="N,6,32",
        along=("32", "3"),
        values={"q": tuple(range(40, 136)), "z": (3, 5, 200, 7, 8, 9)},
    ),
    "QLinearConv": Format(
        f"{Q}, int8[3,4,1,1] q, int8 zw = {{0}}",
        f"{TO} j = QLinearConv(i, s, z, q, s, zw, s, z) {FROM}",
        "folds NF108 NF120 NF120",
        output="N,3,5,5",
        values=SEVENS,
        **CONV,
    ),
    "QLinearMatMul": Format(
        f"{Q}, int8[4,3] q, int8 zw = {{0}}",
        f"{TO} j = QLinearMatMul(i, s, z, q, s, zw, s, z) {FROM}",
        "folds NF108 NF120 NF120",
        values=SEVENS,
    ),
    "QGemm with floats behind": Format(
        f"{Q}, int8[4,3] q, int8 zw = {{0}}, int32[3] b = {{5,-6,7}}",
        f"{TO} c = {MS}QGemm(i, s, z, q, s, zw, b)",
        "folds NF121 NF120 NF120",
        input="N,4",
        output="N,3",
        values=SEVENS,
    ),
    "QGemm with integers behind": Format(
        f"{Q}, int8[4,3] q, int8 zw = {{0}}, int32[3] b = {{5,-6,7}}",
        f"{TO} j = {MS}QGemm(i, s, z, q, s, zw, b, s, z) {FROM}",
        "folds NF108 NF120 NF120",
        input="N,4",
        output="N,3",
        values=SEVENS,
    ),
    "QLinearAdd": Format(
        f"{Q}, uint8[4] q",
        f"{TO} j = {MS}QLinearAdd(i, s, z, q, s, z, s, z) {FROM}",
        "folds NF108 NF120 NF120",
        output="N,6,4",
        along=("4", "4"),
        values={"q": (3, 5, 7, 9)},
    ),
    "QLinearGlobalAveragePool": Format(
        Q,
        f"{TO} j = {MS}QLinearGlobalAveragePool<channels_last=0>(i, s, z, s, z) {FROM}",
        "folds NF108 NF120 NF120",
        input="N,4,5,5",
        output="N,4,1,1",
        along=("4,1,1", "4,1,1"),
    ),
    "QLinearAveragePool": Format(
        Q,
        f"{TO} j = {MS}QLinearAveragePool<kernel_shape=[2,2]>(i, s, z, s, z) {FROM}",
        "folds NF108 NF120 NF120",
        input="N,4,5,5",
        output="N,4,4,4",
        along=("4,1,1", "4,1,1"),
    ),
    "QLinearConcat": Format(
        f"{Q}, uint8[1,4,5,5] q",
        f"{TO} j = {MS}QLinearConcat<axis=1>(s, z, i, s, z, q, s, z) {FROM}",
        "folds NF108 NF120 NF120",
        input="1,4,5,5",
        output="1,8,5,5",
        along=("4,1,1", "8,1,1"),
        values={"q": tuple(range(100))},
    ),
    "float16 scales": Format(
        "int8[4,3] q, float16[3] s",
        f" {DQ}(q, s) f = Cast<to=1>(w) c = MatMul(a, f)",
        "folds NF121 NF120 NF125",
        values={**SEVENS, "s": (0.5, 0.25, 2)},
    ),
    "activations between Q and DQ": Format(
        f"{Q}, int8[4,3] q, float sw = {{0.02}}, float so = {{0.3}}, uint8 zo = {{9}}",
        f"{TO} d = DequantizeLinear(i, s, z) {DQ}(q, sw) m = MatMul(d, w)"
        " o = QuantizeLinear(m, so, zo) c = DequantizeLinear(o, so, zo)",
        "NF120 NF120 NF120 NF120",
        values=SEVENS,
    ),
    "a float result behind Q and DQ": Format(
        f"{Q}, int8[4,3] q, float sw = {{0.02}}",
        f"{TO} d = DequantizeLinear(i, s, z) {DQ}(q, sw) c = MatMul(d, w)",
        "folds NF121 NF120 NF120",
        values=SEVENS,
    ),
}


def model_of(given: Format, place: str) -> onnx.ModelProto:
    what, _, where = place.partition(" ")
    operator, name = ("Mul", "pos") if what == "factor" else ("Add", "t")
    size = given.along[where == "behind"]
    if where == "behind":
        nodes = f"{given.nodes.replace('(a', '(x')} y = {operator}(c, {name})"
    else:
        nodes = f"a = {operator}(x, {name}) {given.nodes.replace(' c = ', ' y = ')}"
    head = f"({given.kind}[{given.input}] x) => (float[{given.output}] y) <{given.stored}, float[{size}] {name}>"
    return parse(
        f"{head} {{ {nodes} }}", opset=given.opset, ir_version=10, domains='"com.microsoft":1', values=given.values
    )


def integers(model: onnx.ModelProto) -> list[bytes]:
    return sorted(onnx.numpy_helper.to_array(t).tobytes() for t in model.graph.initializer if t.name == "q")


def cell(given: Format, place: str) -> str:
    """Return what becomes of the affine at ``place``."""
    model = model_of(given, place)
    result = assert_sound(model)
    assert integers(result.model) == integers(model)
    whole = optimize(model, verify=False).ir_model  # with the guard of what the runtime executes as one
    before, after = (fused_operators(each) or () for each in (to_ir(model), whole))
    assert len(after) >= len(before), f"{before} became {after}"
    verdict = next(v for v in result.verdicts if v.finding.site == ("a" if "front" in place else "y"))
    return "folds" if verdict.outcome is Outcome.FOLDED else verdict.main_obstacle.reason.code


CELLS = [(name, place) for name, given in FORMATS.items() for place in PLACES[: len(given.cells.split())]]
