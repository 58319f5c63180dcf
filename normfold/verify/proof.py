"""The order of a proof: load both models, make feeds, compare the outputs, decide, compare region by region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normfold.errors import UsageError
from normfold.options import ProofOptions
from normfold.runtime.float32_copy import can_retype, coarsest, retyped
from normfold.runtime.loaded_model import LoadableModel, load
from normfold.runtime.parts import parts_of
from normfold.runtime.random_operators import depending_on, unseeded_values
from normfold.runtime.reference_session import is_small_enough
from normfold.runtime.session import FailureKind, ModelRunError, unsafe_reason
from normfold.runtime.submodel import submodel
from normfold.verify.checks.whole_model import check_stored, check_whole, run_original
from normfold.verify.inputs.generate import Feed
from normfold.verify.inputs.user_files import all_inputs
from normfold.verify.interface import at_common_sizes, other_inputs, other_outputs
from normfold.verify.missing_operators import cut_at_missing, has_foreign_operators
from normfold.verify.question import NOISE_DOMINATED, Question
from normfold.verify.record import ProofRecord
from normfold.verify.result import Equivalence, Site, Verification
from normfold.verify.sites.by_region import recorded_sites, with_regions
from normfold.verify.state import ProofState, random_values
from normfold.verify.zero_sizes import has_zero_sized_input, with_free_sizes

_TOO_MUCH = (FailureKind.TIME, FailureKind.MEMORY)


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
    return _proved(*recorded_sites(question)) if sites is None else _proved(question, sites)


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
    if not question.is_by_fold and not question.precision and coarser:
        note = f"the second model computes in {coarser}, so what {coarser} loses is allowed"
        question = replace(question, precision=coarser).noting(note)
    for verdict, compare in (Equivalence.INCONCLUSIVE, other_inputs), (Equivalence.DIFFERENT, other_outputs):
        why = compare(question.original, question.candidate)
        if why:
            return Verification(verdict, notes=(why,), seed=question.options.seed)
    unsafe = unsafe_reason(question.original) or unsafe_reason(question.candidate)
    if unsafe:
        return _unsafe(question, unsafe)
    original, fixed = at_common_sizes(question.original, question.candidate)
    if fixed:
        note = f"the second model only takes {', '.join(fixed)}, so the models were compared there"
        question = replace(question, original=original).noting(note)
    found = _answered(question, sites)
    if not found.feeds or any(c.elements or not c.passed for c in (*found.sites, *found.outputs)):
        return found
    return _with_free_sizes(question, sites, found) if has_zero_sized_input(question.original) else found


def _answered(question: Question, sites: Sequence[Site]) -> Verification:
    try:
        proof = _gathered(question)
        return with_regions(proof, _decide(proof), sites)
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
        proof.record.feeds.append(Feed(given.values, given.text))
        proof.record.references.append(given.expected)
    if not proof.record.feeds:
        raise UsageError("expected --inputs with stored outputs, or a second model to compare with")
    unsafe = unsafe_reason(loaded)
    if unsafe:
        return _unsafe(proof.question, unsafe)
    try:
        check_stored(proof)
        if not proof.comparisons() and is_small_enough(loaded):
            proof = replace(proof, question=replace(proof.question, is_by_reference=True))
            proof.record.note("so it was run by onnx's reference evaluator")
            check_stored(proof)
        return _decide(proof)
    except ModelRunError as error:
        return _result(proof, Equivalence.INCONCLUSIVE, _advice(error))


def _gathered(question: Question) -> ProofState:
    """Gather all evidence.

    It is in float32 when the runtime cannot compute in the model's own type, and by the reference evaluator when it has
    no kernel there either.
    """
    gathered = _attempt(question)
    if isinstance(gathered, ProofState):
        return gathered
    failure, given = gathered, (question.original, question.candidate)
    if can_retype(question.original):
        gathered = _attempt(replace(question, original=retyped(given[0]), candidate=retyped(given[1])))
        if isinstance(gathered, ProofState):
            gathered.record.note(f"both models were compared in float32, because in their own type: {failure}")
            return gathered
    has_kernels = failure.kind not in (FailureKind.KERNEL, FailureKind.LOAD)
    if not has_kernels and all(map(is_small_enough, given)):
        gathered = _attempt(replace(question, is_by_reference=True))
        if isinstance(gathered, ProofState):
            gathered.record.note(
                f"both models were run by onnx's reference evaluator, because: {failure}. "
                "What ONNX Runtime makes of the result is not known"
            )
            return gathered
    raise InconclusiveError(_advice(failure))


def _attempt(question: Question) -> ProofState | ModelRunError:
    """Gather all evidence in one way, or say why the original cannot run in this way."""
    record = ProofRecord(list(question.notes))
    try:
        return _gather(question, record)
    except ModelRunError as error:
        if record.feeds or error.kind in _TOO_MUCH:
            raise InconclusiveError(_advice(error), ProofState(question, record)) from error
        return error


def _advice(error: ModelRunError) -> str:
    if error.kind in _TOO_MUCH:
        return f"{error}; pass smaller inputs with --input NAME=SHAPE"
    todo = {
        FailureKind.KERNEL: "verify on a runtime that has it, or pass --no-verify",
        FailureKind.LOAD: "check that the model loads in ONNX Runtime, custom operators and external data included",
        FailureKind.RUN: "pass --inputs with data that the model accepts, or --input NAME=SHAPE",
    }
    return f"the original cannot serve as reference: {error}; {todo[error.kind]}"


def _gather(question: Question, record: ProofRecord) -> ProofState:
    """Compare the outputs; ``record`` gets what is found."""
    unseeded = unseeded_values(question.original)
    question = replace(
        question,
        random_values=frozenset(unseeded) & question.candidate.producers.keys(),
        random_outputs=frozenset(depending_on(question.original, unseeded)) & set(question.original.output_names),
    )
    proof = ProofState(question, record)
    run_original(proof)
    check_whole(proof)
    if not question.is_by_reference and question.is_too_large(question.candidate):
        count = len(parts_of(question.candidate, question.part_bytes))
        record.note(f"the result was run whole in {count} parts, to fit into {question.memory / 2**30:.2g} GB")
    return proof


def _decide(proof: ProofState) -> Verification:
    comparisons = proof.comparisons()
    failing = [c for c in comparisons if not c.passed]
    counted = [c for c in comparisons if c.elements]
    if proof.question.random_outputs and not failing:
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
    random = random_values(proof.question, names, submodel(proof.question.original, names, {}), proof.record.feeds[0])
    if random:
        proof.record.note(f"{', '.join(random[:3])} is random: two runs of the original differ; give operators a seed")
        proof.record.leave_out(random)
        return _result(proof, Equivalence.INCONCLUSIVE)
    if not all(c.noise_dominated for c in failing):
        return _result(proof, Equivalence.DIFFERENT)
    return _result(
        proof, Equivalence.INCONCLUSIVE, f"{NOISE_DOMINATED}, so nothing can be decided; pass --inputs with real data"
    )


def _result(proof: ProofState, verdict: Equivalence, note: str = "") -> Verification:
    if verdict is Equivalence.EQUIVALENT and proof.question.unproven and proof.question.options.strict:
        verdict, note = (
            Equivalence.INCONCLUSIVE,
            note or "--strict asks for a proof of every operator; pass --custom-ops LIB, or leave --strict out",
        )
    comparisons = proof.comparisons()
    for c in proof.record.set_aside(proof.question.alternates_levels):
        proof.record.note(
            f"{c.value}, {c.stage.value}: feed {c.feed} was set aside, because {NOISE_DOMINATED}; the other feeds count"
        )
    return Verification(
        verdict,
        outputs=tuple(comparisons),
        unproven_operators=proof.question.unproven,
        notes=(*proof.record.notes, *filter(None, [note])),
        seed=proof.question.options.seed,
        feeds=tuple(feed.text for feed in proof.record.feeds),
    )
