"""Run `normfold optimize` over every model below some folders, and say which of three ways each one went.

    python -m tests.sweeps.sweep FOLDER... [--jobs 2] [--seconds 120] [--verbose]

A model is optimized and proven, left as it is, or refused in one line with a documented exit code. A result has to
pass `normfold verify`, and to give the outputs in the test_data_set folders next to the model if that one does.
A difference, an internal error, a crash or a hang is a defect, and the command ends with 1. `onnx` stands for the
graphs in files that the installed onnx package brings, `onnx-nodes` for its node cases.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from tests.sweeps.stored_outputs import breaks_stored_outputs, write_node_cases

WAYS = {0: "left as it is", 3: "refused", 4: "inconclusive", 2: "refused (usage)"}
DEFECTS = ("differs", "internal error", "crash", "hang", "no message", "not verified", "other outputs")


@dataclass(frozen=True)
class Outcome:
    """What became of one model: the way it went, what was said, and the seconds it took."""

    path: str
    way: str
    said: str
    seconds: float

    @property
    def is_defect(self) -> bool:
        """Whether it is none of the three ways."""
        return self.way in DEFECTS


def optimize_one(path: str, output: str) -> tuple[str, str]:
    """Run the command in this process; the way the model went, and the last line that was said."""
    from normfold_cli import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = int(run(["optimize", path, "-o", output, "--json"]))
    lines = err.getvalue().strip().splitlines()
    if code == 0:
        report = json.loads(out.getvalue())
        way = "left as it is" if report["folded"] + report["fused"] == 0 else "optimized and proven"
        return _checked(path, output) or (way, "; ".join(report["notes"]))
    said = lines[-1] if lines else ""
    if "internal error" in said:
        return "internal error", said
    if code == 1:
        return "differs", said
    notes = ""
    if out.getvalue():
        notes = "; ".join(json.loads(out.getvalue())["verification"]["notes"])
    return (WAYS[code] if len(lines) == 1 else "no message"), f"{said} {notes}"


def _checked(path: str, output: str) -> tuple[str, str] | None:
    """Return how a result fails `normfold verify` or the outputs that are stored with the model, or None."""
    from normfold_cli import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = int(run(["verify", path, output, "-q"]))
    if code not in (0, 4):
        return "not verified", out.getvalue().strip()
    data = breaks_stored_outputs(Path(path), Path(output))
    return ("other outputs", data) if data else None


def _serve(pipe: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        while True:
            path = pipe.recv()
            pipe.send(optimize_one(path, str(Path(folder) / "out.onnx")))


class Worker:
    """A process that optimizes one model after another; it is replaced when it dies or takes too long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, path: str) -> Outcome:
        """Optimize ``path``; a crash or a hang is an outcome like any other."""
        start = time.perf_counter()
        try:
            self._pipe.send(path)
            way, said = self._pipe.recv() if self._pipe.poll(self.seconds) else ("hang", f"over {self.seconds} s")
        except (EOFError, OSError):
            self._process.join()
            way, said = "crash", f"the process ended with {self._process.exitcode}"
        if way in ("hang", "crash"):
            self.stop()
            self._start()
        return Outcome(path, way, said, time.perf_counter() - start)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def models_below(folder: str, scratch: Path) -> Iterator[str]:
    """Every .onnx file below a folder, or those of the onnx package; what has to be written goes to ``scratch``."""
    if folder == "onnx-nodes":
        write_node_cases(scratch)
        root = scratch
    elif folder == "onnx":
        import onnx.backend.test

        root = Path(onnx.backend.test.__file__).parent / "data"
    else:
        root = Path(folder)
    yield from map(str, sorted(root.rglob("*.onnx")) if root.is_dir() else [root])


def sweep(paths: list[str], jobs: int, seconds: float) -> Iterator[Outcome]:
    """The outcome of each path, in order, as they come."""
    workers = [Worker(seconds) for _ in range(jobs)]
    free = SimpleQueue[Worker]()
    for worker in workers:
        free.put(worker)

    def serve(path: str) -> Outcome:
        worker = free.get()
        try:
            return worker.run(path)
        finally:
            free.put(worker)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(serve, paths)
    finally:
        for worker in workers:
            worker.stop()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--verbose", action="store_true", help="name every model, not only the defects")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        paths = [path for folder in options.folders for path in models_below(folder, Path(scratch))]
        ways: Counter[str] = Counter()
        for outcome in sweep(paths, options.jobs, options.seconds):
            ways[outcome.way] += 1
            if outcome.is_defect or options.verbose:
                sys.stdout.write(f"{outcome.way:22} {outcome.seconds:6.1f} s  {outcome.path}  {outcome.said}\n")
                sys.stdout.flush()
    for way, count in ways.most_common():
        sys.stdout.write(f"{count:6}  {way}\n")
    return int(any(ways[way] for way in DEFECTS))


if __name__ == "__main__":
    sys.exit(main())
