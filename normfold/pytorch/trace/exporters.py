"""nn.Module, torch.export.ExportedProgram or torch.onnx.ONNXProgram -> onnx_ir.Model, with its norms still in it.

The exporter runs without its own optimizer: it would fold BatchNorms itself and lose which module they came from.
The model stays in memory; its initializers share the module's weights. Where torch.export cannot trace the module,
the TorchScript exporter is tried, and a note says so. Source: torch.onnx.export of torch 2.6 and later.
"""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeGuard

import onnx_ir as ir
import torch

from normfold.errors import SourceError, UsageError
from normfold.pytorch.eager.call import Call, evaluation
from normfold.pytorch.eager.copies import one_module_a_path
from normfold.pytorch.eager.outputs import TensorOutputs
from normfold.pytorch.eager.parametrizations import plain_copy
from normfold.pytorch.trace.exporter_cleanup import clean_up, name_outputs, restore_scopes

TorchModel = torch.nn.Module | torch.export.ExportedProgram | torch.onnx.ONNXProgram


@dataclass(frozen=True)
class Tracing:
    """How to export, as torch names it.

    ``dynamic_shapes`` is that of torch.export.export; ``opset`` None takes the exporter's; ``input_names``,
    ``output_names`` and ``dynamic_axes`` are those of torch.onnx.export. With ``fallback`` the TorchScript exporter is
    tried where torch.export cannot trace a module.
    """

    dynamic_shapes: Any = None
    opset: int | None = None
    input_names: Sequence[str] = ()
    output_names: Sequence[str] = ()
    dynamic_axes: Any = None
    fallback: bool = True

    @property
    def names(self) -> dict[str, Any]:
        """The keyword arguments of torch.onnx.export that are given for names."""
        named = {
            "input_names": list(self.input_names),
            "output_names": list(self.output_names),
            "dynamic_axes": self.dynamic_axes,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, eq=False)
class Traced:
    """A module as an ONNX model, and how to call both with the same values.

    ``model``: the untouched export. ``eager``: the module itself, None when only the ONNX model is at hand.
    ``call``: the arguments of the trace. ``program``: what torch.export made, None for the TorchScript exporter.
    ``notes``: what the reader of the report must know.
    """

    model: ir.Model
    eager: Callable[..., Any] | None
    call: Call
    program: torch.export.ExportedProgram | None
    notes: tuple[str, ...] = ()


def is_torch_model(model: object) -> TypeGuard[TorchModel]:
    """Whether ``trace`` takes it."""
    return isinstance(model, (torch.nn.Module, torch.export.ExportedProgram, torch.onnx.ONNXProgram))


def trace(
    model: TorchModel,
    args: Sequence[Any] | torch.Tensor | Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    how: Tracing = Tracing(),
    *,
    eval: bool = False,  # the word of nn.Module.eval
) -> Traced:
    """Export ``model`` to an ONNX model in memory.

    ``args`` and ``kwargs`` are those of ``forward``; an ExportedProgram or ONNXProgram brings its own. A module in
    training mode is refused with UsageError, or, with ``eval=True``, switched for the export and restored.
    SourceError when torch.export cannot trace the module and, with ``Tracing.fallback``, nor can the TorchScript
    exporter.
    """
    call = _as_call(args, kwargs)
    if isinstance(model, torch.onnx.ONNXProgram):
        return _from_onnx_program(model, call)
    if isinstance(model, torch.export.ExportedProgram):
        call = call or _example_call(model)
        program = _export(model, call or Call(), Tracing(opset=how.opset))
        return Traced(_model_of(program), eager_of(model), call or Call(), model)
    if call is None:
        raise UsageError(
            "expected args (--input) for an nn.Module: the tensors, or a tuple of them, that forward() takes"
        )
    require_weights(model)
    with evaluation(model, eval):
        traced = _from_module(model, call, how)
    traced.model.graph.name = type(model).__name__  # what a report calls it
    return traced


