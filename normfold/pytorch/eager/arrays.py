"""Tensors as numpy arrays and back, bfloat16 included, which numpy itself lacks."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import torch


def array_of(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return the values of ``tensor``, from any device."""
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype == torch.bfloat16:
        return plain.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return np.asarray(plain.numpy())


def as_real(tensor: torch.Tensor) -> torch.Tensor:
    """Return a complex tensor as ONNX has it, with real and imaginary parts along a last axis; others as they are."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def tensor_of(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return a tensor with a copy of ``array``, on the CPU."""
    array = np.array(array, copy=True, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
