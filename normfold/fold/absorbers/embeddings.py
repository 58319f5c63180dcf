"""Gather from a constant table: an embedding takes an affine of its features into the table."""

from __future__ import annotations

import onnx_ir as ir

from normfold.fold.absorbers.common import fitted, single_label, weight_of
from normfold.fold.carriers.indexing import axes_kept
from normfold.fold.rule import Labels, require_constant_on
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute


def gather_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """s*table[i] + t = (s*table + t)[i] on the table's own axes; not on those of the indices."""
    affine = single_label(node, labels)
    table = weight_of(reader, node, 0)
    axis = int(attribute(node, "axis", 0)) % table.ndim
    indexed = affine.rank - table.ndim + 1
    span = range(axis, axis + indexed)
    require_constant_on(affine, span, node, "of the indices, and not of the table")
    on_table = affine.map(lambda array: array.reshape((*array.shape[:axis], 1, *array.shape[axis + indexed :])))
    return Rewrite(node, inputs=fitted(reader, node, 0, {0: table * on_table.scale + on_table.shift}))


def gather_nd_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> Rewrite:
    """As Gather, on the axes of the table that the indices leave whole."""
    affine = single_label(node, labels)
    table = weight_of(reader, node, 0)
    kept = axes_kept(reader, node)
    require_constant_on(affine, range(affine.rank - kept), node, "of the indices, and not of the table")
    on_table = affine.map(lambda array: array.reshape((1,) * (table.ndim - kept) + array.shape[array.ndim - kept :]))
    return Rewrite(node, inputs=fitted(reader, node, 0, {0: table * on_table.scale + on_table.shift}))
