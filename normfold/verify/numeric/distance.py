"""The distance between two values, place by place, in units of the value's own scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from normfold.verify.numeric.channels import Survey, channel_axes, survey
from normfold.verify.result import Distance

# Half a unit in the last place of 1.0.
ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

# A channel much weaker than its tensor is measured on its own scale down to this share of the tensor's.
WEAKEST = 2.0**-7

# The same where every channel is measured on its own scale: beyond, a channel counts as zero.
_OWN_SCALE = 2.0**-40

_TINY = 1e-30
_COARSE_END = 4 * 2.0**-24
"""Four steps of the subnormal float16 numbers: a sigmoid of -16 in float16 is one or two of them, by its last digit."""


@cache
def type_name(dtype: np.dtype) -> str:
    """Return the name of a type.

    numpy spells it again at every call, which takes longer than to compare a few numbers.
    """
    return str(dtype)


def is_floating(array: np.ndarray) -> bool:
    """Whether the array holds floating point numbers (bfloat16 and the like included)."""
    return array.dtype.kind == "f" or array.dtype.name in ROUNDING


def pooled(magnitude: np.ndarray, by_channel: bool = False) -> np.ndarray:
    """For each place, the largest magnitude of its channel (axis 1) or of its column (last axis), whichever is less.

    Both are taken because the channel axis is 1 in images and last in sequences. With few places per channel one
    number says little about the scale, so it may not fall far below the whole tensor's: 1/128 of it from 16 places
    on, 1/4 from 4 on. With ``by_channel`` a channel of 16 places or more has its own scale however
    small. Shape: broadcastable to ``magnitude``.
    """
    whole = magnitude.max(initial=0.0)
    result = np.full((1,) * magnitude.ndim, whole)
    if magnitude.size:
        for axis in channel_axes(magnitude):
            result = np.minimum(
                result, np.maximum(largest(magnitude, axis), whole * _share(magnitude, axis, by_channel))
            )
    return result


def _share(array: np.ndarray, axis: int, by_channel: bool) -> float:
    """How far the scale of a channel may fall below the tensor's."""
    places = array.size // array.shape[axis]
    if by_channel and places >= 16:
        return _OWN_SCALE
    return WEAKEST if places >= 16 else 0.25 if places >= 4 else 1.0


