"""Whether two models have the same interface."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import onnx

from normfold.runtime.loaded_model import LoadedModel


def other_inputs(a: LoadedModel, b: LoadedModel) -> str:
    """Return why ``b`` cannot be given the inputs of ``a``, and what to do; empty when it can."""
    found = _other_names("inputs", (value.name for value in a.inputs), (value.name for value in b.inputs))
    if found:
        return found
    types = {value.name: _type_name(value) for value in b.inputs}
    for value in a.inputs:
        wanted, got = _type_name(value), types[value.name]
        if wanted != got and wanted and got:
            return f"expected the input {value.name} as {wanted}, got {got}; put a Cast behind it to compare the rest"
    for name, one, other in _input_shapes(a, b):
        if one is not None and other is not None and not _fit(one, other):
            return f"expected the input {name} as {_text(one)}, got {_text(other)}; no input fits both models"
    return ""


def at_common_sizes(a: LoadedModel, b: LoadedModel) -> tuple[LoadedModel, list[str]]:
    """Return ``a`` for inputs that ``b`` takes too, and which sizes only ``b`` has fixed, in words."""
    fixed = {name: other for name, one, other in _input_shapes(a, b) if other is not None and _is_stricter(other, one)}
    if not fixed:
        return a, []
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(a.skeleton)
    for value in skeleton.graph.input:
        for axis, size in enumerate(fixed.get(value.name, ())):
            dims = value.type.tensor_type.shape.dim
            dim = dims[axis] if axis < len(dims) else dims.add()
            if size is not None:
                dim.dim_value = size
    return replace(a, skeleton=skeleton), [f"{name} as {_text(sizes)}" for name, sizes in fixed.items()]


def other_outputs(a: LoadedModel, b: LoadedModel) -> str:
    """Return which outputs the models do not share; empty when a caller sees no difference."""
    return _other_names("outputs", a.output_names, b.output_names)


def _other_names(what: str, a: Iterable[str], b: Iterable[str]) -> str:
    ours, theirs = sorted(set(a)), sorted(set(b))
    return "" if ours == theirs else f"expected the {what} {', '.join(ours)}, got {', '.join(theirs)}; rename them"


def _type_name(value: onnx.ValueInfoProto) -> str:
    """Return the element type of a tensor, of anything else what kind of value it is.

    Empty where nothing is declared.
    """
    element = value.type.tensor_type.elem_type
    if element:
        return str(onnx.TensorProto.DataType.Name(element)).lower()
    return "" if value.type.HasField("tensor_type") else value.type.WhichOneof("value") or ""


_InputSizes = tuple[int | None, ...]


def _input_shapes(a: LoadedModel, b: LoadedModel) -> Iterable[tuple[str, _InputSizes | None, _InputSizes | None]]:
    """Yield the name and both shapes of each input; None for a free size, and for a shape that is not declared."""
    theirs = {value.name: value for value in b.inputs}
    return ((value.name, _sizes(value), _sizes(theirs[value.name])) for value in a.inputs if value.name in theirs)


def _sizes(value: onnx.ValueInfoProto) -> _InputSizes | None:
    tensor = value.type.tensor_type
    dims = (dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return tuple(dims) if tensor.HasField("shape") else None


def _fit(one: _InputSizes, other: _InputSizes) -> bool:
    return len(one) == len(other) and all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def _is_stricter(sizes: _InputSizes, than: _InputSizes | None) -> bool:
    return than is None or any(own is not None and free is None for own, free in zip(sizes, than, strict=True))


def _text(sizes: _InputSizes) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes) or "a scalar"
