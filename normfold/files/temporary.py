"""Temporary files and folders that go on every way out, and those that a killed run left, which the next run removes.

Each is locked while its process lives and recorded for the supervisor of the command line. The lock goes with the
process, so a file that can be locked by another one is a leftover.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from normfold.native.ledger import LedgerKind, record

_PREFIX = "normfold_run_"
_ATTEMPTS = 10


@contextlib.contextmanager
def temporary_next_to(target: Path) -> Iterator[Path]:
    """Create a new file in the folder of ``target``, which is removed at the end unless it was renamed."""
    file, lock = _locked(lambda: _new_file(target))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def replace_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is the old file or the new one at any moment. OSError when it cannot be."""
    target = Path(os.path.realpath(path))  # Path.resolve raises for links in a circle
    with temporary_next_to(target) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)


def leftovers_next_to(target: Path) -> list[Path]:
    """Return the temporary files that killed runs left for ``target``."""
    pattern = f".{_stem(target)}.*.tmp"
    try:
        found = [file for file in target.parent.iterdir() if file.match(pattern) and file.is_file()]
    except OSError:
        return []
    return [file for file in found if _is_left(file)]


class TemporaryFolder:
    """A folder for temporary files, which is removed when it is closed or no longer referenced. OSError if full."""

    def __init__(self) -> None:
        _remove_left_folders()
        self.path, lock = _locked(lambda: Path(tempfile.mkdtemp(prefix=_PREFIX)))
        self._finalize = weakref.finalize(self, _remove, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder."""
        self._finalize()


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_left_folders() -> None:
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            if folder.is_dir() and not folder.is_symlink() and _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _stem(target: Path) -> str:
    """Return the part of a temporary name that comes from the target; names of 255 bytes are the longest."""
    return target.name[:100]


def _new_file(target: Path) -> Path:
    file = target.with_name(f".{_stem(target)}.{os.urandom(6).hex()}.tmp")
    file.touch(exist_ok=False)
    return file


# -- locks --------------------------------------------------------------------------------------------------------


def _locked(create: Callable[[], Path]) -> tuple[Path, int]:
    """Create a file or folder and lock it. Another run may take it for a leftover before it is locked: then again."""
    for _ in range(_ATTEMPTS):
        path = create()
        record(LedgerKind.TEMPORARY, str(path))
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        _lock(lock)
        if path.exists():
            return path, lock
        os.close(lock)
    raise OSError(f"{path} was removed by another process while it was made")


def _is_left(path: Path) -> bool:
    """Return whether no living process has locked a file or folder."""
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _lock(lock)
    finally:
        os.close(lock)


def _lock(file: int) -> bool:
    """Lock an open file, if no other process has; return whether that worked. Nothing is locked on Windows."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
