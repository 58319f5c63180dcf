"""A fixed order of channels, such as RGB to BGR, goes into the weights behind it or before it.

``Conv(x[:, p])`` is a convolution of x itself with the columns of its weight in another order: exact, bit for bit but
for the order of summation. The order is a Gather, a Slice that runs backwards, or a Concat of the parts of one value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason, Refusal
from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineIndex
from normfold.fold.carriers.layout_operators import picks_of
from normfold.fold.graph_rules.change import GraphChange
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, Rewrite
from normfold.graph.reader import GraphReader, attribute, is_read
from normfold.operators.table import is_standard, operator_of

RULE = "order"
Picks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Order:
    """``output`` is ``input`` with the indices ``picks``, each once, along ``axis``; the last of ``nodes`` makes it."""

    input: ir.Value
    output: ir.Value
    axis: int
    picks: Picks
    nodes: tuple[ir.Node, ...]


def moves(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Every order that can go now."""
    for node in list(reader.graph):
        order = _order_at(reader, node) if reader.holds(node) and node not in affines.left else None
        if order is None:
            continue
        for way in (_Forward, _Backward):
            try:
                change = way(reader, affines, order).change()
            except Refusal:
                continue
            yield change
            break


# -- finding -----------------------------------------------------------------------------------------------------
def _order_at(reader: GraphReader, node: ir.Node) -> Order | None:
    if not is_standard(node) or node.op_type not in ("Gather", "Slice", "Concat"):
        return None
    try:
        found = _joined(reader, node) if node.op_type == "Concat" else _part(reader, node)
    except Refusal:
        return None
    if found is None:
        return None
    entry, axis, picks, before = found
    shape = reader.shape(entry)
    if shape is None or sorted(picks.tolist()) != list(range(len(picks))) or shape[axis] != len(picks):
        return None
    return Order(entry, node.outputs[0], axis, picks, (*before, node))


_Picked = tuple[ir.Value, int, Picks, tuple[ir.Node, ...]]


def _part(reader: GraphReader, node: ir.Node) -> _Picked | None:
    """Return what a Gather or Slice by constants takes, along one axis."""
    entry = node.inputs[0]
    shape = reader.shape(entry)
    if entry is None or shape is None or reader.is_constant(entry):
        return None
    if node.op_type == "Gather":
        axis = int(attribute(node, "axis", 0)) % len(shape)
        size = shape[axis]
        indices = reader.constant(node.inputs[1])
        if indices is None or indices.ndim != 1 or not isinstance(size, int):
            return None
        return entry, axis, np.asarray(indices, np.int64) % size, ()
    picks = picks_of(reader, node, shape)
    if len(picks) != 1:
        return None
    ((axis, taken),) = picks.items()
    return entry, axis, np.asarray(taken, np.int64), ()


def _joined(reader: GraphReader, node: ir.Node) -> _Picked | None:
    """Return a Concat of parts of one value, each without another reader."""
    parts: list[_Picked] = []
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if value is None or producer is None or not reader.holds(producer) or len(value.uses()) != 1:
            return None
        if value.is_graph_output() or not is_standard(producer):
            return None
        found = _split_part(reader, producer, value) if producer.op_type == "Split" else None
        found = _part(reader, producer) if producer.op_type in ("Gather", "Slice") else found
        if found is None:
            return None
        parts.append((*found[:3], (producer,)))
    entry, axis = parts[0][0], parts[0][1]
    rank = len(reader.shape(entry) or ())
    same = all(part[0] is entry and part[1] == axis for part in parts)
    if not same or int(attribute(node, "axis")) % rank != axis:
        return None
    makers = tuple(dict.fromkeys(part[3][0] for part in parts))
    if any(output.is_graph_output() for maker in makers for output in maker.outputs):
        return None
    return entry, axis, np.concatenate([part[2] for part in parts]), makers


def _split_part(reader: GraphReader, node: ir.Node, value: ir.Value) -> _Picked | None:
    entry = node.inputs[0]
    rank = len(reader.shape(entry) or ())
    axis = int(attribute(node, "axis", 0)) % max(1, rank)
    sizes = [(reader.shape(output) or (None,) * (axis + 1))[axis] for output in node.outputs]
    known = [size for size in sizes if isinstance(size, int)]
    if entry is None or len(known) != len(sizes) or not all(output.uses() for output in node.outputs):
        return None
    start = sum(known[: node.outputs.index(value)])
    return entry, axis, np.arange(start, start + known[node.outputs.index(value)]), ()


