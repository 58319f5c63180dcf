"""Compare the candidate as a whole: without optimizations, and as a user runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from normfold.verify.calibrate import AT_THE_END, BEYOND, noise
from normfold.verify.compare import Allowance
from normfold.verify.evidence import Tally, distances, floor_for
from normfold.verify.feeds import Feed
from normfold.verify.held import Held, part
from normfold.verify.result import Comparison, ProofOptions
from normfold.verify.run import CannotRun, Level, Runner, Value


def check_whole(
    original: Held,
    candidate: Held,
    feeds: Sequence[Feed],
    references: Sequence[Mapping[str, Value]],
    options: ProofOptions,
    tally: Tally,
    notes: list[str],
) -> None:
    """Run the whole candidate: the first feed without optimizations (the parts have shown the rest), all feeds at the
    default level. ``references`` are the original's outputs, without optimizations."""
    _check(original, candidate, Level.DISABLE_ALL, feeds[:1], references[:1], options, tally, notes)
    _check(original, candidate, Level.DEFAULT, feeds, references, options, tally, notes)


def _check(
    original: Held,
    candidate: Held,
    level: Level,
    feeds: Sequence[Feed],
    references: Sequence[Mapping[str, Value]],
    options: ProofOptions,
    tally: Tally,
    notes: list[str],
) -> None:
    names = list(original.output_names)
    try:
        with Runner(candidate, level, options.threads, options.seconds) as runner:
            obtained = [runner.run(feed.values, names) for feed in feeds]
    except CannotRun as error:
        _did_not_run(original, level, feeds, options, tally, notes, error)
        return
    for feed, reference, values in zip(feeds, references, obtained, strict=True):
        found = dict(zip(names, values, strict=True))
        doubtful = [n for n in names if not _judge(tally, n, level, reference[n], found[n], feed, options)]
        if not doubtful:
            continue
        levels = {} if options.is_explicit else _noise(original, feed, reference, doubtful, options)
        for name in doubtful:
            _judge(tally, name, level, reference[name], found[name], feed, options, levels.get(name), final=True)
        _blame_runtime(original, level, feed, reference, found, doubtful, options, tally, notes)


def _judge(
    tally: Tally,
    name: str,
    level: Level,
    expected: Value,
    obtained: Value,
    feed: Feed,
    options: ProofOptions,
    noise_level: np.ndarray | None = None,
    final: bool = False,
) -> bool:
    allowance = floor_for(expected, AT_THE_END, options)
    if noise_level is not None:
        allowance = Allowance(allowance.floor, np.minimum(noise_level, BEYOND * np.abs(expected).max()))
    judged = tally.judged(name, level.value, distances(expected, obtained, allowance), feed.text)
    if judged.passed or final:
        tally.add(judged)
    return judged.passed


def _noise(
    original: Held, feed: Feed, reference: Mapping[str, Value], names: Sequence[str], options: ProofOptions
) -> dict[str, np.ndarray]:
    whole = part(original, names, {})
    given = {name: feed.values[name] for name in whole.feeds}
    return noise(whole, given, {name: reference[name] for name in names}, options.threads, options.seconds)


def _did_not_run(
    original: Held,
    level: Level,
    feeds: Sequence[Feed],
    options: ProofOptions,
    tally: Tally,
    notes: list[str],
    error: CannotRun,
) -> None:
    """The runtime's fault when it cannot run the original at this level either; else the candidate's."""
    try:
        with Runner(original, level, options.threads, options.seconds) as runner:
            runner.run(feeds[0].values, list(original.output_names))
    except CannotRun:
        notes.append(f"ONNX Runtime runs neither the original nor the candidate at level {level.value}: {error}")
        return
    for name in original.output_names:
        tally.add(tally.failed(name, level.value, f"the candidate does not run: {error}", feeds[0].text))


def _blame_runtime(
    original: Held,
    level: Level,
    feed: Feed,
    reference: Mapping[str, Value],
    found: Mapping[str, Value],
    names: Sequence[str],
    options: ProofOptions,
    tally: Tally,
    notes: list[str],
) -> None:
    """Where the optimized original is as wrong as the optimized candidate, the runtime is at fault, not a fold."""
    failing = [n for n in names if not tally.worst[n, level.value].passed]
    if level is Level.DISABLE_ALL or not failing:
        return
    for rung in (Level.BASIC, Level.EXTENDED, Level.DEFAULT):
        theirs = _differences(original, rung, feed, reference, failing, options)
        if theirs:
            break
    else:
        notes.append(
            "the candidate is right without optimizations and wrong at ONNX Runtime's default level, "
            "where the original is right"
        )
        return
    at_default = _differences(original, Level.DEFAULT, feed, reference, failing, options)
    excused = []
    for name in failing:
        ours = tally.worst[name, level.value]
        if name in at_default and ours.relative <= 2 * at_default[name].relative:
            tally.worst[name, level.value] = _excused(ours, rung)
            excused.append(name)
    if excused:
        notes.append(
            f"ONNX Runtime changes the result of the original itself at level {rung.value} ({', '.join(excused)}): "
            f"its fault, not a fold's; run the model with graph optimizations {_below(rung)}"
        )


def _below(rung: Level) -> str:
    return {Level.BASIC: "disabled", Level.EXTENDED: "at level basic", Level.DEFAULT: "at level extended"}.get(
        rung, "off"
    )


def _excused(comparison: Comparison, rung: Level) -> Comparison:
    return replace(comparison, passed=True, note=f"ONNX Runtime changes the original likewise at level {rung.value}")


def _differences(
    original: Held,
    level: Level,
    feed: Feed,
    reference: Mapping[str, Value],
    names: Sequence[str],
    options: ProofOptions,
) -> dict[str, Comparison]:
    """Outputs of the original itself that this level changes by more than rounding."""
    try:
        with Runner(original, level, options.threads, options.seconds) as runner:
            values = dict(zip(names, runner.run(feed.values, names), strict=True))
    except CannotRun:
        return {}
    own = Tally()
    for name in names:
        allowance = floor_for(reference[name], AT_THE_END, options)
        own.add(own.judged(name, level.value, distances(reference[name], values[name], allowance), feed.text))
    return {value: comparison for (value, _), comparison in own.worst.items() if not comparison.passed}
