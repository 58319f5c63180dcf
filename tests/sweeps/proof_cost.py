"""Cost: what a proof takes, in unoptimized runs of the original for each feed, without the session loads.

    python -m tests.sweeps.proof_cost [MODEL.onnx...] [--rounds 3] [--threads 1]

Without files, the reference networks of models/. Each model is folded and written; then, in turns, the original runs
once over every feed as anybody would run it at DISABLE_ALL, `normfold.verify` compares the two files, and the proof
inside `optimize` compares them at every fold. Medians of the rounds; loads are what `InferenceSession` takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

import normfold
from models.export import export_raw
from models.registry import NETWORKS, build
from normfold.runtime.loaded_model import load
from normfold.runtime.session import ModelRunError, OrtRunner
from normfold.verify import ProofOptions, Verification, prove
from normfold.verify.inputs.generate import Feed, Feeder
from tests.sweeps.faults import sites_of


@dataclass(frozen=True)
class Cost:
    """Seconds of one action without the session loads, on the wall and of the processor, and the number of loads."""

    wall: float
    processor: float
    loads: int


def timed(action: Callable[[], object]) -> Cost:
    """Run it once."""
    loads: list[Cost] = []
    with _loads(loads):
        found = _timed(action)
    return Cost(
        found.wall - sum(load.wall for load in loads),
        found.processor - sum(load.processor for load in loads),
        len(loads),
    )


def _timed(action: Callable[[], object]) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return Cost(time.perf_counter() - wall, time.process_time() - processor, 0)


@contextmanager
def _loads(found: list[Cost]) -> Iterator[None]:
    """While it lasts, the cost of every session load is appended to ``found``."""
    plain = ort.InferenceSession.__init__

    def measured(self: ort.InferenceSession, *arguments: Any, **options: Any) -> None:
        found.append(_timed(lambda: plain(self, *arguments, **options)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort.InferenceSession, "__init__", measured)
        yield


def feeds_of(original: Path, count: int) -> list[Feed]:
    """The first feeds that the original accepts: those of a proof."""
    loaded = load(original)
    feeder, found = Feeder.of(loaded), list[Feed]()
    with OrtRunner(loaded) as runner:
        sizes: dict[str, int] | None = None
        for index in range(count):
            for feed, used in feeder.proposals(index, sizes):
                try:
                    runner.run(feed.values, list(loaded.output_names))
                except ModelRunError:
                    continue
                found.append(feed)
                sizes = used
                break
    return found


def measure(original: Path, folded: Path, result: normfold.Result, options: argparse.Namespace) -> str:
    """One line: both ratios, on the wall and of the processor, with what they are made of."""
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain.intra_op_num_threads = options.threads
    plain.log_severity_level = 4
    session = ort.InferenceSession(str(original), plain, providers=["CPUExecutionProvider"])
    feeds: list[Feed] = []
    proofs: dict[str, Verification] = {}
    costs: dict[str, list[Cost]] = {"run": [], "verify": [], "proof": []}

    def verify() -> None:
        proofs["verify"] = normfold.verify(original, folded, threads=options.threads)

    def proof() -> None:
        proofs["proof"] = prove(original, folded, sites_of(result), ProofOptions(threads=options.threads))

    def run() -> None:
        for feed in feeds:
            session.run(None, feed.values)

    actions: dict[str, Callable[[], None]] = {"run": run, "verify": verify, "proof": proof}
    verify()
    feeds += feeds_of(original, len(proofs["verify"].feeds))
    for _ in range(options.rounds):
        for name, action in actions.items():
            costs[name].append(timed(action))
    wall = {name: statistics.median(cost.wall for cost in found) for name, found in costs.items()}
    processor = {name: statistics.median(cost.processor for cost in found) for name, found in costs.items()}
    said = [f"{original.name:28} {len(feeds)} runs {1e3 * wall['run']:7.1f} ms"]
    for name, one in proofs.items():
        said.append(
            f"{name} {wall[name] / wall['run']:5.2f} (processor {processor[name] / processor['run']:5.2f}, "
            f"{1e3 * wall[name]:6.1f} ms, {costs[name][0].loads} loads) {one.verdict.value[:5]}"
        )
    return "; ".join(said) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fold, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as room:
        paths = options.models
        for name, network in () if paths else NETWORKS.items():
            path = Path(room, f"{name}.onnx")
            export_raw(*build(name), network, path)
            paths.append(path)
        for path in paths:
            result = normfold.optimize(path, verify=False)
            sys.stdout.write(measure(path, result.save(Path(room, "folded.onnx")), result, options))
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
