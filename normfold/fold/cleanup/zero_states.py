"""Take away initial states of LSTM, GRU and RNN that are zeros, which is what these operators start from anyway.

Exporters compute them from the batch size: ``Expand(0, shape)`` behind a chain of Shape, Slice and Concat.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.graph.editor import Editor
from normfold.graph.reader import GraphReader, attribute, has_parameters
from normfold.operators.table import is_standard

_STATES = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}  # the inputs that hold initial states
_DEPTH = 16  # operators that the search for zeros follows
# Operators whose output has elements of their first input only, or of all their inputs.
_OF_FIRST = (
    *("Expand", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Tile"),
    *("Slice", "Split", "Gather", "GatherElements", "GatherND", "Identity", "Cast"),
)
_OF_ALL = ("Concat", "Add", "Sub", "Sum")


def drop_zero_states(editor: Editor) -> None:
    """Remove the initial states of a graph that are zeros; what only served to make them is dead afterwards."""
    for node in editor.reader.graph:
        if node.op_type not in _STATES or not is_standard(node):
            continue
        for index in _STATES[node.op_type]:
            if index < len(node.inputs) and is_zero(editor.reader, node.inputs[index]):
                node.replace_input_with(index, None)
        while node.inputs and node.inputs[-1] is None:
            node.resize_inputs(len(node.inputs) - 1)


def is_zero(reader: GraphReader, value: ir.Value | None, depth: int = _DEPTH) -> bool:
    """Return whether every element of ``value`` is 0, whatever its shape is when the model runs."""
    if value is None or depth == 0:
        return False
    node = value.producer()
    if node is None or node.op_type == "Constant":
        stored = reader.constant(value)
        return stored is not None and stored.dtype.kind in "fiub" and not stored.any()
    if not is_standard(node) or has_parameters(node):
        return False
    if node.op_type == "ConstantOfShape":
        filling = attribute(node, "value", None)
        return filling is None or not np.any(filling.numpy())
    parts = node.inputs[:1] if node.op_type in _OF_FIRST else node.inputs if node.op_type in _OF_ALL else ()
    return bool(parts) and all(is_zero(reader, each, depth - 1) for each in parts)
