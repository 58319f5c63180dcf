"""Compare the candidate as a whole: without optimizations, and as a user runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from normfold.native.ort_session import OptimizationLevel
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value
from normfold.runtime.submodel import Submodel, submodel
from normfold.verify.checks.accepted_inputs import accepted_feeds
from normfold.verify.checks.discrete_ties import is_a_tie
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.rounding_noise import Tolerance
from normfold.verify.question import Conditions
from normfold.verify.record import ProofRecord
from normfold.verify.result import Comparison, Stage
from normfold.verify.state import ProofState, part_feed, run_part

_LADDER = (OptimizationLevel.BASIC, OptimizationLevel.EXTENDED, OptimizationLevel.DEFAULT)
_INSTEAD = {
    OptimizationLevel.BASIC: "disabled",
    OptimizationLevel.EXTENDED: "at level basic",
    OptimizationLevel.DEFAULT: "at level extended",
}


def run_original(proof: ProofState) -> None:
    """Run the original without optimizations on feeds that it accepts: its outputs are the references."""
    question, record = proof.question, proof.record
    plain = submodel(question.original, question.original.output_names, {})
    with question.open(plain.model) as runner:
        for feed, values in accepted_feeds(question, lambda feed: run_part(runner, plain, feed, {}), record.note):
            record.feeds.append(feed)
            record.references.append(values)


def check_whole(proof: ProofState) -> None:
    """Run the candidate on some feeds without optimizations, and on the others as a user runs it."""
    question, feeds = proof.question, proof.record.feeds
    is_plain = [question.is_unoptimized_feed(number, feed) for number, feed in enumerate(feeds)]
    _check(proof, OptimizationLevel.DISABLE_ALL, [number for number, plain in enumerate(is_plain) if plain])
    if question.is_by_reference:
        return
    numbers = [number for number, plain in enumerate(is_plain) if not (plain and question.alternates_levels)] or [0]
    _check(proof, OptimizationLevel.DEFAULT, numbers)
    if not any(each.stage is Stage.DEFAULT for each in proof.record.comparisons):
        _check(proof, OptimizationLevel.DISABLE_ALL, numbers)  # the runtime cannot run the model at its default level


def check_stored(proof: ProofState) -> None:
    """Run the whole model on all feeds at both levels; the references are stored outputs."""
    question, record = proof.question, proof.record
    _check(proof, OptimizationLevel.DISABLE_ALL, range(len(record.feeds)))
    if not question.is_by_reference:
        _check(proof, OptimizationLevel.DEFAULT, range(len(record.feeds)))


def _check(proof: ProofState, level: OptimizationLevel, numbers: Sequence[int]) -> None:
    if not numbers:
        return
    question, record = proof.question, proof.record
    references = {number: _comparable(proof, record.references[number]) for number in numbers}
    try:
        with question.open(question.candidate, level) as runner:
            obtained = {number: _outputs(runner, record.feeds[number], list(ref)) for number, ref in references.items()}
    except ModelRunError as error:
        _did_not_run(proof, level, error)
        return
    for number, found in obtained.items():
        _compare(proof, level, number, references[number], found)


def _comparable(proof: ProofState, reference: Mapping[str, Value]) -> dict[str, Value]:
    """Return the outputs that are the same at every run."""
    question = proof.question
    return {name: value for name, value in reference.items() if name not in question.random_outputs}


def _outputs(runner: Runner, feed: Feed, names: Sequence[str]) -> dict[str, Value]:
    return dict(zip(names, runner.run(feed.values, names), strict=True))


def _compare(
    proof: ProofState, level: OptimizationLevel, number: int, reference: Mapping[str, Value], found: Mapping[str, Value]
) -> None:
    question, record = proof.question, proof.record
    feed, suspects = record.feeds[number], []
    is_plain = level is OptimizationLevel.DISABLE_ALL and not question.is_stored
    how = Conditions(Stage(level.value), feed.text, Tolerance.END_TO_END_UNFUSED if is_plain else Tolerance.END_TO_END)
    plain = [each for each in record.comparisons if each.stage is Stage.UNOPTIMIZED]
    wrong = {each.value for each in plain if not (each.passed or each.noise_dominated)}
    for name, expected in reference.items():
        comparison = question.judge(name, how, expected, found[name])
        if comparison.passed or name in wrong:
            record.add(comparison)
        else:
            suspects.append(name)
    if not suspects:
        return
    whole = submodel(question.original, suspects, {})
    samples = question.noise_of(whole, part_feed(whole, feed, {}), _own(proof, whole, feed, reference, suspects))
    pairs = {name: (reference[name], found[name]) for name in suspects}
    closer, levels = question.compare_with_noise(samples, how, pairs)
    failing = []
    for name, comparison in closer.items():
        comparison = is_a_tie(proof, comparison, *pairs[name], feed) or comparison
        if comparison.passed or comparison.noise_dominated or level is OptimizationLevel.DISABLE_ALL:
            record.add(comparison)
        else:
            failing.append(comparison)
    if failing:
        _check(proof, OptimizationLevel.DISABLE_ALL, [number])
        _attribute(proof, failing, feed, levels)


def _own(
    proof: ProofState, whole: Submodel, feed: Feed, reference: Mapping[str, Value], names: Sequence[str]
) -> dict[str, Value]:
    """Return the original's own outputs without optimizations: the references, unless those were stored by a user."""
    question = proof.question
    if not question.is_stored:
        return {name: reference[name] for name in names}
    with question.open(whole.model) as runner:
        return run_part(runner, whole, feed, {})