# -- moving ------------------------------------------------------------------------------------------------------
class _Walk:
    """A walk from an order to the weights that can take it; what it meets on the way keeps channels apart."""

    direction: str

    def __init__(self, reader: GraphReader, affines: AffineIndex, order: Order, picks: Picks) -> None:
        """Begin at ``order``; constants on the way take ``picks`` of themselves."""
        self.reader, self.affines, self.order, self.picks = reader, affines, order, picks
        self.rewrites: list[Rewrite] = []
        self.changed: list[ir.Value] = []

    def change(self) -> GraphChange:
        """Return what the engine asks for, or raise a Refusal."""
        self.walk()
        node, site = self.order.nodes[-1], self.order.output.name or ""
        finding = Finding(name_of(node), node.op_type, site, self.reader.path, "a fixed order of channels")
        into = tuple(name_of(rewrite.node) for rewrite in self.rewrites)
        return GraphChange(name_of(node), self._apply, (), into, self.sites(), finding, self.direction)

    def walk(self) -> None:
        """Collect what changes."""
        raise NotImplementedError

    def sites(self) -> tuple[str, ...]:
        """Return the names of the values that stay the same."""
        raise NotImplementedError

    def _apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Let the readers of the reordered value read the value itself."""
        order = self.order
        for rewrite in self.rewrites:
            editor.rewrite(rewrite, RULE, name_of(order.nodes[-1]))
        for value in self.changed:
            editor.rename(value)
        takes_name = self.direction == "backward"
        editor.bypass(order.nodes, order.input, order.output, upstream_takes_name=takes_name, rule=RULE)
        return ()

    def axis_across(self, node: ir.Node, axis: int) -> int:
        """Return the axis on the other side of an operator that keeps channels apart; its constants take the order."""
        if self.affines.at(node) is not None and is_standard(node):
            self._reorder_constants(node, axis)
            return axis
        operator, alone = operator_of(node), not any(map(is_read, node.outputs[1:]))
        if operator.elementwise and alone:
            return axis
        if operator.by_channel and axis == 1 and alone:
            self._reorder_constants(node, axis)
            return axis
        if is_standard(node) and node.op_type == "Transpose":
            return self.axis_across_transpose(self._permutation(node), axis)
        raise Refusal(Reason.OPERATOR_STOPS, name_of(node), detail=node.op_type)

    def axis_across_transpose(self, permutation: Sequence[int], axis: int) -> int:
        """Return where a Transpose takes ``axis`` on this way."""
        raise NotImplementedError

    def _permutation(self, node: ir.Node) -> list[int]:
        rank = len(self.reader.require_shape(node.outputs[0], node))
        return [int(each) for each in attribute(node, "perm") or range(rank)[::-1]]

    def _reorder_constants(self, node: ir.Node, axis: int) -> None:
        """Constants that vary along ``axis`` of the value: vectors of a norm, operands of arithmetic."""
        rank = len(self.reader.require_shape(node.outputs[0], node))
        by_channel = node.op_type in ("BatchNormalization", "InstanceNormalization")
        _require(not by_channel or axis == 1, Reason.AXIS_STOPS, node)
        inputs: dict[int, Array] = {}
        for index, value in enumerate(node.inputs):
            array = self.reader.constant(value)
            if array is None:
                continue
            at = 0 if by_channel else array.ndim - rank + axis
            if at >= 0 and array.shape[at] > 1:
                inputs[index] = np.take(array, self.picks, axis=at)
        if inputs:
            self.rewrites.append(Rewrite(node, inputs=inputs))


class _Forward(_Walk):
    """Every reader gets the channels in their first order, and has its constants in another one."""

    direction = "forward"

    def __init__(self, reader: GraphReader, affines: AffineIndex, order: Order) -> None:
        super().__init__(reader, affines, order, np.argsort(order.picks))

    def walk(self) -> None:
        """Go to every reader, until a weight has summed the channels."""
        seen: set[ir.Node] = set()
        waiting = [(self.order.output, self.order.axis)]
        while waiting:
            value, axis = waiting.pop()
            _require(not value.is_graph_output() and bool(value.uses()), Reason.GRAPH_OUTPUT, self.order.nodes[-1])
            for node, index in value.uses():
                _require(self.reader.holds(node) and node not in seen, Reason.READERS_DISAGREE, node)
                _require(node not in self.affines.left, Reason.SKIPPED, node)
                seen.add(node)
                if not self._is_summed(node, index, axis):
                    self.changed.append(node.outputs[0])
                    waiting.append((node.outputs[0], self.axis_across(node, axis)))

    def sites(self) -> tuple[str, ...]:
        """Return the results of the weights that sum the channels."""
        outs = [rewrite.node.outputs[0] for rewrite in self.rewrites]
        return tuple(out.name or "" for out in outs if out not in self.changed)

    def axis_across_transpose(self, permutation: Sequence[int], axis: int) -> int:
        """Return the axis of the result."""
        return permutation.index(axis)

    def _is_summed(self, node: ir.Node, index: int, axis: int) -> bool:
        """Return whether the operator sums ``axis`` with a constant weight, which then takes the order."""
        at = self._summed_axis(node, index, axis)
        if at is None:
            return False
        side, weight_axis = at
        weight = self.reader.require_constant(node, side, Reason.DYNAMIC_WEIGHT)
        self.rewrites.append(Rewrite(node, inputs={side: np.take(weight, self.picks, axis=weight_axis)}))
        return True

    def _summed_axis(self, node: ir.Node, index: int, axis: int) -> tuple[int, int] | None:
        """Return input and axis of the weight that meets ``axis`` of the variable at ``index``; None for no sum."""
        operator = operator_of(node)
        if operator.weight_in is None or operator.axis is None or index > 1 or int(attribute(node, "group", 1)) != 1:
            return None
        weight = self.reader.constant(node.inputs[1 - index])
        rank = len(self.reader.shape(node.inputs[index]) or ())
        if weight is None or rank == 0 or self.reader.is_quantized(node.inputs[1 - index]):
            return None
        if index == 1:  # only a matrix product has its weight on the left
            return (0, weight.ndim - 1) if node.op_type == "MatMul" and axis == rank - 2 else None
        channels = 0 if attribute(node, "transA", 0) else operator.axis % rank
        return (1, _weight_axis(node, weight.ndim, operator.weight_in)) if axis == channels else None


class _Backward(_Walk):
    """The linear operator before makes the channels in the new order."""

    direction = "backward"

    def __init__(self, reader: GraphReader, affines: AffineIndex, order: Order) -> None:
        super().__init__(reader, affines, order, order.picks)

    def walk(self) -> None:
        """Go from producer to producer, each without another reader, until a weight makes the channels."""
        value, axis, own = self.order.input, self.order.axis, {*self.order.nodes}
        while True:
            readers = {node for node, _ in value.uses()} - own
            _require(not readers and not value.is_graph_output(), Reason.SEVERAL_READERS, self.order.nodes[-1])
            node = value.producer()
            if node is None or not self.reader.holds(node) or node in self.affines.left:
                raise Refusal(Reason.GRAPH_INPUT, name_of(self.order.nodes[-1]))
            self.changed.append(value)
            if self._is_made(node, axis):
                return
            axis = self.axis_across(node, axis)
            affine_node = self.affines.at(node)
            entry = node.inputs[0] if affine_node is None else affine_node.input
            if entry is None:
                raise Refusal(Reason.OPERATOR_STOPS, name_of(node))
            value, own = entry, {node}

    def sites(self) -> tuple[str, ...]:
        """Return the reordered value."""
        return (self.order.output.name or "",)

    def axis_across_transpose(self, permutation: Sequence[int], axis: int) -> int:
        """Return the axis of the operand."""
        return permutation[axis]

    def _is_made(self, node: ir.Node, axis: int) -> bool:
        """Return whether the operator makes ``axis`` by a constant weight, whose rows then take the order."""
        rank = len(self.reader.require_shape(node.outputs[0], node))
        weight = self.reader.constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or self.reader.is_quantized(node.inputs[1]):
            return False
        operator = operator_of(node)
        if operator.weight_out is None or operator.axis is None or axis != operator.axis % rank:
            return False
        if int(attribute(node, "group", 1)) != 1 or weight.ndim < 2:
            return False
        at = _weight_axis(node, weight.ndim, operator.weight_out)
        inputs: dict[int, Array] = {1: np.take(weight, self.picks, axis=at)}
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            bias = np.asarray(self.reader.require_constant(node, 2, Reason.DYNAMIC_WEIGHT))
            if bias.ndim and bias.shape[-1] > 1:
                inputs[2] = np.take(bias, self.picks, axis=bias.ndim - 1)
        self.rewrites.append(Rewrite(node, inputs=inputs))
        return True


def _weight_axis(node: ir.Node, rank: int, axis: int) -> int:
    """Return the axis of a weight that the operator claims, in a weight of ``rank`` that may be transposed."""
    if attribute(node, "transB", 0):
        return 1 - axis
    return max(0, axis + rank) if axis < 0 else axis


def _require(condition: bool, reason: Reason, node: ir.Node) -> None:
    if not condition:
        raise Refusal(reason, name_of(node))
