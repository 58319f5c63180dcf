"""Rows of ``tests/fuse/forms/test_table.py``: moments in several steps, bounds, lengths, channels that come last."""

from __future__ import annotations

from dataclasses import dataclass

from normfold.findings.rules import Selection


@dataclass(frozen=True)
class Row:
    """A graph in ONNX text, what it becomes (a count for each operator), and how many norms are fused."""

    text: str
    becomes: str
    opset: int = 17
    fused: int = 1
    target: str = ""
    policy: str = ""

    @property
    def wanted(self) -> Selection:
        """What is wanted of the fusion: by default for ONNX Runtime."""
        return Selection(target=self.target or "onnxruntime", opset=self.policy, new_batchnorm=True)


NUMBERS = "float two = {2.0}, float eps = {0.0009765625}"
X4, X34 = "(float[N,4,3,5] x) => (float[N,4,3,5] y)", "(float[N,3,4] x) => (float[N,3,4] y)"
LAST4, LAST8 = "(float[N,3,5,4] x) => (float[N,3,5,4] y)", "(float[N,3,5,8] x) => (float[N,3,5,8] y)"
END = "w = Add(v, eps) s = Sqrt(w) n = Div(d, s) h = Mul(n, g) y = Add(h, b)"


def two_steps(first: str, second: str, operator: str = "ReduceMean") -> str:
    """Mean and variance, each by a reduction of a reduction."""
    return (
        f"a = {operator}<axes={first}>(x) m = {operator}<axes={second}>(a) d = Sub(x, m) p = Mul(d, d)"
        f"c = {operator}<axes={first}>(p) v = {operator}<axes={second}>(c)"
    )


STEPS = {
    "the mean over H, then over W": Row(
        f"{X4} <{NUMBERS}, float[4,1,1] g, float[4,1,1] b>{{ {two_steps('[2]', '[3]')} {END} }}",
        "InstanceNormalization",
    ),
    "the mean over W, then over H, by keepdims=0 and Unsqueeze": Row(
        f"{X4} <{NUMBERS}, int64[2] hw = {{2, 3}}, float[4,1,1] g, float[4,1,1] b>"
        "{ a = ReduceMean<axes=[3], keepdims=0>(x) k = ReduceMean<axes=[2], keepdims=0>(a) m = Unsqueeze(k, hw)"
        "d = Sub(x, m) p = Pow(d, two) c = ReduceMean<axes=[-1], keepdims=0>(p)"
        f"q = ReduceMean<axes=[-1], keepdims=0>(c) v = Unsqueeze(q, hw) {END} }}",
        "InstanceNormalization",
    ),
    "a sum over H divided, then one over W divided": Row(
        f"{X4} <{NUMBERS}, int64[1] up = {{2}}, int64[1] across = {{3}}, float three = {{3.0}}, float five = {{5.0}},"
        "float[4,1,1] g, float[4,1,1] b>"
        "{ a = ReduceSum(x, up) e = Div(a, three) f = ReduceSum(e, across) m = Div(f, five) d = Sub(x, m) p = Mul(d, d)"
        f"c = ReduceSum(p, up) i = Div(c, three) j = ReduceSum(i, across) v = Div(j, five) {END} }}",
        "InstanceNormalization",
    ),
    "sums over H and over W, divided at once": Row(
        f"{X4} <{NUMBERS}, int64[1] up = {{2}}, int64[1] across = {{3}}, float all = {{15.0}},"
        "float[4,1,1] g, float[4,1,1] b>"
        "{ a = ReduceSum(x, up) f = ReduceSum(a, across) m = Div(f, all) d = Sub(x, m) p = Mul(d, d)"
        f"c = ReduceSum(p, up) j = ReduceSum(c, across) v = Div(j, all) {END} }}",
        "InstanceNormalization",
    ),
    "the channels after a global pool": Row(
        f"{X4} <{NUMBERS}>{{ a = GlobalAveragePool(x) m = ReduceMean<axes=[1]>(a) d = Sub(x, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[1,2,3]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }",
        "LayerNormalization",
    ),
    "three steps in the split view of a GroupNorm": Row(
        "(float[2,4,3,5] x) => (float[2,4,3,5] y) <int64[5] split = {2, 2, 2, 3, 5}, int64[4] back = {2, 4, 3, 5},"
        f"{NUMBERS}, float[4,1,1] g, float[4,1,1] b>"
        "{ r = Reshape(x, split) a = ReduceMean<axes=[2]>(r) c = ReduceMean<axes=[3]>(a) m = ReduceMean<axes=[4]>(c)"
        "d = Sub(r, m) p = Mul(d, d) e = ReduceMean<axes=[4]>(p) f = ReduceMean<axes=[2,3]>(e) w = Add(f, eps)"
        "s = Sqrt(w) n = Div(d, s) q = Reshape(n, back) h = Mul(q, g) y = Add(h, b) }",
        "Reshape InstanceNormalization Reshape BatchNormalization",
    ),
    "an average pool as large as its input": Row(
        f"{X4} <{NUMBERS}, float[4,1,1] g, float[4,1,1] b>{{ m = AveragePool<kernel_shape=[3,5]>(x) d = Sub(x, m)"
        f"p = Mul(d, d) v = AveragePool<kernel_shape=[3,5]>(p) {END} }}",
        "InstanceNormalization",
    ),
}

