"""Draw the numbers that a region is fed with: within the bounds and types of each of its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from normfold.runtime.session import Value
from normfold.verify.inputs.roles import InputConstraints, InputRole
from normfold.verify.numeric.distance import is_floating
from normfold.verify.regions.difference import digest_of
from normfold.verify.regions.value_ranges import Range

PLACES = 16
"""A batch whose size is free has as many rows as it takes, but two, for a channel to have so many numbers."""

LARGEST = 2**18
"""Elements of an input that is made larger than the network's own."""

_SMALL = 12
"""The size of an image's axis that is made smaller."""

_HALVINGS = 24
"""How closely a limit is looked for: one part in so many powers of two."""

_BEYOND = (2**24, 2**31, 2**53)
"""Integers beyond these do not survive float32, int32, float64."""


@dataclass(frozen=True)
class RegionInput:
    """A value that a region begins with: what the network sends there, and what else it may hold.

    ``dims`` are its sizes as the runtime knows them, names where they are free. ``is_exact``: the user gives it, so it
    carries no rounding.
    """

    name: str
    base: Value
    dims: tuple[int | str | None, ...]
    bounds: Range
    constraints: InputConstraints
    is_exact: bool

    @property
    def is_random(self) -> bool:
        """Return whether it holds floating point numbers, which may be any."""
        return isinstance(self.base, np.ndarray) and is_floating(self.base)

    @property
    def kind(self) -> tuple[object, ...]:
        """Return what is equal for inputs that are fed with the same values."""
        array = np.asarray(self.base)
        numbers = b"" if self.is_random else digest_of(array)
        return array.dtype, array.shape, numbers, self.bounds, repr(self.constraints), self.is_exact


