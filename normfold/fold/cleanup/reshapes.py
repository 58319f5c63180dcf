"""Remove Reshapes and Transposes whose work the next Reshape does as well, or undoes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.findings.rules import MERGE
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, UniqueNames, bypass, stamp
from normfold.graph.reader import Dim, GraphReader, attribute, has_parameters, is_read
from normfold.operators.table import RESHAPES, is_standard, operator_of

_PAIRWISE = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Sum"})
_MOST = 32  # operators between a Reshape and those that undo it


def reshape_once(editor: Editor) -> None:
    """Let a Reshape behind operators that only regroup the elements read what they read."""
    reader = editor.reader
    _reshape_instead(editor)
    for node in reader.graph:
        if node.op_type != "Reshape" or not is_standard(node) or len(node.inputs) < 2:
            continue
        target = reader.constant(node.inputs[1])
        if target is None or not np.all(target):
            continue  # 0 stands for a size of the input, which would be another one
        while (before := _regrouped(reader, node.inputs[0])) is not None:
            node.replace_input_with(0, before)
    _skip_what_is_undone(reader, editor.names)


def _skip_what_is_undone(reader: GraphReader, names: UniqueNames) -> None:
    """Leave out a Reshape behind which elements are only changed one by one until Reshapes bring the old shape back."""
    for node in list(reader.graph):
        source = _only_regroups(reader, node) if node.op_type in RESHAPES else None
        shape = reader.shape(source)
        undone = None if not shape or None in shape else _until_undone(reader, node, shape)
        if source is None or shape is None or undone is None:
            continue
        values, ends = undone
        node.outputs[0].replace_all_uses_with(source)
        for end in ends:
            if (value := end.inputs[0]) is not None:
                bypass(end, value)
        for value in values:  # a name stands for one shape, so that both models can be compared
            value.shape, value.name = ir.Shape(shape), names.new(f"{value.name}_reshaped")


def _until_undone(
    reader: GraphReader, node: ir.Node, shape: tuple[Dim, ...]
) -> tuple[list[ir.Value], list[ir.Node]] | None:
    """Return the values made one by one of a Reshape's elements, and what brings all of them back to ``shape``.

    It is None where one of them is read by anything else.
    """
    values, ends = [node.outputs[0]], list[ir.Node]()
    inside: dict[ir.Node, None] = {}
    for value in values:
        if value.is_graph_output() or len(values) > _MOST:
            return None
        for consumer, _ in value.uses():
            if not reader.holds(consumer):
                return None
            if not any(map(is_read, consumer.outputs)):
                continue  # another rule left it behind
            if _only_regroups(reader, consumer) is not None and reader.shape(consumer.outputs[0]) == shape:
                ends.append(consumer)
            elif consumer not in inside:
                inside[consumer] = None
                values.extend(consumer.outputs)
    known = set(values)
    if not ends or not all(_changes_each(reader, each, known, len(shape)) for each in inside):
        return None
    return values[1:], ends


def _changes_each(reader: GraphReader, node: ir.Node, values: set[ir.Value], rank: int) -> bool:
    """Return whether an operator acts on elements of ``values`` one by one, with numbers of at most ``rank`` axes."""
    is_known = operator_of(node).elementwise or (is_standard(node) and node.op_type in _PAIRWISE)
    if not is_known or len(node.outputs) > 1:
        return False
    numbers = [reader.constant(value) for value in node.inputs if value is not None and value not in values]
    return all(number is not None and number.size == 1 and number.ndim <= rank for number in numbers)


def _reshape_instead(editor: Editor) -> None:
    """Make an operator that only regroups the elements a Reshape, where that takes the place of one before it."""
    reader = editor.reader
    for node in list(reader.graph):
        if node.op_type == "Reshape" or _only_regroups(reader, node) is None:
            continue
        before, sizes = node.inputs[0].producer(), reader.shape(node.outputs[0])  # type: ignore[union-attr]  # it regroups it
        if before is None or before.op_type not in RESHAPES or not reader.holds(before) or sizes is None:
            continue
        unknown = [size for size in sizes if not isinstance(size, int)]
        if len(before.outputs[0].uses()) > 1 or len(unknown) > 1 or 0 in sizes:
            continue
        target = np.asarray([size if isinstance(size, int) else -1 for size in sizes], np.int64)
        shape = editor.constant(target, ir.DataType.INT64, f"{node.outputs[0].name}_shape")
        editor.become(node, "Reshape", [node.inputs[0], shape], {})
        stamp(node, MERGE, name_of(before))


def _regrouped(reader: GraphReader, value: ir.Value | None) -> ir.Value | None:
    """Return what the producer of ``value`` reads, if ``value`` holds the same elements in the same order."""
    node = None if value is None else value.producer()
    return None if node is None else _only_regroups(reader, node)


def _only_regroups(reader: GraphReader, node: ir.Node) -> ir.Value | None:
    """Return the input of an operator that gives the same elements in the same order, None for any other operator."""
    if not is_standard(node) or not node.inputs or has_parameters(node):
        return None
    keeps = node.op_type in RESHAPES or (node.op_type == "Transpose" and _moves_only_units(node))
    return node.inputs[0] if keeps or (node.op_type == "Gather" and _takes_all_in_order(reader, node)) else None


def _takes_all_in_order(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a Gather takes each entry of a vector once, as torch.export writes as_strided."""
    sizes = reader.shape(node.inputs[0])
    indices = reader.constant(node.inputs[1]) if sizes is not None and len(sizes) == 1 else None
    return indices is not None and sizes == (indices.size,) and bool((indices.ravel() == np.arange(indices.size)).all())


def _moves_only_units(node: ir.Node) -> bool:
    """Transpose of axes of which all but those of size 1 stay in order."""
    perm, value = attribute(node, "perm", None), node.inputs[0]
    if perm is None or value is None or value.shape is None or len(value.shape) != len(perm):
        return False
    longer = [axis for axis in perm if value.shape[axis] != 1]
    return longer == sorted(longer)
