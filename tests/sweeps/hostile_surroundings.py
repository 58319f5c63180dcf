"""Surroundings that fail: folders for temporary files and caches, no HOME, files that change while they are read."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

NOWHERE = "/proc/nowhere"  # no folder can be made there, not even by root


def environments(stack: ExitStack, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
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


def after(seconds: float, change: Callable[[Path], None], path: Path) -> threading.Timer:
    """Change a file ``seconds`` from now."""
    timer = threading.Timer(seconds, change, (path,))
    timer.start()
    return timer
