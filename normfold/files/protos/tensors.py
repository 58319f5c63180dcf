"""Find every tensor of a model file, read what is small from its data files, and make sparse ones dense.

A weight stays in a data file until it is read. What a new model file holds itself may not: it would go on pointing to
the data file of the old one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from normfold.errors import SourceError
from normfold.operators.walk import every_node, inner_graphs

BIG = 4096  # bytes; smaller tensors are read with the graph, and serialized with it

MOST_DENSE_BYTES = 2**28
"""Bytes that the sparse tensors of a model may have with their zeros."""


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


def make_dense(proto: onnx.ModelProto) -> str:
    """Store each sparse initializer and Constant with its zeros, in place, as ONNX Runtime does; return a note.

    Raises SourceError for one that is not valid, and if they take more than MOST_DENSE_BYTES.
    """
    graphs = (proto.graph, *inner_graphs(proto))
    constants = [
        attribute
        for node in every_node(proto)
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.SPARSE_TENSOR
    ]
    sparse = [*(each for graph in graphs for each in graph.sparse_initializer), *(c.sparse_tensor for c in constants)]
    needed = sum(math.prod(each.dims) * ir.DataType(each.values.data_type).itemsize for each in sparse)
    if needed > MOST_DENSE_BYTES:
        raise SourceError(f"expected sparse tensors up to {MOST_DENSE_BYTES} bytes with their zeros, got {needed:.3g}")
    for graph in graphs:
        graph.initializer.extend(map(_dense, graph.sparse_initializer))
        del graph.sparse_initializer[:]
    for constant in constants:
        constant.CopyFrom(onnx.helper.make_attribute("value", _dense(constant.sparse_tensor)))
    return f"{len(sparse)} sparse tensors are stored with their zeros now" if sparse else ""


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """Return a sparse tensor with its zeros; its indices are those of flat elements, or a tuple for each element."""
    try:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        full = np.zeros(tuple(sparse.dims), values.dtype)
        full[np.unravel_index(indices, full.shape) if indices.ndim == 1 else tuple(indices.T)] = values
        return numpy_helper.from_array(full, sparse.values.name)
    except (ValueError, IndexError, TypeError, NotImplementedError) as error:
        raise SourceError(f"the sparse tensor {sparse.values.name!r} is not valid: {error}") from error


def tensors(proto: onnx.ModelProto, *, initializers: bool = True) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of the model: initializers and attributes, in graphs, subgraphs and functions."""
    yield from _graph_tensors(proto.graph, initializers)
    for function in proto.functions:
        yield from _node_tensors(function.node, initializers)


def _graph_tensors(graph: onnx.GraphProto, initializers: bool) -> Iterator[onnx.TensorProto]:
    if initializers:
        yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from _parts(sparse)
    yield from _node_tensors(graph.node, initializers)


def _node_tensors(nodes: Iterable[onnx.NodeProto], initializers: bool) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from _parts(attribute.sparse_tensor)
        for graph in _subgraphs(node):
            yield from _graph_tensors(graph, initializers)


def _parts(sparse: onnx.SparseTensorProto) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    return sparse.values, sparse.indices


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs in the attributes of an operator, also where it has no such attribute in any standard."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
