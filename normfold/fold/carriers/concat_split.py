"""Carriers that join and part tensors along an axis: Concat and Split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, compact
from normfold.fold.rule import Labels, Propagation, data_label, propagate, size_of
from normfold.graph.reader import GraphReader, attribute


def concat_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Every input takes its own part of the arrays along the axis."""
    affine = data_label(node, labels)
    axis = int(attribute(node, "axis")) % affine.rank
    if affine.is_constant_on([axis]):
        return [Propagation(dict.fromkeys(range(len(node.inputs)), affine))]
    parts = _parts([size_of(reader, node, value, axis) for value in node.inputs], affine, axis)
    return [Propagation({index: part for index, part in enumerate(parts) if not part.is_identity})]


def concat_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Join the parts; an input without one has scale 1 and shift 0."""
    return _join(reader, node, labels, node.inputs)


def _join(reader: GraphReader, node: ir.Node, labels: Labels, parts: Sequence[ir.Value | None]) -> list[Propagation]:
    """One affine made of those of ``parts`` along the node's axis."""
    rank = next(iter(labels.values())).rank
    axis = int(attribute(node, "axis", 0)) % rank
    sizes = [size_of(reader, node, value, axis) for value in parts]
    whole = [labels.get(index, Affine.identity(rank)) for index in range(len(parts))]
    scales, shifts = [part.scale for part in whole], [part.shift for part in whole]
    return propagate(Affine(_joined(scales, sizes, axis), _joined(shifts, sizes, axis)))


def _joined(arrays: Sequence[Array], sizes: Sequence[int], axis: int) -> Array:
    common = np.broadcast_shapes(*(_without(array.shape, axis) for array in arrays))
    spread = [
        np.broadcast_to(array, (*common[:axis], size, *common[axis + 1 :]))
        for array, size in zip(arrays, sizes, strict=True)
    ]
    return compact(np.concatenate(spread, axis=axis))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _parts(sizes: Sequence[int], affine: Affine, axis: int) -> list[Affine]:
    def cut(start: int, stop: int) -> Affine:
        return affine.map(lambda array: array if array.shape[axis] == 1 else array.take(range(start, stop), axis=axis))

    ends = np.cumsum(sizes)
    return [cut(int(end) - size, int(end)) for size, end in zip(sizes, ends, strict=True)]


def split_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Give the input the joined arrays of all outputs; an output without a request has scale 1 and shift 0."""
    return _join(reader, node, labels, node.outputs)


def split_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Every output lacks its own part."""
    affine = data_label(node, labels)
    axis = int(attribute(node, "axis", 0)) % affine.rank
    parts = _parts([size_of(reader, node, value, axis) for value in node.outputs], affine, axis)
    return [Propagation({index: part for index, part in enumerate(parts) if not part.is_identity})]
