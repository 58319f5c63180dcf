"""LSTM, GRU and RNN: the input weight W and its bias take an affine of the input features.

Source: https://onnx.ai/onnx/operators/onnx__LSTM.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.fold.absorbers.common import bias_of, fitted, single_label, weight_of
from normfold.fold.rule import Labels, require_varies_on
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader


def recurrent_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """W(s*x + t) + Wb = (W*s)x + (W t + Wb). X is [T, N, I] (or [N, T, I]), W [D, G*H, I], B [D, 2*G*H], Wb first."""
    affine = single_label(node, labels)
    weight, bias = np.asarray(weight_of(reader, node, 1)), bias_of(reader, node, 3)
    require_varies_on(affine, [2], node, "the features are")
    scale, shift = affine.vectors(2, weight.shape[2])
    rows = weight.shape[1]
    changed: dict[int, Array] = {} if affine.has_no_scale else {1: weight * scale}
    if not affine.has_no_shift:
        wanted = np.zeros((weight.shape[0], 2 * rows)) if bias is None else bias.copy()
        wanted[:, :rows] += weight @ shift
        changed[3] = wanted
    return Rewrite(node, inputs=fitted(reader, node, 1, changed))
