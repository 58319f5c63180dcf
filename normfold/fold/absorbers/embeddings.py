"""Gather from a constant table: an embedding takes an affine of its features into the table, or into its scales."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Reason
from normfold.fold.absorbers.common import fitted, single_label, weight_of
from normfold.fold.absorbers.quantized import Stored, rescaled
from normfold.fold.carriers.indexing import axes_kept
from normfold.fold.rule import Labels, require, require_constant_on
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute

_SCALES, _ZEROS = 2, 3  # inputs of a GatherBlockQuantized


def gather_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*table[i] + t = (s*table + t)[i] on the table's own axes; not on those of the indices."""
    table = weight_of(reader, node, 0)
    on_table = _on_table(node, single_label(node, labels), int(attribute(node, "axis", 0)), table.ndim)
    return Rewrite(node, inputs=fitted(reader, node, 0, {0: table * on_table.scale + on_table.shift}))


def _on_table(node: ir.Node, affine: Affine, axis: int, rank: int) -> Affine:
    """Return the affine of what was gathered along ``axis`` as one of its table, which has ``rank`` axes."""
    axis %= rank
    indexed = affine.rank - rank + 1
    require_constant_on(affine, range(axis, axis + indexed), node, "of the indices, and not of the table")
    return affine.map(lambda array: array.reshape((*array.shape[:axis], 1, *array.shape[axis + indexed :])))


def gather_quantized_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*((q - zero) * scale)[i] = ((q - zero) * (s*scale))[i], where s is the same inside each block of the scales.

    Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GatherBlockQuantized
    """
    affine = single_label(node, labels)
    require(affine.has_no_shift, Reason.SHIFT_STOPS, node, "its zero point is an integer")
    rank = np.ndim(reader.require_constant(node, _SCALES, Reason.QUANTIZED))
    factor = _on_table(node, affine, int(attribute(node, "gather_axis", 0)), rank).scale
    along = int(attribute(node, "quantize_axis", 1)) % rank
    block = int(attribute(node, "block_size", 128)) or factor.shape[along]  # 0 takes all of the axis
    inputs, _ = rescaled(reader, node, Stored(_SCALES, _ZEROS, along, block), factor)
    return Rewrite(node, inputs=dict(inputs))


def gather_nd_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As Gather, on the axes of the table that the indices leave whole."""
    affine = single_label(node, labels)
    table = weight_of(reader, node, 0)
    kept = axes_kept(reader, node)
    require_constant_on(affine, range(affine.rank - kept), node, "of the indices, and not of the table")
    on_table = affine.map(lambda array: array.reshape((1,) * (table.ndim - kept) + array.shape[array.ndim - kept :]))
    return Rewrite(node, inputs=fitted(reader, node, 0, {0: table * on_table.scale + on_table.shift}))
