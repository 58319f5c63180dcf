"""Gemm with two variable factors, or with a variable C; with one variable factor alone it absorbs.

``alpha*A*B + beta*C``: one number goes into alpha and beta, columns into B and C, rows into A and C.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, compact
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason, Refusal
from normfold.fold.carriers.sums import on_operand, raised
from normfold.fold.rule import (
    Labels,
    Propagation,
    data_label,
    propagate,
    require,
    require_attributes_fit,
    require_constant_on,
)
from normfold.graph.display_names import name_of
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader, attribute, input_at


def is_linear(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether only one of its operands varies, A or B."""
    others = input_at(node, 2)
    factors = [reader.is_constant(value) for value in node.inputs[:2]]
    return any(factors) and (others is None or reader.is_constant(others))


def backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """s*(alpha*A*B + beta*C) + t: s by one of the factors, and s*C + t/beta by C."""
    affine = data_label(node, labels)
    inputs, asked, attributes = _into_addend(reader, node, affine)
    propagations = []
    for product, scaled in _into_product(reader, node, affine):
        rewrite = Rewrite(node, inputs=inputs, attributes={**attributes, **scaled})
        changes = bool(rewrite.inputs or rewrite.attributes)
        propagations.append(Propagation({**asked, **product}, rewrite if changes else None))
    detail = f"it varies along axes {list(affine.varying_axes)}, and no factor has them all"
    require(bool(propagations), Reason.AXIS_STOPS, node, detail)
    return propagations


def _into_addend(
    reader: GraphReader, node: ir.Node, affine: Affine
) -> tuple[dict[int, Array], dict[int, Affine], dict[str, float]]:
    """Return what C becomes, as a constant, or as what is asked of it, and beta with it."""
    beta = float(attribute(node, "beta", 1.0))
    value = input_at(node, 2)
    constant = np.zeros(()) if value is None else reader.constant(value)
    if constant is not None:
        if (value is None or affine.has_no_scale) and affine.has_no_shift:
            return {}, {}, {}
        wanted = np.asarray(affine.scale * beta * constant + affine.shift)
        require_fits(wanted, reader.dtype(node.outputs[0]), node)
        return {2: wanted}, {}, {"beta": 1.0}
    require(beta != 0, Reason.SHIFT_STOPS, node, "its beta is 0")
    changed = {}
    if affine.scale.size == 1 and affine.scale.all() and not affine.has_no_scale:
        beta *= float(affine.scale.reshape(()))
        changed = {"beta": beta}
        require_attributes_fit(reader, node, changed)
        affine = affine.shift_only
    part = on_operand(reader, node, Affine(affine.scale, compact(affine.shift / beta)), value)
    return {}, {} if part.is_identity else {2: part}, changed


def _into_product(
    reader: GraphReader, node: ir.Node, affine: Affine
) -> Iterator[tuple[dict[int, Affine], dict[str, float]]]:
    """Return the ways in which alpha*A*B takes a scale: by alpha, by the columns of B, by the rows of A."""
    scale = affine.scale
    if affine.has_no_scale:
        yield {}, {}
        return
    if scale.size == 1:
        scaled = {"alpha": float(attribute(node, "alpha", 1.0)) * float(scale.reshape(()))}
        require_attributes_fit(reader, node, scaled)
        yield {}, scaled
        return
    for index, along, flip in ((1, 1, "transB"), (0, 0, "transA")):
        if scale.shape[1 - along] == 1:
            own = scale.T if attribute(node, flip, 0) else scale
            yield {index: Affine(own, np.zeros((1, 1)))}, {}


def forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Put what a factor lacks into a constant other one or into alpha, one number of C into beta; shifts go on."""
    rank = len(reader.require_shape(node.outputs[0], node))
    addend = raised(labels.get(2), rank)
    beta = float(attribute(node, "beta", 1.0))
    shift = addend.shift * beta
    attributes: dict[str, float] = {}
    if not addend.has_no_scale:
        if addend.scale.size > 1:
            raise Refusal(Reason.SUM_NEEDS_ALL, name_of(node), detail="the product has not the same scale")
        attributes["beta"] = beta * float(addend.scale.reshape(()))
    inputs: dict[int, Array | Weight] = {}
    factor = 1.0
    for index in sorted({0, 1} & set(labels)):
        if reader.is_constant(node.inputs[1 - index]):
            scaled, _, moved = summed_with(reader, node, 1 - index, labels[index])
            inputs |= {} if labels[index].has_no_scale else {1 - index: scaled}
            shift = shift + moved
            continue
        scale = labels[index].scale
        require(labels[index].has_no_shift and scale.size == 1, Reason.DYNAMIC_WEIGHT, node, "both factors vary")
        factor *= float(scale.reshape(()))
    if factor != 1:
        attributes["alpha"] = float(attribute(node, "alpha", 1.0)) * factor
    require_attributes_fit(reader, node, attributes)
    for array in inputs.values():
        require_fits(array.largest() if isinstance(array, Weight) else array, reader.dtype(node.outputs[0]), node)
    (propagation,) = propagate(Affine.of(1.0, shift, rank))
    return [Propagation(propagation.labels, Rewrite(node, inputs, attributes) if inputs or attributes else None)]


def summed_with(reader: GraphReader, node: ir.Node, side: int, affine: Affine) -> tuple[Weight, int, Array]:
    """(s*x + t)*B = x*(s*B) + t*B: the constant at ``side`` times s, its axis that is summed, and what t becomes."""
    flips = [bool(attribute(node, name, 0)) for name in ("transA", "transB")]
    summed = side ^ flips[1 - side]
    require_constant_on(affine, [1 - summed], node, "not summed")
    weight = reader.require_weight(node, side, Reason.DYNAMIC_WEIGHT)
    across = (1 - side) ^ flips[side]
    scale, shift = affine.vectors(summed, weight.shape[across])
    moved = float(attribute(node, "alpha", 1.0)) * _contracted(weight, shift, across)
    return weight * np.expand_dims(scale, 1 - across), across, np.expand_dims(moved, 1 - side)


def _contracted(weight: Weight, vector: Array, axis: int) -> Array:
    """Return the sum over ``axis`` of a matrix times a vector along it."""
    if not vector.any():
        return np.zeros(weight.shape[1 - axis])
    exact = np.asarray(weight)
    return np.asarray(vector @ exact if axis == 0 else exact @ vector)
