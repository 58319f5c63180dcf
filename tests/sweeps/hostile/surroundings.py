"""Surroundings that fail: folders for temporary files and caches, no HOME, files that change while they are read."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tests.sweeps.hostile.folder import emptied, large_model, leftovers
from tests.sweeps.hostile.judge import differs
from tests.sweeps.hostile.runs import Ended, run

NOWHERE = "/proc/nowhere"  # no folder can be made there, not even by root


def _environments(stack: ExitStack, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield environments in which a run must do what it always does, by name."""
    file = folder / "file"
    file.write_bytes(b"")
    yield "TMPDIR is missing", {"TMPDIR": NOWHERE}
    yield "TMPDIR is a file", {"TMPDIR": str(file)}
    yield "the cache cannot be made", {"XDG_CACHE_HOME": NOWHERE, "HOME": NOWHERE}
    yield "the cache is a file", {"XDG_CACHE_HOME": str(file)}
    yield "no HOME", {"HOME": "", "XDG_CACHE_HOME": ""}
    if full := _full(stack, folder / "full"):
        yield "TMPDIR is full", {"TMPDIR": full}


def _full(stack: ExitStack, folder: Path) -> str:
    """Return a folder on a disk of 64 kB, or "" where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        return ""
    stack.callback(subprocess.run, ["umount", str(folder)], check=True)
    (folder / "filler").write_bytes(bytes(60 * 1024))
    return str(folder)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(4096))


def _vanish(path: Path) -> None:
    path.unlink()


def _swap(path: Path) -> None:
    """Put a file of half the weights in its place, as an atomic save does; no model, where it is the model's."""
    with tempfile.NamedTemporaryFile(dir=path.parent.parent, delete=False) as file:
        content = path.read_bytes()
        is_data = path.suffix == ".data"
        file.write((np.frombuffer(content, "<f4") / 2).tobytes() if is_data else content[::-1])
    Path(file.name).replace(path)


CHANGES: tuple[Callable[[Path], None], ...] = (_truncate, _grow, _vanish, _swap)


def _after(seconds: float, change: Callable[[Path], None], path: Path) -> threading.Timer:
    """Change a file ``seconds`` from now."""
    timer = threading.Timer(seconds, change, (path,))
    timer.start()
    return timer


def surroundings(count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each failing environment, then ``count`` files that change at random moments, with what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        yield from failing_environments(Path(name), ("optimize", "check"))
        yield from _files_that_change(Path(name), count, seed, ends)


def failing_environments(name: Path, commands: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each failing environment of each command with what is wrong with the run in it."""
    folder = name / "run"
    with ExitStack() as stack:
        for case, environment in _environments(stack, name):
            for command in commands:
                emptied(folder)
                path, target = large_model(folder, external=True), folder / "out.onnx"
                options = ["-q", "-o", target] if command == "optimize" else []
                ended = run(command, path, *options, environment=environment)
                fault = ended.fault() or (f"left {left}" if (left := leftovers(folder)) else "")
                wanted = 0 if command == "optimize" else 1  # the model has a norm that can be folded
                yield f"{command}: {case}", fault or (f"code {ended.code}: {ended.err}" if ended.code != wanted else "")


def _files_that_change(name: Path, count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    folder = name / "run"
    for number in range(count):
        if time.monotonic() > ends:
            return
        dice = random.Random(f"{seed}:{number}")
        emptied(folder)
        path, target = large_model(folder, external=True), folder / "out.onnx"
        original = Path(shutil.copytree(folder, name / "original", dirs_exist_ok=True), "m.onnx")
        changed, change = dice.choice((path, folder / "m.onnx.data")), dice.choice(CHANGES)
        timer = _after(dice.uniform(0.5, 6.0), change, changed)
        ended = run("optimize", path, "-q", "-o", target)
        timer.cancel()
        timer.join()
        wrong = target.exists() and differs(original, target)
        wrong = wrong and (not path.exists() or differs(path, target)) and f"neither the old nor the new one: {wrong}"
        yield f"{number} {change.__name__} {changed.name}", ended.fault() or wrong or ""


def disks(sizes: Sequence[int] = (1, 64, 4096)) -> Iterator[tuple[str, str]]:
    """Yield each way in which a write fails with what is wrong afterwards; no file may exceed so many kilobytes."""
    for external in (False, True):
        for kilobytes in sizes:  # what the command prints needs some too
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                path = large_model(folder, external)
                before = {file.name: file.stat().st_size for file in folder.iterdir()}
                ended = _limited(kilobytes, "optimize", path, "-q", "-o", folder / "out.onnx")
                after = {file.name: file.stat().st_size for file in folder.iterdir()}
                fault = ended.fault()
                if not fault and (ended.code == 0 or after != before):
                    fault = f"code {ended.code}, files {after}"
                yield f"{kilobytes} kB {'external' if external else 'inline'}", fault


def _limited(kilobytes: int, *arguments: object) -> Ended:
    """Run with a limit on the size of files, which makes writes fail as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, before[1]))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        return run(*arguments)
    finally:
        signal.signal(signal.SIGXFSZ, handler)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
