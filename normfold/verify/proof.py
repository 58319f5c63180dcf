"""The order of a proof: hold both models, make feeds, compare at the sites, compare whole, decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import compress

from normfold.errors import UsageError
from normfold.options import ProofOptions
from normfold.runtime.float32_copy import can_retype, coarsest, retyped
from normfold.runtime.loaded_model import LoadableModel, load
from normfold.runtime.random_operators import unseeded_values
from normfold.runtime.reference_session import is_small_enough
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value, unsafe_reason
from normfold.runtime.submodel import Submodel, submodel
from normfold.verify.checks.accepted_inputs import largest_sizes
from normfold.verify.checks.at_sites import SiteCheck, expected_bytes, in_order, plan_chunks, types_of
from normfold.verify.checks.first_difference import first_differences
from normfold.verify.checks.prefetch import prefetch
from normfold.verify.checks.reference_values import Original
from normfold.verify.checks.schedule import Chunk, Schedule, bytes_of
from normfold.verify.checks.whole_model import check_stored, check_whole
from normfold.verify.inputs.generate import Feed
from normfold.verify.inputs.user_files import all_inputs
from normfold.verify.interface import other_inputs, other_outputs
from normfold.verify.missing_operators import cut_at_missing, has_foreign_operators
from normfold.verify.regions.probe import check_regions
from normfold.verify.result import Comparison, Equivalence, Site, Stage, Verification
from normfold.verify.sites.renamed_values import by_names
from normfold.verify.sites.targets import inlined_sites, targets_of
from normfold.verify.state import NOISE_DOMINATED, ProofState, random_values, run_part
from normfold.verify.zero_sizes import has_zero_sized_input, with_free_sizes

PREFETCH_BYTES = 4 * 2**20
"""Values of later feeds that wait while one is compared; more than that of one feed alone."""


class InconclusiveError(Exception):
    """Why nothing can be said, with what to do."""


def prove(
    original: LoadableModel, candidate: LoadableModel, sites: Sequence[Site] | None, options: ProofOptions
) -> Verification:
    """See ``normfold.verify.prove``."""
    proof = _opened(original, candidate, options)
    proof.is_by_fold = bool(sites)
    _cut_at_missing(proof)
    return by_names(proof, _proved) if sites is None else _proved(proof, sites)


def _cut_at_missing(proof: ProofState) -> None:
    """Leave the operators that the runtime lacks out of both models, so that the rest can be proven."""
    if not has_foreign_operators(proof.original):
        return
    cut = cut_at_missing(proof.original, proof.candidate, proof.open)
    if cut is not None:
        proof.original, proof.candidate, proof.unproven = cut
        names = ", ".join(proof.unproven[:3]) + (f" and {len(proof.unproven) - 3} more" if proof.unproven[3:] else "")
        proof.note(f"no kernel here has {names}: what reads their results was compared with made-up values")


def _proved(proof: ProofState, sites: Sequence[Site]) -> Verification:
    if not sites and not proof.precision and coarsest(proof.candidate):
        proof.precision = coarsest(proof.candidate)
        proof.note(f"the second model computes in {proof.precision}, so what {proof.precision} loses is allowed")
    for verdict, compare in (Equivalence.INCONCLUSIVE, other_inputs), (Equivalence.DIFFERENT, other_outputs):
        found = compare(proof.original, proof.candidate)
        if found:
            return Verification(verdict, notes=(found,), seed=proof.options.seed)
    unsafe = unsafe_reason(proof.original) or unsafe_reason(proof.candidate)
    if unsafe:
        return _result(proof, Equivalence.INCONCLUSIVE, f"{unsafe}; export after model.eval() to verify")
    outcome = _outcome(proof, sites)
    if not proof.feeds or any(c.elements or not c.passed for c in proof.comparisons()):
        return outcome
    return _with_free_sizes(proof, sites) if has_zero_sized_input(proof.original) else outcome


def _outcome(proof: ProofState, sites: Sequence[Site]) -> Verification:
    try:
        return _decide(_gathered(proof, sites))
    except InconclusiveError as why:
        return _result(proof, Equivalence.INCONCLUSIVE, str(why))


def _with_free_sizes(proof: ProofState, sites: Sequence[Site]) -> Verification:
    """Compare models that only take empty inputs, and so only give empty outputs.

    They are equal, unless with that size left free they are not.
    """
    free = proof.afresh(proof.left_out)
    free.original, free.candidate = with_free_sizes(proof.original), with_free_sizes(proof.candidate)
    found = _outcome(free, sites)
    if found.verdict is not Equivalence.INCONCLUSIVE:
        return replace(
            found, notes=(*found.notes, "an input is fixed to size 0; the models were compared with it free")
        )
    note = "every output is empty, because an input is fixed to size 0: only shapes and types could be compared"
    return _result(proof, Equivalence.EQUIVALENT, note)


def _opened(original: LoadableModel, candidate: LoadableModel, options: ProofOptions) -> ProofState:
    a, b = load(original, options.folder), load(candidate, options.folder)
    return ProofState(a, b, options, coarsest(a))


def check(model: LoadableModel, options: ProofOptions) -> Verification:
    """See ``normfold.verify.check``."""
    loaded = load(model, options.folder)
    proof = ProofState(loaded, loaded, options, coarsest(loaded), is_stored=True)
    for given in all_inputs(options.given_inputs, loaded):
        if not given.expected:
            raise UsageError(f"expected stored outputs next to the inputs in {given.text} (output_0.pb ...), got none")
        proof.feeds.append(Feed(given.values, given.text))
        proof.references.append(given.expected)
    if not proof.feeds:
        raise UsageError("expected --inputs with stored outputs, or a second model to compare with")
    unsafe = unsafe_reason(loaded)
    if unsafe:
        return _result(proof, Equivalence.INCONCLUSIVE, f"{unsafe}; export after model.eval() to verify")
    try:
        check_stored(proof)
        if not proof.comparisons() and is_small_enough(loaded):
            proof.is_by_reference = True
            proof.note("so it was run by onnx's reference evaluator")
            check_stored(proof)
        return _decide(proof)
    except ModelRunError as error:
        return _result(proof, Equivalence.INCONCLUSIVE, _advice(error))


def _gathered(proof: ProofState, sites: Sequence[Site]) -> ProofState:
    """Gather all evidence.

    It is in float32 when the runtime cannot compute in the model's own type, and by the reference evaluator when it has
    no kernel there either.
    """
    given = proof.original, proof.candidate
    failure = _attempt(proof, sites)
    if failure is not None and can_retype(given[0]):
        proof.original, proof.candidate = retyped(given[0]), retyped(given[1])
        if _attempt(proof, sites) is None:
            proof.note(f"both models were compared in float32, because in their own type: {failure}")
            return proof
    if (
        failure is not None
        and failure.kind in (FailureKind.KERNEL, FailureKind.LOAD)
        and all(map(is_small_enough, given))
    ):
        proof.original, proof.candidate = given
        proof.is_by_reference = True
        if _attempt(proof, sites) is None:
            proof.note(
                f"both models were run by onnx's reference evaluator, because: {failure}. "
                "What ONNX Runtime makes of the result is not known"
            )
            return proof
    if failure is not None:
        raise InconclusiveError(_advice(failure))
    return proof


def _attempt(proof: ProofState, sites: Sequence[Site]) -> ModelRunError | None:
    """Gather all evidence in one way, or say why the original cannot run in this way."""
    try:
        _gather(proof, sites)
    except ModelRunError as error:
        if proof.feeds or error.kind is FailureKind.TIME:
            raise InconclusiveError(_advice(error)) from error
        return error
    return None


def _advice(error: ModelRunError) -> str:
    if error.kind is FailureKind.TIME:
        return f"{error}; pass smaller inputs with --input NAME=SHAPE"
    todo = {
        FailureKind.KERNEL: "verify on a runtime that has it, or pass --no-verify",
        FailureKind.LOAD: "check that the model loads in ONNX Runtime, custom operators and external data included",
        FailureKind.RUN: "pass --inputs with data that the model accepts, or --input NAME=SHAPE",
    }
    return f"the original cannot serve as reference: {error}; {todo[error.kind]}"


def _gather(proof: ProofState, sites: Sequence[Site]) -> None:
    as_given = proof.original, proof.candidate
    targets = targets_of(proof, inlined_sites(proof, sites))
    first = submodel(proof.original, targets, {})
    # The runtime knows the sizes of the values, but a very large model is never opened as a whole for that.
    is_large = first.model.weight_bytes > proof.options.weight_bytes
    with ExitStack() as opened:
        runner = None if is_large else opened.enter_context(proof.open(first.model))
        sizes = {} if runner is None else expected_bytes(runner, first, largest_sizes(proof))
        chunks = plan_chunks(proof, targets, sizes)
        if len(chunks) > 1:
            proof.note(f"the values at the sites were compared in {len(chunks)} parts to bound the memory")
        if len(chunks) > 1 or runner is None:
            opened.close()
            first = submodel(proof.original, chunks[0].targets, {})
            runner = opened.enter_context(proof.open(first.model))
        kept = _first_chunk(proof, chunks[0], first, runner)
    for chunk in chunks[1:]:
        kept = _next_chunk(proof, chunk, kept)
    if any(c.folds and not c.passed for c in proof.comparisons()):
        return  # failing folds are known by name: whole runs would only show what they cause
    if not proof.is_by_reference:
        check_whole(replace(proof, original=as_given[0], candidate=as_given[1]))
    if proof.is_by_fold:
        check_regions(proof)


def _first_chunk(proof: ProofState, chunk: Chunk, small: Submodel, runner: Runner) -> list[dict[str, Value]]:
    """Compare the first chunk, and settle on the feeds: those that the original accepts."""
    turns = Schedule(proof, chunk)
    kept = []
    with closing(SiteCheck(proof, turns)) as check:
        with (
            closing(Original(proof, turns, small, runner)) as original,
            closing(prefetch(original.feeds(), lambda made: bytes_of(made[1]), PREFETCH_BYTES)) as feeds,
        ):
            for feed, values in feeds:
                proof.feeds.append(feed)
                kept.append(_compared(proof, check, chunk, feed, {}, values, len(proof.feeds) - 1))
        _retry_undecided(proof, check, turns, [{} for _ in proof.feeds])
    return kept


def _next_chunk(proof: ProofState, chunk: Chunk, kept: Sequence[dict[str, Value]]) -> list[dict[str, Value]]:
    small = submodel(proof.original, chunk.targets, types_of(kept[0]))
    turns = Schedule(proof, chunk)
    with closing(SiteCheck(proof, turns)) as check:
        with (
            proof.open(small.model) as runner,
            closing(prefetch(_runs(proof, runner, small, kept), bytes_of, PREFETCH_BYTES)) as runs,
        ):
            later = [
                _compared(proof, check, chunk, proof.feeds[number], earlier, values, number)
                for number, (earlier, values) in enumerate(zip(kept, runs, strict=True))
            ]
        _retry_undecided(proof, check, turns, kept)
    return later


def _retry_undecided(proof: ProofState, check: SiteCheck, turns: Schedule, kept: Sequence[dict[str, Value]]) -> None:
    """Compare the sites of which the first feed showed nothing on the others too."""
    names = turns.undecided()
    if not names or len(proof.feeds) < 2:
        return
    small = submodel(proof.original, turns.values_for(names), types_of(kept[0]))
    with proof.open(small.model) as runner:
        for feed, earlier in zip(proof.feeds[1:], kept[1:], strict=True):
            check.compare_these(names, feed, earlier | run_part(runner, small, feed, earlier))
            names = turns.undecided()
            if not names:
                return


def _runs(
    proof: ProofState, runner: Runner, small: Submodel, kept: Sequence[dict[str, Value]]
) -> Iterator[dict[str, Value]]:
    """Return the original's values of a part for each feed, ``kept`` being what is known of earlier parts."""
    for feed, earlier in zip(proof.feeds, kept, strict=True):
        yield run_part(runner, small, feed, earlier)


