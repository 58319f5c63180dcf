"""Whether two models have the same interface."""

from __future__ import annotations

import onnx

from normfold.runtime.loaded_model import LoadedModel


def interface_difference(a: LoadedModel, b: LoadedModel) -> str:
    """How the inputs or outputs differ, and what to do; empty when a caller sees no difference."""
    for what, ours, theirs in (
        ("inputs", {v.name for v in a.inputs}, {v.name for v in b.inputs}),
        ("outputs", set(a.output_names), set(b.output_names)),
    ):
        if ours != theirs:
            return f"expected the {what} {', '.join(sorted(ours))}, got {', '.join(sorted(theirs))}; rename them"
    types = {value.name: _type_name(value) for value in b.inputs}
    for value in a.inputs:
        wanted, got = _type_name(value), types[value.name]
        if wanted != got and wanted and got:
            return f"expected the input {value.name} as {wanted}, got {got}; put a Cast behind it to compare the rest"
    return ""


def _type_name(value: onnx.ValueInfoProto) -> str:
    """Return the element type of a tensor, of anything else what kind of value it is.

    Empty where nothing is declared.
    """
    element = value.type.tensor_type.elem_type
    if element:
        return str(onnx.TensorProto.DataType.Name(element)).lower()
    return "" if value.type.HasField("tensor_type") else value.type.WhichOneof("value") or ""
