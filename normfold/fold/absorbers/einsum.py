"""Einsum of a variable and a constant: a linear operator whose axes have letters.

Source: https://onnx.ai/onnx/operators/onnx__Einsum.html
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason, Refusal
from normfold.fold.absorbers.common import fitted, single_label, weight_of
from normfold.fold.einsum_equation import equation_of, on_letters
from normfold.fold.rule import Labels, require
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, name_of


@dataclass(frozen=True)
class OneConstant:
    """Letters of the variable, of the constant (which is input ``side``), and of the result."""

    variable: str
    constant: str
    result: str
    side: int


def _one_constant(reader: GraphReader, node: ir.Node) -> OneConstant:
    whole = equation_of(reader, node)
    require(len(whole.operands) == 2, Reason.OPERATOR_STOPS, node, f"{len(whole.operands)} operands")
    side = 1 if reader.is_constant(node.inputs[1]) else 0
    return OneConstant(whole.operands[1 - side], whole.operands[side], whole.result, side)


def einsum_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put the scale into the constant along the letters it shares with the result; the shift becomes an Add."""
    affine, equation = single_label(node, labels), _one_constant(reader, node)
    weight = weight_of(reader, node, equation.side)
    scale = on_letters(node, affine.scale, equation.result, equation.constant)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {equation.side: _scaled(node, weight, scale)}
    shift = None if affine.has_no_shift else affine.shift
    return Rewrite(node, inputs=fitted(reader, node, equation.side, changed), shift_after=shift)


def _scaled(node: ir.Node, weight: Weight, scale: Array) -> Weight:
    fits = all(size in (1, own) for size, own in zip(scale.shape, weight.shape, strict=True))
    detail = f"a scale of {list(scale.shape)} on a weight of {list(weight.shape)}"
    require(fits, Reason.AXIS_STOPS, node, detail)
    return weight * scale


def einsum_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """Put the scale into the constant along the letters it shares with the variable; the shift becomes an Add."""
    equation = _one_constant(reader, node)
    affine = single_label(node, labels, 1 - equation.side)
    weight = weight_of(reader, node, equation.side)
    scale = on_letters(node, affine.scale, equation.variable, equation.constant)
    changed: dict[int, Array | Weight] = {} if affine.has_no_scale else {equation.side: _scaled(node, weight, scale)}
    shift = None if affine.has_no_shift else _moved(node, affine.shift, weight, equation)
    return Rewrite(node, inputs=fitted(reader, node, equation.side, changed), shift_after=shift)


def _moved(node: ir.Node, shift: Array, weight: Weight, equation: OneConstant) -> Array:
    """Get what the shift becomes behind the sum: it is spread over the summed letters, whose sizes the weight knows."""
    summed = [letter for letter in equation.variable if letter not in equation.result]
    for letter in summed:
        if letter not in equation.constant:
            detail = f"it sums axis {letter}, which the weight does not have"
            raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=detail)
    on_weight = np.broadcast_to(on_letters(node, shift, equation.variable, equation.constant), weight.shape)
    kept = "".join(letter for letter in equation.result if letter in equation.constant)
    moved = np.einsum(f"{equation.constant},{equation.constant}->{kept}", np.asarray(weight), on_weight)
    return on_letters(node, moved, kept, equation.result)
