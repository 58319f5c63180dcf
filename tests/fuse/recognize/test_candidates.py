"""What looks like a norm and is none: each near miss keeps its operators or its values, and says why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir
import pytest

from normfold.findings.reason import Reason
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.cleanup.tidy import tidy
from normfold.fuse.engine import fuse_norms
from tests.onnx_text import assert_close, feeds_of, parse, run_in_float64, run_in_ort

NUMBERS = "float two = {2.0}, float eps = {0.0009765625}"
X34 = "(float[N,3,4] x) => (float[N,3,4] y)"
X4 = "(float[N,4,3,5] x) => (float[N,4,3,5] y)"
MEAN = "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m)"
VARIANCE = f"{MEAN} p = Pow(d, two) v = ReduceMean<axes=[-1]>(p)"


@dataclass(frozen=True)
class Miss:
    """A graph in ONNX text and the reason; ``left`` are its operators where part of it is a norm that is fused.

    No reason: nothing is left to speak of behind that norm.
    """

    text: str
    reason: Reason | None
    left: str = ""
    opset: int = 17
    target: str = "onnxruntime"
    policy: str = "auto"


MISSES = {
    "epsilon outside the root": Miss(
        f"{X34} <{NUMBERS}>{{ {VARIANCE} s = Sqrt(v) t = Add(s, eps) y = Div(d, t) }}", Reason.EPSILON_OUTSIDE_ROOT
    ),
    "epsilon outside the root of the mean square": Miss(
        f"{X34} <{NUMBERS}>{{ p = Pow(x, two) v = ReduceMean<axes=[-1]>(p) s = Sqrt(v)"
        " t = Add(s, eps) y = Div(x, t) }",
        Reason.EPSILON_OUTSIDE_ROOT,
    ),
    "data times a scale of the last axis, over the root of the middle axes": Miss(  # was divided along other axes
        f"(float[N,3,5,4] x) => (float[N,3,5,4] y) <{NUMBERS}, float one = {{1.0}}, float[4] g>"
        "{ k = Mul(g, x) c = Cast<to=1>(x) p = Mul(c, c) e = Cast<to=1>(p) m = ReduceMean<axes=[1,2]>(e)"
        "w = Add(m, eps) t = Cast<to=1>(w) s = Sqrt(t) i = Div(one, s) j = Cast<to=1>(i) y = Mul(k, j) }",
        Reason.NO_FORM,
        left="Mul Mul ReduceMean Add Sqrt Div Mul",
    ),
    "the mean of another axis": Miss(
        f"{X34} <{NUMBERS}>{{ m = ReduceMean<axes=[1]>(x) d = Sub(x, m) p = Pow(d, two) v = ReduceMean<axes=[-1]>(p)"
        "w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        None,
        "ReduceMean Sub RMSNormalization",  # exact: the RMSNorm of what the mean of the other axis leaves
    ),
    "the mean square of all axes of what one axis centred": Miss(
        f"{X34} <{NUMBERS}, float[1] q>{{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) c = Pow(x, two) b = Mul(m, m)"
        "a = ReduceMean<axes=[1]>(c) v = Sub(a, b) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        Reason.AXES_DIFFER,
    ),
    "axes that are an input": Miss(
        f"(float[N,3,4] x, int64[1] axes) => (float[N,3,4] y) <{NUMBERS}>{{ p = Pow(x, two) v = ReduceMean(p, axes)"
        "w = Add(v, eps) s = Sqrt(w) y = Div(x, s) }",
        Reason.DYNAMIC_AXES,
        opset=18,
    ),
    "keepdims=0 of a square": Miss(
        f"(float[4,4] x) => (float[4,4] y) <{NUMBERS}>{{ m = ReduceMean<axes=[1], keepdims=0>(x) d = Sub(x, m)"
        "p = Pow(d, two) v = ReduceMean<axes=[1], keepdims=0>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        Reason.DIMENSION_LOST,
    ),
    "keepdims=0 of a square, RMSNorm": Miss(
        f"(float[4,4] x) => (float[4,4] y) <{NUMBERS}>{{ p = Pow(x, two) v = ReduceMean<axes=[1], keepdims=0>(p)"
        "w = Add(v, eps) s = Sqrt(w) y = Div(x, s) }",
        Reason.DIMENSION_LOST,
    ),
    "the fourth power": Miss(
        f"{X34} <{NUMBERS}, float four = {{4.0}}>{{ {MEAN} p = Pow(d, four) v = ReduceMean<axes=[-1]>(p)"
        " w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        Reason.EXPONENT,
    ),
    "the cube root": Miss(
        f"{X34} <{NUMBERS}, float third = {{0.33}}>{{ {VARIANCE} w = Add(v, eps) s = Pow(w, third) y = Div(d, s) }}",
        Reason.EXPONENT,
    ),
    "the deviation divided by the data": Miss(
        f"{X34} <{NUMBERS}>{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) y = Div(s, d) }}", Reason.INVERTED
    ),
    "an epsilon that varies": Miss(
        f"{X34} <{NUMBERS}, float[4] pos>{{ {VARIANCE} w = Add(v, pos) s = Sqrt(w) y = Div(d, s) }}",
        Reason.EPSILON_VARIES,
    ),
    "a bound from below": Miss(
        f"{X34} <float low = {{1e-12}}>{{ l = ReduceL2<axes=[-1]>(x) c = Clip(l, low) y = Div(x, c) }}", Reason.CLIPPED
    ),
    "Keras's UnitNormalization, which ONNX Runtime runs as fast as ReduceL2": Miss(
        f"{X34} <float high = {{0.7}}, int64[1] last = {{-1}}>"
        "{ p = Mul(x, x) q = ReduceSum(p, last) s = Sqrt(q) r = Reciprocal(s) c = Min(r, high) y = Mul(x, c) }",
        Reason.CLIPPED,
    ),
    "L2 normalization along another axis, for which LpNormalization is slow": Miss(
        f"{X34} {{ l = ReduceL2<axes=[1]>(x) y = Div(x, l) }}", Reason.COSTS_MORE
    ),
    "a variance bounded from below": Miss(
        f"{X34} <{NUMBERS}, float low = {{0.5}}>"
        f"{{ {VARIANCE} c = Max(v, low) w = Add(c, eps) s = Sqrt(w) y = Div(d, s) }}",
        Reason.CLIPPED,
    ),
    "a variance bounded from above": Miss(
        f"{X34} <{NUMBERS}, float low = {{0.0}}, float high = {{0.5}}>"
        f"{{ {VARIANCE} c = Clip(v, low, high) w = Add(c, eps) s = Sqrt(w) y = Div(d, s) }}",
        Reason.CLIPPED,
    ),
    "an inverse deviation bounded from above": Miss(
        f"{X34} <{NUMBERS}, float high = {{0.5}}>"
        f"{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) r = Reciprocal(s) c = Min(r, high) y = Mul(d, c) }}",
        Reason.CLIPPED,
    ),
    "epsilon under a bounded root": Miss(
        f"{X34} <{NUMBERS}, float low = {{0.5}}>{{ p = Pow(x, two) v = ReduceMean<axes=[-1]>(p) c = Max(v, low)"
        " w = Add(c, eps) s = Sqrt(w) y = Div(x, s) }",
        Reason.CLIPPED,
    ),
    "the mean over H and W, the variance over H only": Miss(
        f"{X4} <{NUMBERS}>{{ a = ReduceMean<axes=[2]>(x) m = ReduceMean<axes=[3]>(a) d = Sub(x, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[2]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        None,
        "ReduceMean ReduceMean Sub Transpose RMSNormalization Transpose",  # exact: the RMSNorm over H of the centred
    ),
    "sums of two axes divided by the wrong number": Miss(
        f"{X4} <{NUMBERS}, int64[1] up = {{2}}, int64[1] across = {{3}}, float all = {{60.0}}>"
        "{ a = ReduceSum(x, up) f = ReduceSum(a, across) m = Div(f, all) d = Sub(x, m) p = Mul(d, d)"
        "b = ReduceSum(p, up) c = ReduceSum(b, across) v = Div(c, all) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        None,
        "ReduceSum ReduceSum Div Sub RMSNormalization",  # exact: the RMSNorm of what is not quite centred
    ),
    "an epsilon between two means": Miss(
        f"{X4} <{NUMBERS}>{{ a = ReduceMean<axes=[2]>(x) e = Add(a, eps) m = ReduceMean<axes=[3]>(e) d = Sub(x, m)"
        "p = Mul(d, d) v = ReduceMean<axes=[2,3]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        None,
        "ReduceMean Add ReduceMean Sub RMSNormalization",  # exact, as above
    ),
    "a pool that is smaller than its input": Miss(
        f"{X4} <{NUMBERS}>{{ m = GlobalAveragePool(x) d = Sub(x, m) p = Mul(d, d)"
        "v = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        Reason.OTHER_STATISTICS,
    ),
    "the magnitude of centred data": Miss(
        f"{X34} <{NUMBERS}>{{ {MEAN} a = Abs(d) v = ReduceMean<axes=[-1]>(a) w = Add(v, eps) y = Div(d, w) }}",
        Reason.NO_FORM,
    ),
    "the root of the mean of a fourth power": Miss(
        f"{X34} <float four = {{4.0}}, float quarter = {{0.25}}>{{ a = Abs(x) p = Pow(a, four)"
        "v = ReduceMean<axes=[-1]>(p) s = Pow(v, quarter) y = Div(x, s) }",
        Reason.EXPONENT,
    ),
    "the root of the deviation, as NodeNorm has it": Miss(
        f"{X34} <{NUMBERS}>{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) r = Sqrt(s) y = Div(x, r) }}", Reason.EXPONENT
    ),
    "a third root by its logarithm": Miss(
        f"{X34} <{NUMBERS}, float third = {{-0.33}}>{{ {VARIANCE} w = Add(v, eps) l = Log(w) k = Mul(l, third)"
        "s = Exp(k) y = Mul(d, s) }",
        Reason.EXPONENT,
    ),
    "means of half of the channels by a MatMul": Miss(
        f"{X34} <{NUMBERS}, float[4,1] e = {{0.5, 0.5, 0, 0}}>{{ m = MatMul(x, e) d = Sub(x, m) p = Mul(d, d)"
        "v = MatMul(p, e) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        Reason.MIXED_STATISTICS,
    ),
    "a variance of half the mean": Miss(
        f"{X34} <{NUMBERS}, float half = {{0.5}}>{{ p = Pow(x, two) q = ReduceMean<axes=[-1]>(p)"
        " m = ReduceMean<axes=[-1]>(x) "
        "a = Mul(m, m) b = Mul(a, half) v = Sub(q, b) w = Add(v, eps) s = Sqrt(w) d = Sub(x, m) y = Div(d, s) }",
        Reason.NOT_A_VARIANCE,
    ),
    "a scale that makes the value larger": Miss(
        f"(float[N,1,4] x) => (float[N,3,4] y) <{NUMBERS}, float[3,1] g>"
        f"{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) n = Div(d, s) y = Mul(n, g) }}",
        None,
        "LayerNormalization Mul",
    ),
    "a scale of higher rank": Miss(
        f"(float[3,4] x) => (float[2,3,4] y) <{NUMBERS}, float[2,1,4] g>"
        f"{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) n = Div(d, s) y = Mul(n, g) }}",
        None,
        "LayerNormalization Mul",
    ),
    "a shift along another axis": Miss(
        f"{X34} <{NUMBERS}, float[4] g, float[3,4] b>"
        f"{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) n = Div(d, s) k = Mul(n, g) y = Add(k, b) }}",
        None,
        "LayerNormalization Add",
    ),
    "a sum with something else": Miss(
        f"(float[N,3,4] x, float[N,3,4] z) => (float[N,3,4] y) <{NUMBERS}>"
        f"{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) n = Div(d, s) y = Add(n, z) }}",
        None,
        "LayerNormalization Add",
    ),
    "everything is read elsewhere": Miss(
        f"(float[N,3,4] x) => (float[N,3,4] y, float[N,3,4] d, float[N,3,4] p, float[N,3,1] s) <{NUMBERS}>"
        f"{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }}",
        Reason.READ_ELSEWHERE,
    ),
    "an operator set that may not be raised": Miss(
        f"{X34} <{NUMBERS}>{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }}",
        Reason.NEEDS_OPSET,
        opset=13,
        policy="keep",
    ),
    "a decomposition that the runtime fuses": Miss(
        f"{X34} <{NUMBERS}, float[4] g>{{ p = Pow(x, two) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w)"
        "n = Div(x, s) y = Mul(n, g) }",
        Reason.FUSED_BY_RUNTIME,
        policy="keep",
    ),
    "an unknown size": Miss(
        f"(float[N,3,T] x) => (float[N,3,T] y) <{NUMBERS}, int64[1] last = {{-1}}>{{ p = Pow(x, two)"
        "v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) r = Reciprocal(s) y = Mul(x, r) }",
        Reason.UNKNOWN_SHAPE,
        target="tract",
    ),
    "an unknown rank": Miss(
        f"(float[N,3,4] z, int64[K] shape) => (float[N,3,4] y) <{NUMBERS}, int64[3] back = {{-1, 3, 4}}>"
        f"{{ x = Reshape(z, shape) {VARIANCE} w = Add(v, eps) s = Sqrt(w) n = Div(d, s) y = Reshape(n, back) }}",
        Reason.UNKNOWN_SHAPE,
    ),
    "the deviation of other axes, because the data was transposed": Miss(
        f"(float[N,4,4,4] x) => (float[N,4,4,4] y) <{NUMBERS}>{{ m = ReduceMean<axes=[1]>(x) d = Sub(x, m)"
        "p = Mul(d, d) v = ReduceMean<axes=[1]>(p) w = Add(v, eps) s = Sqrt(w) t = Transpose<perm=[0,2,3,1]>(d)"
        "y = Div(t, s) }",
        Reason.DIMENSION_LOST,
    ),
    "no kernel in the target": Miss(
        "(double[N,3,4] x) => (double[N,3,4] y) <double eps = {0.5}>{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m)"
        "p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        Reason.NO_KERNEL,
        target="tensorrt",
    ),
    "LayerNormalization as it should be": Miss(
        f"{X34} <float[4] g, float[4] b>{{ y = LayerNormalization(x, g, b) }}", Reason.OWN_STATISTICS
    ),
    "L1 normalization": Miss(f"{X34} {{ y = LpNormalization<p=1>(x) }}", Reason.OWN_STATISTICS),
    "LpNormalization and a gamma, of data that may be zero": Miss(
        f"{X34} <float[4] g>{{ n = LpNormalization(x) y = Mul(n, g) }}", Reason.OWN_STATISTICS
    ),
}


@pytest.mark.parametrize("miss", [pytest.param(miss, id=name) for name, miss in MISSES.items()])
def test_a_near_miss_stays_what_it_was(miss: Miss) -> None:
    assert miss.reason or miss.left, "what is no norm at all is a row of SILENT"
    original = parse(miss.text, opset=miss.opset)
    model = ir.from_proto(original)
    verdicts = fuse_norms(model, Selection(target=miss.target, opset=miss.policy))
    kept = {verdict.obstacles[0].reason for verdict in verdicts if verdict.outcome is Outcome.KEPT}
    assert kept == ({miss.reason} if miss.reason else set()), verdicts
    tidy(model)
    result = ir.to_proto(model)
    if not miss.left:
        assert [node.op_type for node in result.graph.node] == [node.op_type for node in original.graph.node]
        return
    assert Counter(node.op_type for node in result.graph.node if node.op_type != "Constant") == Counter(
        miss.left.split()
    )
    feeds, names = feeds_of(original), [value.name for value in original.graph.output]
    assert_close(run_in_float64(result, feeds), run_in_float64(original, feeds), note="float64")
    assert_close(run_in_ort(result, feeds, names), run_in_ort(original, feeds, names), note="ONNX Runtime")


TWELVE = f"{{{','.join(['1'] * 12)}}}"
SILENT = {
    "squeeze and excite": "(float[N,4,5,5] x) => (float[N,4,5,5] y) <float[4,4,1,1] w>"
    "{ p = GlobalAveragePool(x) c = Conv(p, w) s = Sigmoid(c) y = Mul(x, s) }",
    "GELU by tanh": f"{X34} <float three = {{3.0}}, float a = {{0.044}}, float h = {{0.5}}, float one = {{1.0}}>"
    "{ c = Pow(x, three) m = Mul(c, a) t = Add(x, m) u = Tanh(t) v = Add(u, one) w = Mul(x, v) y = Mul(w, h) }",
    "softmax by hand": f"{X34} {{ e = Exp(x) s = ReduceSum(e) y = Div(e, s) }}",
    "a mean square error": "(float[N,4] x, float[N,4] z) => (float[N,1] y) <float two = {2.0}>"
    "{ d = Sub(x, z) p = Pow(d, two) m = ReduceMean<axes=[1]>(p) y = Sqrt(m) }",
    "twice the mean": f"{X34} <{NUMBERS}>{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) t = Mul(m, two) e = Sub(x, t)"
    " y = Div(e, s) }",
    "an Einsum that moves axes": f"(float[4,4,8] x) => (float[4,4,8] y) <{NUMBERS}, int64[1] last = {{-1}}>"
    '{ e = Einsum<equation="bsd,bsd->sb">(x, x) w = Add(e, eps) s = Sqrt(w) u = Unsqueeze(s, last) y = Div(x, u) }',
    "an Einsum of two values": f"{X34} <{NUMBERS}, int64[1] last = {{-1}}>{{ z = Tanh(x)"
    'e = Einsum<equation="bsd,bsd->bs">(x, z) w = Add(e, eps) s = Sqrt(w) u = Unsqueeze(s, last) y = Div(x, u) }',
    "an Einsum of a third power": f"{X34} <{NUMBERS}, int64[1] last = {{-1}}>{{"
    'e = Einsum<equation="bsd,bsd,bsd->bs">(x, x, x) w = Add(e, eps) s = Sqrt(w) u = Unsqueeze(s, last)'
    "y = Div(x, u) }",
    "an Einsum of squares and weights that differ": f"{X34} <{NUMBERS}, int64[1] last = {{-1}}, float[4] c>{{"
    'e = Einsum<equation="bsd,bsd,d->bs">(x, x, c) w = Add(e, eps) s = Sqrt(w) u = Unsqueeze(s, last)'
    "y = Div(x, u) }",
    "an Einsum over an axis that only the weights have": f"{X34} <{NUMBERS}, int64[1] last = {{-1}}, float[4,3] c ="
    f'{TWELVE}>{{ e = Einsum<equation="bsd,bsd,de->bs">(x, x, c) w = Add(e, eps) s = Sqrt(w)'
    "u = Unsqueeze(s, last) y = Div(x, u) }",
    "an Einsum of more weights than data": "(float[N,3,1] x) => (float[N,3,1] y)"
    f"<{NUMBERS}, int64[1] last = {{-1}}, float[12] c = {TWELVE}>{{"
    'e = Einsum<equation="bsd,bsd,d->bs">(x, x, c) w = Add(e, eps) s = Sqrt(w) u = Unsqueeze(s, last)'
    "y = Div(x, u) }",
    "a row times another as a column": f"(float[N,3,4] x) => (float[N,3,4] y) <{NUMBERS}, int64[1] row = {{2}},"
    "int64[1] last = {3}, int64[3] own = {0, 3, 4}>{ t = Transpose<perm=[0,2,1]>(x) z = Reshape(t, own)"
    "r = Unsqueeze(x, row) c = Unsqueeze(z, last) e = MatMul(r, c) u = Squeeze(e, last) w = Add(u, eps) s = Sqrt(w)"
    "y = Div(x, s) }",
    "a division by the mean": f"{X34} {{ m = ReduceMean<axes=[-1]>(x) y = Div(x, m) }}",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in SILENT.items()])
def test_what_is_no_norm_is_not_spoken_of(text: str) -> None:
    assert fuse_norms(ir.from_proto(parse(text))) == ()


def test_the_user_may_leave_a_rule_or_a_norm_alone() -> None:
    text = f"{X34} <{NUMBERS}>{{ {VARIANCE} w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }}"
    (fused,) = fuse_norms(ir.from_proto(parse(text)))
    for options, reason in (
        (Selection(skip=frozenset({"layernorm"})), Reason.SKIPPED),
        (Selection(skip=frozenset({fused.finding.name})), Reason.SKIPPED),
        (Selection(only=frozenset({"rmsnorm"})), Reason.SKIPPED),
        (Selection(exclude={fused.finding.name: Reason.ROLLED_BACK}), Reason.ROLLED_BACK),
    ):
        model = ir.from_proto(parse(text))
        (verdict,) = fuse_norms(model, options)
        assert (verdict.outcome, verdict.obstacles[0].reason) == (Outcome.KEPT, reason)
        assert verdict.finding.name == fused.finding.name
        assert "LayerNormalization" not in [node.op_type for node in model.graph]
    (verdict,) = fuse_norms(ir.from_proto(parse(text)), Selection(only=frozenset({"layernorm"})))
    assert verdict.outcome is Outcome.FUSED
