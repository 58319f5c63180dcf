"""A constant as it is stored, and what exact arithmetic made of it: float64 block by block, never as a whole.

A weight of a gigabyte that is scaled costs its rounded copy and nothing else; a later fold starts from the exact
value all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from normfold.algebra.affine import Array

_BLOCK = 2**17  # elements; one megabyte in float64 stays in the cache

Step = tuple[Callable[..., Any], Array]
Empty = Callable[[tuple[int, ...], np.dtype[Any]], npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Weight:
    """``stored``, of any floating type, after ``steps``: products and sums with arrays that broadcast to it.

    numpy reads it as the float64 array that it stands for; ``*`` and ``+`` with such an array give a Weight.
    """

    stored: npt.NDArray[Any]
    steps: tuple[Step, ...] = ()
    # The largest magnitudes of what is stored, by the axes that they are taken over: every search asks for them again.
    _magnitudes: dict[tuple[int, ...], npt.NDArray[Any]] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the weight."""
        return self.stored.shape

    @property
    def ndim(self) -> int:
        """Return the number of dimensions."""
        return self.stored.ndim

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return self.stored.size

    def __mul__(self, factor: Array) -> Weight:
        return self._after(np.multiply, factor)

    def __add__(self, shift: Array) -> Weight:
        return self._after(np.add, shift)

    def _after(self, operation: Callable[..., Any], operand: Array) -> Weight:
        operand = np.asarray(operand, np.float64)
        if np.broadcast_shapes(self.shape, operand.shape) != self.shape:
            raise ValueError(f"expected an operand that broadcasts to {list(self.shape)}, got {list(operand.shape)}")
        operand = operand.reshape((1,) * (self.ndim - operand.ndim) + operand.shape)
        return Weight(self.stored, (*self.steps, (operation, operand)), self._magnitudes)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self.rounded(np.dtype(dtype or np.float64))

    def rounded(self, dtype: np.dtype[Any], empty: Empty = np.empty) -> npt.NDArray[Any]:
        """Return the whole in ``dtype``, rounded once from float64, in an array that ``empty`` makes."""
        whole = empty(self.shape, dtype)
        for part, block in self._blocks():
            whole[part] = block.astype(dtype, copy=False)
        return whole

    def largest(self, keep: tuple[int, ...] = ()) -> Array:
        """Get the largest magnitudes along all axes but ``keep`` (ascending); not a number where an element is none."""
        keep = tuple(axis % self.ndim for axis in keep)
        gone = tuple(axis for axis in range(self.ndim) if axis not in keep)
        if self._is_scaled_along(keep):
            if gone not in self._magnitudes:
                self._magnitudes[gone] = _magnitude(self.stored, gone).astype(np.float64)
            largest = self._magnitudes[gone]
            for _, factor in self.steps:
                largest = largest * np.abs(factor.reshape([factor.shape[axis] for axis in keep]))
            return np.array(largest)
        found = [_magnitude(block, gone) for _, block in self._blocks()]
        if not found:
            return np.zeros([self.shape[axis] for axis in keep])
        return np.concatenate(found) if 0 in keep else np.asarray(np.max(found, axis=0))

    def _is_scaled_along(self, axes: tuple[int, ...]) -> bool:
        """Only factors that vary along ``axes`` at most: then the largest magnitudes are those stored, scaled."""
        plain = self.stored.dtype in (np.float32, np.float64)
        return plain and all(
            operation is np.multiply and all(size == 1 or axis in axes for axis, size in enumerate(operand.shape))
            for operation, operand in self.steps
        )

    def sum(self, axes: tuple[int, ...]) -> Array:
        """Return the sum over ``axes``, the first not among them."""
        parts = [block.sum(axis=axes) for _, block in self._blocks()]
        return np.concatenate(parts) if parts else np.zeros([n for a, n in enumerate(self.shape) if a not in axes])

    def _blocks(self) -> Iterator[tuple[Any, Array]]:
        """Slices along the first axis, and what they hold, in float64."""
        if not self.ndim:
            yield (), self._block(())
            return
        length = self.shape[0]
        rows = max(1, _BLOCK * length // max(1, self.size))
        for start in range(0, length, rows):
            part = slice(start, start + rows)
            yield part, self._block(part)

    def _block(self, part: Any) -> Array:
        block = np.array(self.stored[part], np.float64)  # a copy, so that the steps may work in place
        for operation, operand in self.steps:
            operation(block, operand[part] if self.ndim and operand.shape[0] != 1 else operand, out=block)
        return block


def _magnitude(array: npt.NDArray[Any], axes: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.asarray(np.maximum(array.max(axis=axes, initial=0.0), -array.min(axis=axes, initial=0.0)))
