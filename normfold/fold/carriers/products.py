"""Carriers that multiply: Mul and Div by a variable, MatMul of two variables. A scale passes, by one factor.

A shift passes a product that is a weighted mean, ``P @ (V + t) = P @ V + t`` where the rows of P sum to one and t is
the same for all rows of V: attention, Vaswani et al. 2017. The values may also stand on the left, ``(V + t) @ P'``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, compact, squeeze_leading
from normfold.findings.reason import Reason, Refusal
from normfold.fold.carriers.integer_products import scales_at
from normfold.fold.carriers.sums import on_operand, raised
from normfold.fold.carriers.unary_functions import raised_to
from normfold.fold.einsum_equation import equation_of, on_letters
from normfold.fold.rule import (
    Labels,
    Propagation,
    alternatives,
    applied,
    data_label,
    how_many,
    one_scale,
    propagate,
    require,
    require_attributes_fit,
    require_constant_on,
    require_no_shift,
)
from normfold.graph.display_names import name_of
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute, has_parameters
from normfold.graph.training import passes_values
from normfold.operators.table import is_standard


def _scale(node: ir.Node, affine: Affine) -> Affine:
    require_no_shift(affine, node, "a product takes a scale only")
    return affine


def product_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """s*(u*v) = (s*u)*v = u*(s*v); s*(u/v) = (s*u)/v = u/(v/s). Of integers only the scales take s."""
    affine = data_label(node, labels)
    scales = scales_at(reader, node)
    if scales is not None:
        behind = None if affine.has_no_shift else Rewrite(node, shift_after=affine.shift)
        return [Propagation({} if affine.has_no_scale else {scales: affine.scale_only}, behind)]
    affine = _scale(node, affine)
    if node.inputs[0] is node.inputs[1]:
        require(node.op_type == "Mul", Reason.OPERATOR_STOPS, node, "it divides a value by itself")
        return [Propagation(dict.fromkeys((0, 1), raised_to(node, affine, 0.5)))]

    def by_operand(index: int) -> Propagation:
        part = affine if index == 0 or node.op_type == "Mul" else _inverse(node, affine)
        return Propagation({index: on_operand(reader, node, part, node.inputs[index])})

    return alternatives(range(len(node.inputs)), by_operand)


def _inverse(node: ir.Node, affine: Affine) -> Affine:
    detail = f"a divisor takes no scale of 0; {how_many(affine.scale == 0)} are 0"
    require(bool(affine.scale.all()), Reason.SIGN_STOPS, node, detail)
    return affine.inverse()


def product_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Multiply the scales that the factors lack; a divisor lacks the inverse, which a constant before it takes."""
    if node.op_type == "Div" and set(labels) == {1} and reader.is_constant(node.inputs[0]):
        divided = applied(reader, node, 0, _inverse(node, _scale(node, labels[1])))
        return [Propagation({}, Rewrite(node, inputs={0: squeeze_leading(divided)}))]
    rank = len(reader.require_shape(node.outputs[0], node))
    total = np.ones((1,) * rank)
    for index, affine in labels.items():
        own = _scale(node, affine)
        own = _inverse(node, own) if node.op_type == "Div" and index == 1 else own
        total = total * raised(own, rank).scale
    return propagate(Affine(compact(total), np.zeros((1,) * rank)))


def matmul_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """s*(U@V): into V by columns, into U by rows, by batch or as a scalar into either; a shift into the averaged."""
    affine = data_label(node, labels)
    sides = [index for index in (1, 0) if affine.has_no_shift or is_mean_over(reader, node, index)]
    affine = affine if sides else _scale(node, affine)
    propagations = [Propagation({index: part}) for index, part in _factors(reader, node, affine) if index in sides]
    along = " and ".join(f"axis {axis}" for axis in affine.varying_axes)
    require(bool(propagations), Reason.AXIS_STOPS, node, f"it varies along {along}, and no factor has them all")
    return propagations


def _factors(reader: GraphReader, node: ir.Node, affine: Affine) -> Iterator[tuple[int, Affine]]:
    for index, summed in ((1, -2), (0, -1)):
        shape = reader.require_shape(node.inputs[index], node)
        if len(shape) < 2 or affine.rank < 2 or not affine.is_constant_on([summed]):
            continue
        lead = affine.rank - len(shape)
        batch = [axis for axis in affine.varying_axes if axis < affine.rank - 2]
        own = [shape[axis - lead] if axis >= lead else 1 for axis in batch]
        if lead < 0 or any(size != _size(affine, axis) for axis, size in zip(batch, own, strict=True)):
            continue
        yield index, affine.map(lambda array, lead=lead: array.reshape(array.shape[lead:]))  # type: ignore[misc]  # bound now


def _is_averaged(reader: GraphReader, node: ir.Node, index: int, affine: Affine) -> bool:
    """Say whether a weighted mean is taken of an operand, and its shift is the same for all that goes into the mean."""
    is_same = affine.rank > 1 and affine.is_constant_on([-2 if index == 1 else -1])
    return is_same and not affine.has_no_shift and is_mean_over(reader, node, index)


def _size(affine: Affine, axis: int) -> int:
    return int(max(affine.scale.shape[axis], affine.shift.shape[axis]))


