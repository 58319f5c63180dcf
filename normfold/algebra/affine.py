"""The value ``y = scale * x + shift``: float64 arrays that follow a tensor through the graph.

Both arrays have the rank of the tensor they act on, and each of their dimensions is 1 or the tensor's own, so they
broadcast to it without making it larger. Arrays are kept *compact*: a dimension along which nothing varies is 1.
Everything here is exact up to float64 rounding; a model's own type is met only where the Editor writes a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_ROUNDING = 2.0**-52  # of one product near 1 whose factors are rounded themselves


def compact(array: npt.ArrayLike) -> Array:
    """Return the same values with every dimension along which they do not vary reduced to 1."""
    result = np.asarray(array, dtype=np.float64)
    for axis, size in enumerate(result.shape):
        if size > 1:
            first, second = result.take([0], axis=axis), result.take([1], axis=axis)  # which most often differ
            if np.array_equal(first, second, equal_nan=True) and np.array_equal(
                np.broadcast_to(first, result.shape), result, equal_nan=True
            ):
                result = first
    return result


def aligned(array: npt.ArrayLike, rank: int) -> Array:
    """``array`` with leading dimensions of 1 up to ``rank``; ValueError when it already has more."""
    result = np.asarray(array, dtype=np.float64)
    if result.ndim > rank:
        lead = result.shape[: result.ndim - rank]
        if any(size != 1 for size in lead):
            raise ValueError(f"expected at most {rank} dimensions, got shape {result.shape}")
        return result.reshape(result.shape[result.ndim - rank :])
    return result.reshape((1,) * (rank - result.ndim) + result.shape)


def squeeze_leading(array: Array, rank: int = 1) -> Array:
    """Drop leading dimensions of size 1, which broadcasting adds anyway, until ``rank`` dimensions are left."""
    while array.ndim > rank and array.shape[0] == 1:
        array = array[0]
    return array


@dataclass(frozen=True, eq=False)
class Affine:
    """``y = scale * x + shift`` on a tensor of rank ``scale.ndim``; of rank 0, on a tensor of any rank."""

    scale: Array
    shift: Array

    @staticmethod
    def of(scale: npt.ArrayLike, shift: npt.ArrayLike, rank: int) -> Affine:
        """From any arrays that broadcast to a tensor of ``rank`` dimensions."""
        return Affine(compact(aligned(scale, rank)), compact(aligned(shift, rank)))

    @staticmethod
    def identity(rank: int) -> Affine:
        """Return the affine that changes nothing."""
        return Affine(np.ones((1,) * rank), np.zeros((1,) * rank))

    @property
    def rank(self) -> int:
        """Return the rank of the tensor that it acts on."""
        return self.scale.ndim

    @property
    def has_no_shift(self) -> bool:
        """Return whether every shift is 0."""
        return not self.shift.any()

    @property
    def has_no_scale(self) -> bool:
        """Return whether every scale is 1."""
        return bool((self.scale == 1).all())

    @property
    def is_identity(self) -> bool:
        """Return whether it changes nothing."""
        return self.has_no_shift and self.has_no_scale

    @property
    def is_finite(self) -> bool:
        """Return whether no scale or shift is infinite or not a number."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())

    @property
    def scale_is_nonnegative(self) -> bool:
        """Return whether no scale is negative."""
        return bool((self.scale >= 0).all())

    @property
    def varying_axes(self) -> tuple[int, ...]:
        """The axes along which scale or shift takes more than one value."""
        return tuple(axis for axis in range(self.rank) if self.scale.shape[axis] > 1 or self.shift.shape[axis] > 1)

    @property
    def scale_only(self) -> Affine:
        """Return the affine without its shift."""
        return Affine(self.scale, np.zeros((1,) * self.rank))

    @property
    def shift_only(self) -> Affine:
        """Return the affine without its scale."""
        return Affine(np.ones((1,) * self.rank), self.shift)

    def then(self, outer: Affine) -> Affine:
        """``outer(self(x))``. A scale that is 1 but for float64 rounding is 1: ``c * (1/c)``, of x*c/c."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite fits no weight, and is refused there
            scale = outer.scale * self.scale
            scale = np.where(np.abs(scale - 1) <= _ROUNDING, 1.0, scale)
            return Affine(compact(scale), compact(outer.scale * self.shift + outer.shift))

    def inverse(self) -> Affine:
        """Return the affine that undoes this one; ZeroDivisionError where a scale is 0."""
        if not self.scale.all():
            raise ZeroDivisionError("an affine with a zero scale has no inverse")
        return Affine(1.0 / self.scale, compact(-self.shift / self.scale))

    def after(self, inner: Affine) -> Affine:
        """Return the affine that makes this one of what ``inner`` made; ZeroDivisionError where that has a scale of 0.

        Exactly the identity where both are equal.
        """
        if not inner.scale.all():
            raise ZeroDivisionError("an affine with a zero scale cannot be undone")
        ratio = self.scale / inner.scale
        return Affine(compact(ratio), compact(self.shift - ratio * inner.shift))

    def same_as(self, other: Affine) -> bool:
        """Equal to the last bit."""
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.shift, other.shift)

    def is_constant_on(self, axes: Iterable[int]) -> bool:
        """Nothing varies along ``axes`` (negative ones count from the end)."""
        return not {axis % self.rank for axis in axes} & set(self.varying_axes)

    def apply(self, array: npt.ArrayLike) -> Array:
        """``scale * array + shift``."""
        return np.asarray(self.scale * np.asarray(array, dtype=np.float64) + self.shift)

    def map(self, change: Callable[[Array], Array]) -> Affine:
        """Both arrays after the same change of layout, which may change the rank."""
        return Affine(compact(change(self.scale)), compact(change(self.shift)))

    def vectors(self, axis: int, size: int) -> tuple[Array, Array]:
        """Scale and shift as vectors of length ``size`` along ``axis``; nothing else may vary."""
        return vector(self.scale, axis, size), vector(self.shift, axis, size)


def vector(array: Array, axis: int, size: int) -> Array:
    """Return a compact array that varies along ``axis`` at most, as a vector of length ``size``."""
    if any(length > 1 for index, length in enumerate(array.shape) if index != axis % array.ndim):
        raise ValueError(f"expected an array that varies along axis {axis} only, got shape {array.shape}")
    return np.broadcast_to(array.reshape(-1), (size,))
