"""Zeros that a Pad puts around an image: the convolutions and pools behind it can put them there themselves.

Tried when nothing else folds any more, because a Pad lets one common shift pass, and a Conv that pads lets none.
Operators as in https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.findings.reason import Reason, Refusal
from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineIndex
from normfold.fold.carriers.windows import pad_value, pads_of
from normfold.fold.graph_rules.change import GraphChange
from normfold.fold.rule import require
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, Rewrite
from normfold.graph.reader import FLOATS, GraphReader, attribute, is_read
from normfold.operators.table import is_standard, operator_of

RULE = "pad"
_Pads = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class _Padding:
    """A Pad whose readers can pad themselves; ``between`` are transposed values, which get their shapes without it."""

    node: ir.Node
    rewrites: tuple[Rewrite, ...]
    between: Mapping[ir.Value, Sequence[int]]

    def change(self, path: str) -> GraphChange:
        """Return what the engine asks for."""
        name, site = name_of(self.node), self.node.outputs[0].name or ""
        finding = Finding(name, "Pad", site, path, "zeros that the operators behind it can pad themselves")
        into = tuple(name_of(rewrite.node) for rewrite in self.rewrites)
        sites = tuple(rewrite.node.outputs[0].name or "" for rewrite in self.rewrites)
        return GraphChange(name, self._apply, into=into, sites=sites, finding=finding)

    def _apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Let the readers of the Pad read what it reads."""
        node, entry = self.node, self.node.inputs[0]
        assert entry is not None, "pads_of() read it"
        shape = editor.reader.shape(entry)
        for rewrite in self.rewrites:
            editor.rewrite(rewrite, RULE, name_of(node))
        for value, order in self.between.items():
            value.shape = None if shape is None else ir.Shape([shape[axis] for axis in order])
            editor.rename(value)
        editor.bypass([node], entry, node.outputs[0], upstream_takes_name=False, rule=RULE)
        return ()


def paddings(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Every Pad that can go now."""
    for node in list(reader.graph):
        if node.op_type != "Pad" or not is_standard(node) or node in affines.left:
            continue
        try:
            yield _padding_at(reader, node).change(reader.path)
        except (Refusal, ValueError):  # numpy and zip say so of pads that do not fit the rank
            continue


def _padding_at(reader: GraphReader, node: ir.Node) -> _Padding:
    rank = len(reader.require_shape(node.outputs[0], node))
    pads = pads_of(reader, node, rank)
    zeros = attribute(node, "mode", "constant") == "constant" and pad_value(reader, node) == 0
    adds = bool(pads) and all(size >= 0 for ends in pads.values() for size in ends)
    require(zeros and adds and reader.holds(node), Reason.ZERO_PADDING, node)
    between: dict[ir.Value, Sequence[int]] = {}
    return _Padding(node, tuple(_takers(reader, node, node.outputs[0], range(rank), pads, between)), between)


def _takers(
    reader: GraphReader,
    pad: ir.Node,
    value: ir.Value,
    order: Sequence[int],
    pads: _Pads,
    between: dict[ir.Value, Sequence[int]],
) -> Iterator[Rewrite]:
    """Return what the readers of ``value`` become; ``order`` are the axes of the Pad where its own stand now."""
    readers = reader.readers(value)
    require(bool(readers) and not value.is_graph_output(), Reason.GRAPH_OUTPUT, pad)
    for node in readers:
        require(is_standard(node), Reason.OPERATOR_STOPS, node)
        if node.op_type == "Transpose":
            perm = attribute(node, "perm") or range(len(order))[::-1]
            between[node.outputs[0]] = turned = [order[axis] for axis in perm]
            yield from _takers(reader, pad, node.outputs[0], turned, pads, between)
            continue
        own = {order.index(axis): ends for axis, ends in pads.items()}
        alone = [index for index, read in enumerate(node.inputs) if read is value] == [0]
        require(alone and min(own) >= 2, Reason.AXIS_STOPS, node, "it pads no other axes")
        yield _taker(reader, pad, node, len(order) - 2, own)


def _taker(reader: GraphReader, pad: ir.Node, node: ir.Node, dims: int, pads: _Pads) -> Rewrite:
    """``node`` with ``pads``, by axis, added to those it has."""
    mode = attribute(node, "auto_pad", "NOTSET")
    require(mode in ("NOTSET", "VALID"), Reason.OPERATOR_STOPS, node, f"auto_pad {mode}")
    known = [int(size) for size in attribute(node, "pads", ())] if mode == "NOTSET" else []
    before = known or [0] * (2 * dims)
    added = [pads.get(axis + 2, (0, 0))[end] for end in (0, 1) for axis in range(dims)]
    total = [one + other for one, other in zip(before, added, strict=True)]
    changed: dict[str, int | Sequence[float]] = {"pads": total}
    if node.op_type != "Conv":
        _require_pool(reader, pad, node, total)
    if node.op_type == "AveragePool":
        counted = attribute(node, "count_include_pad", 0) or not any(before)
        require(bool(counted), Reason.OPERATOR_STOPS, node, "it does not count zeros of its own")
        changed["count_include_pad"] = 1
    return Rewrite(node, attributes=changed, drops=("auto_pad",))


def _require_pool(reader: GraphReader, pad: ir.Node, node: ir.Node, pads: Sequence[int]) -> None:
    """Refuse a pool that does not treat zeros as its padding; a maximum ignores both only where none is negative."""
    require(node.op_type in ("AveragePool", "MaxPool"), Reason.OPERATOR_STOPS, node)
    plain = not attribute(node, "ceil_mode", 0) and all(step == 1 for step in attribute(node, "dilations", ()))
    sizes = [int(size) for size in attribute(node, "kernel_shape")]
    fits = all(one < size for one, size in zip(pads, (*sizes, *sizes), strict=True))
    require(plain and fits, Reason.OPERATOR_STOPS, node, "a window would be all padding")
    entry = None if pad.inputs[0] is None else pad.inputs[0].producer()
    positive = entry is not None and reader.dtype(pad.outputs[0]) in FLOATS and operator_of(entry).never_negative
    indices = any(map(is_read, node.outputs[1:]))
    require(node.op_type != "MaxPool" or (positive and not indices), Reason.SIGN_STOPS, node, "a zero may be the most")
