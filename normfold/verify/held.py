"""A model held for running: a light skeleton, and the weights, which every session over it shares without a copy.

A proof opens many sessions over parts of the same model. ONNX Runtime takes large initializers from the caller's
memory (``add_external_initializers``), so a part costs neither serialization nor a second copy of its weights.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.verify.wire import Buffer, NotWalkable, Place, split

# Below this a tensor stays inside the skeleton: shape inference may need its value (ONNX Runtime's own rule).
INLINE_BYTES = 1024

_SHARED_TYPES = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.INT64,
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
}


class Weights(Mapping[str, np.ndarray]):
    """Arrays that are made when they are asked for and not kept: a proof that compares two models keeps no further
    copies of their weights between its sessions."""

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
        return Weights({name: make for name, make in self._makers.items() if name in names})

    def mapped(self, change: Callable[[str, np.ndarray], np.ndarray]) -> Weights:
        """The same after ``change(name, array)``, which is not kept either."""

        def after(name: str) -> np.ndarray:
            return change(name, self[name])

        return Weights({name: partial(after, name) for name in self})


@dataclass(frozen=True)
class Held:
    """``skeleton`` without large weights, ``weights`` by name, and the folder of external data (None: not on disk)."""

    skeleton: onnx.ModelProto
    weights: Weights
    folder: str | None = None

    @property
    def graph(self) -> onnx.GraphProto:
        """The main graph of the skeleton."""
        return self.skeleton.graph

    @property
    def inputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        """The inputs that a caller must feed: those without an initializer of the same name."""
        given = initializer_names(self.graph)
        return tuple(value for value in self.graph.input if value.name not in given)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the graph's outputs, each once."""
        return tuple(dict.fromkeys(value.name for value in self.graph.output))


def initializer_names(graph: onnx.GraphProto) -> set[str]:
    """Names of all initializers, sparse ones included."""
    return {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}


