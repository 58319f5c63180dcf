"""Whether two models have the same interface."""

from __future__ import annotations

from collections.abc import Iterable

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
    return ""


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
