"""Carriers that only move elements: Transpose, Reshape and others like it, Expand, Slice, Gather, DepthToSpace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, compact
from normfold.findings.reason import Reason, Refusal
from normfold.fold.reshape_axes import reshaped
from normfold.fold.rule import (
    Labels,
    Propagation,
    at_rank_of,
    data_label,
    propagate,
    require,
    require_constant_on,
    require_varies_on,
)
from normfold.graph.display_names import name_of
from normfold.graph.evaluators import part_of_axis
from normfold.graph.reader import Dim, GraphReader, attribute

_TO_THE_END = 2**31 - 1  # exporters write this, or more, for the end of an axis whose size they do not know
_LONGEST_NAME = 20  # characters


def transpose(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Transpose the arrays like the tensor (backward: by the inverse permutation)."""
    affine = data_label(node, labels)
    permutation = attribute(node, "perm") or range(affine.rank)[::-1]
    order = list(permutation) if forward else [int(axis) for axis in np.argsort(permutation)]
    return propagate(affine.map(lambda array: array.transpose(order)))


def reshape(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Reshape, Flatten, Squeeze, Unsqueeze: the arrays follow where the axes along which they vary can be traced."""
    affine = data_label(node, labels)
    if affine.scale.size == affine.shift.size == 1:
        there = node.outputs[0] if forward else node.inputs[0]
        number = affine.map(lambda array: array.reshape(()))
        return propagate(number if there is None else at_rank_of(reader, there, number))
    before, after = reader.require_shape(node.inputs[0], node), _known_target(reader, node)
    source, target = (before, after) if forward else (after, before)
    scale, shift = reshaped(affine.scale, source, target), reshaped(affine.shift, source, target)
    if scale is None or shift is None:
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=f"{_shown(before)} to {_shown(after)} cannot be traced")
    return propagate(Affine(scale, shift))


def _shown(shape: Sequence[Dim]) -> str:
    """Return a shape for a message; a size that the model computes may have a name of several lines."""
    return "[" + ", ".join("?" if dim is None or len(str(dim)) > _LONGEST_NAME else str(dim) for dim in shape) + "]"


def _known_target(reader: GraphReader, node: ir.Node) -> tuple[Dim, ...]:
    """Return the output shape as inferred, with unknown sizes filled in from a constant target of Reshape."""
    shape = reader.shape(node.outputs[0])
    target = reader.constant(node.inputs[1]) if node.op_type == "Reshape" and len(node.inputs) > 1 else None
    if target is None:
        return reader.require_shape(node.outputs[0], node)
    sizes: list[Dim] = [int(size) if size > 0 else None for size in target]
    if shape is None:
        return tuple(sizes)
    return tuple(known if known is not None else size for known, size in zip(shape, sizes, strict=True))


def expand(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Expand and Tile: exact for affines that are constant on the axes that grow."""
    affine = data_label(node, labels)
    before, after = reader.require_shape(node.inputs[0], node), reader.require_shape(node.outputs[0], node)
    lead = len(after) - len(before)
    grown = [axis for axis, size in enumerate(after) if axis < lead or size is None or before[axis - lead] != size]
    if forward:
        affine = affine.map(lambda array: array.reshape((1,) * lead + array.shape))
    repeated = [axis for axis in grown if axis >= lead and (node.op_type == "Tile" or before[axis - lead] != 1)]
    limits = repeated if forward else grown
    require_constant_on(affine, limits, node, "repeated")
    return propagate(affine if forward else affine.map(lambda array: array.reshape(array.shape[lead:])))


# -- taking a part -----------------------------------------------------------------------------------------------
def part(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Slice and Gather: the same part of the arrays, which may not vary where it is known at run time only.

    Backward, what is not taken has scale 1 and shift 0, unless it has no other reader.
    """
    affine = data_label(node, labels)
    if node.op_type == "Gather" and not _picks_constants(reader, node):
        return propagate(_gathered(reader, node, affine, forward=forward))
    if not affine.rank:
        return propagate(affine)
    shape = reader.require_shape(node.inputs[0], node)
    if _is_cut_at_run_time(reader, node) and affine.is_constant_on(_sliced_axes(reader, node, len(shape))):
        return propagate(affine)
    picks = picks_of(reader, node, shape)
    drops = [axis for axis, pick in picks.items() if np.ndim(pick) == 0]
    if forward:
        return propagate(affine.map(lambda array: _taken(array, picks)))
    whole = affine.map(lambda array: np.expand_dims(array, drops))
    value = node.inputs[0]
    alone = value is not None and len(value.uses()) == 1
    if alone and whole.is_constant_on(picks):
        return propagate(whole)
    for axis, pick in picks.items():
        whole = _spread(reader, node, whole, axis, np.atleast_1d(pick))
    same = affine.same_as(whole.map(lambda array: _taken(array, picks)))
    require(same, Reason.READERS_DISAGREE, node, "an index is taken twice with different affines")
    return propagate(whole)


def features(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """ArrayFeatureExtractor takes columns of a table by constant indices."""
    affine = data_label(node, labels)
    require(affine.rank == 2, Reason.OPERATOR_STOPS, node, f"features of {affine.rank} dimensions")
    indices = np.asarray(reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS)).reshape(-1)
    if forward:
        return propagate(affine.map(lambda array: _taken(array, {1: indices})))
    whole = _spread(reader, node, affine, 1, indices)
    same = affine.same_as(whole.map(lambda array: _taken(array, {1: indices})))
    require(same, Reason.READERS_DISAGREE, node, "a feature is taken twice with different affines")
    return propagate(whole)


def _picks_constants(reader: GraphReader, node: ir.Node) -> bool:
    indices = reader.constant(node.inputs[1])
    return indices is not None and indices.ndim <= 1


def _gathered(reader: GraphReader, node: ir.Node, affine: Affine, *, forward: bool) -> Affine:
    """Through a Gather whose indices are of any rank: their axes stand where the one axis of the data stood."""
    rank, count = len(reader.require_shape(node.inputs[0], node)), len(reader.require_shape(node.inputs[1], node))
    axis = int(attribute(node, "axis", 0)) % rank
    indexed = range(axis, axis + (1 if forward else count))
    require_constant_on(affine, indexed, node, "indexed at run time")
    ones = (1,) * (count if forward else 1)
    return affine.map(lambda array: array.reshape((*array.shape[:axis], *ones, *array.shape[indexed.stop :])))


def _is_cut_at_run_time(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a Slice has bounds, or a length of the sliced axis, that are not known here."""
    if node.op_type != "Slice":
        return False
    try:
        picks_of(reader, node, reader.require_shape(node.inputs[0], node))
    except Refusal:
        return True
    return False


def _sliced_axes(reader: GraphReader, node: ir.Node, rank: int) -> list[int]:
    """Return the axes that a Slice cuts; all of them where they are not known."""
    axes = attribute(node, "axes") if "axes" in node.attributes else None
    if axes is None and len(node.inputs) > 3 and node.inputs[3] is not None:
        known = reader.constant(node.inputs[3])
        axes = None if known is None else [int(axis) for axis in known.reshape(-1)]
    return list(range(rank)) if axes is None else [axis % rank for axis in axes]


def _taken(array: Array, picks: Mapping[int, Array]) -> Array:
    for axis in sorted(picks, reverse=True):
        pick = picks[axis]
        if array.shape[axis] == 1:
            array = array if np.ndim(pick) else np.squeeze(array, axis)
        else:
            array = np.take(array, pick.astype(np.int64), axis=axis)
    return array


def _spread(reader: GraphReader, node: ir.Node, affine: Affine, axis: int, pick: Array) -> Affine:
    """Return the affine of a part, on the whole: identity where nothing is taken."""
    size = reader.require_shape(node.inputs[0], node)[axis]
    if not isinstance(size, int):
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), detail=f"its input is of size {size} along axis {axis}")

    def spread(array: Array, rest: float) -> Array:
        result = np.full((*array.shape[:axis], size, *array.shape[axis + 1 :]), rest)
        places: list[slice | Array] = [slice(None)] * array.ndim
        places[axis] = pick.astype(np.int64)
        result[tuple(places)] = array
        return compact(result)

    return Affine(spread(affine.scale, 1.0), spread(affine.shift, 0.0))


