"""What a carrier answers: the affines that its inputs or outputs get, and its own change. Shared by all carriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from normfold.affine import Affine
from normfold.edit import Rewrite
from normfold.graph import Dim, GraphReader, attribute, name_of
from normfold.reason import Reason, Refusal

Labels = Mapping[int, Affine]


@dataclass(frozen=True)
class Passage:
    """One way through an operator: affines by input index (backward) or output index (forward), and its own change.

    Where an affine dies further on, ``moved`` are the values that differ until then, ``ends`` those that do not.
    """

    labels: Labels = field(default_factory=dict)
    rewrite: Rewrite | None = None
    moved: tuple[ir.Value, ...] = ()
    ends: tuple[ir.Value, ...] = ()


Carrier = Callable[[GraphReader, ir.Node, Labels], Sequence[Passage]]
Tables = dict[str, Carrier]


def require(condition: bool, reason: Reason, node: ir.Node, detail: str = "") -> None:
    """Refuse with ``reason`` unless ``condition`` holds."""
    if not condition:
        raise Refusal(reason, name_of(node), detail=detail)


def through(affine: Affine) -> list[Passage]:
    return [Passage({0: affine})] if not affine.is_identity else [Passage({})]


def first(node: ir.Node, labels: Labels) -> Affine:
    require(set(labels) == {0}, Reason.OPERATOR_STOPS, node, "only its first input and output carry data")
    return labels[0]


def is_read(value: ir.Value) -> bool:
    """Whether anybody sees the value: an operator, or the caller of the graph."""
    return bool(value.uses()) or value.is_graph_output()


def shape_of(reader: GraphReader, node: ir.Node, value: ir.Value | None) -> tuple[Dim, ...]:
    if value is None:
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node))
    return reader.require_shape(value, node)


def axes_of(reader: GraphReader, node: ir.Node) -> tuple[int, ...] | None:
    """Axes as the second input (newer opsets) or as an attribute; None where neither is given."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return tuple(int(axis) for axis in reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS))
    found = attribute(node, "axes")
    return None if found is None else tuple(int(axis) for axis in found)


def size_of(reader: GraphReader, node: ir.Node, value: ir.Value | None, axis: int) -> int:
    """The known size of ``value`` along ``axis``, or a Refusal."""
    size = shape_of(reader, node, value)[axis]
    if not isinstance(size, int):
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), detail=f"size {size} along axis {axis}")
    return size


def both_ways(carrier: Callable[..., Sequence[Passage]]) -> tuple[Carrier, Carrier]:
    """The backward and the forward half of a carrier that takes ``forward`` as a keyword."""
    return (
        lambda reader, node, labels: carrier(reader, node, labels, forward=False),
        lambda reader, node, labels: carrier(reader, node, labels, forward=True),
    )
