"""What a proof is asked: two models, the values to compare and how; nothing in it changes while a proof runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np

from normfold.native import isolated
from normfold.native.ort_session import OptimizationLevel
from normfold.options import ProofOptions
from normfold.runtime.float32_copy import coarsest
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.parts import PartedRunner
from normfold.runtime.reference_session import ReferenceRunner
from normfold.runtime.session import OrtRunner, Runner, Value
from normfold.runtime.submodel import Submodel
from normfold.runtime.time_limit import Watch
from normfold.verify.inputs.generate import Feed, Feeder
from normfold.verify.numeric.distance import AllowedError, distance, is_floating, type_name
from normfold.verify.numeric.rounding_noise import (
    BEYOND,
    BEYOND_COARSE,
    NoiseMeter,
    NoiseSamples,
    Tolerance,
    UlpPerturbation,
)
from normfold.verify.result import Comparison, Stage

LOOP_SECONDS = 4.0
"""The longest time for one run of a model with a Loop, but for what its weights need."""

_BYTES_A_SECOND = 2e7  # of weights that are read in one of many turns
_UNKNOWN_MEMORY = 8 * 2**30  # bytes, where the system does not say how much is free

NOISE_DOMINATED = "the model itself turns rounding noise into errors of this size"


@dataclass(frozen=True)
class Conditions:
    """How a value is compared: in which run, on which feed (its text), and what every correct model is allowed."""

    stage: Stage
    feed: str
    tolerance: Tolerance


@dataclass(frozen=True)
class Question:
    """Whether two models compute the same, at which values, under which options.

    ``precision`` is the coarsest floating type in which the models compute. ``is_by_reference``: they run in onnx's
    reference evaluator, not in ONNX Runtime. ``is_stored``: the references are what a user stored.
    ``folds`` are those behind each site; ``is_by_fold``: the caller named the sites.
    ``left_out`` are values that no site stands for, because their names mean other values in either model.
    ``random_values`` are those that both models make, ``random_outputs`` the outputs that depend on any.
    ``unproven`` are operators that were cut out, ``notes`` what is to be said before anything runs. ``own_share`` is
    what a tolerance of the user allows, as a share of the scale of an output.
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
    left_out: frozenset[str] = frozenset()
    random_values: frozenset[str] = frozenset()
    random_outputs: frozenset[str] = frozenset()
    own_share: float = 0.0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, original: LoadedModel, candidate: LoadedModel, options: ProofOptions) -> Question:
        """Return the question in the precision of the original."""
        return cls(original, candidate, options, coarsest(original))

    def without(self, values: frozenset[str]) -> Question:
        """Return the question without what the names of these values stand for."""
        return replace(self, left_out=values)

    def noting(self, text: str) -> Question:
        """Return the question with one more note."""
        return self if text in self.notes else replace(self, notes=(*self.notes, text))

    def sharing(self, outputs: Mapping[str, Value]) -> Question:
        """Return the question with the share that the user's tolerance allows of these outputs of the original."""
        if not self.options.is_explicit:
            return self
        floating = [value for value in outputs.values() if isinstance(value, np.ndarray) and is_floating(value)]
        scale = min((float(np.max(np.abs(value), initial=0.0)) for value in floating), default=0.0)
        atol = (self.options.atol or 0.0) / scale if scale else 0.0
        return replace(self, own_share=(self.options.rtol or 0.0) + atol)

    # -- how it is answered -------------------------------------------------------------------------------------------
    @property
    def alternates_levels(self) -> bool:
        """Return whether feeds alternate between a run without optimizations and one as a user runs it.

        They do where the feeds are made up.
        """
        made_up = self.options.feeds > 1 and self.original.inputs and not self.options.inputs
        return bool(made_up) and not self.is_by_reference

    def is_unoptimized_feed(self, number: int, feed: Feed) -> bool:
        """Return whether feed ``number`` is compared without optimizations.

        The extreme ones are, where other kernels would show how the model amplifies rounding, not what it computes; and
        the second, whatever was drawn for it, so that there is always one.
        """
        return not self.alternates_levels or number == 1 or feed.distribution.is_extreme

    @cached_property
    def feeder(self) -> Feeder:
        """What makes feeds, as the options shape them."""
        return Feeder.from_options(self.original, self.options)

    @cached_property
    def perturbation(self) -> UlpPerturbation:
        """What moves weights and inputs by a unit in the last place."""
        return UlpPerturbation(self.precision if self.precision == "float16" else "")

    @cached_property
    def watch(self) -> Watch:
        """What ends a run that takes too long.

        The turns of a Loop may be any number, so it gets less time, unless the user chose what it works on.
        """
        small = round(LOOP_SECONDS + self.original.weight_bytes / _BYTES_A_SECOND, 1)
        is_chosen = self.options.inputs or self.options.input_specs
        is_short = "Loop" in self.original.operators and not is_chosen
        return Watch(min(self.options.seconds, small if is_short else math.inf))

    @cached_property
    def memory(self) -> int:
        """Return the bytes of memory that the proof may take."""
        return int(self.options.proof_memory * 2**30) or isolated.free_bytes() // 2 or _UNKNOWN_MEMORY

    @property
    def part_bytes(self) -> int:
        """Return the bytes of weights that are loaded at once: a runtime may hold a packed copy of each."""
        return min(self.options.weight_bytes, self.memory // 4)

    def is_too_large(self, model: LoadedModel) -> bool:
        """Return whether the weights of a model do not fit into the memory, so that it runs in parts."""
        return 2 * model.weight_bytes > self.memory

    def open(self, model: LoadedModel, level: OptimizationLevel = OptimizationLevel.DISABLE_ALL) -> Runner:
        """Return a session with the options of this proof."""
        if self.is_by_reference:
            return ReferenceRunner(model, self.options.seconds)
        opened = partial(
            OrtRunner,
            level=level,
            threads=self.options.threads,
            watch=self.watch,
            libraries=tuple(self.options.custom_ops),
        )
        return PartedRunner(model, self.part_bytes, opened) if self.is_too_large(model) else opened(model)

    # -- comparisons --------------------------------------------------------------------------------------------------
    def judge(
        self, value: str, how: Conditions, expected: Value, obtained: Value, level: np.ndarray | None = None
    ) -> Comparison:
        """Compare one value of one feed. ``level`` is the model's own noise there, if it was measured."""
        by_channel = how.stage is Stage.REGION
        floor = self._floor(expected, how.tolerance)
        if self.options.is_explicit:
            allowed = AllowedError(rtol=self.options.rtol, atol=self.options.atol)
            comparison = self._comparison(value, how, expected, obtained, allowed)
            if comparison.passed or not by_channel:  # a region may also be off by its share, if that is more
                return comparison
        if level is None:
            return self._comparison(value, how, expected, obtained, AllowedError(floor, by_channel=by_channel))
        top = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
        if how.tolerance is Tolerance.LOCAL and np.max(level, initial=0.0) > floor * top:
            floor = max(floor, Tolerance.LOCAL_NOISY.of(type_name(expected.dtype)))
        bound = BEYOND_COARSE.get(self.precision, BEYOND) * top
        allowed = AllowedError(floor, np.minimum(level, bound), by_channel=by_channel)
        found = self._comparison(value, how, expected, obtained, allowed)
        if found.passed or found.note:
            return found
        unbounded = distance(expected, obtained, AllowedError(floor, level, by_channel=by_channel))
        return replace(found, noise_dominated=True, note=NOISE_DOMINATED) if unbounded.margin <= 1 else found

    def _floor(self, expected: Value, tolerance: Tolerance) -> float:
        dtype = type_name(expected.dtype) if isinstance(expected, np.ndarray) else "float32"
        return max(tolerance.of(dtype), tolerance.of(self.precision) if self.precision else 0.0, self.own_share)

    def _comparison(
        self, value: str, how: Conditions, expected: Value, obtained: Value, allowed: AllowedError
    ) -> Comparison:
        found = distance(expected, obtained, allowed)
        return Comparison(value, how.stage, found.margin <= 1, how.feed, self.folds.get(value, ()), **vars(found))

    def failing(self, value: str, stage: Stage, why: str, feed: str) -> Comparison:
        """Return the comparison of a value for which there are no numbers to compare."""
        inf = float("inf")
        return Comparison(value, stage, False, feed, self.folds.get(value, ()), relative=inf, margin=inf, note=why)

    def compare_with_noise(
        self, samples: NoiseSamples, how: Conditions, pairs: Mapping[str, tuple[Value, Value]]
    ) -> tuple[dict[str, Comparison], Mapping[str, np.ndarray]]:
        """Compare ``pairs`` (expected, obtained) by name, given the noise of the original.

        Each of ``samples`` shows more of that, until more of it would change nothing; returned with the noise as far as
        it was seen.
        """
        levels: Mapping[str, np.ndarray] = {}
        comparisons: dict[str, Comparison] = {}
        left = list(pairs)
        with closing(samples):
            for levels in samples:
                comparisons |= {name: self.judge(name, how, *pairs[name], levels.get(name)) for name in left}
                left = [name for name in left if not (comparisons[name].passed or comparisons[name].noise_dominated)]
                if not left:
                    break
        unseen = [name for name in pairs if name not in comparisons]
        return comparisons | {name: self.judge(name, how, *pairs[name]) for name in unseen}, levels

    def noise_meter(self, part: Submodel, exact: frozenset[str] = frozenset()) -> NoiseMeter:
        """Return what measures the original's own rounding noise in the values of a part of it."""
        return NoiseMeter(part, self.perturbation, self.open, exact)

    def noise_of(self, part: Submodel, given: Mapping[str, Value], expected: Mapping[str, Value]) -> NoiseSamples:
        """Measure the noise once. There is none at outputs where the user's tolerance decides."""
        if not self.options.is_explicit:
            with self.noise_meter(part) as meter:
                yield from meter.samples(given, expected)
