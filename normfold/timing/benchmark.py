"""Latency of one or two models on ONNX Runtime, side by side: what a fold brought on this machine.

Each model lives in a process of its own. Runs are interleaved, in turns of order, so that whatever else the machine
does meets both equally; what counts is the ratio within a round, and its median over all rounds.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from normfold.errors import NormfoldError
from normfold.files.source import read
from normfold.native.ort_session import OptimizationLevel
from normfold.options import BenchOptions
from normfold.runtime.loaded_model import load
from normfold.runtime.session import ModelRunError, OrtRunner, Runner, unsafe_reason
from normfold.verify.inputs.generate import Feed, Feeder
from normfold.verify.inputs.user_files import all_inputs
from normfold.verify.interface import other_inputs

_WORKER = Path(__file__).with_name("worker.py")
_LOADS = 3
_BATCH = 0.005  # seconds: shorter runs are timed several at once, so that waking the process does not count


class BenchError(NormfoldError):
    """A model does not run here, so there is nothing to time."""


@dataclass(frozen=True)
class Timing:
    """One model: seconds of a run in each round, the median seconds of opening a session, and memory in bytes.

    ``memory`` is the peak of its process, ONNX Runtime included; 0 where the system does not say.
    """

    model: str
    seconds: tuple[float, ...]
    load: float
    memory: int


@dataclass(frozen=True)
class Benchmark:
    """One model, or two in the same rounds. ``feed`` says in words what they ran on."""

    timings: tuple[Timing, ...]
    feed: str
    threads: int

    @property
    def ratios(self) -> tuple[float, ...]:
        """For each round, how many times the second model was faster than the first."""
        first, *rest = (timing.seconds for timing in self.timings)
        return tuple(a / b for a, b in zip(first, rest[0], strict=True)) if rest else ()


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    low, middle, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
    return low, middle, high


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the true median lies, with 95 % confidence, by the order of the values; for any distribution."""
    ordered, count = sorted(values), len(values)
    reach = 0.98 * math.sqrt(count)
    low, high = max(math.floor(count / 2 - reach), 0), min(math.ceil(count / 2 + reach), count - 1)
    return ordered[low], ordered[high]


def benchmark(models: Sequence[str], options: BenchOptions, done: Callable[[], None] = lambda: None) -> Benchmark:
    """Time ``models``, one or two; ``done`` hears of each round.

    SourceError for a file that is no model, UsageError for inputs that do not fit, BenchError where one does not run.
    """
    for model in models:
        read(model)  # says in one line why a file is no model
    feed = legal_feed(models, options)
    with tempfile.TemporaryDirectory(prefix="normfold-") as folder, ExitStack() as stack:
        file = Path(folder) / "feed.npz"
        np.savez(file, **feed.values)
        workers = [stack.enter_context(_worker(model, file, options.threads)) for model in models]
        seconds = list(zip(*_rounds(workers, options, done), strict=True))
        timings = tuple(worker.finish(times) for worker, times in zip(workers, seconds, strict=True))
    return Benchmark(timings, feed.text, options.threads)


def _rounds(workers: Sequence[_Worker], options: BenchOptions, done: Callable[[], None]) -> Iterator[tuple[float, ...]]:
    """Yield the seconds of a run of each model, round by round."""
    slowest = max(worker.run(1) for _ in range(max(options.warmup, 1)) for worker in workers)
    batch = max(1, math.ceil(_BATCH / max(slowest, 1e-6)))
    for index in range(options.rounds):
        order = workers if index % 2 == 0 else workers[::-1]
        times = {worker: worker.run(batch) for worker in order}
        done()
        yield tuple(times[worker] for worker in workers)


# -- inputs -------------------------------------------------------------------------------------------------------


def legal_feed(models: Sequence[str], options: BenchOptions) -> Feed:
    """Return inputs with which all models run: the user's own, or the first legal ones made up from the first model."""
    loaded = {name: load(name) for name in models}
    first = loaded[models[0]]
    for name, model in loaded.items():
        if others := other_inputs(first, model):
            raise BenchError(f"{name}: {others}")
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for name, model in loaded.items():
            if unsafe_reason(model):
                raise BenchError(f"{name}: {unsafe_reason(model)}")
            try:
                runners[name] = stack.enter_context(OrtRunner(model, OptimizationLevel.DEFAULT))
            except ModelRunError as error:
                raise BenchError(f"{name}: {error}") from error
        if options.given_inputs:
            given = all_inputs(options.given_inputs, first)
            proposals: Iterator[Feed] = (Feed(each.values, each.text) for each in given)
        else:
            proposals = (feed for feed, _ in Feeder.from_options(first, options).proposals(0))
        return _first_legal(proposals, runners)


def _first_legal(proposals: Iterator[Feed], runners: Mapping[str, Runner]) -> Feed:
    failure = "no inputs are known with which it runs"
    for feed in proposals:
        if not all(isinstance(value, np.ndarray) and value.dtype != object for value in feed.values.values()):
            raise BenchError("its inputs are no plain tensors of numbers, so they cannot be timed here")
        for name, runner in runners.items():
            try:
                runner.run(feed.values, list(runner.output_shapes))
            except ModelRunError as error:
                failure = f"{name}: {error}"
                break
        else:
            return feed
    raise BenchError(f"{failure}; give inputs with --inputs or --input")


# -- processes ----------------------------------------------------------------------------------------------------


class _Worker:
    """The process of one model."""

    def __init__(self, model: str, process: subprocess.Popen[str]) -> None:
        self._model, self._process = model, process
        self._load = median(self._answer()["loads"])

    def run(self, times: int) -> float:
        """Seconds of one run, the mean of ``times``."""
        assert self._process.stdin is not None  # it was opened with a pipe
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"]) / times

    def finish(self, seconds: Sequence[float]) -> Timing:
        """Return what was measured of the model, and end the process."""
        assert self._process.stdin is not None  # it was opened with a pipe
        self._process.stdin.close()
        return Timing(self._model, tuple(seconds), self._load, int(self._answer()["peak"]))

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # it was opened with a pipe
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self._model}: the process that timed it died")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:  # what was mended on reading is not in the file
            raise BenchError(f"{self._model}: ONNX Runtime: {answer['failed']}; run normfold optimize on it first")
        return answer


@contextmanager
def _worker(model: str, feed: Path, threads: int) -> Iterator[_Worker]:
    command = [sys.executable, str(_WORKER), model, str(feed), str(threads), str(_LOADS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        try:
            yield _Worker(model, process)
        finally:
            process.kill()
