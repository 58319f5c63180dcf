"""Remove Reshapes and Transposes whose work the next Reshape does as well."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.graph.editor import Editor, UniqueNames, stamp
from normfold.graph.operators import RESHAPES, is_standard
from normfold.graph.reader import GraphReader, attribute, has_parameters, name_of


def reshape_once(model: ir.Model, reader: GraphReader) -> None:
    """Let a Reshape behind operators that only regroup the elements read what they read."""
    _reshape_instead(model, reader)
    for node in reader.graph:
        if node.op_type != "Reshape" or not is_standard(node) or len(node.inputs) < 2:
            continue
        target = reader.constant(node.inputs[1])
        if target is None or not np.all(target):
            continue  # 0 stands for a size of the input, which would be another one
        while (before := _regrouped(node.inputs[0])) is not None:
            node.replace_input_with(0, before)


def _reshape_instead(model: ir.Model, reader: GraphReader) -> None:
    """Make an operator that only regroups the elements a Reshape, where that takes the place of one before it."""
    editor = Editor(reader, UniqueNames(model))
    for node in list(reader.graph):
        if node.op_type == "Reshape" or _only_regroups(node) is None:
            continue
        before, sizes = node.inputs[0].producer(), reader.shape(node.outputs[0])  # type: ignore[union-attr]  # it regroups it
        if before is None or before.op_type not in RESHAPES or not reader.holds(before) or sizes is None:
            continue
        unknown = [size for size in sizes if not isinstance(size, int)]
        if len(before.outputs[0].uses()) > 1 or len(unknown) > 1 or 0 in sizes:
            continue
        target = np.asarray([size if isinstance(size, int) else -1 for size in sizes], np.int64)
        node.op_type = "Reshape"
        node.attributes.clear()
        node.resize_inputs(2)
        node.replace_input_with(1, editor.constant(target, ir.DataType.INT64, f"{node.outputs[0].name}_shape"))
        stamp(node, "merge", name_of(before))


def _regrouped(value: ir.Value | None) -> ir.Value | None:
    """Return what the producer of ``value`` reads, if ``value`` holds the same elements in the same order."""
    node = None if value is None else value.producer()
    return None if node is None else _only_regroups(node)


def _only_regroups(node: ir.Node) -> ir.Value | None:
    """Return the input of an operator that gives the same elements in the same order, None for any other operator."""
    if not is_standard(node) or not node.inputs or has_parameters(node):
        return None
    keeps = node.op_type in RESHAPES or (node.op_type == "Transpose" and _moves_only_units(node))
    return node.inputs[0] if keeps else None


def _moves_only_units(node: ir.Node) -> bool:
    """Transpose of axes of which all but those of size 1 stay in order."""
    perm, value = attribute(node, "perm", None), node.inputs[0]
    if perm is None or value is None or value.shape is None:
        return False
    longer = [axis for axis in perm if value.shape[axis] != 1]
    return longer == sorted(longer)
