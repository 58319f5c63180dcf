"""The order of a proof: hold both models, make feeds, compare at the sites, compare whole, decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from normfold.verify.compare import is_floating
from normfold.verify.evidence import FORCED, Chunk, SiteCheck, Tally, chunks, in_order
from normfold.verify.feeds import Feed, Feeder
from normfold.verify.held import Held, hold, part, producers
from normfold.verify.inputs import load_inputs, parse_spec
from normfold.verify.result import ProofOptions, Site, Verdict, Verification
from normfold.verify.run import CannotRun, Level, Runner, Trouble, Value, unsafe_reason, unseeded
from normfold.verify.whole import check_whole

Model = onnx.ModelProto | bytes | str | Path


@dataclass
class _Proof:
    """What accumulates while a proof runs."""

    original: Held
    candidate: Held
    options: ProofOptions
    tally: Tally
    notes: list[str] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    references: list[dict[str, Value]] = field(default_factory=list)


class _Undecided(Exception):
    """Why nothing can be said, with what to do."""


def prove(original: Model, candidate: Model, sites: Sequence[Site], options: ProofOptions) -> Verification:
    """See ``normfold.verify.prove``."""
    a, b = hold(original), hold(candidate)
    proof = _Proof(a, b, options, Tally(_owners(sites)))
    try:
        different = _interface_difference(a, b)
        if different:
            return Verification(Verdict.DIFFERENT, notes=(different,), seed=options.seed)
        _refuse_unsafe(a, b)
        targets = _targets(proof, sites)
        _compare_at_sites(proof, targets)
        check_whole(a, b, proof.feeds, proof.references, options, proof.tally, proof.notes)
    except _Undecided as why:
        return _result(proof, Verdict.INCONCLUSIVE, (*proof.notes, str(why)))
    return _decide(proof)


def _owners(sites: Sequence[Site]) -> dict[str, tuple[str, ...]]:
    owners: dict[str, tuple[str, ...]] = {}
    for site in sites:
        owners[site.value] = tuple(dict.fromkeys((*owners.get(site.value, ()), site.owner)))
    return owners


def _interface_difference(a: Held, b: Held) -> str:
    for what, ours, theirs in (
        ("inputs", {v.name for v in a.inputs}, {v.name for v in b.inputs}),
        ("outputs", set(a.output_names), set(b.output_names)),
    ):
        if ours != theirs:
            return f"expected the {what} {', '.join(sorted(ours))}, got {', '.join(sorted(theirs))}; rename them"
    return ""


def _refuse_unsafe(a: Held, b: Held) -> None:
    for held in (a, b):
        reason = unsafe_reason(held.skeleton)
        if reason:
            raise _Undecided(f"{reason}; export after model.eval() to verify")


def _targets(proof: _Proof, sites: Sequence[Site]) -> list[str]:
    """Sites that both models make, then the outputs, in the order of the original's graph."""
    ours, theirs = producers(proof.original.graph), producers(proof.candidate.graph)
    usable = [s.value for s in sites if s.value in ours and s.value in theirs]
    lost = sorted({s.value for s in sites} - set(usable))
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        proof.notes.append(
            f"no evidence at {', '.join(lost[:5])}{more}: the value is not made in the main graph of both models"
        )
    return in_order(proof.original, [*usable, *proof.original.output_names])


def _feeds(
    proof: _Proof, runner: Runner, small_feeds: Sequence[str], outputs: Sequence[str]
) -> Iterator[tuple[Feed, list[Value]]]:
    """Feeds that the original accepts, each with the values of ``outputs``."""
    options = proof.options
    if options.inputs:
        for path in options.inputs:
            given = load_inputs(path, proof.original)
            feed = Feed(given.values, given.text, given.expected)
            yield feed, runner.run({name: feed.values[name] for name in small_feeds}, outputs)
        return
    feeder = Feeder.of(proof.original, [parse_spec(text) for text in options.input_specs], options.seed)
    working: dict[str, int] | None = None
    trouble: CannotRun | None = None
    for index in range(max(options.feeds, 1) if proof.original.inputs else 1):
        fallback: tuple[Feed, list[Value]] | None = None
        for feed, sizes in feeder.proposals(index, working):
            try:
                values = runner.run({name: feed.values[name] for name in small_feeds}, outputs)
            except CannotRun as error:
                trouble = error
                if error.trouble in (Trouble.TIME, Trouble.KERNEL):
                    raise
                continue
            working = sizes
            if not _says_nothing(values):
                fallback = None
                yield feed, values
                break
            fallback = fallback or (feed, values)
            if feed.text.startswith("positive"):
                break
        if fallback is not None:
            yield fallback
        if working is None and trouble is not None:
            raise trouble


