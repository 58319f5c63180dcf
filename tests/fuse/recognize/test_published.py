"""Norms of the literature that are no operator: each has one verdict, by its name and with its own reason."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import normfold
from normfold.findings.reason import Reason
from tests.onnx_text import parse

NUMBERS = "float two = {2.0}, float eps = {0.0009765625}"
X3 = "(float[N,6,8] x) => (float[N,6,8] y)"
X4 = "(float[N,8,5,5] x) => (float[N,8,5,5] y)"

DEMODULATION = (
    "(float[N,8,5,5] x, float[N,8] s, float[N,8] z) => (float[N,4,5,5] y) <float[4,8,1,1] w, float[8,4] p,"
    "float eps = {0.5}, float one = {1.0}, int64[4] as = {-1, 8, 1, 1}, int64[4] to = {-1, 4, 1, 1}> {"
    "t = Reshape(s, as) h = Mul(x, t) c = Conv(h, w) q = Mul(OF, OF) k = MatMul(q, p) v = Add(k, eps)"
    "r = Sqrt(v) i = Div(one, r) j = Reshape(i, to) y = Mul(c, j) }"
)


@dataclass(frozen=True)
class Named:
    """A graph in ONNX text, what its norm is called, and why it stays (None: it is fused)."""

    text: str
    name: str
    reason: Reason | None


ROWS = {
    "means that change places": Named(  # nothing was said of it
        f"(float[4,4,8] x) => (float[4,4,8] y) <{NUMBERS}, int64[3] back = {{4, 4, 1}},"
        "int64[1] at = {2}>{ f = Unsqueeze(x, at) i = ReduceMean<axes=[2,3]>(f) t = Transpose<perm=[1,0,2,3]>(i)"
        "m = Reshape(t, back) d = Sub(x, m) p = Mul(d, d) h = Unsqueeze(p, at) j = ReduceMean<axes=[2,3]>(h)"
        "k = Transpose<perm=[1,0,2,3]>(j) v = Reshape(k, back) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        "norm",
        Reason.NO_FORM,
    ),
    "GroupNorm of torch.export, decomposed, with a free batch": Named(  # nothing was said of it
        f"{X4} <{NUMBERS}, float[1,2,4,1] g, float[1,2,4,1] b, int64[4] split = {{-1, 2, 4, 25}}, int64 start = {{0}},"
        "int64 step = {1}, int64 width = {8}, int64[8] place = {0, 1, 2, 3, 4, 5, 6, 7}, int64[1] flat = {-1},"
        "int64[1] first = {0}, int64[1] last = {1}, int64[2] ends = {2, 3}> { r = Reshape(x, split)"
        "m = ReduceMean<axes=[2,3]>(r) d = Sub(r, m) p = Mul(d, d) v = ReduceMean<axes=[2,3]>(p) e = Add(v, eps)"
        "s = Sqrt(e) i = Reciprocal(s) k = Mul(i, g) n = Neg(m) o = Mul(n, k) c = Add(o, b) sx = Shape(x)"
        "n0 = Gather(sx, start) ra = Range(start, n0, step) rb = Mul(ra, width) rc = Unsqueeze(rb, last)"
        "rd = Unsqueeze(place, first) at = Add(rc, rd) kf = Reshape(k, flat) kg = Gather(kf, at)"
        "ku = Unsqueeze(kg, ends) cf = Reshape(c, flat) cg = Gather(cf, at) cu = Unsqueeze(cg, ends) h = Mul(x, ku)"
        "y = Add(h, cu) }",
        "norm",
        Reason.NO_FORM,
    ),
    "InstanceNorm as a BatchNorm of one sample, with a free batch": Named(  # was "statistics of the batch"
        "(float[N,2,H,W] x) => (float[1,P,H,W] y) <float eps = {0.0009765625}, float[2] g, int64[1] less = {-1},"
        "int64[4] to = {1, -1, 1, 1}, int64[1] first = {0}, int64[1] one = {1}, int64[2] ends = {2, 3}> {"
        "sx = Shape(x) n = Gather(sx, first) sh = Gather(sx, ends) ss = Concat<axis=0>(one, less, sh)"
        "r = Reshape(x, ss) m = ReduceMean<axes=[0,2,3]>(r) d = Sub(r, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[0,2,3]>(p) e = Add(v, eps) s = Sqrt(e) q = Div(d, s) t = Tile(g, n) u = Reshape(t, to)"
        "y = Mul(q, u) }",
        "LayerNormalization",
        Reason.UNKNOWN_SHAPE,
    ),
    "standardization of images, whose mean is written twice": Named(  # was "Div"
        f"{X4} <float least = {{0.04}}> {{ m = ReduceMean<axes=[1, 2, 3]>(x) d = Sub(x, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[1, 2, 3]>(p) s = Sqrt(v) t = Max(s, least) k = ReduceMean<axes=[1, 2, 3]>(x)"
        "e = Sub(x, k) y = Div(e, t) }",
        "standardization",
        Reason.CLIPPED,
    ),
    "a variance that is bounded from below, whose mean is written twice": Named(  # was "Div"
        f"{X4} <float least = {{0.04}}> {{ m = ReduceMean<axes=[1, 2, 3]>(x) d = Sub(x, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[1, 2, 3]>(p) t = Clip(v, least) s = Sqrt(t) k = ReduceMean<axes=[1, 2, 3]>(x)"
        "e = Sub(x, k) y = Div(e, s) }",
        "standardization",
        Reason.CLIPPED,
    ),
    "a variance that a bound of 0 does not change": Named(  # and that is not what is in the way
        f"{X3} <float zero = {{0.0}}, float[6,1] e> {{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[-1]>(p) t = Max(v, zero) w = Add(t, e) s = Sqrt(w) y = Div(d, s) }",
        "Div",
        Reason.EPSILON_VARIES,
    ),
    "weight demodulation of StyleGAN2": Named(  # nothing was said of it
        DEMODULATION.replace("OF", "s"),
        "weight demodulation",
        Reason.OTHER_NUMERATOR,
    ),
    "torch's normalize over a free size": Named(  # was "Div"
        "(float[N,T,8] x) => (float[N,T,8] y) <float low = {0.5}> { l = ReduceL2<axes=[1]>(x) m = Clip(l, low)"
        "y = Div(x, m) }",
        "LpNormalization",
        Reason.CLIPPED,
    ),
    "a normalized product with the data, times the data": Named(  # one norm, and an attention
        f"{X3} <float[8,1] c> {{ k = MatMul(x, c) l = ReduceL2<axes=[1]>(k) a = Div(k, l) y = Mul(a, x) }}",
        "LpNormalization",
        Reason.COSTS_MORE,
    ),
    "a bounded length of axes that are an input": Named(  # which says more than the bound
        "(float[N,T,8] x, int64[1] z) => (float[N,T,8] y) <float low = {0.5}> { p = Mul(x, x) q = ReduceSum(p, z)"
        "l = Sqrt(q) m = Clip(l, low) y = Div(x, m) }",
        "Div",
        Reason.DYNAMIC_AXES,
    ),
    "LayerNorm by the means of two halves": Named(  # nothing was said of it
        f"{X3} <{NUMBERS}> {{ a, b = Split<axis=-1>(x) i = ReduceMean<axes=[-1]>(a)"
        "j = ReduceMean<axes=[-1]>(b) k = Add(i, j) m = Div(k, two) f = Mul(a, a) g = Mul(b, b)"
        "q = ReduceMean<axes=[-1]>(f) r = ReduceMean<axes=[-1]>(g) h = Add(q, r) o = Div(h, two) c = Mul(m, m)"
        "v = Sub(o, c) d = Sub(x, m) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        "norm",
        Reason.MIXED_STATISTICS,
    ),
    "BatchNorm of the batch whose size is measured, as Flax writes it": Named(
        f"{X4} <{NUMBERS}, float none = {{0.0}}, int64 area = {{25}}, int64[1] first = {{0}},"
        "int64[3] over = {0, 2, 3}> {"
        "m = ReduceMean<axes=[0, 2, 3]>(x) d = Sub(x, m) p = Mul(d, d) q = ReduceSum(p, over) k = Shape(x)"
        "s = Gather(k, first) f = Mul(s, area) n = Cast<to=1>(f) v = Div(q, n) c = Greater(n, none)"
        "w = Where(c, v, none) e = Add(w, eps) r = Sqrt(e) y = Div(d, r) }",
        "statistics of the batch",
        Reason.BATCH_STATISTICS,
    ),
    "GRN of ConvNeXt V2": Named(
        f"{X4} <{NUMBERS}, float[8,1,1] g, float[8,1,1] b> {{ l = ReduceL2<axes=[2,3]>(x) m = ReduceMean<axes=[1]>(l)"
        "e = Add(m, eps) n = Div(l, e) k = Mul(x, n) h = Mul(k, g) i = Add(h, b) y = Add(i, x) }",
        "GRN",
        Reason.ACROSS_CHANNELS,
    ),
    "GRN whose data is scaled and multiplied first (Keras)": Named(
        f"{X4} <{NUMBERS}, float[8,1,1] g> {{ s = Mul(x, x) q = ReduceSum<keepdims=1>(s, space) l = Sqrt(q)"
        "k = Mul(x, g) h = Mul(k, l) m = ReduceMean<axes=[1]>(l) e = Add(m, eps) t = Transpose<perm=[0,2,3,1]>(h)"
        "n = Div(t, e) y = Transpose<perm=[0,3,1,2]>(n) }".replace("{ s", "{ space = Constant<value_ints=[2, 3]>() s"),
        "GRN",
        Reason.ACROSS_CHANNELS,
    ),
    "GRN by a sum over the channels (Flax)": Named(
        f"(float[N,5,5,8] x) => (float[N,5,5,8] y) <{NUMBERS}, float n = {{8.0}}, float[8] g, int64[1] last = {{-1}}>"
        "{ q = ReduceSumSquare<axes=[1,2]>(x) i = Add(q, eps) l = Sqrt(i) f = ReduceSum(l, last) m = Div(f, n)"
        "e = Add(m, eps) k = Div(l, e) h = Mul(x, k) y = Mul(h, g) }",
        "GRN",
        Reason.ACROSS_CHANNELS,
    ),
    "GRN by the root of a sum of squares": Named(
        f"{X4} <{NUMBERS}> {{ p = Pow(x, two) q = ReduceMean<axes=[2,3]>(p) l = Sqrt(q) m = ReduceMean<axes=[1]>(l)"
        "e = Add(m, eps) n = Div(l, e) y = Mul(x, n) }",
        "GRN",
        Reason.ACROSS_CHANNELS,
    ),
    "BiasNorm of Zipformer": Named(
        f"{X3} <{NUMBERS}, float[8] b, float s = {{1.5}}> {{ d = Sub(x, b) p = Pow(d, two)"
        "m = ReduceMean<axes=[-1]>(p) r = Pow(m, half) k = Mul(r, s) y = Mul(x, k) }".replace(
            "{ d", "{ half = Constant<value_float=-0.5>() d"
        ),
        "BiasNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "BiasNorm between Identities, as Paddle writes it": Named(
        f"{X3} <{NUMBERS}, float[8] b> {{ u = Identity(x) d = Sub(u, b) i = Identity(d) p = Mul(i, i) "
        "m = ReduceMean<axes=[-1]>(p) j = Identity(m) r = Sqrt(j) k = Reciprocal(r) n = Mul(u, k) y = Identity(n) }",
        "BiasNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "a partial RMSNorm": Named(
        f"{X3} <{NUMBERS}, int64[1] o = {{0}}, int64[1] e = {{2}}, int64[1] last = {{-1}}>"
        "{ s = Slice(x, o, e, last) p = Mul(s, s) m = ReduceMean<axes=[-1]>(p) w = Add(m, eps) r = Sqrt(w)"
        "y = Div(x, r) }",
        "PartialRMSNorm",
        Reason.PART_OF_DATA,
    ),
    "EvoNorm-S0 with a number of elements, as Paddle writes it": Named(
        f"{X4} <{NUMBERS}, float[8,1,1] v, int64[3] ax = {{1, 2, 3}}> {{ a = Mul(x, v) s = Sigmoid(a) "
        "i = Identity(s) n = Mul(x, i) m = ReduceMean<axes=[1,2,3]>(x) d = Sub(x, m) p = Mul(d, d) "
        "q = ReduceSum(p, ax) c = Size(x) e = Size(q) f = Cast<to=1>(c) g = Cast<to=1>(e) h = Div(f, g) "
        "w = Div(q, h) z = Add(w, eps) r = Sqrt(z) y = Div(n, r) }",
        "EvoNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "EvoNorm-S0": Named(
        f"{X4} <{NUMBERS}, float[8,1,1] v, float[8,1,1] g, float[8,1,1] b> {{ a = Mul(x, v) s = Sigmoid(a)"
        "n = Mul(x, s)"
        "m = ReduceMean<axes=[1,2,3]>(x) d = Sub(x, m) p = Mul(d, d) q = ReduceMean<axes=[1,2,3]>(p) w = Add(q, eps)"
        "r = Sqrt(w) k = Div(n, r) h = Mul(k, g) y = Add(h, b) }",
        "EvoNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "CRMSNorm": Named(
        f"{X3} <{NUMBERS}, int64[1] last = {{-1}}, float n = {{9.0}}> {{ t = ReduceSum(x, last) q = Mul(t, t)"
        "p = ReduceSumSquare<axes=[-1]>(x) s = Add(p, q) m = Div(s, n) w = Add(m, eps) r = Sqrt(w) y = Div(x, r) }",
        "CRMSNorm",
        Reason.MIXED_STATISTICS,
    ),
    "SwitchNorm": Named(
        f"{X4} <{NUMBERS}, float a = {{0.25}}, float c = {{0.75}}> {{ m = ReduceMean<axes=[2,3]>(x) d = Sub(x, m)"
        "p = Mul(d, d) v = ReduceMean<axes=[2,3]>(p) k = Mul(m, m) s = Add(v, k) l = ReduceMean<axes=[1]>(m)"
        "t = ReduceMean<axes=[1]>(s) u = Mul(l, l) z = Sub(t, u) am = Mul(m, a) cl = Mul(l, c) mean = Add(am, cl)"
        "av = Mul(v, a) cz = Mul(z, c) var = Add(av, cz) w = Add(var, eps) r = Sqrt(w) e = Sub(x, mean)"
        "y = Div(e, r) }",
        "SwitchNorm",
        Reason.MIXED_STATISTICS,
    ),
    "SwitchNorm of two variances": Named(
        f"{X4} <{NUMBERS}, float a = {{0.25}}, float c = {{0.75}}> {{ m = GlobalAveragePool(x) d = Sub(x, m)"
        "p = Mul(d, d) v = GlobalAveragePool(p) l = ReduceMean<axes=[1,2,3]>(x) f = Sub(x, l) h = Mul(f, f)"
        "z = ReduceMean<axes=[1,2,3]>(h) am = Mul(m, a) cl = Mul(l, c) mean = Add(am, cl) av = Mul(v, a)"
        "cz = Mul(z, c) var = Add(av, cz) w = Add(var, eps) r = Sqrt(w) i = Reciprocal(r) e = Sub(x, mean)"
        "y = Mul(e, i) }",
        "SwitchNorm",
        Reason.MIXED_STATISTICS,
    ),
    "SwitchNorm of two mean squares, in channels last (Keras on torch)": Named(
        f"(float[N,5,5,8] x) => (float[N,5,5,8] y) <{NUMBERS}, float a = {{0.25}}, float c = {{0.75}}> {{"
        "m = ReduceMean<axes=[1,2]>(x) s = Mul(x, x) q = ReduceMean<axes=[1,2]>(s) k = Mul(m, m) v = Sub(q, k)"
        "l = ReduceMean<axes=[1,2,3]>(x) t = ReduceMean<axes=[1,2,3]>(s) u = Mul(l, l) z = Sub(t, u)"
        "am = Mul(m, a) cl = Mul(l, c) mean = Add(am, cl) av = Mul(v, a) cz = Mul(z, c) var = Add(av, cz)"
        "w = Add(var, eps) r = Sqrt(w) e = Sub(x, mean) y = Div(e, r) }",
        "SwitchNorm",
        Reason.MIXED_STATISTICS,
    ),
    "SwitchNorm of two sums over counts of at least 1 (Paddle)": Named(
        f"{X4} <{NUMBERS}, float a = {{0.25}}, float one = {{1.0}}, int64[2] space = {{2, 3}},"
        "int64[3] all = {1, 2, 3}> { m = ReduceMean<axes=[2,3]>(x) d = Sub(x, m) p = Mul(d, d)"
        "f = ReduceSum(p, space) n = Size(x) i = Cast<to=1>(n) j = Mul(i, a) k = Max(j, one) v = Div(f, k)"
        "l = ReduceMean<axes=[1,2,3]>(x) g = Sub(x, l) h = Mul(g, g) o = ReduceSum(h, all) z = Div(o, k)"
        "mean = Add(m, l) var = Add(v, z) w = Add(var, eps) r = Sqrt(w) e = Sub(x, mean) y = Div(e, r) }",
        "SwitchNorm",
        Reason.MIXED_STATISTICS,
    ),
    "squash between Identities (Paddle)": Named(
        f"{X3} <{NUMBERS}, float one = {{1.0}}, int64[1] last = {{-1}}> {{ p = Pow(x, two) q = ReduceSum(p, last)"
        "i = Identity(q) c = Mul(i, one) a = Add(one, c) j = Identity(a) f = Div(i, j) g = Identity(f) k = Mul(g, x)"
        "l = Identity(k) w = Add(i, eps) v = Identity(w) r = Sqrt(v) t = Identity(r) y = Div(l, t) }",
        "squash",
        Reason.MIXED_STATISTICS,
    ),
    "squash of capsules": Named(
        f"{X3} <{NUMBERS}, float one = {{1.0}}, int64[1] last = {{-1}}> {{ p = Pow(x, two) q = ReduceSum(p, last)"
        "a = Add(q, one) f = Div(q, a) k = Mul(f, x) w = Add(q, eps) r = Sqrt(w) y = Div(k, r) }",
        "squash",
        Reason.MIXED_STATISTICS,
    ),
    "squash whose factor is made first (Keras)": Named(
        f"{X3} <{NUMBERS}, float one = {{1.0}}, int64[1] last = {{-1}}> {{ i = Identity(x) p = Mul(i, i)"
        "q = ReduceSum(p, last) a = Add(q, one) f = Div(q, a) w = Add(q, eps) r = Sqrt(w) k = Div(f, r)"
        "y = Mul(k, i) }",
        "squash",
        Reason.MIXED_STATISTICS,
    ),
    "squash by the length": Named(
        f"{X3} <{NUMBERS}, float one = {{1.0}}> {{ l = ReduceL2<axes=[-1]>(x) q = Pow(l, two) a = Add(q, one)"
        "k = Mul(q, x) w = Add(l, eps) r = Mul(a, w) y = Div(k, r) }",
        "squash",
        Reason.MIXED_STATISTICS,
    ),
    "SimAM": Named(
        f"{X4} <{NUMBERS}, float n = {{96.0}}, float half = {{0.5}}> {{ m = ReduceMean<axes=[2,3]>(x) c = Sub(x, m)"
        "d = Identity(c) p = Pow(d, two) v = ReduceMean<axes=[2,3]>(p) w = Mul(v, n) e = Add(w, eps) k = Div(p, e)"
        "h = Add(k, half) s = Sigmoid(h) y = Mul(x, s) }",
        "SimAM",
        Reason.OTHER_NUMERATOR,
    ),
    "SimAM by sums and a sum of squares (Flax)": Named(
        f"(float[N,5,5,8] x) => (float[N,5,5,8] y) <{NUMBERS}, float n = {{25.0}}, float half = {{0.5}},"
        "int64[2] space = {1, 2}> { f = ReduceSum(x, space) m = Div(f, n) d = Sub(x, m) p = Mul(d, d)"
        "i = Identity(d) v = ReduceSumSquare<axes=[1,2]>(i) w = Div(v, n) e = Add(w, eps) k = Div(p, e)"
        "h = Add(k, half) s = Sigmoid(h) y = Mul(x, s) }",
        "SimAM",
        Reason.OTHER_NUMERATOR,
    ),
    "virtual BatchNorm": Named(
        f"{X4} <{NUMBERS}, float a = {{0.25}}, float[8,1,1] f, float[8,1,1] g> {{ m = ReduceMean<axes=[2,3]>(x)"
        "k = Mul(m, a) mean = Add(k, f) p = Mul(x, x) q = ReduceMean<axes=[2,3]>(p) h = Mul(q, a) s = Add(h, g)"
        "u = Mul(mean, mean) v = Sub(s, u) w = Add(v, eps) r = Sqrt(w) e = Sub(x, mean) y = Div(e, r) }",
        "VirtualBatchNorm",
        Reason.MIXED_STATISTICS,
    ),
    "EvoNorm-B0": Named(
        f"{X4} <{NUMBERS}, float[8,1,1] v, float[8,1,1] stored> {{ m = ReduceMean<axes=[2,3]>(x) d = Sub(x, m)"
        "p = Mul(d, d) q = ReduceMean<axes=[2,3]>(p) w = Add(q, eps) r = Sqrt(w) k = Mul(x, v) o = Add(k, r)"
        "z = Max(stored, o) y = Div(x, z) }",
        "EvoNorm",
        Reason.MIXED_STATISTICS,
    ),
    "GDN": Named(
        f"{X4} <float one = {{1.0}}, float[8,8,1,1] c> {{ p = Mul(x, x) k = Conv(p, c) w = Add(k, one) r = Sqrt(w)"
        "y = Div(x, r) }",
        "GDN",
        Reason.MIXED_STATISTICS,
    ),
    "GRN between Transposes that became Reshapes (tf2onnx)": Named(
        f"(float[N,8,5,5] x) => (float[N,5,5,8] y) <{NUMBERS}, int64[4] own = {{-1, 1, 1, 8}},"
        "int64[4] all = {-1, 1, 1, 1}> { l = ReduceL2<axes=[2,3]>(x) k = Reshape(l, own)"
        "t = Transpose<perm=[0,2,3,1]>(x) m = ReduceMean<axes=[1]>(l)"
        "e = Add(m, eps) f = Reshape(e, all) n = Div(k, f) y = Mul(t, n) }",
        "GRN",
        Reason.ACROSS_CHANNELS,
    ),
    "Dynamic Tanh between Identities, as Paddle writes it": Named(
        f"{X3} <float a = {{0.5}}, float[8] g> {{ s = Mul(x, a) i = Identity(s) t = Tanh(i) j = Identity(t) "
        "y = Mul(j, g) }",
        "DynamicTanh",
        Reason.NO_STATISTICS,
    ),
    "Dynamic Tanh": Named(
        f"{X3} <float a = {{0.5}}, float[8] g, float[8] b>{{ s = Mul(x, a) t = Tanh(s) h = Mul(t, g) y = Add(h, b) }}",
        "DynamicTanh",
        Reason.NO_STATISTICS,
    ),
    "cumulative LayerNorm of a causal speech model": Named(
        f"(float[N,8,20] x) => (float[N,8,20] y) <{NUMBERS}, int64[1] c = {{1}}, int64 along = {{1}}, float[1,20] n>"
        "{ s = ReduceSum<keepdims=0>(x, c) p = Pow(x, two) q = ReduceSum<keepdims=0>(p, c) a = CumSum(s, along)"
        "b = CumSum(q, along) m = Div(a, n) o = Div(b, n) k = Mul(m, m) v = Sub(o, k) w = Add(v, eps) r = Sqrt(w)"
        "u = Unsqueeze(m, c) d = Sub(x, u) t = Unsqueeze(r, c) y = Div(d, t) }",
        "cumulative LayerNorm",
        Reason.OTHER_STATISTICS,
    ),
    "the least and the largest entry": Named(
        f"{X3} <{NUMBERS}> {{ a = ReduceMin<axes=[-1]>(x) b = ReduceMax<axes=[-1]>(x) d = Sub(x, a) s = Sub(b, a)"
        "w = Add(s, eps) y = Div(d, w) }",
        "MinMaxNorm",
        Reason.OTHER_STATISTICS,
    ),
    "the largest magnitude, pooled (tf2onnx)": Named(
        f"{X3} <{NUMBERS}> {{ a = Abs(x) b = GlobalMaxPool(a) w = Add(b, eps) y = Div(x, w) }}",
        "MaxNorm",
        Reason.OTHER_STATISTICS,
    ),
    "the least and the largest entry, pooled (tf2onnx)": Named(
        f"{X4} <{NUMBERS}> {{ a = ReduceMin<axes=[2,3]>(x) b = GlobalMaxPool(x) d = Sub(x, a) s = Sub(b, a)"
        "w = Add(s, eps) y = Div(d, w) }",
        "MinMaxNorm",
        Reason.OTHER_STATISTICS,
    ),
    "the largest magnitude": Named(
        f"{X3} <{NUMBERS}> {{ a = Abs(x) b = ReduceMax<axes=[-1]>(a) w = Max(b, eps) y = Div(x, w) }}",
        "MaxNorm",
        Reason.OTHER_STATISTICS,
    ),
    "local contrast": Named(
        f"{X4} <{NUMBERS}> {{ m = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) d = Sub(x, m) p = Mul(x, x)"
        "q = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(p) k = Mul(m, m) v = Sub(q, k) w = Add(v, eps) r = Sqrt(w)"
        "y = Div(d, r) }",
        "LocalContrastNorm",
        Reason.OTHER_STATISTICS,
    ),
    "local contrast by depthwise kernels": Named(
        f"{X4} <{NUMBERS}, float[8,1,3,3] c> {{ m = Conv<group=8, pads=[1,1,1,1]>(x, c) d = Sub(x, m) p = Mul(d, d)"
        "q = Conv<group=8, pads=[1,1,1,1]>(p, c) w = Add(q, eps) r = Sqrt(w) y = Div(d, r) }",
        "LocalContrastNorm",
        Reason.OTHER_STATISTICS,
    ),
    "local response, as PyTorch writes it": Named(
        f"(float[1,8,5,5] x) => (float[1,8,5,5] y) <{NUMBERS}, int64[5] up = {{1, 1, 8, 5, 5}}, float k = {{0.75}},"
        "int64[10] pads = {0, 0, 1, 0, 0, 0, 0, 1, 0, 0}, int64[4] back = {1, 8, 5, 5}>"
        "{ p = Mul(x, x) u = Reshape(p, up) e = Pad(u, pads) a = AveragePool<kernel_shape=[3,1,1]>(e)"
        "b = Reshape(a, back) w = Add(b, eps) r = Pow(w, k) y = Div(x, r) }",
        "LocalResponseNorm",
        Reason.OTHER_STATISTICS,
    ),
    "a LayerNorm of the tokens that a mask leaves": Named(
        f"(float[N,6,8] x, float[N,6,1] m) => (float[N,6,8] y) <{NUMBERS}, int64[1] t = {{1}}>"
        "{ n = ReduceSum(m, t) k = Mul(x, m) s = ReduceSum(k, t) u = Div(s, n) d = Sub(x, u) f = Mul(d, m)"
        "p = Pow(f, two) q = ReduceSum(p, t) v = Div(q, n) w = Add(v, eps) r = Sqrt(w) y = Div(d, r) }",
        "MaskedNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "a masked LayerNorm that subtracts its mean for each reader": Named(
        f"(float[N,6,8] x, float[N,6,1] m) => (float[N,6,8] y) <{NUMBERS}, int64[1] t = {{1}}>"
        "{ n = ReduceSum(m, t) k = Mul(x, m) s = ReduceSum(k, t) u = Div(s, n) d = Sub(x, u) e = Sub(x, u)"
        "f = Mul(d, m) p = Mul(f, f) q = ReduceSum(p, t) v = Div(q, n) w = Add(v, eps) r = Sqrt(w) y = Div(e, r) }",
        "MaskedNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "a deviation without its mean, which is a sum divided": Named(
        f"{X3} <{NUMBERS}, float n = {{8.0}}, int64[1] t = {{2}}> {{ a = ReduceSum(x, t) m = Div(a, n) d = Sub(x, m)"
        "p = ReduceSumSquare<axes=[2]>(d) q = Div(p, n) w = Add(q, eps) r = Sqrt(w) y = Div(x, r) }",
        "StdNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "the volume of all channels, as in EnCodec": Named(
        f"(float[N,2,9] x) => (float[N,2,9] y) <{NUMBERS}> {{ o = ReduceMean<axes=[1]>(x) p = Pow(o, two)"
        "q = ReduceMean<axes=[2]>(p) r = Sqrt(q) s = Add(r, eps) y = Div(x, s) }",
        "VolumeNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "the range of a channel, quantized afterwards": Named(
        f"{X4} <{NUMBERS}, float k = {{0.1}}, uint8 z = {{0}}>"
        "{ a = ReduceMin<axes=[2,3]>(x) b = ReduceMax<axes=[2,3]>(x) r = Sub(b, a) w = Add(r, eps) c = Sub(x, a)"
        "n = Div(c, w) q = QuantizeLinear(n, k, z) y = DequantizeLinear(q, k, z) }",
        "MinMaxNorm",
        Reason.OTHER_STATISTICS,
    ),
    "a deviation without its mean": Named(
        f"{X4} <{NUMBERS}> {{ m = ReduceMean<axes=[2,3]>(x) d = Sub(x, m) p = Mul(d, d) q = ReduceMean<axes=[2,3]>(p)"
        "w = Add(q, eps) r = Sqrt(w) i = Reciprocal(r) y = Mul(x, i) }",
        "StdNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "statistics in which a Where leaves out places": Named(
        f"(float[N,6,8] x, bool[N,6,1] m) => (float[N,6,8] y) <{NUMBERS}, float none = {{0.0}}>"
        "{ p = Mul(x, x) f = Where(m, p, none) q = ReduceMean<axes=[1]>(f) w = Add(q, eps) r = Sqrt(w) y = Div(x, r) }",
        "MaskedNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "EvoNorm-S0 with the guard of jax.numpy.var": Named(
        f"{X4} <{NUMBERS}, float[8,1,1] v, int64[3] ax = {{1, 2, 3}}, float n = {{200.0}}, float none = {{0.0}}>"
        "{ a = Mul(x, v) s = Sigmoid(a) h = Mul(x, s) m = ReduceMean<axes=[1,2,3]>(x) d = Sub(x, m)"
        "q = ReduceSumSquare<axes=[1,2,3]>(d) i = Div(q, n) k = Shape(i) o = Expand(none, k) c = Greater(n, none)"
        "z = Where(c, i, o) w = Add(z, eps) r = Sqrt(w) y = Div(h, r) }",
        "EvoNorm",
        Reason.OTHER_NUMERATOR,
    ),
    "statistics of the batch at run time": Named(
        f"{X4} <{NUMBERS}> {{ m = ReduceMean<axes=[0,2,3]>(x) d = Sub(x, m) p = Mul(d, d)"
        "q = ReduceMean<axes=[0,2,3]>(p) w = Add(q, eps) r = Sqrt(w) y = Div(d, r) }",
        "LayerNormalization",
        Reason.BATCH_STATISTICS,
    ),
    "AdaLN": Named(
        "(float[N,6,8] x, float[N,1,8] s, float[N,1,8] t) => (float[N,6,8] y) <float[8] g, float one = {1.0}>"
        "{ n = LayerNormalization(x, g) a = Add(s, one) h = Mul(n, a) y = Add(h, t) }",
        "LayerNormalization",
        Reason.COMPUTED_AFFINE,
    ),
    "SPADE": Named(
        "(float[N,8,5,5] x, float[N,8,5,5] s, float[N,8,5,5] t) => (float[N,8,5,5] y) <float[8] g, float[8] b>"
        "{ n = InstanceNormalization(x, g, b) h = Mul(n, s) y = Add(h, t) }",
        "InstanceNormalization",
        Reason.COMPUTED_AFFINE,
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_published_norm_has_one_verdict_by_its_name(row: Named) -> None:
    norms = [each for each in normfold.inspect(parse(row.text)).verdicts if each.finding.is_norm]
    assert [(each.finding.operator, each.obstacles[0].reason) for each in norms] == [(row.name, row.reason)]


def test_the_epsilon_of_a_norm_that_stays_is_no_finding() -> None:
    verdicts = normfold.inspect(parse(ROWS["a partial RMSNorm"].text)).verdicts
    assert [each.finding.operator for each in verdicts] == ["PartialRMSNorm"]


NOT_NAMED = {
    "data without its mean over the length of other data": "(float[N,6,8] x, float[N,6,8] z) => (float[N,6,8] y)"
    f"<{NUMBERS}> {{ k = ReduceMean<axes=[-1]>(x) d = Sub(x, k) p = Mul(z, z) m = ReduceMean<axes=[-1]>(p) r = Sqrt(m)"
    "t = Max(r, eps) y = Div(d, t) }",
    "a convolution of scaled data over the length of other scales": DEMODULATION.replace("OF", "z"),
    "a convolution over the length of weights under a scale": DEMODULATION.replace("OF", "s").replace(
        "(h, w)", "(x, w)"
    ),
    "lengths times their mean": f"{X4} {{ l = ReduceL2<axes=[2,3]>(x) m = ReduceMean<axes=[1]>(l) k = Mul(l, m)"
    "y = Mul(x, k) }",
    "a gated value over the deviation of other data": "(float[N,8,5,5] x, float[N,8,5,5] z) => (float[N,8,5,5] y)"
    f"<{NUMBERS}> {{ g = Sigmoid(x) h = Mul(x, g) p = Mul(z, z) m = ReduceMean<axes=[1,2,3]>(p) w = Add(m, eps)"
    "r = Sqrt(w) y = Div(h, r) }",
    "Tanh of a product of two values": "(float[N,8,5,5] x, float[N,8,5,5] z) => (float[N,8,5,5] y)"
    "<float[8,1,1] g> { h = Mul(x, z) t = Tanh(h) y = Mul(t, g) }",
    "data over the distance of other data from a constant": "(float[N,8,5,5] x, float[N,8,5,5] z) => (float[N,8,5,5] y)"
    f"<{NUMBERS}, float[8,1,1] c> {{ d = Sub(z, c) p = Mul(d, d) m = ReduceMean<axes=[1]>(p) w = Add(m, eps)"
    "r = Sqrt(w) y = Div(x, r) }",
    "a square of a linear layer under a root": f"{X3} <float one = {{1.0}}, float[8,8] c> {{ k = MatMul(x, c)"
    "p = Mul(k, k) w = Add(p, one) r = Sqrt(w) t = Tanh(x) y = Div(t, r) }",
    "an attention score over a length": "(float[N,6,8] x, float[N,6,8] z) => (float[N,6,8] y)"
    "<float e = {0.5}> { p = Mul(z, z) m = ReduceMean<axes=[-1]>(p) w = Add(m, e) r = Sqrt(w) y = Div(x, r) }",
    "a softmax by hand": f"{X3} {{ e = Exp(x) s = ReduceSum(e, l) y = Div(e, s) }}".replace(
        "{ e", "<int64[1] l = {-1}> { e"
    ),
    "squeeze and excitation": f"{X4} <float[8,8,1,1] w> {{ m = GlobalAveragePool(x) c = Conv(m, w) s = Sigmoid(c)"
    "y = Mul(x, s) }",
    "dynamic quantization by hand": f"{X3} <float steps = {{127.0}}> {{ a = Abs(x) b = ReduceMax(a)"
    "s = Div(b, steps) q = Div(x, s) z = Add(q, steps) r = Round(z) y = Mul(r, s) }",
    "data times its deviation": f"{X4} <{NUMBERS}> {{ m = ReduceMean<axes=[2,3]>(x) d = Sub(x, m) p = Mul(d, d)"
    "q = ReduceMean<axes=[2,3]>(p) w = Add(q, eps) r = Sqrt(w) y = Mul(x, r) }",
    "a softmax of pooled channels by hand": f"{X4} <int64[1] c = {{1}}> {{ m = GlobalAveragePool(x) e = Exp(m)"
    "s = ReduceSum(e, c) k = Div(e, s) y = Mul(x, k) }",
    "data times its length": f"{X3} <{NUMBERS}, int64[1] last = {{-1}}> {{ p = Mul(x, x) q = ReduceSum(p, last)"
    "k = Mul(q, x) w = Add(q, eps) r = Sqrt(w) y = Div(k, r) }",
    "a squared distance over a variance": f"{X4} <{NUMBERS}> {{ m = ReduceMean<axes=[2,3]>(x) d = Sub(x, m)"
    "p = Mul(d, d) v = ReduceMean<axes=[2,3]>(p) w = Add(v, eps) k = Div(p, w) y = Relu(k) }",
    "a share of the steps so far": f"{X3} <int64 along = {{1}}> {{ s = CumSum(x, along) y = Div(x, s) }}",
    "Tanh of a plain layer": f"{X3} <float[8,8] w> {{ h = MatMul(x, w) y = Tanh(h) }}",
}


@pytest.mark.parametrize("name", NOT_NAMED)
def test_what_only_resembles_a_norm_has_no_name(name: str) -> None:
    assert not [each for each in normfold.inspect(parse(NOT_NAMED[name])).verdicts if each.finding.is_norm]
