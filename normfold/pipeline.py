"""The order of things: source -> simplify -> fuse, fold, tidy (rewrite) -> verify -> write, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir

from normfold.candidate import Candidate, CandidateBuilder
from normfold.errors import UsageError
from normfold.files.data_file import write_tensors
from normfold.files.limits import check_values
from normfold.files.protos.convert import to_proto
from normfold.files.protos.mapped import MAPPED
from normfold.files.protos.stream import is_big, lying_in
from normfold.files.source import (
    ModelLike,
    Source,
    blaming,
    in_eval_mode,
    read,
    with_constant_initializers,
)
from normfold.files.temporary import TemporaryFolder
from normfold.files.torch_bridge import TorchObject, is_for_torch, torch_room
from normfold.findings.reason import Reason
from normfold.option_declaration import accepting
from normfold.options import InspectArguments, OptimizeArguments, Options, ProofOptions, RewriteOptions, WriteArguments
from normfold.provenance import Undone, record, recorded_undone
from normfold.result import Inspection, NotProven, Result, check_output
from normfold.stage_clock import StageClock
from normfold.timing.stopwatch import Stopwatch
from normfold.verify import Equivalence, ProofCandidate, RollbackResult, Verification, prove, prove_with_rollback

_UNCHANGED = Verification(Equivalence.EQUIVALENT, notes=("nothing was changed, so there is nothing to compare",))
FurtherProof = Callable[[onnx.ModelProto, onnx.ModelProto, Verification], Verification]
"""What a caller adds to the proof of a candidate: original, candidate and the proof so far -> the proof."""


@accepting(OptimizeArguments)
def optimize(model: ModelLike | TorchObject, options: OptimizeArguments) -> Result:
    """Fold and fuse the norms of ``model``, prove that the result equals it, and write it to ``output`` if given.

    ``model`` is a path, bytes, an ``onnx.ModelProto`` or an ``onnx_ir.Model``; it is never changed. With the torch
    extra it may also be an nn.Module with ``args`` for its forward(), an ExportedProgram, an ONNXProgram or the path of
    a torch.export archive: see ``normfold.export``. An archive that could run code while it is loaded is refused unless
    ``trust_pickle``. The proof runs both models in ONNX Runtime, on your ``inputs`` if there are any: files, or
    mappings of arrays by the names of the inputs. A fold that fails it is undone, or, with ``strict``, the call fails.
    ``on_stage`` is called with read, simplify, fold, guard, measure, verify and write.

    Raises:
        SourceError: the model cannot be read or is not valid.
        UsageError: an option does not fit, or ``output`` is the input and not ``in_place``.
        NotProven: the result differs, or nothing could be decided; nothing is written.
        WriteError: the result could not be written.
    """
    if is_for_torch(model):
        result: Result = torch_room("export").optimize_torch(model, options)
        return result
    return optimize_with(model, options, options.output, options)


def optimize_with(
    model: ModelLike,
    options: Options,
    output: str | os.PathLike[str] | None = None,
    writing: WriteArguments | None = None,
    *,
    also: FurtherProof | None = None,
) -> Result:
    """Optimize an ONNX model with the options as one value; ``also`` continues the proof of each candidate."""
    writing = writing or WriteArguments()
    clock = StageClock(writing.on_stage)
    with clock.stage("read"):
        source = _read(model, options)
        files = [given for given in options.given_inputs if not isinstance(given, Mapping)]
        check_output(source, output, in_place=writing.in_place, reads=files, writes=tuple(writing.reports))
    with blaming(source):
        result = _optimized(source, options, clock, also)
    if result.verification is not None and not result.verification:
        raise NotProven(result)
    if output is None:
        return result
    with clock.stage("write"):
        return result.written(output, writing)


@accepting(InspectArguments)
def inspect(model: ModelLike | TorchObject, options: InspectArguments) -> Inspection:
    """List every norm and constant affine of ``model`` with what ``optimize`` would do, and why not where it would not.

    The model and the errors are those of ``optimize``; nothing is run and nothing is written.
    """
    return inspect_with(model, options)


def inspect_with(model: ModelLike | TorchObject, options: InspectArguments) -> Inspection:
    """Do what ``inspect`` does, with its options as one value."""
    if is_for_torch(model):
        model = torch_room("export").onnx_model_of(model, options.args, options.trust_pickle)
    source = _read(model, options)
    check_output(source, None, writes=tuple(options.reports))
    with blaming(source):
        candidate = CandidateBuilder(source, options, StageClock(options.on_stage)).build()
    return Inspection(source, source.give_weights(candidate.model), candidate.verdicts, options, candidate.notes)


# -- the stages ---------------------------------------------------------------------------------------------------


def _read(model: ModelLike, options: RewriteOptions) -> Source:
    source = read(model, assume_eval=options.assume_eval)
    source = with_constant_initializers(source, keep=options.keep_initializer_inputs, freeze=tuple(options.freeze))
    return in_eval_mode(source) if options.assume_eval else source


def _optimized(source: Source, options: Options, clock: StageClock, also: FurtherProof | None) -> Result:
    """Build and prove; what the proof finds wrong is undone and the rest proved again, until the proof holds."""
    stopwatch = Stopwatch(options) if options.measure else None
    if not options.verify:
        candidate, proof = CandidateBuilder(source, options, clock, stopwatch).build(), None
        notes: tuple[str, ...] = ("verification was switched off; the result is not proven",)
        undone = Undone() if candidate.undone == recorded_undone(source) else candidate.undone
    else:
        rolled_back = _prove_with_rollback(source, options, clock, also, stopwatch)
        if options.onnxsim and not options.strict and _is_changed_by_simplify(rolled_back):
            again = _prove_with_rollback(source, replace(options, onnxsim=False), clock, also, stopwatch)
            rolled_back = _better(rolled_back, again)
        candidate, proof, notes = rolled_back.candidate.model, rolled_back.verification, rolled_back.notes
        if not proof and not candidate.changes and candidate.is_changed:
            left = f"the cleanup was undone, because it could not be proven: the proof says {proof.verdict.value}"
            candidate = replace(candidate, model=source.original, is_changed=False)
            proof, notes = _UNCHANGED, (left,)
        undone = _undone(source, rolled_back, options)
    if undone and (proof or not options.verify):
        model = candidate.model if candidate.is_changed else source.model()  # the original itself stays as it is
        candidate = replace(candidate, model=model)
        record(model, source, options, candidate.sites, undone)
    notes = (*candidate.notes, *notes, *([stopwatch.note] if stopwatch is not None else ()))
    return Result(
        source,
        source.give_weights(candidate.model),
        candidate.verdicts,
        proof,
        options,
        notes,
        seconds=clock.seconds,
        is_changed=candidate.is_changed or bool(undone) or source.is_edited,
    )


def _undone(source: Source, rolled_back: RollbackResult[Candidate], options: Options) -> Undone:
    """Return what this run and the earlier ones of the model undid, or nothing if this run undid nothing."""
    left_out = options.onnxsim and not rolled_back.candidate.model.folds_constants
    rolled_back_now = Undone(dict.fromkeys(rolled_back.undone, _reason_to_undo(options)), left_out)
    now = rolled_back.candidate.model.undone.and_also(rolled_back_now)
    earlier = recorded_undone(source)
    return earlier.and_also(now) if now.and_also(earlier) != earlier else Undone()


def _reason_to_undo(options: Options) -> Reason:
    return Reason.OWN_TOLERANCE if options.is_explicit else Reason.ROLLED_BACK


def _prove_with_rollback(
    source: Source, options: Options, clock: StageClock, also: FurtherProof | None, stopwatch: Stopwatch | None
) -> RollbackResult[Candidate]:
    builder = CandidateBuilder(source, options, clock, stopwatch)
    check_values(builder.facts[0].types, builder.facts[0].computed, source.name)

    def build(excluded: frozenset[str]) -> ProofCandidate[Candidate]:
        candidate = builder.build(dict.fromkeys(excluded, _reason_to_undo(options)))
        return ProofCandidate(candidate, candidate.sites, tuple(verdict.finding.name for verdict in candidate.changes))

    def prove_it(built: ProofCandidate[Candidate]) -> Verification:
        with clock.stage("verify"):
            proof = _proof(source, built.model, options)
            if also is None or proof.verdict is Equivalence.DIFFERENT:
                return proof
            return also(source.proto, to_proto(built.model.model), proof)

    return prove_with_rollback(build, prove_it, strict=options.strict)


def _is_changed_by_simplify(rolled_back: RollbackResult[Candidate]) -> bool:
    """Whether anything differed: the folding of constants before the folds may be what changed the model."""
    return bool(rolled_back.undone) or rolled_back.verification.verdict is Equivalence.DIFFERENT


def _better(first: RollbackResult[Candidate], second: RollbackResult[Candidate]) -> RollbackResult[Candidate]:
    """Return the proven one, and of two proven ones the one with more folds."""
    if not second.verification:
        return first
    if first.verification and len(first.candidate.model.changes) >= len(second.candidate.model.changes):
        return first
    return replace(second, notes=(*second.notes, "the folding of constants was left out, because it changed the model"))


def _proof(source: Source, candidate: Candidate, options: Options) -> Verification:
    if not candidate.is_changed:
        return _UNCHANGED
    asked = ProofOptions.of(options, folder=str(source.folder) if source.stamps else None)
    original = source.proto if source.path is None or source.content is None else source.path
    with _as_file(candidate.model, asked.folder) as model:
        try:
            return prove(original, model, candidate.sites, asked)
        except (ValueError, OSError) as error:
            if not options.inputs:
                raise
            raise UsageError(f"the inputs do not fit: {error}") from error


@contextmanager
def _as_file(model: ir.Model, folder: str | None) -> Iterator[Path | onnx.ModelProto]:
    """Give the model as a temporary file, whose weights ONNX Runtime maps; a proto if the disk has no room.

    Weights that lie in data files of the original, in ``folder``, stay there.
    """
    with ExitStack() as stack:
        path = None
        try:
            folder_of_both = stack.enter_context(TemporaryFolder())
            path, data = (folder_of_both / f"{folder_of_both.name}.{kind}" for kind in ("onnx", "data"))  # as no other
            os.path.commonpath([data, folder or data])  # a runtime looks for weights below one folder
            data.touch()
            with lying_in(data, write_tensors(filter(_is_new, model.graph.initializers.values()), data)):
                path.write_bytes(to_proto(model).SerializeToString())
        except (OSError, ValueError):  # no folder for temporary files, no room in it, or another drive
            path = None
        yield path or to_proto(model)


def _is_new(value: ir.Value) -> bool:
    """Return whether an initializer is large, in memory, and of a type that the runtime maps."""
    tensor = value.const_value
    return (
        tensor is not None
        and is_big(value)
        and int(tensor.dtype) in MAPPED
        and not isinstance(tensor, ir.ExternalTensor)
    )
