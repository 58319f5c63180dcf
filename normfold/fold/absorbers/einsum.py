"""Einsum of a variable and a constant: a linear operator whose axes have letters.

Source: https://onnx.ai/onnx/operators/onnx__Einsum.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from normfold.affine import Affine, Array
from normfold.edit import Rewrite
from normfold.fold.absorbers.common import fitted, only, weight_of
from normfold.fold.carriers.passage import require
from normfold.graph import GraphReader, attribute, name_of
from normfold.reason import Reason, Refusal
from normfold.weight import Weight


@dataclass(frozen=True)
class Equation:
    """Letters of the variable, of the constant (which is input ``side``), and of the result."""

    variable: str
    constant: str
    result: str
    side: int


def _equation(reader: GraphReader, node: ir.Node) -> Equation:
    text = str(attribute(node, "equation")).replace(" ", "")
    terms, arrow, result = text.partition("->")
    parts = terms.split(",")
    plain = bool(arrow) and len(parts) == 2 and "." not in text
    plain = plain and all(len(set(part)) == len(part) for part in (*parts, result))
    require(plain, Reason.OPERATOR_STOPS, node, f"equation {text!r}")
    side = 1 if reader.is_constant(node.inputs[1]) else 0
    return Equation(parts[1 - side], parts[side], result, side)


def _lettered(node: ir.Node, array: Array, letters: str, wanted: str) -> Array:
    """``array`` with axes ``letters``, as it broadcasts over axes ``wanted``."""
    for axis, letter in enumerate(letters):
        if letter not in wanted:
            require(
                array.shape[axis] == 1, Reason.AXIS_STOPS, node, f"it varies along {letter}, not an axis of the weight"
            )
    kept = [axis for axis, letter in enumerate(letters) if letter in wanted]
    small = array.reshape([array.shape[axis] for axis in kept])
    order = sorted(range(len(kept)), key=lambda at: wanted.index(letters[kept[at]]))
    form = [1] * len(wanted)
    for at in order:
        form[wanted.index(letters[kept[at]])] = small.shape[at]
    return small.transpose(order).reshape(form)


def einsum_backward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """The scale goes into the constant along the letters it shares with the result; the shift is an Add behind."""
    affine, equation = only(node, labels), _equation(reader, node)
    weight = weight_of(reader, node, equation.side)
    scale = _lettered(node, affine.scale, equation.result, equation.constant)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {equation.side: weight * scale}
    shift = None if affine.has_no_shift else affine.shift
    return Rewrite(node, inputs=fitted(reader, node, equation.side, changed), shift_after=shift)


def einsum_forward(reader: GraphReader, node: ir.Node, labels: Mapping[int, Affine]) -> Rewrite:
    """The scale goes into the constant along the letters it shares with the variable; the shift becomes an Add."""
    equation = _equation(reader, node)
    affine = only(node, labels, 1 - equation.side)
    weight = weight_of(reader, node, equation.side)
    scale = _lettered(node, affine.scale, equation.variable, equation.constant)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {equation.side: weight * scale}
    shift = None if affine.has_no_shift else _moved(node, affine.shift, weight, equation)
    return Rewrite(node, inputs=fitted(reader, node, equation.side, changed), shift_after=shift)


def _moved(node: ir.Node, shift: Array, weight: Weight, equation: Equation) -> Array:
    """What the shift becomes behind the sum: it is spread over the summed letters, whose sizes the weight knows."""
    summed = [letter for letter in equation.variable if letter not in equation.result]
    if any(letter not in equation.constant for letter in summed):
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail="it sums an axis that the weight does not have")
    on_weight = np.broadcast_to(_lettered(node, shift, equation.variable, equation.constant), weight.shape)
    kept = "".join(letter for letter in equation.result if letter in equation.constant)
    moved = np.einsum(f"{equation.constant},{equation.constant}->{kept}", np.asarray(weight), on_weight)
    return _lettered(node, moved, kept, equation.result)
