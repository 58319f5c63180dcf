"""How a command ends: the exit codes, in one table for the program, its help and the README, and the error line."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import TextIO

import click

from normfold.findings.escape import printable


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    DIFFERS = 1
    USAGE = 2
    INPUT = 3
    INCONCLUSIVE = 4
    INTERNAL = 70
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.DONE: "done; also when there was nothing to do",
    Exit.DIFFERS: "a check failed, or the models differ",
    Exit.USAGE: "wrong usage: an unknown option or name, or an output that cannot be written",
    Exit.INPUT: "the input cannot be read or is not a valid model",
    Exit.INCONCLUSIVE: "the verification was inconclusive, or the time limit was reached",
    Exit.INTERNAL: "an internal error of normfold, or of a native library that it calls",
    Exit.INTERRUPTED: "interrupted with Ctrl-C",
}

WHERE = "Exit codes: see normfold --help."
HELP = (
    "\b\nExit codes:\n"
    + "".join(f"  {int(code):<4} {meaning}\n" for code, meaning in MEANING.items())
    + "With every code but 0 no model is written."
)


def complain(message: str) -> None:
    """Print the one line that every error is; where stderr refuses it, the exit code says the rest."""
    try:
        click.echo(f"normfold: {printable(message, 2000)}", err=True)
    except OSError:
        close(sys.stderr)


def close(stream: TextIO) -> None:
    """Send what ``stream`` still holds to nowhere: Python writes there again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
