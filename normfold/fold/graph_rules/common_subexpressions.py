"""Remove operators that compute again what an operator before them has computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.fold.affines import AffineIndex
from normfold.graph.editor import Editor
from normfold.graph.operators import RANDOM, is_standard
from normfold.graph.reader import GraphReader, attributes_of, constant_attribute, name_of

_SMALL = 64  # elements
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_DRAWS = RANDOM | {"Dropout"}


@dataclass(frozen=True, eq=False)
class Duplicate:
    """An operator ``node`` that computes what ``original`` has computed before it."""

    direction = "removal"
    plan = None
    sites = ()

    node: ir.Node
    original: ir.Node

    @property
    def name(self) -> str:
        """Return the name of the operator that goes."""
        return name_of(self.node)

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Return the operator that goes."""
        return (self.node,)

    @property
    def into(self) -> tuple[str, ...]:
        """Return the name of the operator that stays."""
        return (name_of(self.original),)

    def finding(self, path: str) -> None:
        """Return nothing: a report speaks of it only where the operator is an affine."""

    def apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Let the original do for both."""
        self.bypass()
        editor.remove(self.nodes)
        return ()

    def bypass(self) -> None:
        """Let the readers of the duplicate read the original; the duplicate is dead from now on."""
        self.node.outputs[0].replace_all_uses_with(self.original.outputs[0])


def duplicates(reader: GraphReader, affines: AffineIndex) -> Iterator[Duplicate]:
    """Yield every duplicate of a graph; each must be applied before the next is asked for."""
    yield from (each for each in duplicates_in(reader.graph) if each.node not in affines.left)


def compute_once(graph: ir.Graph | ir.Function) -> None:
    """Let the originals of a graph do for all of their duplicates, which are dead afterwards."""
    for duplicate in duplicates_in(graph):
        duplicate.bypass()


def duplicates_in(graph: ir.Graph | ir.Function) -> Iterator[Duplicate]:
    """Yield the operators of ``graph`` that do again what one before them did, but for those that make an output."""
    known: dict[tuple[object, ...], list[ir.Node]] = {}
    for node in list(graph):
        if len(node.outputs) != 1 or not node.inputs or not is_standard(node) or _is_random(node):
            continue
        same = known.setdefault((node.op_type, *map(_identity, node.inputs)), [])
        original = next((each for each in same if _same_attributes(each, node)), None)
        if original is None:
            same.append(node)
        elif not node.outputs[0].is_graph_output():
            yield Duplicate(node, original)


def _identity(value: ir.Value | None) -> object:
    """Return the value itself, or what a small constant holds: exporters write one for each reader."""
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
    return node.op_type in _DRAWS or any(found.type in _GRAPHS for found in attributes_of(node))


def _same_attributes(one: ir.Node, other: ir.Node) -> bool:
    return one.attributes.keys() == other.attributes.keys() and all(
        _same_attribute(found, other.attributes[name]) for name, found in one.attributes.items()
    )


def _same_attribute(one: ir.Attr, other: ir.Attr) -> bool:
    """Compare type and value; of a function, the names of its parameters."""
    if one.is_ref() or other.is_ref():
        return (one.ref_attr_name, one.type) == (other.ref_attr_name, other.type)
    return ir.serde.serialize_attribute(one) == ir.serde.serialize_attribute(other)
