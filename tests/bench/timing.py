"""Run all files of one model in turns, in one process: ``python timing.py FEED.npz ROUNDS FILE FILE ...``.

The first file is the original. A run is timed in processor seconds of the one thread that runs it, which on an idle
machine is its latency, and which other processes disturb little. The answer is one JSON object for each file.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

_WARMUP = 2
_LOADS = 4  # sessions of each file, taken in turns: where one lies in memory can cost it 5 % for as long as it lives
_BATCH, _BUDGET = 0.002, 60.0  # seconds: the least time of a batch of runs, and the most for all rounds


@dataclass(frozen=True)
class Timing:
    """One file: the seconds of a run in each round, the median seconds of opening a session, the worst error.

    ``error`` is the largest difference from the original without optimizations, over the largest magnitude of that
    output; NaN where an output has another shape. ``fault`` says why the file does not run.
    """

    seconds: tuple[float, ...] = ()
    load: float = 0.0
    error: float = 0.0
    fault: str = ""

    def speedup(self, original: Timing) -> tuple[float, float]:
        """Return how many times faster this file is than the original: median of the rounds, and half the spread.

        The spread is that between the quartiles of the rounds.
        """
        ratios = [a / b for a, b in zip(original.seconds, self.seconds, strict=True)]
        low, middle, high = np.percentile(ratios, [25, 50, 75]) if ratios else (0.0, 0.0, 0.0)
        return float(middle), float(high - low) / 2


def time_files(files: Sequence[Path], feed: Path, rounds: int) -> list[Timing]:
    """Time the files in a process of their own. A process that dies gives a fault to every file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), *sys.path)))}
    command = [sys.executable, __file__, str(feed), str(rounds), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        fault = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:200]
        return [Timing(fault=fault)] * len(files)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [Timing(tuple(each["seconds"]), each["load"], each["error"], each["fault"]) for each in found]


def main() -> None:
    """Time the files that the command line names."""
    import onnxruntime as ort

    feed_file, rounds, *files = sys.argv[1:]
    with np.load(feed_file, allow_pickle=False) as arrays:
        feed = {name: arrays[name] for name in arrays.files}
    plain = open_session(ort, files[0], ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    wanted = dict(zip((value.name for value in plain.get_outputs()), plain.run(None, feed), strict=True))
    del plain
    rows = [_checked(ort, file, feed, wanted) for file in files]
    sound = [index for index, row in enumerate(rows) if not row["fault"]]
    sessions, loads = _opened(ort, [files[index] for index in sound])
    for index, load, taken in zip(sound, loads, _rounds(sessions, feed, int(rounds)), strict=True):
        rows[index] |= {"load": load, "seconds": taken}
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


def open_session(ort: Any, file: str, level: Any) -> Any:
    """Open a session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = level
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _checked(ort: Any, file: str, feed: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    try:
        session = open_session(ort, file, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        got = session.run(list(wanted), feed)
    except Exception as error:  # noqa: BLE001  # whatever the runtime raises is the answer for this file
        return {"seconds": [], "load": 0.0, "error": 0.0, "fault": str(error)[:200]}
    worst = max((relative_error(a, b) for a, b in zip(wanted.values(), got, strict=True)), default=0.0)
    return {"seconds": [], "load": 0.0, "error": worst, "fault": ""}


def _opened(ort: Any, files: Sequence[str]) -> tuple[list[list[Any]], list[float]]:
    """Open sessions of every file, from another one on each time; return them with the median seconds of opening one.

    Equal files differ by up to 10 % where they are opened in one order: what comes later lies better in memory.
    """
    sessions: list[list[Any]] = [[] for _ in files]
    loads: list[list[float]] = [[] for _ in files]
    for number in range(_LOADS):
        for place in range(len(files)):
            index = (number * len(files) // _LOADS + place) % len(files)
            start = time.process_time()
            sessions[index].append(open_session(ort, files[index], ort.GraphOptimizationLevel.ORT_ENABLE_ALL))
            loads[index].append(time.process_time() - start)
    return sessions, [median(each) for each in loads]


def relative_error(wanted: Any, got: Any) -> float:
    """Return the largest difference over the largest finite magnitude of ``wanted``; 0 for what is no tensor."""
    if not isinstance(wanted, np.ndarray) or wanted.dtype.kind not in "fiub" or not wanted.size:
        return 0.0
    if wanted.shape != got.shape:
        return float("nan")
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    scale = float(np.abs(a[finite]).max(initial=0.0)) or 1.0
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / scale


def _rounds(sessions: list[list[Any]], feed: dict[str, Any], rounds: int) -> list[list[float]]:
    """Time a session of every file once a round, in a random order; the seconds of a run of each, by round."""
    warm = [[_run(each, feed, 1) for each in opened * _WARMUP][-1] for opened in sessions]
    batch = max(1, int(_BATCH / max(max(warm, default=1.0), 1e-6)))
    rounds = max(3, min(rounds, int(_BUDGET / max(sum(warm) * batch, 1e-6))))
    taken: list[list[float]] = [[] for _ in sessions]
    shuffle = random.Random(0).sample
    for number in range(rounds):
        for index in shuffle(range(len(sessions)), len(sessions)):
            taken[index].append(_run(sessions[index][number % _LOADS], feed, batch))
    return taken


def _run(session: Any, feed: dict[str, Any], times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        session.run(None, feed)
    return (time.thread_time() - start) / times


if __name__ == "__main__":
    main()
