"""Write weights as zero that are too small to count: a subnormal product takes a processor up to 100 times as long.

Weight decay leaves such channels dead behind a BatchNormalization. A subnormal weight adds less than 1.2e-38 times its
input, which changes no normal number. One below 1e-30 makes subnormal products with small inputs: it goes where its
filter has a weight or a bias that is 2**64 times as large, as float32 keeps 24 bits of their sum. What the user feeds
himself may be of any size, so there only subnormal weights go.
Source: IEEE 754-2019, section 3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.operators.table import is_standard

Bits = npt.NDArray[np.uint32]
"""Magnitudes of float32 as the integers that they are stored as, which are in the same order on every processor."""

_CONVS = ("Conv", "ConvTranspose")
_MAGNITUDE, _SUBNORMAL = np.uint32(0x7FFFFFFF), np.uint32(0x00800000)
_SMALL = np.float32(1e-30).view(np.uint32)
_SHARE = np.uint32(64 << 23)  # a factor of 2**64 in the exponent


def flush_subnormal_weights(model: ir.Model) -> int:
    """Write weights and biases of convolutions that add nothing as zero, in place; return how many there were."""
    return sum(
        _flush(value)
        for graph in (model.graph, *model.graph.subgraphs())
        for value in graph.initializers.values()
        if not value.is_graph_input() and not value.is_graph_output() and _is_of_convs(value)
    )


def _is_of_convs(value: ir.Value) -> bool:
    uses = value.uses()
    return bool(uses) and all(use.node.op_type in _CONVS and is_standard(use.node) and use.idx > 0 for use in uses)


def _flush(value: ir.Value) -> int:
    stored = value.const_value
    if stored is None or stored.dtype is not ir.DataType.FLOAT:
        return 0
    array = np.ascontiguousarray(stored.numpy())
    bits = array.view(np.uint32) & _MAGNITUDE
    negligible = (bits != 0) & (bits < _SMALL)
    if negligible.any():
        negligible &= (bits < _SUBNORMAL) | (bits + _SHARE <= _largest(value, bits))
    count = int(np.count_nonzero(negligible))
    if count:
        value.const_value = ir.tensor(np.where(negligible, np.float32(0), array), name=value.name)
    return count


def _largest(weight: ir.Value, bits: Bits) -> Bits:
    """Return the largest weight or bias of the filter that each weight is in; 0 where none is to be compared."""
    (node, place), *others = ((use.node, use.idx) for use in weight.uses())
    data = node.inputs[0]
    if others or place != 1 or node.op_type != "Conv" or data is None or data.producer() is None:
        return np.zeros_like(bits)
    largest: Bits = bits.reshape(len(bits), -1).max(axis=1)
    bias = node.inputs[2].const_value if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if bias is not None:
        largest = np.maximum(largest, np.ascontiguousarray(bias.numpy()).view(np.uint32) & _MAGNITUDE)
    return largest.reshape(-1, *[1] * (bits.ndim - 1))
