"""The order of a proof: load both models, make feeds, compare at the sites, whole and by regions, decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import compress

from normfold.errors import UsageError
from normfold.options import ProofOptions
from normfold.runtime.float32_copy import can_retype, coarsest, retyped
from normfold.runtime.loaded_model import LoadableModel, load
from normfold.runtime.parts import parts_of
from normfold.runtime.random_operators import unseeded_values
from normfold.runtime.reference_session import is_small_enough
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value, unsafe_reason
from normfold.runtime.submodel import Submodel, submodel, types_of
from normfold.verify.checks.accepted_inputs import largest_sizes
from normfold.verify.checks.at_sites import SiteCheck, expected_bytes, in_order, plan_chunks
from normfold.verify.checks.prefetch import prefetch
from normfold.verify.checks.reference_values import Original
from normfold.verify.checks.schedule import Chunk, Schedule, bytes_of
from normfold.verify.checks.whole_model import check_stored, check_whole
from normfold.verify.findings import Findings
from normfold.verify.inputs.generate import Feed
from normfold.verify.inputs.user_files import all_inputs
from normfold.verify.interface import other_inputs, other_outputs
from normfold.verify.missing_operators import cut_at_missing, has_foreign_operators
from normfold.verify.question import NOISE_DOMINATED, Question
from normfold.verify.regions.probe import check_regions
from normfold.verify.result import Comparison, Equivalence, Site, Stage, Verification
from normfold.verify.sites.by_region import recorded_sites, with_regions
from normfold.verify.sites.targets import inlined_sites, with_targets
from normfold.verify.state import ProofState, random_values, run_part
from normfold.verify.zero_sizes import has_zero_sized_input, with_free_sizes

PREFETCH_BYTES = 4 * 2**20
"""Values of later feeds that wait while one is compared; more than that of one feed alone."""


class InconclusiveError(Exception):
    """Why nothing can be said, with what to do, and what was found before."""

    def __init__(self, why: str, proof: ProofState | None = None) -> None:
        super().__init__(why)
        self.proof = proof


def prove(
    original: LoadableModel, candidate: LoadableModel, sites: Sequence[Site] | None, options: ProofOptions
) -> Verification:
    """See ``normfold.verify.prove``."""
    loaded = load(original, options.folder), load(candidate, options.folder)
    question = _cut_at_missing(replace(Question.of(*loaded, options), is_by_fold=bool(sites)))
    if sites is not None:
        return _proved(question, sites)
    question, recorded = recorded_sites(question)
    return with_regions(question, _proved(question, ()), recorded)


def _cut_at_missing(question: Question) -> Question:
    """Leave the operators that the runtime lacks out of both models, so that the rest can be proven."""
    if not has_foreign_operators(question.original):
        return question
    cut = cut_at_missing(question.original, question.candidate, question.open)
    if cut is None:
        return question
    original, candidate, unproven = cut
    names = ", ".join(unproven[:3]) + (f" and {len(unproven) - 3} more" if unproven[3:] else "")
    note = f"no kernel here has {names}: what reads their results was compared with made-up values"
    return replace(question, original=original, candidate=candidate, unproven=unproven).noting(note)


def _proved(question: Question, sites: Sequence[Site]) -> Verification:
    coarser = coarsest(question.candidate)
    if not sites and not question.precision and coarser:
        note = f"the second model computes in {coarser}, so what {coarser} loses is allowed"
        question = replace(question, precision=coarser).noting(note)
    for verdict, compare in (Equivalence.INCONCLUSIVE, other_inputs), (Equivalence.DIFFERENT, other_outputs):
        why = compare(question.original, question.candidate)
        if why:
            return Verification(verdict, notes=(why,), seed=question.options.seed)
    unsafe = unsafe_reason(question.original) or unsafe_reason(question.candidate)
    if unsafe:
        return _unsafe(question, unsafe)
    found = _answered(question, sites)
    if not found.feeds or any(c.elements or not c.passed for c in (*found.sites, *found.outputs)):
        return found
    return _with_free_sizes(question, sites, found) if has_zero_sized_input(question.original) else found


def _answered(question: Question, sites: Sequence[Site]) -> Verification:
    try:
        return _decide(_gathered(question, sites))
    except InconclusiveError as why:
        return _result(why.proof or ProofState.of(question), Equivalence.INCONCLUSIVE, str(why))


def _unsafe(question: Question, why: str) -> Verification:
    text = f"{why}; export after model.eval() to verify"
    return _result(ProofState.of(question), Equivalence.INCONCLUSIVE, text)


def _with_free_sizes(question: Question, sites: Sequence[Site], empty: Verification) -> Verification:
    """Compare models that only take empty inputs, and so only give empty outputs.

    They are equal, unless with that size left free they are not.
    """
    models = with_free_sizes(question.original), with_free_sizes(question.candidate)
    found = _answered(replace(question, original=models[0], candidate=models[1]), sites)
    if found.verdict is not Equivalence.INCONCLUSIVE:
        note = "an input is fixed to size 0; the models were compared with it free"
        return replace(found, notes=(*found.notes, note))
    note = "every output is empty, because an input is fixed to size 0: only shapes and types could be compared"
    return replace(empty, verdict=Equivalence.EQUIVALENT, notes=(*question.notes, note))


def check(model: LoadableModel, options: ProofOptions) -> Verification:
    """See ``normfold.verify.check``."""
    loaded = load(model, options.folder)
    proof = ProofState.of(replace(Question.of(loaded, loaded, options), is_stored=True))
    for given in all_inputs(options.given_inputs, loaded):
        if not given.expected:
            raise UsageError(f"expected stored outputs next to the inputs in {given.text} (output_0.pb ...), got none")
        proof.findings.feeds.append(Feed(given.values, given.text))
        proof.findings.references.append(given.expected)
    if not proof.findings.feeds:
        raise UsageError("expected --inputs with stored outputs, or a second model to compare with")
    unsafe = unsafe_reason(loaded)
    if unsafe:
        return _unsafe(proof.question, unsafe)
    try:
        check_stored(proof)
        if not proof.comparisons() and is_small_enough(loaded):
            proof = replace(proof, question=replace(proof.question, is_by_reference=True))
            proof.findings.note("so it was run by onnx's reference evaluator")
            check_stored(proof)
        return _decide(proof)
    except ModelRunError as error:
        return _result(proof, Equivalence.INCONCLUSIVE, _advice(error))


def _gathered(question: Question, sites: Sequence[Site]) -> ProofState:
    """Gather all evidence.

    It is in float32 when the runtime cannot compute in the model's own type, and by the reference evaluator when it has
    no kernel there either.
    """
    gathered = _attempt(question, sites)
    if isinstance(gathered, ProofState):
        return gathered
    failure, given = gathered, (question.original, question.candidate)
    if can_retype(question.original):
        gathered = _attempt(replace(question, original=retyped(given[0]), candidate=retyped(given[1])), sites)
        if isinstance(gathered, ProofState):
            gathered.findings.note(f"both models were compared in float32, because in their own type: {failure}")
            return gathered
    has_kernels = failure.kind not in (FailureKind.KERNEL, FailureKind.LOAD)
    if not has_kernels and all(map(is_small_enough, given)):
        gathered = _attempt(replace(question, is_by_reference=True), sites)
        if isinstance(gathered, ProofState):
            gathered.findings.note(
                f"both models were run by onnx's reference evaluator, because: {failure}. "
                "What ONNX Runtime makes of the result is not known"
            )
            return gathered
    raise InconclusiveError(_advice(failure))


def _attempt(question: Question, sites: Sequence[Site]) -> ProofState | ModelRunError:
    """Gather all evidence in one way, or say why the original cannot run in this way."""
    findings = Findings(list(question.notes))
    try:
        return _gather(question, sites, findings)
    except ModelRunError as error:
        if findings.feeds or error.kind is FailureKind.TIME:
            raise InconclusiveError(_advice(error), ProofState(question, findings)) from error
        return error


def _advice(error: ModelRunError) -> str:
    if error.kind is FailureKind.TIME:
        return f"{error}; pass smaller inputs with --input NAME=SHAPE"
    todo = {
        FailureKind.KERNEL: "verify on a runtime that has it, or pass --no-verify",
        FailureKind.LOAD: "check that the model loads in ONNX Runtime, custom operators and external data included",
        FailureKind.RUN: "pass --inputs with data that the model accepts, or --input NAME=SHAPE",
    }
    return f"the original cannot serve as reference: {error}; {todo[error.kind]}"


def _gather(question: Question, sites: Sequence[Site], findings: Findings) -> ProofState:
    """Compare at the sites in parts, then whole, then region by region; ``findings`` get what is found."""
    targeted, targets = with_targets(*inlined_sites(question, sites))
    findings.notes[:] = targeted.notes
    proof = ProofState(targeted, findings)
    first = submodel(targeted.original, targets, {})
    # The runtime knows the sizes of the values, but a very large model is never opened as a whole for that.
    is_large = first.model.weight_bytes > targeted.part_bytes
    with ExitStack() as opened:
        runner = None if is_large else opened.enter_context(targeted.open(first.model))
        sizes = {} if runner is None else expected_bytes(runner, first, largest_sizes(targeted))
        chunks = plan_chunks(targeted, targets, sizes)
        if len(chunks) > 1:
            findings.note(f"the values at the sites were compared in {len(chunks)} parts to bound the memory")
        if len(chunks) > 1 or runner is None:
            opened.close()
            first = submodel(targeted.original, chunks[0].targets, {})
            runner = opened.enter_context(targeted.open(first.model))
        kept = _first_chunk(proof, chunks[0], first, runner)
    for chunk in chunks[1:]:
        kept = _next_chunk(proof, chunk, kept)
    if any(c.folds and not c.passed for c in proof.comparisons()):
        return proof  # failing folds are known by name: whole runs would only show what they cause
    if not targeted.is_by_reference:
        whole = replace(targeted, original=question.original, candidate=question.candidate)
        check_whole(ProofState(whole, findings))
        if whole.is_too_large(whole.candidate):
            count = len(parts_of(whole.candidate, whole.part_bytes))
            findings.note(f"the result was run whole in {count} parts, to fit into {whole.memory / 2**30:.2g} GB")
    if targeted.is_by_fold:
        check_regions(proof)
    return proof


def _first_chunk(proof: ProofState, chunk: Chunk, small: Submodel, runner: Runner) -> list[dict[str, Value]]:
    """Compare the first chunk, and settle on the feeds: those that the original accepts."""
    turns = Schedule(proof.question, chunk)
    kept = []
    with (
        closing(SiteCheck(proof, turns)) as check,
        closing(Original(proof, turns, small, runner)) as original,
        closing(prefetch(original.feeds(), lambda made: bytes_of(made[1]), PREFETCH_BYTES)) as feeds,
    ):
        for feed, values in feeds:
            proof.findings.feeds.append(feed)
            kept.append(_compared(proof, check, chunk, feed, {}, values, len(proof.findings.feeds) - 1))
    return kept


def _next_chunk(proof: ProofState, chunk: Chunk, kept: Sequence[dict[str, Value]]) -> list[dict[str, Value]]:
    small = submodel(proof.question.original, chunk.targets, types_of(kept[0]))
    turns = Schedule(proof.question, chunk)
    with (
        closing(SiteCheck(proof, turns)) as check,
        proof.question.open(small.model) as runner,
        closing(prefetch(_runs(proof, runner, small, kept), bytes_of, PREFETCH_BYTES)) as runs,
    ):
        return [
            _compared(proof, check, chunk, proof.findings.feeds[number], earlier, values, number)
            for number, (earlier, values) in enumerate(zip(kept, runs, strict=True))
        ]


def _runs(
    proof: ProofState, runner: Runner, small: Submodel, kept: Sequence[dict[str, Value]]
) -> Iterator[dict[str, Value]]:
    """Return the original's values of a part for each feed, ``kept`` being what is known of earlier parts."""
    for feed, earlier in zip(proof.findings.feeds, kept, strict=True):
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
    if number == len(proof.findings.references):
        proof.findings.references.append({})
    outputs = set(proof.question.original.output_names)
    proof.findings.references[number].update({name: value for name, value in values.items() if name in outputs})
    values.clear()  # before the next feed runs, which takes their memory
    return {name: value for name, value in known.items() if name in chunk.needed_later}


