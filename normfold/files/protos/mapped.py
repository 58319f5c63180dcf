"""Weights that stay in the file they came in: in a data file, or in the model's own, which is read the same way."""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from normfold.files.protos.tensors import is_external
from normfold.files.protos.wire import split

# Below this a tensor stays inside the model: shape inference may need its value (ONNX Runtime's own rule).
INLINE_BYTES = 1024

MAPPED: frozenset[int] = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.INT64,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    }
)
"""The types of weights that the runtime maps from a file."""


class Mappings(dict[str, mmap.mmap]):
    """Files by their paths, as they are mapped. A copy, or another process, maps them again."""

    def __reduce__(self) -> tuple[type[Mappings], tuple[()]]:
        return Mappings, ()


class MappedTensor(ir.ExternalTensor):
    """A tensor in a file that it maps together with all others in it: onnx-ir's own holds a file number each."""

    def __init__(self, tensor: ir.ExternalTensor, mappings: Mappings) -> None:
        super().__init__(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=tensor.metadata_props,
            base_dir=tensor.base_dir,
        )
        self._mappings = mappings

    def numpy(self) -> npt.NDArray[Any]:
        """Return the content: a view of the file, unless elements have less than a byte."""
        content = np.frombuffer(self._file(), np.uint8, self.nbytes, self.offset or 0)
        if self.dtype.bitwidth < 8:
            return ir.PackedTensor(content, self.dtype, shape=self.shape).numpy()
        return content.view(np.dtype(self.dtype.numpy()).newbyteorder("<")).reshape(self.shape.numpy())

    def __array__(self, dtype: Any = None) -> npt.NDArray[Any]:
        """Return the content, of another type if one is given."""
        return np.asarray(self.numpy(), dtype)

    def tobytes(self) -> bytes:
        """Return a copy of the content."""
        start = self.offset or 0
        return self._file()[start : start + self.nbytes]

    def _file(self) -> mmap.mmap:
        if self.path not in self._mappings:
            with open(self.path, "rb") as file:
                self._mappings[self.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mappings[self.path]


def without_weights(content: bytes | mmap.mmap, name: str, least: int) -> onnx.ModelProto:
    """Return the model whose weights of ``least`` bytes or more are external data that lies in its own file ``name``.

    Those stay in the model that are of types, or lie there in a form, that the runtime does not map. Raises
    WireFormatError for bytes that protobuf alone can read.
    """

    def points(tensor: onnx.TensorProto, offset: int, size: int) -> bool:
        is_mapped = 0 < large_bytes(tensor) == size
        if is_mapped:
            _point_to(tensor, name, offset)
        return is_mapped

    return split(content, points, least)


def large_bytes(tensor: onnx.TensorProto) -> int:
    """Return the size of a tensor that is worth taking out of the model; 0 when it stays."""
    if is_external(tensor) or tensor.data_type not in MAPPED:
        return 0
    size = _bytes(tensor)
    return size if size >= INLINE_BYTES else 0


def stub(tensor: onnx.TensorProto, location: str, offset: int = 0) -> onnx.TensorProto:
    """Return the tensor without its content, which lies in a file next to the model, or is given to the runtime."""
    empty = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    _point_to(empty, location, offset)
    return empty


def _point_to(tensor: onnx.TensorProto, location: str, offset: int) -> None:
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", _bytes(tensor))):
        tensor.external_data.add(key=key, value=str(value))


def _bytes(tensor: onnx.TensorProto) -> int:
    return int(math.prod(tensor.dims)) * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
