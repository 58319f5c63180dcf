"""The order of things: source -> simplify -> fuse, fold, tidy (rewrite) -> verify -> write, report."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from normfold import __version__
from normfold.errors import NormfoldError, UsageError
from normfold.inlining import CannotInline, inline, may_help
from normfold.options import Options
from normfold.record import Outcome, Verdict
from normfold.report.neighbourhood import drawings
from normfold.report.report import Report, statistics
from normfold.rewrite import is_change, rewrite
from normfold.serial import to_proto
from normfold.simplify import Facts, apply_facts, simplify
from normfold.source import ModelLike, Source, in_eval_mode, read
from normfold.stream import streamed
from normfold.torch_door import TorchObject, is_for_torch, torch_room
from normfold.verify import Built, ProofOptions, Settlement, Site, Verification, prove, settle
from normfold.verify import Verdict as Proof
from normfold.write import write_bytes, write_model


@dataclass(frozen=True)
class Result:
    """What ``optimize`` made: the new model, what became of each finding, and the proof.

    ``ir_model`` is the new model (the original, when nothing was folded or fused). ``verification`` is None when the
    caller asked for none. ``notes`` say what else happened. ``output`` is where it was written.
    """

    source: Source
    ir_model: ir.Model
    verdicts: tuple[Verdict, ...]
    verification: Verification | None
    options: Options
    notes: tuple[str, ...] = ()
    output: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The new model as a ModelProto. External data still refers to the folder of the original."""
        return to_proto(self.ir_model)

    @property
    def folds(self) -> tuple[Verdict, ...]:
        """What was folded or fused."""
        return tuple(filter(is_change, self.verdicts))

    @property
    def kept(self) -> tuple[Verdict, ...]:
        """What stayed, each with its obstacles."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is Outcome.KEPT)

    @property
    def is_changed(self) -> bool:
        """Whether anything was folded or fused."""
        return bool(self.folds)

    def save(self, path: str | os.PathLike[str], *, in_place: bool = False) -> Path:
        """Write the model to ``path`` atomically, and give its path.

        An unchanged model is written byte for byte as it came. UsageError when ``path`` is the input and not
        ``in_place``; WriteError when writing fails, and then whatever stood there is whole.
        """
        target = Path(path)
        check_output(self.source, target, in_place)
        source = self.source
        if not self.is_changed and _same_file(source.path, target):
            return target
        if self.is_changed or source.has_external_data:
            write_model(self.ir_model, target, external=source.has_external_data, check=source.passes_checker)
        else:
            write_bytes(source.content or source.proto.SerializeToString(), target)
        return target

    def report(self, pictures: bool = False) -> Report:
        """The result as data for every form of report; with ``pictures`` of every finding for those that draw."""
        original = self.source.model()
        return Report(
            command="optimize",
            version=__version__,
            model=self.source.name,
            target=self.options.target,
            verdicts=self.verdicts,
            before=statistics(original),
            after=statistics(self.ir_model),
            verification=self.verification,
            output=str(self.output or ""),
            is_copy=not self.is_changed and not self.source.has_external_data,
            notes=self.notes,
            seconds=self.seconds,
            drawings=drawings(original, self.ir_model, self.verdicts) if pictures else (),
        )


@dataclass(frozen=True)
class Inspection:
    """What ``optimize`` would do to a model, without proof and without writing."""

    source: Source
    ir_model: ir.Model
    verdicts: tuple[Verdict, ...]
    options: Options
    notes: tuple[str, ...] = ()

    @property
    def folds(self) -> tuple[Verdict, ...]:
        """What would be folded or fused."""
        return tuple(filter(is_change, self.verdicts))

    @property
    def kept(self) -> tuple[Verdict, ...]:
        """What would stay, each with its obstacles."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is Outcome.KEPT)

    def report(self, pictures: bool = False) -> Report:
        """The inspection as data for every form of report; with ``pictures`` of every finding for those that draw."""
        original = self.source.model()
        return Report(
            command="inspect",
            version=__version__,
            model=self.source.name,
            target=self.options.target,
            verdicts=self.verdicts,
            before=statistics(original),
            after=statistics(self.ir_model),
            notes=self.notes,
            drawings=drawings(original, self.ir_model, self.verdicts) if pictures else (),
        )


