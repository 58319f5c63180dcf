"""Folds that are wrong by a centre, a type, a limit, a rare branch, one row of a table or an integer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from tests.sweeps.data_faults.trio import Array, Trio, linear, model, spread


def wrong_centre(rng: np.random.Generator) -> Trio:
    """(x - m) / s in a Gemm, computed for a centre half a spread off."""
    n, k = 6, 4
    s, w = spread(rng, n), linear(rng, n, k)
    m = (s * rng.uniform(20, 300, n)).astype(np.float32)
    original = model("(float[N,6] x) => (float[N,4] y) { c = Sub(x, m) d = Div(c, s) y = MatMul(d, w) }", m=m, s=s, w=w)

    def folded(centre: Array) -> onnx.ModelProto:
        v = (w / s[:, None]).astype(np.float32)
        bias = -(centre.astype(np.float64) / s @ w).astype(np.float32)
        return model("(float[N,6] x) => (float[N,4] y) { u = MatMul(x, v) y = Add(u, b) }", v=v, b=bias)

    off = m.copy()
    off[rng.integers(n)] *= np.float32(1 - 2e-4)
    return Trio(original, folded(m), folded(off))


def lost_digits(rng: np.random.Generator) -> Trio:
    """A shift of some million spreads, added behind the Gemm instead of before it."""
    n = 6
    s, w = np.ones(n, np.float32), linear(rng, n, 4)
    m = (10 ** rng.uniform(5.5, 7, n)).round().astype(np.float32)
    text = "(float[N,6] x) => (float[N,4] y) { c = Sub(x, m) d = Mul(c, s) y = MatMul(d, w) }"
    original = model(text, m=m, s=s, w=w)
    right = model("(float[N,6] x) => (float[N,4] y) { c = Sub(x, m) y = MatMul(c, w) }", m=m, w=w)
    bias = -(m.astype(np.float64) @ w).astype(np.float32)
    return Trio(
        original, right, model("(float[N,6] x) => (float[N,4] y) { u = MatMul(x, w) y = Add(u, b) }", w=w, b=bias)
    )


def wrong_cast(rng: np.random.Generator) -> Trio:
    """Time stamps that are centred in double, and in float by the fold."""
    n = 3
    m, s = rng.uniform(1e9, 2e9, n), rng.uniform(20, 90, n)
    w = linear(rng, n, 4)
    original = model(
        "(double[N,3] x) => (float[N,4] y) { c = Sub(x, m) d = Div(c, s) f = Cast<to=1>(d) y = MatMul(f, w) }",
        m=m,
        s=s,
        w=w,
    )
    right = model(
        "(double[N,3] x) => (float[N,4] y) { c = Sub(x, m) u = Cast<to=1>(c) y = MatMul(u, v) }",
        m=m,
        v=(w / s[:, None]).astype(np.float32),
    )
    wrong = model(
        "(double[N,3] x) => (float[N,4] y) { h = Cast<to=1>(x) u = Sub(h, m) e = Div(u, s) y = MatMul(e, w) }",
        m=m.astype(np.float32),
        s=s.astype(np.float32),
        w=w,
    )
    return Trio(original, right, wrong)


def scaled_clip(rng: np.random.Generator) -> Trio:
    """A scale that went through a Clip whose limits it should have changed."""
    scale, limit = np.float32(rng.uniform(2, 9)), np.float32(10 ** rng.uniform(0.5, 3))
    w = rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    text = "(float[N,3,8,8] x) => (float[N,4,8,8] y) { a = Conv(x, w) c = Clip(a, lo, hi) y = Mul(c, s) }"
    original = model(text, w=w, lo=-limit, hi=limit, s=scale)
    folded = "(float[N,3,8,8] x) => (float[N,4,8,8] y) { u = Conv(x, w) y = Clip(u, lo, hi) }"
    right = model(folded, w=w * scale, lo=-limit * scale, hi=limit * scale)
    return Trio(original, right, model(folded, w=w * scale, lo=-limit * scale, hi=limit * scale * np.float32(1.2)))


def scaled_threshold(rng: np.random.Generator) -> Trio:
    """A scale that went through a ThresholdedRelu whose threshold it should have changed."""
    scale, alpha = float(rng.uniform(2, 9)), float(rng.uniform(20, 400))
    text = "(float[N,5] x) => (float[N,4] y) { a = MatMul(x, w) t = ThresholdedRelu<alpha = %f>(a) y = Mul(t, s) }"
    w = linear(rng, 5, 4)
    original = model(text % alpha, w=w, s=np.float32(scale))
    folded = "(float[N,5] x) => (float[N,4] y) { u = MatMul(x, w) y = ThresholdedRelu<alpha = %f>(u) }"
    v = w * np.float32(scale)
    return Trio(original, model(folded % (alpha * scale), w=v), model(folded % alpha, w=v))


def rare_branch(rng: np.random.Generator) -> Trio:
    """A branch that only large inputs take, with one weight of its own."""
    limit = np.float32(10 ** rng.uniform(1.5, 4))
    text = """(float[N,4] x) => (float[N,4] y) {
        m = ReduceMax<keepdims=0>(x)  g = Greater(m, t)
        y = If(g) <then_branch = a () => (float[N,4] p) { p = Mul(x, k) },
                   else_branch = b () => (float[N,4] q) { q = Mul(x, j) }> }"""
    k, j = rng.uniform(1, 3, 4).astype(np.float32), rng.uniform(1, 3, 4).astype(np.float32)
    off = k.copy()
    off[rng.integers(4)] *= np.float32(1.3)
    original = model(text, t=limit, k=k, j=j)
    return Trio(original, original, model(text, t=limit, k=off, j=j))


def row_of_a_table(rng: np.random.Generator) -> Trio:
    """A scale and shift that went into every row of an embedding but one."""
    rows, s, t = int(rng.integers(200, 3000)), np.float32(rng.uniform(2, 9)), rng.standard_normal(8).astype(np.float32)
    table = rng.standard_normal((rows, 8)).astype(np.float32)
    original = model(
        "(int64[N,L] i) => (float[N,L,8] y) { e = Gather(table, i) a = Mul(e, s) y = Add(a, t) }", table=table, s=s, t=t
    )
    folded = (table.astype(np.float64) * s + t).astype(np.float32)
    off = folded.copy()
    off[rng.integers(rows)] = table[0]
    text = "(int64[N,L] i) => (float[N,L,8] y) { y = Gather(table, i) }"
    return Trio(original, model(text, table=folded), model(text, table=off))


def row_of_a_fixed_table(rng: np.random.Generator) -> Trio:
    """The same where the indices have a fixed number, less than the table has rows."""
    rows, s = int(rng.integers(100, 400)), np.float32(rng.uniform(2, 9))
    table = rng.standard_normal((rows, 8)).astype(np.float32)
    original = model("(int32[1,7] i) => (float[1,7,8] y) { e = Gather(table, i) y = Mul(e, s) }", table=table, s=s)
    off = table * s
    off[-1 - int(rng.integers(5)), int(rng.integers(8))] *= np.float32(1.1)
    text = "(int32[1,7] i) => (float[1,7,8] y) { y = Gather(table, i) }"
    return Trio(original, model(text, table=table * s), model(text, table=off))


def integer_input(rng: np.random.Generator) -> Trio:
    """Whole numbers around a large centre, which the fold centres half a spread off."""
    n = 4
    s = rng.integers(5, 60, n).astype(np.float32)
    m = (rng.integers(200, 900, n) * s).astype(np.float32)
    w = linear(rng, n, 3)
    original = model(
        "(int32[N,4] i) => (float[N,3] y) { x = Cast<to=1>(i) c = Sub(x, m) d = Div(c, s) y = MatMul(d, w) }",
        m=m,
        s=s,
        w=w,
    )

    def folded(centre: Array) -> onnx.ModelProto:
        bias = -(centre.astype(np.float64) / s @ w).astype(np.float32)
        text = "(int32[N,4] i) => (float[N,3] y) { x = Cast<to=1>(i) u = MatMul(x, v) y = Add(u, b) }"
        return model(text, v=(w / s[:, None]).astype(np.float32), b=bias)

    off = m + (np.arange(n) == rng.integers(n)) * s / 2
    return Trio(original, folded(m), folded(off.astype(np.float32)))


def byte_input(rng: np.random.Generator) -> Trio:
    """Bytes that are divided by 255 in float, and by the fold as signed numbers."""
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    original = model(
        "(uint8[1,3,9,9] i) => (float[1,4,7,7] y) { x = Cast<to=1>(i) d = Div(x, s) y = Conv(d, w) }",
        s=np.float32(255),
        w=w,
    )
    text = "(uint8[1,3,9,9] i) => (float[1,4,7,7] y) {%s y = Conv(x, v) }"
    v = w / np.float32(255)
    right = model(text % " x = Cast<to=1>(i)", v=v)
    return Trio(original, right, model(text % " j = Cast<to=3>(i) x = Cast<to=1>(j)", v=v))


def dead_channel(rng: np.random.Generator) -> Trio:
    """A channel that a large negative bias turns off, with wrong weights."""
    w, b = linear(rng, 6, 5), rng.standard_normal(5).astype(np.float32)
    channel = int(rng.integers(5))
    b[channel] = -np.float32(10 ** rng.uniform(1.5, 3))
    s = rng.uniform(1, 3, 5).astype(np.float32)
    text = "(float[N,6] x) => (float[N,5] y) { a = MatMul(x, w) l = Add(a, b) r = Relu(l) y = Mul(r, s) }"
    folded = "(float[N,6] x) => (float[N,5] y) { u = MatMul(x, w) h = Add(u, b) y = Relu(h) }"
    off = w * s
    off[:, channel] *= np.float32(1.5)
    return Trio(model(text, w=w, b=b, s=s), model(folded, w=w * s, b=b * s), model(folded, w=off, b=b * s))


def weak_channel(rng: np.random.Generator) -> Trio:
    """A channel in a much smaller unit than the others, with the wrong scale."""
    w = rng.standard_normal((4, 3, 1, 1)).astype(np.float32)
    s = np.array([1, 1, 1, 10 ** rng.uniform(-8, -4)], np.float32).reshape(4, 1, 1)
    text = "(float[N,3,6,6] x) => (float[N,4,6,6] y) { a = Conv(x, w) y = Mul(a, s) }"
    folded = "(float[N,3,6,6] x) => (float[N,4,6,6] y) { y = Conv(x, w) }"
    off = w * s[:, None]
    right = model(folded, w=off.copy())
    off[3] *= np.float32(rng.uniform(1.5, 3))
    return Trio(model(text, w=w, s=s), right, model(folded, w=off))


def far_norm(rng: np.random.Generator) -> Trio:
    """A BatchNormalization whose mean is many deviations from zero, folded with one weight off."""
    n = 5
    w = linear(rng, n, 3)
    var = (spread(rng, n) ** 2).astype(np.float32)
    mean = (np.sqrt(var) * rng.uniform(50, 300, n)).astype(np.float32)
    g, b = rng.uniform(0.5, 2, n).astype(np.float32), rng.standard_normal(n).astype(np.float32)
    text = "(float[N,5] x) => (float[N,3] y) { a = BatchNormalization(x, g, b, m, v) y = MatMul(a, w) }"
    original = model(text, g=g, b=b, m=mean, v=var, w=w)
    scale = g / np.sqrt(var.astype(np.float64) + 1e-5)

    def folded(centre: Array) -> onnx.ModelProto:
        bias = ((b - centre * scale) @ w).astype(np.float32)
        return model(
            "(float[N,5] x) => (float[N,3] y) { u = MatMul(x, v) y = Add(u, t) }",
            v=(scale[:, None] * w).astype(np.float32),
            t=bias,
        )

    off = mean.astype(np.float64)
    off[rng.integers(n)] *= 1 - 3e-4
    return Trio(original, folded(mean.astype(np.float64)), folded(off))


def scaler(rng: np.random.Generator) -> Trio:
    """An ai.onnx.ml Scaler in a Gemm, computed for another centre."""
    n = 4
    s, w = spread(rng, n), linear(rng, n, 3)
    m = (s * rng.uniform(20, 200, n)).astype(np.float32)
    numbers = ", ".join(f"{v:.9g}" for v in m), ", ".join(f"{1 / v:.9g}" for v in s)
    text = "(float[N,4] x) => (float[N,3] y) { d = ai.onnx.ml.Scaler<offset = [%s], scale = [%s]>(x) y = MatMul(d, w) }"
    original = model(text % numbers, w=w)
    k = np.array([float(f) for f in numbers[1].split(",")], np.float32)

    def folded(centre: Array) -> onnx.ModelProto:
        bias = -((centre.astype(np.float64) * k) @ w).astype(np.float32)
        return model("(float[N,4] x) => (float[N,3] y) { u = MatMul(x, v) y = Add(u, b) }", v=k[:, None] * w, b=bias)

    off = m.copy()
    off[rng.integers(n)] *= np.float32(1 - 5e-4)
    return Trio(original, folded(m), folded(off))


def slope_of_a_prelu(rng: np.random.Generator) -> Trio:
    """A slope that only negative values show, behind a convolution that gives none."""
    w = np.abs(rng.standard_normal((4, 3, 1, 1))).astype(np.float32)
    slope = rng.uniform(0.1, 0.4, (4, 1, 1)).astype(np.float32)
    text = "(float[N,3,6,6] x) => (float[N,4,6,6] y) { r = Relu(x) a = Conv(r, w, b) l = PRelu(a, p) y = Mul(l, s) }"
    b = np.full(4, 10 ** rng.uniform(0, 2), np.float32)
    s = np.float32(rng.uniform(2, 5))
    original = model(text, w=w, b=b, p=slope, s=s)
    folded = "(float[N,3,6,6] x) => (float[N,4,6,6] y) { r = Relu(x) u = Conv(r, w, b) y = PRelu(u, p) }"
    off = slope.copy()
    off[rng.integers(4)] *= np.float32(2)
    right = model(folded, w=w * s, b=b * s, p=slope)
    wrong_w = w * s
    wrong_w[rng.integers(4)] *= np.float32(1.002)
    return Trio(original, right, model(folded, w=wrong_w, b=b * s, p=slope))


FAULTS: tuple[Callable[[np.random.Generator], Trio], ...] = (
    wrong_centre, lost_digits, wrong_cast, scaled_clip, scaled_threshold, rare_branch, row_of_a_table,
    row_of_a_fixed_table, integer_input, byte_input, dead_channel, weak_channel, far_norm, scaler, slope_of_a_prelu,
)  # fmt: skip
