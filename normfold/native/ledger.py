"""Record what a command is doing for the process that watches it, so that a crash can be explained and cleaned up.

The supervisor of the command line (``cli/supervise.py``) passes an open file in ``NORMFOLD_LEDGER``, by its number and
the number of the one process that has it open. Each entry is a kind, a text and a zero byte. Without a supervisor
nothing is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

VARIABLE = "NORMFOLD_LEDGER"
MADE_UP_RUN = "a run of the original on inputs that were made up for it"


class LedgerKind(Enum):
    """What an entry says; the first letter of an entry."""

    STAGE = "s"  # native code that begins to run; empty when it has ended
    SOURCE = "m"  # the model that was read
    TEMPORARY = "t"  # a file or folder that must be removed if the process dies


def open_for(file: int) -> None:
    """Let this process record into an open file."""
    os.environ[VARIABLE] = f"{file}:{os.getpid()}"


def is_supervised() -> bool:
    """Return whether another process watches this one."""
    return os.environ.get(VARIABLE, "").endswith(f":{os.getpid()}")


def record(kind: LedgerKind, text: str) -> None:
    """Append an entry for the supervisor, if there is one."""
    if is_supervised():
        file = int(os.environ[VARIABLE].partition(":")[0])
        os.write(file, f"{kind.value}{text}\0".encode(errors="surrogateescape"))


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Record that native code runs under ``name`` for the duration of the context."""
    record(LedgerKind.STAGE, name)
    try:
        yield
    finally:
        record(LedgerKind.STAGE, "")


class Ledger:
    """The entries of one watched process, read after its end."""

    def __init__(self, content: bytes) -> None:
        """Split the bytes that ``record`` wrote."""
        entries = [entry.decode(errors="surrogateescape") for entry in content.split(b"\0") if entry]
        self._entries = [(entry[0], entry[1:]) for entry in entries]

    def last(self, kind: LedgerKind) -> str:
        """Return the text of the last entry of a kind, or "" if there is none."""
        return next((text for letter, text in reversed(self._entries) if letter == kind.value), "")

    def stage(self) -> str:
        """Return the innermost native code that ran at the end, or "" if none did."""
        running: list[str] = []
        for letter, text in self._entries:
            if letter == LedgerKind.STAGE.value and text:
                running.append(text)
            elif letter == LedgerKind.STAGE.value:
                running.pop()
        return running[-1] if running else ""

    def temporaries(self) -> list[Path]:
        """Return every temporary file and folder that was recorded."""
        return [Path(text) for letter, text in self._entries if letter == LedgerKind.TEMPORARY.value]
