"""Let one Slice take what two in a row take along different axes: the elements are copied once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.findings.rules import MERGE
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, stamp
from normfold.graph.reader import GraphReader, input_at
from normfold.operators.table import is_standard

Integers = npt.NDArray[np.int64]
_AS_INPUTS = 10  # the operator set from which starts, ends, axes and steps are inputs


def slice_once(editor: Editor) -> None:
    """Make each chain of Slices of a graph one, where constants say what they take; those before it are dead then."""
    reader = editor.reader
    if reader.opset < _AS_INPUTS:
        return
    written: dict[bytes, ir.Value] = {}
    for node in list(reader.graph):
        while (pair := _pair(reader, node)) is not None:
            before, columns = pair
            for hint, column in zip(("starts", "ends", "axes", "steps"), columns, strict=True):
                if column.tobytes() not in written:
                    name = f"{node.outputs[0].name}_{hint}"
                    written[column.tobytes()] = editor.constant(column, ir.DataType.INT64, name)
            editor.become(node, "Slice", [before.inputs[0], *(written[column.tobytes()] for column in columns)], {})
            stamp(node, MERGE, name_of(before))


def _pair(reader: GraphReader, node: ir.Node) -> tuple[ir.Node, list[Integers]] | None:
    """Return the Slice before ``node`` that only Slices read, and starts, ends, axes and steps of both."""
    value = node.inputs[0] if node.inputs else None
    before = None if value is None else value.producer()
    if value is None or before is None or not reader.holds(before):
        return None
    first, second = _columns(reader, before), _columns(reader, node)
    if first is None or second is None:
        return None
    if value.is_graph_output() or any(reading.op_type != "Slice" for reading in value.consumers()):
        return None
    joined = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    axes = joined[2]
    if len(set(axes.tolist())) < len(axes) or len(set(np.sign(axes + 0.5))) > 1:
        return None  # an axis twice, or counted from both ends
    return before, joined


def _columns(reader: GraphReader, node: ir.Node) -> list[Integers] | None:
    """Return starts, ends, axes and steps as arrays of integers; None where they are not all constant."""
    if node.op_type != "Slice" or not is_standard(node) or len(node.inputs) < 3:
        return None
    starts, ends = (reader.constant(value) for value in node.inputs[1:3])
    if starts is None or ends is None:
        return None
    columns = [starts, ends]
    for index, default in ((3, np.arange(starts.size)), (4, np.ones(starts.size))):
        value = input_at(node, index)
        found = default if value is None else reader.constant(value)
        if found is None:
            return None
        columns.append(found)
    return [column.astype(np.int64) for column in columns]
