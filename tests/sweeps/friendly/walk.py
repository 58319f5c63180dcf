"""Walk the promises to a new user as a user does, in a terminal, a pipe and a script, and say of each: ok or not.

Each promise is a function whose first line of documentation is what is printed.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.sweeps.friendly import documents, scripts, terminal
from tests.sweeps.friendly.place import Place

Promise = Callable[[Place], bool]
PROMISES: tuple[Promise, ...] = tuple(
    function
    for module in (terminal, scripts, documents)
    for function in vars(module).values()
    if inspect.isfunction(function) and function.__module__ == module.__name__
)
QUICK: tuple[Promise, ...] = (
    terminal.a_dash_is_no_file,
    terminal.check_is_short,
    terminal.a_pipe_gets_whole_lines,
    terminal.other_inputs_are_no_difference,
    scripts.callbacks_raise_as_they_are,
    documents.questions_and_limits_are_answered,
    documents.there_are_three_ways_of_three_lines,
    documents.the_figures_are_of_a_benchmark,
)


def holds(promise: Promise) -> bool:
    """Return whether a promise is kept, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="normfold-friendly-") as folder:
        return promise(Place(Path(folder)))
