"""Small patterns that exact algebra can shrink, and the number of operators that it leaves.

The first letter: B backward, F forward, S several readers or producers, I input, R branches, K Keras, M what stays,
T together, O order of channels, 2 whole blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
import pytest

from normfold.graph.ml_operators import infer_shapes
from tests.fold.rows import assert_ledger, assert_names, assert_same_algebra, assert_same_values, fold
from tests.onnx_text import Values, parse


@dataclass(frozen=True)
class Pattern:
    """``text`` shrinks to ``least`` operators, those in the bodies of an If included."""

    text: str
    least: int
    opset: int = 17
    domains: str = ""
    values: Values = field(default_factory=dict)
    has_reference: bool = True


PATTERNS = {
    "B conv bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B conv bn bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, float[4] g2, float[4] be2, float[4] m2, float[4] var2> { c = Conv(x, w, b) "
        "d = BatchNormalization(c, g, be, m, var) y = BatchNormalization(d, g2, be2, m2, var2) }",
        1,
    ),
    "B conv mul add": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[1,4,1,1] k, "
        "float[4,1,1] t> { c = Conv(x, w, b) d = Mul(c, k) y = Add(d, t) }",
        1,
    ),
    "B conv sub mul left": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[1,4,1,1] k, "
        "float[4,1,1] t> { c = Conv(x, w, b) d = Sub(t, c) y = Mul(k, d) }",
        1,
    ),
    "B conv neg div": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k> { c = "
        "Conv(x, w, b) d = Neg(c) y = Div(d, k) }",
        1,
    ),
    "B conv sum const": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k> { c = "
        "Conv(x, w, b) y = Sum(c, k) }",
        1,
    ),
    "B conv sum two consts": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k, float[1] t> "
        "{ c = Conv(x, w, b) y = Sum(k, c, t) }",
        1,
    ),
    "B conv mean const": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k> { c = "
        "Conv(x, w, b) y = Mean(c, k) }",
        1,
    ),
    "B conv handwritten bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[1,4,1,1] me, "
        "float[1,4,1,1] var, float ep = {0.001}, float[1,4,1,1] k, float[1,4,1,1] t> { c = Conv(x, w, b) d = "
        "Sub(c, me) ve = Add(var, ep) sd = Sqrt(ve) e = Div(d, sd) f = Mul(e, k) y = Add(f, t) }",
        1,
    ),
    "B conv tf bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[1,4,1,1] me, "
        "float[1,4,1,1] var, float ep = {0.001}, float[1,4,1,1] k, float[1,4,1,1] t> { c = Conv(x, w, b) ve = "
        "Add(var, ep) sd = Sqrt(ve) r = Reciprocal(sd) k2 = Mul(r, k) d = Mul(c, k2) mk = Mul(me, k2) tt = "
        "Sub(t, mk) y = Add(d, tt) }",
        1,
    ),
    "B conv pow bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[1,4,1,1] me, "
        "float[1,4,1,1] var, float ep = {0.001}, float mh = {-0.5}, float[1,4,1,1] k, float[1,4,1,1] t> { c = "
        "Conv(x, w, b) d = Sub(c, me) ve = Add(var, ep) r = Pow(ve, mh) e = Mul(d, r) f = Mul(e, k) y = "
        "Add(f, t) }",
        1,
    ),
    "B conv bn params through unsqueeze": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] k, float[4] t, "
        "int64[2] ax = {1, 2}> { c = Conv(x, w, b) ku = Unsqueeze(k, ax) d = Mul(c, ku) tu = Unsqueeze(t, ax) "
        "y = Add(d, tu) }",
        1,
    ),
    "B grouped conv bn": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,6,6] y) <float[4,2,3,3] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Conv<group=2>(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B depthwise conv bn": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,3,3] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Conv<group=4,pads=[1,1,1,1]>(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B conv1d bn": Pattern(
        "(float[N,3,8] x) => (float[N,4,6] y) <float[4,3,3] w, float[4] g, float[4] be, float[4] m, float[4] "
        "var> { c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B conv3d bn": Pattern(
        "(float[N,3,4,4,4] x) => (float[N,4,2,2,2] y) <float[4,3,3,3,3] w, float[4] g, float[4] be, float[4] "
        "m, float[4] var> { c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B convtranspose bn": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,6,6] y) <float[3,4,3,3] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = ConvTranspose(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B convtranspose groups bn": Pattern(
        "(float[N,6,4,4] x) => (float[N,4,9,9] y) <float[6,2,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = ConvTranspose<group=2,strides=[2,2]>(x, w, b) y = "
        "BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B convtranspose1d bn": Pattern(
        "(float[N,3,4] x) => (float[N,4,6] y) <float[3,4,3] w, float[4] g, float[4] be, float[4] m, float[4] "
        "var> { c = ConvTranspose(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B gemm tA0 tB0 bn": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Gemm<transA=0,transB=0,alpha=0.5,beta=2.0>(x, w, b) y = BatchNormalization(c, g, "
        "be, m, var) }",
        1,
    ),
    "B gemm tA0 tB1 bn": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[4,3] w, float[4] b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Gemm<transA=0,transB=1,alpha=0.5,beta=2.0>(x, w, b) y = BatchNormalization(c, g, "
        "be, m, var) }",
        1,
    ),
    "B gemm tA1 tB0 bn": Pattern(
        "(float[3,N] x) => (float[N,4] y) <float[3,4] w, float[4] b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Gemm<transA=1,transB=0,alpha=0.5,beta=2.0>(x, w, b) y = BatchNormalization(c, g, "
        "be, m, var) }",
        1,
    ),
    "B gemm tA1 tB1 bn": Pattern(
        "(float[3,N] x) => (float[N,4] y) <float[4,3] w, float[4] b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Gemm<transA=1,transB=1,alpha=0.5,beta=2.0>(x, w, b) y = BatchNormalization(c, g, "
        "be, m, var) }",
        1,
    ),
    "B gemm no C bn": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] g, float[4] be, float[4] m, float[4] var> { "
        "c = Gemm(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B gemm scalar C bn": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Gemm(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B gemm row C mul": Pattern(
        "(float[2,3] x) => (float[2,4] y) <float[3,4] w, float[2,1] b, float[4] k> { c = Gemm(x, w, b) y = Mul(c, k) }",
        1,
    ),
    "B gemm const A mul rows": Pattern(
        "(float[3,N] x) => (float[4,N] y) <float[4,3] w, float[4,1] k, float[4,1] t> { c = Gemm(w, x) d = "
        "Mul(c, k) y = Add(d, t) }",
        1,
    ),
    "B gemm mul rows and add": Pattern(
        "(float[2,3] x) => (float[2,4] y) <float[3,4] w, float[2,4] t> { c = Gemm(x, w) y = Add(c, t) }",
        1,
    ),
    "B matmul 2d bn": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] g, float[4] be, float[4] m, float[4] var> { "
        "c = MatMul(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B matmul add bn 2d": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = MatMul(x, w) d = Add(c, b) y = BatchNormalization(d, g, be, m, var) }",
        1,
    ),
    "B matmul 3d add mul add": Pattern(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,4] w, float[4] b, float[4] k, float[4] t> { c = "
        "MatMul(x, w) d = Add(b, c) e = Mul(d, k) y = Add(e, t) }",
        2,
    ),
    "B matmul 3d mul": Pattern(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,4] w, float[4] k> { c = MatMul(x, w) y = Mul(k, c) }",
        1,
    ),
    "B matmul left const": Pattern(
        "(float[N,3,5] x) => (float[N,4,5] y) <float[4,3] w, float[4,1] k> { c = MatMul(w, x) y = Mul(k, c) }",
        1,
    ),
    "B matmul left const bn": Pattern(
        "(float[N,3,5] x) => (float[N,4,5] y) <float[4,3] w, float[4] g, float[4] be, float[4] m, float[4] "
        "var> { c = MatMul(w, x) y = BatchNormalization(c, g, be, m, var) }",
        2,
    ),
    "B matmul batched const": Pattern(
        "(float[N,2,5,3] x) => (float[N,2,5,4] y) <float[2,3,4] w, float[2,1,4] k> { c = MatMul(x, w) y = Mul(k, c) }",
        1,
    ),
    "B matmul batched const by head": Pattern(
        "(float[N,2,5,3] x) => (float[N,2,5,4] y) <float[2,3,4] w, float[2,1,1] k> { c = MatMul(x, w) y = Mul(k, c) }",
        1,
    ),
    "B matmul shared w by head": Pattern(
        "(float[N,2,5,3] x) => (float[N,2,5,4] y) <float[3,4] w, float[2,1,1] k> { c = MatMul(x, w) y = Mul(k, c) }",
        2,
    ),
    "B matmul transpose bn (pointnet)": Pattern(
        "(float[N,5,3] x) => (float[N,4,5] y) <float[3,4] w, float[4] g, float[4] be, float[4] m, float[4] "
        "var> { c = MatMul(x, w) d = Transpose<perm=[0,2,1]>(c) y = BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "B matmul bias transpose bn": Pattern(
        "(float[N,5,3] x) => (float[N,4,5] y) <float[3,4] w, float[4] b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = MatMul(x, w) a = Add(c, b) d = Transpose<perm=[0,2,1]>(a) y = "
        "BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "B matmul reshape bn reshape (levit)": Pattern(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,4] w, float[4] g, float[4] be, float[4] m, float[4] "
        "var, int64[2] s1={-1,4}, int64[3] s2={-1,5,4}> { c = MatMul(x, w) d = Reshape(c, s1) e = "
        "BatchNormalization(d, g, be, m, var) y = Reshape(e, s2) }",
        2,
    ),
    "B vector matmul scale": Pattern(
        "(float[3] x) => (float[4] y) <float[3,4] w, float[4] k> { c = MatMul(x, w) y = Mul(k, c) }",
        1,
    ),
    "B matmul vector scale": Pattern(
        "(float[N,3] x) => (float[N] y) <float[3] w, float k> { c = MatMul(x, w) y = Mul(k, c) }",
        1,
    ),
    "B einsum const scale": Pattern(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,4] w, float[4] k> { c = "
        'Einsum<equation="nij,jk->nik">(x, w) y = Mul(k, c) }',
        1,
    ),
    "B einsum heads": Pattern(
        "(float[N,5,3] x) => (float[N,2,5,4] y) <float[3,2,4] w, float[2,1,4] k> { c = "
        'Einsum<equation="btd,dhk->bhtk">(x, w) y = Mul(k, c) }',
        1,
    ),
    "B einsum ellipsis": Pattern(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,4] w, float[4] k> { c = "
        'Einsum<equation="...j,jk->...k">(x, w) y = Mul(k, c) }',
        1,
    ),
    "B einsum implicit": Pattern(
        '(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] k> { c = Einsum<equation="ij,jk">(x, w) y = '
        "Mul(k, c) }",
        1,
    ),
    "B einsum two variables to conv": Pattern(
        "(float[N,5,3] x, float[N,4,6] z) => (float[N,5,6] y) <float[3,4] w, float[6] k, float s> { c = "
        'MatMul(x, w) d = Einsum<equation="nij,njk->nik">(c, z) y = Mul(s, d) }',
        2,
    ),
    "B embedding mul": Pattern(
        "(int64[N,5] x) => (float[N,5,4] y) <float[10,4] w, float s = {2.0}> { c = Gather(w, x) y = Mul(c, s) }",
        1,
    ),
    "B embedding mul add rank": Pattern(
        "(int64[N,5] x) => (float[N,5,4] y) <float[10,4] w, float[4] k, float[4] t> { c = Gather(w, x) d = "
        "Mul(c, k) y = Add(d, t) }",
        1,
    ),
    "B embedding gathernd": Pattern(
        "(int64[N,1] x) => (float[N,4] y) <float[10,4] w, float[4] k> { c = GatherND(w, x) y = Mul(c, k) }",
        1,
    ),
    "B layernorm mul add": Pattern(
        "(float[N,5,4] x) => (float[N,5,4] y) <float[4] g, float[4] b, float[4] k, float[4] t> { c = "
        "LayerNormalization(x, g, b) d = Mul(c, k) y = Add(d, t) }",
        1,
    ),
    "B layernorm no beta add": Pattern(
        "(float[N,5,4] x) => (float[N,5,4] y) <float[4] g, float[4] t> { c = LayerNormalization(x, g) y = Add(c, t) }",
        1,
    ),
    "B instancenorm mul add": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4] g, float[4] b, float[4,1] k, float[4,1] t> { c = "
        "InstanceNormalization(x, g, b) d = Mul(c, k) y = Add(d, t) }",
        1,
    ),
    "B rmsnorm mul": Pattern(
        "(float[N,5,4] x) => (float[N,5,4] y) <float[4] g, float[4] k> { c = RMSNormalization(x, g) y = Mul(c, k) }",
        1,
        opset=23,
    ),
    "B weight through transpose": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[4,3] w, float[4] b, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { wt = Transpose<perm=[1,0]>(w) c = MatMul(x, wt) d = Add(c, b) y = "
        "BatchNormalization(d, g, be, m, var) }",
        1,
    ),
    "B weight through reshape": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <float[4,3] w, int64[4] s = {4,3,1,1}, float[4] g, float[4] "
        "be, float[4] m, float[4] var> { wt = Reshape(w, s) c = Conv(x, wt) y = BatchNormalization(c, g, be, "
        "m, var) }",
        1,
    ),
    "B weight through identity": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <float[4,3,1,1] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { wt = Identity(w) c = Conv(x, wt) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B weight through cast": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <float16[4,3,1,1] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { wt = Cast<to=1>(w) c = Conv(x, wt) y = BatchNormalization(c, g, be, m, var) }",
        1,
        values={"w": [0.5, 1, -1, 0.5, 1, -1, 0.5, 1, -1, 0.5, 1, -1]},
    ),
    "B weight standardization": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,2,2] y) <float[4,3,3,3] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { mu = ReduceMean<axes=[1,2,3]>(w) wt = Sub(w, mu) c = Conv(x, wt) y = "
        "BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B weight pad": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,2,2] y) <float[4,3,3,3] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[4,1,1,1] k> { wt = Mul(w, k) c = Conv(x, wt) y = BatchNormalization(c, g, be, m, "
        "var) }",
        1,
    ),
    "B weight as Constant node": Pattern(
        "(float[N,2] x) => (float[N,2] y) <float[2] k> { w = Constant<value = float[2,2] {1.0,2.0,3.0,4.0}>() "
        "c = MatMul(x, w) y = Mul(c, k) }",
        1,
    ),
    "B shared weight": Pattern(
        "(float[N,3,4,4] x, float[N,3,4,4] z) => (float[N,4,4,4] y, float[N,4,4,4] q) <float[4,3,1,1] w, "
        "float[4] g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w) y = BatchNormalization(c, g, be, "
        "m, var) q = Conv(z, w) }",
        2,
    ),
    "B DQ weight conv bn": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <int8[4,3,1,1] w, float[4] possc, int8[4] z, float[4] posg, "
        "float[4] be, float[4] m, float[4] var> { wt = DequantizeLinear<axis=0>(w, possc, z) c = Conv(x, wt) "
        "y = BatchNormalization(c, posg, be, m, var) }",
        2,
        values={"w": [1, 2, -3, 4, 5, -6, 7, 8, 9, 1, 2, 3], "z": [0, 0, 0, 0]},
    ),
    "B DQ per tensor weight conv bn": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <int8[4,3,1,1] w, float possc, int8 z, float[4] posg, "
        "float[4] be, float[4] m, float[4] var> { wt = DequantizeLinear(w, possc, z) c = Conv(x, wt) y = "
        "BatchNormalization(c, posg, be, m, var) }",
        2,
        values={"w": [1, 2, -3, 4, 5, -6, 7, 8, 9, 1, 2, 3], "z": [0]},
    ),
    "B DQ negative gamma conv bn": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <int8[4,3,1,1] w, float[4] possc, int8[4] z, float[4] g, "
        "float[4] be, float[4] m, float[4] var> { wt = DequantizeLinear<axis=0>(w, possc, z) c = Conv(x, wt) "
        "y = BatchNormalization(c, g, be, m, var) }",
        2,
        values={"w": [1, 2, -3, 4, 5, -6, 7, 8, 9, 1, 2, 3], "z": [0, 0, 0, 0], "g": [1, -1, 1, -1]},
    ),
    "B DQ gemm mul add": Pattern(
        "(float[N,3] x) => (float[N,4] y) <int8[3,4] w, float[4] possc, int8[4] z, float[4] posk, float[4] t> "
        "{ wt = DequantizeLinear<axis=1>(w, possc, z) c = Gemm(x, wt) d = Mul(c, posk) y = Add(d, t) }",
        2,
        values={"w": [1, 2, -3, 4, 5, -6, 7, 8, 9, 1, 2, 3], "z": [0, 0, 0, 0]},
    ),
    "F DQ weight forward scalar": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <int8[4,3,1,1] w, float[4] possc, int8[4] z, float posk> { "
        "xs = Mul(x, posk) wt = DequantizeLinear<axis=0>(w, possc, z) y = Conv(xs, wt) }",
        2,
        values={"w": [1, 2, -3, 4, 5, -6, 7, 8, 9, 1, 2, 3], "z": [0, 0, 0, 0]},
    ),
    "F DQ weight forward shift": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) <int8[4,3,1,1] w, float[4] possc, int8[4] z, float[3,1,1] "
        "t> { xs = Sub(x, t) wt = DequantizeLinear<axis=0>(w, possc, z) y = Conv(xs, wt) }",
        2,
        values={"w": [1, 2, -3, 4, 5, -6, 7, 8, 9, 1, 2, 3], "z": [0, 0, 0, 0]},
    ),
    "B relu pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = Relu(c) y = Mul(d, pos) }",
        2,
    ),
    "B relu div": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = Relu(c) y = Div(d, pos) }",
        2,
    ),
    "B leakyrelu pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = LeakyRelu<alpha=0.2>(c) y = Mul(d, pos) }",
        2,
    ),
    "B leakyrelu neg scalar": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float k = {-2.0}> { c = "
        "Conv(x, w, b) d = LeakyRelu<alpha=0.2>(c) y = Mul(d, k) }",
        2,
    ),
    "B prelu neg mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos, "
        "float[4,1,1] k> { c = Conv(x, w, b) d = PRelu(c, pos) y = Mul(d, k) }",
        2,
    ),
    "B prelu pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos, "
        "float[4,1,1] s> { c = Conv(x, w, b) d = PRelu(c, s) y = Mul(d, pos) }",
        2,
    ),
    "B abs pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = Abs(c) y = Mul(d, pos) }",
        2,
    ),
    "B abs mul abs": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k> { c = "
        "Conv(x, w, b) d = Mul(c, k) y = Abs(d) }",
        2,
    ),
    "B clip relu6 scalar": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float lo = {0}, float hi = "
        "{6}, float pos> { c = Conv(x, w, b) d = Clip(c, lo, hi) y = Mul(d, pos) }",
        2,
    ),
    "B relu6 /6": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float lo = {0}, float hi = "
        "{6}, float six = {6}> { c = Conv(x, w, b) d = Clip(c, lo, hi) y = Div(d, six) }",
        2,
    ),
    "B clip negative scalar": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float lo = {0}, float hi = "
        "{6}, float k = {-0.5}> { c = Conv(x, w, b) d = Clip(c, lo, hi) y = Mul(d, k) }",
        2,
    ),
    "B clip min only per channel": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float lo = {0}, float[4,1,1] "
        "pos> { c = Conv(x, w, b) d = Clip(c, lo) y = Mul(d, pos) }",
        2,
    ),
    "B clip affine": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float lo = {0}, float hi = "
        "{6}, float pos, float t = {1.5}> { c = Conv(x, w, b) d = Clip(c, lo, hi) e = Mul(d, pos) y = Sub(e, "
        "t) }",
        2,
    ),
    "B thresholdedrelu scalar": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float pos> { c = Conv(x, w, "
        "b) d = ThresholdedRelu<alpha=0.7>(c) y = Mul(d, pos) }",
        2,
    ),
    "B shrink scalar": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float pos> { c = Conv(x, w, "
        "b) d = Shrink<lambd=0.5,bias=0.1>(c) y = Mul(d, pos) }",
        2,
    ),
    "B maxpool bn pos": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,5,5] y) <float[4,3,3,3] w, float[4] b, float[4] posg, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = MaxPool<kernel_shape=[2,2]>(c) y = "
        "BatchNormalization(d, posg, be, m, var) }",
        2,
    ),
    "B maxpool padded bn pos": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] posg, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = MaxPool<kernel_shape=[3,3],pads=[1,1,1,1]>(c) y = "
        "BatchNormalization(d, posg, be, m, var) }",
        2,
    ),
    "B avgpool bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,5,5] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = AveragePool<kernel_shape=[2,2]>(c) y = "
        "BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B avgpool padded excl bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = AveragePool<kernel_shape=[3,3],pads=[1,1,1,1]>(c) "
        "y = BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B avgpool ceil": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,3,3] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = "
        "AveragePool<kernel_shape=[3,3],strides=[2,2],ceil_mode=1>(c) y = BatchNormalization(d, g, be, m, "
        "var) }",
        2,
    ),
    "B lppool pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,5,5] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = LpPool<kernel_shape=[2,2],p=2>(c) y = Mul(d, pos) }",
        2,
    ),
    "B globallppool pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = GlobalLpPool<p=2>(c) y = Mul(d, pos) }",
        2,
        has_reference=False,
    ),
    "B gap bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = GlobalAveragePool(c) y = BatchNormalization(d, g, "
        "be, m, var) }",
        2,
    ),
    "B gmp bn pos": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4] posg, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = GlobalMaxPool(c) y = BatchNormalization(d, posg, "
        "be, m, var) }",
        2,
    ),
    "B gap flatten bn1d": Pattern(
        "(float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = GlobalAveragePool(c) e = Flatten(d) y = "
        "BatchNormalization(e, g, be, m, var) }",
        3,
    ),
    "B reducemean keepdims0 bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = ReduceMean<axes=[2,3],keepdims=0>(c) y = "
        "BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B reducemax bn pos": Pattern(
        "(float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w, float[4] b, float[4] posg, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = ReduceMax<axes=[2,3],keepdims=0>(c) y = "
        "BatchNormalization(d, posg, be, m, var) }",
        2,
    ),
    "B reducemin mul pos add": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos, "
        "float[4,1,1] t> { c = Conv(x, w, b) d = ReduceMin<axes=[2,3]>(c) e = Mul(d, pos) y = Add(e, t) }",
        2,
    ),
    "B reducemax neg scalar": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float k = {-2.0}> { c = "
        "Conv(x, w, b) d = ReduceMax<axes=[2,3]>(c) y = Mul(d, k) }",
        2,
    ),
    "B reducesum mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w, float[4] b, float[4] k, int64[2] ax = {2,3}> "
        "{ c = Conv(x, w, b) d = ReduceSum<keepdims=0>(c, ax) y = Mul(d, k) }",
        2,
    ),
    "B reducesum mul add static": Pattern(
        "(float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w, float[4] b, float[4] k, float[4] t, int64[2] "
        "ax = {2,3}> { c = Conv(x, w, b) d = ReduceSum<keepdims=0>(c, ax) e = Mul(d, k) y = Add(e, t) }",
        2,
    ),
    "B reducel2 pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = ReduceL2<axes=[2,3]>(c) y = Mul(d, pos) }",
        2,
    ),
    "B reducel1 pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = ReduceL1<axes=[2,3]>(c) y = Mul(d, pos) }",
        2,
    ),
    "B reduceLogSumExp add": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] t> { c = "
        "Conv(x, w, b) d = ReduceLogSumExp<axes=[2,3]>(c) y = Add(d, t) }",
        2,
    ),
    "B transpose nhwc mul add": Pattern(
        "(float[N,3,8,8] x) => (float[N,6,6,4] y) <float[4,3,3,3] w, float[4] b, float[4] k, float[4] t> { c "
        "= Conv(x, w, b) d = Transpose<perm=[0,2,3,1]>(c) e = Mul(d, k) y = Add(e, t) }",
        2,
    ),
    "B reshape tokens mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,36,4] y) <float[4,3,3,3] w, float[4] b, float[4] k, int64[3] s = "
        "{0,4,-1}> { c = Conv(x, w, b) d = Reshape(c, s) e = Transpose<perm=[0,2,1]>(d) y = Mul(e, k) }",
        3,
    ),
    "B reshape split channels": Pattern(
        "(float[N,3,8,8] x) => (float[N,2,2,6,6] y) <float[4,3,3,3] w, float[4] b, float[2,2,1,1] k, int64[5] "
        "s = {0,2,2,6,6}> { c = Conv(x, w, b) d = Reshape(c, s) y = Mul(d, k) }",
        2,
    ),
    "B reshape merge channels": Pattern(
        "(float[N,3,8,8] x) => (float[N,144] y) <float[4,3,3,3] w, float[4] b, float[144] k, int64[2] s = "
        "{0,144}> { c = Conv(x, w, b) d = Reshape(c, s) y = Mul(d, k) }",
        2,
        values={
            "k": [
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
            ]
        },
    ),
    "B flatten bn per channel": Pattern(
        "(float[N,3,8,8] x) => (float[N,144] y) <float[4,3,3,3] w, float[4] b, float[144] k> { c = Conv(x, w, "
        "b) d = Flatten(c) y = Add(d, k) }",
        2,
        values={
            "k": [
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                1,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                2,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                3,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
                4,
            ]
        },
    ),
    "B squeeze unsqueeze": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, int64[2] ax = {2,3}> { c = Conv(x, w, b) p = GlobalAveragePool(c) d = "
        "Squeeze(p, ax) e = Unsqueeze(d, ax) y = BatchNormalization(e, g, be, m, var) }",
        4,
    ),
    "B expand bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,5,5] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, int64[4] s = {1,1,5,5}> { c = Conv(x, w, b) p = GlobalAveragePool(c) d = "
        "Expand(p, s) y = BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "B tile bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,12,12] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, int64[4] s = {1,1,2,2}> { c = Conv(x, w, b) d = Tile(c, s) y = "
        "BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B slice channels bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,2,6,6] y) <float[4,3,3,3] w, float[4] b, int64[1] st={1}, int64[1] "
        "en={3}, int64[1] ax={1}, float[2,1,1] k> { c = Conv(x, w, b) d = Slice(c, st, en, ax) y = Mul(d, k) "
        "}",
        2,
    ),
    "B slice space bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,2,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, int64[1] st={1}, int64[1] en={3}, int64[1] ax={2}> { c = Conv(x, w, b) d = "
        "Slice(c, st, en, ax) y = BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B gather channels bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, int64[4] i={3,2,1,0}> { c = Conv(x, w, b) d = Gather<axis=1>(c, i) y = "
        "BatchNormalization(d, g, be, m, var) }",
        1,
    ),
    "B gather dynamic token": Pattern(
        "(float[N,3,8,8] x, int64[2] i) => (float[N,4,2,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k> "
        "{ c = Conv(x, w, b) d = Gather<axis=2>(c, i) y = Mul(d, k) }",
        2,
    ),
    "B gather last token keep": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6] y) <float[4,3,3,3] w, float[4] b, float[4,1] k, int64 i={-1}> { "
        "c = Conv(x, w, b) d = Gather<axis=2>(c, i) y = Mul(d, k) }",
        2,
    ),
    "B gatherelements scalar": Pattern(
        "(float[N,3,8,8] x, int64[N,4,6,2] i) => (float[N,4,6,2] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k> { c = Conv(x, w, b) d = GatherElements<axis=3>(c, i) y = Mul(d, k) }",
        2,
    ),
    "B gathernd scalar": Pattern(
        "(float[N,3,8,8] x, int64[N,1] i) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float k> { c = "
        "Conv(x, w, b) d = GatherND(c, i) y = Mul(d, k) }",
        2,
    ),
    "B dynamic slice": Pattern(
        "(float[N,3,8,8] x, int64[1] st, int64[1] en) => (float[N,4,K,6] y) <float[4,3,3,3] w, float[4] b, "
        "float[4] g, float[4] be, float[4] m, float[4] var, int64[1] ax={2}> { c = Conv(x, w, b) d = Slice(c, "
        "st, en, ax) y = BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B mul by gate": Pattern(
        "(float[N,3,8,8] x, float[N,4,1,1] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k> { c = Conv(x, w, b) d = Mul(c, z) y = Mul(d, k) }",
        2,
    ),
    "B div by variable": Pattern(
        "(float[N,3,8,8] x, float[N,4,1,1] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k> { c = Conv(x, w, b) d = Div(c, z) y = Mul(d, k) }",
        2,
    ),
    "B matmul var right scalar": Pattern(
        "(float[N,3,8,8] x, float[N,36,5] z) => (float[N,4,5] y) <float[4,3,3,3] w, float[4] b, float k, "
        "int64[3] s={0,4,36}> { c = Conv(x, w, b) r = Reshape(c, s) d = MatMul(r, z) y = Mul(d, k) }",
        3,
    ),
    "B matmul var rows": Pattern(
        "(float[N,3,8,8] x, float[N,36,5] z) => (float[N,4,5] y) <float[4,3,3,3] w, float[4] b, float[4,1] k, "
        "int64[3] s={0,4,36}> { c = Conv(x, w, b) r = Reshape(c, s) d = MatMul(r, z) y = Mul(d, k) }",
        3,
    ),
    "B pad zero scale": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k, int64[8] "
        "pd={0,0,1,1,0,0,1,1}> { c = Conv(x, w, b) d = Pad(c, pd) y = Mul(d, k) }",
        2,
    ),
    "B pad reflect bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, int64[8] pd={0,0,1,1,0,0,1,1}> { c = Conv(x, w, b) d = "
        'Pad<mode="reflect">(c, pd) y = BatchNormalization(d, g, be, m, var) }',
        2,
    ),
    "B pad edge bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        'float[4] m, float[4] var, int64[8] pd={0,0,1,1,0,0,1,1}> { c = Conv(x, w, b) d = Pad<mode="edge">(c, '
        "pd) y = BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B pad const scalar affine": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float k, float t, float "
        "v={0.5}, int64[8] pd={0,0,1,1,0,0,1,1}> { c = Conv(x, w, b) d = Pad(c, pd, v) e = Mul(d, k) y = "
        "Add(e, t) }",
        2,
    ),
    "B pad default const scalar affine": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float k, float t, int64[8] "
        "pd={0,0,1,1,0,0,1,1}> { c = Conv(x, w, b) d = Pad(c, pd) e = Mul(d, k) y = Add(e, t) }",
        2,
    ),
    "B pad channels scale": Pattern(
        "(float[N,3,8,8] x) => (float[N,6,6,6] y) <float[4,3,3,3] w, float[4] b, float[6,1,1] k, int64[8] "
        "pd={0,1,0,0,0,1,0,0}> { c = Conv(x, w, b) d = Pad(c, pd) y = Mul(d, k) }",
        2,
    ),
    "B resize nearest bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,12,12] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        'float[4] m, float[4] var, float[4] sc={1,1,2,2}> { c = Conv(x, w, b) d = Resize<mode="nearest">(c, , '
        "sc) y = BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B resize linear bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,12,12] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        'float[4] m, float[4] var, float[4] sc={1,1,2,2}> { c = Conv(x, w, b) d = Resize<mode="linear">(c, , '
        "sc) y = BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B upsample bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,12,12] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        'float[4] m, float[4] var, float[4] sc={1,1,2,2}> { c = Conv(x, w, b) d = Upsample<mode="nearest">(c, '
        "sc) y = BatchNormalization(d, g, be, m, var) }",
        2,
        opset=9,
    ),
    "B depthtospace bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,1,12,12] y) <float[4,3,3,3] w, float[4] b, float[1] k, float[1] t> { "
        "c = Conv(x, w, b) d = DepthToSpace<blocksize=2>(c) e = Mul(d, k) y = Add(e, t) }",
        2,
    ),
    "B depthtospace bn multi": Pattern(
        "(float[N,3,4,4] x) => (float[N,2,8,8] y) <float[8,3,1,1] w, float[2] g, float[2] be, float[2] m, "
        'float[2] var> { c = Conv(x, w) d = DepthToSpace<blocksize=2, mode="CRD">(c) y = '
        "BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B pixelshuffle spelled bn": Pattern(
        "(float[2,3,4,4] x) => (float[2,2,8,8] y) <float[8,3,1,1] w, float[2] g, float[2] be, float[2] m, "
        "float[2] var, int64[6] s1={2,2,2,2,4,4}, int64[4] s2={2,2,8,8}> { c = Conv(x, w) d = Reshape(c, s1) "
        "e = Transpose<perm=[0,1,4,2,5,3]>(d) f = Reshape(e, s2) y = BatchNormalization(f, g, be, m, var) }",
        4,
    ),
    "B channel shuffle bn": Pattern(
        "(float[2,3,4,4] x) => (float[2,4,4,4] y) <float[4,3,1,1] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var, int64[5] s1={2,2,2,4,4}, int64[4] s2={2,4,4,4}> { c = Conv(x, w) d = Reshape(c, s1) e "
        "= Transpose<perm=[0,2,1,3,4]>(d) f = Reshape(e, s2) y = BatchNormalization(f, g, be, m, var) }",
        4,
    ),
    "B spacetodepth mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,16,3,3] y) <float[4,3,3,3] w, float[4] b, float[16,1,1] k> { c = "
        "Conv(x, w, b) d = SpaceToDepth<blocksize=2>(c) y = Mul(d, k) }",
        2,
        values={"k": [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]},
    ),
    "B where of two convs": Pattern(
        "(float[N,3,8,8] x, float[N,3,8,8] z, bool[N,1,6,6] q) => (float[N,4,6,6] y) <float[4,3,3,3] w, "
        "float[4] b, float[4] g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, b) e = Conv(z, w, b) "
        "d = Where(q, c, e) y = BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "B where with constant": Pattern(
        "(float[N,3,8,8] x, bool[N,1,6,6] q) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k, float z = {0}> { c = Conv(x, w, b) d = Where(q, c, z) y = Mul(d, k) }",
        2,
    ),
    "B where zero bn": Pattern(
        "(float[N,3,8,8] x, bool[N,1,6,6] q) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, "
        "float[4] be, float[4] m, float[4] var, float z = {0}> { c = Conv(x, w, b) d = Where(q, z, c) y = "
        "BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B masked scores scale": Pattern(
        "(float[N,5,4] x, bool[N,5,5] q) => (float[N,5,5] y) <float[4,4] w, float ninf={-1e9}, float k={0.5}, "
        "float[4,4] w2> { a = MatMul(x, w) at = Transpose<perm=[0,2,1]>(x) s = MatMul(a, at) mm = Where(q, "
        "ninf, s) y = Mul(mm, k) }",
        4,
    ),
    "B max of two convs (maxout)": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,3,3,3] w2, float[4] "
        "posg, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, b) e = Conv(x, w2) d = Max(c, e) y = "
        "BatchNormalization(d, posg, be, m, var) }",
        3,
    ),
    "B max with constant zero (relu)": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos, float "
        "z={0}> { c = Conv(x, w, b) d = Max(c, z) y = Mul(d, pos) }",
        2,
    ),
    "B min with constant scale": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos, float "
        "z={6}> { c = Conv(x, w, b) d = Min(c, z) y = Mul(d, pos) }",
        2,
    ),
    "B mean of two convs": Pattern(
        "(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,3,3,3] w2, float[4] g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, b) e = "
        "Conv(z, w2) d = Mean(c, e) y = BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "B topk values scale": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,2] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos, int64[1] "
        "k1={2}> { c = Conv(x, w, b) d, i = TopK<axis=3>(c, k1) y = Mul(d, pos) }",
        2,
    ),
    "B cumsum mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k, int64 "
        "ax={3}> { c = Conv(x, w, b) d = CumSum(c, ax) y = Mul(d, k) }",
        2,
    ),
    "B trilu scale": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] k> { c = "
        "Conv(x, w, b) d = Trilu(c) y = Mul(d, k) }",
        2,
    ),
    "B gridsample scale": Pattern(
        "(float[N,3,8,8] x, float[N,5,5,2] gr) => (float[N,4,5,5] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k> { c = Conv(x, w, b) d = GridSample(c, gr) y = Mul(d, k) }",
        2,
    ),
    "B gridsample border bn": Pattern(
        "(float[N,3,8,8] x, float[N,5,5,2] gr) => (float[N,4,5,5] y) <float[4,3,3,3] w, float[4] b, float[4] "
        "g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, b) d = "
        'GridSample<padding_mode="border">(c, gr) y = BatchNormalization(d, g, be, m, var) }',
        2,
    ),
    "B roialign scale": Pattern(
        "(float[N,3,8,8] x, float[R,4] r, int64[R] i) => (float[R,4,2,2] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k> { c = Conv(x, w, b) d = RoiAlign<output_height=2,output_width=2>(c, r, i) y = Mul(d, "
        "k) }",
        2,
    ),
    "B identity dropout bn": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { c = Conv(x, w, b) d = Identity(c) e = Dropout(d) y = "
        "BatchNormalization(e, g, be, m, var) }",
        1,
    ),
    "B cast fp16 to fp32 bn": Pattern(
        "(float16[N,3,4,4] x) => (float[N,4,4,4] y) <float16[4,3,1,1] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { c = Conv(x, w) d = Cast<to=1>(c) y = BatchNormalization(d, g, be, m, var) }",
        2,
        values={"w": [0.5, 1, -1, 0.5, 1, -1, 0.5, 1, -1, 0.5, 1, -1]},
    ),
    "B sqrt pos mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) r = Relu(c) d = Sqrt(r) y = Mul(d, pos) }",
        3,
    ),
    "B pow2 mul pos": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos, float "
        "two={2}> { c = Conv(x, w, b) d = Pow(c, two) y = Mul(d, pos) }",
        2,
    ),
    "B square mul": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,1,1] pos> { c = "
        "Conv(x, w, b) d = Mul(c, c) y = Mul(d, pos) }",
        2,
    ),
    "S concat of convs bn": Pattern(
        "(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[2,3,3,3] w, float[2,3,3,3] w2, "
        "float[4] g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w) e = Conv(z, w2) d = "
        "Concat<axis=1>(c, e) y = BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "S concat conv and input bn": Pattern(
        "(float[N,3,8,8] x, float[N,2,6,6] z) => (float[N,4,6,6] y) <float[2,3,3,3] w, float[4,1,1] k> { c = "
        "Conv(x, w) d = Concat<axis=1>(c, z) y = Mul(d, k) }",
        2,
        values={"k": [2, 3, 1, 1]},
    ),
    "S add of two convs bn": Pattern(
        "(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,3,3,3] w2, float[4] g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, b) e = "
        "Conv(z, w2) d = Add(c, e) y = BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "S sub of two convs bn": Pattern(
        "(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,3,3,3] w2, float[4] g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, b) e = "
        "Conv(z, w2) d = Sub(c, e) y = BatchNormalization(d, g, be, m, var) }",
        3,
    ),
    "S sum of three convs bn": Pattern(
        "(float[N,3,8,8] x, float[N,3,8,8] z, float[N,3,8,8] q) => (float[N,4,6,6] y) <float[4,3,3,3] w, "
        "float[4] b, float[4,3,3,3] w2, float[4] g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, "
        "b) e = Conv(z, w2) f = Conv(q, w2) d = Sum(c, e, f) y = BatchNormalization(d, g, be, m, var) }",
        4,
    ),
    "S conv -> two bns": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y, float[N,4,6,6] q) <float[4,3,3,3] w, float[4] b, float[4] "
        "g, float[4] be, float[4] m, float[4] var, float[4] g2, float[4] b2> { c = Conv(x, w, b) y = "
        "BatchNormalization(c, g, be, m, var) q = BatchNormalization(c, g2, b2, m, var) }",
        2,
    ),
    "S conv -> two scales": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y, float[N,4,6,6] q) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k, float[4,1,1] k2> { c = Conv(x, w, b) y = Mul(c, k) q = Mul(c, k2) }",
        2,
    ),
    "S bn -> two convs": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y, float[N,5,4,4] q) <float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[5,4,3,3] v, float[5] vb, float[5,4,3,3] v2> { d = BatchNormalization(x, g, be, "
        "m, var) y = Conv(d, v, vb) q = Conv(d, v2) }",
        2,
    ),
    "S bn -> conv and gemm": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y, float[N,3] q) <float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[5,4,3,3] v, float[5] vb, float[4,3] v2> { d = BatchNormalization(x, g, be, m, "
        "var) y = Conv(d, v, vb) p = GlobalAveragePool(d) f = Flatten(p) q = MatMul(f, v2) }",
        4,
    ),
    "S attention qkv split scale": Pattern(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8,24] w, float[24] b, float s={0.35}, int64[3] "
        "sp={8,8,8}> { a = MatMul(x, w) ab = Add(a, b) q, k, v = Split<axis=2>(ab, sp) kt = "
        "Transpose<perm=[0,2,1]>(k) c = MatMul(q, kt) d = Mul(c, s) e = Softmax(d) y = MatMul(e, v) }",
        7,
    ),
    "S attention div sqrt on q": Pattern(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8,24] w, float[24] b, float s={2.83}, int64[3] "
        "sp={8,8,8}> { a = MatMul(x, w) ab = Add(a, b) q, k, v = Split<axis=2>(ab, sp) qs = Div(q, s) kt = "
        "Transpose<perm=[0,2,1]>(k) c = MatMul(qs, kt) e = Softmax(c) y = MatMul(e, v) }",
        7,
    ),
    "S sdpa sqrt scale both q and k": Pattern(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8,24] w, float[24] b, float s={0.59}, int64[3] "
        "sp={8,8,8}> { a = MatMul(x, w) ab = Add(a, b) q, k, v = Split<axis=2>(ab, sp) qs = Mul(q, s) kt = "
        "Transpose<perm=[0,2,1]>(k) ks = Mul(kt, s) c = MatMul(qs, ks) e = Softmax(c) y = MatMul(e, v) }",
        7,
    ),
    "S qkv heads reshape gather scale": Pattern(
        "(float[2,5,8] x) => (float[2,2,5,4] y) <float[8,24] w, float[24] b, float s={0.5}, int64[5] "
        "s1={2,5,3,2,4}, int64 i0={0}, int64 i1={1}, int64 i2={2}> { a = MatMul(x, w) ab = Add(a, b) r = "
        "Reshape(ab, s1) t = Transpose<perm=[2,0,3,1,4]>(r) q = Gather(t, i0) k = Gather(t, i1) v = Gather(t, "
        "i2) qs = Mul(q, s) kt = Transpose<perm=[0,1,3,2]>(k) c = MatMul(qs, kt) e = Softmax(c) y = MatMul(e, "
        "v) }",
        11,
    ),
    "S attention mask add then scale": Pattern(
        "(float[N,5,8] x, float[N,8,5] z, float[N,5,5] q) => (float[N,5,5] y) <float[8,8] w, float s={0.35}> "
        "{ a = MatMul(x, w) c = MatMul(a, z) d = Mul(c, s) y = Add(d, q) }",
        3,
    ),
    "S sum x*s+z*s": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4] s> { a = Mul(x, s) b = Mul(z, s) y = Add(a, b) }",
        2,
    ),
    "S bn(x)+conv(z) at output": Pattern(
        "(float[N,4,6,6] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] "
        "g, float[4] be, float[4] m, float[4] var> { a = BatchNormalization(x, g, be, m, var) c = Conv(z, w, "
        "b) y = Add(a, c) }",
        3,
    ),
    "S bn(x)+conv(z) then conv": Pattern(
        "(float[N,4,6,6] x, float[N,3,8,8] z) => (float[N,5,4,4] y) <float[4,3,3,3] w, float[4] b, float[4] "
        "g, float[4] be, float[4] m, float[4] var, float[5,4,3,3] v, float[5] vb> { a = BatchNormalization(x, "
        "g, be, m, var) c = Conv(z, w, b) d = Add(a, c) y = Conv(d, v, vb) }",
        3,
    ),
    "S x*s + conv(z) then conv": Pattern(
        "(float[N,4,6,6] x, float[N,3,8,8] z) => (float[N,5,4,4] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] s, float[5,4,3,3] v, float[5] vb> { a = Mul(x, s) c = Conv(z, w, b) d = Add(a, c) y = "
        "Conv(d, v, vb) }",
        3,
    ),
    "S (x+conv)*s then conv": Pattern(
        "(float[N,4,6,6] x, float[N,3,8,8] z) => (float[N,5,4,4] y) <float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] s, float[5,4,3,3] v, float[5] vb> { c = Conv(z, w, b) a = Add(x, c) d = Mul(a, s) y = "
        "Conv(d, v, vb) }",
        3,
    ),
    "S layerscale residual": Pattern(
        "(float[N,5,4] x) => (float[N,5,4] y) <float[4,4] w, float[4] b, float[4] k> { a = MatMul(x, w) c = "
        "Add(a, b) d = Mul(c, k) y = Add(x, d) }",
        2,
    ),
    "F conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,4,3,3] v, float[5] vb> { c = BatchNormalization(x, g, be, m, var) y = Conv(c, v, vb) }",
        1,
    ),
    "F conv no bias": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,4,3,3] v> { c = BatchNormalization(x, g, be, m, var) y = Conv(c, v) }",
        1,
    ),
    "F grouped conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,6,4,4] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[6,2,3,3] v> { c = BatchNormalization(x, g, be, m, var) y = Conv<group=2>(c, v) }",
        1,
    ),
    "F scale conv padded": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[5,4,3,3] v, float[5] vb, float[4,1,1] s> { c = "
        "Mul(x, s) y = Conv<pads=[1,1,1,1]>(c, v, vb) }",
        1,
    ),
    "F convtranspose scale": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,8,8] y) <float[4,5,3,3] v, float[4,1,1] s> { c = Mul(x, s) y = "
        "ConvTranspose(c, v) }",
        1,
    ),
    "F convtranspose 1x1 bn": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[4,5,1,1] v> { c = BatchNormalization(x, g, be, m, var) y = ConvTranspose(c, v) }",
        1,
    ),
    "F convtranspose kernel=stride bn": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,12,12] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[4,5,2,2] v> { c = BatchNormalization(x, g, be, m, var) y = ConvTranspose<strides=[2,2]>(c, v) "
        "}",
        2,
    ),
    "F flatten gemm": Pattern(
        "(float[N,4,6,6] x) => (float[N,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[144,5] v> { c = BatchNormalization(x, g, be, m, var) f = Flatten(c) y = Gemm(f, v) }",
        2,
    ),
    "F gap flatten gemm": Pattern(
        "(float[N,4,6,6] x) => (float[N,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[5,4] "
        "v, float[5] vb> { c = BatchNormalization(x, g, be, m, var) q = GlobalAveragePool(c) f = Flatten(q) y "
        "= Gemm<transB=1>(f, v, vb) }",
        3,
    ),
    "F relu scale conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y) <float[5,4,3,3] v, float[5] vb, float[4,1,1] pos> { c = "
        "Mul(x, pos) r = Relu(c) y = Conv(r, v, vb) }",
        2,
    ),
    "F maxpool conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,3,3] y) <float[5,4,3,3] v, float[5] vb, float[4] posg, float[4] be, "
        "float[4] m, float[4] var> { c = BatchNormalization(x, posg, be, m, var) r = "
        "MaxPool<kernel_shape=[2,2]>(c) y = Conv(r, v, vb) }",
        2,
    ),
    "F avgpool conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,3,3] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,4,3,3] v, float[5] vb> { c = BatchNormalization(x, g, be, m, var) r = "
        "AveragePool<kernel_shape=[2,2]>(c) y = Conv(r, v, vb) }",
        2,
    ),
    "F transpose matmul": Pattern(
        "(float[N,4,6,6] x) => (float[N,6,6,5] y) <float[4,5] v, float[4,1,1] s> { c = Mul(x, s) r = "
        "Transpose<perm=[0,2,3,1]>(c) y = MatMul(r, v) }",
        2,
    ),
    "F transpose bn matmul": Pattern(
        "(float[N,4,6,6] x) => (float[N,6,6,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[4,5] v> { c = BatchNormalization(x, g, be, m, var) r = Transpose<perm=[0,2,3,1]>(c) y = "
        "MatMul(r, v) }",
        3,
    ),
    "F transpose bn matmul add": Pattern(
        "(float[N,4,6,6] x) => (float[N,6,6,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[4,5] v, float[5] vb> { c = BatchNormalization(x, g, be, m, var) r = "
        "Transpose<perm=[0,2,3,1]>(c) a = MatMul(r, v) y = Add(a, vb) }",
        3,
    ),
    "F bn1d gemm": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[5,4] v, "
        "float[5] vb> { c = BatchNormalization(x, g, be, m, var) y = Gemm<transB=1>(c, v, vb) }",
        1,
    ),
    "F bn1d matmul": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[4,5] v> { "
        "c = BatchNormalization(x, g, be, m, var) y = MatMul(c, v) }",
        1,
    ),
    "F bn1d gemm transA": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[5,4] v, "
        "float[5] vb> { c = BatchNormalization(x, g, be, m, var) t = Transpose<perm=[1,0]>(c) y = "
        "Gemm<transA=1,transB=1>(t, v, vb) }",
        2,
    ),
    "F input scale matmul left": Pattern(
        "(float[N,4,6] x) => (float[N,5,6] y) <float[5,4] v, float[4,1] s> { c = Mul(x, s) y = MatMul(v, c) }",
        1,
    ),
    "F lstm": Pattern(
        "(float[5,N,4] x) => (float[5,1,N,3] y) <float[1,12,4] w, float[1,12,3] r, float[1,24] b, float[4] s, "
        "float[4] t> { a = Sub(x, t) c = Div(a, s) y, h, k = LSTM<hidden_size=3>(c, w, r, b) }",
        1,
    ),
    "F gru": Pattern(
        "(float[5,N,4] x) => (float[5,1,N,3] y) <float[1,9,4] w, float[1,9,3] r, float[4] s, float[4] t> { a "
        "= Sub(x, t) c = Div(a, s) y, h = GRU<hidden_size=3>(c, w, r) }",
        1,
    ),
    "F rnn bidirectional": Pattern(
        "(float[5,N,4] x) => (float[5,2,N,3] y) <float[2,3,4] w, float[2,3,3] r, float[2,6] b, float[4] s, "
        'float[4] t> { a = Mul(x, s) c = Add(a, t) y, h = RNN<hidden_size=3,direction="bidirectional">(c, w, '
        "r, b) }",
        1,
    ),
    "F bn transpose lstm": Pattern(
        "(float[N,4,6] x) => (float[6,1,N,3] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[1,12,4] w, float[1,12,3] r, float[1,24] b> { c = BatchNormalization(x, g, be, m, var) tr = "
        "Transpose<perm=[2,0,1]>(c) y, h, k = LSTM<hidden_size=3>(tr, w, r, b) }",
        2,
    ),
    "F einsum": Pattern(
        "(float[N,6,4] x) => (float[N,6,5] y) <float[4,5] w, float[4] s> { c = Mul(x, s) y = "
        'Einsum<equation="nij,jk->nik">(c, w) }',
        1,
    ),
    "F einsum shift": Pattern(
        "(float[N,6,4] x) => (float[N,6,5] y) <float[4,5] w, float[4] s, float[4] t> { a = Mul(x, s) c = "
        'Add(a, t) y = Einsum<equation="nij,jk->nik">(c, w) }',
        2,
    ),
    "F concat forward": Pattern(
        "(float[N,4,6,6] x, float[N,2,6,6] z) => (float[N,5,4,4] y) <float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[5,6,3,3] v> { c = BatchNormalization(x, g, be, m, var) d = Concat<axis=1>(c, z) "
        "y = Conv(d, v) }",
        2,
    ),
    "F split to two convs": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y, float[N,5,4,4] q) <float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[5,2,3,3] v, float[5,2,3,3] v2, int64[2] sp={2,2}> { c = BatchNormalization(x, g, "
        "be, m, var) d, e = Split<axis=1>(c, sp) y = Conv(d, v) q = Conv(e, v2) }",
        3,
    ),
    "F slice forward": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,2,3,3] v, int64[1] st={1}, int64[1] en={3}, int64[1] ax={1}> { c = BatchNormalization(x, g, "
        "be, m, var) d = Slice(c, st, en, ax) y = Conv(d, v) }",
        2,
    ),
    "F pad scalar conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[5,4,3,3] v, int64[8] pd={0,0,1,1,0,0,1,1}, float "
        "s={2}, float t={0.5}> { a = Mul(x, s) c = Add(a, t) d = Pad(c, pd) y = Conv(d, v) }",
        2,
    ),
    "F pad reflect conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,4,3,3] v, int64[8] pd={0,0,1,1,0,0,1,1}> { c = BatchNormalization(x, g, be, m, var) d = "
        'Pad<mode="reflect">(c, pd) y = Conv(d, v) }',
        2,
    ),
    "F resize conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,10,10] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,4,3,3] v, float[4] sc={1,1,2,2}> { c = BatchNormalization(x, g, be, m, var) d = "
        'Resize<mode="linear">(c, , sc) y = Conv(d, v) }',
        2,
    ),
    "F depthtospace conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,10,10] y) <float[5,1,3,3] v, float k={2}, float t={1}> { a = Mul(x, "
        "k) c = Add(a, t) d = DepthToSpace<blocksize=2>(c) y = Conv(d, v) }",
        2,
    ),
    "F spacetodepth conv (focus)": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,3,3] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,16,1,1] v> { c = BatchNormalization(x, g, be, m, var) d = SpaceToDepth<blocksize=2>(c) y = "
        "Conv(d, v) }",
        2,
    ),
    "F mul var then conv": Pattern(
        "(float[N,4,6,6] x, float[N,1,1,1] z) => (float[N,5,4,4] y) <float[5,4,3,3] v, float[4,1,1] s> { c = "
        "Mul(x, s) d = Mul(c, z) y = Conv(d, v) }",
        2,
    ),
    "F reducemean gemm": Pattern(
        "(float[N,4,6,6] x) => (float[N,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[4,5] "
        "v> { c = BatchNormalization(x, g, be, m, var) d = ReduceMean<axes=[2,3],keepdims=0>(c) y = Gemm(d, "
        "v) }",
        2,
    ),
    "F reducesum bn gemm static": Pattern(
        "(float[N,4,6,6] x) => (float[N,5] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[4,5] "
        "v, int64[2] ax={2,3}> { c = BatchNormalization(x, g, be, m, var) d = ReduceSum<keepdims=0>(c, ax) y "
        "= Gemm(d, v) }",
        2,
    ),
    "F expand forward": Pattern(
        "(float[N,4,1,1] x) => (float[N,5,4,4] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,4,3,3] v, int64[4] s={1,1,6,6}> { c = BatchNormalization(x, g, be, m, var) d = Expand(c, s) "
        "y = Conv(d, v) }",
        2,
    ),
    "F unsqueeze conv1d": Pattern(
        "(float[N,4] x) => (float[N,5,1] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[5,4,1] "
        "v, int64[1] ax={2}> { c = BatchNormalization(x, g, be, m, var) d = Unsqueeze(c, ax) y = Conv(d, v) }",
        2,
    ),
    "F where forward const": Pattern(
        "(float[N,4,6,6] x, bool[N,1,6,6] q) => (float[N,5,4,4] y) <float[5,4,3,3] v, float[4,1,1] s, float "
        "z={0}> { c = Mul(x, s) d = Where(q, c, z) y = Conv(d, v) }",
        2,
    ),
    "F max of two scaled": Pattern(
        "(float[N,4,6,6] x, float[N,4,6,6] z) => (float[N,5,4,4] y) <float[5,4,3,3] v, float[4,1,1] pos> { c "
        "= Mul(x, pos) e = Mul(z, pos) d = Max(c, e) y = Conv(d, v) }",
        2,
    ),
    "F cumsum matmul": Pattern(
        "(float[N,6,4] x) => (float[N,6,5] y) <float[4,5] v, float[4] s, int64 ax={1}> { c = Mul(x, s) d = "
        "CumSum(c, ax) y = MatMul(d, v) }",
        2,
    ),
    "F leakyrelu negative scalar": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y) <float[5,4,3,3] v, float s={-2}> { c = Mul(x, s) d = "
        "LeakyRelu<alpha=0.5>(c) y = Conv(d, v) }",
        2,
    ),
    "F abs negative scale": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y) <float[5,4,3,3] v, float[4,1,1] s> { c = Mul(x, s) d = "
        "Abs(c) y = Conv(d, v) }",
        2,
    ),
    "F hardsigmoid absorbs": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float s={3}, float t={1}> { a = Mul(x, s) c = Add(a, t) y "
        "= HardSigmoid<alpha=0.2,beta=0.5>(c) }",
        1,
    ),
    "F softmax uniform shift": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float t={1}> { c = Add(x, t) y = Softmax(c) }",
        1,
    ),
    "F argmax after scale": Pattern(
        "(float[N,4] x) => (int64[N,1] y) <float s={2}, float t={1}> { a = Mul(x, s) c = Add(a, t) y = "
        "ArgMax<axis=1>(c) }",
        1,
    ),
    "F l2norm after scale": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float s={2}> { a = Mul(x, s) y = LpNormalization<axis=1>(a) }",
        1,
    ),
    "F shift before layernorm": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float t={2}, float[4] g, float[4] b> { a = Add(x, t) y = "
        "LayerNormalization(a, g, b) }",
        1,
    ),
    "F scale before layernorm": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float t={2}, float[4] g, float[4] b> { a = Mul(x, t) y = "
        "LayerNormalization(a, g, b) }",
        1,
    ),
    "F negative scale before layernorm": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float t={-2}, float[4] g, float[4] b> { a = Mul(x, t) y = "
        "LayerNormalization(a, g, b) }",
        1,
    ),
    "F shift before instancenorm": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4,1] t, float[4] g, float[4] b> { a = Add(x, t) y = "
        "InstanceNormalization(a, g, b) }",
        1,
    ),
    "F bn before instancenorm": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[4] "
        "g2, float[4] b> { a = BatchNormalization(x, g, be, m, var) y = InstanceNormalization(a, g2, b) }",
        1,
        values={"g": [2, 2, 2, 2], "m": [0.1, 0.1, 0.1, 0.1], "var": [1, 1, 1, 1]},
    ),
    "F shift before batchnorm-free MVN": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,1,1] t> { a = Add(x, t) y = MeanVarianceNormalization(a) }",
        1,
    ),
    "F conv bias before instancenorm": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4,4,1] w, float[4] cb, float[4] g, float[4] b> { a = "
        "Conv(x, w, cb) y = InstanceNormalization(a, g, b) }",
        2,
    ),
    "F key bias dead": Pattern(
        "(float[N,5,8] x) => (float[N,5,5] y) <float[8,8] wq, float[8] bq, float[8,8] wk, float[8] bk> { q0 = "
        "MatMul(x, wq) q = Add(q0, bq) k0 = MatMul(x, wk) k = Add(k0, bk) kt = Transpose<perm=[0,2,1]>(k) s = "
        "MatMul(q, kt) y = Softmax(s) }",
        6,
    ),
    "F shift before groupnorm uniform": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float t={2}, float[4] g, float[4] b> { a = Add(x, t) y = "
        "GroupNormalization<num_groups=2>(a, g, b) }",
        1,
        opset=21,
    ),
    "F rms scale": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float t={2}, float[4] g> { a = Mul(x, t) y = RMSNormalization(a, g) }",
        1,
        opset=23,
    ),
    "F layernorm bias shift uniform in matmul bias": Pattern(
        "(float[N,3,4] x) => (float[N,3,4] y) <float[4,4] w, float[4] t, float[4] g, float[4] b> { m = "
        "MatMul(x, w) a = Add(m, t) y = LayerNormalization(a, g, b) }",
        2,
        values={"t": [2, 2, 2, 2]},
    ),
    "F scale into normalizer": Pattern(
        '(float[N,4] x) => (float[N,4] y) <float s={2}> { a = Mul(x, s) y = ai.onnx.ml.Normalizer<norm="L2">(a) }',
        1,
        domains='"ai.onnx.ml":3',
    ),
    "I uint8 cast/255 mean std conv": Pattern(
        "(uint8[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float d={255}, float[3,1,1] "
        "me, float[3,1,1] sd> { f = Cast<to=1>(x) a = Div(f, d) s = Sub(a, me) n = Div(s, sd) y = Conv(n, w, "
        "b) }",
        2,
    ),
    "I nhwc uint8 transpose": Pattern(
        "(uint8[N,8,8,3] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float d={255}, float[3] me, "
        "float[3] sd> { f = Cast<to=1>(x) a = Div(f, d) s = Sub(a, me) n = Div(s, sd) t = "
        "Transpose<perm=[0,3,1,2]>(n) y = Conv(t, w, b) }",
        3,
    ),
    "I padded conv mean std": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float d={255}, float[3,1,1] "
        "me, float[3,1,1] sd> { a = Div(x, d) s = Sub(a, me) n = Div(s, sd) y = Conv<pads=[1,1,1,1]>(n, w, b) "
        "}",
        2,
    ),
    "I padded conv scalar shift (pad value)": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float d={127.5}, float "
        "one={1}> { a = Div(x, d) s = Sub(a, one) y = Conv<pads=[1,1,1,1]>(s, w, b) }",
        2,
    ),
    "I tf [-1,1] explicit pad": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, float d={127.5}, float "
        "one={1}, int64[8] pd={0,0,1,1,0,0,1,1}> { a = Div(x, d) s = Sub(a, one) p = Pad(s, pd) y = Conv(p, "
        "w, b) }",
        2,
    ),
    "I bgr gather": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[3] i={2,1,0}> { g = "
        "Gather<axis=1>(x, i) y = Conv(g, w, b) }",
        1,
    ),
    "I bgr slice reverse": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[1] st={-1}, int64[1] "
        "en={-9}, int64[1] ax={1}, int64[1] sp={-1}> { g = Slice(x, st, en, ax, sp) y = Conv(g, w, b) }",
        1,
    ),
    "I bgr split concat": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b> { r, g, q = Split<axis=1>(x) "
        "o = Concat<axis=1>(q, g, r) y = Conv(o, w, b) }",
        1,
        opset=13,
    ),
    "I bgr + meanstd": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[3] i={2,1,0}, "
        "float[3,1,1] me, float[3,1,1] sd> { g = Gather<axis=1>(x, i) s = Sub(g, me) n = Div(s, sd) y = "
        "Conv(n, w, b) }",
        1,
    ),
    "I bgr nhwc": Pattern(
        "(float[N,8,8,3] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[3] i={2,1,0}> { g = "
        "Gather<axis=3>(x, i) t = Transpose<perm=[0,3,1,2]>(g) y = Conv(t, w, b) }",
        2,
    ),
    "I bgr slices concat": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[1] o0={0}, int64[1] "
        "o1={1}, int64[1] o2={2}, int64[1] o3={3}, int64[1] ax={1}> { r = Slice(x, o0, o1, ax) g = Slice(x, "
        "o1, o2, ax) q = Slice(x, o2, o3, ax) o = Concat<axis=1>(q, g, r) y = Conv(o, w, b) }",
        1,
    ),
    "I per channel std by slices concat": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[1] o0={0}, int64[1] "
        "o1={1}, int64[1] o2={2}, int64[1] o3={3}, int64[1] ax={1}, float s0={0.2}, float s1={0.3}, float "
        "s2={0.4}> { r = Slice(x, o0, o1, ax) g = Slice(x, o1, o2, ax) q = Slice(x, o2, o3, ax) rs = Mul(r, "
        "s0) gs = Mul(g, s1) qs = Mul(q, s2) o = Concat<axis=1>(rs, gs, qs) y = Conv(o, w, b) }",
        1,
    ),
    "I permuted gemm features": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4,5] v, int64[4] i={2,1,0,3}> { g = Gather<axis=1>(x, i) y = "
        "Gemm(g, v) }",
        1,
    ),
    "I zscore gemm": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4,5] v, float[5] vb, float[4] me, float[4] sd> { s = Sub(x, "
        "me) n = Div(s, sd) y = Gemm(n, v, vb) }",
        1,
    ),
    "I minmax gemm": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4,5] v, float[5] vb, float[4] mi, float[4] sc> { s = Mul(x, "
        "sc) n = Add(s, mi) y = Gemm(n, v, vb) }",
        1,
    ),
    "I scaler gemm": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4,5] v, float[5] vb> { s = "
        "ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0,4.0],scale=[0.5,0.25,2.0,1.0]>(x) y = Gemm(s, v, vb) }",
        1,
        domains='"ai.onnx.ml":3',
    ),
    "I scaler linear regressor": Pattern(
        "(float[N,4] x) => (float[N,1] y) { s = "
        "ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0,4.0],scale=[0.5,0.25,2.0,1.0]>(x) y = "
        "ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0,4.0],intercepts=[0.5]>(s) }",
        1,
        domains='"ai.onnx.ml":3',
    ),
    "I linear regressor then affine": Pattern(
        "(float[N,4] x) => (float[N,1] y) <float k={2}, float t={3}> { s = "
        "ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0,4.0],intercepts=[0.5]>(x) d = Mul(s, k) y = "
        "Add(d, t) }",
        1,
        domains='"ai.onnx.ml":3',
    ),
    "I scaler then mul": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k> { s = "
        "ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0,4.0],scale=[0.5,0.25,2.0,1.0]>(x) y = Mul(s, k) }",
        1,
        domains='"ai.onnx.ml":3',
    ),
    "I concat features scaler": Pattern(
        "(float[N,2] x, float[N,2] z) => (float[N,5] y) <float[4,5] v> { c = Concat<axis=1>(x, z) s = "
        "ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0,4.0],scale=[0.5,0.25,2.0,1.0]>(c) y = Gemm(s, v) }",
        2,
        domains='"ai.onnx.ml":3',
    ),
    "R repvgg": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1, float[4] g, float[4] "
        "be, float[4] m, float[4] var> { a = Conv<pads=[1,1,1,1]>(x, w3) an = BatchNormalization(a, g, be, m, "
        "var) b = Conv(x, w1) bn = BatchNormalization(b, g, be, m, var) i = BatchNormalization(x, g, be, m, "
        "var) s = Add(an, bn) y = Add(s, i) }",
        1,
    ),
    "R repvgg relu": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1, float[4] g, float[4] "
        "be, float[4] m, float[4] var> { a = Conv<pads=[1,1,1,1]>(x, w3) an = BatchNormalization(a, g, be, m, "
        "var) b = Conv(x, w1) bn = BatchNormalization(b, g, be, m, var) i = BatchNormalization(x, g, be, m, "
        "var) s = Add(i, an) q = Add(bn, s) y = Relu(q) }",
        2,
    ),
    "R repvgg stride2": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,4,4] y) <float[4,4,3,3] w3, float[4,4,1,1] w1, float[4] g, float[4] "
        "be, float[4] m, float[4] var> { a = Conv<pads=[1,1,1,1],strides=[2,2]>(x, w3) an = "
        "BatchNormalization(a, g, be, m, var) b = Conv<strides=[2,2]>(x, w1) bn = BatchNormalization(b, g, "
        "be, m, var) y = Add(an, bn) }",
        1,
    ),
    "R mobileone dw": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,3,3] d3, float[4,1,3,3] d3b, float[4,1,1,1] d1, "
        "float[4] g, float[4] be, float[4] m, float[4] var> { a = Conv<pads=[1,1,1,1],group=4>(x, d3) an = "
        "BatchNormalization(a, g, be, m, var) a2 = Conv<pads=[1,1,1,1],group=4>(x, d3b) an2 = "
        "BatchNormalization(a2, g, be, m, var) b = Conv<group=4>(x, d1) bn = BatchNormalization(b, g, be, m, "
        "var) i = BatchNormalization(x, g, be, m, var) s = Sum(an, an2, bn, i) y = Identity(s) }",
        1,
    ),
    "R x + dwconv": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,3,3] d3, float[4] b> { a = "
        "Conv<pads=[1,1,1,1],group=4>(x, d3, b) y = Add(x, a) }",
        1,
    ),
    "R x - dwconv": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,3,3] d3, float[4] b> { a = "
        "Conv<pads=[1,1,1,1],group=4>(x, d3, b) y = Sub(x, a) }",
        1,
    ),
    "R poolformer-like bn - x": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4] g, float[4] be, float[4] m, float[4] var> { a = "
        "BatchNormalization(x, g, be, m, var) y = Sub(a, x) }",
        1,
    ),
    "R two equal convs": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4] b> { a = "
        "Conv<pads=[1,1,1,1]>(x, w3, b) c = Conv<pads=[1,1,1,1]>(x, w3, b) y = Add(a, c) }",
        1,
    ),
    "R acnet": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,3] w13, float[4,4,3,1] w31, "
        "float[4] g, float[4] be, float[4] m, float[4] var> { a = Conv<pads=[1,1,1,1]>(x, w3) an = "
        "BatchNormalization(a, g, be, m, var) b = Conv<pads=[0,1,0,1]>(x, w13) bn = BatchNormalization(b, g, "
        "be, m, var) c = Conv<pads=[1,0,1,0]>(x, w31) cn = BatchNormalization(c, g, be, m, var) s = Add(an, "
        "bn) y = Add(s, cn) }",
        1,
    ),
    "R dilated 3x3 + 5x5": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,5,5] w5> { a = "
        "Conv<pads=[2,2,2,2],dilations=[2,2]>(x, w3) b = Conv<pads=[2,2,2,2]>(x, w5) y = Add(a, b) }",
        1,
    ),
    "R avgpool + conv3": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3> { a = Conv<pads=[1,1,1,1]>(x, w3) b = "
        "AveragePool<kernel_shape=[3,3],pads=[1,1,1,1],count_include_pad=1>(x) y = Add(a, b) }",
        1,
    ),
    "R dbb avgpool bn": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4] g, float[4] be, float[4] m, "
        "float[4] var> { a = Conv<pads=[1,1,1,1]>(x, w3) b = "
        "AveragePool<kernel_shape=[3,3],pads=[1,1,1,1],count_include_pad=1>(x) bn = BatchNormalization(b, g, "
        "be, m, var) y = Add(a, bn) }",
        1,
    ),
    "R conv3d 3+1": Pattern(
        "(float[N,2,4,4,4] x) => (float[N,2,4,4,4] y) <float[2,2,3,3,3] w3, float[2,2,1,1,1] w1> { a = "
        "Conv<pads=[1,1,1,1,1,1]>(x, w3) b = Conv(x, w1) y = Add(a, b) }",
        1,
    ),
    "R conv1d 3+1+id": Pattern(
        "(float[N,4,8] x) => (float[N,4,8] y) <float[4,4,3] w3, float[4,4,1] w1> { a = Conv<pads=[1,1]>(x, "
        "w3) b = Conv(x, w1) s = Add(a, b) y = Add(s, x) }",
        1,
    ),
    "R matmul + matmul": Pattern(
        "(float[N,6,4] x) => (float[N,6,5] y) <float[4,5] w, float[4,5] v> { a = MatMul(x, w) b = MatMul(x, "
        "v) y = Add(a, b) }",
        1,
    ),
    "R matmul + matmul biases": Pattern(
        "(float[N,6,4] x) => (float[N,6,5] y) <float[4,5] w, float[4,5] v, float[5] c, float[5] e> { a = "
        "MatMul(x, w) a1 = Add(a, c) b = MatMul(x, v) b1 = Add(b, e) y = Add(a1, b1) }",
        2,
    ),
    "R gemm + gemm": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4,5] w, float[5,4] v, float[5] c, float[5] e> { a = Gemm(x, "
        "w, c) b = Gemm<transB=1,alpha=0.5>(x, v, e) y = Add(a, b) }",
        1,
    ),
    "R x + linear(x)": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4,4] w, float[4] c> { a = Gemm(x, w, c) y = Add(a, x) }",
        1,
    ),
    "R x + matmul(x) 3d": Pattern(
        "(float[N,6,4] x) => (float[N,6,4] y) <float[4,4] w> { a = MatMul(x, w) y = Add(x, a) }",
        1,
    ),
    "R convtranspose + convtranspose": Pattern(
        "(float[N,4,8,8] x) => (float[N,5,10,10] y) <float[4,5,3,3] w, float[4,5,3,3] v> { a = "
        "ConvTranspose(x, w) b = ConvTranspose(x, v) y = Add(a, b) }",
        1,
    ),
    "R einsum + einsum": Pattern(
        "(float[N,6,4] x) => (float[N,6,5] y) <float[4,5] w, float[4,5] v> { a = "
        'Einsum<equation="nij,jk->nik">(x, w) b = Einsum<equation="nij,jk->nik">(x, v) y = Add(a, b) }',
        1,
    ),
    "R three affines of x": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,1] k, float[4,1,1] t> { a = Mul(x, k) b = Add(x, "
        "t) s = Add(a, b) y = Sub(s, x) }",
        1,
    ),
    "R x*k + x*q": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,1] k, float[4,1,1] q> { a = Mul(x, k) b = Mul(x, "
        "q) y = Add(a, b) }",
        1,
    ),
    "R x + x*k": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,1] k> { a = Mul(x, k) y = Add(x, a) }",
        1,
    ),
    "R x + x then conv": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3> { a = Add(x, x) y = "
        "Conv<pads=[1,1,1,1]>(a, w3) }",
        1,
    ),
    "R left matmul branches": Pattern(
        "(float[N,4,6] x) => (float[N,5,6] y) <float[5,4] w, float[5,4] v> { a = MatMul(w, x) b = MatMul(v, "
        "x) y = Add(a, b) }",
        1,
    ),
    "R conv + scaled conv": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1, float[4,1,1] k> { a "
        "= Conv<pads=[1,1,1,1]>(x, w3) c = Conv(x, w1) d = Mul(c, k) y = Sub(a, d) }",
        1,
    ),
    "R weighted sum then bn": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1, float k1={0.3}, "
        "float k2={0.7}, float[4] g, float[4] be, float[4] m, float[4] var> { a = Conv<pads=[1,1,1,1]>(x, w3) "
        "c = Conv(x, w1) ka = Mul(a, k1) kc = Mul(c, k2) s = Add(ka, kc) y = BatchNormalization(s, g, be, m, "
        "var) }",
        1,
    ),
    "R branches + other addend": Pattern(
        "(float[N,4,8,8] x, float[N,4,8,8] z) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1> { "
        "a = Conv<pads=[1,1,1,1]>(x, w3) c = Conv(x, w1) s = Add(a, z) y = Add(s, c) }",
        2,
    ),
    "R sum of branches mean": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1> { a = "
        "Conv<pads=[1,1,1,1]>(x, w3) c = Conv(x, w1) y = Mean(a, c) }",
        1,
    ),
    "R repvgg then conv 1x1 seq": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1, float[4] g, float[4] "
        "be, float[4] m, float[4] var> { a = Conv<pads=[1,1,1,1]>(x, w3) an = BatchNormalization(a, g, be, m, "
        "var) i = BatchNormalization(x, g, be, m, var) s = Add(an, i) r = Relu(s) y = Conv(r, w1) }",
        3,
    ),
    "R auto_pad SAME + 1x1": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w3, float[4,4,1,1] w1> { a = "
        'Conv<auto_pad="SAME_UPPER">(x, w3) b = Conv(x, w1) y = Add(a, b) }',
        1,
    ),
    "K tf conv nhwc bn muladd": Pattern(
        "(float[N,8,8,3] x) => (float[N,6,6,4] y) <float[4,3,3,3] w, float[4] b, float[4] k, float[4] t> { a "
        "= Transpose<perm=[0,3,1,2]>(x) c = Conv(a, w) d = Transpose<perm=[0,2,3,1]>(c) e = Mul(d, k) y = "
        "Add(e, t) }",
        3,
    ),
    "K tf biasadd relu bn": Pattern(
        "(float[N,8,8,3] x) => (float[N,6,6,4] y) <float[4,3,3,3] w, float[4] b, float[4] k, float[4] t, "
        "float[4] bi, float[4] pos> { a = Transpose<perm=[0,3,1,2]>(x) c = Conv(a, w) d = "
        "Transpose<perm=[0,2,3,1]>(c) f = Add(d, bi) e = Mul(f, k) y0 = Sub(e, t) y = Relu(y0) }",
        4,
    ),
    "K dense bn": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] b, float[4] k, float[4] t> { a = MatMul(x, "
        "w) c = Add(a, b) d = Mul(c, k) y = Add(d, t) }",
        1,
    ),
    "K nhwc -> nchw -> bn -> nhwc -> nchw": Pattern(
        "(float[N,8,8,3] x) => (float[N,6,6,4] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var> { a = Transpose<perm=[0,3,1,2]>(x) c = Conv(a, w) d = "
        "BatchNormalization(c, g, be, m, var) y = Transpose<perm=[0,2,3,1]>(d) }",
        3,
    ),
    "K depthwise separable nhwc": Pattern(
        "(float[N,8,8,3] x) => (float[N,8,8,4] y) <float[3,1,3,3] dw, float[4,3,1,1] w, float[3] k, float[3] "
        "t, float[4] k2, float[4] t2> { a = Transpose<perm=[0,3,1,2]>(x) c = Conv<group=3,pads=[1,1,1,1]>(a, "
        "dw) d = Transpose<perm=[0,2,3,1]>(c) e = Mul(d, k) f = Add(e, t) g = Transpose<perm=[0,3,1,2]>(f) h "
        "= Conv(g, w) i = Transpose<perm=[0,2,3,1]>(h) j = Mul(i, k2) y = Add(j, t2) }",
        4,
    ),
    "K squeeze conv1d bn": Pattern(
        "(float[N,8,3] x) => (float[N,6,4] y) <float[4,3,1,3] w, float[4] k, float[4] t, int64[1] a1={1}, "
        "int64[1] a2={2}> { u = Unsqueeze(x, a1) a = Transpose<perm=[0,3,1,2]>(u) c = Conv(a, w) s = "
        "Squeeze(c, a2) d = Transpose<perm=[0,2,1]>(s) e = Mul(d, k) y = Add(e, t) }",
        5,
    ),
    "K batch renorm": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, float[4,1,1] r, float[4,1,1] d> { c = Conv(x, w, b) e = "
        "BatchNormalization(c, g, be, m, var) f = Mul(e, r) y = Add(f, d) }",
        1,
    ),
    "M mul add stays bn": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,1,1] k, float[4,1,1] t> { a = Mul(x, k) y = Add(a, t) }",
        1,
    ),
    "M add mul stays bn": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[1,4,1,1] k, float[4,1,1] t> { a = Add(t, x) y = Mul(k, a) }",
        1,
    ),
    "M bn bn": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4] g, float[4] be, float[4] m, float[4] var> { a = "
        "BatchNormalization(x, g, be, m, var) y = BatchNormalization(a, g, be, m, var) }",
        1,
    ),
    "M bn mul add": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[4,1,1] k, float[4,1,1] t> { a = BatchNormalization(x, g, be, m, var) c = Mul(a, k) y = Add(c, "
        "t) }",
        1,
    ),
    "M scalar chain": Pattern(
        "(float[N,5] x) => (float[N,5] y) <float a={2}, float b={3}, float c={4}, float[1] d={5}> { p = "
        "Mul(x, a) q = Add(p, b) r = Div(q, c) y = Sub(r, d) }",
        1,
    ),
    "M add add": Pattern(
        "(float[N,5] x) => (float[N,5] y) <float[5] a, float b={3}> { p = Add(x, a) y = Add(b, p) }",
        1,
    ),
    "M mul mul neg": Pattern(
        "(float[N,5] x) => (float[N,5] y) <float[5] a, float b={3}> { p = Mul(x, a) q = Neg(p) y = Mul(b, q) }",
        1,
    ),
    "M add sub cancel relu": Pattern(
        "(float[N,5] x) => (float[N,5] y) <float a={2}> { p = Add(x, a) q = Sub(p, a) y = Relu(q) }",
        1,
    ),
    "M mul one": Pattern(
        "(float[N,5] x) => (float[N,5] y) <float a={1}> { p = Mul(x, a) y = Relu(p) }",
        1,
    ),
    "M scale relu scale": Pattern(
        "(float[N,5] x) => (float[N,5] y) <float[5] posa, float[5] posb> { p = Mul(x, posa) q = Relu(p) y = "
        "Mul(q, posb) }",
        2,
    ),
    "M bn relu bn scale only": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4] g, float[4] be, float[4] m, float[4] var, float[4,1] "
        "pos> { a = BatchNormalization(x, g, be, m, var) r = Relu(a) y = Mul(r, pos) }",
        2,
    ),
    "M affine across transpose": Pattern(
        "(float[N,4,6,6] x) => (float[N,6,6,4] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[4] k, float[4] t> { a = BatchNormalization(x, g, be, m, var) r = Transpose<perm=[0,2,3,1]>(a) "
        "d = Mul(r, k) y = Add(d, t) }",
        2,
    ),
    "M mul add on last axis": Pattern(
        "(float[N,6,4] x) => (float[N,6,4] y) <float[4] k, float[4] t> { a = Mul(x, k) y = Add(a, t) }",
        2,
    ),
    "M sub div zscore 2d": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k, float[4] t> { a = Sub(x, t) y = Div(a, k) }",
        1,
    ),
    "M mul add relu then maxpool scale": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,3,3] y) <float[4,1,1] pos, float[4,1,1] t> { a = Add(x, t) r = "
        "Relu(a) q = MaxPool<kernel_shape=[2,2],strides=[2,2]>(r) y = Mul(q, pos) }",
        3,
    ),
    "A mul add relu conv": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[4,1,1] pos, float[4,1,1] t, float[5,4,3,3] v, "
        "float[5] vb> { a = Mul(x, pos) c = Add(a, t) r = Relu(c) y = Conv<pads=[1,1,1,1]>(r, v, vb) }",
        3,
    ),
    "A conv bn relu conv bn relu": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, float[4,4,3,3] w2, float[4] g2, float[4] b2> { a = Conv(x, w) c = "
        "BatchNormalization(a, g, be, m, var) r = Relu(c) d = Conv<pads=[1,1,1,1]>(r, w2) e = "
        "BatchNormalization(d, g2, b2, m, var) y = Relu(e) }",
        4,
    ),
    "G if bodies": Pattern(
        "(float[N,3,8,8] x, bool q) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] "
        "be, float[4] m, float[4] var> { y = If(q) <then_branch = tb () => (float[N,4,6,6] t1) { c1 = Conv(x, "
        "w, b) t1 = BatchNormalization(c1, g, be, m, var) }, else_branch = eb () => (float[N,4,6,6] e1) { c2 "
        "= Conv(x, w, b) e1 = Mul(c2, c2) }> }",
        4,
    ),
    "T concat of two norms": Pattern(
        "(float[N,2,6,6] x, float[N,2,6,6] z) => (float[N,4,6,6] y) <float[2] g, float[2] be, float[2] m, "
        "float[2] var> { a = BatchNormalization(x, g, be, m, var) b = BatchNormalization(z, be, g, m, var) y "
        "= Concat<axis=1>(a, b) }",
        2,
    ),
    "T max of two scaled": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4] pos> { a = Mul(x, pos) b = Mul(z, pos) y = "
        "Max(a, b) }",
        2,
    ),
    "T max of two scaled, negative": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float k = {-2}> { a = Mul(x, k) b = Mul(z, k) y = Max(a, b) }",
        2,
    ),
    "T product of two scaled": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4] k, float[4] q> { a = Mul(x, k) b = Mul(z, "
        "q) y = Mul(a, b) }",
        2,
    ),
    "T sum of three scaled": Pattern(
        "(float[N,4] x, float[N,4] z, float[N,4] u) => (float[N,4] y) <float[4] s> { a = Mul(x, s) b = Mul(z, "
        "s) c = Mul(u, s) d = Add(a, b) y = Add(d, c) }",
        3,
    ),
    "T equal affines with shifts": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4] s, float[4] t, float[4] q> { a = Mul(x, s) "
        "a1 = Add(a, t) b = Mul(z, s) b1 = Sub(b, q) y = Sub(a1, b1) }",
        2,
    ),
    "T different scales stay": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4] s, float[4] t> { a = Mul(x, s) b = Mul(z, "
        "t) y = Add(a, b) }",
        3,
    ),
    "O shuffled conv conv": Pattern(
        "(float[N,3,8,8] x) => (float[N,5,4,4] y) <float[4,3,3,3] w, float[4] b, float[5,4,3,3] v, float[5] "
        "vb, int64[4] i={2,0,3,1}> { c = Conv(x, w, b) d = Gather<axis=1>(c, i) y = Conv(d, v, vb) }",
        2,
    ),
    "O order through norm and relu": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[4] g, float[4] be, float[4] m, float[4] var, "
        "float[5,4,3,3] v, float[5] vb, int64[4] i={2,0,3,1}> { c = Gather<axis=1>(x, i) e = "
        "BatchNormalization(c, g, be, m, var) r = Relu(e) y = Conv<pads=[1,1,1,1]>(r, v, vb) }",
        3,
    ),
    "O order into depthwise stays": Pattern(
        "(float[N,4,6,6] x) => (float[N,4,4,4] y) <float[4,1,3,3] v, int64[4] i={2,0,3,1}> { c = "
        "Gather<axis=1>(x, i) y = Conv<group=4>(c, v) }",
        2,
    ),
    "O order that two read": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,4,4] y, float[N,5,4,4] q) <float[5,4,3,3] v, float[5] vb, "
        "float[5,4,3,3] v2, int64[4] i={2,0,3,1}> { d = Gather<axis=1>(x, i) y = Conv(d, v, vb) q = Conv(d, "
        "v2) }",
        2,
    ),
    "O order at an output stays": Pattern(
        "(float[N,4] x) => (float[N,4] y) <int64[4] i={2,0,3,1}> { y = Gather<axis=1>(x, i) }",
        1,
    ),
    "O uint8 order": Pattern(
        "(uint8[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[3] i={2,1,0}> { g = "
        "Gather<axis=1>(x, i) c = Cast<to=1>(g) y = Conv(c, w, b) }",
        2,
    ),
    "O order of an LSTM's input": Pattern(
        "(float[5,N,4] x) => (float[5,1,N,3] y) <float[1,12,4] w, float[1,12,3] r, int64[4] i={2,0,3,1}> { c "
        "= Gather<axis=2>(x, i) y, h, k = LSTM<hidden_size=3>(c, w, r) }",
        1,
    ),
    "O matmul made in order": Pattern(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,4] w, int64[4] i={2,0,3,1}> { c = MatMul(x, w) y = "
        "Gather<axis=2>(c, i) }",
        1,
    ),
    "O gemm made in order": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[4,3] w, float[4] b, int64[4] i={2,0,3,1}> { c = "
        "Gemm<transB=1>(x, w, b) y = Gather<axis=1>(c, i) }",
        1,
    ),
    "2 loop body": Pattern(
        "(float[N,3,8,8] x, int64 n, bool q) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, "
        "float[4] be, float[4] m, float[4] var, float[4,1,1] k1> { s = Conv(x, w, b) y = Loop(n, q, s) <body "
        "= lb (int64 i, bool c0, float[N,4,6,6] a) => (bool c1, float[N,4,6,6] o) { c1 = Identity(c0) e = "
        "Mul(a, k1) o = Mul(e, k1) }> }",
        4,
    ),
    "2 if captured conv": Pattern(
        "(float[N,3,8,8] x, bool q) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] "
        "be, float[4] m, float[4] var> { c = Conv(x, w, b) y = If(q) <then_branch = tb () => (float[N,4,6,6] "
        "t1) { t1 = BatchNormalization(c, g, be, m, var) }, else_branch = eb () => (float[N,4,6,6] e1) { e1 = "
        "Identity(c) }> }",
        4,
    ),
    "2 two linear layers with affines between": Pattern(
        "(float[N,3] x) => (float[N,2] y) <float[3,4] w, float[4] b, float[4] k, float[4] t, float[4,2] v, "
        "float[4] posq> { a = MatMul(x, w) c = Add(a, b) d = Mul(c, k) e = Add(d, t) r = Relu(e) h = Mul(r, "
        "posq) y = MatMul(h, v) }",
        3,
    ),
    "2 prenorm scale into both qkv": Pattern(
        "(float[N,5,4] x) => (float[N,5,4] q, float[N,5,4] k) <float[4] g, float[4] b, float[4,4] wq, "
        "float[4,4] wk, float s> { l = LayerNormalization(x, g, b) l2 = Mul(l, s) q = MatMul(l2, wq) k = "
        "MatMul(l2, wk) }",
        3,
    ),
    "2 embedding sum scaled": Pattern(
        "(int64[N,5] x) => (float[N,5,4] y) <float[10,4] w, float[5,4] pe, float s={2.0}> { c = Gather(w, x) "
        "d = Mul(c, s) y = Add(d, pe) }",
        2,
    ),
    "2 embedding (a+b)*s": Pattern(
        "(int64[N,5] x, int64[N,5] z) => (float[N,5,4] y) <float[10,4] w, float[3,4] v, float s={2.0}> { c = "
        "Gather(w, x) e = Gather(v, z) d = Add(c, e) y = Mul(d, s) }",
        3,
    ),
    "2 two embeddings of the same ids": Pattern(
        "(int64[N,5] x) => (float[N,5,4] y) <float[10,4] w, float[10,4] v> { c = Gather(w, x) e = Gather(v, "
        "x) y = Add(c, e) }",
        1,
    ),
    "2 conv bn add relu residual": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[4,4,1,1] v> { c = Conv<pads=[1,1,1,1]>(x, w) d = BatchNormalization(c, g, be, m, "
        "var) e = Relu(x) f = Conv(e, v) h = Add(d, f) y = Relu(h) }",
        5,
    ),
    "2 se block": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[2,4,1,1] v, float[4,2,1,1] u> { c = Conv<pads=[1,1,1,1]>(x, w) d = "
        "BatchNormalization(c, g, be, m, var) p = GlobalAveragePool(d) a = Conv(p, v) r = Relu(a) e = Conv(r, "
        "u) s = Sigmoid(e) y = Mul(d, s) }",
        7,
    ),
    "2 layer scale dim last": Pattern(
        "(float[N,5,4] x, float[N,5,4] z) => (float[N,5,4] y) <float[4,4] w, float[4] b, float[4] k> { a = "
        "MatMul(z, w) c = Add(a, b) d = Mul(k, c) y = Add(x, d) }",
        3,
    ),
    "2 residual scaling 0.5*(x+f(z))": Pattern(
        "(float[N,4,8,8] x, float[N,4,8,8] z) => (float[N,4,8,8] y) <float[4,4,3,3] w, float s={0.5}> { c = "
        "Conv<pads=[1,1,1,1]>(z, w) a = Add(x, c) y = Mul(a, s) }",
        3,
    ),
    "2 nfnet alpha beta": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w, float a={0.2}, float k={1.7}, float "
        "bt={0.9}> { r = Relu(x) r1 = Mul(r, k) r2 = Mul(r1, bt) c = Conv<pads=[1,1,1,1]>(r2, w) d = Mul(c, "
        "a) y = Add(d, x) }",
        3,
    ),
    "2 hardswish spelled then conv stays": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w, float three={3}, float six={6}, float "
        "zero={0}> { a = Add(x, three) c = Clip(a, zero, six) d = Mul(x, c) e = Div(d, six) y = "
        "Conv<pads=[1,1,1,1]>(e, w) }",
        4,
    ),
    "2 silu scaled": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] w, float k={1.67}> { s = Sigmoid(x) m = "
        "Mul(x, s) d = Mul(m, k) y = Conv<pads=[1,1,1,1]>(d, w) }",
        3,
    ),
    "2 bn then padded conv, relu before": Pattern(
        "(float[N,3,8,8] x) => (float[N,5,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] g, float[4] be, "
        "float[4] m, float[4] var, float[5,4,3,3] v> { c = Conv(x, w, b) r = Relu(c) d = "
        "BatchNormalization(r, g, be, m, var) y = Conv<pads=[1,1,1,1]>(d, v) }",
        3,
    ),
    "2 pixel norm 255 nhwc minmax gemm": Pattern(
        "(uint8[N,2,2,3] x) => (float[N,5] y) <float d={255}, float[12,5] w, float[5] b, int64[2] s={-1,12}> "
        "{ f = Cast<to=1>(x) a = Div(f, d) r = Reshape(a, s) y = Gemm(r, w, b) }",
        3,
    ),
    "2 minmax then zscore": Pattern(
        "(float[N,4] x) => (float[N,5] y) <float[4] mi, float[4] ra, float[4] me, float[4] sd, float[4,5] w, "
        "float[5] b> { a = Sub(x, mi) c = Div(a, ra) d = Sub(c, me) e = Div(d, sd) f = MatMul(e, w) y = "
        "Add(f, b) }",
        1,
    ),
    "2 gan: conv transpose bn relu x2": Pattern(
        "(float[N,3,4,4] x) => (float[N,2,16,16] y) <float[3,4,4,4] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[4,2,4,4] v, float[2] g2, float[2] b2, float[2] m2, float[2] var2> { c = "
        "ConvTranspose<strides=[2,2],pads=[1,1,1,1]>(x, w) d = BatchNormalization(c, g, be, m, var) r = "
        "Relu(d) e = ConvTranspose<strides=[2,2],pads=[1,1,1,1]>(r, v) f = BatchNormalization(e, g2, b2, m2, "
        "var2) y = Tanh(f) }",
        4,
    ),
    "2 inverse standardization at output": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float s={127.5}, float "
        "o={1}> { c = Conv(x, w, b) t = Tanh(c) a = Add(t, o) y = Mul(a, s) }",
        3,
    ),
    "2 sub mean then l2": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float[4] m, float[4,3] w, float k={2}> { a = Sub(x, m) c = "
        "MatMul(a, w) d = Mul(c, k) y = LpNormalization<axis=1>(d) }",
        2,
    ),
    "2 cosine logits scale": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float[4,3] w, float k={16}> { n = LpNormalization<axis=1>(x) c = "
        "MatMul(n, w) y = Mul(c, k) }",
        2,
    ),
    "2 temperature softmax": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float[4,3] w, float[3] b, float k={0.7}> { c = Gemm(x, w, b) d = "
        "Div(c, k) y = Softmax(d) }",
        2,
    ),
    "2 gemm then argmax uniform": Pattern(
        "(float[N,4] x) => (int64[N,1] y) <float[4,3] w, float[3] b, float k={0.7}> { c = Gemm(x, w, b) d = "
        "Div(c, k) y = ArgMax<axis=1>(d) }",
        2,
    ),
    "2 conv bn sigmoid mul (attention gate)": Pattern(
        "(float[N,3,8,8] x, float[N,4,6,6] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] "
        "g, float[4] be, float[4] m, float[4] var> { c = Conv(x, w, b) d = BatchNormalization(c, g, be, m, "
        "var) s = Sigmoid(d) y = Mul(z, s) }",
        3,
    ),
    "2 split relu halves scale": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[2,1,1] pos, int64[2] "
        "sp={2,2}> { c = Conv(x, w, b) l, r = Split<axis=1>(c, sp) l1 = Mul(l, pos) r1 = Relu(r) y = "
        "Concat<axis=1>(l1, r1) }",
        4,
    ),
    "2 ghost module": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[2,3,1,1] w, float[2] g, float[2] be, float[2] m, "
        "float[2] var, float[2,1,3,3] d> { c = Conv(x, w) p = BatchNormalization(c, g, be, m, var) r = "
        "Relu(p) e = Conv<group=2,pads=[1,1,1,1]>(r, d) q = BatchNormalization(e, be, g, m, var) y = "
        "Concat<axis=1>(r, q) }",
        4,
    ),
    "2 repghost": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,1,3,3] d, float[4] g, float[4] be, float[4] m, "
        "float[4] var, float[4] g2, float[4] b2> { e = Conv<group=4,pads=[1,1,1,1]>(x, d) q = "
        "BatchNormalization(e, g, be, m, var) i = BatchNormalization(x, g2, b2, m, var) s = Add(q, i) y = "
        "Relu(s) }",
        2,
    ),
    "2 mobileone 3 branches k3 + 1x1 + id dense": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a, float[4,4,3,3] b, float[4,4,1,1] c, "
        "float[4] g, float[4] be, float[4] m, float[4] var> { a1 = Conv<pads=[1,1,1,1]>(x, a) a2 = "
        "BatchNormalization(a1, g, be, m, var) b1 = Conv<pads=[1,1,1,1]>(x, b) b2 = BatchNormalization(b1, g, "
        "be, m, var) c1 = Conv(x, c) c2 = BatchNormalization(c1, g, be, m, var) i = BatchNormalization(x, g, "
        "be, m, var) s1 = Add(a2, b2) s2 = Add(c2, i) y = Add(s1, s2) }",
        1,
    ),
    "2 asymmetric kernel sum 1x3 + 3x1": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,1,3] a, float[4,4,3,1] b, float[4,4,3,3] c> { a1 "
        "= Conv<pads=[0,1,0,1]>(x, a) b1 = Conv<pads=[1,0,1,0]>(x, b) c1 = Conv<pads=[1,1,1,1]>(x, c) y = "
        "Sum(a1, b1, c1) }",
        1,
    ),
    "2 strided parallel with avgpool 1x1": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,4,4] y) <float[4,4,3,3] a> { a1 = "
        "Conv<pads=[1,1,1,1],strides=[2,2]>(x, a) b1 = AveragePool<kernel_shape=[1,1],strides=[2,2]>(x) y = "
        "Add(a1, b1) }",
        1,
    ),
    "2 skip via maxpool k1": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a, float[4,1,1] k> { a1 = "
        "Conv<pads=[1,1,1,1]>(x, a) d = Mul(x, k) y = Sub(a1, d) }",
        1,
    ),
    "2 conv fp16": Pattern(
        "(float16[N,3,4,4] x) => (float16[N,4,4,4] y) <float16[4,3,1,1] w, float16[4,1,1] k> { c = Conv(x, w) "
        "y = Mul(c, k) }",
        1,
        values={"w": [0.5, 1, -1, 0.5, 1, -1, 0.5, 1, -1, 0.5, 1, -1], "k": [1, 2, 0.5, -1]},
    ),
    "2 squeeze before mul": Pattern(
        "(float[N,3,1,8] x) => (float[N,4,8] y) <float[4,3,1,1] w, float[4,1] k, int64[1] a={2}> { c = "
        "Conv(x, w) s = Squeeze(c, a) y = Mul(s, k) }",
        2,
    ),
    "2 flatten gemm bn relu gemm bn": Pattern(
        "(float[N,2,2,2] x) => (float[N,4] y) <float[8,4] w, float[4] g, float[4] be, float[4] m, float[4] "
        "var, float[4,4] v> { f = Flatten(x) c = Gemm(f, w) d = BatchNormalization(c, g, be, m, var) r = "
        "Relu(d) e = Gemm(r, v) y = BatchNormalization(e, be, g, m, var) }",
        4,
    ),
    "2 conv1d dilated causal bn": Pattern(
        "(float[N,3,8] x) => (float[N,4,8] y) <float[4,3,3] w, float[4] g, float[4] be, float[4] m, float[4] "
        "var, int64[6] pd={0,0,4,0,0,0}> { q = Pad(x, pd) c = Conv<dilations=[2]>(q, w) y = "
        "BatchNormalization(c, g, be, m, var) }",
        2,
    ),
    "2 pad scale conv": Pattern(
        "(float[N,3,8] x) => (float[N,4,10] y) <float[4,3,3] w, float[3,1] k, int64[6] pd={0,0,2,0,0,2}> { s "
        "= Mul(x, k) q = Pad(s, pd) y = Conv(q, w) }",
        2,
    ),
    "2 chain into two heads": Pattern(
        "(float[N,3,8,8] x) => (float[N,2,6,6] y, float[N,3,6,6] z) <float[4,3,3,3] w, float[4] b, float[4] "
        "g, float[4] be, float[4] m, float[4] var, float[2,4,1,1] h1, float[3,4,1,1] h2> { c = Conv(x, w, b) "
        "d = BatchNormalization(c, g, be, m, var) y = Conv(d, h1) z = Conv(d, h2) }",
        3,
    ),
    "2 bn shared by conv and output": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y, float[N,3,6,6] z) <float[4,3,3,3] w, float[4] b, float[4] "
        "g, float[4] be, float[4] m, float[4] var, float[3,4,1,1] h2> { c = Conv(x, w, b) y = "
        "BatchNormalization(c, g, be, m, var) z = Conv(y, h2) }",
        2,
    ),
    "2 gru input after transpose and scaler": Pattern(
        "(float[N,5,4] x) => (float[5,1,N,3] y) <float[1,9,4] w, float[1,9,3] r, float[4] me, float[4] sd> { "
        "a = Sub(x, me) c = Div(a, sd) t = Transpose<perm=[1,0,2]>(c) y, h = GRU<hidden_size=3>(t, w, r) }",
        2,
    ),
    "2 einsum attention scale": Pattern(
        "(float[N,5,4] x) => (float[N,5,5] y) <float[4,4] w, float[4,4] v, float k={0.5}> { q = MatMul(x, w) "
        'kk = MatMul(x, v) s = Einsum<equation="bid,bjd->bij">(q, kk) y = Mul(s, k) }',
        3,
    ),
}


def count(graph: onnx.GraphProto) -> int:
    """The operators of a graph and of the bodies in it."""
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return len(graph.node) + sum(count(body) for body in bodies)


def assert_shrinks(pattern: Pattern) -> None:
    """At most ``least`` operators are left, they compute the same, and every promise of a fold is kept."""
    model = parse(pattern.text, opset=pattern.opset, domains=pattern.domains, values=pattern.values)
    model = infer_shapes(model) if pattern.domains else model
    result = fold(model)
    assert count(result.model.graph) <= pattern.least, [node.op_type for node in result.model.graph.node]
    assert_ledger(model, result)
    assert_names(model, result.model)
    assert_same_values(model, result.model)
    if pattern.has_reference:
        assert_same_algebra(model, result.model)


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern(name: str) -> None:
    assert_shrinks(PATTERNS[name])