CENTRED = "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) t = ReduceMean<axes=[-1]>(p)"
RAW = (
    "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) k = Mul(m, m) p = Mul(x, x) q = ReduceMean<axes=[-1]>(p) u = Sub(q, k)"
)
BOUNDS = {
    "a variance that may not be negative, by Max": Row(
        f"{X34} <{NUMBERS}, float zero = {{0.0}}, float[4] g, float[4] b>{{ {RAW} v = Max(u, zero) {END} }}",
        "LayerNormalization",
    ),
    "a variance that may not be negative, by Clip": Row(
        f"{X34} <{NUMBERS}, float zero = {{0.0}}, float[4] g, float[4] b>{{ {RAW} v = Clip(u, zero) {END} }}",
        "LayerNormalization",
    ),
    "a variance that may not be negative, by Relu": Row(
        f"{X34} <{NUMBERS}, float[4] g, float[4] b>{{ {RAW} v = Relu(u) {END} }}", "LayerNormalization"
    ),
    "a variance that may not be negative, by Abs": Row(
        f"{X34} <{NUMBERS}, float[4] g, float[4] b>{{ {CENTRED} v = Abs(t) {END} }}", "LayerNormalization"
    ),
    "a bound that epsilon keeps from binding": Row(
        f"{X34} <{NUMBERS}, float low = {{0.0005}}>"
        f"{{ {CENTRED} w = Add(t, eps) c = Clip(w, low) s = Sqrt(c) y = Div(d, s) }}",
        "LayerNormalization",
    ),
    "epsilon added by Sum": Row(
        f"{X34} <{NUMBERS}>{{ {CENTRED} w = Sum(t, eps) s = Sqrt(w) y = Div(d, s) }}", "LayerNormalization"
    ),
}

