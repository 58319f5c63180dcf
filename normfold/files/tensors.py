"""Find every tensor of a model file, and read what is small from its data files.

A weight stays in a data file until it is read. What a new model file holds itself may not: it would go on pointing to
the data file of the old one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir as ir

from normfold.files.stream import BIG


def is_external(tensor: onnx.TensorProto) -> bool:
    """Return whether the content lies in a data file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


Stamp = tuple[int, int, int]


def stamp_of(file: Path) -> Stamp | None:
    """Return what a file that is replaced or written to changes: inode, size and time; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def load_small(proto: onnx.ModelProto, folder: str) -> dict[str, Stamp | None]:
    """Read small weights, and whatever is no initializer, from the data files in ``folder`` into ``proto``.

    Returns the names of all data files, relative to ``folder``, each with its stamp before anything was read.
    """
    entries = (entry for tensor in filter(is_external, tensors(proto)) for entry in tensor.external_data)
    names = {entry.value: stamp_of(Path(folder, entry.value)) for entry in entries if entry.key == "location"}
    small = (each for each in tensors(proto) if math.prod(each.dims) * ir.DataType(each.data_type).itemsize < BIG)
    for tensor in small if names else ():
        _load(tensor, folder)
    load_inner(proto, folder)
    return names


def load_inner(proto: onnx.ModelProto, folder: str) -> None:
    """Read whatever is no initializer, such as the values of Constant, from the data files in ``folder``."""
    for tensor in tensors(proto, initializers=False):
        _load(tensor, folder)


def _load(tensor: onnx.TensorProto, folder: str) -> None:
    if is_external(tensor):
        onnx.external_data_helper.load_external_data_for_tensor(tensor, folder)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def tensors(proto: onnx.ModelProto, *, initializers: bool = True) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of the model: initializers and attributes, in graphs, subgraphs and functions."""
    yield from _graph_tensors(proto.graph, initializers)
    for function in proto.functions:
        yield from _node_tensors(function.node, initializers)


def _graph_tensors(graph: onnx.GraphProto, initializers: bool) -> Iterator[onnx.TensorProto]:
    if initializers:
        yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node, initializers)


def _node_tensors(nodes: Iterable[onnx.NodeProto], initializers: bool) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for graph in _subgraphs(node):
            yield from _graph_tensors(graph, initializers)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in the attributes of an operator, also where it has no such attribute in any standard."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
