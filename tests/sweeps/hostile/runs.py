"""Run the command line as a user does, or in a fork, and judge how it ended."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

DOCUMENTED = frozenset({0, 1, 2, 3, 4})
SECONDS, BYTES = 30.0, 2 * 2**30
PROGRAM = "import sys; sys.path.pop(0); import normfold_cli; normfold_cli.main()"


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative: a signal), outputs, seconds of the processor and bytes at its peak."""

    code: int
    out: str
    err: str
    seconds: float
    peak: int

    def fault(self, seconds: float = SECONDS) -> str:
        """Return what is wrong with it, or ""."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        if self.code not in DOCUMENTED:
            return f"code {self.code}: {self.err.strip()[-200:]}"
        if "Traceback" in self.err or "internal error" in self.err:
            return f"an internal error: {self.err.strip()[-200:]}"
        if any(ord(letter) < 32 and letter not in "\n\t" for letter in self.out + self.err):
            return "control characters in the output"
        if self.code in (2, 3) and len(lines) != 1:
            return f"{len(lines)} lines of error"
        if self.seconds > seconds:
            return f"{self.seconds:.1f} s"
        return f"{self.peak >> 20} MB" if self.peak > BYTES else ""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*arguments: object, limit: float = 240.0, environment: dict[str, str] | None = None) -> Ended:
    """Run ``normfold ARGUMENTS`` as a user does."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NORMFOLD_ISOLATION": "", **(environment or {})},
        )
        code, seconds, peak = _waited(process.pid, limit)
        process.returncode = code
        return Ended(code, _read(out), _read(err), seconds, peak)


def forked(action: Callable[[], int]) -> Ended:
    """Run something in a fork of this process, which has everything imported; its result is the exit code."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ["NORMFOLD_ISOLATION"] = "off"
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = 99
            try:
                code = action()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code, seconds, peak = _waited(child, 8 * SECONDS)
        return Ended(code, _read(out), _read(err), seconds, peak)


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _waited(child: int, limit: float) -> tuple[int, float, int]:
    """Return exit code, seconds of the processor and peak memory; after ``limit`` seconds the process is killed."""
    ends = time.monotonic() + limit
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
