"""Bounded time: one thread for a whole proof, which looks at the clock and ends a run that takes too long."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime as ort

LIMIT = 300.0
"""Seconds for one run, where the user gives no other."""


class _Run:
    """A run under way: when it must be over, and what ends it."""

    def __init__(self, seconds: float) -> None:
        self.options = ort.RunOptions()
        self.options.log_severity_level = 4
        self.is_out_of_time = False
        self._ends = time.monotonic() + seconds

    def look(self) -> None:
        """End it if its time is over."""
        if time.monotonic() > self._ends:
            self.is_out_of_time = True
            self.options.terminate = True


class Watch:
    """Bound every run to ``seconds``.

    A timer for each run would cost a thread each, as much as a small model takes; this thread starts with the first run
    and ends with the watch.
    """

    def __init__(self, seconds: float = LIMIT) -> None:
        self.seconds = seconds
        self._runs: list[_Run] = []
        self._over = threading.Event()
        self._started = False
        weakref.finalize(self, self._over.set)

    @contextmanager
    def run(self) -> Iterator[_Run]:
        """Give its options to the run that it covers."""
        if not self._started:
            self._started = True
            threading.Thread(target=_look_on, args=(self._runs, self._over, self.seconds), daemon=True).start()
        run = _Run(self.seconds)
        self._runs.append(run)
        try:
            yield run
        finally:
            self._runs.remove(run)


def _look_on(runs: list[_Run], over: threading.Event, seconds: float) -> None:
    """Run the thread. It must not refer to the watch, which would then never end."""
    while not over.wait(min(seconds / 8, 1.0)):
        for run in tuple(runs):
            run.look()
