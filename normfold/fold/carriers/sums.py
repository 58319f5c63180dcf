"""Carriers that add: Add, Sum, Sub of variables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, compact
from normfold.findings.reason import Reason, Refusal
from normfold.fold.rule import Labels, Propagation, alternatives, data_label, propagate, require
from normfold.graph.display_names import display_name, name_of
from normfold.graph.reader import GraphReader


def moved_shift(reader: GraphReader, node: ir.Node, affine: Affine, index: int, other: int) -> Affine:
    """Get the shift that operand ``other`` must bring where operand ``index`` lacks ``affine``, a shift; or Refusal."""
    signs = [-1.0 if node.op_type == "Sub" and at == 1 else 1.0 for at in (index, other)]
    rank = len(reader.require_shape(node.outputs[0], node))
    whole = raised(affine, rank)
    return on_operand(reader, node, Affine(whole.scale, whole.shift * signs[0] * signs[1]), node.inputs[other])


def mean_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Mean of n values: a sum whose shift, given to one of them, must be n times as large."""
    affine = data_label(node, labels)
    return add_backward(reader, node, {0: Affine(affine.scale, affine.shift * len(node.inputs))})


def mean_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Pass a scale that all of them lack, and the n-th part of their shifts."""
    (propagation,) = add_forward(reader, node, labels)
    count = len(node.inputs)
    return [Propagation({index: Affine(own.scale, own.shift / count) for index, own in propagation.labels.items()})]


def add_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """s*(u + v) + t: the scale to every addend, the shift to exactly one; either may be the one."""
    affine = data_label(node, labels)
    signs = [-1.0 if node.op_type == "Sub" and index == 1 else 1.0 for index in range(len(node.inputs))]
    if len(set(node.inputs)) == 1 and len(node.inputs) > 1:
        total = sum(signs)
        require(total != 0 or affine.has_no_shift, Reason.SHIFT_STOPS, node, "it subtracts a value from itself")
        shift = affine.shift / total if total else affine.shift
        return [Propagation(dict.fromkeys(range(len(node.inputs)), Affine(affine.scale, shift)))]
    takers = range(len(node.inputs)) if not affine.has_no_shift else range(1)
    return alternatives(takers, partial(_sum_propagation, reader, node, affine, signs))


def _sum_propagation(
    reader: GraphReader, node: ir.Node, affine: Affine, signs: Sequence[float], taker: int
) -> Propagation:
    labels = {}
    for index, value in enumerate(node.inputs):
        shift = affine.shift * signs[index] if index == taker else np.zeros_like(affine.shift)
        part = on_operand(reader, node, Affine(affine.scale, compact(shift)), value)
        if not part.is_identity:
            labels[index] = part
    return Propagation(labels)


def on_operand(reader: GraphReader, node: ir.Node, affine: Affine, operand: ir.Value | None) -> Affine:
    """Return an affine of a result on one of its operands; it may not vary where the operand is broadcast."""
    shape = reader.require_shape(operand, node)
    result = reader.shape(node.outputs[0])
    extra = affine.rank - len(shape)
    for axis in affine.varying_axes:
        own = shape[axis - extra] if axis >= extra else 1
        whole = result[axis] if result is not None else None
        size = max(affine.scale.shape[axis], affine.shift.shape[axis])
        fits = own == size or (own == whole and own is not None)
        require(fits, Reason.AXIS_STOPS, node, f"{display_name(operand)} of size {own} is broadcast along axis {axis}")
    return affine.map(lambda array: array.reshape(array.shape[extra:]))


def add_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Pass a scale of u + v only where every addend lacks the same one; shifts add up."""
    rank = len(reader.require_shape(node.outputs[0], node))
    whole = [raised(labels.get(index), rank) for index in range(len(node.inputs))]
    for index, other in enumerate(whole):
        if not np.array_equal(whole[0].scale, other.scale):
            lacking = display_name(node.inputs[index if other.has_no_scale else 0])
            raise Refusal(Reason.SUM_NEEDS_ALL, name_of(node), lacking, f"its addend {lacking} has not the same scale")
    if not whole[0].has_no_scale:
        for value in node.inputs:
            on_operand(reader, node, whole[0].scale_only, value)
    signs = [-1.0 if node.op_type == "Sub" and index == 1 else 1.0 for index in range(len(whole))]
    total = sum((sign * part.shift for sign, part in zip(signs, whole, strict=True)), np.zeros((1,) * rank))
    return propagate(Affine(whole[0].scale, compact(total)))


def raised(affine: Affine | None, rank: int) -> Affine:
    """Return an operand's affine at the rank of the result; the identity where there is none."""
    return Affine.identity(rank) if affine is None else Affine.of(affine.scale, affine.shift, rank)
