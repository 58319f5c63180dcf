"""Compare two models at every site, each where its value is made.

Both models run in parts. The original's part gives the reference values; the candidate's part is cut at every site
and fed with those values, so an error shows at the site behind the operator that makes it and nowhere else, and
saturated or noisy operators further on cannot hide or inflate it. Parts are chosen so that what is kept at once stays
bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import onnx

from normfold.runtime.loaded_model import LoadedModel, tensor_bytes
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value
from normfold.runtime.submodel import Submodel, fed_values, submodel, types_of
from normfold.verify.checks.discrete_ties import is_a_tie
from normfold.verify.checks.schedule import Chunk, Schedule
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.distance import is_floating
from normfold.verify.numeric.rounding_noise import Tolerance
from normfold.verify.question import Question
from normfold.verify.state import ProofState, part_feed, run_part

GROUP_BYTES = 16 * 2**20
"""Of the candidate's values, those that are kept at once; each group costs a session over its part."""

# A size that nothing tells; of a first dimension, which mostly is the batch, 1.
_GUESS = 16


def in_order(model: LoadedModel, names: Iterable[str]) -> list[str]:
    """Values in the order in which the graph makes them (inputs and initializers first)."""
    return sorted(dict.fromkeys(names), key=lambda name: model.producers.get(name, -1))


def plan_chunks(question: Question, targets: Sequence[str], sizes: Mapping[str, int]) -> list[Chunk]:
    """Group the targets in the order of the graph.

    The values of a group and the weights that it needs stay below the limits of bytes.
    """
    limit = question.part_bytes
    weights = _weights_between(question.original, targets) if question.original.weight_bytes > limit else {}
    groups: list[list[str]] = [[]]
    value_bytes = weight_bytes = 0
    for name in targets:
        value_bytes += sizes.get(name, 0)
        weight_bytes += weights.get(name, 0)
        too_much = value_bytes > question.options.piece_bytes or weight_bytes > limit
        if groups[-1] and too_much:
            groups.append([])
            value_bytes, weight_bytes = sizes.get(name, 0), weights.get(name, 0)
        groups[-1].append(name)
    starts = [sum(map(len, groups[:i])) for i in range(len(groups))]
    fed = [_forced(question, group, targets[:start]) for group, start in zip(groups, starts, strict=True)]
    later = [frozenset().union(*fed[i + 1 :]) for i in range(len(groups))]
    return [
        Chunk(tuple(group), tuple(targets[:start]), needed)
        for group, start, needed in zip(groups, starts, later, strict=True)
    ]


def _weights_between(model: LoadedModel, targets: Sequence[str]) -> dict[str, int]:
    """Bytes of the weights that each target needs and none before it does."""
    graph = model.graph
    made_by = model.producers
    sizes = {tensor.name: tensor_bytes(tensor) for tensor in graph.initializer}
    seen: set[str] = set()
    found = {}
    for target in targets:
        total, stack = 0, [target]
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            total += sizes.get(name, 0)
            if name in made_by:
                stack.extend(model.reads[made_by[name]])
        found[target] = total
    return found


def _forced(question: Question, group: Sequence[str], earlier: Sequence[str]) -> frozenset[str]:
    """Which earlier values the two parts of a group will be fed with."""
    if not earlier:
        return frozenset()
    ours = fed_values(question.original, group, earlier)
    theirs = fed_values(question.candidate, group, [*earlier, *group])
    return frozenset({*ours, *theirs} & set(earlier))


def expected_bytes(runner: Runner, chunk: Submodel, sizes: Mapping[str, int]) -> dict[str, int]:
    """Bytes of each target as far as the runtime's shape inference tells; ``sizes`` are those of named dimensions."""
    found = {}
    for name, made in chunk.outputs.items():
        shape = runner.output_shapes.get(made, ())
        dims = [d if isinstance(d, int) else sizes.get(str(d), _GUESS if i else 1) for i, d in enumerate(shape)]
        found[name] = 4 * math.prod(dims)
    return found


def _groups(names: Iterable[str], values: Mapping[str, Value]) -> list[list[str]]:
    """Names in groups whose values stay below the limit of bytes."""
    groups: list[list[str]] = []
    room = 0
    for name in names:
        size = getattr(values[name], "nbytes", 0)
        room -= size
        if room < 0 or not groups:
            groups.append([])
            room = GROUP_BYTES - size
        groups[-1].append(name)
    return groups


