"""Check every path of a run before anything is done: what is read stays as it is, what is written can be written.

Two paths are one file if they lead to the same inode, links followed, or, where nothing exists yet, to the same name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from normfold.errors import SourceError, UsageError

STDIO = "-"

AnyPath = str | os.PathLike[str]


def as_path(path: object) -> str:
    """Return a path as text. UsageError for what is none."""
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"expected a path, got {type(path).__name__}")
    return os.fspath(path)


def check_paths(reads: Iterable[AnyPath], writes: Sequence[AnyPath], *, may_replace: AnyPath | None = None) -> None:
    """Check that each of ``writes`` can be written, and that no two paths of a run are one file.

    ``may_replace`` is the one file that may be read and written, because the user says so. Raises UsageError with the
    two paths, or with the path that cannot be written and why.
    """
    for path in writes:
        _check_writable(path)
    read = {_identity(path): path for path in reads}
    allowed = None if may_replace is None else _identity(may_replace)
    written: dict[object, AnyPath] = {}
    for path in writes:
        identity = _identity(path)
        if identity in written:
            raise UsageError(f"{written[identity]} and {path} are one file; choose another path for one of them")
        if identity in read and identity != allowed:
            raise UsageError(f"{path} is read by this run ({read[identity]}); choose another path to write to")
        written[identity] = path


def check_readable(path: AnyPath) -> None:
    """Raise SourceError if ``path`` is no regular file, before anything opens it. A missing file is no matter here."""
    if os.fspath(path) == STDIO:
        raise SourceError("standard input is not read; pass the path of a file (./- for a file of that name)")
    with suppress(OSError, ValueError):  # the code that opens it says why it cannot be opened
        kind = _special_kind(os.stat(path).st_mode)
        if kind:
            raise SourceError(f"{path} is {kind}, and not a file; copy its contents into a file first")


def _check_writable(path: AnyPath) -> None:
    if os.fspath(path) == STDIO:
        raise UsageError("standard output is for reports; expected the path of a file to write (./- for that name)")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:
        raise UsageError(f"{_shortened(path)} cannot be written: {getattr(error, 'strerror', error)}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise UsageError(f"expected a file to write, got the folder {path}")
    if mode is not None and not stat.S_ISREG(mode):
        raise UsageError(f"expected a file to write, but {path} is {_special_kind(mode)}; choose another path")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise UsageError(f"the folder of {path} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: its folder is read-only ({os.strerror(errno.EACCES)})")


def _identity(path: AnyPath) -> object:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _special_kind(mode: int) -> str:
    """Return what a path is that is neither a file nor a folder; "" for those two."""
    kinds = {
        "a named pipe": stat.S_ISFIFO,
        "a device": lambda bits: stat.S_ISCHR(bits) or stat.S_ISBLK(bits),
        "a socket": stat.S_ISSOCK,
    }
    return next((name for name, is_one in kinds.items() if is_one(mode)), "")


def _shortened(path: AnyPath) -> str:
    text = os.fspath(path)
    return text if len(text) <= 200 else f"{text[:200]}…"


def is_named_in(name: str, files: Iterable[Path]) -> bool:
    """Return whether any of ``files`` contains ``name``, as a model does that keeps its weights in a file of that name.

    A file that cannot be read counts as one that does.
    """
    return any(_contains(file, name.encode()) for file in files)


def _contains(file: Path, text: bytes, block: int = 2**22) -> bool:
    try:
        with file.open("rb") as stream:
            end = b""
            while piece := stream.read(block):
                if text in end + piece:
                    return True
                end = piece[-len(text) :]
    except OSError:
        return True
    return False
