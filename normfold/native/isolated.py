"""Call functions that run native code in a process of their own, so that a crash there never ends the caller.

The ONNX checker, shape inference, the version converter and ONNX Runtime are C++: some models make them abort, divide
by zero, loop without end or allocate without limit. A worker process starts with the first call and is kept for the
next ones. Weights do not pass through it: callers send skeletons, and paths of files that the worker maps.

Inside a process that is itself supervised (the command line), and with ``NORMFOLD_ISOLATION=off``, functions are called
directly. So they are on systems without POSIX signals.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from normfold.errors import CrashError
from normfold.native.ledger import is_supervised, stage

Returned = TypeVar("Returned")

VARIABLE = "NORMFOLD_ISOLATION"
TIME_LIMIT = 300.0
"""Seconds for one call of native code: shape inference, for one, walks through whatever a file says."""

TASK_LIMIT = 3600.0
"""Seconds for one proof, or for all that is done with one of many models."""

_LIBRARIES = ("onnx", "onnx_ir", "onnxruntime")
"""What a worker loads before its first call, in the order in which calls need it."""

_SHARE_OF_MEMORY = 0.9
_SERVE = "import sys; del sys.path[0]; from normfold.native.isolated import serve; serve(int(sys.argv[1]))"


def call(name: str, function: Callable[..., Returned], *arguments: Any, seconds: float = TIME_LIMIT) -> Returned:
    """Return ``function(*arguments)``, computed in a worker process.

    ``function`` must be importable by its name; arguments, result and errors must be picklable. ``name`` says in
    messages what runs. Raises what the function raises, and CrashError if the worker dies or needs more than
    ``seconds``.
    """
    if not _is_on():
        with stage(name), _alarm(seconds):
            return function(*arguments)
    result: Returned = _pool(os.getpid()).call(name, (function, arguments), seconds)
    return result


def start() -> None:
    """Start a worker now, if there is none, so that it loads its libraries while the caller loads its own."""
    if _is_on():
        with contextlib.suppress(OSError):  # the first call says why no process starts
            _pool(os.getpid()).start()


def _is_on() -> bool:
    return os.environ.get(VARIABLE) != "off" and os.name == "posix"


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """In a supervised process, end it after ``seconds``, native code included, unless a limit of the user's runs."""
    if not is_supervised() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def call_in_parallel(
    name: str, function: Callable[..., Returned], tasks: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[tuple[int, Returned | CrashError]]:
    """Yield the index of each of ``tasks`` with ``function(*task)`` as they end, from ``jobs`` worker processes.

    A task whose worker dies yields the CrashError, and the others go on. Raises what the function raises. Unlike the
    processes of ``multiprocessing``, workers do not run the caller's script again.
    """
    if os.name != "posix":
        yield from ((index, function(*task)) for index, task in enumerate(tasks))
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed

    pool = _Pool()
    try:
        with ThreadPoolExecutor(jobs) as threads:
            futures = {
                threads.submit(pool.call, name, (function, task), TASK_LIMIT): index for index, task in enumerate(tasks)
            }
            try:
                for future in as_completed(futures):
                    error = future.exception()
                    yield futures[future], error if isinstance(error, CrashError) else future.result()
            finally:  # whatever ends this, Ctrl-C too, ends the threads that wait for a worker
                for future in futures:
                    future.cancel()
                pool.kill_busy()
    finally:
        pool.end_idle()


def describe_signal(number: int) -> str:
    """Return what a signal that ended a process means, for a message."""
    meaning = {
        signal.SIGABRT: "it aborted itself",
        signal.SIGFPE: "a division of integers failed",
        signal.SIGKILL: "it was killed, for want of memory perhaps",
        signal.SIGSEGV: "it used memory that is not its own",
    }
    name = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
    return f"{name}, {meaning[signal.Signals(number)]}" if number in meaning else name


def limit_memory() -> None:
    """Limit this process to most of the free memory, so that an allocation without limit fails in this process only.

    Files that are mapped do not count. No core file is written after a crash.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    free = free_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if free and sys.platform == "linux":
        wanted = int(free * _SHARE_OF_MEMORY)
        soft = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
        resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def free_bytes() -> int:
    """Return the free memory of the machine in bytes, or 0 if the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii", errors="replace") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    except OSError:
        return 0


# -- the caller ---------------------------------------------------------------------------------------------------


class _Pool:
    """The workers of one process: one, and a further one for each thread that calls while all others are busy."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._lock = threading.Lock()

    def call(self, name: str, task: tuple[Callable[..., Any], tuple[Any, ...]], seconds: float) -> Any:
        with self._lock:
            worker = self._idle.pop() if self._idle else _Worker()
            self._busy.add(worker)
        try:
            succeeded, value = worker.ask(name, task, seconds)
        except BaseException:
            worker.end()
            raise
        finally:
            with self._lock:
                self._busy.discard(worker)
        with self._lock:
            self._idle.append(worker)
        if not succeeded:
            raise value
        return value

    def start(self) -> None:
        """Have a worker wait for the first call."""
        with self._lock:
            if not self._idle and not self._busy:
                self._idle.append(_Worker())

    def kill_busy(self) -> None:
        """Kill the workers that compute; the calls that wait for them get a CrashError and end them."""
        with self._lock:
            for worker in self._busy:
                worker.kill()

    def end_idle(self) -> None:
        """End the workers that wait for a call."""
        with self._lock:
            while self._idle:
                self._idle.pop().end()


@cache
def _pool(process: int) -> _Pool:
    """Return the pool of a process. A fork inherits the pipes of its parent, and must not use them."""
    pool = _Pool()
    atexit.register(lambda: pool.end_idle() if os.getpid() == process else None)
    return pool


def _import_paths() -> list[str]:
    """Return where modules come from, without the current folder, which may hold anything, but with this package."""
    return [*filter(None, sys.path), str(Path(__file__).parents[2])]


class _Worker:
    """A process that computes one call after the other. It ends when its pipe is closed, by the caller's end too."""

    def __init__(self) -> None:
        from multiprocessing.connection import Pipe

        self._pipe, far = Pipe()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_import_paths()), VARIABLE: "off"}
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(far.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=[far.fileno()],
                start_new_session=True,  # Ctrl-C of the terminal reaches the caller, which ends this process
            )

    def ask(self, name: str, task: tuple[Callable[..., Any], tuple[Any, ...]], seconds: float) -> tuple[bool, Any]:
        """Send a task. Return whether it succeeded, and its result or its error."""
        try:
            self._pipe.send_bytes(pickle.dumps((os.getcwd(), *task), pickle.HIGHEST_PROTOCOL))
            if not self._pipe.poll(seconds):
                raise CrashError(f"{name} took more than {seconds:g} s and was ended")
            answer: tuple[bool, Any] = pickle.loads(self._pipe.recv_bytes())  # from our own process
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            code = self._process.wait()
            how = describe_signal(-code) if code < 0 else f"exit code {code}"
            raise CrashError(f"{name} ended its process ({how})") from error
        return answer

    def kill(self) -> None:
        """Kill the process, whatever it does."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self.kill()
        self._process.wait()
        self._pipe.close()


# -- the worker ---------------------------------------------------------------------------------------------------


def serve(number: int) -> None:
    """Compute calls from the pipe with this file number until it is closed."""
    from multiprocessing.connection import Connection

    limit_memory()
    pipe: Connection[Any, Any] = Connection(number)
    for library in _LIBRARIES:
        if pipe.poll():
            break  # the call loads what it needs
        import_module(library)
    while True:
        try:
            task = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            pipe.send_bytes(_computed(task))
        except (BrokenPipeError, ConnectionResetError):
            return


def _computed(task: bytes) -> bytes:
    try:
        folder, function, arguments = pickle.loads(task)  # from our own process
        with contextlib.suppress(OSError):
            os.chdir(folder)
        return pickle.dumps((True, function(*arguments)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001  # the caller raises it again
        return _pickled_error(error)


def _pickled_error(error: Exception) -> bytes:
    """Pickle an error; as a RuntimeError with its text if its class cannot be made again from its arguments."""
    try:
        content = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(content)  # our own
    except Exception:  # noqa: BLE001  # any class may fail in its own way
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")), pickle.HIGHEST_PROTOCOL)
    return content