def largest(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the largest number of each channel on ``axis``, with the other axes kept as 1."""
    shape = values.shape
    kept = [n if i == axis else 1 for i, n in enumerate(shape)]
    if axis == values.ndim - 1:
        # Long rows first: numpy reduces over the first axis fast only where the others are long.
        rows = values.reshape(int(np.prod(shape[:-1][:2])), -1).max(axis=0)
        return np.asarray(rows.reshape(-1, shape[axis]).max(axis=0)).reshape(kept)
    lead = int(np.prod(shape[:axis]))
    return np.asarray(values.reshape(lead, shape[axis], -1).max(axis=2).max(axis=0)).reshape(kept)


@dataclass(frozen=True)
class AllowedError:
    """How far a place may be off.

    ``floor`` times its scale (see ``pooled``) plus ``noise``, the magnitude of the model's own rounding noise there
    (broadcastable); or, when the user says so, ``atol + rtol*|expected|``.
    """

    floor: float = 0.0
    noise: Any = 0.0
    rtol: float | None = None
    atol: float | None = None
    by_channel: bool = False

    @property
    def is_explicit(self) -> bool:
        """Whether the user's tolerance decides."""
        return self.rtol is not None or self.atol is not None

    def of(self, magnitude: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the allowed error of each place."""
        if self.is_explicit:
            return np.asarray((self.atol or 0.0) + (self.rtol or 0.0) * magnitude)
        return np.asarray(self.floor * scale + self.noise)


def distance(expected: Any, obtained: Any, allowed: AllowedError) -> Distance:
    """Compare two values of the runtime: arrays; sequences and maps item by item; None is an empty optional.

    Integers, booleans and strings must be equal. A place where the expected value is NaN says nothing; an infinity must
    be the same infinity.
    """
    if isinstance(expected, list) and isinstance(obtained, list):
        if len(expected) != len(obtained):
            return _mismatch("sequence", f"expected {len(expected)} items, got {len(obtained)}")
        items = [distance(a, b, allowed) for a, b in zip(expected, obtained, strict=True)]
        return max(items, key=lambda found: found.margin, default=Distance(dtype="sequence"))
    if isinstance(expected, dict) and isinstance(obtained, dict):
        keys = list(expected)
        if expected.keys() != obtained.keys():
            return _mismatch("map", f"expected the keys {keys[:5]}, got {list(obtained)[:5]}")
        return distance([expected[k] for k in keys], [obtained[k] for k in keys], allowed)
    if expected is None and obtained is None:
        return Distance(dtype="optional")
    if _is_array(expected) and _is_array(obtained):
        return _of_arrays(np.asarray(expected), np.asarray(obtained), allowed)
    kind = type(expected).__name__
    if type(expected) is type(obtained):  # a sparse tensor, say: nothing here can look inside
        return Distance(dtype=kind)
    return _mismatch(kind, f"expected a value of kind {kind}, got {type(obtained).__name__}")


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, float, int, str, bytes))


def _mismatch(dtype: str, why: str, **found: Any) -> Distance:
    """Return the distance of values whose numbers cannot be compared."""
    return Distance(dtype=dtype, note=why, margin=float("inf"), **found)


def _needed(atol: float, rtol: float) -> str:
    """Say which tolerance would have passed; three digits, rounded up."""
    return f"atol={1.005 * atol:.3g} or rtol={1.005 * rtol:.3g}"


def _of_arrays(a: np.ndarray, b: np.ndarray, allowed: AllowedError) -> Distance:
    if a.dtype != b.dtype and is_floating(a) != is_floating(b):
        return _mismatch(str(a.dtype), f"expected type {a.dtype}, got {b.dtype}")
    if a.shape != b.shape:
        return _mismatch(str(a.dtype), f"expected shape {list(a.shape)}, got {list(b.shape)}")
    if not is_floating(a):
        return _exact(a, b)
    return _floating(a, b, allowed)


def _exact(a: np.ndarray, b: np.ndarray) -> Distance:
    different = a != b
    count = int(different.sum())
    if not count:
        return Distance(dtype=str(a.dtype), elements=a.size, comparable=a.size, needed_tolerance=_needed(0, 0))
    at = tuple(int(i) for i in np.argwhere(different)[0])
    gap = float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) if a.dtype.kind in "iub" else 1.0
    return Distance(
        dtype=str(a.dtype),
        max_abs=gap,
        relative=float("inf"),
        margin=float("inf"),
        differing=count,
        elements=a.size,
        comparable=a.size,
        at=at,
        expected=str(a[at]),
        obtained=str(b[at]),
        needed_tolerance=_needed(gap, float("inf")),
    )


def _wide(array: np.ndarray) -> np.ndarray:
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _floating(a: np.ndarray, b: np.ndarray, allowed: AllowedError) -> Distance:
    if not a.size:
        return Distance(dtype=type_name(a.dtype))
    if not allowed.is_explicit and np.ndim(allowed.noise) == 0 and not allowed.noise:
        found = survey(a, b)
        if found.is_finite:
            share, axis, channel = _worst_channel(a, found, allowed.by_channel)
            if share <= allowed.floor:
                return _by_channel(a, b, found, allowed.floor, (share, axis, channel))
    return _by_place(a, b, allowed if a.dtype != np.float16 else replace(allowed, noise=allowed.noise + _COARSE_END))


def _completed(found: Distance, a: np.ndarray, b: np.ndarray) -> Distance:
    """With what follows from the worst place and the arrays."""
    dtype = type_name(a.dtype)
    return replace(
        found,
        dtype=dtype,
        ulps=found.relative / (2 * ROUNDING.get(dtype, 2.0**-4)),
        top1=_top1(a, b),
        elements=a.size,
        expected=_number(a[found.at]),
        obtained=_number(b[found.at]),
    )


def _by_place(a: np.ndarray, b: np.ndarray, allowed: AllowedError) -> Distance:
    """Compare place by place, where not all numbers are finite or the tolerance differs between places."""
    wide_a, wide_b = _wide(a), _wide(b)
    finite = np.isfinite(wide_a)
    if finite.all() and np.isfinite(wide_b).all():
        with np.errstate(all="ignore"):
            return replace(_completed(_finite(wide_a, wide_b, allowed), a, b), comparable=a.size)
    dtype = type_name(a.dtype)
    with np.errstate(all="ignore"):
        at_the_end = _overflow_both(wide_a, wide_b, dtype)
        finite &= ~at_the_end
        comparable = int(finite.sum())
        bad = (finite & ~np.isfinite(wide_b)) | (np.isinf(wide_a) & (wide_a != wide_b) & ~at_the_end)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            return _mismatch(
                dtype,
                "NaN or infinity where the other has another value",
                max_abs=float("inf"),
                relative=float("inf"),
                differing=int(bad.sum()),
                elements=a.size,
                comparable=comparable,
                at=at,
                expected=_number(a[at]),
                obtained=_number(b[at]),
            )
        if not comparable:
            return Distance(dtype=dtype, elements=a.size)
        wide_a, wide_b = np.where(finite, wide_a, 0), np.where(finite, wide_b, 0)
        return replace(_completed(_finite(wide_a, wide_b, allowed), a, b), comparable=comparable)


def _overflow_both(a: np.ndarray, b: np.ndarray, dtype: str) -> np.ndarray:
    """Where one is infinite and the other within rounding of it: at the end of the range both mean "too large"."""
    largest = float(np.finfo(dtype).max) if dtype in ("float16", "float32", "float64") else float("inf")
    size = np.minimum(np.abs(a), np.abs(b))
    return np.asarray((np.isinf(a) | np.isinf(b)) & (np.sign(a) == np.sign(b)) & (size >= 0.99 * largest))


def _worst_channel(a: np.ndarray, found: Survey, by_channel: bool) -> tuple[float, int | None, int]:
    """Return the largest difference as a share of its scale.

    Return with it the axis and the number of the channel where that is; axis None stands for the whole.

    The scale of a place is the least of its channels', so the worst place is the worst of any channel against that
    channel's own scale: no array of the size of the values is needed.
    """
    gap, whole = found.largest
    if not gap or whole < _TINY:  # shares of numbers that small may vanish themselves
        return (float("inf") if gap else 0.0), None, 0
    worst, axis, channel = gap / whole, None, 0
    for each in channel_axes(a):
        shares = found.gaps[each] / np.maximum(found.sizes[each], whole * _share(a, each, by_channel))
        place = int(shares.argmax())
        if shares[place] > worst:
            worst, axis, channel = float(shares[place]), each, place
    return worst, axis, channel


def _by_channel(
    a: np.ndarray, b: np.ndarray, found: Survey, floor: float, where: tuple[float, int | None, int]
) -> Distance:
    """Compare channel by channel, where the tolerance is a share of the scale alone."""
    share, axis, channel = where
    gap, _ = found.largest
    if not gap:
        at = (0,) * a.ndim
    elif axis is None:
        at = _worst_at(a, b)
    else:
        part = _worst_at(a.take(channel, axis=axis), b.take(channel, axis=axis))
        at = (*part[:axis], channel, *part[axis:])
    dtype = type_name(a.dtype)
    return Distance(
        dtype=dtype,
        max_abs=gap,
        relative=share,
        margin=share / floor if floor else 0.0,
        tolerance=floor,
        ulps=share / (2 * ROUNDING.get(dtype, 2.0**-4)),
        cosine=1.0 if _is_parallel(a, found) else _cosine(_wide(a), _wide(b)),
        top1=_top1(a, b),
        differing=found.differing,
        elements=a.size,
        comparable=a.size,
        at=at,
        expected=_number(a[at]),
        obtained=_number(b[at]),
        needed_tolerance=_needed(gap, float("inf")),
    )


def _worst_at(a: np.ndarray, b: np.ndarray) -> tuple[int, ...]:
    gap = np.abs(_wide(a) - _wide(b))
    return tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))


def _finite(a: np.ndarray, b: np.ndarray, allowed: AllowedError) -> Distance:
    """Two arrays without NaN and infinity, place by place."""
    gap, magnitude = np.abs(a - b), np.abs(a)
    scale = pooled(magnitude, allowed.by_channel)
    margins = _ratio(gap, np.broadcast_to(allowed.of(magnitude, scale), gap.shape))
    at = tuple(int(i) for i in np.unravel_index(int(margins.argmax()), margins.shape))
    own, margin = float(np.broadcast_to(scale, gap.shape)[at]), float(margins[at])
    relative = float(gap[at]) / own if own else (float("inf") if gap[at] else 0.0)
    atol, rtol = allowed.atol or 0.0, allowed.rtol or 0.0
    return Distance(
        max_abs=float(gap.max()),
        relative=relative,
        margin=margin,
        tolerance=relative / margin if 0 < margin < float("inf") else 0.0,
        cosine=_cosine(a, b),
        differing=int(np.count_nonzero(gap)),
        at=at,
        needed_tolerance=_needed(
            float((gap - rtol * magnitude).max(initial=0.0)),
            float(_ratio(np.maximum(gap - atol, 0), magnitude).max(initial=0.0)),
        ),
    )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, where 0/0 is 0 and anything else over 0 is infinite."""
    with np.errstate(all="ignore"):
        return np.asarray(np.where(part > 0, part / whole, 0))


def _number(value: Any) -> str:
    return f"{float(value):.9g}"


def _is_parallel(a: np.ndarray, found: Survey) -> bool:
    """Whether the cosine is 1 to seven digits, because the differences are small next to the channels' largest."""
    gap, _ = found.largest
    sizes = found.sizes[max(found.sizes)].astype(np.float64)
    return not gap or 2e-7 * float(sizes @ sizes) > a.size * gap * gap


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine similarity, 1 for two zeros."""
    x, y = a.reshape(-1), b.reshape(-1)
    squares, product = (float(x @ x), float(y @ y)), float(x @ y)
    if not 1e-30 < min(squares) <= max(squares) < 1e37:  # they may have overflowed or vanished: scale first
        top = max(float(np.abs(x).max()), float(np.abs(y).max()))
        if top == 0:
            return 1.0
        x, y = x.astype(np.float64) / top, y.astype(np.float64) / top
        squares, product = (float(x @ x), float(y @ y)), float(x @ y)
    both = squares[0] * squares[1]
    return min(max(product / both**0.5, -1.0), 1.0) if both else 0.0


def _top1(a: np.ndarray, b: np.ndarray) -> float | None:
    """Share of rows with the same largest entry; None unless it looks like class scores: [N, classes >= 3]."""
    if a.ndim != 2 or a.shape[1] < 3 or not a.shape[0]:
        return None
    return float((a.argmax(-1) == b.argmax(-1)).mean())
