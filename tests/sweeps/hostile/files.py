"""Each hostile file through the command line: one line, a documented code, within 10 s and 2 GB."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sweeps.hostile import odd_cases  # noqa: F401  # it adds its own to the cases
from tests.sweeps.hostile.cases import Build, every_case
from tests.sweeps.hostile.runs import run, say


def files(names: Sequence[str], command: str = "optimize") -> Iterator[tuple[str, str]]:
    """Yield each hostile file with what is wrong with the run on it."""
    for name, make in every_case(names):
        with tempfile.TemporaryDirectory() as folder:
            path = _made(make, Path(folder))
            before = sorted(os.listdir(folder))
            ended = run(command, path)
            fault = ended.fault(10.0)
            new = sorted(set(os.listdir(folder)) - set(before))
            if not fault and new and ended.code:
                fault = f"code {ended.code} left {new}"
            figures = f"code {ended.code:3} {ended.seconds:6.1f} s {ended.peak >> 20:5} MB"
            say(f"{name:32} {figures}  {ended.err.strip()[:110]}")
            yield name, fault


def _made(make: Build, folder: Path) -> Path:
    """Write a file in a fork, so that this process stays small: a process starts with the peak of its parent."""
    child = os.fork()
    if child == 0:
        try:
            make(folder)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return next(path for path in folder.iterdir() if path.stem == "m")
