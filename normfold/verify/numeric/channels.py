"""One pass over two arrays, in blocks that stay in the processor's cache: enough to tell that they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_BLOCK = 2**16


@dataclass(frozen=True)
class Survey:
    """The largest difference and the largest magnitude of each channel.

    By axis (1 and the last, see ``channel_axes``; -1 holds the one number of the whole), and how many places differ.
    """

    gaps: Mapping[int, np.ndarray]
    sizes: Mapping[int, np.ndarray]
    differing: int

    @property
    def is_finite(self) -> bool:
        """Whether neither array holds NaN or infinity."""
        return all(map(math.isfinite, self.largest))

    @property
    def largest(self) -> tuple[float, float]:
        """The largest difference and the largest magnitude of all."""
        return float(self.gaps[-1][0]), float(self.sizes[-1][0])


def channel_axes(array: np.ndarray) -> tuple[int, ...]:
    """Where the channels may lie: axis 1 in images, the last in sequences. Of a vector it is unknown."""
    return () if array.ndim < 2 else (1,) if array.ndim == 2 else (1, array.ndim - 1)


def survey(a: np.ndarray, b: np.ndarray) -> Survey:
    """Look at two floating arrays of one shape, not empty; types narrower than float32 are widened block by block."""
    kind = np.float64 if a.dtype == np.float64 else np.float32
    lead = int(np.prod(a.shape[:2])) if a.ndim > 2 else a.shape[0] if a.ndim == 2 else 1
    rows_a, rows_b = a.reshape(lead, -1), b.reshape(lead, -1)
    width = rows_a.shape[1]
    by_row = np.empty((2, lead), kind)
    by_column = np.zeros((2, width), kind)
    differing = 0
    step = max(1, _BLOCK // width)
    room = np.empty((min(step, lead), width), kind)
    with np.errstate(all="ignore"):
        for start in range(0, lead, step):
            x = rows_a[start : start + step].astype(kind, copy=False)
            y = rows_b[start : start + step].astype(kind, copy=False)
            part = room[: len(x)]
            differing += int(np.count_nonzero(x != y))
            np.abs(np.subtract(x, y, out=part), out=part)
            part.max(axis=1, out=by_row[0, start : start + step])
            np.maximum(by_column[0], part.max(axis=0), out=by_column[0])
            np.abs(x, out=part)
            part.max(axis=1, out=by_row[1, start : start + step])
            np.maximum(by_column[1], part.max(axis=0), out=by_column[1])
        found: list[dict[int, np.ndarray]] = []
        for row, column in zip(by_row, by_column, strict=True):
            whole = {-1: row.max(keepdims=True)}
            if a.ndim == 2:
                whole[1] = column
            elif a.ndim > 2:
                whole |= {
                    1: row.reshape(a.shape[:2]).max(axis=0),
                    a.ndim - 1: column.reshape(-1, a.shape[-1]).max(axis=0),
                }
            found.append(whole)
    return Survey(found[0], found[1], differing)
