"""What makes a model slower is left out: rule by rule, and all of it where that does not suffice."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from normfold.files.convert import to_ir
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.options import RunOptions
from normfold.timing.slower import Stopwatch, folds_that_slow_down
from tests.onnx_text import parse

RULES = {"b1": "batchnorm", "b2": "batchnorm", "g": "gelu"}


@pytest.mark.parametrize(
    ("seconds_without", "left"),
    [
        ({frozenset(): 0.9}, ()),
        ({frozenset(): 1.015}, ()),
        ({frozenset(): 1.2, frozenset({"b1", "b2"}): 1.25, frozenset({"g"}): 0.95}, ("g",)),
        ({frozenset(): 1.2, frozenset({"b1", "b2"}): 1.1, frozenset({"b1", "b2", "g"}): 1.0}, ("b1", "b2", "g")),
        ({frozenset(): 1.3, frozenset({"b1", "b2"}): 1.2, frozenset({"b1", "b2", "g"}): 1.19}, ("b1", "b2", "g")),
    ],
    ids=["faster", "as fast as one can tell", "one rule", "both rules", "slower all the same"],
)
def test_what_makes_it_slower_is_left_out(seconds_without: dict[frozenset[str], float], left: tuple[str, ...]) -> None:
    models = {names: ir.Model(ir.Graph([], [], nodes=[]), ir_version=8) for names in seconds_without}
    original = ir.Model(ir.Graph([], [], nodes=[]), ir_version=8)
    seconds = {id(original): 1.0, **{id(models[names]): seconds_without[names] for names in models}}

    def build(names: frozenset[str]) -> tuple[ir.Model, list[Verdict]]:
        verdicts = [Verdict(Finding(name, "Mul", name), Outcome.FOLDED, rule) for name, rule in RULES.items()]
        return models[names], [verdict for verdict in verdicts if verdict.finding.name not in names]

    def times_as_fast(one: ir.Model, other: ir.Model) -> float:
        return seconds[id(one)] / seconds[id(other)]

    assert folds_that_slow_down(original, build, times_as_fast) == set(left)


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
