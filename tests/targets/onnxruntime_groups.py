"""List what ONNX Runtime executes as one operator on CPU, each claim with an example to test it on.

The names of operators are those of its optimized graph, as ``SessionOptions.optimized_model_filepath`` shows it.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html, and the installed version.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Operators that ONNX Runtime executes as one.

    ``operator`` is what its optimizer makes of them. ``example`` is a graph in ONNX text of operator set ``opset``, on
    which that can be seen; ``since`` is the first release, as (major, minor), that does it.
    """

    name: str
    operator: str
    example: str
    opset: int = 17
    since: tuple[int, int] = (0, 0)


_X = "(float[2,5,8] x) => (float[2,5,8] y)"
_GELU = _X + "<float root = {1.4142135}, float one = {1.0}, float half = {0.5}> { a = Div(x, root) "
# A Gelu by tanh is not found where it makes an output of the graph.
_TANH = (
    "(float[2,5,8] x) => (float[10,8] y) <int64[2] rows = {10, 8}, float c = {0.044715},"
    "float k = {0.7978845608}, float one = {1.0}, float half = {0.5}, float three = {3.0}>"
    "{ q = Pow(x, three) d = Mul(q, c) s = Add(x, d) u = Mul(s, k) t = Tanh(u)"
)
_NORM = _X + "<float two = {2.0}, float eps = {0.00001}, float[8] g, float[8] b>"
_TWO = "(float[2,5,8] x, float[2,5,8] z) => (float[2,5,5] y)"
_BIAS = "<float[8,8] w, float[8] b> { m = MatMul(x, w) y = Add(m, b) }"
_CENTRED = _NORM + "{ m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) p = Pow(d, two)"
_UNCENTRED = _NORM + "{ p = Pow(x, two)"
_ROOT = "v = ReduceMean<axes = [-1]>(p) w = Add(v, eps) s = Sqrt(w)"
_SKIP = "(float[2,5,8] x, float[2,5,8] z) => (float[2,5,8] y) <float[8] g, float[8] b>"
_SQUARE = "<float[8,8] w, float f = {0.5}>"
_CONV = (
    "(float[1,3,9,9] x) => (float[1,4,7,7] y)"
    "<float[4,3,3,3] w, float[4] b, float[4] var, float low = {0.0}, float high = {6.0}> { c = Conv(x, w, b)"
)
_QUANTIZED = (
    "(float[2,5,8] x) => (float[2,5,8] y) <uint8[8,8] w = {"
    + ", ".join(["3"] * 64)
    + "}, uint8 zero = {3}, float scale = {0.1}, float[8] b>"
    "{ q, qs, qz = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, qz, zero) f = Cast<to = 1>(i) s = Mul(qs, scale)"
)

# Name, what it becomes, an example, and the operator set of the example.
_ROWS: tuple[tuple[str, str, str, int], ...] = (
    ("Gelu, half behind", "Gelu", _GELU + "e = Erf(a) p = Add(e, one) m = Mul(x, p) y = Mul(m, half) }", 17),
    ("Gelu, half before", "Gelu", _GELU + "e = Erf(a) p = Add(e, one) h = Mul(x, half) y = Mul(h, p) }", 17),
    ("Gelu by tanh", "FastGelu", _TANH + "h = Mul(x, half) p = Add(t, one) z = Mul(h, p) y = Reshape(z, rows) }", 17),
    ("Silu", "QuickGelu", _X + "{ s = Sigmoid(x) y = Mul(x, s) }", 17),
    ("QuickGelu", "QuickGelu", _X + "<float f = {1.702}> { a = Mul(x, f) s = Sigmoid(a) y = Mul(x, s) }", 17),
    ("LayerNorm", "LayerNormalization", _CENTRED + _ROOT + "n = Div(d, s) h = Mul(n, g) y = Add(h, b) }", 17),
    ("RMSNorm", "SimplifiedLayerNormalization", _UNCENTRED + _ROOT + "n = Div(x, s) y = Mul(n, g) }", 17),
    ("Add and LayerNorm", "SkipLayerNormalization", _SKIP + "{ a = Add(x, z) y = LayerNormalization(a, g, b) }", 17),
    ("MatMul and factor", "FusedMatMul", _X + _SQUARE + "{ m = MatMul(x, w) y = Mul(m, f) }", 17),
    ("MatMul of a transposed", "FusedMatMul", _TWO + "{ t = Transpose<perm = [0, 2, 1]>(z) y = MatMul(x, t) }", 17),
    ("MatMul and bias, rank 2", "Gemm", "(float[5,8] x) => (float[5,8] y)" + _BIAS, 17),
    ("MatMul and bias, rank 3", "Gemm", _X + _BIAS, 17),
    ("Conv and Relu", "FusedConv", _CONV + "y = Relu(c) }", 17),
    ("Conv and Clip", "FusedConv", _CONV + "y = Clip(c, low, high) }", 17),
    ("Conv and HardSigmoid", "FusedConv", _CONV + "y = HardSigmoid(c) }", 17),
    ("Conv and LeakyRelu", "FusedConv", _CONV + "y = LeakyRelu(c) }", 17),
    ("Conv and Sigmoid", "FusedConv", _CONV + "y = Sigmoid(c) }", 17),
    ("Conv and Tanh", "FusedConv", _CONV + "y = Tanh(c) }", 17),
    ("Conv and BatchNormalization", "Conv", _CONV + "y = BatchNormalization(c, b, b, b, var) }", 17),
    ("quantized MatMul", "DynamicQuantizeMatMul", _QUANTIZED + "y = Mul(f, s) }", 17),
    ("quantized MatMul and bias", "DynamicQuantizeMatMul", _QUANTIZED + "m = Mul(f, s) y = Add(m, b) }", 17),
)
ONNXRUNTIME_GROUPS: tuple[Group, ...] = tuple(Group(*row) for row in _ROWS)
