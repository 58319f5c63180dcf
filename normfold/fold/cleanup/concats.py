"""Let a Concat read what another Concat along the same axis joins for it alone: the elements are copied once."""

from __future__ import annotations

import onnx_ir as ir

from normfold.graph.editor import Editor
from normfold.graph.reader import GraphReader, attribute, has_parameters
from normfold.operators.table import is_standard


def join_once(editor: Editor) -> None:
    """Make each chain of Concats of a graph one; those before it are dead afterwards."""
    reader = editor.reader
    for node in reader.graph:
        if not _joins(node):
            continue
        while (parts := [_parts(reader, node, value) for value in node.inputs]) != [[each] for each in node.inputs]:
            flat = [value for part in parts for value in part]
            editor.become(node, "Concat", flat, {"axis": attribute(node, "axis", 1)})


def _parts(reader: GraphReader, node: ir.Node, value: ir.Value | None) -> list[ir.Value | None]:
    """Return what ``value`` is joined of, or ``value`` itself where that must be made for another reader too."""
    before = None if value is None else value.producer()
    if value is None or before is None or not _joins(before) or not reader.holds(before):
        return [value]
    if value.is_graph_output() or len(value.uses()) != 1:  # what is read twice would double the parts at each step
        return [value]
    rank = None if value.shape is None else len(value.shape)
    same = _axis(node, rank) == _axis(before, rank)
    return list(before.inputs) if same else [value]


def _joins(node: ir.Node) -> bool:
    return node.op_type == "Concat" and is_standard(node) and not has_parameters(node)


def _axis(node: ir.Node, rank: int | None) -> int:
    """Return the axis, counted from the front where the rank is known."""
    axis = int(attribute(node, "axis", 1))
    return axis % rank if rank else axis
