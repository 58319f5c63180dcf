"""Sensitivity to data: plant faults that only some inputs show, and see whether the proof makes such inputs.

    python -m tests.sweeps.data_faults [--each 20] [--pairs 5] [--seed 0] [--verbose]

A fault is a fold that is wrong by its centre, its type, a limit, a branch that is seldom taken, one row of a table or
an integer input; ``prove`` compares it with the original at its site. A pair is two files that differ in the same ways;
``verify`` has nothing but the files. With every faulty model comes a right one, which must not be called different.
The command prints a table and ends with 1 when a fault was missed or a right model was called different.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper, parser

from normfold.verify import Equivalence, Site, prove, verify

Array = np.ndarray
Number = np.ndarray | np.generic


@dataclass(frozen=True)
class Trio:
    """A model, another that computes the same, and one that does not."""

    original: onnx.ModelProto
    right: onnx.ModelProto
    wrong: onnx.ModelProto
    site: str = "y"


def model(text: str, **weights: Number) -> onnx.ModelProto:
    """Return a model from ONNX text, with initializers of these numbers."""
    head = '<ir_version: 9, opset_import: ["" : 17, "ai.onnx.ml" : 3]> g '
    made = parser.parse_model(head + text)
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items())
    onnx.checker.check_model(made)
    return made


def _spread(rng: np.random.Generator, size: int) -> Array:
    return (10 ** rng.uniform(-1, 2, size)).astype(np.float32)


def _linear(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return rng.standard_normal((rows, columns)).astype(np.float32)


# -- faults in folds ---------------------------------------------------------------------------------------------------
def wrong_centre(rng: np.random.Generator) -> Trio:
    """(x - m) / s in a Gemm, computed for a centre half a spread off."""
    n, k = 6, 4
    s, w = _spread(rng, n), _linear(rng, n, k)
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
    s, w = np.ones(n, np.float32), _linear(rng, n, 4)
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
    w = _linear(rng, n, 4)
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
    w = _linear(rng, 5, 4)
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
    w = _linear(rng, n, 3)
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
    w, b = _linear(rng, 6, 5), rng.standard_normal(5).astype(np.float32)
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
    w = _linear(rng, n, 3)
    var = (_spread(rng, n) ** 2).astype(np.float32)
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
    s, w = _spread(rng, n), _linear(rng, n, 3)
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


# -- pairs of files ----------------------------------------------------------------------------------------------------
def pair(text: str, weights: Mapping[str, Number], **other: Number) -> Trio:
    """Return a model next to itself, and next to itself with other weights."""
    original = model(text, **weights)
    return Trio(original, original, model(text, **{**weights, **other}))


def threshold(rng: np.random.Generator) -> Trio:
    """A limit beyond what made-up inputs reach."""
    t = np.float32(10 ** rng.uniform(1.5, 5))
    text = "(float[N,4] x) => (float[N,4] y) { g = Greater(x, t) p = Mul(x, a) y = Where(g, p, x) }"
    return pair(text, {"t": t, "a": np.float32(2)}, t=t * np.float32(1.4))


def threshold_itself(rng: np.random.Generator) -> Trio:
    """Greater next to GreaterOrEqual."""
    t = np.float32(rng.integers(-500, 500))
    text = "(float[N,4] x) => (bool[N,4] y) { y = %s(x, t) }"
    original = model(text % "Greater", t=t)
    return Trio(original, original, model(text % "GreaterOrEqual", t=t))


def clip_beyond(rng: np.random.Generator) -> Trio:
    """The limits of a Clip far out."""
    hi = np.float32(10 ** rng.uniform(1.5, 4))
    text = "(float[N,4] x) => (float[N,3] y) { c = Clip(x, lo, hi) y = MatMul(c, w) }"
    return pair(text, {"lo": -hi, "hi": hi, "w": _linear(rng, 4, 3)}, hi=hi * np.float32(0.8))


def cast_of_small(rng: np.random.Generator) -> Trio:
    """A number that is rounded to an integer, and seldom to another than 0."""
    s = np.float32(10 ** rng.uniform(-5, -2))
    text = "(float[N,4] x) => (int64[N,4] y) { q = Mul(x, s) y = Cast<to=7>(q) }"
    return pair(text, {"s": s}, s=s * np.float32(2))


def loop_count(rng: np.random.Generator) -> Trio:
    """What a loop does from some iteration on."""
    text = """(float[4] x, int64 n) => (float[4] y) { y = Loop(n, "", x) <
        body = b (int64 i, bool c, float[4] s) => (bool d, float[4] r) {
            l = Less(i, lim) p = Mul(s, a) q = Mul(s, k) r = Where(l, p, q) d = Identity(c) }> }"""
    weights: dict[str, Number] = {"lim": np.int64(rng.integers(8, 60)), "a": np.float32(0.9), "k": np.float32(0.7)}
    return pair(text, weights, k=np.float32(0.8))


def first_tokens(rng: np.random.Generator) -> Trio:
    """Only the first tokens, in one of the two."""
    original = model("(float[N,S,4] x) => (float[N,T,4] y) { y = Identity(x) }")
    end = np.array([rng.integers(17, 80)], np.int64)
    wrong = model(
        "(float[N,S,4] x) => (float[N,T,4] y) { y = Slice(x, z, e, o) }", z=np.array([0]), e=end, o=np.array([1])
    )
    return Trio(original, original, wrong)


def positions(rng: np.random.Generator) -> Trio:
    """The last rows of a table of positions."""
    table = _linear(rng, int(rng.integers(64, 600)), 4)
    off = table.copy()
    off[-3:] += 1
    text = "(float[N,S,4] x) => (float[N,S,4] y) { s = Shape<start=1, end=2>(x) p = Slice(t, z, s, z) y = Add(x, p) }"
    return pair(text, {"t": table, "z": np.array([0])}, t=off)


def not_a_number(rng: np.random.Generator) -> Trio:
    """NaN that one of the two masks."""
    w = _linear(rng, 4, 3)
    original = model("(float[N,4] x) => (float[N,3] y) { y = MatMul(x, w) }", w=w)
    text = "(float[N,4] x) => (float[N,3] y) { m = IsNaN(x) q = Where(m, z, x) y = MatMul(q, w) }"
    return Trio(original, original, model(text, w=w, z=np.float32(0)))


def infinities(rng: np.random.Generator) -> Trio:
    """Infinity that is looked for."""
    text = "(float[N,4] x) => (float[N,4] y) { m = IsInf(x) y = Where(m, z, x) }"
    return pair(text, {"z": np.float32(1)}, z=np.float32(rng.uniform(2, 9)))


def far_class(rng: np.random.Generator) -> Trio:
    """One class so far ahead that made-up inputs never choose another."""
    w, b = _linear(rng, 4, 5), np.zeros(5, np.float32)
    b[0] = 10 ** rng.uniform(2, 3)
    off = w.copy()
    off[:, 1:] = off[:, 1:] * np.array([3, 1, -1, 2], np.float32)
    return pair(
        "(float[N,4] x) => (int64[N] y) { m = MatMul(x, w) l = Add(m, b) y = ArgMax<axis=1, keepdims=0>(l) }",
        {"w": w, "b": b},
        w=off,
    )


def mask_without_a_one(rng: np.random.Generator) -> Trio:
    """What is done where a mask holds nothing."""
    text = """(float[N,6] x, bool[N,6] mask) => (float[N,1] y) {
        f = Cast<to=1>(mask) p = Mul(x, f) s = ReduceSum(p, o) n = ReduceSum(f, o) c = Max(n, least) q = Div(s, c)
        z = Equal(n, none) y = Where(z, k, q) }"""
    weights: dict[str, Number] = {"o": np.array([1]), "least": np.float32(1), "none": np.float32(0), "k": np.float32(0)}
    return pair(text, weights, k=np.float32(rng.uniform(1, 5)))


def flag(rng: np.random.Generator) -> Trio:
    """What a flag turns on."""
    text = """(float[N,4] x, bool f) => (float[N,4] y) {
        y = If(f) <then_branch = a () => (float[N,4] p) { p = Mul(x, k) },
                   else_branch = b () => (float[N,4] q) { q = Neg(x) }> }"""
    return pair(text, {"k": np.float32(2)}, k=np.float32(rng.uniform(3, 5)))


def integer_limit(rng: np.random.Generator) -> Trio:
    """An integer input and a limit that small numbers do not reach."""
    c = np.int32(rng.integers(50, 10**6))
    text = "(int32[N] i) => (float[N] y) { g = Greater(i, c) y = Where(g, p, q) }"
    return pair(text, {"c": c, "p": np.float32(1), "q": np.float32(0)}, c=np.int32(c * 1.5))


def large_integers(rng: np.random.Generator) -> Trio:
    """Integers above 2**24, which one of the two sends through float32."""
    original = model("(int64[N] i) => (int64[N] y) { y = Add(i, k) }", k=np.int64(rng.integers(1, 9)))
    text = "(int64[N] i) => (int64[N] y) { f = Cast<to=1>(i) j = Cast<to=7>(f) y = Add(j, k) }"
    return Trio(original, original, model(text, k=numpy_helper.to_array(original.graph.initializer[0])))


def small_integers(rng: np.random.Generator) -> Trio:
    """Bytes, of which one of the two makes signed ones."""
    text = "(uint8[N,4] i) => (float[N,4] y) {%s y = Cast<to=1>(j) }"
    original = model(text % " j = Identity(i)")
    return Trio(original, original, model(text % " j = Cast<to=3>(i)"))


def units(rng: np.random.Generator) -> Trio:
    """A channel of an output in a unit of its own."""
    s = np.array([1, 1, 10 ** rng.uniform(-7, -4)], np.float32)
    off = s.copy()
    off[2] *= 2
    return pair(
        "(float[N,4] x) => (float[N,3] y) { m = MatMul(x, w) y = Mul(m, s) }", {"w": _linear(rng, 4, 3), "s": s}, s=off
    )


def never_on(rng: np.random.Generator) -> Trio:
    """A Relu that made-up inputs never turn on, in models without a name in common."""
    w, b = _linear(rng, 4, 3), rng.standard_normal(3).astype(np.float32)
    b[2] = -(10 ** rng.uniform(1.5, 3.5))
    off = w.copy()
    off[:, 2] *= -2
    text = "(float[N,4] x) => (float[N,3] y) { %s = MatMul(x, w) %s = Add(%s, b) y = Relu(%s) }"
    original = model(text % ("m", "l", "m", "l"), w=w, b=b)
    return Trio(original, original, model(text % ("p", "q", "p", "q"), w=off, b=b))


def far_standard(rng: np.random.Generator) -> Trio:
    """A standardization far from zero, in models without a name in common."""
    m, s = (10 ** rng.uniform(2, 4, 4)).astype(np.float32), np.ones(4, np.float32)
    off = m * np.float32(1 + 1e-3)
    text = "(float[N,4] x) => (float[N,4] y) { %s = Sub(x, m) %s = Div(%s, s) y = Tanh(%s) }"
    original = model(text % ("c", "d", "c", "d"), m=m, s=s)
    return Trio(original, original, model(text % ("e", "f", "e", "f"), m=off, s=s))


def default_of_an_input(rng: np.random.Generator) -> Trio:
    """An input with a default, which one of the two does not read."""
    text = "(float[N,4] x, float k) => (float[N,4] y) <float k = {2.0}, float j = {2.0}> { y = Mul(x, %s) }"
    original = model(text % "k")
    return Trio(original, original, model(text % "j"))


def row_by_integer(rng: np.random.Generator) -> Trio:
    """One row of an embedding."""
    table = _linear(rng, int(rng.integers(100, 5000)), 4)
    off = table.copy()
    off[rng.integers(len(table))] *= 2
    return pair("(int64[N,L] i) => (float[N,L,4] y) { y = Gather(t, i) }", {"t": table}, t=off)


PAIRS: tuple[Callable[[np.random.Generator], Trio], ...] = (
    threshold, threshold_itself, clip_beyond, cast_of_small, loop_count, first_tokens, positions, not_a_number,
    infinities, far_class, mask_without_a_one, flag, integer_limit, large_integers, small_integers, units, never_on,
    far_standard, default_of_an_input, row_by_integer,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=21)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)
    logging.getLogger("normfold").setLevel(logging.ERROR)  # verify says there what differs
    bad = 0
    kinds = [(make, True, options.each) for make in FAULTS] + [(make, False, options.pairs) for make in PAIRS]
    for make, is_fold, count in kinds:
        if options.only and options.only != make.__name__:
            continue
        counts: Counter[str] = Counter()
        start = time.monotonic()
        for number in range(count):
            trio = make(np.random.default_rng([options.seed, number]))
            for candidate, expected in ((trio.right, Equivalence.EQUIVALENT), (trio.wrong, Equivalence.DIFFERENT)):
                sites = [Site(trio.site, "fold")]
                found = prove(trio.original, candidate, sites) if is_fold else verify(trio.original, candidate)
                is_right = found.verdict is expected
                kind = "right models" if expected is Equivalence.EQUIVALENT else "found"
                counts[kind if is_right else f"not {kind}"] += 1
                if not is_right and options.verbose:
                    sys.stdout.write(f"{make.__name__} {number}: expected {expected.value}\n{found}\n")
        seconds = (time.monotonic() - start) / max(count, 1) / 2
        missed, alarms = counts["not found"], counts["not right models"]
        bad += missed + alarms
        sys.stdout.write(
            f"{make.__name__:22} {counts['found']} of {count} found, {alarms} false alarms, {seconds:.2f} s each\n"
        )
    sys.stdout.write(f"{bad} missed or falsely called different\n")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
