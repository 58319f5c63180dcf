"""One proof while it runs: the two models, the options, and what has been found so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from normfold.options import ProofOptions
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.reference_session import ReferenceRunner
from normfold.runtime.session import ModelRunError, OptimizationLevel, Runner, Value
from normfold.runtime.submodel import Submodel
from normfold.runtime.time_limit import Watch
from normfold.verify.inputs.generate import Feed, Feeder
from normfold.verify.inputs.user_files import parse_spec
from normfold.verify.numeric.distance import AllowedError, Distance, distance, type_name
from normfold.verify.numeric.rounding_noise import (
    BEYOND,
    BEYOND_COARSE,
    NoiseSamples,
    Tolerance,
    UlpPerturbation,
    noise,
)
from normfold.verify.result import Comparison, Stage

NOISE_DOMINATED = "the model itself turns rounding noise into errors of this size"


@dataclass
class ProofState:
    """Both models, how to compare them, and the worst comparison of each value and stage over all feeds.

    ``precision`` is the coarsest floating type in which the models compute. ``is_by_reference``: they run in onnx's
    reference evaluator, not in ONNX Runtime. ``owners`` are the folds behind a site.
    ``has_open_bodies``: copies of bodies were added for their sites, and outputs may come through bodies without cuts.
    ``left_out`` are values that no site stands for, because their names mean other values in either model.
    ``drawn`` are random values that both models make, ``random_outputs`` the outputs that depend on any.
    ``chaotic`` are comparisons that noise decides: they count only where no other feed tells anything.
    ``references`` are the original's outputs for each of ``feeds``, or, when ``is_stored``, what a user stored.
    """

    original: LoadedModel
    candidate: LoadedModel
    options: ProofOptions
    precision: str = ""
    is_by_fold: bool = False
    unproven: tuple[str, ...] = ()
    is_stored: bool = False
    is_by_reference: bool = False
    folds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    has_inlined_bodies: bool = False
    left_out: frozenset[str] = frozenset()
    random_values: frozenset[str] = frozenset()
    random_outputs: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    references: list[dict[str, Value]] = field(default_factory=list)
    worst: dict[tuple[str, Stage], Comparison] = field(default_factory=dict)
    noise_dominated: dict[tuple[str, Stage], Comparison] = field(default_factory=dict)

    def afresh(self, left_out: frozenset[str] = frozenset()) -> ProofState:
        """Return the same question, before anything was found out."""
        return ProofState(
            self.original,
            self.candidate,
            self.options,
            self.precision,
            left_out=left_out,
            notes=list(self.notes),
            unproven=self.unproven,
        )

    @property
    def first_stage(self) -> Stage:
        """What the comparison of the parts shows: each site where it is made, or, without sites, the whole."""
        return Stage.AT_SITE if self.folds else Stage.UNOPTIMIZED

    def first_tolerance(self, feed: Feed, value: str) -> Tolerance:
        """Return the tolerance that goes with it.

        Later feeds have more extreme values, and a few noise samples may not show how noisy a value becomes there; what
        is wrong by less than that has shown in the first.
        """
        if self.has_inlined_bodies and value not in self.folds:
            return Tolerance.END_TO_END
        if not self.folds:
            return Tolerance.END_TO_END_UNFUSED
        return Tolerance.LOCAL if feed is self.feeds[0] else Tolerance.LOCAL_NOISY

    @property
    def alternates_levels(self) -> bool:
        """Return whether feeds alternate between a run without optimizations and one as a user runs it.

        They do where no site is compared and the feeds are made up.
        """
        made_up = self.options.feeds > 1 and self.original.inputs and not self.options.inputs
        return bool(made_up) and not (self.folds or self.is_by_reference)

    def is_unoptimized_feed(self, number: int) -> bool:
        """Return whether feed ``number`` is compared without optimizations.

        The extreme ones are, the second and the third, where other kernels would show how the model amplifies rounding,
        not what it computes.
        """
        return not self.alternates_levels or number % 4 in (1, 2)

    @cached_property
    def feeder(self) -> Feeder:
        """What makes feeds, as the options shape them."""
        return Feeder.of(self.original, [parse_spec(text) for text in self.options.input_specs], self.options.seed)

    @cached_property
    def perturbation(self) -> UlpPerturbation:
        """What moves weights and inputs by a unit in the last place."""
        return UlpPerturbation(self.precision if self.precision == "float16" else "")

    @cached_property
    def watch(self) -> Watch:
        """What ends a run that takes too long."""
        return Watch(self.options.seconds)

    def open(self, model: LoadedModel, level: OptimizationLevel = OptimizationLevel.DISABLE_ALL) -> Runner:
        """Return a session with the options of this proof."""
        if self.is_by_reference:
            return ReferenceRunner(model, self.options.seconds)
        return Runner(model, level, self.options.threads, self.watch, tuple(self.options.custom_ops))

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def judge(
        self,
        value: str,
        stage: Stage,
        expected: Value,
        obtained: Value,
        feed: Feed,
        tolerance: Tolerance,
        level: np.ndarray | None = None,
        by_channel: bool = False,
    ) -> Comparison:
        """Compare one value of one feed. ``level`` is the model's own noise there, if it was measured."""
        dtype = type_name(expected.dtype) if isinstance(expected, np.ndarray) else "float32"
        floor = max(tolerance.of(dtype), tolerance.of(self.precision) if self.precision else 0.0)
        if level is None or self.options.is_explicit:
            found = distances(
                expected, obtained, AllowedError(floor, 0.0, self.options.rtol, self.options.atol, by_channel)
            )
            return self._comparison(value, stage, found, feed.text)
        top = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
        if tolerance is Tolerance.LOCAL and np.max(level, initial=0.0) > floor * top:
            floor = max(floor, Tolerance.LOCAL_NOISY.of(dtype))
        bound = BEYOND_COARSE.get(self.precision, BEYOND) * top
        found = distances(expected, obtained, AllowedError(floor, np.minimum(level, bound), by_channel=by_channel))
        noise_dominated = (
            not found.mismatch
            and found.margin
            > 1
            >= distances(expected, obtained, AllowedError(floor, level, by_channel=by_channel)).margin
        )
        return self._comparison(value, stage, found, feed.text, noise_dominated)

    def _comparison(
        self, value: str, stage: Stage, found: Distance, feed: str, noise_dominated: bool = False
    ) -> Comparison:
        inf = float("inf")
        return Comparison(
            value=value,
            stage=stage,
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
            needed_tolerance="" if found.mismatch else f"atol={found.needed_atol:.3g} or rtol={found.needed_rtol:.3g}",
            feed=feed,
            note=found.mismatch or (NOISE_DOMINATED if noise_dominated else ""),
            folds=self.folds.get(value, ()),
            noise_dominated=noise_dominated,
        )

    def add(self, comparison: Comparison) -> None:
        """Keep it if it is the worst of its value and stage."""
        key = comparison.value, comparison.stage
        found = self.noise_dominated if comparison.noise_dominated else self.worst
        known = found.get(key)
        if known is None or _badness(comparison) > _badness(known):
            found[key] = comparison

    def comparisons(self) -> list[Comparison]:
        """Return what counts of each value and stage.

        The worst that tells something, else the one that noise decides.
        """
        telling = {key: c for key, c in self.worst.items() if c.comparable or not c.passed}
        recorded = {value for value, _ in telling} if self.alternates_levels else set()
        deciding = {key: c for key, c in self.noise_dominated.items() if key[0] not in recorded}
        return list((self.worst | deciding | telling).values())

    def set_aside(self) -> list[Comparison]:
        """Return what noise decides on one feed while another feed tells something."""
        counting = set(map(id, self.comparisons()))
        return [c for c in self.noise_dominated.values() if id(c) not in counting]

    def failing(self, value: str, stage: Stage, why: str, feed: str) -> Comparison:
        """Return the comparison of a value for which there are no numbers to compare."""
        inf = float("inf")
        folds = self.folds.get(value, ())
        return Comparison(value, stage, False, relative=inf, margin=inf, feed=feed, note=why, folds=folds)

    def add_failing(self, value: str, stage: Stage, why: str, feed: str) -> None:
        """Record a value that the candidate did not even compute."""
        self.add(self.failing(value, stage, why, feed))

    def compare_with_noise(
        self,
        samples: NoiseSamples,
        stage: Stage,
        pairs: Mapping[str, tuple[Value, Value]],
        feed: Feed,
        tolerance: Callable[[str], Tolerance],
        by_channel: bool = False,
    ) -> tuple[dict[str, Comparison], Mapping[str, np.ndarray]]:
        """Compare ``pairs`` (expected, obtained) by name, given the noise of the original.

        Of which each of ``looks`` shows more, until more of it would change nothing; with the noise as far as it was
        seen.
        """
        levels: Mapping[str, np.ndarray] = {}
        comparisons: dict[str, Comparison] = {}
        left = list(pairs)
        with closing(samples):
            for levels in samples:
                comparisons |= {
                    n: self.judge(n, stage, *pairs[n], feed, tolerance(n), levels.get(n), by_channel) for n in left
                }
                left = [name for name in left if not (comparisons[name].passed or comparisons[name].noise_dominated)]
                if not left:
                    break
        unseen = [name for name in pairs if name not in comparisons]
        return comparisons | {
            n: self.judge(n, stage, *pairs[n], feed, tolerance(n), None, by_channel) for n in unseen
        }, levels

    def noise_of(
        self,
        submodel: Submodel,
        given: Mapping[str, Value],
        expected: Mapping[str, Value],
        exact: frozenset[str] = frozenset(),
        by_channel: bool = False,
    ) -> NoiseSamples:
        """Return the original's own rounding noise in the values of a part of it.

        None when the user's tolerance decides.
        """
        if not self.options.is_explicit:
            yield from noise(submodel, given, expected, self.perturbation, self.open, exact, by_channel)