def _as_call(
    args: Sequence[Any] | torch.Tensor | Mapping[str, Any] | None, kwargs: Mapping[str, Any] | None
) -> Call | None:
    if args is None and kwargs is None:
        return None
    if isinstance(args, (torch.Tensor, Mapping)):  # one positional argument
        args = (args,)
    if args is not None and not isinstance(args, (tuple, list)):
        raise UsageError(f"expected args as a tensor or a tuple of arguments, got {type(args).__name__}")
    return Call(tuple(args or ()), dict(kwargs or {}))


def require_weights(module: torch.nn.Module) -> None:
    """Refuse a module without values: on the meta device, or lazy, which draws its weights in its first call."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise UsageError(
                f"expected a module with weights, but {name} is on the meta device; load its weights first"
            )
        if torch.nn.parameter.is_lazy(tensor):
            raise UsageError(
                f"expected a module with weights, but {name} is not initialized; call the module once first"
            )


def _from_module(module: torch.nn.Module, call: Call, how: Tracing) -> Traced:
    if isinstance(module, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        model = _script_export(module, call, how)
        return Traced(model, module, call, None, ("a TorchScript module, exported by the TorchScript exporter",))
    target = plain_copy(module)  # forward() may change what the module holds
    one_module_a_path(target)
    outputs = TensorOutputs(target)
    called: set[str] = set()
    for path, part in target.named_modules():
        if path and not isinstance(part, torch.jit.ScriptModule):
            part.register_forward_pre_hook(lambda *_, path=path: called.add(path))
    try:
        program = _export(target, call, how)
    except SourceError as error:
        if not how.fallback or how.dynamic_shapes or how.names:
            raise  # the other exporter would take any dynamic_shapes, and write a file that is wrong for other sizes
        try:
            model = _script_export(target, call, how)
        except SourceError as second:
            raise SourceError(f"neither exporter of torch can export the module; {error}; {second}") from error
        note = f"exported by the TorchScript exporter, because torch.export could not trace the module ({error})"
        return Traced(model, module, call, None, (note,))
    restore_scopes(program.model.graph, called)
    model = _model_of(program)
    if not model.graph.outputs:
        raise SourceError("expected a module that returns tensors, got one whose forward() returns none")
    if not how.output_names:
        name_outputs(model.graph, outputs.names)
    left_out = tuple(f"the output {name or '0'} is no tensor, and left out" for name in outputs.left_out)
    return Traced(model, module, call, program.exported_program, left_out)


def _from_onnx_program(program: torch.onnx.ONNXProgram, call: Call | None) -> Traced:
    """Its model as it is: what the exporter's optimizer did to it is done. The caller's own is not changed."""
    model = program.model.clone()
    clean_up(model)
    exported = program.exported_program
    if exported is None:
        return Traced(model, None, call or Call(), None, ("an ONNXProgram without its module",))
    return Traced(model, eager_of(exported), call or _example_call(exported) or Call(), exported)


def eager_of(program: torch.export.ExportedProgram) -> Callable[..., Any]:
    """Return a function that calls the program; it is built at the first call, because that costs seconds."""
    module: list[Callable[..., Any]] = []

    def run(*args: Any, **kwargs: Any) -> Any:
        if not module:
            module.append(program.module())
        return module[0](*args, **kwargs)

    return run


def _example_call(program: torch.export.ExportedProgram) -> Call | None:
    if not program.example_inputs:
        return None
    args, kwargs = program.example_inputs
    return Call(tuple(args), dict(kwargs))


# -- the exporters ------------------------------------------------------------------------------------------------


def _export(model: torch.nn.Module | torch.export.ExportedProgram, call: Call, how: Tracing) -> torch.onnx.ONNXProgram:
    try:
        with (
            warnings.catch_warnings(),
            torch.no_grad(),
            _only_errors_logged("torch"),
            _one_registry(),
            redirect_stderr(io.StringIO()),  # torch.export prints the whole graph where a first attempt of it fails
        ):
            warnings.simplefilter("ignore")  # the exporter's own deprecations, nothing about the model
            program = torch.onnx.export(
                model,
                _positional(call),
                kwargs=dict(call.kwargs) or None,
                dynamic_shapes=how.dynamic_shapes,
                opset_version=how.opset,
                dynamo=True,
                optimize=False,
                **how.names,
                verbose=False,
            )
    except Exception as error:  # tracing runs the user's forward(), which may raise anything
        raise SourceError(f"torch.export: {_cause(error)}") from error
    if program is None:
        raise SourceError("torch.onnx.export(dynamo=True): expected an ONNXProgram, got None")
    return program


def _positional(call: Call) -> tuple[Any, ...]:
    """Return the arguments as torch.onnx.export takes them: a dict at the end stands for keyword arguments there."""
    return (*call.args, {}) if call.args and isinstance(call.args[-1], dict) and not call.kwargs else call.args


def _model_of(program: torch.onnx.ONNXProgram) -> ir.Model:
    clean_up(program.model)
    return program.model


def _script_export(module: torch.nn.Module, call: Call, how: Tracing) -> ir.Model:
    """Run the TorchScript exporter with every BatchNorm left in, to a temporary file, as it writes only files."""
    axes, names = _dynamic_axes(how.dynamic_shapes, call)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            with warnings.catch_warnings(), torch.no_grad(), _without_log():
                warnings.simplefilter("ignore")  # it announces its own deprecation
                torch.onnx.export(
                    module,
                    _positional(call),
                    path,
                    kwargs=dict(call.kwargs) or None,
                    dynamo=False,
                    training=torch.onnx.TrainingMode.PRESERVE,
                    do_constant_folding=False,
                    opset_version=how.opset,
                    input_names=names,
                    dynamic_axes=axes,
                )
        except Exception as error:  # tracing runs the user's forward(), which may raise anything
            raise SourceError(f"TorchScript: {_cause(error)}") from error
        model = ir.load(path)
        ir.external_data.load_to_model(model)
    return model


@contextmanager
def _only_errors_logged(name: str) -> Iterator[None]:
    """Keep warnings of the logger ``name`` (such as packages that are not installed) away from the report on stderr."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Give a class or module of torch another attribute for a while."""
    own = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)


