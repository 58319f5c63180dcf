"""Pairs of files that differ in ways that only some inputs show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import numpy_helper

from tests.sweeps.data_faults.trio import Number, Trio, linear, model


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
    return pair(text, {"lo": -hi, "hi": hi, "w": linear(rng, 4, 3)}, hi=hi * np.float32(0.8))


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
    table = linear(rng, int(rng.integers(64, 600)), 4)
    off = table.copy()
    off[-3:] += 1
    text = "(float[N,S,4] x) => (float[N,S,4] y) { s = Shape<start=1, end=2>(x) p = Slice(t, z, s, z) y = Add(x, p) }"
    return pair(text, {"t": table, "z": np.array([0])}, t=off)


def not_a_number(rng: np.random.Generator) -> Trio:
    """NaN that one of the two masks."""
    w = linear(rng, 4, 3)
    original = model("(float[N,4] x) => (float[N,3] y) { y = MatMul(x, w) }", w=w)
    text = "(float[N,4] x) => (float[N,3] y) { m = IsNaN(x) q = Where(m, z, x) y = MatMul(q, w) }"
    return Trio(original, original, model(text, w=w, z=np.float32(0)))


def infinities(rng: np.random.Generator) -> Trio:
    """Infinity that is looked for."""
    text = "(float[N,4] x) => (float[N,4] y) { m = IsInf(x) y = Where(m, z, x) }"
    return pair(text, {"z": np.float32(1)}, z=np.float32(rng.uniform(2, 9)))


def far_class(rng: np.random.Generator) -> Trio:
    """One class so far ahead that made-up inputs never choose another."""
    w, b = linear(rng, 4, 5), np.zeros(5, np.float32)
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
        "(float[N,4] x) => (float[N,3] y) { m = MatMul(x, w) y = Mul(m, s) }", {"w": linear(rng, 4, 3), "s": s}, s=off
    )


def never_on(rng: np.random.Generator) -> Trio:
    """A Relu that made-up inputs never turn on, in models without a name in common."""
    w, b = linear(rng, 4, 3), rng.standard_normal(3).astype(np.float32)
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
    table = linear(rng, int(rng.integers(100, 5000)), 4)
    off = table.copy()
    off[rng.integers(len(table))] *= 2
    return pair("(int64[N,L] i) => (float[N,L,4] y) { y = Gather(t, i) }", {"t": table}, t=off)


PAIRS: tuple[Callable[[np.random.Generator], Trio], ...] = (
    threshold, threshold_itself, clip_beyond, cast_of_small, loop_count, first_tokens, positions, not_a_number,
    infinities, far_class, mask_without_a_one, flag, integer_limit, large_integers, small_integers, units, never_on,
    far_standard, default_of_an_input, row_by_integer,
)  # fmt: skip
