"""Shapes inside a region: when two are the same, which elements a norm reduces, how constants follow a Reshape.

A shape is a tuple of sizes (int) and names (str). An unknown size has a name of its own, so it equals only itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array, compact
from normfold.graph.reader import GraphReader

Size = int | str
Sizes = tuple[Size, ...]


def sizes_of(reader: GraphReader, value: ir.Value) -> Sizes | None:
    """Return the shape of ``value``; None when its rank is unknown."""
    shape = reader.shape(value)
    if shape is None:
        return None
    return tuple(f"?{value.name}.{axis}" if size is None else size for axis, size in enumerate(shape))


def count_of(sizes: Sequence[Size]) -> int | None:
    """Return the number of elements, where every size is known."""
    return math.prod(size for size in sizes if isinstance(size, int)) if _static(sizes) else None


def _static(sizes: Sequence[Size]) -> bool:
    return all(isinstance(size, int) for size in sizes)


def numbers(sizes: Sequence[Size]) -> tuple[int, ...]:
    """Return sizes that are all known."""
    return tuple(int(size) for size in sizes)


def same_shape(one: Sizes, other: Sizes) -> bool:
    """Say whether two shapes of the same number of elements are equal: all sizes but one decide the last one."""
    if len(one) != len(other):
        return False
    different = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    return len(different) <= 1 and not any(isinstance(a, int) and isinstance(b, int) for a, b in different)


@dataclass(frozen=True)
class Grouping:
    """Which elements of the root share a mean: those along ``axes``, or those of one of ``groups`` channel groups.

    Both are set where both say the same: one group is all axes but the first, one group a channel is all axes but the
    first and that of the channels, which is ``channel``: 1, or the last.
    """

    axes: tuple[int, ...] | None
    groups: int | None
    channel: int = 1

    @staticmethod
    def of_axes(axes: tuple[int, ...], root: Sizes) -> Grouping:
        """Make a grouping of the axes that are reduced."""
        rank = len(root)
        if rank >= 2 and axes == tuple(range(1, rank)):
            return Grouping(axes, 1)
        for channel in (1, rank - 1):
            if rank >= 3 and axes == _spatial(rank, channel) and isinstance(root[channel], int):
                return Grouping(axes, int(root[channel]), channel)
        return Grouping(axes, None)

    @staticmethod
    def of_groups(groups: int, root: Sizes, channel: int = 1) -> Grouping | None:
        """Make a grouping of the number of channel groups; None when the channels cannot be divided so."""
        rank = len(root)
        channels = root[channel] if rank >= 2 else None
        if not isinstance(channels, int) or groups < 1 or channels % groups:
            return None
        axes = tuple(range(1, rank)) if groups == 1 else None
        if groups == channels and rank >= 3:
            axes = _spatial(rank, channel)
        return Grouping(axes, groups, channel)


def _spatial(rank: int, channel: int) -> tuple[int, ...]:
    """Return all axes but the first and that of the channels."""
    return tuple(axis for axis in range(1, rank) if axis != channel)


def grouping_of(root: Sizes, view: Sizes, axes: tuple[int, ...]) -> Grouping | None:
    """Return which elements of the root are reduced by ``axes`` of ``view``, a Reshape of it; None for no norm.

    The last axes of a view are contiguous blocks of the root's elements. Where the channels come last and were split
    into groups, all axes but the first and that of the groups are the elements of a group.
    """
    found = _grouping_of(root, view, axes)
    if found is not None or 1 not in view:
        return found
    longer = [axis for axis, size in enumerate(view) if size != 1]  # a view may have axes of size 1 anywhere
    return _grouping_of(
        root, tuple(view[axis] for axis in longer), tuple(longer.index(axis) for axis in axes if axis in longer)
    )


def _grouping_of(root: Sizes, view: Sizes, axes: tuple[int, ...]) -> Grouping | None:
    if _splits_last(root, view, axes):
        return Grouping.of_groups(int(view[-2]), root, len(root) - 1)
    if axes != tuple(range(len(view) - len(axes), len(view))) or not axes:
        return None
    kept, block = view[: -len(axes)], view[-len(axes) :]
    for first in range(len(root) - 1, -1, -1):
        if root[first:] == block or (count_of(block) is not None and count_of(block) == count_of(root[first:])):
            return Grouping.of_axes(tuple(range(first, len(root))), root)
    groups = _groups(root, kept, block)
    return None if groups is None else Grouping.of_groups(groups, root)


def _splits_last(root: Sizes, view: Sizes, axes: tuple[int, ...]) -> bool:
    """Say whether a view is [N, ..., groups, C/groups] of a root [N, ..., C], and a norm in groups reduces ``axes``.

    What lies between has the same elements in the same order, because everything else has.
    """
    if len(root) < 3 or len(view) < 4 or axes != _spatial(len(view), len(view) - 2):
        return False
    split, channels = count_of(view[-2:]), root[-1]
    is_split = split is not None and split == channels
    return is_split and (view[0] == root[0] or same_shape(view, (*root[:-1], *view[-2:])))


def _groups(root: Sizes, kept: Sizes, block: Sizes) -> int | None:
    if len(root) < 2 or not isinstance(root[1], int):
        return None
    channels, spatial = root[1], root[2:]
    if len(kept) == 2 and kept[0] == root[0] and isinstance(kept[1], int):
        return kept[1]
    if isinstance(block[0], int) and block[1:] == spatial and channels % block[0] == 0:
        return channels // block[0]
    length, area = count_of(block), count_of(spatial)
    if length and area and length % area == 0 and channels % (length // area) == 0:
        return channels // (length // area)
    blocks = count_of(kept)
    if blocks is not None and isinstance(root[0], int) and root[0] and blocks % root[0] == 0:
        return blocks // root[0]
    return None


def moved(array: Array, old: Sizes, new: Sizes) -> Array | None:
    """Carry a coefficient from a value of shape ``old`` to the same elements in shape ``new``; None if it cannot."""
    varying = [axis for axis, size in enumerate(array.shape) if size > 1]
    if not varying:
        return array.reshape((1,) * len(new))
    block = _same_block(old, new, varying[0])
    if block is not None:
        first, second = block
        whole = np.broadcast_to(array.reshape(array.shape[first:]), numbers(old[first:]))
        return compact(whole.reshape((1,) * second + numbers(new[second:])))
    return _moved_channels(array, old, new, varying)


def _same_block(old: Sizes, new: Sizes, first_varying: int) -> tuple[int, int] | None:
    """Return the last axes of both that hold the same elements and include ``first_varying``."""
    for first in range(first_varying, -1, -1):
        count = count_of(old[first:])
        if count is None:
            return None
        for second in range(len(new) - 1, -1, -1):
            if count_of(new[second:]) == count:
                return first, second
    return None


def _moved_channels(array: Array, old: Sizes, new: Sizes, varying: list[int]) -> Array | None:
    """Carry it along axis 1, behind an equal first axis: channels into groups of channels, or back."""
    if 0 in varying or old[:1] != new[:1] or len(old) < 2 or len(new) < 2:
        return None
    for last in range(1, len(old)):
        for until in range(1, len(new)):
            old_count, new_count = count_of(old[1 : last + 1]), count_of(new[1 : until + 1])
            if old_count is None or new_count is None or max(varying) > last:
                continue
            tail = (1,) * (len(new) - 1 - until)
            whole = np.broadcast_to(array.reshape(array.shape[1 : last + 1]), numbers(old[1 : last + 1])).reshape(-1)
            if old_count == new_count and _rest_agrees(old[last + 1 :], new[until + 1 :]):
                return compact(whole.reshape((1, *numbers(new[1 : until + 1]), *tail)))
            if last == 1 and until == 1 and old_count and new_count % old_count == 0 and len(old) == 3:
                return compact(np.repeat(whole, new_count // old_count).reshape((1, new_count, *tail)))
    return None


def _rest_agrees(old: Sizes, new: Sizes) -> bool:
    """Say whether the axes behind the channels have the same elements, because all before have."""
    return bool(old) == bool(new)


def moved_sizes(sizes: tuple[int, ...], old: Sizes, new: Sizes) -> tuple[int, ...] | None:
    """Return the sizes of a parameter that fills the last axes of ``old``, or its channels, in ``new``."""
    varying = [axis for axis, size in enumerate(sizes) if size > 1]
    if not varying:
        return (1,) * len(new)
    if varying == [1] and len(new) >= 2 and old[:2] == new[:2]:
        return (1, sizes[1], *(1,) * (len(new) - 2))
    block = _same_block(old, new, varying[0])
    if block is None or sizes[block[0] :] != old[block[0] :]:
        return None
    return (1,) * block[1] + tuple(int(size) for size in new[block[1] :])