class SiteCheck:
    """Compares the values of one chunk, feed after feed.

    A ``Schedule`` says which ones; only the pieces of the candidate that make those values run. A session opens with
    its feed, because the types of the values that it is fed with are known only then, and stays open while the next
    feed asks for the same values.
    """

    def __init__(self, proof: ProofState, turns: Schedule) -> None:
        self._proof, self._turns = proof, turns
        self._open: tuple[Submodel, Runner] | None = None

    def close(self) -> None:
        """Free the candidate's session."""
        if self._open is not None:
            self._open[-1].close()
        self._open = None

    def _serves(self, small: Submodel, values_to_compare: list[str], values: Mapping[str, Value]) -> bool:
        """Whether a part gives what is due, and no more than that where more would cost."""
        is_enough = small.outputs.keys() >= set(values_to_compare) and values.keys() >= set(small.injected)
        return is_enough and (self._turns.is_cheap or list(small.outputs) == values_to_compare)

    def _session(
        self, values_to_compare: list[str], values: Mapping[str, Value], boundary: Mapping[str, onnx.TypeProto]
    ) -> tuple[Submodel, Runner]:
        if self._open is None or not self._serves(self._open[0], values_to_compare, values):
            self.close()
            small = submodel(self._proof.question.candidate, values_to_compare, boundary)
            self._open = small, self._proof.question.open(small.model)
        return self._open

    def compare(self, feed: Feed, values: Mapping[str, Value], number: int) -> None:
        """Compare feed ``number``; ``values`` are the original's, of the chunk and what it needs of earlier ones."""
        values_to_compare = self._turns.values_to_compare(number, feed)
        self.compare_these(values_to_compare, feed, values)

    def compare_these(self, values_to_compare: list[str], feed: Feed, values: Mapping[str, Value]) -> None:
        """Compare values of these names, a group after the other, so that few of the candidate's are kept at once."""
        boundary = types_of(values)
        for group in _groups(values_to_compare, values):
            try:
                small, runner = self._session(group, values, boundary)
                obtained = run_part(runner, small, feed, values, group)
            except ModelRunError as error:
                self.close()
                if error.kind is FailureKind.TIME:
                    raise
                obtained = self._one_by_one(group, feed, values, boundary, error)
            self._judge(feed, values, boundary, values, obtained)

    def _judge(
        self,
        feed: Feed,
        values: Mapping[str, Value],
        boundary: Mapping[str, onnx.TypeProto],
        expected: Mapping[str, Value],
        obtained: Mapping[str, Value],
    ) -> None:
        """Compare what the parts gave when they were fed with ``values``."""
        proof, suspects = self._proof, []
        for name, value in obtained.items():
            comparison = proof.question.judge(
                name, proof.question.first_stage, expected[name], value, feed, self._tolerance(feed)(name)
            )
            if comparison.passed:
                proof.findings.add(comparison)
            else:
                suspects.append(name)
        if suspects:
            pairs = {name: (expected[name], obtained[name]) for name in suspects}
            self._compare_with_noise(feed, values, boundary, pairs)

    def _tolerance(self, feed: Feed) -> Callable[[str], Tolerance]:
        """Return what is allowed at each value for a feed."""
        return partial(self._proof.question.first_tolerance, is_first_feed=feed is self._proof.findings.feeds[0])

    def _compare_with_noise(
        self,
        feed: Feed,
        values: Mapping[str, Value],
        boundary: Mapping[str, onnx.TypeProto],
        pairs: dict[str, tuple[Value, Value]],
    ) -> None:
        """Return whether an error beyond the floor is noise that the original makes between the cuts, or a tie.

        A float16 original is cut in the same way here. Whole, ONNX Runtime may carry a value on in float32, and what it
        shows is not quite what it uses.
        """
        proof = self._proof
        floating = [name for name, (value, _) in pairs.items() if isinstance(value, np.ndarray) and is_floating(value)]
        small = submodel(proof.question.original, floating, boundary)
        if floating and proof.question.precision:
            with proof.question.open(small.model) as runner:
                own = run_part(runner, small, feed, values)
            pairs |= {name: (value, pairs[name][1]) for name, value in own.items()}
        samples = proof.question.noise_of(
            small, part_feed(small, feed, values), {name: pairs[name][0] for name in floating}
        )
        comparisons, _ = proof.question.compare_with_noise(
            samples, proof.question.first_stage, pairs, feed, self._tolerance(feed)
        )
        for name, comparison in comparisons.items():
            proof.findings.add(is_a_tie(proof, comparison, *pairs[name], feed) or comparison)

    def _one_by_one(
        self,
        values_to_compare: Sequence[str],
        feed: Feed,
        values: Mapping[str, Value],
        boundary: Mapping[str, onnx.TypeProto],
        error: ModelRunError,
    ) -> dict[str, Value]:
        """Find the values that cannot be computed where the part as a whole does not run, and give the others."""
        obtained: dict[str, Value] = {}
        for name in values_to_compare:
            small = submodel(self._proof.question.candidate, [name], boundary)
            try:
                with self._proof.question.open(small.model) as runner:
                    obtained.update(run_part(runner, small, feed, values))
            except ModelRunError as alone:
                self._proof.add_failing(
                    name, self._proof.question.first_stage, f"the candidate does not compute it: {alone}", feed.text
                )
        if len(obtained) == len(values_to_compare):
            self._proof.findings.note(f"the candidate's values were computed one by one, because together: {error}")
        return obtained
