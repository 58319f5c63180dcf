"""A rewritten model before its proof: folded but for what costs bytes, fusions of the runtime, or milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import onnx
import onnx_ir as ir

from normfold.constants.simplify import InferredFacts, apply_facts, simplify
from normfold.errors import SourceError
from normfold.files.protos.convert import to_proto
from normfold.files.source import Source, rejection_of
from normfold.findings.reason import Reason
from normfold.findings.verdict import Verdict
from normfold.fold.cleanup.known_branches import take_known_branches
from normfold.fold.cleanup.model_size import ModelSize, drop_costly_types, has_inferred_types
from normfold.fold.cleanup.subnormal_weights import flush_subnormal_weights
from normfold.fold.cleanup.tidy import skip_identities
from normfold.fusion_guard import SKIP, folds_that_break_fusions, hinder_skips
from normfold.graph.inlining import InlineError, inline, operators
from normfold.graph.weight_bytes import FREE, weight_bytes
from normfold.operators.walk import subgraphs
from normfold.options import RewriteOptions
from normfold.provenance import Undone, options_as_text, record, recorded_undone
from normfold.rewrite import Build, findings_that_worsen, rewrite
from normfold.runtime.fused_operators import fused_operators
from normfold.stage_clock import StageClock
from normfold.targets.table import target_named
from normfold.timing.stopwatch import SLOWER, Stopwatch
from normfold.verify import Site

_CLEANUP_BREAKS = (
    "what is computed from constants and shapes stays as it is, because the runtime would execute fewer groups of"
    " operators as one without it"
)
_SUMS = (
    "sums before a LayerNormalization were written as Sum: of Add, ONNX Runtime would make SkipLayerNormalization,"
    " which takes 4.2 to 7.7 times as long on CPU"
)
_FLUSHED = (
    "{:,} weights of convolutions were written as zero: they are too small to change a sum, and processors take up to"
    " 100 times as long for a product below 1.2e-38"
)
_LEAST_GROWTH = 1e-6  # stands for 0, which still lets FREE bytes pass


@dataclass(frozen=True)
class Candidate:
    """A rewritten model before its proof; the original where nothing was changed, not even by the cleanup."""

    model: ir.Model
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    folds_constants: bool = True
    is_changed: bool = True
    undone: Undone = field(default_factory=Undone)

    @property
    def changes(self) -> tuple[Verdict, ...]:
        """What was folded or fused."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_changed)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the effect of each fold can be measured."""
        return tuple(
            Site(value, verdict.finding.name, verdict.finding.graph)
            for verdict in self.changes
            for value in verdict.sites
        )


