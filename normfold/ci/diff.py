"""What changed from one model to another: norms, operators, weights, opset, interface. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.ci.lock import states
from normfold.errors import SourceError
from normfold.files.source import ModelLike, Source
from normfold.options import InspectArguments
from normfold.pipeline import inspect_with
from normfold.report.report import Report

SECTIONS = ("interface", "opset", "norms", "operators", "weights")


@dataclass(frozen=True)
class Change:
    """One thing that differs: in which section, its name, and how it is in either model; "" where it is not there."""

    section: str
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Difference:
    """Two models by their reports, and every change from the first to the second, section by section, by name."""

    a: Report
    b: Report
    changes: tuple[Change, ...]


def difference_between(first: ModelLike, second: ModelLike, options: InspectArguments) -> Difference:
    """Compare two models, read from paths or given. SourceError for what is no valid model."""
    a, b = inspect_with(first, options), inspect_with(second, options)
    reports = a.report(), b.report()
    pairs = {
        "interface": (_interface(a.source), _interface(b.source)),
        "opset": (_opset(a.source), _opset(b.source)),
        "norms": (_norms(reports[0]), _norms(reports[1])),
        "operators": (_operators(reports[0]), _operators(reports[1])),
    }
    named = (change for section, (before, after) in pairs.items() for change in _changes(section, before, after))
    return Difference(*reports, (*named, *_weight_changes(a.source, b.source)))


def _changes(section: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            yield Change(section, name, old, new)


def _interface(source: Source) -> dict[str, str]:
    graph = source.proto.graph
    given = {tensor.name for tensor in graph.initializer} if source.proto.ir_version < 4 else set()
    inputs = {f"input {value.name}": _type(value.type) for value in graph.input if value.name not in given}
    return inputs | {f"output {value.name}": _type(value.type) for value in graph.output}


def _type(kind: onnx.TypeProto) -> str:
    """``float32[batch,3,224,224]``; other kinds by their name."""
    which = kind.WhichOneof("value")
    if which != "tensor_type":
        return str(which or "unknown")
    tensor = kind.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    name = {"float": "float32", "double": "float64"}.get(name, name)
    if not tensor.HasField("shape"):
        return f"{name}[...]"
    sizes = (str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim)
    return f"{name}[{','.join(sizes)}]"


def _opset(source: Source) -> dict[str, str]:
    sets = {entry.domain or "ai.onnx": str(entry.version) for entry in source.proto.opset_import}
    return sets | {"IR version": str(source.proto.ir_version)}


def _norms(report: Report) -> dict[str, str]:
    """Return the state of each norm and affine, but of biases and the like, which are no concern of a reader."""
    rows = zip(states(report).items(), report.verdicts, strict=True)
    return dict(row for row, verdict in rows if verdict.finding.is_norm or not verdict.is_settled)


def _operators(report: Report) -> dict[str, str]:
    return {name: str(count) for name, count in report.before.operators if name != "Constant"}


# -- weights ------------------------------------------------------------------------------------------------------


def _weight_changes(a: Source, b: Source) -> Iterator[Change]:
    """By name; a weight of equal type and shape says how far it moved."""
    before, after = _weights(a), _weights(b)
    for name in sorted({*before, *after}):
        if name not in before or name not in after:
            yield Change("weights", name, *(_spelled(group.get(name)) for group in (before, after)))
            continue
        old, new = _array(before[name], a), _array(after[name], b)
        if (old.dtype, old.shape) != (new.dtype, new.shape):
            yield Change("weights", name, _spelled(before[name]), _spelled(after[name]))
        elif old.tobytes() != new.tobytes():
            yield Change("weights", name, _spelled(before[name]), _moved(old, new))


def _weights(source: Source) -> dict[str, onnx.TensorProto]:
    """Return initializers by name, and the tensors of Constant nodes by what they make."""
    graph = source.proto.graph
    found = {tensor.name: tensor for tensor in graph.initializer}
    constants = (node for node in graph.node if node.op_type == "Constant" and node.output)
    made = {node.output[0]: entry.t for node in constants for entry in node.attribute if entry.name == "value"}
    return found | made


def _spelled(tensor: onnx.TensorProto | None) -> str:
    if tensor is None:
        return ""
    kind = onnx.TypeProto()
    kind.tensor_type.elem_type = tensor.data_type
    kind.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension(dim_value=size) for size in tensor.dims)
    return _type(kind)


def _array(tensor: onnx.TensorProto, source: Source) -> np.ndarray[Any, Any]:
    try:
        return numpy_helper.to_array(tensor, str(source.folder or ""))
    except (ValueError, TypeError, OSError) as error:
        raise SourceError(f"{source.name}: the values of tensor {tensor.name!r} cannot be read: {error}") from error


def _moved(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any]) -> str:
    if old.dtype.kind not in "fiub" and old.dtype.name not in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return "other values"
    with np.errstate(all="ignore"):  # a weight may hold infinities, and their difference is no number
        distance = np.abs(new.astype(np.float64) - old.astype(np.float64))
        scale = float(np.max(np.abs(old.astype(np.float64)), initial=0.0))
    count = int(np.count_nonzero(distance != 0))
    worst = float(np.nanmax(distance, initial=0.0))
    relative = f", {worst / scale:.3g} of its largest" if scale and np.isfinite(scale) else ""
    return f"{count} of {old.size} values moved by up to {worst:.3g}{relative}"
