"""Sums of convolutions (or matrix products) of one input, as one: the arithmetic of branches, on arrays alone.

A convolution reads ``x[o*stride + offset]`` at the offsets ``j*dilation - pad``. Branches with the same strides and
the same output size add up offset by offset; an identity or a per-channel affine is the offset 0 with a diagonal
weight. Sources: Ding et al., RepVGG (2021); Vasu et al., MobileOne (2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason, Refusal

_ADDITION = 8  # multiply-adds that take as long as the addition of two tensors takes for one of its elements


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution: weight [M, C/group, k...], bias [M], and one number for each spatial axis of the rest."""

    weight: Array
    bias: Array
    group: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the size of the kernel along each spatial axis."""
        return self.weight.shape[2:]

    @property
    def channels(self) -> tuple[int, int]:
        """Output and input channels."""
        return self.weight.shape[0], self.weight.shape[1] * self.group

    @property
    def multiply_adds(self) -> int:
        """For each output position."""
        return self.weight.size

    @property
    def shrinks(self) -> tuple[int, ...]:
        """How much smaller than the input the output is along each axis at stride 1."""
        return tuple(
            dilation * (size - 1) - begin - end
            for size, dilation, begin, end in zip(self.sizes, self.dilations, self.begins, self.ends, strict=True)
        )

    def offsets(self, axis: int) -> range:
        """Return the input offsets that the kernel reads along a spatial axis."""
        step, begin = self.dilations[axis], self.begins[axis]
        return range(-begin, self.sizes[axis] * step - begin, step)


@dataclass(frozen=True, eq=False)
class Diagonal:
    """A per-channel affine of the input: scale and shift are [C]."""

    scale: Array
    shift: Array


@dataclass(frozen=True, eq=False)
class Matrix:
    """A matrix product from the right: weight [K, N], bias [N]."""

    weight: Array
    bias: Array


def summed_matrices(matrices: Sequence[tuple[Matrix, float]], diagonals: Sequence[Diagonal]) -> Matrix:
    """One matrix equal to the signed sum of all; an affine of the features is a diagonal one."""
    shape = matrices[0][0].weight.shape
    for matrix, _ in matrices[1:]:
        _require(matrix.weight.shape == shape, f"weights {list(shape)} and {list(matrix.weight.shape)}")
    _require(not diagonals or shape[0] == shape[1], f"an identity and a weight of {list(shape)}")
    weight = sum((sign * matrix.weight for matrix, sign in matrices), np.zeros(shape))
    bias = sum((sign * matrix.bias for matrix, sign in matrices), np.zeros(shape[1]))
    for diagonal in diagonals:
        weight, bias = weight + np.diag(diagonal.scale), bias + diagonal.shift
    return Matrix(weight, bias)


def as_kernel(diagonal: Diagonal, dims: int) -> Kernel:
    """Return the depthwise 1x1 convolution that a per-channel affine is."""
    one, zero = (1,) * dims, (0,) * dims
    weight = diagonal.scale.reshape(-1, 1, *one)
    return Kernel(weight, diagonal.shift, weight.shape[0], one, one, zero, zero)


def summed(kernels: Sequence[Kernel], diagonals: Sequence[Diagonal]) -> Kernel:
    """One convolution equal to the sum of all branches; Refusal where there is none, or none that is cheaper."""
    dims = len(kernels[0].sizes)
    every = [*kernels, *(as_kernel(diagonal, dims) for diagonal in diagonals)]
    first = every[0]
    for other in every[1:]:
        _require(other.channels == first.channels, f"channels {first.channels} and {other.channels}")
        _require(other.strides == first.strides, f"strides {list(first.strides)} and {list(other.strides)}")
        sizes = f"outputs smaller than the input by {list(first.shrinks)} and {list(other.shrinks)}"
        _require(other.shrinks == first.shrinks, sizes)
    grids = [_common(every, axis) for axis in range(dims)]
    group = 0
    for kernel in every:
        group = gcd(group, kernel.group)
    outputs, inputs = first.channels
    cost = outputs * (inputs // group) * prod(len(grid) for grid in grids)
    spent = sum(kernel.multiply_adds for kernel in kernels) + _ADDITION * outputs * (len(every) - 1)
    if cost > spent:
        raise Refusal(Reason.COSTS_MORE, detail=f"{cost} multiply-adds a position instead of {spent}")
    weight = np.zeros((outputs, inputs // group, *(len(grid) for grid in grids)))
    for kernel in every:
        _place(weight, kernel, grids, group)
    begins = tuple(-grid.start for grid in grids)
    ends = tuple(
        grid.step * (len(grid) - 1) - begin - shrink
        for grid, begin, shrink in zip(grids, begins, first.shrinks, strict=True)
    )
    _require(min((*begins, *ends), default=0) >= 0, "the sum would need a negative padding")
    bias = np.sum([kernel.bias for kernel in every], axis=0)
    return Kernel(weight, bias, group, first.strides, tuple(grid.step for grid in grids), begins, ends)


def _require(condition: bool, detail: str) -> None:
    if not condition:
        raise Refusal(Reason.BRANCHES_DIFFER, detail=detail)


def _common(kernels: Sequence[Kernel], axis: int) -> range:
    """Return the smallest evenly spaced range of offsets that holds those of every kernel."""
    ranges = [kernel.offsets(axis) for kernel in kernels]
    low, high = min(each[0] for each in ranges), max(each[-1] for each in ranges)
    step = 0
    for each in ranges:
        step = gcd(step, each.step if len(each) > 1 else 0, each[0] - low)
    return range(low, high + 1, step or 1)


def _place(weight: Array, kernel: Kernel, grids: Sequence[range], group: int) -> None:
    """Add a kernel to ``weight``, offset by offset, with its finer groups laid out inside the coarser ones."""
    outputs, inputs = kernel.channels
    rows, columns = outputs // kernel.group, inputs // kernel.group
    places = [[grid.index(offset) for offset in kernel.offsets(axis)] for axis, grid in enumerate(grids)]
    for index in range(kernel.group):
        row, column = index * rows, (index * columns) % (inputs // group)
        block = kernel.weight[row : row + rows]
        for at, to in zip(product(*map(range, kernel.sizes)), product(*places), strict=True):
            target: Any = (slice(row, row + rows), slice(column, column + columns), *to)
            source: Any = (..., *at)
            weight[target] += block[source]