def _decide(proof: ProofState) -> Verification:
    comparisons = proof.comparisons()
    failing = [c for c in comparisons if not c.passed]
    counted = [c for c in comparisons if c.elements]
    if proof.question.random_outputs and not _is_certain(proof, comparisons):
        some = ", ".join(sorted(proof.question.random_outputs)[:3])
        note = f"{some} is random at every run; give the random operators a seed"
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
    random = random_values(proof.question, names, submodel(proof.question.original, names, {}), proof.findings.feeds[0])
    if random:
        why = f"{', '.join(random[:3])} is random: two runs of the original differ; give its operators a seed"
        return _result(proof, Equivalence.INCONCLUSIVE, why)
    certain = [c for c in failing if not c.noise_dominated or (c.stage == Stage.AT_SITE and c.folds)]
    if certain:
        return _result(proof, Equivalence.DIFFERENT)
    proved = any(c.folds for c in comparisons) and all(c.passed for c in comparisons if c.stage == Stage.AT_SITE)
    if proved:
        _accept_noise(proof, failing)
        return _result(proof, Equivalence.EQUIVALENT, f"every site is right; at the outputs {NOISE_DOMINATED}")
    return _result(
        proof, Equivalence.INCONCLUSIVE, f"{NOISE_DOMINATED}, so nothing can be decided; pass --inputs with real data"
    )


