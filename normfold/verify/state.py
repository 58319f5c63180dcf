"""One proof while it runs: the two models, the options, and what has been found so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from normfold.runtime.loaded_model import Held
from normfold.runtime.reference_session import ReferenceRunner
from normfold.runtime.session import CannotRun, Level, Runner, Value
from normfold.runtime.submodel import Part
from normfold.runtime.time_limit import Watch
from normfold.verify.inputs.generate import Feed, Feeder
from normfold.verify.inputs.user_files import parse_spec
from normfold.verify.numeric.distance import Allowance, Distance, distance, type_name
from normfold.verify.numeric.rounding_noise import (
    AT_THE_END,
    BEYOND,
    BEYOND_COARSE,
    MADE_HERE,
    RESTLESS,
    WHOLE,
    Looks,
    Mover,
    floor_of,
    noise,
)
from normfold.verify.result import Comparison, ProofOptions

FORCED = "at the site"
"""The witness that compares a value where it is made: without optimizations, cut at every site."""

CHAOTIC = "the model itself turns rounding noise into errors of this size"


@dataclass
class Case:
    """Both models, how to compare them, and the worst comparison of each value and witness over all feeds.

    ``precision`` is the coarsest floating type in which the models compute. ``is_by_reference``: they run in onnx's
    reference evaluator, not in ONNX Runtime. ``owners`` are the folds behind a site.
    ``has_open_bodies``: copies of bodies were added for their sites, and outputs may come through bodies without cuts.
    ``left_out`` are values that no site stands for, because their names mean other values in either model.
    ``drawn`` are random values that both models make, ``random_outputs`` the outputs that depend on any.
    ``chaotic`` are comparisons that noise decides: they count only where no other feed tells anything.
    ``references`` are the original's outputs for each of ``feeds``, or, when ``is_stored``, what somebody stored.
    """

    original: Held
    candidate: Held
    options: ProofOptions
    precision: str = ""
    is_stored: bool = False
    is_by_reference: bool = False
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_open_bodies: bool = False
    left_out: frozenset[str] = frozenset()
    drawn: frozenset[str] = frozenset()
    random_outputs: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    references: list[dict[str, Value]] = field(default_factory=list)
    worst: dict[tuple[str, str], Comparison] = field(default_factory=dict)
    chaotic: dict[tuple[str, str], Comparison] = field(default_factory=dict)

    def afresh(self, left_out: frozenset[str] = frozenset()) -> Case:
        """The same question, before anything was found out."""
        return Case(
            self.original, self.candidate, self.options, self.precision, left_out=left_out, notes=list(self.notes)
        )

    @property
    def first_witness(self) -> str:
        """What the comparison of the parts shows: each site where it is made, or, without sites, the whole."""
        return FORCED if self.owners else Level.DISABLE_ALL.value

    def first_units(self, feed: Feed, value: str) -> Mapping[str, int]:
        """The tolerance that goes with it. Later feeds are wilder, and a value that one of them makes restless need not
        show that in a few draws; what is wrong by less than that has shown in the first."""
        if self.has_open_bodies and value not in self.owners:
            return AT_THE_END
        if not self.owners:
            return WHOLE
        return MADE_HERE if feed is self.feeds[0] else RESTLESS

    @property
    def takes_turns(self) -> bool:
        """Whether the whole candidate runs without optimizations on some feeds and as a user runs it on the others:
        where no site is compared, and nobody gave the feeds."""
        made_up = self.options.feeds > 1 and self.original.inputs and not self.options.inputs
        return bool(made_up) and not (self.owners or self.is_by_reference)

    def is_plain_turn(self, number: int) -> bool:
        """Whether feed ``number`` is compared without optimizations. The wild ones are, the second and the third, where
        other kernels would show how the model amplifies rounding, not what it computes."""
        return not self.takes_turns or number % 4 in (1, 2)

    @cached_property
    def feeder(self) -> Feeder:
        """What makes feeds, as the options shape them."""
        return Feeder.of(self.original, [parse_spec(text) for text in self.options.input_specs], self.options.seed)

    @cached_property
    def mover(self) -> Mover:
        """What moves weights and inputs by a unit in the last place."""
        return Mover(self.precision if self.precision == "float16" else "")

    @cached_property
    def watch(self) -> Watch:
        """What ends a run that takes too long."""
        return Watch(self.options.seconds)

    def open(self, held: Held, level: Level = Level.DISABLE_ALL) -> Runner:
        """A session with the options of this proof."""
        if self.is_by_reference:
            return ReferenceRunner(held, self.options.seconds)
        return Runner(held, level, self.options.threads, self.watch)

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def judge(
        self,
        value: str,
        witness: str,
        expected: Value,
        obtained: Value,
        feed: Feed,
        units: Mapping[str, int],
        level: np.ndarray | None = None,
    ) -> Comparison:
        """Compare one value of one feed. ``level`` is the model's own noise there, if it was measured."""
        dtype = type_name(expected.dtype) if isinstance(expected, np.ndarray) else "float32"
        floor = max(floor_of(dtype, units), floor_of(self.precision, units) if self.precision else 0.0)
        if level is None or self.options.is_explicit:
            found = distances(expected, obtained, Allowance(floor, 0.0, self.options.rtol, self.options.atol))
            return self._comparison(value, witness, found, feed.text)
        top = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
        if units is MADE_HERE and np.max(level, initial=0.0) > floor * top:
            floor = max(floor, floor_of(dtype, RESTLESS))
        bound = BEYOND_COARSE.get(self.precision, BEYOND) * top
        found = distances(expected, obtained, Allowance(floor, np.minimum(level, bound)))
        chaotic = (
            not found.mismatch and found.margin > 1 >= distances(expected, obtained, Allowance(floor, level)).margin
        )
        return self._comparison(value, witness, found, feed.text, chaotic)

    def _comparison(self, value: str, witness: str, found: Distance, feed: str, chaotic: bool = False) -> Comparison:
        inf = float("inf")
        return Comparison(
            value=value,
            witness=witness,
            passed=not found.mismatch and found.margin <= 1,
            dtype=found.dtype,
            max_abs=found.max_abs,
            relative=found.relative,
            margin=inf if found.mismatch else found.margin,
            ulps=found.ulps,
            cosine=found.cosine,
            top1=found.top1,
            differing=found.differing,
            elements=found.elements,
            comparable=found.comparable,
            at=found.at,
            expected=found.expected,
            obtained=found.obtained,
            tolerance=found.tolerance,
            would_pass="" if found.mismatch else f"atol={found.needed_atol:.3g} or rtol={found.needed_rtol:.3g}",
            feed=feed,
            note=found.mismatch or (CHAOTIC if chaotic else ""),
            owners=self.owners.get(value, ()),
            chaotic=chaotic,
        )

    def add(self, comparison: Comparison) -> None:
        """Keep it if it is the worst of its value and witness."""
        key = comparison.value, comparison.witness
        found = self.chaotic if comparison.chaotic else self.worst
        known = found.get(key)
        if known is None or _badness(comparison) > _badness(known):
            found[key] = comparison

    def comparisons(self) -> list[Comparison]:
        """What counts of each value and witness: the worst that tells something, else the one that noise decides."""
        telling = {key: c for key, c in self.worst.items() if c.comparable or not c.passed}
        told = {value for value, _ in telling} if self.takes_turns else set()
        deciding = {key: c for key, c in self.chaotic.items() if key[0] not in told}
        return list((self.worst | deciding | telling).values())

    def set_aside(self) -> list[Comparison]:
        """What noise decides on one feed while another feed tells something."""
        counting = set(map(id, self.comparisons()))
        return [c for c in self.chaotic.values() if id(c) not in counting]

    def fail(self, value: str, witness: str, why: str, feed: str) -> None:
        """Record a value that the candidate did not even compute."""
        inf = float("inf")
        owners = self.owners.get(value, ())
        self.add(Comparison(value, witness, False, relative=inf, margin=inf, feed=feed, note=why, owners=owners))

    def judge_closer(
        self,
        looks: Looks,
        witness: str,
        pairs: Mapping[str, tuple[Value, Value]],
        feed: Feed,
        units: Callable[[str], Mapping[str, int]],
    ) -> tuple[dict[str, Comparison], Mapping[str, np.ndarray]]:
        """Compare ``pairs`` (expected, obtained) by name beside the noise of the original, of which each of ``looks``
        shows more, until more of it would change nothing; with the noise as far as it was seen."""
        levels: Mapping[str, np.ndarray] = {}
        judged: dict[str, Comparison] = {}
        left = list(pairs)
        with closing(looks):
            for levels in looks:
                judged |= {n: self.judge(n, witness, *pairs[n], feed, units(n), levels.get(n)) for n in left}
                left = [name for name in left if not (judged[name].passed or judged[name].chaotic)]
                if not left:
                    break
        unseen = [name for name in pairs if name not in judged]
        return judged | {n: self.judge(n, witness, *pairs[n], feed, units(n)) for n in unseen}, levels

    def noise_of(self, part: Part, given: Mapping[str, Value], expected: Mapping[str, Value]) -> Looks:
        """The original's own rounding noise in the values of a part of it; none when the user's tolerance decides."""
        if not self.options.is_explicit:
            yield from noise(part, given, expected, self.mover, self.open)


