"""Feeds that the original accepts: only running tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np

from normfold.native import isolated, ledger
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import FailureKind, ModelRunError, Value
from normfold.verify.inputs.distributions import Distribution
from normfold.verify.inputs.generate import Feed, Feeder
from normfold.verify.inputs.largest_value import bytes_of_largest_value
from normfold.verify.inputs.user_files import all_inputs
from normfold.verify.numeric.distance import is_floating
from normfold.verify.question import Question

_LARGEST = 2**26  # bytes of one value, counted as half a byte an element

Run = Callable[[Feed], dict[str, Value]]
"""What runs the original on a feed."""

SLOW_SECONDS = 0.3
"""A model whose runs took so much of the processor after two feeds gets no more."""


def accepted_feeds(
    question: Question, run_original: Run, note: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[Feed, dict[str, Value]]]:
    """Yield feeds that the original accepts, each with the values that it gave; ``note`` takes what is to be said."""
    if question.options.inputs:
        for feed in made_up_or_given(question, 0):
            yield feed, run_original(feed)
        return
    working: dict[str, int] | None = None
    accepted, seconds = 0, 0.0
    count = max(question.options.feeds, 1) if question.original.inputs else 1
    for index in range(count):
        start = time.process_time()
        run = run_original if index else _within_memory(question.original, run_original)
        found = _first_that_runs(question.feeder, index, working, run)
        if found is None:
            continue
        seconds += time.process_time() - start
        accepted += 1
        feed, values, working = found
        yield feed, values
        if accepted == 2 and seconds > SLOW_SECONDS and index + 1 < count:
            note(f"two feeds only, because they took the original {seconds:.1f} s")
            return


def _within_memory(model: LoadedModel, run: Run) -> Run:
    """Return ``run``, which refuses a feed that would make a value larger than the free memory.

    Where sizes are free, none is needed with which a value is far larger than all weights.
    """
    dims = (dim for value in model.inputs for dim in value.type.tensor_type.shape.dim)
    has_free_sizes = not all(dim.HasField("dim_value") for dim in dims)
    largest_of = cache(partial(bytes_of_largest_value, model))  # proposals share shapes

    def limited(feed: Feed) -> dict[str, Value]:
        arrays = ((name, value) for name, value in feed.values.items() if isinstance(value, np.ndarray))
        largest = largest_of(frozenset((name, array.shape) for name, array in arrays))
        free = isolated.free_bytes()
        chosen = min(free, _LARGEST + model.weight_bytes) if has_free_sizes else free
        if largest > chosen > 0:
            raise ModelRunError(FailureKind.MEMORY, f"one value would have at least {largest:.1e} bytes")
        return run(feed)

    return limited


def made_up_or_given(question: Question, index: int) -> Iterator[Feed]:
    """Yield the feeds that a user gave; without any, the proposals for feed number ``index``."""
    if question.options.inputs:
        yield from (Feed(g.values, g.text) for g in all_inputs(question.options.given_inputs, question.original))
    else:
        yield from (feed for feed, _ in question.feeder.proposals(index))


def _first_that_runs(
    feeder: Feeder, index: int, working: dict[str, int] | None, run: Run
) -> tuple[Feed, dict[str, Value], dict[str, int]] | None:
    """Return the first proposal that runs and says something.

    Return else the first that runs; ModelRunError when none ever did. Where one took too much memory, none that is as
    large is tried.
    """
    fallback: tuple[Feed, dict[str, Value], dict[str, int]] | None = None
    failure: ModelRunError | None = None
    too_large: list[dict[str, int]] = []
    for feed, sizes in feeder.proposals(index, working):
        if any(all(sizes.get(name, 0) >= size for name, size in each.items()) for each in too_large):
            continue
        try:
            with ledger.stage(ledger.MADE_UP_RUN):
                values = run(feed)
        except ModelRunError as error:
            if error.kind is FailureKind.MEMORY:
                too_large.append(sizes)
            elif error.kind is not FailureKind.RUN:
                raise
            failure = error
            continue
        if not _says_nothing(list(values.values())):
            return feed, values, sizes
        fallback = fallback or (feed, values, sizes)
        if feed.distribution is Distribution.POSITIVE:
            break
    if fallback is None and working is None:
        raise failure or ModelRunError(FailureKind.RUN, "no legal input is known for it")
    return fallback


def _says_nothing(values: Sequence[Value]) -> bool:
    """Whether every floating number is NaN or infinite."""
    floating = [v for v in values if isinstance(v, np.ndarray) and is_floating(v) and v.size]
    return bool(floating) and not any(map(_has_numbers, floating))


def _has_numbers(array: np.ndarray) -> bool:
    flat = array.reshape(-1)
    return any(np.isfinite(part.astype(np.float32)).any() for part in (flat[:64], flat))
