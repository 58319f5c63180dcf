"""Compare two models by their latency on this machine."""

from __future__ import annotations

from statistics import median

import onnx_ir as ir

from normfold.files.temporary import TemporaryFolder
from normfold.files.write import write_model
from normfold.options import BenchOptions, RunOptions

SLOWER = 1.02  # times; what is closer than that is as fast, because another run may show the reverse


class Stopwatch:
    """Compares the latency of two models on this machine, in interleaved rounds; ``note`` says what it found.

    Models that do not run here count as equally fast.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = BenchOptions(**vars(RunOptions.of(options)))
        self.note = ""

    def times_as_fast(self, one: ir.Model, other: ir.Model) -> float:
        """Return how many times faster ``other`` is: the median of the ratios within a round."""
        from normfold.timing.benchmark import BenchError, benchmark  # loads ONNX Runtime, which few calls need

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
