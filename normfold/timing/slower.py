"""Find the folds with which a model is slower on this machine, by timing it with and without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import onnx_ir as ir

from normfold.files.temporary import TemporaryFolder
from normfold.files.write import write_model
from normfold.findings.verdict import Verdict
from normfold.options import BenchOptions, RunOptions
from normfold.timing.benchmark import BenchError, benchmark

SLOWER = 1.02  # times; what is closer than that is as fast, because another run may show the reverse
_Build = Callable[[frozenset[str]], tuple[ir.Model, Sequence[Verdict]]]
_TimesAsFast = Callable[[ir.Model, ir.Model], float]


class Stopwatch:
    """Compares the latency of two models on this machine, in interleaved rounds; ``note`` says what it found.

    Models that do not run here count as equally fast.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = BenchOptions(**vars(RunOptions.of(options)))
        self.note = ""

    def times_as_fast(self, one: ir.Model, other: ir.Model) -> float:
        """Return how many times faster ``other`` is: the median of the ratios within a round."""
        with TemporaryFolder() as folder:
            paths = [folder / "one" / "model.onnx", folder / "other" / "model.onnx"]
            for model, path in zip((one, other), paths, strict=True):
                path.parent.mkdir()
                write_model(model, path, check=False)
            try:
                return median(benchmark(list(map(str, paths)), self._options).ratios)
            except BenchError as error:
                self.note = f"nothing was measured: {error}"
                return 1.0

    def final(self, original: ir.Model, result: ir.Model) -> None:
        """Time original and result once more, and say so in the note."""
        ratio = self.times_as_fast(original, result)
        self.note = self.note or f"measured on this machine: {ratio:.2f} times as fast as the original"


def folds_that_slow_down(original: ir.Model, build: _Build, times_as_fast: _TimesAsFast) -> frozenset[str]:
    """Return the names of findings without which the rewritten model is faster, or no slower than ``original``.

    ``build`` takes names to leave and returns the rewritten model with its verdicts. Where that is as fast as
    ``original``, nothing is left out. Otherwise the findings of each rule are tried in turn, and kept out where that
    is faster; what is still slower than ``original`` leaves out all.
    """
    best, verdicts = build(frozenset())
    changes = [verdict for verdict in verdicts if verdict.is_changed]
    if not changes or times_as_fast(original, best) * SLOWER >= 1:
        return frozenset()
    left: frozenset[str] = frozenset()
    for rule in dict.fromkeys(verdict.rule for verdict in changes):
        without = left | {verdict.finding.name for verdict in changes if verdict.rule == rule}
        other, _ = build(without)
        if times_as_fast(best, other) > SLOWER:
            left, best = without, other
    if times_as_fast(original, best) * SLOWER < 1:
        return frozenset(verdict.finding.name for verdict in changes)
    return left