def _compared(
    proof: ProofState,
    check: SiteCheck,
    chunk: Chunk,
    feed: Feed,
    earlier: dict[str, Value],
    values: dict[str, Value],
    number: int,
) -> dict[str, Value]:
    """Compare one feed, remember the outputs, and give what later chunks need of ``values``, which are then let go."""
    known = earlier | values
    check.compare(feed, known, number)
    if number == len(proof.references):
        proof.references.append({})
    outputs = set(proof.original.output_names)
    proof.references[number].update({name: value for name, value in values.items() if name in outputs})
    values.clear()  # before the next feed runs, which takes their memory
    return {name: value for name, value in known.items() if name in chunk.needed_later}


def _decide(proof: ProofState) -> Verification:
    comparisons = proof.comparisons()
    failing = [c for c in comparisons if not c.passed]
    counted = [c for c in comparisons if c.elements]
    if proof.random_outputs and not _is_certain(proof, comparisons):
        note = f"{', '.join(sorted(proof.random_outputs)[:3])} is random at every run; give the random operators a seed"
        return _result(proof, Equivalence.INCONCLUSIVE, note)
    if not failing and not counted:
        why = "every output is empty; pass --inputs with other sizes" if comparisons else "nothing could be compared"
        return _result(proof, Equivalence.INCONCLUSIVE, why)
    if not failing:
        if not any(c.comparable for c in counted):
            return _result(
                proof, Equivalence.INCONCLUSIVE, "the original only gives NaN or infinity; pass --inputs with real data"
            )
        return _result(proof, Equivalence.EQUIVALENT)
    names = list(dict.fromkeys(c.value for c in failing))
    random = random_values(proof, names, submodel(proof.original, names, {}))
    if random:
        why = f"{', '.join(random[:3])} is random: two runs of the original differ; give its operators a seed"
        return _result(proof, Equivalence.INCONCLUSIVE, why)
    certain = [c for c in failing if not c.noise_dominated or (c.stage == Stage.AT_SITE and c.folds)]
    if certain:
        found = _result(proof, Equivalence.DIFFERENT)
        return (
            found
            if found.failing_folds or proof.is_stored
            else replace(found, first_differences=_first_differences(proof, certain))
        )
    proved = any(c.folds for c in comparisons) and all(c.passed for c in comparisons if c.stage == Stage.AT_SITE)
    if proved:
        _accept_noise(proof, failing)
        return _result(proof, Equivalence.EQUIVALENT, f"every site is right; at the outputs {NOISE_DOMINATED}")
    return _result(
        proof, Equivalence.INCONCLUSIVE, f"{NOISE_DOMINATED}, so nothing can be decided; pass --inputs with real data"
    )


