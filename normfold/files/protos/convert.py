"""Convert a ModelProto to an onnx_ir.Model and back, with everything that a ModelProto can hold and onnx_ir cannot.

* Map types (the outputs of scikit-learn classifiers) have no counterpart; they are set aside, and put back by name.
* Before IR version 4 every initializer had to be listed among the graph inputs, and was a constant all the same. The
  ir.Model lists only what a caller must feed; the list is completed on the way back.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from normfold.errors import SourceError
from normfold.files.protos.mapped import MappedTensor, Mappings

_TYPES = "normfold.types"  # in Model.meta: the types of values that onnx_ir cannot express


def to_ir(proto: onnx.ModelProto, folder: Path | None = None, mappings: Mappings | None = None) -> ir.Model:
    """Return a new ir.Model. Raises SourceError if onnx_ir cannot express it.

    External tensors lie in ``folder``, in files that are mapped once, those that ``mappings`` has not already.
    """
    unsupported = {value.name: value.type for value in _values(proto.graph) if _has_map(value.type)}
    if unsupported:
        stripped = onnx.ModelProto()
        stripped.CopyFrom(proto)
        for value in _values(stripped.graph):
            if value.name in unsupported:
                value.ClearField("type")
    else:
        stripped = proto
    try:
        with _collector_paused():
            model = ir.from_proto(stripped)
    except (ir.serde.SerdeError, NotImplementedError, ValueError, TypeError) as error:
        raise SourceError(f"onnx-ir cannot express the model: {_root_cause(error)}") from error
    if folder is not None:
        _map_weights(model, folder, Mappings() if mappings is None else mappings)
    model.meta[_TYPES] = unsupported
    if proto.ir_version < 4:
        fed = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
        model.graph.inputs[:] = fed
    return model


def _map_weights(model: ir.Model, folder: Path, mappings: Mappings) -> None:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value.base_dir = folder
                value.const_value = MappedTensor(value.const_value, mappings)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector: among a million new objects, none of them garbage, it takes half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return the ModelProto of ``model``, with everything that ``to_ir`` had to set aside.

    Raises SourceError for texts that are no UTF-8: protobuf reads them and cannot write them.
    """
    try:
        proto = ir.to_proto(model)
    except ir.serde.SerdeError as error:
        raise SourceError(f"onnx-ir cannot write the model: {_root_cause(error)}") from error
    unsupported = model.meta.get(_TYPES) or {}
    for value in _values(proto.graph) if unsupported else ():
        if value.name in unsupported:
            value.type.CopyFrom(unsupported[value.name])
    if proto.ir_version < 4:
        _list_initializers(proto.graph)
    return proto


def _list_initializers(graph: onnx.GraphProto) -> None:
    listed = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in listed:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    inputs = {value.name for value in graph.input}
    inner = [value for value in graph.value_info if value.name not in inputs]
    del graph.value_info[:]
    graph.value_info.extend(inner)


def _values(graph: onnx.GraphProto) -> Iterator[onnx.ValueInfoProto]:
    parts: Iterable[Iterable[onnx.ValueInfoProto]] = (graph.input, graph.output, graph.value_info)
    for part in parts:
        yield from part


def _has_map(kind: onnx.TypeProto) -> bool:
    which = kind.WhichOneof("value")
    if which == "sequence_type":
        return _has_map(kind.sequence_type.elem_type)
    if which == "optional_type":
        return _has_map(kind.optional_type.elem_type)
    return bool(which == "map_type")


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