class CandidateBuilder:
    """Makes candidates from one source: the costly facts about it are found once, for all rounds."""

    def __init__(
        self, source: Source, options: RewriteOptions, clock: StageClock, stopwatch: Stopwatch | None = None
    ) -> None:
        self.source, self.options, self.clock, self.stopwatch = source, options, clock, stopwatch
        self.undone = recorded_undone(source)
        self.folds_constants = options.onnxsim and not self.undone.is_without_onnxsim
        with clock.stage("simplify"):
            self.facts = self._facts(source.proto, source.model)
        self._applied = self.facts  # none where the runtime would fuse less
        self._may_change = True
        self._left: dict[str, Reason] | None = None  # findings that are not worth their price
        self._slow_skips: frozenset[str] = frozenset()  # norms that the runtime would fuse with a sum, and lose by it
        # The last two, by what they leave: what a search comes back to is the best so far.
        self._built: dict[tuple[str, frozenset[tuple[str, Reason]]], Candidate] = {}

    def build(self, excluded: Mapping[str, Reason] = MappingProxyType({})) -> Candidate:
        """Fold, fuse and tidy a fresh copy; findings in ``excluded`` stay, and what would break a fusion or grow."""
        if self._left is None:
            with self.clock.stage("guard"):
                self._left = {}
                if self._candidate({}).is_changed:
                    self._left |= dict.fromkeys(self._findings_that_grow(), Reason.GROWTH)
                    self._left |= dict.fromkeys(self._folds_that_break_fusions(), Reason.BREAKS_FUSION)
            if self.stopwatch is not None:
                with self.clock.stage("measure"):
                    self._measure(self.stopwatch)
        wanted = {**self._left, **excluded}
        candidate = self._candidate(wanted)
        _check_parameters(self.source, candidate.verdicts)
        if candidate.is_changed and hinder_skips(candidate.model, self._slow_skips):
            candidate = replace(candidate, notes=(*candidate.notes, _SUMS))
        self._built = {(options_as_text(self.options), frozenset(wanted.items())): candidate}
        return candidate

    def _folds_that_break_fusions(self) -> frozenset[str]:
        """Ask ONNX Runtime's optimizer; leave constants and shapes too, else everything, where folds are not enough."""
        target = target_named(self.options.target)
        if not target.fuses_itself:
            return frozenset()
        build = self._leaving(Reason.BREAKS_FUSION)
        guarded = folds_that_break_fusions(self.source.original, build)
        if not guarded.is_enough:
            self._applied, self._built = (), {}
            guarded = folds_that_break_fusions(self.source.original, build)
        if not guarded.is_enough:
            self._may_change, self._built = False, {}
        elif target.slow_skip:
            self._slow_skips = guarded.new_skips
        return guarded.left

    def _findings_that_grow(self) -> frozenset[str]:
        """Return what enlarges the weights beyond the part that is allowed and FREE bytes, by whatever way it does."""
        free = FREE / max(self.options.max_growth, _LEAST_GROWTH)

        def times_as_small(one: ir.Model, other: ir.Model) -> float:
            return (weight_bytes(one) + free) / (weight_bytes(other) + free)

        limit = 1 + self.options.max_growth
        return findings_that_worsen(self.source.original, self._leaving(Reason.GROWTH), times_as_small, limit)

    def _measure(self, stopwatch: Stopwatch) -> None:
        """Write new BatchNormalizations where that is faster here, and undo what makes the model slower."""
        original, richer = self.source.original, replace(self.options, new_batchnorm=True)
        plain, more = (self._candidate(self._left or {}, options).model for options in (self.options, richer))
        if ModelSize.of(more) != ModelSize.of(plain) and stopwatch.times_as_fast(plain, more) > SLOWER:
            self.options = richer
        slow = findings_that_worsen(original, self._leaving(Reason.SLOWER_HERE), stopwatch.times_as_fast, SLOWER)
        self.undone, self._built = self.undone.and_also(Undone(dict.fromkeys(slow, Reason.SLOWER_HERE))), {}
        self._slow_skips = self._skips_that_are_slower(stopwatch) or self._slow_skips
        stopwatch.final(original, self.build().model)

    def _skips_that_are_slower(self, stopwatch: Stopwatch) -> frozenset[str]:
        """Return every norm that the runtime fuses with the sum before it, where they are faster apart here."""
        with_skips = self.build().model
        every = frozenset(each.output for each in fused_operators(with_skips) or () if each.operator == SKIP)
        if not every or not target_named(self.options.target).slow_skip:
            return frozenset()
        self._built = {}  # a second copy, which is changed
        without = self.build().model
        self._built = {}
        hinder_skips(without, every)
        return every if stopwatch.times_as_fast(with_skips, without) > SLOWER else frozenset()

    def _leaving(self, reason: Reason) -> Build:
        """Return what builds a candidate without the findings that it is given, left for ``reason``."""

        def build(names: frozenset[str]) -> tuple[ir.Model, tuple[Verdict, ...]]:
            candidate = self._candidate({**dict.fromkeys(names, reason), **(self._left or {})})
            return candidate.model, candidate.verdicts

        return build

    def _candidate(self, excluded: Mapping[str, Reason], options: RewriteOptions | None = None) -> Candidate:
        options = options or self.options
        key = options_as_text(options), frozenset(excluded.items())
        candidate = self._built.pop(key, None) or self._with_or_without_functions(excluded, options)
        self._built = {**dict(list(self._built.items())[-1:]), key: candidate}
        return candidate

    def _with_or_without_functions(self, excluded: Mapping[str, Reason], options: RewriteOptions) -> Candidate:
        candidate = self._rewritten(self.source.model(), self._applied, excluded, options)
        if not candidate.model.functions:
            return candidate
        try:
            model = self._inlined()
        except InlineError as fault:
            return replace(candidate, notes=(*candidate.notes, str(fault)))
        with self.clock.stage("simplify"):
            facts = self._facts(to_proto(model), self._inlined)
        inlined = self._rewritten(model, facts, excluded, options)
        if not inlined.changes or operators(inlined.model) >= operators(candidate.model):
            return candidate
        return replace(inlined, notes=(*inlined.notes, "the functions of the model were inlined"))

    def _inlined(self) -> ir.Model:
        model = self.source.model()
        inline(model)
        return model

    def _facts(self, proto: onnx.ModelProto, copied: Callable[[], ir.Model]) -> tuple[InferredFacts, ...]:
        """Find the facts of a model, and again for each time that they show which branch of an If is always taken."""
        facts = [simplify(proto, fold=self.folds_constants)]
        if any(next(subgraphs(node), None) is not None for node in proto.graph.node):
            model = copied()
            while _learn(model, facts[-1]):
                facts.append(simplify(to_proto(model), fold=self.folds_constants))
        return tuple(facts)

    def _rewritten(
        self,
        model: ir.Model,
        facts: Sequence[InferredFacts],
        excluded: Mapping[str, Reason],
        options: RewriteOptions,
    ) -> Candidate:
        with self.clock.stage("fold"):
            before, has_types = ModelSize.of(model), has_inferred_types(model)
            skip_identities(model)
            for each in facts:
                _learn(model, each)
            verdicts = rewrite(model, options, {**excluded, **self.undone.findings})
            after = ModelSize.of(model)
            flushed = flush_subnormal_weights(model) if self.folds_constants and not options.only else 0
            leaner = not options.only and after.is_leaner(before, options.max_growth)
            is_changed = self._may_change and bool(flushed or leaner or any(each.is_changed for each in verdicts))
            if not is_changed:
                model = self.source.original
            elif not has_types:
                drop_costly_types(model, after.weights)
        notes = (
            *self.source.notes,
            *filter(None, [self.facts[0].note, _about_batchnorms(after.batchnorms - before.batchnorms)]),
            *([] if facts else [_CLEANUP_BREAKS]),
            *([_FLUSHED.format(flushed)] if flushed and is_changed else []),
        )
        candidate = Candidate(model, verdicts, notes, self.folds_constants, is_changed, self.undone)
        if is_changed:
            record(model, self.source, options, candidate.sites, self.undone)
        return candidate


def _learn(model: ir.Model, facts: InferredFacts) -> bool:
    """Write facts into a model and take the branches that they decide; return whether there was one."""
    apply_facts(model, facts)
    return take_known_branches(model)


def _check_parameters(source: Source, verdicts: Collection[Verdict]) -> None:
    """Raise SourceError for a norm whose parameters do not fit, where ONNX Runtime refuses the model too."""
    misfits = (o for verdict in verdicts for o in verdict.obstacles if o.reason is Reason.PARAMETERS_MISFIT)
    misfit = next(misfits, None)
    if misfit is not None and (rejection := rejection_of(source)):
        raise SourceError(f"{source.name}: {misfit.node}: {misfit.detail}; ONNX Runtime: {rejection}")


def _about_batchnorms(added: int) -> str:
    if added <= 0:
        return ""
    one = "one BatchNormalization was" if added == 1 else f"{added} BatchNormalizations were"
    return f"{one} written where the model had other operators, because ONNX Runtime runs them faster"
