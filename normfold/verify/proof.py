"""The order of a proof: hold both models, make feeds, compare at the sites, compare whole, decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import compress

from normfold.errors import UsageError
from normfold.runtime.float32_copy import can_retype, coarsest, retyped
from normfold.runtime.loaded_model import ModelLike, hold
from normfold.runtime.random_operators import drawn_values
from normfold.runtime.reference_session import is_small_enough
from normfold.runtime.session import CannotRun, Level, Runner, Trouble, Value, unsafe_reason
from normfold.runtime.submodel import Part, part
from normfold.verify.checks.accepted_inputs import largest_sizes
from normfold.verify.checks.at_sites import SiteCheck, expected_bytes, in_order, plan_chunks, types_of
from normfold.verify.checks.first_difference import first_difference
from normfold.verify.checks.prefetch import ahead
from normfold.verify.checks.reference_values import Original
from normfold.verify.checks.schedule import Chunk, Turns, bytes_of
from normfold.verify.checks.whole_model import check_stored, check_whole
from normfold.verify.inputs.generate import Feed
from normfold.verify.inputs.user_files import all_inputs
from normfold.verify.interface import interface_difference
from normfold.verify.result import Comparison, ProofOptions, Site, Verdict, Verification
from normfold.verify.sites.renamed_values import by_names
from normfold.verify.sites.targets import in_the_open, targets_of
from normfold.verify.state import CHAOTIC, FORCED, Case, random_values, run_part
from normfold.verify.zero_sizes import takes_nothing, with_free_sizes

AHEAD_BYTES = 4 * 2**20
"""Values of later feeds that wait while one is compared; more than that of one feed alone."""


class _Undecided(Exception):
    """Why nothing can be said, with what to do."""


def prove(
    original: ModelLike, candidate: ModelLike, sites: Sequence[Site] | None, options: ProofOptions
) -> Verification:
    """See ``normfold.verify.prove``."""
    case = _opened(original, candidate, options)
    return by_names(case, _proved) if sites is None else _proved(case, sites)


def _proved(case: Case, sites: Sequence[Site]) -> Verification:
    if not sites and not case.precision and coarsest(case.candidate):
        case.precision = coarsest(case.candidate)
        case.note(f"the second model computes in {case.precision}, so what {case.precision} loses is allowed")
    different = interface_difference(case.original, case.candidate)
    if different:
        return Verification(Verdict.DIFFERENT, notes=(different,), seed=case.options.seed)
    unsafe = unsafe_reason(case.original) or unsafe_reason(case.candidate)
    if unsafe:
        return _result(case, Verdict.INCONCLUSIVE, f"{unsafe}; export after model.eval() to verify")
    found = _outcome(case, sites)
    if not case.feeds or any(c.elements or not c.passed for c in case.comparisons()):
        return found
    return _with_something_in(case, sites) if takes_nothing(case.original) else found


def _outcome(case: Case, sites: Sequence[Site]) -> Verification:
    try:
        return _decide(_gathered(case, sites))
    except _Undecided as why:
        return _result(case, Verdict.INCONCLUSIVE, str(why))


def _with_something_in(case: Case, sites: Sequence[Site]) -> Verification:
    """For models that only take empty inputs, and so only give empty outputs: they are equal, unless with that size
    left free they are not."""
    free = case.afresh(case.left_out)
    free.original, free.candidate = with_free_sizes(case.original), with_free_sizes(case.candidate)
    found = _outcome(free, sites)
    if found.verdict is not Verdict.INCONCLUSIVE:
        return replace(
            found, notes=(*found.notes, "an input is fixed to size 0; the models were compared with it free")
        )
    note = "every output is empty, because an input is fixed to size 0: only shapes and types could be compared"
    return _result(case, Verdict.EQUIVALENT, note)


def _opened(original: ModelLike, candidate: ModelLike, options: ProofOptions) -> Case:
    a, b = hold(original, options.folder), hold(candidate, options.folder)
    return Case(a, b, options, coarsest(a))


def check(model: ModelLike, options: ProofOptions) -> Verification:
    """See ``normfold.verify.check``."""
    held = hold(model, options.folder)
    case = Case(held, held, options, coarsest(held), is_stored=True)
    for given in all_inputs(options.inputs, held):
        if not given.expected:
            raise UsageError(f"expected stored outputs beside the inputs in {given.text} (output_0.pb ...), got none")
        case.feeds.append(Feed(given.values, given.text))
        case.references.append(given.expected)
    if not case.feeds:
        raise UsageError("expected --inputs with stored outputs, or a second model to compare with")
    unsafe = unsafe_reason(held)
    if unsafe:
        return _result(case, Verdict.INCONCLUSIVE, f"{unsafe}; export after model.eval() to verify")
    try:
        check_stored(case)
        if not case.comparisons() and is_small_enough(held):
            case.is_by_reference = True
            case.note("so it was run by onnx's reference evaluator")
            check_stored(case)
        return _decide(case)
    except CannotRun as error:
        return _result(case, Verdict.INCONCLUSIVE, _advice(error))


def _gathered(case: Case, sites: Sequence[Site]) -> Case:
    """All evidence; in float32 when the runtime cannot compute in the model's own type, and by the reference evaluator
    when it has no kernel there either."""
    given = case.original, case.candidate
    trouble = _attempt(case, sites)
    if trouble is not None and can_retype(given[0]):
        case.original, case.candidate = retyped(given[0]), retyped(given[1])
        if _attempt(case, sites) is None:
            case.note(f"both models were compared in float32, because in their own type: {trouble}")
            return case
    if trouble is not None and trouble.trouble in (Trouble.KERNEL, Trouble.LOAD) and all(map(is_small_enough, given)):
        case.original, case.candidate = given
        case.is_by_reference = True
        if _attempt(case, sites) is None:
            case.note(
                f"both models were run by onnx's reference evaluator, because: {trouble}. "
                "What ONNX Runtime makes of the result is not known"
            )
            return case
    if trouble is not None:
        raise _Undecided(_advice(trouble))
    return case


def _attempt(case: Case, sites: Sequence[Site]) -> CannotRun | None:
    """Gather all evidence in one way, or say why the original cannot run in this way."""
    try:
        _gather(case, sites)
    except CannotRun as error:
        if case.feeds or error.trouble is Trouble.TIME:
            raise _Undecided(_advice(error)) from error
        return error
    return None


def _advice(error: CannotRun) -> str:
    if error.trouble is Trouble.TIME:
        return f"{error}; pass smaller inputs with --input NAME=SHAPE"
    todo = {
        Trouble.KERNEL: "verify on a runtime that has it, or pass --no-verify",
        Trouble.LOAD: "check that the model loads in ONNX Runtime, custom operators and external data included",
        Trouble.RUN: "pass --inputs with data that the model accepts, or --input NAME=SHAPE",
    }
    return f"the original cannot serve as reference: {error}; {todo[error.trouble]}"


def _gather(case: Case, sites: Sequence[Site]) -> None:
    as_given = case.original, case.candidate
    targets = targets_of(case, in_the_open(case, sites))
    first = part(case.original, targets, {})
    # The runtime knows the sizes of the values, but a very large model is never opened as a whole for that.
    is_large = first.held.weight_bytes > case.options.weight_bytes
    with ExitStack() as opened:
        runner = None if is_large else opened.enter_context(case.open(first.held))
        sizes = {} if runner is None else expected_bytes(runner, first, largest_sizes(case))
        chunks = plan_chunks(case, targets, sizes)
        if len(chunks) > 1:
            case.note(f"the values at the sites were compared in {len(chunks)} parts to bound the memory")
        if len(chunks) > 1 or runner is None:
            opened.close()
            first = part(case.original, chunks[0].targets, {})
            runner = opened.enter_context(case.open(first.held))
        kept = _first_chunk(case, chunks[0], first, runner)
    for chunk in chunks[1:]:
        kept = _next_chunk(case, chunk, kept)
    if any(c.owners and not c.passed for c in case.comparisons()):
        return  # guilty folds are known by name: whole runs would only show what they cause
    if not case.is_by_reference:
        check_whole(replace(case, original=as_given[0], candidate=as_given[1]))


def _first_chunk(case: Case, chunk: Chunk, small: Part, runner: Runner) -> list[dict[str, Value]]:
    """Compare the first chunk, and settle on the feeds: those that the original accepts."""
    turns = Turns(case, chunk)
    kept = []
    with closing(SiteCheck(case, turns)) as check:
        with (
            closing(Original(case, turns, small, runner)) as original,
            closing(ahead(original.feeds(), lambda made: bytes_of(made[1]), AHEAD_BYTES)) as feeds,
        ):
            for feed, values in feeds:
                case.feeds.append(feed)
                kept.append(_compared(case, check, chunk, feed, {}, values, len(case.feeds) - 1))
        _look_again(case, check, turns, [{} for _ in case.feeds])
    return kept


def _next_chunk(case: Case, chunk: Chunk, kept: Sequence[dict[str, Value]]) -> list[dict[str, Value]]:
    small = part(case.original, chunk.targets, types_of(kept[0]))
    turns = Turns(case, chunk)
    with closing(SiteCheck(case, turns)) as check:
        with (
            case.open(small.held) as runner,
            closing(ahead(_runs(case, runner, small, kept), bytes_of, AHEAD_BYTES)) as runs,
        ):
            later = [
                _compared(case, check, chunk, case.feeds[number], earlier, values, number)
                for number, (earlier, values) in enumerate(zip(kept, runs, strict=True))
            ]
        _look_again(case, check, turns, kept)
    return later


def _look_again(case: Case, check: SiteCheck, turns: Turns, kept: Sequence[dict[str, Value]]) -> None:
    """Compare the sites of which the first feed told nothing on the others too."""
    names = turns.untold()
    if not names or len(case.feeds) < 2:
        return
    small = part(case.original, turns.values_for(names), types_of(kept[0]))
    with case.open(small.held) as runner:
        for feed, earlier in zip(case.feeds[1:], kept[1:], strict=True):
            check.compare_these(names, feed, earlier | run_part(runner, small, feed, earlier))
            names = turns.untold()
            if not names:
                return


def _runs(case: Case, runner: Runner, small: Part, kept: Sequence[dict[str, Value]]) -> Iterator[dict[str, Value]]:
    """The original's values of a part for each feed, ``kept`` being what is known of earlier parts."""
    for feed, earlier in zip(case.feeds, kept, strict=True):
        yield run_part(runner, small, feed, earlier)