def smaller(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an image with less height and width; any other as it is."""
    return shape if len(shape) < 4 else (*shape[:2], *(min(size, _SMALL) for size in shape[2:]))


def larger(
    shapes: Mapping[str, tuple[int, ...]], dims: Mapping[str, Sequence[int | str | None]], whole: Collection[str]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all inputs with as many times the rows, where their number is free and all stay small.

    One factor serves all: rows of one batch may lie in one input as [n, 6, 16] and in another as [6 n, 16]. Those of
    ``whole`` hold whole numbers, of which none is a channel.
    """
    free = {name for name, shape in shapes.items() if shape and dims[name] and not isinstance(dims[name][0], int)}
    times = max((_times_the_rows(shapes[name], name not in whole) for name in free), default=1)
    while times > 1 and any(math.prod(shapes[name]) * times > LARGEST for name in free):
        times //= 2
    return {name: (shape[0] * times, *shape[1:]) if name in free else shape for name, shape in shapes.items()}


def _times_the_rows(shape: tuple[int, ...], has_channels: bool) -> int:
    """Return by what the number of rows is multiplied, so that each channel has enough numbers."""
    in_a_row = math.prod(shape[1:]) // (max((1, *shape[1:2], *shape[1:][-1:])) if has_channels else 1)
    rows = max(2, -(-PLACES // max(in_a_row, 1)))
    return -(-rows // max(shape[0], 1))


def draw(each: RegionInput, shape: tuple[int, ...] | None, rng: np.random.Generator) -> Value:
    """Return values of unit spread within the bounds; whole numbers as the network has them, or as their role asks."""
    base = each.base
    if not isinstance(base, np.ndarray) or shape is None or base.dtype == object:
        return base
    if each.is_random:
        low, high = each.bounds
        drawn = np.asarray(rng.standard_normal(shape, np.float64 if base.dtype == np.float64 else np.float32))
        if math.isfinite(low) and math.isfinite(high):
            drawn = rng.uniform(low / 2, high / 2, shape) * 2  # their difference may be infinite
        elif math.isfinite(low):
            drawn = np.maximum(np.abs(drawn) + low, low)
        elif math.isfinite(high):
            drawn = high - np.abs(drawn)
        return np.asarray(drawn, base.dtype)
    if base.dtype == bool:
        return np.asarray(rng.random(shape) < 0.5)
    if each.constraints.role is InputRole.INDEX and each.constraints.limit:
        return np.asarray(rng.integers(0, each.constraints.limit, shape), base.dtype)
    if each.constraints.role is InputRole.DATA and each.is_exact and base.dtype.kind in "iu":
        return np.asarray(rng.integers(0 if base.dtype.kind == "u" else -3, 8, shape), base.dtype)
    return base if base.shape == shape else np.resize(base, shape)


def ends(value: np.ndarray) -> Iterator[np.ndarray]:
    """Yield whole numbers at the ends of a type, or beyond what narrower types hold, one array for each size."""
    bounds = np.iinfo(value.dtype)
    rows = [(n + 1, n + 3, 0, -n - 1) for n in _BEYOND] if value.dtype.itemsize > 1 else []
    for row in rows or [(bounds.min, bounds.max, 0, 1)]:
        chosen = [n for n in row if bounds.min <= n <= bounds.max]
        if len(chosen) > 1:
            yield np.resize(np.array(chosen, value.dtype), value.shape)


def is_within(wanted: np.ndarray, dtype: np.dtype) -> bool:
    """Return whether a required number is one that a type of integers holds."""
    bounds = np.iinfo(dtype)
    return wanted.size == 1 and bounds.min < float(np.nan_to_num(wanted.reshape(-1)[0], nan=np.inf)) < bounds.max


def can_hold(base: Value, number: int) -> bool:
    """Return whether the type of an array holds a whole number."""
    return np.asarray(base).dtype == bool or np.iinfo(base.dtype).min <= number <= np.iinfo(base.dtype).max


def fits(shape: tuple[int, ...], *arrays: np.ndarray) -> bool:
    """Return whether arrays broadcast to a shape; a name may mean a value of another shape in the other model."""
    try:
        return np.broadcast_shapes(shape, *(array.shape for array in arrays)) == shape
    except ValueError:
        return False


def around_and_at(
    group: Sequence[tuple[np.ndarray, bool]], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return numbers near the required ones, on both sides of each; and, if nothing was rounded, these themselves."""
    chosen = rng.integers(0, len(group), shape)
    around, exactly = np.zeros(shape), np.full(shape, np.nan)
    if not fits(shape, *(wanted for wanted, _ in group)):
        return None, None
    for index, (wanted, is_exact) in enumerate(group):
        full = np.broadcast_to(np.nan_to_num(wanted), shape)
        around = np.where(chosen == index, full * (1 + 0.3 * rng.standard_normal(shape)), around)
        if is_exact:
            exactly = np.where(np.isnan(exactly) | (chosen == index), full, exactly)
    return around, None if np.isnan(exactly).any() else exactly


def fitted(values: np.ndarray, each: RegionInput, like: Value) -> np.ndarray | None:
    """Return the values in the input's type.

    It is None where that cannot hold them, or where its meaning has other bounds.
    """
    dtype = np.asarray(like).dtype
    if values.shape != np.shape(like):
        return None
    if dtype.kind in "iu":
        if each.constraints.role is not InputRole.DATA:
            return None
        bounds = np.iinfo(dtype)
        return np.asarray(np.clip(np.rint(values), bounds.min, bounds.max).astype(dtype))
    with np.errstate(all="ignore"):
        found = clipped(values, each).astype(dtype)
    return np.asarray(found) if np.isfinite(found.astype(np.float64)).all() else None


def clipped(values: np.ndarray, each: RegionInput) -> np.ndarray:
    """Return the values cut off at the bounds of an input."""
    low, high = each.bounds
    return values if math.isinf(low) and math.isinf(high) else np.clip(values, low, high).astype(values.dtype)


def decades(here: np.ndarray, at_zero: np.ndarray, limit: np.ndarray) -> set[int]:
    """Return how many times larger, in powers of ten, the input must be for each channel to reach a limit."""
    if not is_floating(np.asarray(here)) or here.shape != at_zero.shape or not here.size or here.ndim == 0:
        return set()
    axis = 1 if here.ndim > 3 else here.ndim - 1
    others = tuple(i for i in range(here.ndim) if i != axis) if here.ndim > 1 else ()
    with np.errstate(all="ignore"):
        try:
            gap = np.broadcast_to(limit, here.shape) - at_zero.astype(np.float64)
        except ValueError:
            return set()
        towards = np.sign(gap) * (here.astype(np.float64) - at_zero)
        ratio = 2 * np.abs(gap).max(axis=others) / np.maximum(towards.max(axis=others), 0)
    ratio = ratio[np.isfinite(ratio) & (ratio > 2)]
    return {math.ceil(math.log10(each)) for each in np.unique(ratio) if each < 1e12}


def crossing(value: Callable[[float], np.ndarray | None], limit: float) -> tuple[float, ...]:
    """Return two numbers between 0 and 1 that lie close, for which one entry of a value lies on two sides of a limit.

    There are none where no entry gets from one side to the other, or where it is not known.
    """
    start, end = value(0.0), value(1.0)
    if start is None or end is None or start.shape != end.shape:
        return ()
    places = np.flatnonzero((start > limit) != (end > limit))
    if not places.size:
        return ()
    low, high, was_above = 0.0, 1.0, bool(start.reshape(-1)[places[0]] > limit)
    for _ in range(_HALVINGS):
        middle = value((low + high) / 2)
        is_as_before = middle is not None and bool(middle.reshape(-1)[places[0]] > limit) == was_above
        low, high = ((low + high) / 2, high) if is_as_before else (low, (low + high) / 2)
    return low, high
