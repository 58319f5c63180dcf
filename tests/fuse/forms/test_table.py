"""What fuses, and into what: norms as models hold them, one row each."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from normfold.findings.verdict import Outcome, Verdict
from normfold.fold.cleanup.tidy import tidy
from normfold.fuse.engine import find_norms, fuse_norms
from tests.fuse.rows import BOUNDS, CHANNELS_LAST, EXPORTERS, LENGTHS, SHARED, STEPS, SUMS, Row
from tests.onnx_text import assert_close, feeds_of, parse, run_in_float64, run_in_ort, widened
from tests.runtime_faults import skip_without_kernels

LN = (
    "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Pow(d, two) v = ReduceMean<axes=[-1]>(p)"
    "w = Add(v, eps) s = Sqrt(w) n = Div(d, s)"
)
NUMBERS = "float two = {2.0}, float eps = {0.0009765625}"
X4, X34 = "(float[N,4,3,5] x) => (float[N,4,3,5] y)", "(float[N,3,4] x) => (float[N,3,4] y)"
GROUPS = "int64[3] split = {0, 2, -1}, float[2] one = {1, 1}, float[2] zero = {0, 0}"


GROUPNORM = {
    "scale and shift put into the statistics": Row(
        "(float[2,4,3,5] x) => (float[2,4,3,5] y) <int64[4] split = {2, 2, 2, 15}, int64[4] back = {2, 4, 1, 1},"
        f"{NUMBERS}, float[1,2,2,1] g, float[1,2,2,1] b>"
        "{ r = Reshape(x, split) m = ReduceMean<axes=[2,3]>(r) d = Sub(r, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[2,3]>(p) w = Add(v, eps) s = Sqrt(w) i = Reciprocal(s) k = Mul(i, g) o = Mul(m, k)"
        "c = Sub(b, o) ku = Reshape(k, back) cu = Reshape(c, back) h = Mul(x, ku) y = Add(h, cu) }",
        "Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "GroupNorm as torch exports it": Row(
        f"{X4} <{GROUPS}, int64[4] back = {{0, 4, 3, 5}}, float[4,1,1] g, float[4,1,1] b>"
        "{ r = Reshape(x, split) i = InstanceNormalization<epsilon=0.001>(r, one, zero) q = Reshape(i, back)"
        "h = Mul(q, g) y = Add(h, b) }",
        "Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "only gamma": Row(
        f"{X4} <{GROUPS}, int64[4] back = {{0, 4, 3, 5}}, float[4,1,1] g, float h = {{2.0}}>"
        "{ r = Reshape(x, split) i = InstanceNormalization(r, one, zero) q = Reshape(i, back)"
        " z = Mul(q, g) y = Mul(z, h) }",
        "Reshape InstanceNormalization Reshape Mul",
    ),
    "back by the shape of the input": Row(
        f"(float[N,4,H,W] x) => (float[N,4,H,W] y) <{GROUPS}, float[4,1,1] g, float[4,1,1] b>"
        "{ back = Shape(x) r = Reshape(x, split) i = InstanceNormalization(r, one, zero) q = Reshape(i, back)"
        "h = Mul(q, g) y = Add(h, b) }",
        "Shape Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "reductions in the split view": Row(
        "(float[2,4,3,5] x) => (float[2,4,3,5] y) <int64[5] split = {2, 2, 2, 3, 5}, int64[4] back = {2, 4, 3, 5},"
        f"{NUMBERS}, float[4,1,1] g, float[4,1,1] b>"
        "{ r = Reshape(x, split) m = ReduceMean<axes=[2,3,4]>(r) d = Sub(r, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[2,3,4]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(d, s) q = Reshape(n, back)"
        "h = Mul(q, g) y = Add(h, b) }",
        "Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "gamma inside the split view": Row(
        "(float[2,4,3,5] x) => (float[2,4,3,5] y) <int64[5] split = {2, 2, 2, 3, 5}, int64[4] back = {2, 4, 3, 5},"
        f"{NUMBERS}, float[1,2,2,1,1] g, float[1,2,2,1,1] b>"
        "{ r = Reshape(x, split) m = ReduceMean<axes=[2,3,4]>(r) d = Sub(r, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[2,3,4]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(d, s) h = Mul(n, g) k = Add(h, b)"
        "y = Reshape(k, back) }",
        "Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "a scale for each group, in unknown sizes": Row(
        "(float[N,4,H,W] x) => (float[N,4,H,W] y) <int64[3] split = {0, 2, -1}, float[2] one = {2, 3},"
        "float[2] zero = {4, 5}, float[4,1,1] g, float[4,1,1] b>"
        "{ back = Shape(x) r = Reshape(x, split) i = InstanceNormalization(r, one, zero) q = Reshape(i, back)"
        "h = Mul(q, g) y = Add(h, b) }",
        "Shape Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "one group a channel needs no Reshape": Row(
        "(float[2,4,3,5] x) => (float[2,4,3,5] y) <int64[3] split = {2, 4, -1}, int64[4] back = {2, 4, 3, 5},"
        "float[4] one = {1, 1, 1, 1}, float[4] zero = {0, 0, 0, 0}, float[4,1,1] g, float[4,1,1] b>"
        "{ r = Reshape(x, split) i = InstanceNormalization(r, one, zero) q = Reshape(i, back)"
        " h = Mul(q, g) y = Add(h, b) }",
        "InstanceNormalization",
    ),
    "GroupNormalization 21 has no kernel": Row(
        f"{X4} <float[4] g, float[4] b>{{ y = GroupNormalization<num_groups=2, epsilon=0.001>(x, g, b) }}",
        "Reshape InstanceNormalization Reshape BatchNormalization",
        opset=21,
    ),
    "GroupNorm of a vector": Row(
        "(float[N,8] x) => (float[N,8] y) <int64[3] split = {0, 2, 4}, int64[2] back = {0, 8}, float[2] one = {1, 1},"
        "float[2] zero = {0, 0}, float[8] g, float[8] b>"
        "{ r = Reshape(x, split) i = InstanceNormalization(r, one, zero) q = Reshape(i, back)"
        " h = Mul(q, g) y = Add(h, b) }",
        "Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "to GroupNormalization, where the target has it": Row(
        f"{X4} <{GROUPS}, int64[4] back = {{0, 4, 3, 5}}, float[4,1,1] g, float[4,1,1] b>"
        "{ r = Reshape(x, split) i = InstanceNormalization<epsilon=0.001>(r, one, zero) q = Reshape(i, back)"
        "h = Mul(q, g) y = Add(h, b) }",
        "GroupNormalization",
        target="tensorrt",
    ),
}

OTHERS = {
    "a dropout of inference and a cast to its own type on the way": Row(
        f"(float[N,4] x) => (float[N,4] y) <{NUMBERS}> {{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) e = Dropout(d)"
        " f = CastLike(e, x) p = Mul(f, f) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(f, s) }",
        "LayerNormalization",
    ),
    "a mean whose axis goes and comes back": Row(
        f"(float[N,4] x) => (float[N,4] y) <{NUMBERS}, int64[1] last = {{1}}> {{ a = ReduceMean<axes=[-1]>(x)"
        " k = Squeeze(a, last) m = Unsqueeze(k, last) d = Sub(x, m) p = Mul(d, d) q = ReduceMean<axes=[-1]>(p)"
        " v = Flatten(q) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        "LayerNormalization",
    ),
    "two norms that share one anchor": Row(
        f"(float[N,3,4] x) => (float[N,3,4] y, float[N,3,4] z) <{NUMBERS},"
        "float[4] g, float[4] b, float[4] h, float[4] c>"
        f"{{ {LN} k = Mul(n, g) y = Add(k, b) l = Mul(h, n) z = Add(l, c) }}",
        "LayerNormalization LayerNormalization",
        fused=2,
    ),
    "the normalized value is read too": Row(
        f"(float[N,3,4] x) => (float[N,3,4] y, float[N,3,4] r) <{NUMBERS}, float[4] g, float[4] b>"
        f"{{ {LN} k = Mul(n, g) y = Add(k, b) r = Relu(n) }}",
        "LayerNormalization LayerNormalization Relu",
        fused=2,
    ),
    "what is one operator away stays so": Row(
        f"(float[N,3,4] x) => (float[N,3,4] n, float[N,3,4] z) <{NUMBERS}, float f = {{0.5}}>{{ {LN} z = Mul(n, f) }}",
        "LayerNormalization Mul",
    ),
    "so does what is added to what was made of it": Row(
        f"(float[1,4] x) => (float[1,4] y) <{NUMBERS}, float[4] g, float[4,4] u>"
        f"{{ {LN} c = MatMul(n, u) z = Sub(c, n) y = Mul(z, g) }}",
        "LayerNormalization MatMul Sub Mul",
    ),
    "a shape that is asked of an intermediate": Row(
        f"(float[N,3,4] x) => (float[N,3,4] y, int64[3] z) <{NUMBERS}>"
        "{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) z = Shape(d) p = Pow(d, two)"
        "v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) t = Expand(s, z) y = Div(d, t) }",
        "LayerNormalization Shape",
    ),
    "a norm of a norm": Row(
        f"{X34} <{NUMBERS}, float[4] g = {{1, 1, 1, 1}}, float[4] b = {{0, 0, 0, 0}}>"
        f"{{ {LN} k = Mul(n, g) l = Add(k, b) m2 = ReduceMean<axes=[-1]>(l) d2 = Sub(l, m2) p2 = Pow(d2, two)"
        "v2 = ReduceMean<axes=[-1]>(p2) w2 = Add(v2, eps) s2 = Sqrt(w2) y = Div(d2, s2) }",
        "LayerNormalization LayerNormalization",
        fused=2,
    ),
    "the deviation is read too": Row(
        f"(float[N,3,4] x) => (float[N,3,4] y, float[N,3,1] s) <{NUMBERS}, float[4] g, float[4] b>"
        f"{{ {LN} k = Mul(n, g) y = Add(k, b) }}",
        "LayerNormalization ReduceMean Sub Pow ReduceMean Add Sqrt",
    ),
    "Bessel's correction moves into gamma and epsilon": Row(
        f"{X34} <{NUMBERS}, int64[1] last = {{-1}}, float three = {{3.0}}, float[4] g>"
        "{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) t = ReduceSum(p, last) v = Div(t, three)"
        "w = Add(v, eps) s = Sqrt(w) n = Div(d, s) y = Mul(n, g) }",
        "LayerNormalization",
    ),
    "a scalar before it is dead": Row(
        f"(float[N,3,4] u) => (float[N,3,4] y) <{NUMBERS},"
        "float f = {3.0}, float o = {5.0}, float[4] g, float[4] b>"
        f"{{ t = Mul(u, f) x = Add(t, o) {LN} k = Mul(n, g) y = Add(k, b) }}",
        "LayerNormalization",
    ),
    "a scale behind LayerNormalization": Row(
        f"{X34} <float[4] g, float[4] b, float[4] h>{{ l = LayerNormalization(x, g, b) y = Mul(h, l) }}",
        "LayerNormalization",
    ),
    "scale and shift from elsewhere": Row(
        f"(float[N,3,4] x, float[4] g, float[4] b) => (float[N,3,4] y) <{NUMBERS}>"
        f"{{ {LN} k = Mul(n, g) y = Add(b, k) }}",
        "LayerNormalization",
    ),
    "a scale from elsewhere with leading ones": Row(
        f"(float[N,3,4] x, float[1,1,4] g) => (float[N,3,4] y) <{NUMBERS}>{{ {LN} y = Mul(n, g) }}",
        "Reshape LayerNormalization",
    ),
    "keepdims=0 and Unsqueeze": Row(
        f"{X34} <{NUMBERS}, int64[1] last = {{-1}}, float[4] g, float[4] b>"
        "{ m0 = ReduceMean<axes=[-1], keepdims=0>(x) m = Unsqueeze(m0, last) d = Sub(x, m) p = Pow(d, two)"
        "v = ReduceMean<axes=[-1], keepdims=0>(p) w = Add(v, eps) s0 = Sqrt(w) s = Unsqueeze(s0, last) n = Div(d, s)"
        "k = Mul(n, g) y = Add(k, b) }",
        "LayerNormalization",
    ),
    "keepdims=0 over the first axis needs nothing": Row(
        f"(float[3,4] x) => (float[3,4] y) <{NUMBERS}>"
        "{ m = ReduceMean<axes=[0], keepdims=0>(x) d = Sub(x, m) p = Pow(d, two) "
        "v = ReduceMean<axes=[0], keepdims=0>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        "Transpose LayerNormalization Transpose",
    ),
    "InstanceNorm by GlobalAveragePool": Row(
        f"(float[N,3,4,5] x) => (float[N,3,4,5] y) <{NUMBERS}, float[1,3,1,1] g, float[1,3,1,1] b>"
        "{ m = GlobalAveragePool(x) d = Sub(x, m) p = Pow(d, two) v = GlobalAveragePool(p) w = Add(v, eps) s = Sqrt(w)"
        "n = Div(d, s) k = Mul(n, g) y = Add(k, b) }",
        "InstanceNormalization",
    ),
    "InstanceNorm in an unknown size": Row(
        f"(float[N,3,T] x) => (float[N,3,T] y) <{NUMBERS}, float[3,1] g, float[3,1] b>"
        f"{{ {LN} k = Mul(n, g) y = Add(k, b) }}",
        "InstanceNormalization",
    ),
    "L2 normalization": Row(
        "(float[N,3,T] x) => (float[N,3,T] y) { l = ReduceL2<axes=[-1]>(x) y = Div(x, l) }", "LpNormalization"
    ),
    "L2 normalization by squares": Row(
        f"{X34} <{NUMBERS}, int64[1] last = {{-1}}>"
        "{ p = Pow(x, two) t = ReduceSum(p, last) s = Sqrt(t) r = Reciprocal(s) y = Mul(r, x) }",
        "LpNormalization",
    ),
    "MeanVarianceNormalization": Row(
        "(float[2,3,4,5] x) => (float[2,3,4,5] y) <float two = {2.0}, float e = {1e-9}>"
        "{ m = ReduceMean<axes=[0,2,3]>(x) a = Pow(m, two) p = Pow(x, two) q = ReduceMean<axes=[0,2,3]>(p)"
        "v = Sub(q, a) s = Sqrt(v) d = Sub(x, m) t = Add(s, e) y = Div(d, t) }",
        "MeanVarianceNormalization",
        target="directml",
    ),
    "RMSNorm at an old operator set": Row(
        f"{X34} <{NUMBERS}, float[4] g>"
        "{ p = Mul(x, x) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) r = Reciprocal(s) n = Mul(x, r)"
        "y = Mul(n, g) }",
        "Pow ReduceMean Add Sqrt Div Mul",
        policy="keep",
    ),
    "a gamma that is 1 + w": Row(
        f"{X34} <{NUMBERS}, float[4] g, float one = {{1.0}}>"
        "{ p = Pow(x, two) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(x, s) h = Add(g, one)"
        "y = Mul(n, h) }",
        "RMSNormalization",
    ),
    "flattened first": Row(
        f"(float[2,3,4] x) => (float[2,3,4] y) <{NUMBERS}, "
        "int64[2] flat = {6, 4}, int64[3] back = {2, 3, 4}, float[4] g>"
        "{ r = Reshape(x, flat) m = ReduceMean<axes=[1]>(r) d = Sub(r, m) p = Pow(d, two) v = ReduceMean<axes=[1]>(p)"
        "w = Add(v, eps) s = Sqrt(w) n = Div(d, s) k = Mul(n, g) y = Reshape(k, back) }",
        "LayerNormalization",
    ),
    "expanded statistics": Row(
        f"{X34} <{NUMBERS}>"
        "{ z = Shape(x) m = ReduceMean<axes=[-1]>(x) e = Expand(m, z) d = Sub(x, e) p = Pow(d, two)"
        "v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) t = Expand(s, z) y = Div(d, t) }",
        "LayerNormalization",
    ),
}


def fuse(row: Row) -> tuple[onnx.ModelProto, onnx.ModelProto, tuple[Verdict, ...]]:
    """The model before and after, and the verdicts; the finding count is the same without fusing."""
    original = parse(row.text, opset=row.opset, ir_version=10)
    model = ir.from_proto(original)
    expected = [finding.name for finding in find_norms(model, row.wanted)]
    verdicts = fuse_norms(model, row.wanted)
    assert sorted(verdict.finding.name for verdict in verdicts) == sorted(expected)
    tidy(model)
    result = ir.to_proto(model)
    onnx.checker.check_model(result)
    return original, result, verdicts


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")


ROWS = GROUPNORM | OTHERS | STEPS | BOUNDS | LENGTHS | SHARED | SUMS | CHANNELS_LAST | EXPORTERS
each_row = pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])


@each_row
def test_fuses(row: Row) -> None:
    if not row.target:
        skip_without_kernels(row.becomes.split())
    original, result, verdicts = fuse(row)
    assert [verdict.outcome for verdict in verdicts].count(Outcome.FUSED) == row.fused, verdicts
    assert operators(result) == Counter(row.becomes.split())
    if not row.target or "Normalization" not in row.becomes:
        feeds, names = feeds_of(original), [value.name for value in original.graph.output]
        assert_close(run_in_ort(result, feeds, names), run_in_ort(original, feeds, names), note="ONNX Runtime")


@each_row
def test_the_algebra_is_exact(row: Row) -> None:
    """Fused in float64, nothing is rounded."""
    original = widened(parse(row.text, opset=row.opset, ir_version=10))
    model = ir.from_proto(original)
    wide = "onnx" if "RMSNormalization" in row.becomes else "onnxruntime-cuda"  # has its kernels in float64
    options = replace(row.wanted, opset=row.policy or "auto", target=row.target or wide)
    verdicts = fuse_norms(model, options)
    # Few targets have kernels for float64, and none that for MeanVarianceNormalization.
    is_operator = "Normalization" in row.becomes
    wanted = 0 if (row.target and is_operator) or "MeanVariance" in row.becomes else row.fused
    assert [verdict.outcome for verdict in verdicts].count(Outcome.FUSED) == wanted, verdicts
    feeds = {name: array.astype(np.float64) for name, array in feeds_of(original).items()}
    assert_close(run_in_float64(ir.to_proto(model), feeds), run_in_float64(original, feeds), note="float64")


@each_row
def test_a_second_run_finds_nothing_to_do(row: Row) -> None:
    _, once, _ = fuse(row)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(once, data_prop=True))
    verdicts = fuse_norms(model, row.wanted)
    assert [verdict for verdict in verdicts if verdict.outcome is Outcome.FUSED] == []


@each_row
def test_two_runs_give_the_same_bytes(row: Row) -> None:
    assert fuse(row)[1].SerializeToString() == fuse(row)[1].SerializeToString()


def test_every_row_survives_data_far_from_zero() -> None:
    """Two rows whose decomposition is stable, at mean 1e3 and at variance 1e-6."""
    for name in ("two norms that share one anchor", "keepdims=0 and Unsqueeze"):
        original, result, _ = fuse(OTHERS[name])
        rng = np.random.default_rng(0)
        for x in (rng.normal(size=(3, 3, 4)) + 1e3, rng.normal(size=(3, 3, 4)) * 1e-3):
            got, expected = run_in_float64(result, {"x": x}), run_in_float64(original, {"x": x})
            assert_close(got, expected, note=name)
