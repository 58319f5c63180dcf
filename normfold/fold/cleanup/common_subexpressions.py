"""Operators that do again what the operators before them, or their twins, have done."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.graph.editor import Editor, Names
from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader, attribute, constant_attribute

_SMALL = 64  # elements
_REGROUPS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def reshape_once(model: ir.Model, reader: GraphReader) -> None:
    """A Reshape behind operators that only group the elements anew reads what they read."""
    _reshape_instead_of_units(model, reader)
    for node in reader.graph:
        if node.op_type != "Reshape" or not is_standard(node) or len(node.inputs) < 2:
            continue
        target = reader.constant(node.inputs[1])
        if target is None or not np.all(target):
            continue  # 0 stands for a size of the input, which would be another one
        while (before := _regrouped(node.inputs[0])) is not None:
            node.replace_input_with(0, before)


def _reshape_instead_of_units(model: ir.Model, reader: GraphReader) -> None:
    """A Transpose that only moves axes of size 1 is a Reshape, where that takes the place of one before it."""
    editor: Editor | None = None
    for node in list(reader.graph):
        if node.op_type != "Transpose" or not is_standard(node) or node.inputs[0] is None:
            continue
        before, sizes = node.inputs[0].producer(), reader.shape(node.outputs[0])
        if before is None or before.op_type not in _REGROUPS or not reader.holds(before) or sizes is None:
            continue
        unknown = [size for size in sizes if not isinstance(size, int) or size == 0]
        if len(node.inputs[0].uses()) > 1 or len(unknown) > 1 or 0 in unknown or not _moves_only_units(node):
            continue
        editor = editor or Editor(reader, Names(model))
        target = np.asarray([size if isinstance(size, int) else -1 for size in sizes], np.int64)
        node.op_type = "Reshape"
        node.attributes.clear()
        node.resize_inputs(2)
        node.replace_input_with(1, editor.constant(target, ir.DataType.INT64, f"{node.outputs[0].name}_shape"))


def _regrouped(value: ir.Value | None) -> ir.Value | None:
    """What the producer of ``value`` reads, if ``value`` holds the same elements in the same order."""
    node = None if value is None else value.producer()
    if node is None or not is_standard(node) or not node.inputs:
        return None
    if any(found.is_ref() for found in node.attributes.values()):
        return None
    keeps = node.op_type in _REGROUPS
    return node.inputs[0] if keeps or (node.op_type == "Transpose" and _moves_only_units(node)) else None


def _moves_only_units(node: ir.Node) -> bool:
    """Transpose of axes of which all but those of size 1 stay in order."""
    perm, value = attribute(node, "perm", None), node.inputs[0]
    if perm is None or value is None or value.shape is None:
        return False
    longer = [axis for axis in perm if value.shape[axis] != 1]
    return longer == sorted(longer)


def compute_once(graph: ir.Graph | ir.Function) -> list[tuple[ir.Node, ir.Node]]:
    """An operator that computes what one before it has computed leaves its readers to that one; each with its twin."""
    found: list[tuple[ir.Node, ir.Node]] = []
    known: dict[tuple[object, ...], list[ir.Node]] = {}
    for node in graph:
        if len(node.outputs) != 1 or not node.inputs or not is_standard(node) or _is_random(node):
            continue
        duplicates = known.setdefault((node.op_type, *map(_identity, node.inputs)), [])
        original = next((each for each in duplicates if _same_attributes(each, node)), None)
        if original is None:
            duplicates.append(node)
        elif not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(original.outputs[0])
            found.append((node, original))
    return found


def _identity(value: ir.Value | None) -> object:
    """The value itself, or what a small constant holds: exporters write one for each reader."""
    if value is None or value.is_graph_input():
        return value
    maker, stored = value.producer(), value.const_value
    found = constant_attribute(maker) if maker is not None and maker.op_type == "Constant" else None
    if stored is not None and stored.size <= _SMALL and stored.dtype is not ir.DataType.STRING:
        found = stored.numpy(), stored.dtype
    if found is None or found[0].size > _SMALL:
        return value
    array, dtype = found
    return dtype, array.shape, array.tobytes()


def _is_random(node: ir.Node) -> bool:
    holds_graph = any(found.type in _GRAPHS for found in node.attributes.values())
    return holds_graph or node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial", "Dropout")


def _same_attributes(one: ir.Node, other: ir.Node) -> bool:
    return one.attributes.keys() == other.attributes.keys() and all(
        _same_attribute(found, other.attributes[name]) for name, found in one.attributes.items()
    )


def _same_attribute(one: ir.Attr, other: ir.Attr) -> bool:
    """Of equal type and value; of a function, parameters of one name."""
    if one.is_ref() or other.is_ref():
        return (one.ref_attr_name, one.type) == (other.ref_attr_name, other.type)
    return ir.serde.serialize_attribute(one) == ir.serde.serialize_attribute(other)