LENGTHS = {
    "L1 normalization": Row(f"{X34} {{ l = ReduceL1<axes=[-1]>(x) y = Div(x, l) }}", "LpNormalization"),
    "L1 normalization, the sum of magnitudes": Row(
        f"{X34} <int64[1] last = {{-1}}>{{ a = Abs(x) l = ReduceSum(a, last) r = Reciprocal(l) y = Mul(x, r) }}",
        "LpNormalization",
    ),
    "LpNormalization 1 and a scale that undoes a scale": Row(
        f"{X34} <float half = {{0.5}}, float two = {{2.0}}>"
        "{ n = LpNormalization<p=1, axis=-1>(x) h = Mul(n, half) y = Mul(h, two) }",
        "LpNormalization",
    ),
    "F.normalize loses its Expand": Row(
        f"{X34} <float low = {{0.5}}>"
        "{ l = ReduceL2<axes=[-1]>(x) c = Clip(l, low) z = Shape(x) e = Expand(c, z) y = Div(x, e) }",
        "ReduceL2 Max Div",
    ),
    "F.normalize of order 1": Row(
        f"{X34} <float low = {{0.5}}>"
        "{ l = ReduceL1<axes=[1]>(x) c = Clip(l, low) z = Shape(x) e = Expand(c, z) y = Div(x, e) }",
        "ReduceL1 Max Div",
    ),
    "TensorFlow's l2_normalize": Row(
        f"{X34} <float low = {{2.0}}, int64[1] last = {{-1}}>"
        "{ p = Mul(x, x) q = ReduceSum(p, last) c = Max(q, low) s = Sqrt(c) r = Reciprocal(s) y = Mul(x, r) }",
        "ReduceL2 Max Div",
        target="openvino",
    ),
    "Keras's UnitNormalization": Row(
        f"{X34} <float high = {{0.7}}, int64[1] last = {{-1}}>"
        "{ p = Mul(x, x) q = ReduceSum(p, last) s = Sqrt(q) r = Reciprocal(s) c = Min(r, high) y = Mul(x, c) }",
        "ReduceL2 Max Div",
        target="openvino",
    ),
    "over several axes, with a scale": Row(
        f"{X4} <float low = {{4.0}}, float g = {{3.0}}>"
        "{ p = Mul(x, x) q = ReduceSum(p, axes) c = Max(q, low) s = Sqrt(c) r = Reciprocal(s) n = Mul(x, r)"
        " y = Mul(n, g) }".replace("axes)", "hw)").replace("{ p", "{ hw = Constant<value_ints=[2, 3]>() p"),
        "ReduceL2 Max Div Mul",
        target="openvino",
    ),
    "along the channels, from the sum of squares": Row(
        f"{X4} <int64[1] c = {{1}}>{{ p = Mul(x, x) q = ReduceSum(p, c) s = Sqrt(q) y = Div(x, s) }}", "ReduceL2 Div"
    ),
    "along the channels, with a scale for each, as SSD writes it": Row(
        f"{X4} <float[4,1,1] g, int64[1] c = {{1}}, float two = {{2.0}}>"
        "{ n = Mul(x, g) p = Pow(x, two) q = ReduceSum(p, c) s = Sqrt(q) y = Div(n, s) }",
        "ReduceL2 Div Mul",
    ),
    "PixelNorm without epsilon": Row(
        f"{X4} <float two = {{2.0}}>{{ p = Pow(x, two) q = ReduceMean<axes=[1]>(p) s = Sqrt(q) r = Reciprocal(s)"
        "y = Mul(x, r) }",
        "ReduceL2 Div Mul",
    ),
    "along another axis, where that is not slow": Row(
        f"{X34} {{ l = ReduceL2<axes=[1]>(x) y = Div(x, l) }}", "LpNormalization", target="openvino"
    ),
}

SUMS = {
    "a sum of squares by an Einsum": Row(
        f"{X34} <{NUMBERS}, float n = {{4.0}}, int64[1] last = {{-1}}, float[4] g>"
        '{ e = Einsum<equation="bsd, bsd -> bs">(x, x) u = Unsqueeze(e, last) v = Div(u, n) w = Add(v, eps)'
        "s = Sqrt(w) z = Div(x, s) y = Mul(z, g) }",
        "RMSNormalization",
    ),
    "a sum of squares by an Einsum that counts axes from behind": Row(
        f"{X34} <{NUMBERS}, float four = {{4.0}}, int64[1] last = {{-1}}, float[4] g, float[4] b>"
        "{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m)"
        f'e = Einsum<equation="...i,...i->...">(d, d) u = Unsqueeze(e, last) v = Div(u, four) {END} }}',
        "LayerNormalization",
    ),
    "a row times itself as a column": Row(
        f"{X34} <{NUMBERS}, float n = {{4.0}}, int64[1] row = {{2}}, int64[1] last = {{3}}, float[4] g>"
        "{ r = Unsqueeze(x, row) c = Unsqueeze(x, last) e = MatMul(r, c) u = Squeeze(e, last) v = Div(u, n)"
        "w = Add(v, eps) s = Sqrt(w) z = Div(x, s) y = Mul(z, g) }",
        "RMSNormalization",
    ),
    "means by a MatMul with equal weights": Row(
        f"{X34} <{NUMBERS}, float[4,1] e = {{0.25, 0.25, 0.25, 0.25}}, float[4] g, float[4] b>"
        f"{{ m = MatMul(x, e) d = Sub(x, m) p = Mul(d, d) v = MatMul(p, e) {END} }}",
        "LayerNormalization",
    ),
    "means by a MatMul with equal weights, repeated for each channel": Row(
        f"{X34} <{NUMBERS}, float[4,4] e = {{{', '.join(['0.25'] * 16)}}}, float[4] g, float[4] b>"
        f"{{ m = MatMul(x, e) d = Sub(x, m) p = Mul(d, d) v = MatMul(p, e) {END} }}",
        "LayerNormalization",
    ),
    "sums by a large MatMul of ones": Row(
        f"(float[N,2,300] x) => (float[N,2,300] y) <{NUMBERS}, float all = {{300.0}}, float[300] g, float[300] b,"
        f" float[300,300] e = {{{', '.join('1' * 90000)}}}> {{ t = MatMul(x, e) m = Div(t, all) d = Sub(x, m)"
        f" p = Mul(d, d) u = MatMul(p, e) v = Div(u, all) {END} }}",
        "LayerNormalization",
    ),
    "a row times its Transpose": Row(
        f"{X34} <{NUMBERS}, float n = {{4.0}}, int64[1] row = {{2}}, int64[1] last = {{3}}, float[4] g>"
        "{ r = Unsqueeze(x, row) c = Transpose<perm=[0,1,3,2]>(r) e = MatMul(r, c) u = Squeeze(e, row) v = Div(u, n)"
        "w = Add(v, eps) k = Log(w) half = Constant<value_float=-2.0>() l = Div(k, half) s = Exp(l) z = Mul(x, s)"
        "y = Mul(z, g) }",
        "RMSNormalization",
    ),
    "the mean of an axis of size 1 as well": Row(
        f"{X34} <{NUMBERS}, int64[1] at = {{2}}, float[4] g, float[4] b>"
        "{ f = Unsqueeze(x, at) i = ReduceMean<axes=[2,3]>(f) m = Squeeze(i, at) d = Sub(x, m) p = Mul(d, d)"
        f"h0 = Unsqueeze(p, at) j = ReduceMean<axes=[2,3]>(h0) v = Squeeze(j, at) {END} }}",
        "LayerNormalization",
    ),
}

