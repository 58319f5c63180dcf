"""Compare the candidate as a whole: without optimizations, and as a user runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from normfold.runtime.session import CannotRun, Level, Runner, Trouble, Value
from normfold.runtime.submodel import Part, part
from normfold.verify.checks.discrete_ties import is_a_tie
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.rounding_noise import AT_THE_END
from normfold.verify.result import Comparison
from normfold.verify.state import Case, part_feed, run_part

_LADDER = (Level.BASIC, Level.EXTENDED, Level.DEFAULT)
_INSTEAD = {Level.BASIC: "disabled", Level.EXTENDED: "at level basic", Level.DEFAULT: "at level extended"}


WHOLE_FEEDS = 2
"""Feeds for the whole candidate at the default level, where all of them were compared at the sites."""


def check_whole(case: Case) -> None:
    """Run the whole candidate as a user runs it; the references are the original's outputs.

    Where there are sites, the candidate has run in parts without optimizations, each fed with what the original made
    before it, and the two smallest feeds are enough here. Without sites it has run whole, on other feeds than
    these if it takes turns. It runs whole without optimizations beside that only to tell whose fault it is when the
    optimized run differs.
    """
    numbers = _smallest(case) if case.owners else _its_turns(case)
    _check(case, Level.DEFAULT, numbers)
    if not any(witness == Level.DEFAULT.value for _, witness in (*case.worst, *case.chaotic)):
        _check(case, Level.DISABLE_ALL, numbers)  # the runtime cannot run the model at its default level


def check_stored(case: Case) -> None:
    """Run the whole model on all feeds at both levels; the references are stored outputs."""
    _check(case, Level.DISABLE_ALL, range(len(case.feeds)))
    if not case.is_by_reference:
        _check(case, Level.DEFAULT, range(len(case.feeds)))


def _smallest(case: Case) -> list[int]:
    """Of feeds of one size the first and the last, which are tame: the runtime is looked at, not the extremes."""
    count = len(case.feeds)
    return sorted(range(count), key=lambda number: (_size(case.feeds[number]), -number % count))[:WHOLE_FEEDS]


def _its_turns(case: Case) -> list[int]:
    numbers = range(len(case.feeds))
    return [number for number in numbers if not (case.takes_turns and case.is_plain_turn(number))] or [0]


def _check(case: Case, level: Level, numbers: Sequence[int]) -> None:
    references = {number: _comparable(case, case.references[number]) for number in numbers}
    try:
        with case.open(case.candidate, level) as runner:
            obtained = {number: _outputs(runner, case.feeds[number], list(ref)) for number, ref in references.items()}
    except CannotRun as error:
        _did_not_run(case, level, error)
        return
    for number, found in obtained.items():
        _compare(case, level, number, references[number], found)


def _size(feed: Feed) -> int:
    return sum(getattr(value, "size", 0) for value in feed.values.values())


def _comparable(case: Case, reference: Mapping[str, Value]) -> dict[str, Value]:
    """The outputs that are the same at every run."""
    return {name: value for name, value in reference.items() if name not in case.random_outputs}


def _outputs(runner: Runner, feed: Feed, names: Sequence[str]) -> dict[str, Value]:
    return dict(zip(names, runner.run(feed.values, names), strict=True))


def _compare(case: Case, level: Level, number: int, reference: Mapping[str, Value], found: Mapping[str, Value]) -> None:
    feed, doubtful = case.feeds[number], []
    for name, expected in reference.items():
        judged = case.judge(name, level.value, expected, found[name], feed, AT_THE_END)
        if judged.passed:
            case.add(judged)
        else:
            doubtful.append(name)
    if not doubtful:
        return
    whole = part(case.original, doubtful, {})
    looks = case.noise_of(whole, part_feed(whole, feed, {}), _own(case, whole, feed, reference, doubtful))
    pairs = {name: (reference[name], found[name]) for name in doubtful}
    closer, levels = case.judge_closer(looks, level.value, pairs, feed, lambda _: AT_THE_END)
    failing = []
    for name, judged in closer.items():
        judged = is_a_tie(case, judged, *pairs[name], feed) or judged
        if judged.passed or judged.chaotic or level is Level.DISABLE_ALL:
            case.add(judged)
        else:
            failing.append(judged)
    if failing:
        _check(case, Level.DISABLE_ALL, [number])
        _blame(case, failing, feed, levels)


def _own(case: Case, whole: Part, feed: Feed, reference: Mapping[str, Value], names: Sequence[str]) -> dict[str, Value]:
    """The original's own outputs without optimizations: the references, unless those were stored by somebody else."""
    if not case.is_stored:
        return {name: reference[name] for name in names}
    with case.open(whole.held) as runner:
        return run_part(runner, whole, feed, {})


def _blame(
    case: Case,
    failing: Sequence[Comparison],
    feed: Feed,
    levels: Mapping[str, np.ndarray],
) -> None:
    """Where the optimized original is as wrong as the optimized candidate, the runtime is at fault, not a fold."""
    names = [comparison.value for comparison in failing]

    def at(level: Level) -> dict[str, float]:
        return _differences(case, level, feed, names, levels)

    theirs = at(Level.DEFAULT)
    rung = next(level for level in _LADDER if level is Level.DEFAULT or at(level))
    for comparison in failing:
        own = theirs.get(comparison.value)
        plain = case.worst.get((comparison.value, Level.DISABLE_ALL.value))
        is_right = plain is None or plain.passed
        if own is not None and comparison.relative <= 2 * own and is_right:
            why = f"ONNX Runtime changes the original likewise at level {rung.value}"
            case.add(replace(comparison, passed=True, note=why))
            case.note(
                f"ONNX Runtime changes the result of the original itself ({comparison.value}) at level {rung.value}: "
                f"its fault, not a fold's; run the model with graph optimizations {_INSTEAD[rung]}"
            )
            continue
        why = "right without optimizations, wrong at ONNX Runtime's default level" if is_right else ""
        case.add(replace(comparison, note=comparison.note or why))


def _differences(
    case: Case, level: Level, feed: Feed, names: Sequence[str], levels: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The error of each output of the original itself that this level changes by more than rounding: the largest of any
    feed, because of few numbers one may be right by chance. ``levels`` is the noise for ``feed``."""
    found: dict[str, float] = {}
    try:
        with case.open(case.original, level) as runner:
            for each, reference in zip(case.feeds, case.references, strict=True):
                for name, value in _outputs(runner, each, names).items():
                    noise = levels.get(name) if each is feed else None
                    judged = case.judge(name, level.value, reference[name], value, each, AT_THE_END, noise)
                    error = float("inf") if judged.margin == float("inf") else judged.relative
                    if not judged.passed:
                        found[name] = max(found.get(name, 0.0), error)
    except CannotRun:
        return {}
    return found


def _did_not_run(case: Case, level: Level, error: CannotRun) -> None:
    """The runtime's fault when it cannot run the original at this level either; else the candidate's, unless it was
    only slow, which tells nothing."""
    if error.trouble is Trouble.TIME:
        raise error
    try:
        with case.open(case.original, level) as runner:
            runner.run(case.feeds[0].values, list(case.original.output_names))
    except CannotRun:
        who = "the model" if case.is_stored else "neither the original nor the candidate"
        how = "does not run" if case.is_stored else "runs"
        case.note(f"ONNX Runtime {how} {who} at level {level.value}: {error}")
        return
    for name in case.original.output_names:
        case.fail(name, level.value, f"the candidate does not run: {error}", case.feeds[0].text)