def picks_of(reader: GraphReader, node: ir.Node, shape: Sequence[Dim]) -> dict[int, Array]:
    """For each axis of which a part is taken, the indices; a number where the axis goes."""
    if node.op_type == "Gather":
        axis = int(attribute(node, "axis", 0)) % len(shape)
        indices = np.asarray(reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS))
        return {axis: indices}
    starts, ends, axes, steps = _slice_bounds(reader, node)
    picks = {}
    for start, end, axis, step in zip(
        starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True
    ):
        size = shape[axis]
        if start == 0 and step == 1 and end >= _TO_THE_END:
            continue
        if not isinstance(size, int):
            raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), detail=f"its input is of size {size} along axis {axis}")
        picks[axis % len(shape)] = np.arange(size)[part_of_axis(start, end, step, size)].astype(np.float64)
    return picks


def _slice_bounds(reader: GraphReader, node: ir.Node) -> list[list[int]]:
    """Return starts, ends, axes and steps: attributes before opset 10, inputs since."""
    if "starts" in node.attributes:
        return [list(attribute(node, name, ())) for name in ("starts", "ends", "axes", "steps")]
    return [
        [int(n) for n in reader.require_constant(node, index, Reason.DYNAMIC_PARAMETERS).reshape(-1)]
        if index < len(node.inputs) and node.inputs[index] is not None
        else []
        for index in range(1, 5)
    ]


# -- channels to space and back ----------------------------------------------------------------------------------
def depth_to_space(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Channels become positions of a block: input channel (i, j, c) in DCR mode, (c, i, j) in CRD, to channel c."""
    block = int(attribute(node, "blocksize"))
    first_axis = attribute(node, "mode", "DCR") != "CRD"
    return _blocks(node, data_label(node, labels), block, blocks_first=first_axis, gathers=forward)


def space_to_depth(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Positions of a block become channels: channel c to (i, j, c)."""
    return _blocks(
        node, data_label(node, labels), int(attribute(node, "blocksize")), blocks_first=True, gathers=not forward
    )


def _blocks(node: ir.Node, affine: Affine, block: int, *, blocks_first: bool, gathers: bool) -> list[Propagation]:
    """Between C channels and C*block^2: repeated one way; the other way all of a block must agree."""
    require_varies_on(affine, [1], node, "the channels are")
    count = block * block

    def gather(array: Array) -> Array:
        if array.shape[1] == 1:
            return array
        parts = array.reshape((count, -1) if blocks_first else (-1, count))
        same = parts[:1] if blocks_first else parts[:, :1]
        detail = f"it varies along axis 1 inside the {count} channels of a block"
        require(bool((parts == same).all()), Reason.AXIS_STOPS, node, detail)
        return same.reshape(1, -1, *[1] * (array.ndim - 2))

    def repeat(array: Array) -> Array:
        if array.shape[1] == 1:
            return array
        return np.tile(array, (1, count, *[1] * (array.ndim - 2))) if blocks_first else np.repeat(array, count, axis=1)

    return propagate(affine.map(gather if gathers else repeat))
