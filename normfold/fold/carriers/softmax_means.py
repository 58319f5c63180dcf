"""Products that are weighted means: what a Softmax gives sums to one, so a shift of the values is one of their mean.

``P @ (V + t) = P @ V + t`` where the rows of P sum to one and t is the same for all rows of V: attention, Vaswani et
al. 2017. The values may also stand on the left, ``(V + t) @ P'``.
"""

from __future__ import annotations

import onnx_ir as ir

from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader, attribute, has_parameters
from normfold.graph.training import passes_values


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
