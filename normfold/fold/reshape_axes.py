"""How an array that broadcasts to a tensor follows the tensor through Reshape, without being expanded.

Two shapes of the same number of elements fall into groups of dimensions with equal products, as in
``[B, N, 12, 64] -> [B*N, 768]``: ``B, N | 12, 64`` and ``B*N | 768``. An array may vary inside a group only when all
sizes of the group are known; it is then expanded inside that group, reshaped, and made compact again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """Split the ranges from the back, where sizes are most often known, and what remains of them from the front."""
    end, stop = left.stop, right.stop
    tail: list[AxisGroup] = []
    for some, others in _meetings([source[axis] for axis in left[::-1]], [target[axis] for axis in right[::-1]]):
        tail.append((range(left.stop - some, end), range(right.stop - others, stop)))
        end, stop = left.stop - some, right.stop - others
    begin, start = left.start, right.start
    head: list[AxisGroup] = []
    for some, others in _meetings(source[begin:end], target[start:stop]):
        head.append((range(begin, left.start + some), range(start, right.start + others)))
        begin, start = left.start + some, right.start + others
    middle = [(range(begin, end), range(start, stop))] if begin < end or start < stop else []
    return [*head, *middle, *tail[::-1]]


def _meetings(sizes: Sequence[Dim], others: Sequence[Dim]) -> Iterator[tuple[int, int]]:
    """Yield how many of either have equal products, each time that they meet, until a size is not known."""
    i = j = 0
    product, other = 1, 1
    last = (0, 0)
    while i < len(sizes) or j < len(others):
        if product <= other and i < len(sizes):
            size, i = sizes[i], i + 1
            product *= size if isinstance(size, int) else 0
        elif j < len(others):
            size, j = others[j], j + 1
            other *= size if isinstance(size, int) else 0
        else:
            return
        if not isinstance(size, int) or size == 0:
            return
        if product == other and i > last[0] and j > last[1]:
            last = i, j
            yield last


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
