"""How an array that broadcasts to a tensor follows the tensor through Reshape, without being expanded.

Two shapes of the same number of elements fall into groups of dimensions with equal products, as in
``[B, N, 12, 64] -> [B*N, 768]``: ``B, N | 12, 64`` and ``B*N | 768``. An array may vary inside a group only when all
sizes of the group are known; it is then expanded inside that group, reshaped, and made compact again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from normfold.algebra.affine import Array, compact
from normfold.graph.reader import Dim

AxisGroup = tuple[range, range]


def groups_of(source: Sequence[Dim], target: Sequence[Dim]) -> list[AxisGroup]:
    """Return groups of axes of ``source`` and ``target`` that hold the same elements in the same order.

    Equal sizes are matched from both ends, which is sound for row-major tensors of equal element count; what lies
    between is split where running products of known sizes meet.
    """
    head: list[AxisGroup] = []
    front = 0
    while front < min(len(source), len(target)) and _equal(source[front], target[front]):
        head.append((range(front, front + 1), range(front, front + 1)))
        front += 1
    back = 0
    while back < min(len(source), len(target)) - front and _equal(source[-1 - back], target[-1 - back]):
        back += 1
    tail = [
        (range(len(source) - step, len(source) - step + 1), range(len(target) - step, len(target) - step + 1))
        for step in range(back, 0, -1)
    ]
    middle = _split(source, target, range(front, len(source) - back), range(front, len(target) - back))
    return [*head, *middle, *tail]


def _equal(left: Dim, right: Dim) -> bool:
    return left is not None and left == right


def _split(source: Sequence[Dim], target: Sequence[Dim], left: range, right: range) -> list[AxisGroup]:
    """Split the ranges from the back, where sizes are most often known, as long as products of known sizes meet."""
    groups: list[AxisGroup] = []
    i, j = left.stop, right.stop
    low_i, low_j = i, j
    product_left, product_right = 1, 1
    while low_i > left.start or low_j > right.start:
        if product_left <= product_right and low_i > left.start:
            low_i -= 1
            size, product_left = source[low_i], _times(product_left, source[low_i])
        elif low_j > right.start:
            low_j -= 1
            size, product_right = target[low_j], _times(product_right, target[low_j])
        else:
            break
        if not isinstance(size, int) or size == 0:
            break
        if product_left == product_right and low_i < i and low_j < j:
            groups.append((range(low_i, i), range(low_j, j)))
            i, j, product_left, product_right = low_i, low_j, 1, 1
    if i > left.start or j > right.start:
        groups.append((range(left.start, i), range(right.start, j)))
    return groups[::-1]


def _times(product: int, size: Dim) -> int:
    return product * size if isinstance(size, int) else 0


def reshaped(array: Array, source: Sequence[Dim], target: Sequence[Dim]) -> Array | None:
    """``array``, compact and of the rank of ``source``, as it looks on ``target``; None where it cannot be traced."""
    pieces: list[int] = []
    expanded = list(array.shape)
    for left, right in groups_of(source, target):
        varies = any(array.shape[axis] > 1 for axis in left)
        if not varies:
            pieces.extend(1 for _ in right)
            continue
        sizes = [source[axis] for axis in left]
        if len(left) == 1 and len(right) == 1:
            pieces.append(array.shape[left[0]])
            continue
        wanted = [target[axis] for axis in right]
        if not all(isinstance(size, int) for size in (*sizes, *wanted)):
            return None
        if prod(size for size in sizes if isinstance(size, int)) != prod(w for w in wanted if isinstance(w, int)):
            return None
        for axis, size in zip(left, sizes, strict=True):
            assert isinstance(size, int), "checked above"
            expanded[axis] = size
        pieces.extend(size for size in wanted if isinstance(size, int))
    return compact(np.broadcast_to(array, expanded).reshape(pieces))
