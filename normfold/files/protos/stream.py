"""Serialize a model file in pieces, so that no weight is copied and the file is never in memory as a whole.

A message inside a message is its tag, its length and its content (see ``wire``). So the graph is serialized
without its weights, and the weights follow from where they lie.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from normfold.files.protos.convert import to_proto
from normfold.files.protos.tensors import BIG
from normfold.files.protos.wire import GRAPH, INITIALIZER, RAW_DATA, Buffer, framed

Piece = Buffer | memoryview


@dataclass(frozen=True, eq=False)
class Streamed:
    """Hold a model to be written: ``bare`` lists big initializers without content, ``weights`` has it by name."""

    bare: onnx.ModelProto
    weights: Mapping[str, ir.TensorProtocol]

    def pieces(self) -> Iterator[Piece]:
        """Yield the bytes of the model file in order. Each weight is read when its turn comes."""
        rest, graph = onnx.ModelProto(), onnx.GraphProto()
        rest.CopyFrom(self.bare)
        graph.CopyFrom(rest.graph)
        rest.ClearField("graph")
        entries = [(_head(tensor, self.weights), self.weights.get(tensor.name)) for tensor in graph.initializer]
        del graph.initializer[:]
        nodes = _serialized(graph)
        initializers = [(framed(INITIALIZER, len(head) + _size(weight)), head, weight) for head, weight in entries]
        total = len(nodes) + sum(len(frame) + len(head) + _size(weight) for frame, head, weight in initializers)
        yield _serialized(rest)
        yield framed(GRAPH, total)
        yield nodes
        for frame, head, weight in initializers:
            yield frame + head
            if weight is not None:
                yield content(weight)


def streamed(model: ir.Model) -> Streamed:
    """Separate ``model`` from its big initializers."""
    values = [value for value in model.graph.initializers.values() if is_big(value)]
    with lying_in(Path("-"), dict.fromkeys(values, 0)):
        bare = to_proto(model)
    return Streamed(bare, {value.name or "": _constant(value) for value in values})


def is_big(value: ir.Value) -> bool:
    """Return whether an initializer is written from where it lies."""
    tensor = value.const_value
    return tensor is not None and tensor.dtype != ir.DataType.STRING and tensor.nbytes >= BIG


def content(tensor: ir.TensorProtocol) -> Piece:
    """Return the little-endian raw data of a tensor, without a copy where the array has that form already."""
    if tensor.dtype.bitwidth < 8 or sys.byteorder != "little":
        return tensor.tobytes()
    array = np.ascontiguousarray(tensor.numpy())
    return array.reshape(-1).view(np.uint8).data


@contextlib.contextmanager
def lying_in(file: Path, offsets: Mapping[ir.Value, int]) -> Iterator[None]:
    """Make the initializers in ``offsets`` (bytes) external tensors in ``file`` for the duration of the context."""
    tensors = {value: _constant(value) for value in offsets}
    try:
        for value, tensor in tensors.items():
            value.const_value = ir.ExternalTensor(
                file.name,
                offsets[value],
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=value.name or "",
                doc_string=tensor.doc_string,
                base_dir=file.parent,
            )
        yield
    finally:
        for value, tensor in tensors.items():
            value.const_value = tensor


def _constant(value: ir.Value) -> ir.TensorProtocol:
    assert value.const_value is not None  # only constants are asked for
    return value.const_value


def _head(tensor: onnx.TensorProto, weights: Mapping[str, ir.TensorProtocol]) -> bytes:
    """Serialize a tensor up to where its content begins, or the whole tensor if it has its content already."""
    weight = weights.get(tensor.name)
    if weight is None:
        return _serialized(tensor)
    described = onnx.TensorProto()
    described.CopyFrom(tensor)
    described.ClearField("external_data")
    described.ClearField("data_location")
    return _serialized(described) + framed(RAW_DATA, weight.nbytes)


def _size(weight: ir.TensorProtocol | None) -> int:
    return 0 if weight is None else weight.nbytes


def _serialized(message: onnx.ModelProto | onnx.GraphProto | onnx.TensorProto) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