class NotProven(NormfoldError):
    """The result differs from the original, or it could not be decided. Nothing was written; ``result`` has it all."""

    def __init__(self, result: Result) -> None:
        verification = result.verification
        verdict = "unknown" if verification is None else verification.verdict.value
        super().__init__(f"{result.source.name}: verification says {verdict}; nothing was written")
        self.result = result

    @property
    def is_different(self) -> bool:
        """True: a difference was measured. False: nothing could be decided."""
        return self.result.verification is not None and self.result.verification.verdict is Proof.DIFFERENT


def optimize(
    model: ModelLike | TorchObject,
    output: str | os.PathLike[str] | None = None,
    *,
    skip: Iterable[str] = (),
    only: Iterable[str] = (),
    verify: bool = True,
    simplify: bool = True,
    assume_eval: bool = False,
    fold_norm_affine: bool = False,
    constant_channel: bool = False,
    strict: bool = False,
    target: str = "onnxruntime",
    opset: str | int = "",
    contrib: bool = False,
    seed: int = 0,
    inputs: Iterable[str] = (),
    input_specs: Iterable[str] = (),
    rtol: float | None = None,
    atol: float | None = None,
    in_place: bool = False,
    args: Any = None,
    trust_pickle: bool = False,
    told: Callable[[str], None] | None = None,
) -> Result:
    """Fold and fuse the norms of ``model``, prove that the result equals it, and write it to ``output`` if given.

    ``model`` is a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; it is never changed. With the torch
    extra it may also be an nn.Module with ``args`` for its forward(), an ExportedProgram, an ONNXProgram or the path of
    a torch.export archive: see ``normfold.export``. An archive that could run code while it is loaded is refused unless
    ``trust_pickle``. Names in ``skip`` (rules or nodes) are left alone; ``only`` (rules) restricts to some. Norms are
    written as ``target`` runs them best, raising the operator set as ``opset`` ("auto", "keep" or a number) allows,
    with operators of com.microsoft only where ``contrib`` is given. The proof runs both models in ONNX Runtime on feeds
    made from the graph with ``seed``, shaped by ``input_specs`` (NAME=1x3x224x224[:dtype][:low..high]), or on those in
    ``inputs`` (.npz, .npy, or a folder of test_data_set .pb); ``rtol`` and ``atol`` replace the calibrated tolerance.
    ``fold_norm_affine`` also moves gamma and beta of LayerNorm and RMSNorm into all MatMuls that follow;
    ``constant_channel`` lets a shift pass zero padding by one more channel even where that is slower on a CPU. A fold
    that the proof blames is undone, or, with ``strict``, the call fails. ``told`` hears the name of each stage as it
    begins: read, simplify, fold, verify, write.

    Raises SourceError (no valid model), UsageError (unknown name, or ``output`` is the input and not ``in_place``),
    NotProven (the proof failed or was inconclusive; nothing is written) and WriteError.
    """
    options = Options(
        skip=frozenset(skip),
        only=frozenset(only),
        verify=verify,
        simplify=simplify,
        assume_eval=assume_eval,
        fold_norm_affine=fold_norm_affine,
        constant_channel=constant_channel,
        strict=strict,
        target=target,
        opset=opset,
        contrib=contrib,
        seed=seed,
        inputs=tuple(inputs),
        input_specs=tuple(input_specs),
        rtol=rtol,
        atol=atol,
    )
    if is_for_torch(model):
        result: Result = torch_room("export").optimize_torch(model, args, output, trust_pickle, options)
        return result
    return optimize_with(model, options, output, in_place=in_place, told=told)


