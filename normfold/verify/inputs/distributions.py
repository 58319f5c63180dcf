"""The numbers of a made-up input: how floating numbers are distributed, and what a whole number may be in its role."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
import onnx
from onnx import TensorProto

from normfold.verify.inputs.roles import InputConstraints, InputRole


class Distribution(Enum):
    """How the numbers of a feed are distributed. What drew nothing, such as a user's own input, is GIVEN."""

    NORMAL = "normal"
    """Signed, of unit spread."""
    SCALES = "scales"
    """Signed, at a scale of its own per channel."""
    STRESS = "stress"
    """Channels with a large mean, a tiny variance, a constant, or zeros."""
    POSITIVE = "positive"
    """Uniform from 0 to 1."""
    TINY = "tiny"
    """Signed and small."""
    BITS, ONES, ZEROS = "bits", "ones", "zeros"
    """Of whole numbers, where the model rejects others; floating ones are as for POSITIVE."""
    GIVEN = "given"

    @property
    def is_extreme(self) -> bool:
        """Return whether a model amplifies rounding more on such numbers than on those of its users."""
        return self in (Distribution.SCALES, Distribution.STRESS)


IN_TURN = (
    Distribution.NORMAL,
    Distribution.SCALES,
    Distribution.STRESS,
    Distribution.POSITIVE,
    Distribution.TINY,
)
"""Feed n is drawn from the n-th of them. Four are drawn unless ``feeds`` asks for more, so the order is by use."""

FEW_INTEGERS = (Distribution.BITS, Distribution.ONES, Distribution.ZEROS)


def dtype_of(elem_type: int) -> np.dtype:
    """Return numpy's type of a type of ONNX; float32 where it is not declared."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type or TensorProto.FLOAT))


def draw_array(
    elem_type: int,
    shape: tuple[int, ...],
    use: InputConstraints,
    distribution: Distribution,
    index: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw the values of an input for feed number ``index``; masks and switches follow that number."""
    if elem_type == TensorProto.STRING:
        return _strings(shape, use.words, rng)
    dtype = dtype_of(elem_type)
    if elem_type == TensorProto.BOOL:
        return np.zeros(shape, bool) if use.role is InputRole.OFF else _mask(shape, index, rng).astype(bool)
    if dtype.kind not in "iu":
        return _floats(shape, use, distribution, rng).astype(dtype)
    if distribution in (Distribution.BITS, Distribution.ONES) and use.role in (InputRole.SIZE, InputRole.SHAPE):
        return np.full(shape, 1 + (distribution is Distribution.BITS), dtype)
    if distribution in FEW_INTEGERS and use.role in (InputRole.DATA, InputRole.INDEX):
        low, high = int(distribution is Distribution.ONES), int(distribution is not Distribution.ZEROS)
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    return _integers(shape, dtype, use, index, rng).astype(dtype)


def _strings(shape: tuple[int, ...], words: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    pool = [*words, "a", "the quick brown fox", "", "Zürich", "42"]
    random_values = [pool[i] for i in rng.integers(0, len(pool), int(np.prod(shape)))]
    return np.array(random_values, dtype=object).reshape(shape)


def _mask(shape: tuple[int, ...], index: int, rng: np.random.Generator) -> np.ndarray:
    """Ones, then zeros from some place on, except in the second feed.

    Never a row of zeros. A scalar alternates from feed to feed.
    """
    if not shape or shape == (1,):
        return np.full(shape, (index + 1) % 2)
    if index == 1:
        return np.ones(shape, dtype=np.int64)
    keep = rng.integers(1, max(shape[-1], 2), (*shape[:-1], 1))
    return (np.arange(shape[-1]) < keep).astype(np.int64)


def _floats(
    shape: tuple[int, ...], use: InputConstraints, distribution: Distribution, rng: np.random.Generator
) -> np.ndarray:
    if use.role is InputRole.ADDITIVE_MASK:
        return np.where(_mask(shape, 0, rng) > 0, 0.0, -1e4)
    if use.role in (InputRole.SCALE, InputRole.ZERO):
        return np.full(shape, float(use.role is InputRole.SCALE))
    random_values = rng.standard_normal(shape)
    if distribution is Distribution.NORMAL or not shape:
        return random_values
    if distribution in (Distribution.POSITIVE, *FEW_INTEGERS):
        return rng.random(shape)
    if distribution is Distribution.TINY:
        return np.asarray(random_values * 1e-2)
    axis = 1 if len(shape) > 2 else len(shape) - 1
    channels = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    if distribution is Distribution.SCALES:
        return np.asarray(random_values * 10 ** rng.uniform(-1, 1, channels.shape))
    # Stress: a large mean, a tiny variance, a constant, zeros and plain noise take turns over the channels.
    turn = (channels + rng.integers(0, 5)) % 5
    mean = np.select([turn == 0, turn == 1, turn == 2], [8.0, 1.0, -1.5], 0.0)
    spread = np.select([turn == 0, turn == 1, turn == 4], [1.0, 1e-3, 2.0], 0.0)
    return np.asarray(mean + spread * random_values)


def _integers(
    shape: tuple[int, ...], dtype: np.dtype, use: InputConstraints, index: int, rng: np.random.Generator
) -> np.ndarray:
    count = int(np.prod(shape))
    if len(use.goal) == count:
        return np.array(use.goal).reshape(shape)
    if use.role is InputRole.POSITION:
        top = use.limit or 2**31
        return np.broadcast_to(np.arange(shape[-1] if shape else 1) % top, shape).copy() if shape else np.array(0)
    if use.role is InputRole.MASK:
        return _mask(shape, index, rng)
    if use.role is InputRole.INDEX:
        return rng.integers(0, use.limit or 2, shape)
    if use.role is InputRole.SHAPE:
        return np.array([0] * (count - 1) + [-1]).reshape(shape) if count else np.zeros(shape)
    if use.role is InputRole.LENGTH:
        return np.full(shape, 1)
    if use.role is InputRole.ZERO:
        return np.zeros(shape)
    if use.role in (InputRole.COUNT, InputRole.SCALE):
        return np.ones(shape)
    if use.role is InputRole.SIZE:
        return np.full(shape, 4)
    if use.role is InputRole.CEILING:
        return np.full(shape, 24)
    if use.role is InputRole.DEPTH:
        return np.full(shape, 8)
    bounds = np.iinfo(dtype)
    if dtype.itemsize == 1:
        return rng.integers(bounds.min, int(bounds.max) + 1, shape)
    return rng.integers(max(bounds.min, -4) if index % 2 else 0, 8, shape)
