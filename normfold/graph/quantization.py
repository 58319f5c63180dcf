"""The numbers that a DequantizeLinear makes of constants: by tensor, by channel, or by blocks of a channel.

Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason
from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader, attribute


def is_dequantizer(reader: GraphReader, node: ir.Node | None) -> bool:
    """Return whether ``node`` is a DequantizeLinear of constants."""
    if node is None or node.op_type != "DequantizeLinear" or not is_standard(node):
        return False
    return all(operand is None or reader.is_constant(operand) for operand in node.inputs)


def dequantized(reader: GraphReader, node: ir.Node) -> Array:
    """Return ``(q - zero) * scale`` in float64, of the shape of q; Refusal where a part is no constant."""
    numbers, scale = (
        np.asarray(reader.require_constant(node, index, Reason.DYNAMIC_WEIGHT)).astype(np.float64) for index in (0, 1)
    )
    zero = reader.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    offset = np.zeros(()) if zero is None else on_numbers(node, np.asarray(zero).astype(np.float64), numbers.shape)
    return (numbers - offset) * on_numbers(node, scale, numbers.shape)


def on_numbers(node: ir.Node, parameter: Array, shape: tuple[int, ...]) -> Array:
    """Return a scale or zero point of a DequantizeLinear as it broadcasts to its numbers, which are of ``shape``."""
    if parameter.size == 1:
        return parameter.reshape(())
    axis = int(attribute(node, "axis", 1)) % len(shape)
    block = int(attribute(node, "block_size", 0))
    if not block:
        return parameter.reshape([-1 if at == axis else 1 for at in range(len(shape))])
    return np.repeat(parameter, block, axis=axis).take(range(shape[axis]), axis=axis)
