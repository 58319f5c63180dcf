"""Guards that exporters put around a norm: which leave it as it is, and which do not."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import pytest

from normfold.fuse.engine import fuse_norms
from tests.onnx_text import assert_close, feeds_of, parse, run_in_float64

X = "(float[N,3,4] x) => (float[N,3,4] y)"
NUMBERS = "int64[1] last = {-1}, int64[1] one = {1}, float eps = {0.0009765625}, float zero = {0.0}, float four = {4.0}"
JAX = (
    "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) q = ReduceSumSquare<axes=[-1]>(d) v = Div(q, LEFT)"
    "c = Greater(LEFT, zero) s = Shape(v) nan = Expand(NONE, s) k = Where(c, v, nan) w = Add(k, eps) r = Sqrt(w)"
    "y = Div(d, r)"
).replace("NONE", "none")
GUARD = (
    "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) low = ReduceMin<axes=[LOW]>(x) high = ReduceMax<axes=[-1]>(x)"
    "e = Equal(low, high) o = Sub(m, m) f = Equal(o, zero) c = And(e, f) z = Where(c, THEN, d) p = Mul(z, z)"
    "v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) r = Sqrt(w) y = Div(z, r)"
)
WEIGHTED = (
    "a = Shape(x) ones = ConstantOfShape<value = float[1] {WEIGHT}>(a) h = Mul(ones, x) t = ReduceSum(h, last)"
    "z = ConstantOfShape<value = float[1] {0.0}>(a) u = Add(ones, z) n = ReduceSum(u, last)"
    "i = Div(t, n) c = Equal(n, zero) m = Where(c, zero, i) d = Sub(x, m) p = Mul(d, d)"
    "k = Mul(ones, p) j = ReduceSum(k, last) b = Div(j, n)"
    "v = Where(c, zero, b) w = Add(v, eps) r = Sqrt(w) y = Div(d, r)"
)


@dataclass(frozen=True)
class Row:
    """A graph in ONNX text and the norm operators that are fused in it."""

    text: str
    fused: tuple[str, ...]


def jax(left: str) -> str:
    return f"{X} <{NUMBERS}, float none = {{0.5}}>{{ {JAX.replace('LEFT', left)} }}"


def guard(low: str = "-1", then: str = "zero") -> str:
    return f"{X} <{NUMBERS}>{{ {GUARD.replace('LOW', low).replace('THEN', then)} }}"


GREATER, LAYERNORM = "Greater(four, zero)", ("LayerNormalization",)
ROWS = {
    "jax.numpy.var: a number where nothing is left to divide by": Row(jax("four"), ("LayerNormalization",)),
    "the same, where the guard always holds": Row(jax("zero"), ()),
    "jax2onnx: zero where all entries are equal": Row(guard(), ("LayerNormalization",)),
    **{
        f"jax.numpy.var, as {operator}": Row(jax("four").replace(GREATER, f"{operator}({operands})"), LAYERNORM)
        for operator, operands in {
            "GreaterOrEqual": "four, eps",
            "Less": "zero, four",
            "LessOrEqual": "eps, four",
        }.items()
    },
    "a guard of another axis": Row(guard(low="1"), ("RMSNormalization",)),
    "a guard that gives something else": Row(guard(then="four"), ("RMSNormalization",)),
    "TensorFlow's weighted moments, all weights 1": Row(
        f"{X} <{NUMBERS}>{{ {WEIGHTED.replace('WEIGHT', '1.0')} }}", ("LayerNormalization",)
    ),
    "weights that sum to 0": Row(f"{X} <{NUMBERS}>{{ {WEIGHTED.replace('WEIGHT', '0.0')} }}", ()),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_guard_leaves_the_norm_or_it_is_none(row: Row) -> None:
    original = parse(row.text)
    model = ir.from_proto(original)
    verdicts = fuse_norms(model)
    assert tuple(each.finding.operator for each in verdicts if each.is_changed) == row.fused
    feeds, result = feeds_of(original), ir.to_proto(model)
    if row.fused:  # what stayed may divide by 0
        assert_close(run_in_float64(result, feeds), run_in_float64(original, feeds), note="float64")