def _is_certain(proof: ProofState, comparisons: Sequence[Comparison]) -> bool:
    """Whether random outputs leave something to tell: the sites, with the random values kept equal in both models."""
    at_sites = [c for c in comparisons if c.stage == proof.question.first_stage]
    if (
        set(unseeded_values(proof.question.candidate)) - proof.question.random_values
        or set(unseeded_values(proof.question.original)) - proof.question.random_values
    ):
        return False
    return any(c.folds or not c.passed for c in at_sites)


def _accept_noise(proof: ProofState, failing: Sequence[Comparison]) -> None:
    accepted = {id(c) for c in failing}
    known = proof.findings.comparisons
    proof.findings.comparisons = [replace(c, passed=True) if id(c) in accepted else c for c in known]


def _result(proof: ProofState, verdict: Equivalence, note: str = "") -> Verification:
    if verdict is Equivalence.EQUIVALENT and proof.question.unproven and proof.question.options.strict:
        verdict, note = (
            Equivalence.INCONCLUSIVE,
            note or "--strict asks for a proof of every operator; pass --custom-ops LIB, or leave --strict out",
        )
    comparisons = proof.comparisons()
    for c in proof.findings.set_aside(proof.question.alternates_levels):
        proof.findings.note(
            f"{c.value}, {c.stage}: feed {c.feed} was set aside, because {NOISE_DOMINATED}; the other feeds count"
        )
    place = {name: i for i, name in enumerate(in_order(proof.question.original, [c.value for c in comparisons]))}
    rows = sorted(comparisons, key=lambda c: place[c.value])
    outputs = set(proof.question.original.output_names)
    is_site = [c.stage in (Stage.AT_SITE, Stage.REGION) and bool(c.folds or c.value not in outputs) for c in rows]
    sites = tuple(compress(rows, is_site))
    failing_folds = tuple(dict.fromkeys(fold for c in sites if not c.passed for fold in c.folds))
    return Verification(
        verdict,
        outputs=tuple(c for c, is_one in zip(rows, is_site, strict=True) if not is_one),
        sites=sites,
        unproven_operators=proof.question.unproven,
        failing_folds=failing_folds if verdict is Equivalence.DIFFERENT else (),
        notes=(*proof.findings.notes, *filter(None, [note])),
        seed=proof.question.options.seed,
        feeds=tuple(feed.text for feed in proof.findings.feeds),
    )
