"""What stands around a value: who made it and who reads it, beyond changes of layout, and names that follow."""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx_ir as ir

from normfold.graph.reader import GraphReader
from normfold.operators.table import is_standard

LAYOUT = ("Expand", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity", "Pad")
"""Changes of layout, and of what is around the data."""


def maker(value: ir.Value | None) -> ir.Node | None:
    """Return the operator that made a value, before changes of layout."""
    source = before_layout(value)
    return None if source is None else source.producer()


def maker_is(value: ir.Value | None, operators: tuple[str, ...]) -> bool:
    """Say whether one of some operators made a value, before changes of layout."""
    node = maker(value)
    return node is not None and is_standard(node) and node.op_type in operators


def before_layout(value: ir.Value | None) -> ir.Value | None:
    """Return the value that changes of layout made ``value`` of."""
    node = None if value is None else value.producer()
    while node is not None and is_standard(node) and node.op_type in LAYOUT:
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return value


def behind_layout(value: ir.Value) -> ir.Value:
    """Return the value that changes of layout make of ``value``, which nothing else reads."""
    while len(readers := value.uses()) == 1 and (node := next(iter(readers))[0]).op_type in LAYOUT:
        value = node.outputs[0]
    return value


def other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """Return the input of ``node`` that is not ``value``, where there is one."""
    others = [each for each in node.inputs if each is not value]
    return others[0] if len(others) == 1 else None


def conditional_name(reader: GraphReader, norm: ir.Value, operator: str) -> str:
    """Return the name of a norm whose scale and shift behind it are computed from other data; empty if they are not."""
    norm = behind_layout(norm)
    product = _reader_with_variable(reader, norm, "Mul")
    total = None if product is None else _reader_with_variable(reader, behind_layout(product.outputs[0]), "Add")
    if product is None or total is None:
        return ""
    scale = other_input(product, norm)
    shape = None if scale is None else reader.shape(scale)
    if operator == "LayerNormalization" or operator == "RMSNormalization":
        return "AdaLN"
    is_map = shape is not None and len(shape) >= 4 and sum(size != 1 for size in shape[1:]) > 1
    return "SPADE" if is_map else "AdaIN"


def is_of_groups(reader: GraphReader, value: ir.Value) -> bool:
    """Say whether a Reshape split the channels of a value into groups, as exporters write a GroupNorm."""
    node = value.producer()
    before = reader.shape(node.inputs[0]) if node is not None and node.op_type == "Reshape" else None
    after = reader.shape(value)
    channels, groups = (None if each is None or len(each) < 3 else each[1] for each in (before, after))
    return isinstance(channels, int) and isinstance(groups, int) and 0 < groups < channels and channels % groups == 0


def is_thresholded(norm: ir.Value) -> bool:
    """Say whether a learned threshold (TLU: Max with a constant) follows, perhaps behind a scale and a shift."""
    return leads_to(norm, ("Max",), ("Mul", "Add"))


def leads_to(value: ir.Value, operators: tuple[str, ...], through: tuple[str, ...]) -> bool:
    """Say whether a value is read by one of some operators alone, at most three others behind it."""
    for _ in range(4):
        readers = [node for node, _ in value.uses()]
        if len(readers) != 1 or readers[0].op_type in operators:
            return len(readers) == 1
        if readers[0].op_type not in through:
            return False
        value = readers[0].outputs[0]
    return False


def is_made_from(reader: GraphReader, value: ir.Value, sources: Collection[ir.Value]) -> bool:
    """Say whether any of some values of a graph leads to ``value``."""
    starts = [node for node in (source.producer() for source in sources) if node is not None and reader.holds(node)]
    first = min(map(reader.order, starts), default=math.inf)
    pending, met = [value], {value}
    while pending:
        node = pending.pop().producer()
        if node is None or not reader.holds(node) or reader.order(node) < first:
            continue
        if node in starts:
            return True
        above = set(filter(None, node.inputs)) - met
        met |= above
        pending += above
    return False


def _reader_with_variable(reader: GraphReader, value: ir.Value, operator: str) -> ir.Node | None:
    for node, _ in value.uses():
        other = other_input(node, value) if node.op_type == operator and reader.holds(node) else None
        if other is not None and not reader.is_constant(other):
            return node
    return None
