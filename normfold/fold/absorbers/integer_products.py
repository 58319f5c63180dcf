"""The constant scale of a product of integers: a factor of the product goes into it.

A scale for the whole weight becomes one by channel; the integers stay, and so does the group of operators that a
runtime executes as one.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import squeeze_leading
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import single_label
from normfold.fold.rule import Labels, require
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader


def scales_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """S * (input scale * weight scale) = input scale * (s * weight scale)."""
    affine = single_label(node, labels)
    require(bool(affine.scale.all()), Reason.QUANTIZED, node, "a quantization scale must not be 0")
    index = 0 if reader.is_constant(node.inputs[0]) else 1
    own = np.asarray(reader.require_constant(node, index, Reason.QUANTIZED))
    wanted = squeeze_leading(np.asarray(own * affine.scale), own.ndim)
    value = node.inputs[index]
    require_fits(wanted, None if value is None else reader.dtype(value), node)
    return Rewrite(node, inputs={index: wanted})