def _compared(
    case: Case,
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
    if number == len(case.references):
        case.references.append({})
    outputs = set(case.original.output_names)
    case.references[number].update({name: value for name, value in values.items() if name in outputs})
    values.clear()  # before the next feed runs, which takes their memory
    return {name: value for name, value in known.items() if name in chunk.needed_later}


def _decide(case: Case) -> Verification:
    comparisons = case.comparisons()
    failing = [c for c in comparisons if not c.passed]
    counted = [c for c in comparisons if c.elements]
    if case.random_outputs and not _is_certain(case, comparisons):
        note = f"{', '.join(sorted(case.random_outputs)[:3])} is random at every run; give the random operators a seed"
        return _result(case, Verdict.INCONCLUSIVE, note)
    if not failing and not counted:
        why = "every output is empty; pass --inputs with other sizes" if comparisons else "nothing could be compared"
        return _result(case, Verdict.INCONCLUSIVE, why)
    if not failing:
        if not any(c.comparable for c in counted):
            return _result(
                case, Verdict.INCONCLUSIVE, "the original only gives NaN or infinity; pass --inputs with real data"
            )
        return _result(case, Verdict.EQUIVALENT)
    names = list(dict.fromkeys(c.value for c in failing))
    random = random_values(case, names, part(case.original, names, {}))
    if random:
        why = f"{', '.join(random[:3])} is random: two runs of the original differ; give its operators a seed"
        return _result(case, Verdict.INCONCLUSIVE, why)
    certain = [c for c in failing if not c.chaotic or (c.witness == FORCED and c.owners)]
    if certain:
        found = _result(case, Verdict.DIFFERENT)
        return found if found.guilty or case.is_stored else replace(found, trail=_trail(case, certain))
    proved = any(c.owners for c in comparisons) and all(c.passed for c in comparisons if c.witness == FORCED)
    if proved:
        _excuse(case, failing)
        return _result(case, Verdict.EQUIVALENT, f"every site is right; at the outputs {CHAOTIC}")
    return _result(case, Verdict.INCONCLUSIVE, f"{CHAOTIC}, so nothing can be told; pass --inputs with real data")


def _trail(case: Case, failing: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Where the difference begins, for the feed of its worst comparison; nothing when only an optimized run differs."""
    plain = [c for c in failing if c.witness in (FORCED, Level.DISABLE_ALL.value)]
    worst = max(plain, key=lambda c: c.margin, default=None)
    feed = next((feed for feed in case.feeds if worst is not None and feed.text == worst.feed), None)
    return () if feed is None else tuple(first_difference(case, feed, [c.value for c in plain]))


def _is_certain(case: Case, comparisons: Sequence[Comparison]) -> bool:
    """Whether random outputs leave something to tell: the sites, with the random values held equal in both models."""
    at_sites = [c for c in comparisons if c.witness == case.first_witness]
    if set(drawn_values(case.candidate)) - case.drawn or set(drawn_values(case.original)) - case.drawn:
        return False
    return any(c.owners or not c.passed for c in at_sites)


def _excuse(case: Case, failing: Sequence[Comparison]) -> None:
    for c in failing:
        case.chaotic[c.value, c.witness] = replace(c, passed=True)


def _result(case: Case, verdict: Verdict, note: str = "") -> Verification:
    comparisons = case.comparisons()
    for c in case.set_aside():
        case.note(f"{c.value}, {c.witness}: feed {c.feed} was set aside, because {CHAOTIC}; the other feeds count")
    place = {name: i for i, name in enumerate(in_order(case.original, [c.value for c in comparisons]))}
    rows = sorted(comparisons, key=lambda c: place[c.value])
    outputs = set(case.original.output_names)
    is_site = [c.witness == FORCED and bool(c.owners or c.value not in outputs) for c in rows]
    sites = tuple(compress(rows, is_site))
    guilty = tuple(dict.fromkeys(owner for c in sites if not c.passed for owner in c.owners))
    return Verification(
        verdict,
        outputs=tuple(c for c, is_one in zip(rows, is_site, strict=True) if not is_one),
        sites=sites,
        guilty=guilty if verdict is Verdict.DIFFERENT else (),
        notes=(*case.notes, *filter(None, [note])),
        seed=case.options.seed,
        feeds=tuple(feed.text for feed in case.feeds),
    )
