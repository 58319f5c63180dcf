"""More small patterns, written without a look at the code: the least number of operators was stated before the run.
The first letter as in ``test_patterns``, and L old opsets, D other dtypes, Q quantized, C classic machine learning,
P positions in odd places.
"""

from __future__ import annotations

import pytest

from tests.fold.test_patterns import Pattern, assert_shrinks

BN = "float[4] g, float[4] be, float[4] m, float[4] var"
BN2 = f"{BN}, float[4] g2, float[4] be2, float[4] m2, float[4] var2"
IMAGE = "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b"

PATTERNS = {
    # -- backward ------------------------------------------------------------------------------------------------
    "B convtranspose3d bn": Pattern(
        f"(float[N,3,2,2,2] x) => (float[N,4,4,4,4] y) <float[3,4,3,3,3] w, float[4] b, {BN}> {{ c = "
        "ConvTranspose(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B convtranspose output_padding bn": Pattern(
        f"(float[N,3,4,4] x) => (float[N,4,8,8] y) <float[3,4,3,3] w, {BN}> {{ c = ConvTranspose<strides=[2,2],"
        "pads=[1,1,1,1],output_padding=[1,1]>(x, w) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B convtranspose output_shape mul add": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,8,8] y) <float[3,4,3,3] w, float[4,1,1] k, float[4,1,1] t> { c = "
        "ConvTranspose<strides=[2,2],output_shape=[8,8]>(x, w) d = Mul(c, k) y = Add(t, d) }",
        1,
    ),
    "B convtranspose depthwise dilated bn": Pattern(
        f"(float[N,4,4,4] x) => (float[N,4,8,8] y) <float[4,1,3,3] w, float[4] b, {BN}> {{ c = "
        "ConvTranspose<group=4,dilations=[2,2]>(x, w, b) y = BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B conv dynamic space bn": Pattern(
        f"(float[N,3,H,W] x) => (float[N,4,H,W] y) <float[4,3,3,3] w, {BN}> {{ c = Conv<pads=[1,1,1,1]>(x, w) r = "
        'LeakyRelu(c) d = Conv<auto_pad="SAME_UPPER">(x, w) e = BatchNormalization(d, g, be, m, var) y = Add(r, e) }',
        4,
    ),
    "B shared conv weight, two sets of statistics": Pattern(
        f"(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,6] y, float[N,4,6,6] q) <float[4,3,3,3] w, float[4] b, "
        f"{BN2}> {{ c = Conv(x, w, b) y = BatchNormalization(c, g, be, m, var) d = Conv(z, w, b) q = "
        "BatchNormalization(d, g2, be2, m2, var2) }",
        2,
    ),
    "B shared statistics of two convs": Pattern(
        f"{IMAGE}, float[4,3,3,3] w2, {BN}> {{ c = Conv(x, w, b) d = BatchNormalization(c, g, be, m, var) f = "
        "Sigmoid(d) e = Conv(x, w2) h = BatchNormalization(e, g, be, m, var) y = Mul(f, h) }",
        4,
    ),
    "B position embedding between conv and scale": Pattern(
        f"{IMAGE}, float[1,4,6,6] p, float[4,1,1] k> {{ c = Conv(x, w, b) d = Add(c, p) y = Mul(d, k) }}",
        2,
    ),
    "B position embedding of tokens then scale": Pattern(
        "(float[N,5,3] x) => (float[N,5,4] y) <float[3,4] w, float[1,5,4] p, float[4] k> { c = MatMul(x, w) d = "
        "Add(c, p) y = Mul(d, k) }",
        2,
    ),
    "B class token and position then scale": Pattern(
        "(float[2,5,3] x) => (float[2,6,4] y) <float[3,4] w, float[2,1,4] t, float[1,6,4] p, float s> { c = "
        "MatMul(x, w) d = Concat<axis=-2>(t, c) e = Add(d, p) y = Mul(e, s) }",
        3,
    ),
    "B class token after scale and norm": Pattern(
        "(float[2,5,3] x) => (float[2,6,4] y) <float[3,4] w, float[2,1,4] t, float[4] k, float[4] q> { c = "
        "MatMul(x, w) d = Concat<axis=1>(t, c) e = Mul(d, k) y = Div(e, q) }",
        2,
    ),
    "B matmul 3d constant bn": Pattern(
        "(float[N,2,5,3] x) => (float[N,2,5,4] y) <float[1,2,3,4] w, float[1,2,1,4] k, float[1,2,1,4] t> { c = "
        "MatMul(x, w) d = Mul(c, k) y = Add(d, t) }",
        2,
    ),
    "B matmul 5d mul": Pattern(
        "(float[N,2,2,5,3] x) => (float[N,2,2,5,4] y) <float[3,4] w, float[4] k> { c = MatMul(x, w) y = Div(c, k) }",
        1,
    ),
    "B matmul vectors": Pattern(
        "(float[3] x) => (float y) <float[3] w, float k, float t> { c = MatMul(x, w) d = Mul(c, k) y = Add(d, t) }",
        2,
    ),
    "B gemm beta zero bn": Pattern(
        f"(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] b, {BN}> {{ c = Gemm<beta=0.0>(x, w, b) y = "
        "BatchNormalization(c, g, be, m, var) }",
        1,
    ),
    "B gemm variable C then scale": Pattern(
        "(float[N,3] x, float[N,4] z) => (float[N,4] y) <float[3,4] w, float s={0.5}> "
        "{ c = Gemm(x, w, z) y = Mul(c, s) }",
        1,
    ),
    "B gemm variable C from conv then scale by channel": Pattern(
        "(float[N,3] x, float[N,3] z) => (float[N,4] y) <float[3,4] w, float[3,4] v, float[4] k> { d = MatMul(z, v) "
        "c = Gemm(x, w, d) y = Mul(c, k) }",
        2,
    ),
    "B gemm of two variables then scalar": Pattern(
        "(float[N,3] x, float[3,4] z) => (float[N,4] y) <float[4] b, float s={0.5}> "
        "{ c = Gemm(x, z, b) y = Mul(c, s) }",
        1,
    ),
    "B einsum 1x1 conv bn": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[4,3] w, {BN}> {{ c = "
        'Einsum<equation="bchw,oc->bohw">(x, w) y = BatchNormalization(c, g, be, m, var) }',
        2,
    ),
    "B einsum three operands scale": Pattern(
        "(float[N,5,3] x, float[N,5] z) => (float[N,5,4] y) <float[3,4] w, float[4] k> { c = "
        'Einsum<equation="nij,ni,jk->nik">(x, z, w) y = Mul(c, k) }',
        1,
    ),
    "B einsum const left grouped": Pattern(
        "(float[N,2,5,3] x) => (float[N,2,5,4] y) <float[2,3,4] w, float[2,1,4] k> { c = "
        'Einsum<equation="hjk,nhij->nhik">(w, x) y = Mul(k, c) }',
        1,
    ),
    "B einsum sum of one operand": Pattern(
        "(float[N,3,6] x) => (float[N,4] y) <float[4,3,1] w, float[4] k> { c = Conv(x, w) r = "
        'Einsum<equation="ncl->nc">(c) y = Mul(r, k) }',
        2,
    ),
    "B resize cubic bn": Pattern(
        f"{IMAGE.replace('6,6', '12,12')}, {BN}, float[4] s = {{1,1,2,2}}> {{ c = Conv(x, w, b) d = "
        'Resize<mode="cubic",cubic_coeff_a=-0.5>(c, , s) y = BatchNormalization(d, g, be, m, var) }',
        2,
    ),
    "B resize sizes align_corners bn": Pattern(
        f"{IMAGE.replace('6,6', '9,11').replace('N', '2')}, {BN}, int64[4] s = {{2,4,9,11}}> {{ c = Conv(x, w, b) "
        'd = Resize<mode="linear",coordinate_transformation_mode="align_corners">(c, , , s) '
        "y = BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B depthtospace crd bn": Pattern(
        f"(float[N,3,4,4] x) => (float[N,4,8,8] y) <float[16,3,1,1] w, {BN}> {{ c = Conv(x, w) d = "
        'DepthToSpace<blocksize=2,mode="CRD">(c) y = BatchNormalization(d, g, be, m, var) }',
        2,
    ),
    "B gather scalar token bn": Pattern(
        f"(float[N,5,3] x) => (float[N,4] y) <float[3,4] w, float[4] b, int64 i = {{0}}, {BN}> {{ c = MatMul(x, w) d = "
        "Add(c, b) e = Gather<axis=1>(d, i) y = BatchNormalization(e, g, be, m, var) }",
        3,
    ),
    "B slice with steps bn": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,3,6] y) <float[4,3,3,3] w, {BN}, int64[1] a={{0}}, int64[1] e={{-1}}, "
        "int64[1] ax={-2}, int64[1] st={2}> { c = Conv(x, w) d = Slice(c, a, e, ax, st) y = "
        "BatchNormalization(d, g, be, m, var) }",
        2,
    ),
    "B slice negative step on channels": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, {BN}, int64[1] a={{-1}}, "
        "int64[1] e={-99}, int64[1] ax={-3}, int64[1] st={-1}> { c = Conv(x, w, b) d = Slice(c, a, e, ax, st) y = "
        "BatchNormalization(d, g, be, m, var) }",
        1,
    ),
    "B split uneven negative axis": Pattern(
        "(float[N,3,8,8] x) => (float[N,1,6,6] y, float[N,3,6,6] q) <float[4,3,3,3] w, float[4] b, int64[2] s={1,3}, "
        "float[3,1,1] k, float[1,1,1] t> { c = Conv(x, w, b) d, e = Split<axis=-3>(c, s) y = Add(d, t) q = Mul(e, k) }",
        2,
    ),
    "B concat uneven negative axis bn": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[1,3,3,3] w, float[3,3,3,3] v, {BN}> {{ c = Conv(x, w) d = "
        "Conv(x, v) e = Concat<axis=-3>(c, d) y = BatchNormalization(e, g, be, m, var) }",
        3,
    ),
    "B concat in space bn": Pattern(
        f"(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,12] y) <float[4,3,3,3] w, {BN}> {{ c = Conv(x, w) d = "
        "Conv(z, w) e = Concat<axis=3>(c, d) y = BatchNormalization(e, g, be, m, var) }",
        3,
    ),
    "B glu scale": Pattern(
        "(float[N,3,8] x) => (float[N,2,6] y) <float[4,3,3] w, float[4] b, float[2,1] k> { c = Conv(x, w, b) d, e = "
        "Split<axis=1,num_outputs=2>(c) s = Sigmoid(e) p = Mul(d, s) y = Mul(p, k) }",
        4,
        opset=18,
    ),
    "B glu bn goes on": Pattern(
        "(float[N,3,8] x) => (float[N,5,6] y) <float[4,3,3] w, float[4] b, float[2,1] k, float[2,1] t, float[5,2,1] v> "
        "{ c = Conv(x, w, b) d, e = Split<axis=1,num_outputs=2>(c) s = Sigmoid(e) p = Mul(d, s) q = Mul(p, k) r = "
        "Add(q, t) y = Conv(r, v) }",
        5,
        opset=18,
    ),
    "B head gate after attention": Pattern(
        "(float[N,5,4] x, float[N,2,5,5] a) => (float[N,2,5,2] y) <float[4,4] w, float[4] b, float[2,1,1] k, "
        "int64[4] s={0,5,2,2}> { c = MatMul(x, w) d = Add(c, b) e = Reshape(d, s) v = Transpose<perm=[0,2,1,3]>(e) p = "
        "MatMul(a, v) y = Mul(p, k) }",
        5,
    ),
    "B scores scale through rotary": Pattern(
        "(float[N,5,4] x, float[N,4,5] k) => (float[N,5,5] y) <float[4,4] w, float[5,4] co, float[5,4] si, float h, "
        "int64[2] s={2,2}> { q = MatMul(x, w) a, b = Split<axis=-1>(q, s) n = Neg(b) r = Concat<axis=-1>(n, a) e = "
        "Mul(q, co) f = Mul(r, si) t = Add(e, f) o = Mul(t, h) y = MatMul(o, k) }",
        7,
    ),
    "B yolo decode": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float two={2}, float half={0.5}, "
        "float[1,1,6,6] grid, float st={8}> { c = Conv(x, w, b) s = Sigmoid(c) d = Mul(s, two) e = Sub(d, half) f = "
        "Add(e, grid) y = Mul(f, st) }",
        4,
    ),
    "B anchors times exponential": Pattern(
        f"{IMAGE}, float[4,1,1] posa> {{ c = Conv(x, w, b) e = Exp(c) y = Mul(e, posa) }}",
        2,
    ),
    "B logarithm takes a shift": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float t={0.5}> { c = MatMul(x, w) a = Softplus(c) l = Log(a) "
        "d = Abs(x) e = MatMul(d, w) h = Abs(e) o = Log(h) k = Add(o, t) y = Add(l, k) }",
        8,
    ),
    "B tanh negated": Pattern(
        f"{IMAGE}> {{ c = Conv(x, w, b) h = Tanh(c) y = Neg(h) }}",
        2,
    ),
    "B erf of negated": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] k={1,-1,1,-1}> { c = MatMul(x, w) h = Erf(c) y = "
        "Mul(h, k) }",
        2,
    ),
    "B celu scalar": Pattern(
        f"{IMAGE}, float s={{1.5}}> {{ c = Conv(x, w, b) h = Celu<alpha=0.7>(c) y = Mul(h, s) }}",
        2,
    ),
    "B selu scalar": Pattern(
        "(float[N,3] x) => (float[N,3] y) <float s={1.5}> { h = Selu(x) y = Mul(h, s) }",
        1,
    ),
    "B lrn scalar": Pattern(
        f"{IMAGE}, float s={{1.5}}> {{ c = Conv(x, w, b) h = LRN<size=3,alpha=0.001>(c) y = Mul(h, s) }}",
        2,
    ),
    "B constant over x": Pattern(
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] b, float[4] k, float[4] q> { c = Gemm(x, w, b) d = "
        "Div(k, c) y = Mul(d, q) }",
        2,
    ),
    "B groupnorm21 mul add": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4] g, float[4] b, float[4,1] k, float[4,1] t> { c = "
        "GroupNormalization<num_groups=2>(x, g, b) d = Mul(c, k) y = Add(d, t) }",
        1,
        opset=21,
        has_reference=False,
    ),
    "B instancenorm bn": Pattern(
        f"(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4] a, float[4] c, {BN}> {{ i = "
        "InstanceNormalization(x, a, c) y = BatchNormalization(i, g, be, m, var) }",
        1,
    ),
    "B layernorm transpose bn": Pattern(
        f"(float[N,5,4] x) => (float[N,4,5] y) <float[4] a, float[4] c, {BN}> {{ l = LayerNormalization(x, a, c) t = "
        "Transpose<perm=[0,2,1]>(l) y = BatchNormalization(t, g, be, m, var) }",
        2,
    ),
    "B batchnorm in training mode then affine": Pattern(
        f"(float[N,4,6,6] x) => (float[N,4,6,6] y) <{BN}, float[4,1,1] k, float[4,1,1] t> {{ d, e, f = "
        "BatchNormalization<training_mode=1>(x, g, be, m, var) h = Mul(d, k) y = Add(h, t) }",
        1,
        has_reference=False,
    ),
    "B scatter into conv result": Pattern(
        "(float[3,4] x, float[2,4] z) => (float[3,4] y) <float[4,4] w, int64[2,4] i={0,0,0,0,1,1,1,1}, float s> "
        "{ c = MatMul(x, w) d = MatMul(z, w) e = ScatterElements<axis=0>(c, i, d) y = Mul(e, s) }",
        3,
    ),
    "B scatternd by channel": Pattern(
        "(float[3,4] x, float[2,4] z) => (float[3,4] y) <float[4,4] w, int64[2,1] i={0,2}, float[4] k> { c = "
        "MatMul(x, w) d = MatMul(z, w) e = ScatterND(c, i, d) y = Mul(e, k) }",
        3,
    ),
    "B compress": Pattern(
        "(float[3,4] x) => (float[2,4] y) <float[4,4] w, bool[3] i={1,0,1}, float[4] k> { c = MatMul(x, w) d = "
        "Compress<axis=0>(c, i) y = Mul(d, k) }",
        2,
    ),
    "B maxunpool scale": Pattern(
        "(float[N,3,4,4] x, int64[N,4,2,2] i) => (float[N,4,4,4] y) <float[4,3,3,3] w, float k> { c = Conv(x, w) "
        "d = MaxUnpool<kernel_shape=[2,2],strides=[2,2]>(c, i) y = Mul(d, k) }",
        2,
        has_reference=False,
    ),
    "B dynamic quantized matmul then scale": Pattern(
        "(float[5,3] x) => (float[5,4] y) <uint8[3,4] w, float[4] ws, float[4] k> { q, s, z = "
        "DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z) f = Cast<to=1>(i) sc = Mul(s, ws) d = Mul(f, sc) y = "
        "Mul(d, k) }",
        5,
        has_reference=False,
    ),
    "B dequantized activation then scale": Pattern(
        "(uint8[N,4] x) => (float[N,4] y) <float s={0.5}, uint8 z={128}, float k={0.25}> { d = "
        "DequantizeLinear(x, s, z) y = Mul(d, k) }",
        1,
        has_reference=False,
    ),
    "B tree then inverse target scaling": Pattern(
        "(float[N,2] x) => (float[N,1] y) <float k={3}, float t={2}> { c = ai.onnx.ml.TreeEnsembleRegressor<"
        "n_targets=1, nodes_treeids=[0,0,0], nodes_nodeids=[0,1,2], nodes_featureids=[1,0,0], nodes_values=[0.2,0.0,"
        'nodes_hitrates=[1.0,1.0,1.0], nodes_modes=["BRANCH_LEQ","LEAF","LEAF"], nodes_truenodeids=[1,0,0], '
        "nodes_falsenodeids=[2,0,0], nodes_missing_value_tracks_true=[0,0,0], target_treeids=[0,0], "
        "target_nodeids=[1,2], target_ids=[0,0], target_weights=[1.5,-0.5]>(x) d = Mul(c, k) y = Add(d, t) }".replace(
            "[0.2,0.0,", "[0.2,0.0,0.0], "
        ),
        1,
        domains='"ai.onnx.ml": 3',
        has_reference=False,
    ),
    # -- forward -------------------------------------------------------------------------------------------------
    "F bn 5d into conv3d": Pattern(
        f"(float[N,4,3,4,4] x) => (float[N,5,1,2,2] y) <{BN}, float[5,4,3,3,3] v> {{ d = BatchNormalization(x, g, be, "
        "m, var) y = Conv(d, v) }",
        1,
    ),
    "F bn 3d into depthwise then pointwise": Pattern(
        f"(float[N,4,8] x) => (float[N,5,6] y) <{BN}, float[4,1,3] v, float[5,4,1] u> {{ d = BatchNormalization(x, g, "
        "be, m, var) c = Conv<group=4>(d, v) y = Conv(c, u) }",
        2,
    ),
    "F bn into grouped conv, strides and dilations": Pattern(
        f"(float[N,4,9,9] x) => (float[N,6,3,3] y) <{BN}, float[6,2,3,3] v, float[6] b> {{ d = "
        f"BatchNormalization(x, g, "
        "be, m, var) y = Conv<group=2,strides=[2,2],dilations=[2,2]>(d, v, b) }",
        1,
    ),
    "F convtranspose groups scale": Pattern(
        "(float[N,4,4,4] x) => (float[N,6,8,8] y) <float[4,3,2,2] w, float[4,1,1] k> { d = Mul(x, k) y = "
        "ConvTranspose<group=2,strides=[2,2]>(d, w) }",
        1,
    ),
    "F convtranspose output_padding scale": Pattern(
        "(float[N,4,4] x) => (float[N,3,8] y) <float[4,3,3] w, float[4,1] k> { d = Mul(x, k) y = "
        "ConvTranspose<strides=[2],pads=[1,1],output_padding=[1]>(d, w) }",
        1,
    ),
    "F gemm transA transB alpha beta": Pattern(
        "(float[4,N] x) => (float[N,3] y) <float[3,4] w, float[3] b, float[4,1] k, float[4,1] t> { d = Mul(x, k) e = "
        "Add(d, t) y = Gemm<transA=1,transB=1,alpha=0.5,beta=3.0>(e, w, b) }",
        1,
    ),
    "F gemm with variable C takes a scale": Pattern(
        "(float[N,4] x, float[N,3] z) => (float[N,3] y) <float[4,3] w, float[4] k> { d = Mul(x, k) y = Gemm(d, w, z) }",
        1,
    ),
    "F gemm with variable C and a shift": Pattern(
        "(float[N,4] x, float[N,3] z) => (float[N,3] y) <float[4,3] w, float[4,3] v, float[4] k, float[4] t> { d = "
        "Mul(x, k) e = Add(d, t) a = Relu(z) b = Sigmoid(a) c = MatMul(e, w) y = Add(c, b) }",
        5,
    ),
    "F gemm of two scaled variables": Pattern(
        "(float[N,4] x, float[4,3] z) => (float[N,3] y) <float k={2}, float q={0.5}> { d = Mul(x, k) e = Mul(z, q) y = "
        "Gemm<alpha=3.0>(d, e) }",
        1,
    ),
    "F gemm C shift then next": Pattern(
        "(float[N,4] x, float[N,3] z) => (float[N,2] y) <float[4,3] w, float[3] t, float[3,2] v> { d = Add(z, t) c = "
        "Gemm<beta=2.0>(x, w, d) y = Gemm(c, v) }",
        2,
    ),
    "F matmul left constant from rows": Pattern(
        "(float[N,4,5] x) => (float[N,3,5] y) <float[3,4] w, float[4,1] k, float[4,1] t> { d = Mul(x, k) e = Add(d, t) "
        "y = MatMul(w, e) }",
        2,
    ),
    "F vector into matmul": Pattern(
        "(float[4] x) => (float[3] y) <float[4,3] w, float[4] k, float[4] t> { d = Mul(x, k) e = Add(d, t) y = "
        "MatMul(e, w) }",
        2,
    ),
    "F batched constant matmul": Pattern(
        "(float[N,2,5,4] x) => (float[N,2,5,3] y) <float[2,4,3] w, float[4] k> { d = Mul(x, k) y = MatMul(d, w) }",
        1,
    ),
    "F lstm of given states": Pattern(
        "(float[5,N,4] x, float[1,N,3] h0, float[1,N,3] c0) => (float[1,N,3] h) <float[1,12,4] w, float[1,12,3] r, "
        "float[4] k, float[4] t> { d = Mul(x, k) e = Add(d, t) o, h, c = LSTM<hidden_size=3>(e, w, r, , , h0, c0) }",
        1,
        has_reference=False,
    ),
    "F gru reverse with bias": Pattern(
        "(float[5,N,4] x) => (float[5,1,N,3] y) <float[1,9,4] w, float[1,9,3] r, float[1,18] b, float[4] k, "
        "float[4] t> "
        '{ d = Div(x, k) e = Sub(d, t) y, h = GRU<hidden_size=3,direction="reverse",linear_before_reset=1>(e, w, r, '
        "b) }",
        1,
        has_reference=False,
    ),
    "F bidirectional lstm, norm, dense": Pattern(
        f"(float[5,N,4] x) => (float[N,3] y) <float[2,8,4] w, float[2,8,2] r, {BN}, float[4,3] v, int64[1] i={{0}}, "
        'int64[2] s={-1,4}> { o, h, c = LSTM<hidden_size=2,direction="bidirectional">(x, w, r) t = '
        "Transpose<perm=[1,0,2]>(h) f = Reshape(t, s) d = BatchNormalization(f, g, be, m, var) y = Gemm(d, v) }",
        4,
        has_reference=False,
    ),
    "F bn gap flatten gemm relu": Pattern(
        f"(float[N,4,6,6] x) => (float[N,3] y) <{BN}, float[4,3] v> {{ d = BatchNormalization(x, g, be, m, var) p = "
        "GlobalAveragePool(d) f = Flatten(p) h = Gemm(f, v) y = Relu(h) }",
        4,
    ),
    "F bn relu gap flatten bn gemm": Pattern(
        f"(float[N,4,6,6] x) => (float[N,3] y) <{BN2}, float[4,3] v> {{ d = BatchNormalization(x, g, be, m, var) r = "
        "Relu(d) p = GlobalAveragePool(r) f = Flatten(p) n = BatchNormalization(f, g2, be2, m2, var2) y = Gemm(n, v) }",
        5,
    ),
    "F mean over space without keepdims": Pattern(
        f"(float[N,4,6,6] x) => (float[N,3] y) <{BN}, float[4,3] v> {{ d = BatchNormalization(x, g, be, m, var) p = "
        "ReduceMean<axes=[-2,-1],keepdims=0>(d) y = MatMul(p, v) }",
        2,
    ),
    "F bn into two branches of different kinds": Pattern(
        f"(float[N,4,6,6] x) => (float[N,5,6,6] y, float[N,3] q) <{BN}, float[5,4,1,1] w, float[4,3] v> {{ d = "
        "BatchNormalization(x, g, be, m, var) y = Conv(d, w) p = GlobalAveragePool(d) f = Flatten(p) q = Gemm(f, v) }",
        4,
    ),
    "F norms of both inputs of a concat": Pattern(
        f"(float[N,4,6,6] x, float[N,4,6,6] z) => (float[N,5,6,6] y) <{BN2}, float[5,8,1,1] w> {{ d = "
        "BatchNormalization(x, g, be, m, var) e = BatchNormalization(z, g2, be2, m2, var2) c = Concat<axis=1>(d, "
        "e) y = "
        "Conv(c, w) }",
        2,
    ),
    "F subtract then square": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float k={2}, float[4,3] w> { d = Mul(x, k) e = Mul(d, d) y = MatMul(e, w) }",
        2,
    ),
    "F scale, reciprocal, linear": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float[4] k, float[4,3] w> { d = Mul(x, k) e = Reciprocal(d) y = "
        "MatMul(e, w) }",
        2,
    ),
    "F constant over scaled x": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k, float[4] q> { d = Mul(x, k) y = Div(q, d) }",
        1,
    ),
    "F constant to the power stays": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k, float q={2}> { d = Mul(x, k) y = Pow(q, d) }",
        2,
    ),
    "F exponential of shifted then linear": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float[4] post, float[4,3] w> { d = Add(x, post) e = Exp(d) y = "
        "MatMul(e, w) }",
        2,
    ),
    "F log of scaled then standardized then conv": Pattern(
        f"(float[N,4,6] x) => (float[N,5,6] y) <float[1] posk, {BN}, float[5,4,1] w> {{ d = Mul(x, posk) a = "
        f"Abs(d) l = "
        "Log(a) n = BatchNormalization(l, g, be, m, var) y = Conv(n, w) }",
        3,
    ),
    "F negated tanh then linear": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float[4,3] w> { d = Neg(x) e = Tanh(d) y = MatMul(e, w) }",
        2,
    ),
    "F negated cosine": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k={1,-1,-1,1}> { d = Mul(x, k) y = Cos(d) }",
        1,
    ),
    "F lrn scaled input": Pattern(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float k={2}, float[5,4,1,1] w> { d = Mul(x, k) e = "
        "LRN<size=3>(d) y = "
        "Conv(e, w) }",
        2,
    ),
    "F celu of scaled": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float k={2}, float[4,3] w> { d = Mul(x, k) e = Celu<alpha=1.5>(d) y = "
        "Gemm(e, w) }",
        2,
    ),
    "F scale through scatter with zeros": Pattern(
        "(float[2,4] x) => (float[3,5] y) <float[3,4] zero = {0,0,0,0,0,0,0,0,0,0,0,0}, int64[2,1] i={2,0}, "
        "float[4] k, "
        "float[4,5] w> { d = Mul(x, k) e = ScatterND(zero, i, d) y = MatMul(e, w) }",
        2,
    ),
    "F scatter add": Pattern(
        "(float[3,4] x, float[3,4] z) => (float[3,5] y) <int64[3,1] i={2,0,2}, float[4] k, float[4,5] w> { d = "
        "Mul(x, k) "
        'f = Mul(z, k) e = ScatterND<reduction="add">(d, i, f) y = MatMul(e, w) }',
        2,
        has_reference=False,
    ),
    "F shift before batchnorm in training mode": Pattern(
        f"(float[N,4,6,6] x) => (float[N,4,6,6] y) <{BN}, float[4,1,1] t> {{ d = Add(x, t) y, e, f = "
        "BatchNormalization<training_mode=1>(d, g, be, m, var) }",
        1,
        has_reference=False,
    ),
    "F shift and uniform scale before groupnorm": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4] g, float[4] b, float k={2}, float t={3}> { a = Mul(x, k) c = "
        "Add(a, t) y = GroupNormalization<num_groups=2>(c, g, b) }",
        1,
        opset=21,
        has_reference=False,
    ),
    "F softmax along another axis": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[1,6] t> { c = Add(x, t) y = Softmax<axis=1>(c) }",
        1,
    ),
    "F logsoftmax shift": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float t> { c = Add(x, t) y = LogSoftmax(c) }",
        1,
    ),
    "F query bias stays, key bias dies, scale goes": Pattern(
        "(float[N,5,4] x) => (float[N,5,5] y) <float[4,4] wq, float[4] bq, float[4,4] wk, float[4] bk, float "
        "s={0.5}> { "
        "q = MatMul(x, wq) qb = Add(q, bq) k = MatMul(x, wk) kb = Add(k, bk) kt = Transpose<perm=[0,2,1]>(kb) a = "
        "MatMul(qb, kt) sc = Mul(a, s) y = Softmax(sc) }",
        6,
    ),
    "F argmin of normalized distances": Pattern(
        "(float[N,4] x) => (int64[N,1] y) <float[4,3] w, float k={4}, float t={1}> { c = MatMul(x, w) d = Add(c, "
        "t) e = "
        "Div(d, k) y = ArgMin<axis=-1>(e) }",
        2,
    ),
    # -- inputs --------------------------------------------------------------------------------------------------
    "I nhwc uint8 standardized before the transpose": Pattern(
        "(uint8[N,8,8,3] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[3] mean, float[3] std> { f = "
        "Cast<to=1>(x) a = Sub(f, mean) d = Div(a, std) t = Transpose<perm=[0,3,1,2]>(d) y = Conv(t, w, b) }",
        3,
    ),
    "I nhwc bgr reversed, standardized": Pattern(
        "(uint8[N,8,8,3] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[3] mean, float[3] std, int64[1] "
        "s={-1}, int64[1] e={-99}, int64[1] ax={3}, int64[1] st={-1}> { r = Slice(x, s, e, ax, st) f = Cast<to=1>(r) a "
        "= Sub(f, mean) d = Div(a, std) t = Transpose<perm=[0,3,1,2]>(d) y = Conv(t, w, b) }",
        3,
    ),
    "I letterbox 114 then 255": Pattern(
        "(float[N,3,6,8] x) => (float[N,4,8,8] y) <float[4,3,3,3] w, float[4] b, int64[8] p={0,0,1,0,0,0,1,0}, float v="
        "{114}, float d={255}> { q = Pad(x, p, v) a = Div(q, d) y = Conv<pads=[1,1,1,1]>(a, w, b) }",
        2,
    ),
    "I 255, letterbox, mean and std, valid conv": Pattern(
        "(float[N,3,6,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[8] p={0,0,1,0,0,0,1,0}, float v="
        "{0.447}, float d={255}, float[3,1,1] me, float[3,1,1] sd> { a = Div(x, d) q = Pad(a, p, v) s = Sub(q, me) t = "
        "Div(s, sd) y = Conv(t, w, b) }",
        2,
    ),
    "I resize then standardize": Pattern(
        "(float[1,3,4,4] x) => (float[1,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] sc={1,1,2,2}, "
        "float[3,1,1] me, "
        'float[3,1,1] sd> { r = Resize<mode="linear">(x, , sc) s = Sub(r, me) t = Div(s, sd) y = Conv(t, w, b) }',
        2,
    ),
    "I standardize then resize": Pattern(
        "(float[1,3,4,4] x) => (float[1,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4] sc={1,1,2,2}, "
        "float[3,1,1] me, "
        'float[3,1,1] sd> { s = Sub(x, me) t = Div(s, sd) r = Resize<mode="linear">(t, , sc) y = Conv(r, w, b) }',
        2,
    ),
    "I batchnorm of the input, valid conv": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[3] g, float[3] be, float[3] m, float[3] var, "
        "float[4,3,3,3] w> "
        "{ n = BatchNormalization(x, g, be, m, var) y = Conv(n, w) }",
        1,
    ),
    "I batchnorm of the input, padded conv": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,8,8] y) <float[3] g, float[3] be, float[3] m, float[3] var, "
        "float[4,3,3,3] w> "
        "{ n = BatchNormalization(x, g, be, m, var) y = Conv<pads=[1,1,1,1]>(n, w) }",
        2,
    ),
    "I standardized patches": Pattern(
        "(float[1,3,8,8] x) => (float[1,16,5] y) <float[3,1,1] me, float[3,1,1] sd, float[5,3,2,2] w, float[5] b, "
        "int64[3] s={1,5,16}> { a = Sub(x, me) d = Div(a, sd) c = Conv<strides=[2,2]>(d, w, b) r = Reshape(c, s) y = "
        "Transpose<perm=[0,2,1]>(r) }",
        3,
    ),
    "I standardized patches by reshapes": Pattern(
        "(float[N,3,4,4] x) => (float[N,4,5] y) <float[3,1,1] me, float[3,1,1] sd, float[12,5] w, float[5] b, int64[6] "
        "s={-1,3,2,2,2,2}, int64[3] q={-1,4,12}> { a = Sub(x, me) d = Div(a, sd) r = Reshape(d, s) t = "
        "Transpose<perm=[0,2,4,3,5,1]>(r) u = Reshape(t, q) c = MatMul(u, w) y = Add(c, b) }",
        5,
    ),
    "I numbers and classes side by side": Pattern(
        "(float[N,3] x, int64[N] c) => (float[N,2] y) <float[3] me, float[3] sd, float[7,4] table, float[7,2] w, "
        "float[2] b> { a = Sub(x, me) d = Div(a, sd) e = Gather(table, c) f = Concat<axis=1>(d, e) y = Gemm(f, w, b) }",
        3,
    ),
    "I numbers, classes and a norm of all": Pattern(
        "(float[N,2] x, int64[N] c) => (float[N,2] y) <float[7,2] table, float[4] g, float[4] be, float[4] m, float[4] "
        "var, float[4,2] w, float[2] b> { e = Gather(table, c) f = Concat<axis=1>(x, e) d = "
        "BatchNormalization(f, g, be, "
        "m, var) r = Relu(d) y = Gemm(r, w, b) }",
        5,
    ),
    "I normalized and clipped": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float lo={-1}, float hi={1}, float k={0.25}, float t={0.5}, "
        "float[4,3] w> { a "
        "= Mul(x, k) c = Add(a, t) d = Clip(c, lo, hi) y = MatMul(d, w) }",
        3,
    ),
    # -- branches ------------------------------------------------------------------------------------------------
    "R repvgg dilated": Pattern(
        f"(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a, float[4,4,1,1] c, {BN2}> {{ a1 = "
        "Conv<pads=[2,2,2,2],dilations=[2,2]>(x, a) a2 = BatchNormalization(a1, g, be, m, var) c1 = Conv(x, c) i = "
        "BatchNormalization(x, g2, be2, m2, var2) y = Sum(a2, c1, i) }",
        1,
    ),
    "R repvgg grouped": Pattern(
        f"(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,2,3,3] a, float[4,2,1,1] c, {BN}> {{ a1 = "
        "Conv<pads=[1,1,1,1],group=2>(x, a) c1 = Conv<group=2>(x, c) s = Add(a1, c1) i = BatchNormalization(x, g, be, "
        "m, var) y = Add(s, i) }",
        1,
    ),
    "R even kernel beside identity": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,2,2] a> { a1 = Conv<pads=[0,0,1,1]>(x, a) y = "
        "Add(a1, x) }",
        1,
    ),
    "R 4x4 and 2x2": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,4,4] y) <float[4,4,4,4] a, float[4,4,2,2] c> { a1 = "
        "Conv<pads=[1,1,1,1],strides=[2,2]>(x, a) c1 = Conv<strides=[2,2]>(x, c) y = Add(a1, c1) }",
        1,
    ),
    "R 4x4 and 3x3 do not meet": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,4,4] y) <float[4,4,4,4] a, float[4,4,3,3] c> { a1 = "
        "Conv<pads=[1,1,1,1],strides=[2,2]>(x, a) c1 = Conv<pads=[1,1,0,0],strides=[2,2]>(x, c) y = Sub(a1, c1) }",
        1,
    ),
    "R average of counted zeros beside conv": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a> { a1 = Conv<pads=[1,1,1,1]>(x, a) p = "
        "AveragePool<kernel_shape=[3,3],pads=[1,1,1,1],count_include_pad=1>(x) y = Add(p, a1) }",
        1,
    ),
    "R average beside depthwise": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,7,7] y) <float[4,1,2,2] a> { a1 = Conv<group=4>(x, a) p = "
        "AveragePool<kernel_shape=[2,2]>(x) y = Sub(p, a1) }",
        1,
    ),
    "R depthwise in 3d beside identity": Pattern(
        f"(float[N,4,4,4,4] x) => (float[N,4,4,4,4] y) <float[4,1,3,3,3] a, {BN}> {{ a1 = "
        "Conv<group=4,pads=[1,1,1,1,1,1]>(x, a) d = BatchNormalization(a1, g, be, m, var) y = Add(x, d) }",
        1,
    ),
    "R three depthwise of different sizes": Pattern(
        "(float[N,4,9,9] x) => (float[N,4,9,9] y) <float[4,1,3,3] a, float[4,1,1,5] b, float[4,1,5,1] c> { a1 = "
        "Conv<group=4,pads=[1,1,1,1]>(x, a) b1 = Conv<group=4,pads=[0,2,0,2]>(x, b) c1 = Conv<group=4,pads=[2,0,2,0]>"
        "(x, c) s = Add(a1, b1) y = Add(s, c1) }",
        1,
    ),
    "R branch behind relu": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a, float[4,4,1,1] b> { r = Relu(x) a1 = "
        "Conv<pads=[1,1,1,1]>(r, a) b1 = Conv(r, b) s = Add(a1, b1) y = Add(s, r) }",
        2,
    ),
    "R residual of a scaled input": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a, float k={0.5}> { d = Mul(x, k) a1 = "
        "Conv<pads=[1,1,1,1]>(d, a) y = Add(a1, d) }",
        1,
    ),
    "R branches of slices stay": Pattern(
        "(float[N,4,8,8] x) => (float[N,2,8,8] y) <float[2,2,3,3] a, float[2,2,1,1] b, int64[2] s={2,2}> { l, r = "
        "Split<axis=1>(x, s) a1 = Conv<pads=[1,1,1,1]>(l, a) b1 = Conv(l, b) c = Add(a1, b1) y = Mul(c, r) }",
        3,
    ),
    "R linear with lora": Pattern(
        "(float[N,5,4] x) => (float[N,5,4] y) <float[4,4] w, float[4] b, float[4,2] u, float[2,4] v, float "
        "k={0.5}> { m "
        "= MatMul(x, w) n = Add(m, b) a = MatMul(x, u) c = MatMul(a, v) d = Mul(c, k) y = Add(n, d) }",
        5,
    ),
    "R mean of three linears": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float[4,3] u, float[4,3] v, float[4,3] w, float[3] b> { a = MatMul(x, "
        "u) c = "
        "Gemm(x, v, b) d = MatMul(x, w) y = Mean(a, c, d) }",
        1,
    ),
    "R conv with its negative": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a, float[4,4,3,3] b> { n = Neg(x) a1 = "
        "Conv<pads=[1,1,1,1]>(x, a) b1 = Conv<pads=[1,1,1,1]>(n, b) y = Add(a1, b1) }",
        1,
    ),
    # -- old opsets ----------------------------------------------------------------------------------------------
    "L 7 conv, norm, dropout, upsample, norm": Pattern(
        f"(float[N,3,4,4] x) => (float[N,4,8,8] y) <float[4,3,1,1] w, {BN2}> {{ c = Conv(x, w) d = "
        "BatchNormalization<spatial=1,momentum=0.9>(c, g, be, m, var) e = Dropout<ratio=0.5>(d) u = "
        "Upsample<scales=[1.0,1.0,2.0,2.0]>(e) y = BatchNormalization(u, g2, be2, m2, var2) }",
        2,
        opset=7,
        has_reference=False,
    ),
    "L 9 upsample by an input": Pattern(
        f"(float[N,3,4,4] x) => (float[N,4,8,8] y) <float[4,3,1,1] w, float[4] s={{1,1,2,2}}, {BN}> {{ c = "
        f"Conv(x, w) u "
        '= Upsample<mode="linear">(c, s) y = BatchNormalization(u, g, be, m, var) }',
        2,
        opset=9,
        has_reference=False,
    ),
    "L 9 slice, squeeze, clip, norm": Pattern(
        "(float[N,3,1,8] x) => (float[N,2,8] y) <float[4,3,1,1] w, float[2,1] k, float[2,1] t> { c = Conv(x, w) d = "
        "Slice<axes=[1],starts=[0],ends=[2]>(c) e = Squeeze<axes=[2]>(d) f = Mul(e, k) h = Add(f, t) y = "
        "Clip<min=0.0,max=6.0>(h) }",
        4,
        opset=9,
    ),
    "L 10 pad of value, then scaled conv": Pattern(
        "(float[N,3,6] x) => (float[N,4,6] y) <float[4,3,3] w, float k={2}, float t={1}> { a = Mul(x, k) b = Add(a, t) "
        "p = Pad<pads=[0,0,1,0,0,1],value=1.0>(b) y = Conv(p, w) }",
        2,
        opset=10,
    ),
    "L 11 reduce, unsqueeze, norm": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,1,1] y) <float[4,3,3,3] w, {BN}> {{ c = Conv(x, w) r = "
        "ReduceSum<axes=[2,3],keepdims=0>(c) u = Unsqueeze<axes=[2,3]>(r) y = BatchNormalization(u, g, be, m, var) }",
        3,
        opset=11,
    ),
    "L 11 clip of inputs scaled": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float lo={0}, float hi={6}, "
        "float s={6}> "
        "{ c = Conv(x, w, b) d = Clip(c, lo, hi) y = Div(d, s) }",
        2,
        opset=11,
    ),
    "L 12 split by attribute": Pattern(
        "(float[N,3,8,8] x) => (float[N,3,6,6] y, float[N,1,6,6] z) <float[4,3,3,3] w, float[4] b, float[3,1,1] "
        "k> { c = "
        "Conv(x, w, b) d, z = Split<axis=1,split=[3,1]>(c) y = Mul(d, k) }",
        2,
        opset=12,
    ),
    "L 12 softmax over all behind": Pattern(
        "(float[N,4,3] x) => (float[N,4,3] y) <float t={2}> { a = Add(x, t) y = Softmax<axis=1>(a) }",
        1,
        opset=12,
    ),
    "L 8 hand-written norm with unsqueezed parameters": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] m, float[4] var, float[4] g, float[4] b, "
        "float e={0.001}> { c = Conv(x, w) mu = Unsqueeze<axes=[1,2]>(m) ve = Add(var, e) sd = Sqrt(ve) su = "
        "Unsqueeze<axes=[1,2]>(sd) gu = Unsqueeze<axes=[1,2]>(g) bu = Unsqueeze<axes=[1,2]>(b) d = Sub(c, mu) f = "
        "Div(d, su) h = Mul(f, gu) y = Add(h, bu) }",
        1,
        opset=8,
    ),
    "L 9 gemm with a bias of one row": Pattern(
        f"(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[1,4] b, {BN}> {{ c = Gemm(x, w, b) y = "
        "BatchNormalization(c, g, be, m, var) }",
        1,
        opset=9,
    ),
    "L 8 sum of two convs and a norm": Pattern(
        f"(float[N,3,8,8] x, float[N,3,8,8] z) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4,3,3,3] v, {BN}> {{ c = "
        "Conv(x, w) d = Conv(z, v) e = Sum(c, d) y = BatchNormalization(e, g, be, m, var) }",
        3,
        opset=8,
    ),
    "L 7 caffe norm and scale": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] pos = {1,1,1,1}, float[4] "
        "zero={0,0,0,0}, "
        "float[4] m, float[4] var, float[1,4,1,1] k, float[1,4,1,1] t> { c = Conv(x, w) n = "
        "BatchNormalization<epsilon=0.001>(c, pos, zero, m, var) s = Mul(n, k) a = Add(s, t) y = Relu(a) }",
        2,
        opset=7,
    ),
    "L 7 mxnet: flatten, dense, norm of fixed gamma": Pattern(
        "(float[N,2,2,2] x) => (float[N,4] y) <float[4,8] w, float[4] b, float[4] pos={1,1,1,1}, float[4] be, "
        "float[4] m, "
        "float[4] var, int64[2] s={0,-1}> { f = Reshape(x, s) c = Gemm<transB=1>(f, w, b) y = "
        "BatchNormalization(c, pos, "
        "be, m, var) }",
        2,
        opset=7,
    ),
    # -- spellings of other front ends ---------------------------------------------------------------------------
    "K paddle: bias by reshape, norm, hard swish": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[4] s={{1,-1,1,1}}, {BN}> "
        f"{{ c = "
        "Conv(x, w) r = Reshape(b, s) d = Add(c, r) e = BatchNormalization(d, g, be, m, var) y = HardSwish(e) }",
        2,
    ),
    "K paddle: hard sigmoid of a scaled conv": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float s={0.2}, float t={0.5}, float "
        "lo={0}, float hi={1}> { c = Conv(x, w, b) d = Mul(c, s) e = Add(d, t) y = Clip(e, lo, hi) }",
        2,
    ),
    "K tensorflow: depthwise, bias and relu6 channels last": Pattern(
        "(float[N,8,8,4] x) => (float[N,6,6,4] y) <float[4,1,3,3] w, float[4] k, float[4] b, float lo={0}, float "
        "hi={6}> "
        "{ t = Transpose<perm=[0,3,1,2]>(x) c = Conv<group=4>(t, w) u = Transpose<perm=[0,2,3,1]>(c) m = Mul(u, k) a = "
        "Add(m, b) y = Clip(a, lo, hi) }",
        4,
    ),
    "K tensorflow: norm as scale and offset of rsqrt": Pattern(
        "(float[N,6] x) => (float[N,4] y) <float[6,4] w, float[4] var, float e={0.001}, float h={-0.5}, float[4] "
        "g, float[4] "
        "m, float[4] b> { c = MatMul(x, w) v = Add(var, e) r = Pow(v, h) k = Mul(r, g) d = Mul(c, k) n = Neg(m) q = "
        "Mul(n, k) o = Add(q, b) y = Add(d, o) }",
        1,
    ),
    "K keras: rescaling and normalization before a valid conv": Pattern(
        "(float[N,8,8,3] x) => (float[N,4,6,6] y) <float s={0.00392}, float o={-1}, float[1,1,1,3] m, "
        "float[1,1,1,3] sd, "
        "float[4,3,3,3] w, float[4] b> { a = Mul(x, s) c = Add(a, o) d = Sub(c, m) e = Div(d, sd) t = "
        "Transpose<perm=[0,3,1,2]>(e) y = Conv(t, w, b) }",
        2,
    ),
    "K keras: separable conv and norm": Pattern(
        f"(float[N,8,8,3] x) => (float[N,6,6,4] y) <float[3,1,3,3] d, float[4,3,1,1] w, {BN}> {{ t = "
        "Transpose<perm=[0,3,1,2]>(x) a = Conv<group=3>(t, d) c = Conv(a, w) n = BatchNormalization(c, g, be, m, "
        "var) y "
        "= Transpose<perm=[0,2,3,1]>(n) }",
        4,
    ),
    "K keras: embedding, mean, norm, dense": Pattern(
        f"(int64[N,5] x) => (float[N,2] y) <float[10,4] e, {BN}, float[4,2] w, float[2] b> {{ a = Gather(e, x) p = "
        "ReduceMean<axes=[1],keepdims=0>(a) n = BatchNormalization(p, g, be, m, var) y = Gemm(n, w, b) }",
        3,
    ),
    "K coreml: bias and scale of rank three": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4,1,1] t, float[4,1,1] k, float[1] s> { c = "
        "Conv(x, w) d = Add(c, t) e = Mul(k, d) y = Mul(e, s) }",
        1,
    ),
    "K space to batch: dilated conv and norm": Pattern(
        f"(float[1,4,4,4] x) => (float[1,4,4,4] y) <float[4,4,1,1] w, {BN}, int64[6] s={{1,4,2,2,2,2}}, int64[4] "
        "q={4,4,2,2}, int64[6] r={2,2,1,4,2,2}, int64[4] o={1,4,4,4}> { a = Reshape(x, s) b = "
        "Transpose<perm=[3,5,0,1,2,4]>(a) d = Reshape(b, q) c = Conv(d, w) e = Reshape(c, r) f = "
        "Transpose<perm=[2,3,4,0,5,1]>(e) h = Reshape(f, o) y = BatchNormalization(h, g, be, m, var) }",
        7,
    ),
    # -- dtypes --------------------------------------------------------------------------------------------------
    "D double zscore gemm": Pattern(
        "(double[N,4] x) => (double[N,3] y) <double[4] m, double[4] s, double[4,3] w, double[3] b> { a = Sub(x, m) d = "
        "Div(a, s) y = Gemm(d, w, b) }",
        1,
    ),
    "D double input, float network": Pattern(
        "(double[N,4] x) => (float[N,3] y) <double[4] m, double[4] s, float[4,3] w, float[3] b> { a = Sub(x, m) d = "
        "Div(a, s) c = Cast<to=1>(d) y = Gemm(c, w, b) }",
        2,
    ),
    "D float16 gemm scale": Pattern(
        "(float16[N,3] x) => (float16[N,2] y) <float16[3,2] w, float16[2] b, float16[2] k> { c = Gemm(x, w, b) y = "
        "Mul(c, k) }",
        1,
        values={"w": [0.5, 1, -1, 0.25, 1, -1], "b": [1, 2], "k": [2, -0.5]},
    ),
    "D int8 input through cast": Pattern(
        "(int8[N,4] x) => (float[N,3] y) <float s={0.0078}, float[4,3] w> { c = Cast<to=1>(x) d = Mul(c, s) y = "
        "MatMul(d, w) }",
        2,
    ),
    "D float32 norm in a float16 network": Pattern(
        "(float16[N,3,4,4] x) => (float16[N,2,4,4] y) <float16[2,3,1,1] w, float[2] g, float[2] be, float[2] m, "
        "float[2] "
        "var> { c = Conv(x, w) d = Cast<to=1>(c) e = BatchNormalization(d, g, be, m, var) y = Cast<to=10>(e) }",
        3,
        values={"w": [0.5, 1, -1, 0.25, 1, -1]},
    ),
    # -- quantized -----------------------------------------------------------------------------------------------
    "Q per-axis weight of a convtranspose and its norm": Pattern(
        f"(float[N,3,4,4] x) => (float[N,4,6,6] y) <int8[3,4,3,3] q, float[4] pos, {BN}> {{ w = "
        "DequantizeLinear<axis=1>(q, pos) c = ConvTranspose(x, w) y = BatchNormalization(c, g, be, m, var) }",
        2,
    ),
    "Q depthwise weight and a norm before it": Pattern(
        "(float[N,4,8,8] x) => (float[N,4,6,6] y) <int8[4,1,3,3] q, float[4] pos, float[4,1,1] k> { d = Mul(x, k) w = "
        "DequantizeLinear<axis=0>(q, pos) y = Conv<group=4>(d, w) }",
        2,
    ),
    "Q quantized embedding scaled": Pattern(
        "(int64[N,5] x) => (float[N,5,4] y) <uint8[10,4] q, float s={0.1}, uint8 z={128}, float k={2}> { t = "
        "DequantizeLinear(q, s, z) e = Gather(t, x) y = Mul(e, k) }",
        2,
    ),
    "Q conv integer, scale, bias": Pattern(
        "(uint8[N,3,8,8] x) => (float[N,4,6,6] y) <int8[4,3,3,3] w, uint8 z={128}, float s={0.1}, float[4,1,1] k, "
        "float[4,1,1] t> { c = ConvInteger(x, w, z) f = Cast<to=1>(c) d = Mul(f, s) e = Mul(d, k) y = Add(e, t) }",
        4,
    ),
    "Q quantized activations, norm behind": Pattern(
        f"(float[N,4,8,8] x) => (float[N,4,8,8] y) <float s={{0.1}}, uint8 z={{128}}, float[4,4,1,1] w, {BN}> {{ q = "
        "QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) c = Conv(d, w) y = BatchNormalization(c, g, be, "
        "m, var) }",
        3,
    ),
    # -- classic machine learning --------------------------------------------------------------------------------
    "C two scalers side by side, classifier": Pattern(
        "(float[N,2] x, float[N,1] z) => (float[N,3] y) <float[3,3] w, float[3] b> { s = "
        "ai.onnx.ml.Scaler<offset=[1.0,2.0],scale=[0.5,0.25]>(x) t = "
        "ai.onnx.ml.Scaler<offset=[3.0],scale=[0.1]>(z) c = "
        "Concat<axis=1>(s, t) y = Gemm(c, w, b) }",
        2,
        domains='"ai.onnx.ml": 3',
        has_reference=False,
    ),
    "C scaler then principal components then regressor": Pattern(
        "(float[N,3] x) => (float[N,1] y) <float[3] m, float[3,2] w> { s = "
        "ai.onnx.ml.Scaler<offset=[1.0,2.0,3.0],scale=[0.5,0.25,2.0]>(x) d = Sub(s, m) p = MatMul(d, w) y = "
        "ai.onnx.ml.LinearRegressor<coefficients=[1.0,-2.0],intercepts=[0.5],targets=1>(p) }",
        2,
        domains='"ai.onnx.ml": 3',
        has_reference=False,
    ),
    "C min-max to a range then linear vector machine": Pattern(
        "(float[N,2] x) => (float[N,1] y) { s = ai.onnx.ml.Scaler<offset=[1.0,2.0],scale=[0.5,0.25]>(x) y = "
        "ai.onnx.ml.SVMRegressor<coefficients=[1.0,-1.0],support_vectors=[1.0,2.0,0.5,0.25],rho=[0.5],n_supports=2,"
        'kernel_type="LINEAR",kernel_params=[0.0,0.0,0.0]>(s) }',
        1,
        domains='"ai.onnx.ml": 3',
        has_reference=False,
    ),
    # -- what stays ----------------------------------------------------------------------------------------------
    "M add, relu, add, mul at input and output": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] a, float[4] b, float[4] k, float[4] c> { d = Add(x, a) e = "
        "Add(d, b) "
        "r = Relu(e) f = Add(r, k) y = Sub(f, c) }",
        3,
    ),
    "M chain with casts between": Pattern(
        "(float16[N,4] x) => (float[N,4] y) <float16[4] a, float[4] k, float[4] c> { d = Add(x, a) e = "
        "Cast<to=1>(d) f = "
        "Mul(e, k) y = Add(f, c) }",
        3,
        values={"a": [1, 2, 3, 4]},
    ),
    "M div by constant then by constant": Pattern(
        "(float[N,4,6] x) => (float[N,4,6] y) <float[4,1] k, float[6] q> { d = Div(x, k) y = Div(d, q) }",
        1,
    ),
    "M five-dimensional mul add": Pattern(
        "(float[N,4,2,2,2] x) => (float[N,4,2,2,2] y) <float[4,1,1,1] k, float[4,1,1,1] t> { d = Mul(x, k) y = "
        "Add(d, t) }",
        1,
    ),
    "M mul of one value by two constants and their sum": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k, float[4] q, float[4] t> { d = Mul(x, k) e = Mul(x, q) f = "
        "Add(d, "
        "e) y = Add(f, t) }",
        2,
    ),
    "M reciprocal of a scaled reciprocal": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k> { d = Reciprocal(x) e = Mul(d, k) f = Sigmoid(e) y = Neg(f) }",
        4,
    ),
    # -- positions -----------------------------------------------------------------------------------------------
    "P residual around a norm of the sum, three deep": Pattern(
        f"(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,3,3] a, float[4,4,3,3] b, {BN2}> {{ c = "
        "Conv<pads=[1,1,1,1]>(x, a) d = Add(c, x) e = BatchNormalization(d, g, be, m, var) f = Conv<pads=[1,1,1,1]>(e, "
        "b) h = BatchNormalization(f, g2, be2, m2, var2) y = Add(h, e) }",
        3,
    ),
    "P norm of an output that others read": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,6,6] y, float[N,5,6,6] z) <float[4,3,3,3] w, {BN}, float[5,4,1,1] v> {{ c = "
        "Conv(x, w) y = BatchNormalization(c, g, be, m, var) z = Conv(y, v) }",
        2,
    ),
    "P raw output before the norm": Pattern(
        f"(float[N,3,8,8] x) => (float[N,4,6,6] c, float[N,5,6,6] z) <float[4,3,3,3] w, {BN}, float[5,4,1,1] v> {{ c = "
        "Conv(x, w) y = BatchNormalization(c, g, be, m, var) z = Conv(y, v) }",
        2,
    ),
    "P dense block": Pattern(
        f"(float[N,3,8,8] x) => (float[N,2,8,8] y) <float[2,3,1,1] a, float[2,2,3,3] b, float[2,4,1,1] v, {BN}> {{ p = "
        "Conv(x, a) q = Conv<pads=[1,1,1,1]>(p, b) c = Concat<axis=1>(p, q) n = BatchNormalization(c, g, be, m, var) y "
        "= Conv(n, v) }",
        4,
    ),
    "P squeeze and excitation over a norm": Pattern(
        f"(float[N,4,8,8] x) => (float[N,4,1,1] y) <float[4,4,3,3] w, {BN2}, float[4,4,1,1] v> {{ c = Conv(x, w) d = "
        "BatchNormalization(c, g, be, m, var) p = GlobalAveragePool(d) e = Conv(p, v) h = BatchNormalization(e, g2, "
        "be2, m2, var2) y = Sigmoid(h) }",
        4,
    ),
    "P norm across a pixel shuffle and a crop": Pattern(
        f"(float[N,3,4,4] x) => (float[N,4,6,6] y) <float[16,3,1,1] w, float[16] b, {BN}, int64[2] s={{1,1}}, int64[2] "
        "e={-1,-1}, int64[2] ax={2,3}> { c = Conv(x, w, b) d = DepthToSpace<blocksize=2>(c) f = Slice(d, s, e, ax) y = "
        "BatchNormalization(f, g, be, m, var) }",
        3,
    ),
    "P norm behind a flip": Pattern(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, {BN}, int64[1] s={{-1}}, int64[1] e={{-99}}, "
        "int64[1] ax={3}> { c = Conv(x, w) f = Slice(c, s, e, ax, s) y = BatchNormalization(f, g, be, m, var) }",
        2,
    ),
    "P scale of both addends at a gate": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4,4] w, float[4,4] v, float k={2}> { a = "
        "MatMul(x, w) b = "
        "MatMul(z, v) s = Sigmoid(a) t = Mul(b, s) o = Add(t, b) y = Mul(o, k) }",
        5,
    ),
    "P loop invariant affine of a constant": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4,3,1,1] k, float[4] b, float[4] t> { v = "
        "Mul(w, k) c = Add(b, t) y = Conv(x, v, c) }",
        1,
    ),
    "P weight normalization": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] v, float[4,1,1,1] posg, float[4] b> { n = "
        "ReduceL2<axes=[1,2,3]>(v) d = Div(v, n) w = Mul(d, posg) y = Conv(x, w, b) }",
        1,
    ),
    "P softmax of a constant in the weight": Pattern(
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] v, float[2] a, float[4,3,3,3] u, int64 z={0}, int64 "
        "o={1}, float[4,1,1] k> { s = Softmax(a) p = Gather(s, z) q = Gather(s, o) d = Mul(v, p) e = Mul(u, q) w = "
        "Add(d, e) c = Conv(x, w) y = Mul(c, k) }",
        1,
    ),
    "P relative position bias": Pattern(
        "(float[N,2,3,4] q, float[N,2,4,3] k) => (float[N,2,3,3] y) <float[25,2] table, int64[3,3] i, float "
        "s={0.5}> { g "
        "= Gather(table, i) t = Transpose<perm=[2,0,1]>(g) a = MatMul(q, k) b = Mul(a, s) y = Add(b, t) }",
        3,
    ),
    # -- subgraphs -----------------------------------------------------------------------------------------------
    "G both bodies begin with a conv of a normed value": Pattern(
        f"(float[N,3,8,8] x, bool q) => (float[N,4,6,6] y) <float[4,3,3,3] w, {BN}, float[4,4,1,1] v> {{ c = "
        f"Conv(x, w) "
        "d = BatchNormalization(c, g, be, m, var) y = If(q) <then_branch = tb () => (float[N,4,6,6] t1) { t1 = Conv(d, "
        "v) }, else_branch = eb () => (float[N,4,6,6] e1) { e1 = Relu(d) }> }",
        4,
    ),
    "G scan body": Pattern(
        "(float[3] h0, float[T,4] x) => (float[3] h, float[T,3] y) <float[4,3] w, float[3] k, float[3] t> { h, y = "
        "Scan<num_scan_inputs=1, body = b (float[3] s, float[4] e) => (float[3] n, float[3] o) { a = MatMul(e, w) c = "
        "Mul(a, k) d = Add(c, t) f = Add(d, s) n = Tanh(f) o = Identity(n) }>(h0, x) }",
        6,
    ),
    "P softmax over two of a split attention": Pattern(
        "(float[N,3,1,1] x) => (float[N,8,1,1] y) <float[8,3,1,1] w, float[8,1,1] k, int64[4] a={-1,1,2,4}, int64[4] "
        "b={-1,8,1,1}> { c = Conv(x, w) d = Mul(c, k) r = Reshape(d, a) t = Transpose<perm=[0,2,1,3]>(r) s = "
        "Softmax<axis=1>(t) y = Reshape(s, b) }",
        4,
    ),
    # -- spelled out ---------------------------------------------------------------------------------------------
    "T twins but for a sign": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float[4] k> { a = Neg(x) b = Erf(a) c = Erf(x) d = Neg(b) e = Mul(d, k) y = "
        "Add(c, e) }",
        2,
    ),
    "F scale before a spelled out l2 norm": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float k={3}> { d = Mul(x, k) n = ReduceL2<axes=[1],keepdims=1>(d) y = "
        "Div(d, n) }",
        2,
    ),
    "F scale before a guarded l2 norm": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float k={3}, float e={0.000001}, int64[2] s={1,4}> { d = Mul(x, k) n = "
        "ReduceL2<axes=[1],keepdims=1>(d) c = Clip(n, e) q = Expand(c, s) y = Div(d, q) }",
        4,
    ),
    "F shift before a spelled out softmax": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float t={3}> { d = Add(x, t) m = ReduceMax<axes=[1],keepdims=1>(d) c "
        "= Sub(d, "
        "m) e = Exp(c) s = ReduceSum(e, a) y = Div(e, s) }".replace("t={3}>", "t={3}, int64[1] a={1}>"),
        5,
    ),
    "F affine before a spelled out standardization": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float t={3}> { d = Add(x, t) m = ReduceMean<axes=[1],keepdims=1>(d) c "
        "= Sub(d, "
        "m) q = Mul(c, c) v = ReduceMean<axes=[1],keepdims=1>(q) s = Sqrt(v) y = Div(c, s) }",
        6,
    ),
    "F distance of two scaled": Pattern(
        "(float[N,4] x, float[N,4] z) => (float[N,1] y) <float k={3}, float t={1}> { a = Mul(x, k) b = Add(a, t) c = "
        "Mul(z, k) d = Add(c, t) e = Sub(b, d) y = ReduceL2<axes=[1]>(e) }",
        3,
    ),
    "F radial basis of standardized": Pattern(
        "(float[N,5,1] x) => (float[N,5,3] y) <float k={2}, float t={1}, float[3] centers> { a = Mul(x, k) b = "
        "Add(a, t) "
        "c = Sub(b, centers) q = Mul(c, c) n = Neg(q) y = Exp(n) }",
        5,
    ),
    "F gate of one minus": Pattern(
        "(float[N,4] x) => (float[N,3] y) <float one={1}, float[4,3] w, float[3] b> { s = Sigmoid(x) d = "
        "Sub(one, s) y = "
        "Gemm(d, w, b) }",
        2,
    ),
    "F hardmax of scaled": Pattern(
        "(float[N,4] x) => (float[N,4] y) <float k={3}, float t={1}> { a = Mul(x, k) b = Add(a, t) y = Hardmax(b) }",
        1,
    ),
    "B attention scale of the value": Pattern(
        "(float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] x) => (float[1,2,3,4] y) <float[4,4] w, float[4] b, "
        "float[4] "
        "s, float[4] t> { p = MatMul(x, w) v = Add(p, b) a = Attention(q, k, v) c = Mul(a, s) y = Add(c, t) }",
        3,
        opset=23,
        has_reference=False,
    ),
    "F attention scales of query and key": Pattern(
        "(float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v) => (float[1,2,3,4] y) <float s={0.5}, float "
        "t={3}> { a = "
        "Mul(q, s) b = Mul(k, t) y = Attention(a, b, v) }",
        1,
        opset=23,
        has_reference=False,
    ),
    "F attention value standardized, projected": Pattern(
        "(float[1,3,8] q, float[1,3,8] k, float[1,3,8] v) => (float[1,3,5] y) <float[8] s, float[8] t, float[8,5] w, "
        "float[5] b> { a = Mul(v, s) c = Add(a, t) o = Attention<q_num_heads=2,kv_num_heads=2>(q, k, c) p = "
        "MatMul(o, w) "
        "y = Add(p, b) }",
        3,
        opset=23,
        has_reference=False,
    ),
    "B rotary embedding scaled": Pattern(
        "(float[1,2,3,4] x, float[1,2,4,3] k) => (float[1,2,3,3] y) <float[4,4] w, float[1,3,2] co, float[1,3,2] si, "
        "float s={0.5}> { q = MatMul(x, w) r = RotaryEmbedding(q, co, si) m = Mul(r, s) y = MatMul(m, k) }",
        3,
        opset=23,
        has_reference=False,
    ),
    "F signal scaled before its spectrum": Pattern(
        "(float[1,16,1] x) => (float[1,3,5,1] y) <float s={0.00003}, int64 st={4}, float[8] win, float[2,1] w> { a = "
        "Mul(x, s) f = STFT(a, st, win) y = MatMul(f, w) }",
        2,
        has_reference=False,
    ),
    "D float16 norm before a small layer scale": Pattern(
        "(float16[N,3,4,4] x) => (float16[N,2,4,4] y) <float16[2,3,1,1] w, float16[2] g, float16[2] be, float16[2] m, "
        "float16[2] var, float16[2,1,1] k> { c = Conv(x, w) n = BatchNormalization(c, g, be, m, var) y = Mul(n, k) }",
        2,
        values={"w": [0.5, 1, -1, 0.25, 1, -1], "k": [1e-5, 1e-5]},
    ),
    "F one number and a shift of a gemm's variable C": Pattern(
        "(float[N,4] x, float[N,3] z) => (float[N,2] y) <float[4,3] w, float s={0.5}, float[3] t, float[3,2] v> { a = "
        "Mul(z, s) b = Add(a, t) c = Gemm<beta=2.0>(x, w, b) y = Gemm(c, v) }",
        2,
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern(name: str) -> None:
    assert_shrinks(PATTERNS[name])