def optimize_with(
    model: ModelLike,
    options: Options,
    output: str | os.PathLike[str] | None = None,
    *,
    in_place: bool = False,
    told: Callable[[str], None] | None = None,
) -> Result:
    """``optimize`` for an ONNX model, its choices in one value."""
    clock = _Clock(told)
    with clock.stage("read"):
        source = _read(model, options)
        if output is not None:
            check_output(source, Path(output), in_place)
    result = _optimized(source, options, clock)
    if result.verification is not None and not result.verification:
        raise NotProven(result)
    if output is None:
        return result
    with clock.stage("write"):
        written = result.save(output, in_place=in_place)
    return replace(result, output=written)


def inspect(
    model: ModelLike | TorchObject,
    *,
    skip: Iterable[str] = (),
    only: Iterable[str] = (),
    simplify: bool = True,
    assume_eval: bool = False,
    fold_norm_affine: bool = False,
    constant_channel: bool = False,
    target: str = "onnxruntime",
    opset: str | int = "",
    contrib: bool = False,
    args: Any = None,
    trust_pickle: bool = False,
) -> Inspection:
    """List every norm and constant affine of ``model`` with what ``optimize`` would do, and why not where it would not.

    Arguments and errors are those of ``optimize``; nothing is run and nothing is written.
    """
    options = Options(
        skip=frozenset(skip),
        only=frozenset(only),
        simplify=simplify,
        assume_eval=assume_eval,
        fold_norm_affine=fold_norm_affine,
        constant_channel=constant_channel,
        target=target,
        opset=opset,
        contrib=contrib,
    )
    if is_for_torch(model):
        model = torch_room("export").onnx_model_of(model, args, trust_pickle)
    source = _read(model, options)
    candidate = _Builder(source, options, _Clock()).build()
    return Inspection(source, candidate.model, candidate.verdicts, options, candidate.notes)


def check_output(source: Source, output: Path, in_place: bool) -> None:
    """UsageError when ``output`` is a folder, has no folder, or is the input without ``in_place``."""
    if output.is_dir():
        raise UsageError(f"expected a file to write, got the folder {output}")
    if not output.resolve().parent.is_dir():
        raise UsageError(f"the folder of {output} does not exist; create it first")
    if not in_place and _same_file(source.path, output):
        raise UsageError(f"{output} is the input; choose another output, or pass --in-place (in_place=True)")


def _same_file(one: Path | None, other: Path) -> bool:
    return one is not None and one.exists() and other.exists() and one.samefile(other)


# -- the stages ---------------------------------------------------------------------------------------------------


def _read(model: ModelLike, options: Options) -> Source:
    source = read(model)
    return in_eval_mode(source) if options.assume_eval else source


