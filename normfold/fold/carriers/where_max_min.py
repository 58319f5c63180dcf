"""Carriers that choose between values, element by element: Where, Max and Min.

All of them take the same affine; a constant among them, such as the fill of a mask, takes it into its own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, squeeze_leading
from normfold.findings.reason import Reason, Refusal
from normfold.fold.carriers.sums import on_operand, raised
from normfold.fold.rule import Labels, Propagation, applied, data_label, how_many, require
from normfold.graph.display_names import name_of
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader

_OPPOSITE = {"Max": "Min", "Min": "Max"}
_BROADCASTS = 8  # the opset since which Max and Min do


def choice(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """max(s*u + t, s*v + t) = s*max(u, v) + t for s >= 0, with min in its place for s <= 0; a Where for every s."""
    require(reader.opset >= _BROADCASTS, Reason.OPERATOR_STOPS, node, f"{node.op_type} of opset {reader.opset}")
    affine = _common(reader, node, labels) if forward else data_label(node, labels)
    operator = _turned(node, affine)
    constants = {index for index in _chosen(node) if reader.is_constant(node.inputs[index])}
    inverts = forward and bool(constants)
    require(not inverts or bool(affine.scale.all()), Reason.SIGN_STOPS, node, f"{how_many(affine.scale == 0)} are 0")
    inputs = {}
    for index in constants:
        array = reader.constant(node.inputs[index])
        if array is None:
            raise Refusal(Reason.DYNAMIC_PARAMETERS, name_of(node), detail=f"input {index} is no constant")
        wanted = affine.inverse() if forward else affine
        inputs[index] = squeeze_leading(applied(reader, node, index, wanted), array.ndim)
    rewrite = Rewrite(node, inputs=inputs, operator=operator) if inputs or operator else None
    if forward:
        return [Propagation({0: affine}, rewrite)]
    others = [index for index in _chosen(node) if index not in constants]
    return [Propagation({index: on_operand(reader, node, affine, node.inputs[index]) for index in others}, rewrite)]


def _chosen(node: ir.Node) -> range:
    """Return the operands that are chosen from: all but the condition of a Where."""
    return range(1 if node.op_type == "Where" else 0, len(node.inputs))


def _turned(node: ir.Node, affine: Affine) -> str:
    """Return the operator it becomes under a negative scale; "" where it stays."""
    if node.op_type == "Where" or affine.scale_is_nonnegative:
        return ""
    detail = f"scales of both signs; {how_many(affine.scale < 0)} are negative"
    require(bool((affine.scale <= 0).all()), Reason.SIGN_STOPS, node, detail)
    return _OPPOSITE[node.op_type]


def _common(reader: GraphReader, node: ir.Node, labels: Labels) -> Affine:
    """Return what all variable operands lack; a Refusal where they do not lack the same."""
    rank = len(reader.require_shape(node.outputs[0], node))
    whole = list(_raised(reader, node, labels, rank))
    same = all(other.same_as(whole[0]) for other in whole[1:])
    require(same, Reason.SUM_NEEDS_ALL, node, "the values to choose from would carry different affines")
    for index in _chosen(node):
        if not reader.is_constant(node.inputs[index]):
            on_operand(reader, node, whole[0], node.inputs[index])
    return whole[0]


def _raised(reader: GraphReader, node: ir.Node, labels: Labels, rank: int) -> Iterator[Affine]:
    for index in _chosen(node):
        if not reader.is_constant(node.inputs[index]):
            own = raised(labels.get(index), rank)
            yield Affine(np.asarray(own.scale), np.asarray(own.shift))
