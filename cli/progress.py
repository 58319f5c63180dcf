"""A progress bar on stderr for work that takes longer than a second, where stderr is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 1.0  # seconds before a bar shows


@contextmanager
def bar(label: str, total: int, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Show a bar over ``total`` pieces of work; the caller calls what it gets after each."""
    if quiet or not _is_watched():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    with _late(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task(label, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def stages(label: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show a line with a spinner, the stage and the time; the caller calls what it gets with the name of each stage."""
    if quiet or not _is_watched():
        yield lambda stage: None
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with _late(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as progress:
        task = progress.add_task(label, total=None)
        yield lambda stage: progress.update(task, description=f"{label}: {stage}")


def _is_watched() -> bool:
    """Whether stderr is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def _late(*columns: object) -> Iterator[Progress]:
    """Give a Progress that begins to show after a second, and leaves nothing behind."""
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(*columns, console=Console(stderr=True, markup=False), transient=True)  # type: ignore[arg-type]  # columns
    lock, ended = Lock(), False

    def start() -> None:
        with lock:
            if not ended:
                progress.start()

    timer = Timer(PATIENCE, start)
    timer.daemon = True
    timer.start()
    try:
        yield progress
    finally:
        with lock:
            ended = True
        timer.cancel()
        progress.stop()
