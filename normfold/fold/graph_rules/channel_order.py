"""A fixed order of channels, such as RGB to BGR, goes into the weights behind it or before it.

``Conv(x[:, p])`` is a convolution of x itself with the columns of its weight in another order: exact, bit for bit but
for the order of summation. The order is a Gather, a Slice that runs backwards, or a Concat of the parts of one value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason, Refusal
from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineIndex
from normfold.fold.carriers.layout_operators import picks_of
from normfold.fold.rule import is_read
from normfold.graph.editor import Editor, Rewrite
from normfold.graph.operators import is_standard, operator_of
from normfold.graph.reader import GraphReader, attribute, name_of

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


@dataclass
class Move:
    """What takes an order: operators whose constants change, and the values between, whose channels are reordered."""

    nodes = ()
    plan = None

    order: Order
    direction: str
    rewrites: list[Rewrite] = field(default_factory=list)
    changed: list[ir.Value] = field(default_factory=list)
    seen: set[ir.Node] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Return the name that options and reports use."""
        return name_of(self.order.nodes[-1])

    def finding(self, path: str) -> Finding:
        """Return what a report says of it."""
        node = self.order.nodes[-1]
        return Finding(self.name, node.op_type, self.order.output.name or "", path, "a fixed order of channels")

    @property
    def into(self) -> tuple[str, ...]:
        """Return the names of the operators that take it."""
        return tuple(name_of(rewrite.node) for rewrite in self.rewrites)

    @property
    def sites(self) -> tuple[str, ...]:
        """Return the names of the values that stay the same."""
        if self.direction == "backward":
            return (self.order.output.name or "",)
        outs = [rewrite.node.outputs[0] for rewrite in self.rewrites]
        return tuple(out.name or "" for out in outs if out not in self.changed)

    def apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Let the readers of the reordered value read the value itself."""
        order = self.order
        for rewrite in self.rewrites:
            editor.rewrite(rewrite, RULE, self.name)
        for value in self.changed:
            editor.rename(value)
        takes_name = self.direction == "backward"
        editor.bypass(order.nodes, order.input, order.output, upstream_takes_name=takes_name, rule=RULE)
        return ()


def moves(reader: GraphReader, affines: AffineIndex) -> Iterator[Move]:
    """Every order that can go now."""
    for node in list(reader.graph):
        order = _order_at(reader, node) if reader.holds(node) and node not in affines.left else None
        if order is None:
            continue
        for way in (_forward, _backward):
            try:
                move = way(reader, affines, order)
            except Refusal:
                continue
            yield move
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


# -- forward -----------------------------------------------------------------------------------------------------
def _forward(reader: GraphReader, affines: AffineIndex, order: Order) -> Move:
    """Every reader gets the channels in their first order, and has its constants in another one."""
    move = Move(order, "forward")
    waiting = [(order.output, order.axis)]
    back = np.argsort(order.picks)
    while waiting:
        value, axis = waiting.pop()
        _require(not value.is_graph_output() and bool(value.uses()), Reason.GRAPH_OUTPUT, order.nodes[-1])
        for node, index in value.uses():
            _require(reader.holds(node) and node not in move.seen, Reason.READERS_DISAGREE, node)
            _require(node not in affines.left, Reason.SKIPPED, node)
            move.seen.add(node)
            following = _through(reader, affines, move, node, index, axis, back)
            if following is not None:
                move.changed.append(node.outputs[0])
                waiting.append((node.outputs[0], following))
    return move


def _through(
    reader: GraphReader, affines: AffineIndex, move: Move, node: ir.Node, index: int, axis: int, back: Picks
) -> int | None:
    """Return the axis that is in another order behind ``node``; None where its weight has taken that order in."""
    at = _summed_axis(reader, node, index, axis)
    if at is None:
        return _carried(reader, affines, move, node, axis, back, backward=False)
    side, weight_axis = at
    weight = reader.require_constant(node, side, Reason.DYNAMIC_WEIGHT)
    move.rewrites.append(Rewrite(node, inputs={side: np.take(weight, back, axis=weight_axis)}))
    return None


def _summed_axis(reader: GraphReader, node: ir.Node, index: int, axis: int) -> tuple[int, int] | None:
    """Return input and axis of the weight that meets ``axis`` of the variable at ``index``; None where it sums none."""
    operator = operator_of(node)
    if operator.weight_in is None or operator.axis is None or index > 1 or int(attribute(node, "group", 1)) != 1:
        return None
    weight, rank = reader.constant(node.inputs[1 - index]), len(reader.shape(node.inputs[index]) or ())
    if weight is None or rank == 0 or reader.is_quantized(node.inputs[1 - index]):
        return None
    if index == 1:  # only a matrix product has its weight on the left
        return (0, weight.ndim - 1) if node.op_type == "MatMul" and axis == rank - 2 else None
    channels = 0 if attribute(node, "transA", 0) else operator.axis % rank
    return (1, _weight_axis(node, weight.ndim, operator.weight_in)) if axis == channels else None


def _weight_axis(node: ir.Node, rank: int, axis: int) -> int:
    """Return the axis of a weight that the operator claims, in a weight of ``rank`` that may be transposed."""
    if attribute(node, "transB", 0):
        return 1 - axis
    return max(0, axis + rank) if axis < 0 else axis


def _carried(
    reader: GraphReader, affines: AffineIndex, move: Move, node: ir.Node, axis: int, picks: Picks, *, backward: bool
) -> int:
    """Return the axis on the other side of an operator that keeps channels apart; its constants follow the order."""
    if affines.at(node) is not None and is_standard(node):
        _reorder_constants(reader, move, node, axis, picks)
        return axis
    operator, alone = operator_of(node), not any(map(is_read, node.outputs[1:]))
    if operator.elementwise and alone:
        return axis
    if operator.by_channel and axis == 1 and alone:
        _reorder_constants(reader, move, node, axis, picks)
        return axis
    if is_standard(node) and node.op_type == "Transpose":
        rank = len(reader.require_shape(node.outputs[0], node))
        permutation = [int(each) for each in attribute(node, "perm") or range(rank)[::-1]]
        return permutation[axis] if backward else permutation.index(axis)
    raise Refusal(Reason.OPERATOR_STOPS, name_of(node), detail=node.op_type)


def _reorder_constants(reader: GraphReader, move: Move, node: ir.Node, axis: int, picks: Picks) -> None:
    """Constants that vary along ``axis`` of the value: vectors of a norm, operands of arithmetic."""
    rank = len(reader.require_shape(node.outputs[0], node))
    by_channel = node.op_type in ("BatchNormalization", "InstanceNormalization")
    inputs: dict[int, Array] = {}
    for index, value in enumerate(node.inputs):
        array = reader.constant(value)
        if array is None:
            continue
        at = 0 if by_channel else array.ndim - rank + axis
        if by_channel and axis != 1:
            raise Refusal(Reason.AXIS_STOPS, name_of(node))
        if at >= 0 and array.shape[at] > 1:
            inputs[index] = np.take(array, picks, axis=at)
    if inputs:
        move.rewrites.append(Rewrite(node, inputs=inputs))


# -- backward ----------------------------------------------------------------------------------------------------
def _backward(reader: GraphReader, affines: AffineIndex, order: Order) -> Move:
    """Let the linear operator before make the channels in the new order."""
    move = Move(order, "backward")
    value, axis, own = order.input, order.axis, {*order.nodes}
    while True:
        readers = {node for node, _ in value.uses()} - own
        _require(not readers and not value.is_graph_output(), Reason.SEVERAL_READERS, order.nodes[-1])
        node = value.producer()
        if node is None or not reader.holds(node) or node in affines.left:
            raise Refusal(Reason.GRAPH_INPUT, name_of(order.nodes[-1]))
        move.changed.append(value)
        if _made_in_order(reader, move, node, axis, order.picks):
            return move
        axis = _carried(reader, affines, move, node, axis, order.picks, backward=True)
        affine_node = affines.at(node)
        entry = node.inputs[0] if affine_node is None else affine_node.input
        if entry is None:
            raise Refusal(Reason.OPERATOR_STOPS, name_of(node))
        value, own = entry, {node}


def _made_in_order(reader: GraphReader, move: Move, node: ir.Node, axis: int, picks: Picks) -> bool:
    """Return whether the operator makes ``axis`` by a constant weight, whose rows then take the order."""
    rank = len(reader.require_shape(node.outputs[0], node))
    weight = reader.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if weight is None or reader.is_quantized(node.inputs[1]):
        return False
    operator = operator_of(node)
    if operator.weight_out is None or operator.axis is None or axis != operator.axis % rank:
        return False
    if int(attribute(node, "group", 1)) != 1 or weight.ndim < 2:
        return False
    at = _weight_axis(node, weight.ndim, operator.weight_out)
    inputs: dict[int, Array] = {1: np.take(weight, picks, axis=at)}
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = np.asarray(reader.require_constant(node, 2, Reason.DYNAMIC_WEIGHT))
        if bias.ndim and bias.shape[-1] > 1:
            inputs[2] = np.take(bias, picks, axis=bias.ndim - 1)
    move.rewrites.append(Rewrite(node, inputs=inputs))
    return True


def _require(condition: bool, reason: Reason, node: ir.Node) -> None:
    if not condition:
        raise Refusal(reason, name_of(node))