SHARED = {
    "norms of several kinds of one value": Row(
        f"(float[N,3,4] x) => (float[N,3,4] y, float[N,3,4] z, float[N,3,4] u) <{NUMBERS}, float[4] g, float[4] b>"
        f"{{ {CENTRED} v = Identity(t) {END} r = Pow(x, two) i = ReduceMean<axes=[-1]>(r) j = Add(i, eps)"
        "k = Sqrt(j) l = Reciprocal(k) z = Mul(x, l) o = ReduceL2<axes=[-1]>(x) u = Div(x, o) }",
        "LayerNormalization RMSNormalization LpNormalization",
        fused=3,
    ),
}

MOMENTS = (
    "r = Reshape(x, split) m = ReduceMean<axes=[1,2,4]>(r) d = Sub(r, m) p = Mul(d, d)"
    "v = ReduceMean<axes=[1,2,4]>(p) w = Add(v, eps) s = Sqrt(w) i = Reciprocal(s)"
)
SPLIT = "int64[5] split = {-1, 3, 5, 2, 4}, int64[4] back = {-1, 3, 5, 8}"
KERAS = f"{MOMENTS} j = Mul(i, g) k = Mul(r, j) l = Mul(m, j) z = Sub(b, l) o = Add(k, z)"
CHANNELS_LAST = {
    "GroupNorm as Keras writes it": Row(
        f"{LAST8} <{SPLIT}, {NUMBERS}, float[1,1,1,2,4] g, float[1,1,1,2,4] b>{{ {KERAS} y = Reshape(o, back) }}",
        "Transpose Reshape InstanceNormalization Reshape BatchNormalization Transpose",
    ),
    "GroupNorm with its affine behind": Row(
        f"{LAST8} <{SPLIT}, {NUMBERS}, float[8] g, float[8] b>"
        f"{{ {MOMENTS} o = Mul(d, i) q = Reshape(o, back) h = Mul(q, g) y = Add(h, b) }}",
        "Transpose Reshape InstanceNormalization Reshape BatchNormalization Transpose",
    ),
    "GroupNorm in one dimension": Row(
        "(float[N,7,8] x) => (float[N,7,8] y) <int64[4] split = {-1, 7, 2, 4}, int64[3] back = {-1, 7, 8},"
        f"{NUMBERS}, float[8] g, float[8] b>"
        "{ r = Reshape(x, split) m = ReduceMean<axes=[1,3]>(r) d = Sub(r, m) p = Mul(d, d)"
        "v = ReduceMean<axes=[1,3]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(d, s) q = Reshape(n, back) h = Mul(q, g)"
        "y = Add(h, b) }",
        "Transpose Reshape InstanceNormalization Reshape BatchNormalization Transpose",
    ),
    "GroupNorm of one channel a group": Row(
        f"{LAST4} <int64[5] split = {{-1, 3, 5, 4, 1}}, int64[4] back = {{-1, 3, 5, 4}}, {NUMBERS},"
        f"float[1,1,1,4,1] g, float[1,1,1,4,1] b>{{ {KERAS} y = Reshape(o, back) }}",
        "Transpose InstanceNormalization Transpose",
    ),
    "GroupNorm for a target that has it": Row(
        f"{LAST8} <{SPLIT}, {NUMBERS}, float[1,1,1,2,4] g, float[1,1,1,2,4] b>{{ {KERAS} y = Reshape(o, back) }}",
        "Transpose GroupNormalization Transpose",
        target="directml",
    ),
    "RMSNorm over the spatial axes": Row(  # was once divided without the Transposes, by a scale of axis 1
        f"{LAST4} <{NUMBERS}, float[4] g, float one = {{1.0}}>"
        "{ c = Cast<to=1>(x) p = Mul(c, c) e = Cast<to=1>(p) m = ReduceMean<axes=[1,2]>(e) w = Add(m, eps)"
        "t = Cast<to=1>(w) s = Sqrt(t) i = Div(one, s) n = Mul(x, i) h = Cast<to=1>(n) y = Mul(h, g) }",
        "Transpose RMSNormalization Transpose Mul",
    ),
    "InstanceNorm over the spatial axes": Row(
        f"{LAST4} <{NUMBERS}, float[4] g, float[4] b>"
        "{ m = ReduceMean<axes=[1,2]>(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[1,2]>(p)"
        f"{END} }}",
        "Transpose InstanceNormalization Transpose",
    ),
    "InstanceNorm of unknown sizes": Row(
        f"(float[N,H,W,4] x) => (float[N,H,W,4] y) <{NUMBERS}, float[4] g, float[4] b>"
        "{ m = ReduceMean<axes=[1,2]>(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[1,2]>(p)"
        f"{END} }}",
        "Transpose InstanceNormalization Transpose",
    ),
    "a scale computed elsewhere": Row(
        f"(float[N,3,5,4] x, float[4] k) => (float[N,3,5,4] y) <{NUMBERS}, float[4] b>"
        "{ g = Neg(k) m = ReduceMean<axes=[1,2]>(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[1,2]>(p)"
        f"{END} }}",
        "Neg Transpose InstanceNormalization Transpose",
    ),
    "between Transposes that it meets": Row(
        f"(float[N,8,3,5] a) => (float[N,8,3,5] c) <{SPLIT}, {NUMBERS}, float[1,1,1,2,4] g, float[1,1,1,2,4] b>"
        f"{{ x = Transpose<perm=[0,2,3,1]>(a) {KERAS} y = Reshape(o, back) c = Transpose<perm=[0,3,1,2]>(y) }}",
        "Reshape InstanceNormalization Reshape BatchNormalization",
    ),
}

