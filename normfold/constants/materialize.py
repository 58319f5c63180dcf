"""Operators on constants become constants: a transposed weight, a standardized one, a BatchNormalization of a weight.

The simplifier sees no large weights, so these are left to ``graph/evaluators.py``. Nothing is evaluated that would make
the model much larger, such as an Expand or a DequantizeLinear.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from normfold.findings.rules import CONSTANT
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, UniqueNames, bypass, stamp
from normfold.graph.reader import FLOATS, GraphReader, graphs_of, stored_bytes
from normfold.graph.weight_bytes import FREE, weight_bytes

_LARGEST = 2**18  # bytes of one constant that is made of less than half as many
_PART = 0.05  # of the weights of the model, which all of these together may take
_BYTES_BEFORE = "normfold.bytes_before"


@dataclass
class Room:
    """The bytes by which constants that are made of little may still enlarge a model.

    Folds may enlarge it as much, so that such constants are no reason to do without the folds.
    """

    left: int
    _refused: dict[ir.Node, int] = field(default_factory=dict)  # what made a constant that does not fit, and its bytes

    @staticmethod
    def of(model: ir.Model) -> Room:
        """Return what is left of the room that a model had when it was first asked for."""
        now = weight_bytes(model, unused=False)
        before: int = model.meta.setdefault(_BYTES_BEFORE, now)
        return Room(max(FREE, int(_PART * before)) - max(0, now - before))

    def takes(self, value: ir.Value, size: int) -> bool:
        """Return whether a constant may be stored in ``size`` bytes; then it is counted.

        Where a constant does not fit, what it is made of and is as large does not either: it is made of no more. So a
        long chain is walked once, and not again from each link.
        """
        node = value.producer()
        fits = size <= min(self.left, _LARGEST)
        if not fits and all(size < self._refused.get(user, size + 1) for user, _ in value.uses()):
            fits = size <= 2 * bytes_before(value)
        elif fits and size > 2 * bytes_before(value):
            self.left -= size
        if not fits and node is not None:
            self._refused[node] = size
        return fits


def materialize_constants(model: ir.Model) -> None:
    """Replace, in place, each value that is made from constants and read by something that is not."""
    names, room = UniqueNames(model), Room.of(model)
    for path, graph in list(graphs_of(model)):
        reader = GraphReader(model, graph, path)
        editor = Editor(reader, names)
        for node in list(graph):
            value = node.outputs[0] if node.outputs else None
            if value is None or node.op_type == "Constant" or not _is_met_by_others(reader, value):
                continue
            array, dtype = reader.constant(value), reader.dtype(value) or _type_of_operands(reader, node)
            if array is None or dtype not in FLOATS or dtype is None:
                continue
            size = array.size * dtype.numpy().itemsize
            if (size > FREE and is_shared(value)) or not room.takes(value, size):
                continue
            constant = editor.constant(array, dtype, f"{value.name}_constant")
            if value.is_graph_output():  # the node stays as an Identity
                stamp(node, CONSTANT, name_of(node))
            bypass(node, constant)


def _is_met_by_others(reader: GraphReader, value: ir.Value) -> bool:
    """Say whether the value is constant, and an output or read by something that is not constant."""
    if not reader.is_constant(value) or reader.is_quantized(value):
        return False
    if value.is_graph_output():
        producer = value.producer()
        return producer is not None and producer.op_type != "Identity"
    return not all(all(reader.is_constant(output) for output in user.outputs) for user, _ in value.uses())


def is_shared(value: ir.Value) -> bool:
    """Say whether much of what a value is made from stays in the model, as an embedding whose transpose is the head."""
    stored, inside = _stored_before(value)
    large = [each for each in stored if stored_bytes(each) > FREE]  # not the axes of an Unsqueeze, which others share
    return any(each.is_graph_output() or any(user not in inside for user, _ in each.uses()) for each in large)


def bytes_before(value: ir.Value) -> int:
    """Count the bytes of the stored constants that a value is made from, each once."""
    stored, _ = _stored_before(value)
    return sum(map(stored_bytes, stored))


def _stored_before(value: ir.Value) -> tuple[set[ir.Value], set[ir.Node]]:
    """Return the stored constants that a value is made from, and the operators between."""
    inside: set[ir.Node] = set()
    stored: set[ir.Value] = set()
    pending = [value]
    while pending:
        each = pending.pop()
        node = each.producer()
        if node is None or node.op_type == "Constant":
            stored.add(each)
        elif node not in inside:
            inside.add(node)
            pending += filter(None, node.inputs)
    return stored, inside


def _type_of_operands(reader: GraphReader, node: ir.Node) -> ir.DataType | None:
    return next((reader.dtype(value) for value in node.inputs if value is not None), None)