def hold(model: onnx.ModelProto | bytes | str | Path, folder: str | None = None) -> Held:
    """Split a model, which stays untouched. Large weights are read each time a session needs them; external data is in
    ``folder``, or beside the path, and is not read here."""
    weights: dict[str, Callable[[], np.ndarray]] = {}
    if isinstance(model, (str, Path)):
        folder = str(Path(model).resolve().parent)
        with open(model, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            proto, places = _walked(data)
        weights = {place.tensor.name: partial(_from_file, str(model), place) for place in places}
    elif isinstance(model, bytes):
        proto, places = _walked(model)
        weights = {place.tensor.name: partial(_from_bytes, model, place) for place in places}
    else:
        proto, places = model, []
    skeleton = _without_initializers(proto)
    for place in places:
        skeleton.graph.initializer.append(_stub(place.tensor, place.size))
    for tensor in proto.graph.initializer:
        size = _shareable_bytes(tensor)
        if size:
            weights[tensor.name] = partial(_from_tensor, tensor)
            skeleton.graph.initializer.append(_stub(tensor, size))
        else:
            skeleton.graph.initializer.append(tensor)
    return Held(skeleton, Weights(weights), folder)


def _walked(data: Buffer) -> tuple[onnx.ModelProto, list[Place]]:
    """The model without the weights whose bytes lie in one piece, and those; protobuf reads what cannot be walked."""
    try:
        return split(data, lambda tensor, size: 0 < _shareable_bytes(tensor) == size)
    except NotWalkable:
        return onnx.load_from_string(bytes(data)), []


def _from_file(path: str, place: Place) -> np.ndarray:
    kind = onnx.helper.tensor_dtype_to_np_dtype(place.tensor.data_type)
    array = np.fromfile(path, np.uint8, place.size, offset=place.offset)
    return array.view(kind).reshape(tuple(place.tensor.dims))


def _from_bytes(content: bytes, place: Place) -> np.ndarray:
    kind = onnx.helper.tensor_dtype_to_np_dtype(place.tensor.data_type)
    array = np.frombuffer(content, np.uint8, place.size, place.offset).copy()  # aligned, as the runtime wants it
    return array.view(kind).reshape(tuple(place.tensor.dims))


def _from_tensor(tensor: onnx.TensorProto) -> np.ndarray:
    return np.ascontiguousarray(numpy_helper.to_array(tensor)).reshape(tuple(tensor.dims))


def _shareable_bytes(tensor: onnx.TensorProto) -> int:
    """The size of a tensor that sessions can share; 0 when it stays in the skeleton."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.data_type not in _SHARED_TYPES:
        return 0
    size = math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return size if size >= INLINE_BYTES else 0


def _stub(tensor: onnx.TensorProto, size: int) -> onnx.TensorProto:
    """A tensor that says where its data is not: the caller brings it."""
    stub = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    stub.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "held"), ("offset", "0"), ("length", str(size))):
        stub.external_data.add(key=key, value=value)
    return stub


def _without_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    skeleton = onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
    )
    graph = skeleton.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    return skeleton


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs in the attributes of a node (not the graphs inside those)."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def reads(node: onnx.NodeProto) -> set[str]:
    """Every value that a node needs: its inputs, and what its subgraphs capture from outside."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        names |= _captures(graph)
    return names


def _captures(graph: onnx.GraphProto) -> set[str]:
    own = {value.name for value in graph.input} | initializer_names(graph)
    needed: set[str] = set()
    for node in graph.node:
        needed |= reads(node) - own
        own |= set(node.output)
    return needed | ({value.name for value in graph.output} - own)


def producers(graph: onnx.GraphProto) -> dict[str, int]:
    """The index of the node that makes each value."""
    return {name: index for index, node in enumerate(graph.node) for name in node.output if name}


def readers_of(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """The indices of the nodes that need each value."""
    found: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in reads(node):
            found.setdefault(name, []).append(index)
    return found


def every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes of the main graph, of all subgraphs and of all functions."""

    def walk(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        for node in nodes:
            yield node
            for graph in subgraphs(node):
                yield from walk(graph.node)

    yield from walk(model.graph.node)
    for function in model.functions:
        yield from walk(function.node)


MADE = "\u207amade"


@dataclass(frozen=True)
class Part:
    """A part of a held model that runs on its own.

    ``forced`` are the values that must be fed beside the graph inputs; ``fetch`` maps each wanted value to the name of
    the part's output that carries it.
    """

    held: Held
    feeds: tuple[str, ...]
    forced: tuple[str, ...]
    fetch: Mapping[str, str]


def part(held: Held, targets: Collection[str], cut: Mapping[str, onnx.TypeProto]) -> Part:
    """The nodes that compute ``targets`` from the graph inputs and the values of ``cut``, whose types are given.

    A value that is both wanted and cut is computed from the cut values before it, under a name of its own, while its
    readers get the value that is fed. So each target shows only the error that is made between the cuts and itself.
    """
    graph = held.graph
    made_by = producers(graph)
    cuts = {name: kind for name, kind in cut.items() if name in made_by}
    nodes, needed = _upstream(graph, made_by, targets, cuts)
    small = onnx.ModelProto(
        ir_version=held.skeleton.ir_version,
        opset_import=held.skeleton.opset_import,
        functions=held.skeleton.functions,
    )
    small.graph.name = graph.name
    for index in sorted(nodes):
        node = small.graph.node.add()
        node.CopyFrom(graph.node[index])
        node.output[:] = [name + MADE if name in cuts else name for name in node.output]
    forced = tuple(name for name in cuts if name in needed)
    fetch = {name: name + MADE if name in cuts else name for name in targets}
    for name in targets:
        if name not in made_by:  # an input or an initializer is an output: a copy of it is what the part can give
            fetch[name] = name + MADE
            needed.add(name)
            small.graph.node.add(op_type="Identity", input=[name], output=[name + MADE])
    small.graph.input.extend(value for value in graph.input if value.name in needed)
    small.graph.input.extend(onnx.ValueInfoProto(name=name, type=cuts[name]) for name in forced)
    declared = {v.name: v.type for v in (*graph.value_info, *graph.output) if v.type.WhichOneof("value")}
    for name, made in fetch.items():
        small.graph.output.add(name=made, type=declared.get(name))
    small.graph.initializer.extend(t for t in graph.initializer if t.name in needed)
    small.graph.sparse_initializer.extend(t for t in graph.sparse_initializer if t.values.name in needed)
    inside = {name for node in small.graph.node for name in node.output}
    small.graph.value_info.extend(v for v in graph.value_info if v.name in inside and v.name not in fetch)
    weights = held.weights.only(needed)
    given = initializer_names(small.graph)
    feeds = tuple(v.name for v in small.graph.input if v.name not in given and v.name not in cuts)
    return Part(Held(small, weights, held.folder), feeds, forced, fetch)


def _upstream(
    graph: onnx.GraphProto, made_by: Mapping[str, int], targets: Iterable[str], cuts: Collection[str]
) -> tuple[set[int], set[str]]:
    """Indices of the nodes needed for ``targets`` without passing a cut, and every name those nodes read."""
    nodes: set[int] = set()
    needed: set[str] = set()
    stack = [made_by[name] for name in targets if name in made_by]
    while stack:
        index = stack.pop()
        if index in nodes:
            continue
        nodes.add(index)
        names = reads(graph.node[index])
        needed |= names
        stack.extend(made_by[name] for name in names if name in made_by and name not in cuts)
    return nodes, needed