def _badness(comparison: Comparison) -> tuple[bool, float, int]:
    return not comparison.passed, comparison.margin, comparison.comparable


def distances(expected: Value, obtained: Value, allowed: AllowedError) -> Distance:
    """``distance`` for any runtime value: sequences and maps item by item; None is an empty optional."""
    if isinstance(expected, list) and isinstance(obtained, list):
        if len(expected) != len(obtained):
            return Distance("sequence", mismatch=f"expected {len(expected)} items, got {len(obtained)}")
        items = [distances(a, b, allowed) for a, b in zip(expected, obtained, strict=True)]
        return max(items, key=lambda d: (bool(d.mismatch), d.margin), default=Distance("sequence"))
    if isinstance(expected, dict) and isinstance(obtained, dict):
        keys = list(expected)
        if expected.keys() != obtained.keys():
            return Distance("map", mismatch=f"expected the keys {keys[:5]}, got {list(obtained)[:5]}")
        return distances([expected[k] for k in keys], [obtained[k] for k in keys], allowed)
    if expected is None and obtained is None:
        return Distance("optional")
    if _is_array(expected) and _is_array(obtained):
        return distance(expected, obtained, allowed)
    kind = type(expected).__name__
    if type(expected) is type(obtained):  # a sparse tensor, say: nothing here can look inside
        return Distance(kind)
    return Distance(kind, mismatch=f"expected a value of kind {kind}, got {type(obtained).__name__}")


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, float, int, str, bytes))


def run_part(
    runner: Runner, submodel: Submodel, feed: Feed, injected: Mapping[str, Value], names: Sequence[str] | None = None
) -> dict[str, Value]:
    """Return the values of a part's targets, or of some of them, by name."""
    wanted = list(submodel.outputs) if names is None else names
    found = runner.run(part_feed(submodel, feed, injected), [submodel.outputs[name] for name in wanted])
    return dict(zip(wanted, found, strict=True))


def part_feed(submodel: Submodel, feed: Feed, injected: Mapping[str, Value]) -> dict[str, Value]:
    """Return what a part must be fed with: graph inputs of the feed, and values of earlier parts."""
    return {name: feed.values[name] for name in submodel.feeds} | {name: injected[name] for name in submodel.injected}


def random_values(proof: ProofState, names: Sequence[str], submodel: Submodel) -> list[str]:
    """Values of the original that two fresh sessions do not agree on, for the first feed."""
    runs = []
    for _ in range(2):
        try:
            with proof.open(submodel.model) as runner:
                runs.append(run_part(runner, submodel, proof.feeds[0], {}))
        except ModelRunError:
            return []
    strict = AllowedError(1e-6)
    return [name for name in names if distances(runs[0][name], runs[1][name], strict).margin > 1]