def matmul_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """(s*U)@V lacks s by rows or batch, U@(s*V) by columns or batch; nothing passes along the summed axis.

    A shift t of V that is the same for all columns adds U@t to whole rows, which a Softmax behind cancels.
    """
    rank = len(reader.require_shape(node.outputs[0], node))
    if len(labels) == 1:
        ((index, affine),) = labels.items()
        if _is_averaged(reader, node, index, affine) and affine.rank <= rank:
            return propagate(raised(affine, rank))
    total = np.ones((1,) * rank)
    moved: tuple[ir.Value, ...] = ()
    for index, affine in labels.items():
        own = affine
        if index == 1 and not affine.has_no_shift and affine.rank > 1 and affine.is_constant_on([-1]):
            moved = until_softmax(reader, node)
            own = affine.scale_only
        own = _scale(node, own)
        if own.rank < 2 or rank < own.rank:
            raise Refusal(Reason.AXIS_STOPS, name_of(node), detail="the axis of a vector is summed")
        summed = -1 if index == 0 else -2
        require_constant_on(own, [summed], node, "summed")
        total = total * raised(own, rank).scale
    whole = Affine(compact(total), np.zeros((1,) * rank))
    return [Propagation(propagate(whole)[0].labels, None, moved[:-1], moved[-1:])]


def until_softmax(reader: GraphReader, node: ir.Node) -> tuple[ir.Value, ...]:
    """Return the values from the product to the Softmax that cancels what is added to whole rows; Refusal without one.

    softmax(x + c) = softmax(x) along the last axis; sums with a mask and products with one number lie between.
    """
    values = [node.outputs[0]]
    while not values[-1].is_graph_output() and len(values[-1].uses()) == 1:
        value, reading = values[-1], next(iter(values[-1].uses()))[0]
        rank = len(reader.require_shape(value, node))
        if not is_standard(reading) or reading.graph is not node.graph:
            break
        values.append(reading.outputs[0])
        if reading.op_type == "Softmax":
            axis = int(attribute(reading, "axis", -1 if reader.opset >= 13 else 1)) % rank
            require(axis == rank - 1, Reason.SHIFT_STOPS, node, f"the Softmax behind it is along axis {axis}")
            return tuple(values)
        if not _keeps_rows(reader, reading) or len(reader.shape(reading.outputs[0]) or ()) != rank:
            break
    raise Refusal(Reason.SHIFT_STOPS, name_of(node), detail="a product takes a scale only")


def _keeps_rows(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a number added to a row stays a number added to that row: a sum, a product with one number."""
    if node.op_type == "Add":
        return True
    numbers = [(array := reader.constant(value)) is not None and array.size == 1 for value in node.inputs]
    return (node.op_type == "Mul" and any(numbers)) or (node.op_type == "Div" and numbers[1])


def einsum(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Pass a scale by any operand that has all the letters along which it varies (forward: into the result)."""
    equation = equation_of(reader, node)
    if forward:
        total = np.ones((1,) * len(equation.result))
        for index, affine in labels.items():
            own = _scale(node, affine).scale
            total = total * on_letters(node, own, equation.operands[index], equation.result)
        return propagate(Affine(compact(total), np.zeros((1,) * total.ndim)))
    affine = _scale(node, data_label(node, labels))

    def by_operand(index: int) -> Propagation:
        shape = reader.require_shape(node.inputs[index], node)
        scale = on_letters(node, affine.scale, equation.result, equation.operands[index])
        fits = all(size in (1, own) for size, own in zip(scale.shape, shape, strict=True))
        require(fits, Reason.AXIS_STOPS, node, f"a scale of {list(scale.shape)} on an operand of {list(shape)}")
        return Propagation({index: Affine(scale, np.zeros((1,) * scale.ndim))})

    return alternatives(range(len(equation.operands)), by_operand)


def is_mean_over(reader: GraphReader, node: ir.Node, index: int) -> bool:
    """Say if the other operand of MatMul ``node`` weighs what its operand ``index`` holds with weights of sum one."""
    summed = -1 if index == 1 else -2
    value = node.inputs[1 - index]
    while value is not None:
        maker = value.producer()
        if maker is None or maker.graph is not node.graph or not is_standard(maker):
            return False
        if has_parameters(maker):
            return False
        if maker.op_type == "Softmax":
            return _sums_along(reader, maker, summed)
        if maker.op_type == "Transpose" and _swaps_last_two(maker):
            summed = -3 - summed
        elif maker.outputs[0] is not value or not passes_values(reader, maker):
            return False
        value = maker.inputs[0]
    return False


def _sums_along(reader: GraphReader, softmax: ir.Node, axis: int) -> bool:
    """Before opset 13 a Softmax is over its axis and all behind it."""
    shape = reader.shape(softmax.outputs[0])
    if shape is None or len(shape) < 2:
        return False
    own = int(attribute(softmax, "axis", -1 if reader.opset >= 13 else 1)) % len(shape)
    return own == len(shape) + axis and (reader.opset >= 13 or axis == -1)


def _swaps_last_two(transpose: ir.Node) -> bool:
    perm = attribute(transpose, "perm")
    rank = 0 if perm is None else len(perm)
    return rank >= 2 and list(perm) == [*range(rank - 2), rank - 1, rank - 2]


def fused_matmul(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Put one number of either factor, or of the result, into alpha."""
    alpha = float(attribute(node, "alpha", 1.0))
    for affine in labels.values():
        alpha *= one_scale(affine, node, "its alpha")
    changed = {"alpha": alpha}
    require_attributes_fit(reader, node, changed)
    return [Propagation({}, Rewrite(node, attributes=changed))]
