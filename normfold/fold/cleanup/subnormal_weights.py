"""Write weights too small for a normal float32 as zero: a product with one takes a processor up to 100 times as long.

Weight decay leaves such channels dead behind a BatchNormalization. What they add is below 1.2e-38 times the input,
which changes no normal number, and what devices that flush them to zero compute in any case.
Source: IEEE 754-2019, section 3.3.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.operators.table import is_standard

_CONVS = ("Conv", "ConvTranspose")
_MAGNITUDE, _LARGEST = np.uint32(0x7FFFFFFF), np.uint32(0x007FFFFF)  # the bits of a magnitude, of the largest subnormal


def flush_subnormal_weights(model: ir.Model) -> int:
    """Write subnormal weights and biases of convolutions as zero, in place; return how many there were."""
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
    subnormal = (bits != 0) & (bits <= _LARGEST)
    count = int(np.count_nonzero(subnormal))
    if count:
        value.const_value = ir.tensor(np.where(subnormal, np.float32(0), array), name=value.name)
    return count