@dataclass(frozen=True)
class Candidate:
    """A rewritten model before its proof."""

    model: ir.Model
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]

    @property
    def changes(self) -> tuple[Verdict, ...]:
        """What was folded or fused."""
        return tuple(filter(is_change, self.verdicts))

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the effect of each fold can be measured."""
        return tuple(Site(value, verdict.finding.name) for verdict in self.changes for value in verdict.sites)


class _Builder:
    """Makes candidates from one source: the costly facts about it are found once, for all rounds."""

    def __init__(self, source: Source, options: Options, clock: _Clock) -> None:
        self.source, self.options, self.clock = source, options, clock
        with clock.stage("simplify"):
            self.facts: Facts = simplify(source.proto, fold=options.simplify)

    def build(self, excluded: Collection[str] = ()) -> Candidate:
        """Fold, fuse and tidy a fresh copy; findings in ``excluded`` stay."""
        candidate = self._built(self.source.model(), self.facts, excluded)
        if not may_help(candidate.model, candidate.verdicts):
            return candidate
        model = self.source.model()
        try:
            inline(model)
        except CannotInline as fault:
            return replace(candidate, notes=(*candidate.notes, str(fault)))
        with self.clock.stage("simplify"):
            facts = simplify(to_proto(model), fold=self.options.simplify)
        inlined = self._built(model, facts, excluded)
        if len(inlined.changes) <= len(candidate.changes):
            return candidate
        return replace(inlined, notes=(*inlined.notes, "the functions of the model were inlined"))

    def _built(self, model: ir.Model, facts: Facts, excluded: Collection[str]) -> Candidate:
        with self.clock.stage("fold"):
            apply_facts(model, facts)
            verdicts = rewrite(model, self.options, excluded)
            if not any(map(is_change, verdicts)):
                model = self.source.model()
        notes = (*self.source.notes, *filter(None, [facts.note]))
        return Candidate(model, verdicts, notes)


def _optimized(source: Source, options: Options, clock: _Clock) -> Result:
    """Build and prove; what the proof blames is undone and the rest proved again, until the proof holds."""
    if not options.verify:
        candidate, proof = _Builder(source, options, clock).build(), None
        notes: tuple[str, ...] = ("verification was switched off; the result is not proven",)
    else:
        settlement = _settled(source, options, clock)
        if options.simplify and not options.strict and _is_spoilt(settlement):
            settlement = _better(settlement, _settled(source, replace(options, simplify=False), clock))
        candidate, proof, notes = settlement.built.candidate, settlement.verification, settlement.notes
    notes = (*candidate.notes, *notes)
    return Result(source, candidate.model, candidate.verdicts, proof, options, notes, seconds=clock.seconds)


def _settled(source: Source, options: Options, clock: _Clock) -> Settlement[Candidate]:
    builder = _Builder(source, options, clock)

    def build(excluded: frozenset[str]) -> Built[Candidate]:
        candidate = builder.build(excluded)
        return Built(candidate, candidate.sites, tuple(verdict.finding.name for verdict in candidate.changes))

    def prove_it(built: Built[Candidate]) -> Verification:
        with clock.stage("verify"):
            return _proof(source, built.candidate, options)

    return settle(build, prove_it, strict=options.strict)


def _is_spoilt(settlement: Settlement[Candidate]) -> bool:
    """Whether anything differed: the folding of constants before the folds may be what changed the model."""
    return bool(settlement.undone) or settlement.verification.verdict is Proof.DIFFERENT


def _better(first: Settlement[Candidate], second: Settlement[Candidate]) -> Settlement[Candidate]:
    """The proven one, and of two proven ones the one with more folds."""
    if not second.verification:
        return first
    if first.verification and len(first.built.candidate.changes) >= len(second.built.candidate.changes):
        return first
    return replace(second, notes=(*second.notes, "the folding of constants was left out, because it changed the model"))


def _proof(source: Source, candidate: Candidate, options: Options) -> Verification:
    if not candidate.changes:
        return Verification(Proof.EQUIVALENT, notes=("nothing was changed, so there is nothing to compare",))
    proof_options = ProofOptions(
        seed=options.seed,
        rtol=options.rtol,
        atol=options.atol,
        inputs=options.inputs,
        input_specs=options.input_specs,
        folder=None if source.folder is None else str(source.folder),
    )
    original = source.proto if source.path is None or source.content is None else source.path
    with _as_file(candidate.model, source.has_external_data) as model:
        try:
            return prove(original, model, candidate.sites, proof_options)
        except (ValueError, OSError) as error:
            if not options.inputs:
                raise
            raise UsageError(f"the inputs do not fit: {error}") from error


@contextmanager
def _as_file(model: ir.Model, has_external_data: bool) -> Iterator[Path | onnx.ModelProto]:
    """The model in a temporary file, whose weights ONNX Runtime maps; as a proto when it must lie beside its data, or
    when there is no room on the disk."""
    if has_external_data:
        yield to_proto(model)
        return
    with tempfile.TemporaryDirectory(prefix="normfold-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "candidate.onnx")
        try:
            with path.open("wb") as file:
                file.writelines(streamed(model).pieces())
        except OSError:
            path.unlink(missing_ok=True)
        yield path if path.exists() else to_proto(model)


class _Clock:
    """Adds up the wall time of each stage, and tells of each that begins."""

    def __init__(self, told: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._told = told

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self._told is not None:
            self._told(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
