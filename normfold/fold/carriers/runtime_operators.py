"""Carriers of ONNX Runtime's own operators: products with a factor, and activations with a number of their own.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.fold.rule import Labels, Propagation, data_label, one_scale, require, require_attributes_fit
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute

_ALPHA_OF_QUICK_GELU = 1.702


def quick_gelu(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Pass one s: x*sigmoid(a*x) of s*x is s * (x*sigmoid(s*a*x)), so that alpha takes it in as well."""
    affine = data_label(node, labels)
    scale = one_scale(affine, node, "its alpha")
    require(scale != 0, Reason.SIGN_STOPS, node, "the scale is 0")
    own = float(attribute(node, "alpha", _ALPHA_OF_QUICK_GELU))
    changed = {"alpha": own * scale if forward else own / scale}
    require_attributes_fit(reader, node, changed)
    return [Propagation({0: affine}, Rewrite(node, attributes=changed))]


def fused_matmul(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Put one number of either factor, or of the result, into alpha."""
    alpha = float(attribute(node, "alpha", 1.0))
    for affine in labels.values():
        alpha *= one_scale(affine, node, "its alpha")
    changed = {"alpha": alpha}
    require_attributes_fit(reader, node, changed)
    return [Propagation({}, Rewrite(node, attributes=changed))]
