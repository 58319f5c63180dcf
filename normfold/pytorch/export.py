"""``export``: nn.Module, ExportedProgram or ONNXProgram -> an optimized ONNX file that equals the module.

torch's exporter runs without its optimizer, its model goes on in memory, and after the proof of ``optimize`` (original
against result) the module itself, called eagerly, is compared with the result as ONNX Runtime runs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

from normfold.errors import SourceError, UsageError
from normfold.files.paths import check_paths
from normfold.native.ort_session import OptimizationLevel
from normfold.option_declaration import accepting
from normfold.options import ExportArguments, OptimizeArguments, Options, WriteArguments
from normfold.pipeline import optimize_with
from normfold.pytorch.eager.arrays import array_of, as_real, tensor_of
from normfold.pytorch.eager.call import Call, evaluation
from normfold.pytorch.eager.outputs import tensors_of
from normfold.pytorch.eager.reference import EagerRun, compare, feeds
from normfold.pytorch.trace.exporters import TorchModel, Traced, Tracing, trace
from normfold.pytorch.trace.files import load_model
from normfold.pytorch.trace.selection import selected
from normfold.result import Result
from normfold.runtime.float32_copy import can_retype, retyped
from normfold.runtime.loaded_model import LoadedModel, load
from normfold.runtime.session import FailureKind, ModelRunError, OrtRunner, Runner
from normfold.verify.result import Comparison, Equivalence, Stage, Verification


@accepting(ExportArguments)
def export(module: TorchModel, options: ExportArguments) -> Result:
    """Export ``module``, fold and fuse its norms, prove that the result equals the module, and write it to ``path``.

    ``args`` and ``kwargs`` are one valid call of ``forward`` (an ExportedProgram or ONNXProgram brings its own),
    ``dynamic_shapes`` is that of torch.export.export, ``opset`` is that of the file: a number, or "keep" for the
    exporter's; None and "auto" raise the exporter's where the target has a better form for a norm. A module in training
    mode is refused, or, with ``eval=True``, switched and restored. The other arguments are those of
    ``normfold.optimize``. ``input_names``, ``output_names``, ``dynamic_axes``, ``opset_version`` and ``f`` are
    taken as torch.onnx.export takes them. Outputs that the module returns under keys have these as their names.

    ``Result.verification`` has rows of the run "eager module": the module against the result on ``args``, on
    values drawn like them, and on larger dynamic dimensions. Where torch.export cannot trace the module, the
    TorchScript exporter is used, and ``Result.notes`` says so.

    Raises UsageError (training mode, wrong arguments), SourceError (torch cannot export it), NotProven (the result
    differs, or nothing could be decided; nothing is written) and WriteError.
    """
    if options.opset_version is not None:
        options = replace(options, opset=options.opset_version)
    if options.dynamic_axes and options.dynamic_shapes:
        raise UsageError("expected dynamic_shapes or dynamic_axes, got both")
    if options.f is not None:
        if options.path is not None:
            raise UsageError("expected path or f, got both")
        options = replace(options, path=options.f)
    number, habit = _opsets(options.opset)
    _check_paths([], options.path, options)
    how = Tracing(
        options.dynamic_shapes, number, tuple(options.input_names), tuple(options.output_names), options.dynamic_axes
    )
    traced = trace(module, options.args, options.kwargs, how, eval=options.eval)
    written = traced.model.opset_imports.get("", 0)
    if number is not None and written != number:
        note = f"torch's exporter wrote operator set {written}, and not {number}"
        traced = replace(traced, notes=(*traced.notes, note))
    return _optimized(module, traced, options.path, replace(options, opset=habit), options)


def _opsets(opset: int | str | None) -> tuple[int | None, str]:
    """Return the opset to ask torch's exporter for, and the word of ``Options.opset`` for what may follow."""
    if opset is None or opset in ("", "auto", "keep"):
        return None, opset or ""
    try:
        return int(opset), "keep"
    except ValueError:
        raise UsageError(f"expected opset as auto, keep or a number, got {opset!r}") from None


def optimize_torch(model: TorchModel | str | os.PathLike[str], options: OptimizeArguments) -> Result:
    """Do what ``normfold.optimize`` does, for what torch has to open."""
    path = Path(model) if isinstance(model, (str, os.PathLike)) else None
    _check_paths([] if path is None else [path], options.output, options)
    opened = _opened(model, options.args, options.trust_pickle)
    traced = trace(opened, options.args)
    if path is not None:
        traced.model.graph.name = str(path)  # what a report calls it
    return _optimized(opened, traced, options.output, options, options)


def _check_paths(reads: list[Path], output: str | os.PathLike[str] | None, writing: WriteArguments) -> None:
    check_paths(reads, [*([] if output is None else [output]), *writing.reports])


def _optimized(
    model: TorchModel,
    traced: Traced,
    path: str | os.PathLike[str] | None,
    options: Options,
    writing: WriteArguments,
) -> Result:
    """Optimize the export, with the eager module as a second reference of its proof, and write it."""
    module = model if isinstance(model, torch.nn.Module) else None
    skip, only = selected(traced.model, module, frozenset(options.skip), frozenset(options.only))
    with nullcontext() if module is None else evaluation(module, switch=True):
        result = optimize_with(
            traced.model,
            replace(options, skip=tuple(sorted(skip)), only=tuple(sorted(only))),
            None,
            replace(writing, in_place=False),
            also=partial(_with_eager_module, traced, options),
        )
    result = replace(result, notes=(*traced.notes, *result.notes))
    return result if path is None else result.written(path, writing)


