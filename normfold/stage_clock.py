"""How long each stage of a run took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StageClock:
    """Adds up the wall time of each stage, without the stages inside it, and tells of each that begins."""

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage
        self._inside = 0.0  # seconds of the stages inside the present one

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside as the stage ``name``, without the stages inside it."""
        if self._on_stage is not None:
            self._on_stage(name)
        start, around, self._inside = time.perf_counter(), self._inside, 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._inside
            self._inside = around + took
