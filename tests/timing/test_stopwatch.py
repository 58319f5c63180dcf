"""A stopwatch says how much faster one model is than the other, or why it cannot."""

from __future__ import annotations

from normfold.files.protos.convert import to_ir
from normfold.options import RunOptions
from normfold.timing.stopwatch import Stopwatch
from tests.onnx_text import parse


def test_a_stopwatch_says_what_it_found_or_why_it_found_nothing() -> None:
    slow = to_ir(parse("(float[N,300] x) => (float[N,300] y) <float[300,300] w> { a = MatMul(x, w) y = MatMul(a, w) }"))
    fast = to_ir(parse("(float[N,300] x) => (float[N,300] y) { y = Relu(x) }"))
    stopwatch = Stopwatch(RunOptions(input_specs=("x=64x300",)))
    stopwatch.final(slow, fast)
    assert stopwatch.note.startswith("measured on this machine: ")
    words = parse("(string[N] x) => (string[N] y) { y = Identity(x) }")
    stopwatch = Stopwatch(RunOptions())
    assert stopwatch.times_as_fast(to_ir(words), to_ir(words)) == 1.0
    assert stopwatch.note.startswith("nothing was measured: ")
