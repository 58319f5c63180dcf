"""Rows of ``test_table.py``: each condition of a rule, once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edge:
    """A graph in ONNX text, and what is said of each norm or near miss: its operator, with its form or reason.

    ``left`` is how many operators are left.
    """

    text: str
    said: str = ""
    left: int = 0
    opset: int = 17


X34 = "(float[N,3,4] x) => (float[N,3,4] y)"
X34Z4, X34Z1 = "(float[N,3,4] x, float[4] z) => (float[N,3,4] y)", "(float[N,3,4] x, float[1] z) => (float[N,3,4] y)"
X4 = "(float[N,4,3,5] x) => (float[N,4,3,5] y)"
FREE = "(float[?,?,4] x) => (float[?,?,4] y)"
NUMBERS = (
    "float half = {0.5}, float one = {1.0}, float two = {2.0}, float eps = {0.0009765625}, float inf = {inf},"
    "int64[1] last = {-1}, int64[1] first = {0}"
)
DEVIATION = "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[-1]>(p)"
NORM = f"{DEVIATION} w = Add(v, eps) s = Sqrt(w) n = Div(d, s)"
OVER_SPACE = "m = ReduceMean<axes=[2,3]>(x) d = Sub(x, m) p = Mul(d, d)"
END = "w = Add(v, eps) s = Sqrt(w) y = Div(d, s)"
FUSED, RMS = "LayerNormalization LayerNormalization", "RMSNormalization RMSNormalization"
RMS_ACROSS = "RMSNormalization Transpose-RMSNormalization-Transpose"
NONE = "float zero = {0.0}"
QUARTERS, HALVES, FOURTHS = "{0.25,0.25,0.25,0.25}", f"{{{','.join(['0.5'] * 16)}}}", f"{{{','.join(['0.25'] * 16)}}}"


def of(graph: str, nodes: str, constants: str = "") -> str:
    """The text of a graph with the usual numbers."""
    return f"{graph} <{NUMBERS}{', ' * bool(constants)}{constants}> {{ {nodes} }}"


ARITHMETIC = {
    "Max of what is no variance": Edge(
        of(
            "(float[N,3,4] x, int64[1] z) => (float[N,3,4] y)",
            "p = Mul(x, x) v = ReduceMean(p, z) w = Max(v, eps) s = Sqrt(w) y = Div(x, s)",
        ),
        "Div NF203",
        5,
        opset=18,
    ),
    "Min of what is no variance": Edge(
        of(
            "(float[N,3,4] x, int64[1] z) => (float[N,3,4] y)",
            "m = ReduceMean(x, last) d = Sub(x, m) p = Mul(d, d)"
            "v = ReduceMean(p, z) s = Sqrt(v) r = Reciprocal(s) t = Min(r, two) y = Mul(d, t)",
        ),
        "Mul NF203",
        8,
        opset=18,
    ),
    "a number over what is no variance": Edge(
        of(
            X34,
            "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(x, x) v = ReduceMean<axes=[-1]>(p) k = Mul(m, m)"
            "h = Mul(k, half) c = Sub(v, h) i = Div(one, c) y = Mul(d, i)",
        ),
        "Mul NF209",
        9,
    ),
    "an Identity and a Cast between two reductions": Edge(
        of(
            X4,
            "a = ReduceMean<axes=[2]>(x) i = Identity(a) m = ReduceMean<axes=[3]>(i) d = Sub(x, m) p = Mul(d, d)"
            f"c = ReduceMean<axes=[2]>(p) k = Cast<to=1>(c) v = ReduceMean<axes=[3]>(k) {END}",
        ),
        "InstanceNormalization InstanceNormalization",
        1,
    ),
    "a root of the data": Edge(of(X34, "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) s = Sqrt(x) y = Div(d, s)"), "", 4),
    "a power that is an input": Edge(
        of(X34Z1, f"m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Pow(d, z) v = ReduceMean<axes=[-1]>(p) {END}"), "", 7
    ),
    "the power 1/2 of what is no variance": Edge(
        of(
            X34,
            "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(x, x) v = ReduceMean<axes=[-1]>(p) k = Mul(m, m)"
            "h = Mul(k, half) c = Sub(v, h) w = Add(c, eps) s = Pow(w, half) y = Div(d, s)",
        ),
        "Div NF209",
        10,
    ),
    "the power of 1": Edge(of(X34, f"{DEVIATION} k = Pow(v, one) w = Add(k, eps) s = Sqrt(w) y = Div(d, s)"), FUSED, 1),
    "Max of three": Edge(of(X34Z1, "l = ReduceL2<axes=[-1]>(x) t = Max(l, eps, z) y = Div(x, t)"), "Div NF208", 3),
    "Min of three": Edge(
        of(X34Z1, "l = ReduceL2<axes=[-1]>(x) r = Reciprocal(l) t = Min(r, two, z) y = Mul(x, t)"), "Mul NF208", 4
    ),
    "Min of an inverse length": Edge(
        of(X34, "q = ReduceSumSquare<axes=[-1]>(x) s = Sqrt(q) r = Reciprocal(s) t = Min(r, two) y = Mul(x, t)"),
        "LpNormalization ReduceL2-Max-Div",
        3,
    ),
    "Sum of three": Edge(of(X34Z1, f"{DEVIATION} w = Sum(v, eps, z) s = Sqrt(w) y = Div(d, s)"), "", 7),
    "room for squares in half precision": Edge(
        "(float16[N,3,4] x) => (float16[N,3,4] y) <float k = {0.125}, float[4] g> { h = Cast<to=10>(k)"
        "f = Cast<to=10>(g) a = Mul(x, h) y = LayerNormalization<epsilon=0.001>(a, f) }",
        "LayerNormalization NF129",
        4,
    ),
    "a factor that the norm behind it takes out again": Edge(
        of(
            "(float[N,3,4] x) => (float[N,3,4] y)",
            "a = Mul(x, half) y = LayerNormalization<epsilon=0.001>(a, g)",
            "float[4] g",
        ),
        FUSED,
        1,
    ),
    "plus infinity": Edge(of(X34, f"{NORM} k = Add(n, inf) y = Min(k, one)"), FUSED, 3),
    "a factor of more axes than the data": Edge(
        of(
            "(float[N,2] x) => (float[N,2] y, float[2,N,2] k)",
            f"{NORM} y = Identity(n) k = Mul(n, c)",
            "float[2,1,2] c",
        ),
        FUSED,
        3,
    ),
    "divided by what is computed elsewhere": Edge(of(X34Z4, f"{NORM} t = Exp(z) y = Div(n, t)"), FUSED, 3),
    "a scale that makes it larger": Edge(
        of("(float[N,3,4] x, float[5,1,3,4] z) => (float[5,N,3,4] y)", f"{NORM} y = Mul(n, z)"), FUSED, 2
    ),
    "a scale along two axes": Edge(
        of("(float[N,3,4] x, float[3,4] z) => (float[N,3,4] y)", f"{NORM} y = Mul(n, z)"), FUSED, 2
    ),
    "a norm plus its own mean": Edge(of(X34, f"{NORM} y = Add(n, m)"), FUSED, 3),
    "a norm plus its own mean and a number": Edge(of(X34, f"{NORM} k = Add(n, m) y = Add(k, one)"), FUSED, 4),
    "two scales": Edge(
        of("(float[N,3,4] x, float[4] z, float[4] u) => (float[N,3,4] y)", f"{NORM} k = Mul(n, z) y = Mul(k, u)"),
        FUSED,
        2,
    ),
}
CONDITIONS = {
    "the largest square": Edge(
        of(
            X34,
            f"{NORM} high = ReduceMax<axes=[-1]>(p) low = ReduceMin<axes=[-1]>(x) e = Equal(low, high)"
            "y = Where(e, one, n)",
        ),
        FUSED,
        8,
    ),
    "Where of a stored truth": Edge(
        of(X34, f"{DEVIATION} k = Where(c, v, one) w = Add(k, eps) s = Sqrt(w) y = Div(d, s)", "bool c = {1}"), FUSED, 1
    ),
    "Where of an input": Edge(
        of(
            "(float[N,3,4] x, bool z) => (float[N,3,4] y)",
            f"{DEVIATION} k = Where(z, v, one) w = Add(k, eps) s = Sqrt(w) y = Div(d, s)",
        ),
        "",
        8,
    ),
    "Where chooses what comes from elsewhere": Edge(of(X34Z4, f"{NORM} y = Where(c, z, n)", "bool c = {1}"), FUSED, 2),
}
LAYOUT = {
    "a rank that is not known further up": Edge(
        of(
            "(float[2,3,4] a) => (float[2,3,4] y)",
            f"f = Shape(a) k = Compress<axis=0>(f, all) q = Reshape(a, k) x = Reshape(q, to) {NORM} y = Identity(n)",
            "int64[3] to = {2, -1, 4}, bool[3] all = {1, 1, 1}",
        ),
        FUSED,
        5,
    ),
    "more numbers than the declared rank": Edge(
        of("(float[2,3,4] x) => (float[2,12] y)", f"{NORM} y = Reshape(n, to)", "int64[3] to = {2, 6, -1}"), FUSED, 2
    ),
    "what is no variance, in another shape": Edge(
        of(
            "(float[N,3,4] x, int64[1] z) => (float[N,3,4] y)",
            "m = ReduceMean(x, last) d = Sub(x, m) p = Mul(d, d)"
            "v = ReduceMean(p, z) w = Add(v, eps) k = Squeeze(w, last) s = Sqrt(k)"
            "r = Unsqueeze(s, last) y = Div(d, r)",
        ),
        "Div NF203",
        9,
        opset=18,
    ),
    "other data in a shape that is counted": Edge(
        of(
            "(float[N,3,4] x, float[9] z) => (float[N,3,4] y, float[K] r)",
            f"{NORM} y = Identity(n) k = Size(m) i = Unsqueeze(k, first) r = Reshape(z, i)",
        ),
        FUSED,
        5,
    ),
    "a shape that is an input": Edge(
        of(
            "(float[N,3,4] x, int64[K] z) => (float[N,3,4] y)",
            f"{DEVIATION} k = Reshape(v, z) w = Add(k, eps)s = Sqrt(w) y = Div(d, s)",
        ),
        "norm NF215",
        8,
    ),
    "two unnamed sizes and a Squeeze": Edge(
        of(FREE, f"{DEVIATION} k = Squeeze(v, last) w = Add(k, eps) s = Sqrt(w) u = Unsqueeze(s, last) y = Div(d, u)"),
        FUSED,
        1,
    ),
    "two unnamed sizes and a Reshape to the shape of the data": Edge(
        of(FREE, f"f = Shape(x) {NORM} k = Reshape(n, f) y = Mul(k, g)", "float[4] g"), FUSED, 2
    ),
    "a Squeeze of every axis": Edge(
        of("(float[1,4] x) => (float[1,4] y)", f"{DEVIATION} k = Squeeze(v) w = Add(k, eps) s = Sqrt(w) y = Div(d, s)"),
        "",
        8,
    ),
    "a Squeeze of the batch": Edge(
        of(
            "(float[N,4] x) => (float[N,4] y)",
            f"{DEVIATION} k = Squeeze(v, first) w = Add(k, eps) s = Sqrt(w)y = Div(d, s)",
        ),
        "",
        8,
    ),
    "statistics of groups, in another shape": Edge(
        of(
            "(float[2,4,3,5] x) => (float[2,4,3,5] y)",
            "r = Reshape(x, split) m = ReduceMean<axes=[2]>(r) d = Sub(r, m) p = Mul(d, d) v = ReduceMean<axes=[2]>(p)"
            "k = Reshape(v, longer) u = Reshape(k, shorter) w = Add(u, eps) s = Sqrt(w) n = Div(d, s)"
            "y = Reshape(n, back)",
            "int64[3] split = {2, 2, 30}, int64[5] longer = {2, 2, 1, 1, 1}, int64[3] shorter = {2, 2, 1},"
            "int64[4] back = {2, 4, 3, 5}",
        ),
        FUSED,
        3,
    ),
    "Expand beyond the data": Edge(
        of(
            "(float[N,3,4] x) => (float[N,3,4] y, float[5,N,3,4] k)",
            f"{NORM} y = Identity(n) k = Expand(m, to)",
            "int64[4] to = {5, 1, 3, 4}",
        ),
        FUSED,
        2,
    ),
    "Expand to the shape of data with two unnamed sizes": Edge(
        of(FREE, f"f = Shape(x) {DEVIATION} w = Add(v, eps) s = Sqrt(w) k = Expand(s, f) y = Div(d, k)"), FUSED, 2
    ),
    "Expand to a shape that is an input": Edge(
        of(
            "(float[N,3,4] x, int64[3] z) => (float[N,3,4] y)",
            f"{DEVIATION} k = Expand(v, z) w = Add(k, eps)s = Sqrt(w) y = Div(d, s)",
        ),
        "",
        8,
    ),
    "a reduction of what was repeated": Edge(
        of(
            X34,
            f"{DEVIATION} k = Expand(v, to) l = ReduceMean<axes=[-1], keepdims=0>(k) w = Add(l, eps) s = Sqrt(w)"
            "u = Unsqueeze(s, last) y = Div(d, u)",
            "int64[3] to = {1, 3, 4}",
        ),
        "norm NF223",
        10,
    ),
    "gamma, and then batch and channels together": Edge(
        of(
            "(float[N,3,4] x) => (float[K,4] y)",
            f"{NORM} h = Mul(n, g) r = Reshape(h, to) y = Mul(r, two)",
            "float[3,1] g, int64[2] to = {-1, 4}",
        ),
        "InstanceNormalization InstanceNormalization",
        3,
    ),
    "a scale from elsewhere, batch and channels together and apart again": Edge(
        of(
            "(float[N,3,4] x, float[3,1] z) => (float[N,3,4] y)",
            f"{NORM} h = Mul(n, z) r = Reshape(h, to) k = Mul(r, two) y = Reshape(k, back)",
            "int64[2] to = {-1, 4}, int64[3] back = {-1, 3, 4}",
        ),
        "LayerNormalization InstanceNormalization",
        5,
    ),
    "statistics of the flat data": Edge(
        of(
            X4,
            "f = Flatten(x) a = ReduceMean<axes=[1]>(f) m = Reshape(a, to) d = Sub(x, m) k = Flatten(d) p = Mul(k, k)"
            f"c = ReduceMean<axes=[1]>(p) v = Reshape(c, to) {END}",
            "int64[4] to = {-1, 1, 1, 1}",
        ),
        FUSED,
        1,
    ),
}
OPERATORS = {
    "a norm of other axes of what has no mean": Edge(
        of(X34, "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) y = LayerNormalization<axis=1>(d, g)", "float[3,4] g"),
        "LayerNormalization NF129",
        3,
    ),
    "a norm between two Transposes": Edge(
        of(
            "(float[N,4,4] x) => (float[N,4,4] y)",
            "t = Transpose<perm=[0,2,1]>(x) k = LayerNormalization(t, g) u = Mul(k, two)y = Transpose<perm=[0,2,1]>(u)",
            "float[4] g",
        ),
        FUSED,
        3,
    ),
    "a BatchNormalization between two Transposes behind a norm": Edge(
        of(
            "(float[N,4,4] x) => (float[N,4,4] y)",
            f"{NORM} t = Transpose<perm=[0,2,1]>(n) b = BatchNormalization(t, c, c, c, c)"
            "y = Transpose<perm=[0,2,1]>(b)",
            "float[4] c = {1, 2, 3, 4}",
        ),
        FUSED,
        4,
    ),
    "a BatchNormalization of rows with an infinite scale": Edge(
        of(
            "(float[1,4,8,1] x) => (float[1,4,8,1] y)",
            "y, c, v = BatchNormalization<training_mode=1>(x, i, a, a, a)",
            "float[4] i = {inf, inf, inf, inf}, float[4] a",
        ),
        "",
        1,
    ),
    "a BatchNormalization of rows whose scale is computed": Edge(
        of(
            "(float[1,4,8,1] x, float[4] z) => (float[1,4,8,1] y)",
            "y, c, v = BatchNormalization<training_mode=1>(x, z, a, a, a)",
            "float[4] a",
        ),
        "",
        1,
    ),
    "a norm of a norm": Edge(
        of(X34, "a = LayerNormalization(x, g) y = LayerNormalization(a, g)", "float[4] g"),
        "LayerNormalization NF129 LayerNormalization NF129",
        2,
    ),
    "a norm of other axes": Edge(
        of(X34, f"{NORM} k = LayerNormalization<axis=1>(x, g) y = Add(n, k)", "float[3,4] g"),
        "LayerNormalization LayerNormalization LayerNormalization NF129",
        3,
    ),
    "a norm of squares": Edge(
        of(X34, f"{NORM} a = Mul(x, x) k = LayerNormalization(a, g) y = Add(n, k)", "float[4] g"),
        "LayerNormalization LayerNormalization LayerNormalization NF129",
        4,
    ),
    "RMSNormalization of shifted data": Edge(
        of(X34, "a = Add(x, one) y = RMSNormalization(a, g)", "float[4] g"), "RMSNormalization NF129", 2, opset=23
    ),
    "a scale behind RMSNormalization": Edge(
        of(X34, "a = RMSNormalization(x, g) y = Mul(a, two)", "float[4] g"),
        "RMSNormalization RMSNormalization",
        1,
        opset=23,
    ),
    "a frozen BatchNormalization of the same data": Edge(
        of(
            X4,
            f"{OVER_SPACE} v = ReduceMean<axes=[2,3]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(d, s)"
            "k = BatchNormalization(x, c, c, c, c) y = Add(n, k)",
            "float[4] c = {1, 2, 3, 4}",
        ),
        "InstanceNormalization InstanceNormalization",
        3,
    ),
    "MeanVarianceNormalization of axes that are not there": Edge(
        of(X34, "y = MeanVarianceNormalization(x)"), "MeanVarianceNormalization NF129", 1
    ),
    "a scale of unknown shape": Edge(
        of(
            "(float[N,3,4] x, float[4] z, int64[K] k) => (float[N,3,4] y)",
            "q = Reshape(z, k) a = LayerNormalization(x, q) y = Mul(a, two)",
        ),
        "LayerNormalization NF129",
        3,
    ),
    "a scale of each group, computed": Edge(
        of(
            "(float[N,4,3,5] x, float[2] z) => (float[N,4,3,5] y)",
            "a = GroupNormalization<num_groups=2>(x, z, z) y = Mul(a, two)",
        ),
        "GroupNormalization NF129",
        2,
        opset=18,
    ),
    "a scale of the data's own statistics": Edge(
        of(
            "(float[1,4,8] x) => (float[1,4,8] y)",
            "m = ReduceMean<axes=[0,2], keepdims=0>(x)k = Exp(m) a = InstanceNormalization(x, m, k) y = Mul(a, two)",
        ),
        "LayerNormalization InstanceNormalization",
        5,
    ),
}
REDUCTIONS = {
    "a vector times the data": Edge(
        of("(float[4,4] x, float[4] z) => (float[4,4] y, float[4] k)", f"{NORM} y = Identity(n) k = MatMul(z, x)"),
        FUSED,
        2,
    ),
    "the number of elements in groups": Edge(
        of(
            "(float[2,4,3,5] x) => (float[2,4,3,5] y)",
            "r = Reshape(x, split) m = ReduceMean<axes=[2]>(r) d = Sub(r, m)"
            "p = Mul(d, d) t = ReduceSum(p, last) a = Size(x) b = Size(t) e = Cast<to=1>(a)"
            "f = Cast<to=1>(b) c = Div(e, f) v = Div(t, c) w = Add(v, eps) s = Sqrt(w)"
            "n = Div(d, s) y = Reshape(n, back)",
            "int64[3] split = {2, 2, 30}, int64[4] back = {2, 4, 3, 5}",
        ),
        "GroupNormalization Reshape-InstanceNormalization-Reshape",
        3,
    ),
    "the mean of everything": Edge(
        of(
            "(float[3,4] x) => (float[3,4] y)", f"m = ReduceMean(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean(p) {END}"
        ),
        FUSED,
        1,
    ),
    "axes that are not there": Edge(
        of(X34, f"m = ReduceMean<axes=[5]>(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[5]>(p) {END}"),
        "ReduceMean NF112",
        7,
    ),
    "gamma of centred data that was transposed": Edge(
        of(
            X4,
            f"{OVER_SPACE} v = ReduceMean<axes=[2,3]>(p) w = Add(v, eps) s = Sqrt(w)"
            "r = Reshape(s, to) t = Transpose<perm=[0,2,3,1]>(d) n = Div(t, r)"
            "k = Mul(n, g) y = Transpose<perm=[0,3,1,2]>(k)",
            "float[4] g, int64[4] to = {-1, 1, 1, 4}",
        ),
        "InstanceNormalization InstanceNormalization",
        1,
    ),
    "zero where a root with an epsilon is zero": Edge(
        of(X34, f"{NORM} c = Equal(s, zero) y = Where(c, zero, n)", NONE),
        FUSED,
        1,
    ),
    "zero where a variance with an epsilon is zero": Edge(
        of(X34, f"{NORM} c = Equal(zero, w) y = Where(c, zero, n)", NONE),
        FUSED,
        1,
    ),
    "zero where a bounded length is zero": Edge(
        of(
            X34,
            "l = ReduceL2<axes=[-1]>(x) b = Max(l, eps) n = Div(x, b) c = Equal(b, zero) y = Where(c, zero, n)",
            NONE,
        ),
        "LpNormalization ReduceL2-Max-Div",
        3,
    ),
    "zero where a root may be zero": Edge(
        of(X34, f"{DEVIATION} s = Sqrt(v) n = Div(d, s) c = Equal(s, zero) y = Where(c, zero, n)", NONE),
        "LayerNormalization NF210",
        8,
    ),
    "zero where a root has a size that it may have": Edge(
        of(X34, f"{NORM} c = Equal(s, one) y = Where(c, zero, n)", NONE),
        "LayerNormalization NF210",
        9,
    ),
    "zero where a root is above zero": Edge(
        of(X34, f"{NORM} c = Greater(s, zero) y = Where(c, zero, n)", NONE),
        "LayerNormalization NF210",
        9,
    ),
    "a sum as a product with a vector": Edge(
        of(
            X34,
            f"k = MatMul(x, c) m = Unsqueeze(k, last) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) {END}",
            f"float[4] c = {QUARTERS}",
        ),
        FUSED,
        1,
    ),
    "sums as products with a matrix, of Gemm": Edge(
        of(
            "(float[N,4] x) => (float[N,4] y)",
            f"m = Gemm<alpha=0.5>(x, c) d = Sub(x, m) p = Mul(d, d) v = Gemm<transB=1>(p, r) {END}",
            f"float[4,4] c = {HALVES}, float[1,4] r = {QUARTERS}",
        ),
        FUSED,
        1,
    ),
    "a Gemm of columns": Edge(
        of(
            "(float[4,4] x) => (float[4,4] y)",
            f"m = Gemm<transA=1>(x, c) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) {END}",
            f"float[4,4] c = {HALVES}",
        ),
        RMS,
        4,
    ),
    "a sum and a bias": Edge(
        of(
            "(float[N,4] x) => (float[N,4] y)",
            f"m = Gemm(x, c, half) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) {END}",
            f"float[4,1] c = {QUARTERS}",
        ),
        RMS,
        4,
    ),
    "sums as convolutions to one channel and to all": Edge(
        of(
            X4,
            f"m = Conv<strides=[1,1]>(x, c) d = Sub(x, m) p = Mul(d, d) v = Conv<pads=[0,0,0,0]>(p, r) {END}",
            f"float[4,4,1,1] c = {FOURTHS}, float[1,4,1,1] r = {QUARTERS}",
        ),
        "LayerNormalization Transpose-LayerNormalization-Transpose",
        3,
    ),
    "a sum in groups": Edge(
        of(
            X4,
            f"m = Conv<group=2>(x, c) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[1]>(p) {END}",
            "float[4,2,1,1] c = {0.25,0.25,0.25,0.25,0.25,0.25,0.25,0.25}",
        ),
        RMS_ACROSS,
        6,
    ),
    "a sum of every other place": Edge(
        of(
            "(float[N,4,1,1] x) => (float[N,4,1,1] y)",
            f"m = Conv<strides=[2,2]>(x, c) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[1]>(p) {END}",
            f"float[1,4,1,1] c = {QUARTERS}",
        ),
        RMS_ACROSS,
        6,
    ),
    "a sum of a window": Edge(
        of(
            X4,
            f"m = Conv<pads=[0,1,0,1]>(x, c) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[1]>(p) {END}",
            "float[1,4,1,3] c = {0.25,0.25,0.25,0.25,0.25,0.25,0.25,0.25,0.25,0.25,0.25,0.25}",
        ),
        RMS_ACROSS,
        6,
    ),
    "sums as an Einsum, with and without weights": Edge(
        of(
            X34,
            'k = Einsum<equation="btc->bt">(x) n = Unsqueeze(k, last) m = Mul(n, e) d = Sub(x, m)'
            f'u = Einsum<equation="btc, btc, c -> bt">(d, d, c) v = Unsqueeze(u, last) {END}',
            f"float e = {{0.25}}, float[4] c = {QUARTERS}",
        ),
        FUSED,
        1,
    ),
    "a product of a mean": Edge(
        of(
            X34,
            f"a = ReduceMean<axes=[-1]>(x) m = MatMul(a, c) d = Sub(x, m) p = Mul(d, d)"
            f"v = ReduceMean<axes=[-1]>(p) {END}",
            "float[1,1] c = {0.25}",
        ),
        "RMSNormalization RMSNormalization",
        6,
    ),
    "a product with a vector of the data": Edge(
        of("(float[N,4] x, float[4] z) => (float[N,4] y, float[N] k)", f"{NORM} y = Identity(n) k = MatMul(x, z)"),
        FUSED,
        2,
    ),
    "the variance of more axes than the mean": Edge(
        of(
            X34,
            f"m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) a = ReduceMean<axes=[1]>(p)"
            f"v = ReduceMean<axes=[-1]>(a) {END}",
        ),
        "RMSNormalization RMSNormalization",
        6,
    ),
    "the channels in the second step": Edge(
        of(X4, f"{OVER_SPACE} a = ReduceMean<axes=[3]>(p) v = ReduceMean<axes=[1,2]>(a) {END}"),
        "RMSNormalization RMSNormalization",
        6,
    ),
    "weights along the axis of a step": Edge(
        of(
            X4,
            f"a = Mul(x, c) b = ReduceMean<axes=[3]>(a) m = ReduceMean<axes=[2]>(b) d = Sub(x, m) p = Mul(d, d)"
            f"v = ReduceMean<axes=[2,3]>(p) {END}",
            "float[5] c = {1, 2, 1, 1, 1}",
        ),
        "RMSNormalization RMSNormalization",
        8,
    ),
    "a sum of weighted data": Edge(
        of(
            X34,
            f"a = Mul(x, c) m = ReduceSum(a, last) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) {END}",
            "float[4] c = {0.1, 0.2, 0.3, 0.4}",
        ),
        "RMSNormalization RMSNormalization",
        5,
    ),
    "the number of elements, as Paddle counts it": Edge(
        of(
            "(float[N,3,M] x) => (float[N,3,M] y)",
            "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) t = ReduceSum(p, last) a = Size(x) b = Size(t)"
            f"e = Cast<to=1>(a) f = Cast<to=1>(b) c = Div(e, f) v = Div(t, c) {END}",
        ),
        "LayerNormalization InstanceNormalization",
        1,
    ),
    "the size of other data": Edge(
        of(
            "(float[N,3,4] x, float[N,3,4] z) => (float[N,3,4] y)",
            "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) t = ReduceSum(p, last) h = Mul(m, z) a = Size(h)"
            f"b = Size(t) e = Cast<to=1>(a) f = Cast<to=1>(b) c = Div(e, f) v = Div(t, c) {END}",
        ),
        "",
        14,
    ),
}
EDGES = ARITHMETIC | CONDITIONS | LAYOUT | OPERATORS | REDUCTIONS
