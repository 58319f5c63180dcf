"""Remove operators that compute again what an operator before them has computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import onnx_ir as ir

from normfold.fold.affines import AffineIndex
from normfold.fold.graph_rules.change import GraphChange
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor
from normfold.graph.evaluators import constant_attribute
from normfold.graph.reader import GraphReader, attributes_of
from normfold.operators.table import RANDOM, is_standard

_SMALL = 1024  # bytes: equal constants that are larger are one value already
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_DRAWS = RANDOM | {"Dropout"}


def duplicates(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Yield every duplicate of a graph; each must be applied before the next is asked for."""
    for node, original in duplicates_in(reader):
        if node not in affines.left:
            apply = partial(_remove, node, original)
            yield GraphChange(name_of(node), apply, (node,), into=(name_of(original),), direction="removal")


def compute_once(editor: Editor) -> None:
    """Let the originals of a graph do for all of their duplicates, which are dead afterwards."""
    for node, original in duplicates_in(editor.reader):
        _use(original, node)


def _remove(node: ir.Node, original: ir.Node, editor: Editor) -> Sequence[ir.Node]:
    _use(original, node)
    editor.remove((node,))
    return ()


def _use(original: ir.Node, node: ir.Node) -> None:
    """Let the readers of ``node`` read the original."""
    node.outputs[0].replace_all_uses_with(original.outputs[0])


def duplicates_in(reader: GraphReader) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Yield each operator that computes what one before it has computed, and that one; but for those of an output."""
    known: dict[tuple[object, ...], list[ir.Node]] = {}
    for node in list(reader.graph):
        if len(node.outputs) != 1 or not node.inputs or not is_standard(node) or _is_random(node):
            continue
        axes = _reduced_axes(reader, node)
        inputs = node.inputs if axes is None else node.inputs[:1]
        same = known.setdefault((node.op_type, axes, *map(_identity, inputs)), [])
        but_for = () if axes is None else ("axes",)
        original = next((each for each in same if _same_attributes(each, node, but_for)), None)
        if original is None:
            same.append(node)
        elif not node.outputs[0].is_graph_output():
            yield node, original


def _reduced_axes(reader: GraphReader, node: ir.Node) -> tuple[int, ...] | None:
    """Return the axes of a reduction, counted from the front and in order; None where they or the rank are unknown."""
    sizes = reader.shape(node.inputs[0]) if node.op_type.startswith("Reduce") else None
    axes = None if sizes is None else reader.axes(node)
    return tuple(sorted(axis % len(sizes) for axis in axes)) if axes and sizes else None


def _identity(value: ir.Value | None) -> object:
    """Return the value itself, or what a small constant holds: exporters write one for each reader."""
    if value is None or value.is_graph_input():
        return value
    maker, stored = value.producer(), value.const_value
    found = constant_attribute(maker) if maker is not None and maker.op_type == "Constant" else None
    if stored is not None and stored.nbytes <= _SMALL and stored.dtype is not ir.DataType.STRING:
        found = stored.numpy(), stored.dtype
    if found is None or found[0].nbytes > _SMALL:
        return value
    array, dtype = found
    return dtype, array.shape, array.tobytes()


def _is_random(node: ir.Node) -> bool:
    return node.op_type in _DRAWS or any(found.type in _GRAPHS for found in attributes_of(node))


def _same_attributes(one: ir.Node, other: ir.Node, but_for: tuple[str, ...]) -> bool:
    """Compare the attributes of two operators, but for those that were compared before."""
    return one.attributes.keys() == other.attributes.keys() and all(
        name in but_for or _same_attribute(found, other.attributes[name]) for name, found in one.attributes.items()
    )


def _same_attribute(one: ir.Attr, other: ir.Attr) -> bool:
    """Compare type and value; of a function, the names of its parameters."""
    if one.is_ref() or other.is_ref():
        return (one.ref_attr_name, one.type) == (other.ref_attr_name, other.type)
    return ir.serde.serialize_attribute(one) == ir.serde.serialize_attribute(other)