def _one_registry() -> AbstractContextManager[None]:
    """Let torch's exporter use its table of operators again."""
    from torch.onnx._internal.exporter import _registration  # takes a second

    registry = _registration.ONNXRegistry
    return _replaced(registry, "from_torchlib", staticmethod(partial(_made_once, registry.from_torchlib)))


@cache
def _made_once(make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Make the table. It asks 500 functions for their domain alone, for which it would parse their source."""
    from onnxscript import values

    with _replaced(values.TracedOnnxFunction, "function_ir", property(attrgetter("opset"))):
        return make(*args, **kwargs)


def _without_log() -> AbstractContextManager[None]:
    """Where it fails, the TorchScript exporter writes its graph to the standard output, which is the report's.

    It switches its log on itself, so the function that logs has to be another one for a while.
    """
    return _replaced(torch._C, "_jit_onnx_log", lambda *_: None)


def _dynamic_axes(dynamic_shapes: Any, call: Call) -> tuple[dict[str, dict[int, str]] | None, list[str] | None]:
    """``dynamic_shapes`` as the TorchScript exporter's dynamic_axes, for tensors as positional arguments."""
    if not dynamic_shapes:
        return None, None
    if call.kwargs or not all(isinstance(value, torch.Tensor) for value in call.args):
        raise SourceError("TorchScript: cannot take dynamic_shapes with arguments that are not positional tensors")
    shapes = list(dynamic_shapes.values()) if isinstance(dynamic_shapes, Mapping) else list(dynamic_shapes)
    names = [f"input_{index}" for index in range(len(call.args))]
    axes: dict[str, dict[int, str]] = {}
    for name, shape in zip(names, shapes, strict=False):
        pairs = shape.items() if isinstance(shape, Mapping) else enumerate(shape or ())
        axes[name] = {
            axis: _dimension(dim, name, axis) for axis, dim in pairs if dim is not None and not isinstance(dim, int)
        }
    return axes, names


def _dimension(dim: Any, name: str, axis: int) -> str:
    if isinstance(dim, str):
        return dim
    return dim.__name__ if isinstance(dim, type) else str(getattr(dim, "__name__", f"{name}_{axis}"))


def _cause(error: BaseException) -> str:
    """Return the first line of the innermost error: exporters wrap the one that says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