def _says_nothing(values: Sequence[Value]) -> bool:
    """Whether every floating number is NaN or infinite."""
    floating = [v for v in values if isinstance(v, np.ndarray) and is_floating(v) and v.size]
    return bool(floating) and not any(np.isfinite(v.astype(np.float32)).any() for v in floating)


def _compare_at_sites(proof: _Proof, targets: Sequence[str]) -> None:
    plan = chunks(targets, {}, proof.options.piece_bytes)
    known: list[dict[str, Value]] = []
    for number, chunk in enumerate(plan):
        try:
            _compare_chunk(proof, chunk, known, first=number == 0)
        except CannotRun as error:
            raise _Undecided(_advice(error)) from error
    outputs = set(proof.original.output_names)
    proof.references += [{name: value for name, value in values.items() if name in outputs} for values in known]


def _compare_chunk(proof: _Proof, chunk: Chunk, known: list[dict[str, Value]], first: bool) -> None:
    options = proof.options
    small = part(proof.original, chunk.targets, {})
    check = SiteCheck(proof.original, proof.candidate, chunk, options, proof.tally)
    fetch = list(small.fetch.values())
    try:
        with Runner(small.held, Level.DISABLE_ALL, options.threads, options.seconds) as runner:
            for feed, values in _feeds(proof, runner, small.feeds, fetch):
                named = dict(zip(small.fetch, values, strict=True))
                proof.feeds.append(feed)
                check.compare(feed, named)
                outputs = set(proof.original.output_names)
                known.append({name: value for name, value in named.items() if name in outputs})
    finally:
        check.close()


def _advice(error: CannotRun) -> str:
    todo = {
        Trouble.KERNEL: "verify on a runtime that has it, or pass --no-verify",
        Trouble.LOAD: "check that the model loads in ONNX Runtime, custom operators and external data included",
        Trouble.RUN: "pass --inputs with data that the model accepts, or --input NAME=SHAPE",
        Trouble.TIME: "pass smaller inputs with --input NAME=SHAPE",
        Trouble.UNSAFE: "export after model.eval()",
    }
    return f"the original cannot serve as reference: {error}; {todo[error.trouble]}"


def _decide(proof: _Proof) -> Verification:
    comparisons = list(proof.tally.worst.values())
    random = unseeded(proof.original.skeleton)
    if all(c.passed for c in comparisons):
        silent = [c for c in comparisons if c.elements and not c.comparable]
        if silent and len(silent) == len([c for c in comparisons if c.elements]):
            return _result(
                proof, Verdict.INCONCLUSIVE, (*proof.notes, "the original only gives NaN; pass --inputs with real data")
            )
        return _result(proof, Verdict.EQUIVALENT, tuple(proof.notes))
    if random:
        note = f"the result is random: {', '.join(random[:3])}; give the operators a seed to compare"
        return _result(proof, Verdict.INCONCLUSIVE, (*proof.notes, note))
    return _result(proof, Verdict.DIFFERENT, tuple(proof.notes))


def _result(proof: _Proof, verdict: Verdict, notes: Sequence[str]) -> Verification:
    place = {name: i for i, name in enumerate(in_order(proof.original, [v for v, _ in proof.tally.worst]))}
    rows = sorted(proof.tally.worst.values(), key=lambda c: place[c.value])
    outputs = set(proof.original.output_names)
    sites = tuple(c for c in rows if c.witness == FORCED and (c.owners or c.value not in outputs))
    guilty = tuple(dict.fromkeys(owner for c in sites if not c.passed for owner in c.owners))
    return Verification(
        verdict,
        outputs=tuple(c for c in rows if c.value in outputs and c not in sites),
        sites=sites,
        guilty=guilty if verdict is Verdict.DIFFERENT else (),
        notes=tuple(notes),
        seed=proof.options.seed,
        feeds=tuple(feed.text for feed in proof.feeds),
    )