def _attribute(
    proof: ProofState,
    failing: Sequence[Comparison],
    feed: Feed,
    levels: Mapping[str, np.ndarray],
) -> None:
    """Where the optimized original is as wrong as the optimized candidate, the runtime is at fault, not a fold.

    It is never at fault for what is wrong without optimizations too.
    """
    record = proof.record
    right = [each for each in failing if _is_right_unoptimized(record, each.value)]
    for each in failing:
        if each not in right:
            record.add(each)
    if not right:
        return
    names = [each.value for each in right]

    def at(level: OptimizationLevel) -> dict[str, float]:
        return _differences(proof, level, feed, names, levels)

    theirs = at(OptimizationLevel.DEFAULT)
    rung = next(level for level in _LADDER if level is OptimizationLevel.DEFAULT or at(level))
    for each in right:
        if each.relative <= 2 * theirs.get(each.value, -1.0):
            why = f"ONNX Runtime changes the original too at level {rung.value}"
            record.add(replace(each, passed=True, note=why))
            record.note(
                f"ONNX Runtime changes the result of the original itself ({each.value}) at level {rung.value}: "
                f"its fault, not a fold's; run the model with graph optimizations {_INSTEAD[rung]}"
            )
        else:
            why = "right without optimizations, wrong at ONNX Runtime's default level"
            record.add(replace(each, note=each.note or why))


def _is_right_unoptimized(record: ProofRecord, value: str) -> bool:
    plain = [c for c in record.comparisons if (c.value, c.stage) == (value, Stage.UNOPTIMIZED)]
    return all(each.passed or each.noise_dominated for each in plain)


def _differences(
    proof: ProofState, level: OptimizationLevel, feed: Feed, names: Sequence[str], levels: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return the error of each output of the original itself that this level changes by more than rounding.

    The largest of any feed, because of few numbers one may be right by chance. ``levels`` is the noise for ``feed``.
    """
    question, record = proof.question, proof.record
    found: dict[str, float] = {}
    try:
        with question.open(question.original, level) as runner:
            for each, reference in zip(record.feeds, record.references, strict=True):
                for name, value in _outputs(runner, each, names).items():
                    noise = levels.get(name) if each is feed else None
                    how = Conditions(Stage(level.value), each.text, Tolerance.END_TO_END)
                    comparison = question.judge(name, how, reference[name], value, noise)
                    error = float("inf") if comparison.margin == float("inf") else comparison.relative
                    if not comparison.passed:
                        found[name] = max(found.get(name, 0.0), error)
    except ModelRunError:
        return {}
    return found


def _did_not_run(proof: ProofState, level: OptimizationLevel, error: ModelRunError) -> None:
    """Name the runtime as the cause where it cannot run the original at this level either.

    Else the candidate is at fault, unless it was only slow, which tells nothing.
    """
    question, record = proof.question, proof.record
    if error.kind is FailureKind.TIME:
        raise error
    try:
        with question.open(question.original, level) as runner:
            runner.run(record.feeds[0].values, list(question.original.output_names))
    except ModelRunError:
        who = "the model" if question.is_stored else "neither the original nor the candidate"
        how = "does not run" if question.is_stored else "runs"
        record.note(f"ONNX Runtime {how} {who} at level {level.value}: {error}")
        return
    for name in question.original.output_names:
        proof.add_failing(name, Stage(level.value), f"the candidate does not run: {error}", record.feeds[0].text)
