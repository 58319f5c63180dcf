"""Integers with a scale: what QuantizeLinear and DequantizeLinear make, by tensor, by channel, or by blocks of one.

Source: https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.algebra.weight import Weight

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_LARGEST_FLOAT8 = {ir.DataType.FLOAT8E4M3FN: 448.0, ir.DataType.FLOAT8E5M2: 57344.0}


def limits_of(dtype: ir.DataType) -> tuple[float, float]:
    """Return the least and the largest number of a quantized type."""
    if dtype in _LARGEST_FLOAT8:
        return -_LARGEST_FLOAT8[dtype], _LARGEST_FLOAT8[dtype]
    half = 2.0 ** (dtype.bitwidth - 1)
    return (-half, half - 1) if dtype.is_signed() else (0.0, 2 * half - 1)


def on_numbers(parameter: npt.ArrayLike, shape: tuple[int, ...], axis: int = 1, block: int = 0) -> Array:
    """Return a scale or zero point as it broadcasts to its numbers, which are of ``shape``."""
    array = np.asarray(parameter).astype(np.float64)
    if array.size == 1:
        return array.reshape(())
    axis %= len(shape)
    if not block:
        return array.reshape([-1 if at == axis else 1 for at in range(len(shape))])
    return np.repeat(array, block, axis=axis).take(range(shape[axis]), axis=axis)


def dequantized(numbers: npt.NDArray[Any], scale: Array, zero: Array | None, axis: int = 1, block: int = 0) -> Weight:
    """Return ``(numbers - zero) * scale``, which stays integers until it is read."""
    weight = Weight(numbers)
    if zero is not None and np.asarray(zero).astype(np.float64).any():
        weight = weight + -on_numbers(zero, numbers.shape, axis, block)
    return weight * on_numbers(scale, numbers.shape, axis, block)


def quantized(
    array: Array, scale: Array, zero: npt.NDArray[Any] | None, dtype: ir.DataType, axis: int = 1, block: int = 0
) -> npt.NDArray[Any]:
    """Return the numbers nearest to ``array / scale + zero``, in float32 and saturated, as runtimes make them."""
    shape = array.shape
    numbers = array.astype(np.float32) / on_numbers(scale, shape, axis, block).astype(np.float32)
    low, high = limits_of(dtype)
    if dtype not in _LARGEST_FLOAT8:
        numbers = np.rint(numbers)
        numbers = numbers if zero is None else numbers + on_numbers(zero, shape, axis, block)
    return np.clip(numbers, low, high).astype(dtype.numpy())