def onnx_model_of(
    model: TorchModel | str | os.PathLike[str], args: Sequence[Any] | torch.Tensor | None, trust_pickle: bool
) -> ir.Model:
    """Export ``model`` without any fold, for ``normfold.inspect``."""
    return trace(_opened(model, args, trust_pickle), args).model


def _opened(
    model: TorchModel | str | os.PathLike[str], args: Sequence[Any] | torch.Tensor | None, trust_pickle: bool
) -> TorchModel:
    if not isinstance(model, (str, os.PathLike)):
        return model
    opened = load_model(Path(model), trust_pickle=trust_pickle)
    if args is None and isinstance(opened, torch.nn.Module):
        raise SourceError(
            f"{model}: a TorchScript archive holds no example; normfold export {model} --input 1x3x224x224"
        )
    return opened


# -- the eager module as reference --------------------------------------------------------------------------------


def _with_eager_module(
    traced: Traced, options: Options, original: onnx.ModelProto, model: onnx.ModelProto, earlier: Verification
) -> Verification:
    """Add the comparison of ``model`` with the eager module to its proof against ``original``, the unfolded export."""
    if traced.eager is None:
        return earlier
    try:
        comparisons, notes = _against(traced, model, options)
    except (ModelRunError, CannotFeedError) as error:
        return replace(earlier, notes=(*earlier.notes, f"the eager module could not be compared: {error}"))
    verdict = earlier.verdict
    if any(compared.noise_dominated for compared in comparisons) and verdict is Equivalence.EQUIVALENT:
        verdict = Equivalence.INCONCLUSIVE
        notes = (*notes, "the module's own rounding noise is too large to compare anything with it")
    if not all(compared.passed for compared in comparisons):
        verdict = Equivalence.DIFFERENT
    if verdict is Equivalence.DIFFERENT:
        notes = (*notes, _origin_of_difference(traced, original, options))
    return replace(earlier, verdict=verdict, outputs=(*earlier.outputs, *comparisons), notes=(*earlier.notes, *notes))


def _against(
    traced: Traced, model: onnx.ModelProto, options: Options
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Compare the module with a file; in float32 where ONNX Runtime cannot run the file's own type."""
    loaded = load(model)
    try:
        return _compared(traced, model, loaded, options)
    except ModelRunError as error:
        if error.kind is FailureKind.TIME or not can_retype(loaded):
            raise
    comparisons, notes = _compared(traced, model, retyped(loaded), options)
    return comparisons, (
        *notes,
        "the file and the eager module were run in float32: ONNX Runtime lacks the file's type",
    )


def _compared(
    traced: Traced, model: onnx.ModelProto, loaded: LoadedModel, options: Options
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    assert traced.eager is not None
    with OrtRunner(loaded, OptimizationLevel.DEFAULT) as runner:
        return compare(
            traced.eager,
            _session_run(runner, model, loaded, traced),
            feeds(traced.call, traced.program, options.seed),
            [output.name for output in model.graph.output],
            rtol=options.rtol,
            atol=options.atol,
        )


def _origin_of_difference(traced: Traced, original: onnx.ModelProto, options: Options) -> str:
    """Say whether the export differs from the module already before any fold."""
    try:
        comparisons, _ = _against(traced, original, options)
    except (ModelRunError, CannotFeedError) as error:
        return f"the unfolded export could not be compared with the module ({error})"
    if all(compared.passed for compared in comparisons):
        return f"the unfolded export equals the {Stage.EAGER.value}, so a fold or the runtime makes the difference"
    return f"the unfolded export differs from the {Stage.EAGER.value} as well, so torch's exporter makes the difference"


class CannotFeedError(Exception):
    """The arguments of the module are not the inputs of the graph."""


def _session_run(runner: Runner, model: onnx.ModelProto, loaded: LoadedModel, traced: Traced) -> EagerRun:
    """Return a function that calls a session over ``loaded``, which is ``model`` or a copy of it in other types."""
    kinds = {value.name: _kind_of(value) for value in loaded.inputs}
    outputs = {value.name: _kind_of(value) for value in model.graph.output}

    def run(call: Call) -> list[torch.Tensor]:
        tensors = [as_real(tensor) for tensor in tensors_of((call.args, _in_order(call.kwargs, traced)))]
        if len(tensors) != len(kinds):
            raise CannotFeedError(f"its arguments hold {len(tensors)} tensors, the graph has {len(kinds)} inputs")
        feed = {name: array_of(tensor).astype(kinds[name]) for name, tensor in zip(kinds, tensors, strict=True)}
        values = runner.run(feed, list(outputs))
        return [tensor_of(_not_widened(value, kind)) for value, kind in zip(values, outputs.values(), strict=True)]

    return run


def _not_widened(value: Any, kind: np.dtype[Any]) -> np.ndarray:
    """Return a value in the file's own type, but for digits that its run did not have."""
    array = np.asarray(value)
    return array if array.dtype == np.float32 and kind == np.float64 else array.astype(kind)


def _kind_of(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _in_order(kwargs: Mapping[str, Any], traced: Traced) -> dict[str, Any]:
    """Keyword arguments in the order of the trace."""
    spec = traced.program.call_spec.in_spec if traced.program is not None else None
    names = list(spec.child(1).context) if spec is not None and spec.num_children == 2 else []
    if sorted(names) != sorted(kwargs):
        return dict(kwargs)
    return {name: kwargs[name] for name in names}