KERAS_ROWS = (
    "int64[4] rows = {1, -1, 16, 1}, int64[3] others = {0, 2, 3}, int64[1] start = {0}, int64[1] end = {2},"
    "float one = {1.0}, float zero = {0.0}, float n = {16.0}, float[16] g, float[16] b"
)
KERAS_BATCHNORM = (
    "r = Reshape(x, rows) s = Shape(x) c = Slice(s, start, end) p = ReduceProd<axes=[0]>(c) e = Expand(one, p)"
    "z = Expand(zero, p) m = ReduceMean<axes=[0,2,3]>(r) d = Sub(r, m)"
    "q = ReduceSumSquare<axes=[0,2,3], keepdims=0>(d) v = Div(q, n) k = Squeeze(m, others)"
    "t = BatchNormalization<epsilon=0.001>(r, e, z, k, v) o = Reshape(t, s)"
)
EXPORTERS = {
    "LayerNorm of Keras 2 by tf2onnx, a BatchNormalization with the statistics of the rows": Row(
        f"(float[N,3,16] x) => (float[N,3,16] y) <{KERAS_ROWS}> {{ {KERAS_BATCHNORM} h = Mul(o, g) y = Add(h, b) }}",
        "LayerNormalization",
    ),
    "the same without its affine": Row(
        f"(float[N,3,16] x) => (float[N,3,16] y) <{KERAS_ROWS}> {{ {KERAS_BATCHNORM} y = Identity(o) }}",
        "LayerNormalization",
    ),
    "LayerNorm of Keras, a BatchNormalization in training mode": Row(
        "(float[2,3,16] x) => (float[2,3,16] y) <int64[4] rows = {1, 6, 16, 1}, int64[1] six = {6}, float one = {1.0},"
        "float zero = {0.0}, float[6] mean, float[6] var, int64[3] back = {2, 3, 16}, float[16] g, float[16] b>"
        "{ r = Reshape(x, rows) e = Expand(one, six) z = Expand(zero, six)"
        "t, u, v = BatchNormalization<epsilon=0.001, training_mode=1>(r, e, z, mean, var)"
        "o = Reshape(t, back) h = Mul(o, g) y = Add(h, b) }",
        "LayerNormalization",
    ),
    "a BatchNormalization in training mode on a batch of 1": Row(
        "(float[1,4,3,5] x) => (float[1,4,3,5] y) <float[4] g, float[4] b, float[4] mean, float[4] var>"
        "{ y, u, v = BatchNormalization<epsilon=0.001, training_mode=1>(x, g, b, mean, var) }",
        "InstanceNormalization",
    ),
    "LayerNorm of Flax by jax2tf, statistics reshaped to rows whose number has another name": Row(
        "(float[N,4,8] x0) => (float[N,32] y) <int64[2] flat = {-1, 32}, int64[1] one = {1}, int64[1] zero = {0},"
        f"{NUMBERS}, float none = {{0.0}}, float[1,32] g, float[1,32] b>"
        "{ x = Reshape(x0, flat) a = ReduceMean<axes=[1], keepdims=0>(x) p = Mul(x, x)"
        "q = ReduceMean<axes=[1], keepdims=0>(p) c = Mul(a, a) v = Sub(q, c) w = Max(none, v)"
        "s = Shape(x0) f = Slice(s, zero, one, zero) t = Concat<axis=0>(f, one) k = Reshape(w, t) i = Add(k, eps)"
        "j = Sqrt(i) r = Reciprocal(j) u = Mul(r, g) m = Reshape(a, t) d = Sub(x, m) h = Mul(d, u) y = Add(h, b) }",
        "Reshape LayerNormalization",
    ),
    "RMSNorm of Flax by jax2onnx, epsilon cast like the data": Row(
        "(float[N,3,4] x) => (float[N,3,4] y) <float eps = {0.0009765625}, float[4] g>"
        "{ e = CastLike(eps, x) p = Mul(x, x) q = ReduceMean<axes=[2]>(p) w = Add(q, e) s = Sqrt(w) n = Div(x, s)"
        "y = Mul(n, g) }",
        "RMSNormalization",
    ),
    "LayerNorm over three axes of Keras 3, the data transposed and the statistics reshaped": Row(
        "(float[N,4,3,5] x) => (float[N,4,3,5] y) <float eps = {0.0009765625}, int64[4] flat = {-1, 1, 1, 1},"
        "float[1,3,5,4] g, float[1,3,5,4] b> { m = ReduceMean<axes=[2,3,1]>(x) o = Neg(m) k = Reshape(m, flat)"
        "d = Sub(x, k) p = Mul(d, d) v = ReduceMean<axes=[2,3,1]>(p) w = Add(v, eps) s = Sqrt(w) r = Reciprocal(s)"
        "q = Reshape(r, flat) h = Mul(q, g) c = Reshape(o, flat) e = Mul(c, h) f = Add(e, b)"
        "t = Transpose<perm=[0,2,3,1]>(x) i = Mul(t, h) j = Add(i, f) y = Transpose<perm=[0,3,1,2]>(j) }",
        "LayerNormalization",
    ),
    "a norm over channels whose scale is applied to the transposed data": Row(
        "(float[N,4,3,5] x) => (float[N,4,3,5] y) <float eps = {0.0009765625}, int64[4] pixels = {-1, 3, 5, 1},"
        "float[4] g> { p = Mul(x, x) v = ReduceMean<axes=[1]>(p) w = Add(v, eps) s = Sqrt(w) q = Reshape(s, pixels)"
        "t = Transpose<perm=[0,2,3,1]>(x) n = Div(t, q) h = Mul(n, g) y = Transpose<perm=[0,3,1,2]>(h) }",
        "Transpose RMSNormalization Transpose",
    ),
}