def _first_differences(proof: ProofState, failing: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Where the difference begins, for the feed of its worst comparison; nothing when only an optimized run differs."""
    plain = [c for c in failing if c.stage in (Stage.AT_SITE, Stage.UNOPTIMIZED)]
    worst = max(plain, key=lambda c: c.margin, default=None)
    feed = next((feed for feed in proof.feeds if worst is not None and feed.text == worst.feed), None)
    return () if feed is None else tuple(first_differences(proof, feed, [c.value for c in plain]))


def _is_certain(proof: ProofState, comparisons: Sequence[Comparison]) -> bool:
    """Whether random outputs leave something to tell: the sites, with the random values kept equal in both models."""
    at_sites = [c for c in comparisons if c.stage == proof.first_stage]
    if (
        set(unseeded_values(proof.candidate)) - proof.random_values
        or set(unseeded_values(proof.original)) - proof.random_values
    ):
        return False
    return any(c.folds or not c.passed for c in at_sites)


def _accept_noise(proof: ProofState, failing: Sequence[Comparison]) -> None:
    for c in failing:
        proof.noise_dominated[c.value, c.stage] = replace(c, passed=True)


def _result(proof: ProofState, verdict: Equivalence, note: str = "") -> Verification:
    if verdict is Equivalence.EQUIVALENT and proof.unproven and proof.options.strict:
        verdict, note = (
            Equivalence.INCONCLUSIVE,
            note or "--strict asks for a proof of every operator; pass --custom-ops LIB, or leave --strict out",
        )
    comparisons = proof.comparisons()
    for c in proof.set_aside():
        proof.note(
            f"{c.value}, {c.stage}: feed {c.feed} was set aside, because {NOISE_DOMINATED}; the other feeds count"
        )
    place = {name: i for i, name in enumerate(in_order(proof.original, [c.value for c in comparisons]))}
    rows = sorted(comparisons, key=lambda c: place[c.value])
    outputs = set(proof.original.output_names)
    is_site = [c.stage in (Stage.AT_SITE, Stage.REGION) and bool(c.folds or c.value not in outputs) for c in rows]
    sites = tuple(compress(rows, is_site))
    failing_folds = tuple(dict.fromkeys(fold for c in sites if not c.passed for fold in c.folds))
    return Verification(
        verdict,
        outputs=tuple(c for c, is_one in zip(rows, is_site, strict=True) if not is_one),
        sites=sites,
        unproven_operators=proof.unproven,
        failing_folds=failing_folds if verdict is Equivalence.DIFFERENT else (),
        notes=(*proof.notes, *filter(None, [note])),
        seed=proof.options.seed,
        feeds=tuple(feed.text for feed in proof.feeds),
    )
