"""Run a command in a child process, and turn the child's death into one line and a documented exit code.

Native libraries abort on some models, loop, or use up the memory. The parent imports nothing heavy and only waits: it
passes signals on, removes the temporary files of a child that died, and asks a further process whether ONNX Runtime
loads the model at all. The fork costs a few milliseconds.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, TextIO

from normfold.native import isolated, ledger
from normfold.native.ledger import Ledger, LedgerKind

from .exits import Exit

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GRACE = 5.0
"""Seconds that an interrupted child has to clean up."""

_OBJECTS = 50_000
"""New objects after which Python looks for cycles: a graph is many objects, few of which go before it does."""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if os.name == "posix" else ()
_PR_SET_PDEATHSIG = 1


def supervised(command: Callable[[], int], complain: Callable[[str], None]) -> int:
    """Return the exit code of ``command``, which runs in a child process; ``complain`` prints a line if it dies."""
    if os.environ.get(isolated.VARIABLE) == "off" or not hasattr(os, "fork"):
        return command()
    with _anonymous_file() as records, _anonymous_file() as native_output:
        parent = os.getpid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback before each process has a handler of its own
        child = os.fork()
        if child == 0:
            _prepare(parent, records, native_output)
            return command()
        status, interrupted_by = _wait(child)
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        records.seek(0)
        return _explain(os.WTERMSIG(status), interrupted_by, Ledger(records.read()), complain)


def was_interrupted() -> bool:
    """Return whether Ctrl-C came; what it met, such as the import of a library, may have made another error of it."""
    return ledger.is_supervised() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def limit_time(seconds: float) -> None:
    """End the supervised process after ``seconds``, native code included. The supervisor says so."""
    if ledger.is_supervised():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _anonymous_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):  # needs no folder that can be written
        return os.fdopen(os.memfd_create("normfold"), "w+b")
    return tempfile.TemporaryFile()


# -- the child ----------------------------------------------------------------------------------------------------


def _prepare(parent: int, records: BinaryIO, native_output: BinaryIO) -> None:
    """Bind this process to its parent, and keep what native libraries print away from the terminal."""
    _die_with(parent)
    ledger.open_for(os.dup(records.fileno()))
    os.environ[isolated.VARIABLE] = "off"
    isolated.limit_memory()
    gc.set_threshold(_OBJECTS)
    sys.stdout = _moved(sys.stdout, 1, native_output)
    sys.stderr = _moved(sys.stderr, 2, native_output)
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _terminate)


class _Output(io.FileIO):
    """A file whose reader may go, as `head` does: the rest goes nowhere, and the exit code is that of the command."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write ``data`` as long as there is a reader."""
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return super().write(data)


def _moved(stream: TextIO, descriptor: int, native_output: BinaryIO) -> TextIO:
    """Return ``stream`` on a new descriptor of the same file; what is written to its own one is not shown."""
    stream.flush()
    terminal = os.dup(descriptor)
    os.dup2(native_output.fileno(), descriptor)
    return on_descriptor(terminal, stream)


def on_descriptor(descriptor: int, stream: TextIO) -> TextIO:
    """Return a stream like ``stream`` that writes to ``descriptor`` as long as there is a reader."""
    output = io.BufferedWriter(_Output(descriptor, "w", closefd=False))
    return io.TextIOWrapper(output, stream.encoding, stream.errors, line_buffering=stream is sys.stderr)


def _die_with(parent: int) -> None:
    """Let the kernel end this process if the parent is killed; only Linux can."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(int(Exit.INTERRUPTED))


def _interrupt(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt once: the terminal and the parent both send the signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _terminate(number: int, frame: object) -> None:
    """Leave through all context managers, so that temporary files go."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + number)


# -- the parent ---------------------------------------------------------------------------------------------------


def _wait(child: int) -> tuple[int, int]:
    """Return the status of the child, and the last signal that was passed on to it (0 for none)."""
    passed_on = [0]

    def pass_on(number: int, frame: object) -> None:
        passed_on[0] = number
        signal.setitimer(signal.ITIMER_REAL, GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    def give_up(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, give_up)
    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    return os.waitpid(child, 0)[1], passed_on[0]


def _explain(number: int, interrupted_by: int, entries: Ledger, complain: Callable[[str], None]) -> int:
    for path in entries.temporaries():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    during = entries.stage()
    doing = f" during {during}" if during else ""
    if interrupted_by:
        complain(f"ended by {signal.Signals(interrupted_by).name}{doing}; nothing was written")
        return 128 + interrupted_by
    if number == signal.SIGALRM:
        complain(f"the time limit was reached{doing}; nothing was written; give more with --timeout")
        return Exit.INCONCLUSIVE
    how = f"the process died{doing} ({isolated.describe_signal(number)})"
    source = entries.last(LedgerKind.SOURCE)
    rejection = _rejection(source)
    if rejection:
        complain(f"{source}: {how}, and ONNX Runtime does not load the model either: {rejection}")
        return Exit.INPUT
    if during == ledger.MADE_UP_RUN:
        complain(f"{source}: {how}; nothing was written; pass others with --inputs, or --input NAME=SHAPE")
        return Exit.INCONCLUSIVE
    complain(f"internal error, nothing was written; please report: {how}")
    return Exit.INTERNAL


def _rejection(source: str) -> str:
    if not source:
        return ""
    from normfold.files.source import rejection_by_runtime

    return rejection_by_runtime(source)