def _badness(comparison: Comparison) -> tuple[bool, float, int]:
    return not comparison.passed, comparison.margin, comparison.comparable


def distances(expected: Value, obtained: Value, allowance: Allowance) -> Distance:
    """``distance`` for any runtime value: sequences and maps item by item; None is an empty optional."""
    if isinstance(expected, list) and isinstance(obtained, list):
        if len(expected) != len(obtained):
            return Distance("sequence", mismatch=f"expected {len(expected)} items, got {len(obtained)}")
        items = [distances(a, b, allowance) for a, b in zip(expected, obtained, strict=True)]
        return max(items, key=lambda d: (bool(d.mismatch), d.margin), default=Distance("sequence"))
    if isinstance(expected, dict) and isinstance(obtained, dict):
        keys = list(expected)
        if expected.keys() != obtained.keys():
            return Distance("map", mismatch=f"expected the keys {keys[:5]}, got {list(obtained)[:5]}")
        return distances([expected[k] for k in keys], [obtained[k] for k in keys], allowance)
    if expected is None and obtained is None:
        return Distance("optional")
    if _is_array(expected) and _is_array(obtained):
        return distance(expected, obtained, allowance)
    kind = type(expected).__name__
    if type(expected) is type(obtained):  # a sparse tensor, say: nothing here can look inside
        return Distance(kind)
    return Distance(kind, mismatch=f"expected a value of kind {kind}, got {type(obtained).__name__}")


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, float, int, str, bytes))


def run_part(
    runner: Runner, part: Part, feed: Feed, forced: Mapping[str, Value], names: Sequence[str] | None = None
) -> dict[str, Value]:
    """The values of a part's targets, or of some of them, by name."""
    wanted = list(part.fetch) if names is None else names
    found = runner.run(part_feed(part, feed, forced), [part.fetch[name] for name in wanted])
    return dict(zip(wanted, found, strict=True))


def part_feed(part: Part, feed: Feed, forced: Mapping[str, Value]) -> dict[str, Value]:
    """What a part must be fed with: graph inputs of the feed, and values of earlier parts."""
    return {name: feed.values[name] for name in part.feeds} | {name: forced[name] for name in part.forced}


def random_values(case: Case, names: Sequence[str], part: Part) -> list[str]:
    """Values of the original that two fresh sessions do not agree on, for the first feed."""
    runs = []
    for _ in range(2):
        try:
            with case.open(part.held) as runner:
                runs.append(run_part(runner, part, case.feeds[0], {}))
        except CannotRun:
            return []
    strict = Allowance(1e-6)
    return [name for name in names if distances(runs[0][name], runs[1][name], strict).margin > 1]
