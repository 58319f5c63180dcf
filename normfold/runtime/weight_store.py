"""Large initializers of a loaded model: in files, where ONNX Runtime maps them, or as arrays that it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnx

GIVEN = "given"
"""The location of an initializer whose array is given to the runtime."""


class Weights(Mapping[str, np.ndarray]):
    """Arrays that are made when they are asked for and not kept.

    A proof that compares two models keeps no further copies of their weights between its sessions.
    """

    def __init__(self, makers: Mapping[str, Callable[[], np.ndarray]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> np.ndarray:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def only(self, names: Collection[str]) -> Weights:
        """Those of the given names."""
        return Weights({name: self._makers[name] for name in names if name in self._makers})

    def maker(self, name: str) -> Callable[[], np.ndarray]:
        """Return what makes one of them."""
        return self._makers[name]


def from_file(tensor: onnx.TensorProto, folder: str) -> Callable[[], np.ndarray]:
    """Return what reads an external tensor."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    path, shape = Path(folder, entries["location"]), tuple(tensor.dims)
    return partial(_read, path, int(entries.get("offset", 0)), np.dtype(kind), shape)


def _read(path: Path, offset: int, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    array = np.fromfile(path, np.uint8, math.prod(shape) * kind.itemsize, offset=offset)
    return array.view(kind).reshape(shape)
