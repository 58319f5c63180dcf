"""Refuse files that are small and would become huge: before they are parsed where possible, and before they are run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import onnx

from normfold.errors import SourceError
from normfold.files.protos.wire import Buffer, WireFormatError, count_entries
from normfold.native import isolated
from normfold.operators.walk import every_node, inner_graphs

MOST_ENTRIES = 200_000
"""Operators, initializers and other entries that the graphs of a model may have in all: no trained network comes near,
and each takes time in every pass."""

MOST_OPERATORS = 1_000_000
"""Operators that a model may have when the calls of its functions are expanded, as every runtime does."""

MOST_COMPUTED = 2**26
"""Elements that operators on constants may make of them, weights apart, in each run and wherever they are computed."""

LONGEST_NAME = 1_000_000
"""Bytes of a name or a text inside the graph."""


def check_bytes(content: Buffer, name: str) -> None:
    """Raise SourceError for a file with more entries than a model may have, and for what is no protobuf."""
    try:
        entries = count_entries(content, MOST_ENTRIES)
    except (WireFormatError, IndexError) as error:
        raise SourceError(f"{name}: expected an ONNX model, got something that is no protobuf") from error
    if entries > MOST_ENTRIES:
        raise SourceError(
            f"{name}: expected at most {MOST_ENTRIES} operators and initializers, got more; split the model"
        )


def check_size(proto: onnx.ModelProto, name: str) -> None:
    """Raise SourceError where functions expand to too many operators, a Scan to too many inputs, or a text is none.

    Nor may a name be too long.
    """
    if proto.functions:
        operators = _expanded_operators(proto)
        if operators > MOST_OPERATORS:
            raise SourceError(
                f"{name}: expected at most {MOST_OPERATORS} operators, got {operators:.3g} with its functions expanded"
            )
    for node in every_node(proto):
        scanned = [each.i for each in node.attribute if node.op_type == "Scan" and each.name == "num_scan_inputs"]
        if scanned and not 0 < scanned[0] <= len(node.input):  # ONNX Runtime takes all memory
            raise SourceError(f"{name}: expected a Scan over some of its {len(node.input)} inputs, got {scanned[0]}")
    for text in _names(proto):
        if len(text) > LONGEST_NAME:
            raise SourceError(f"{name}: expected names below {LONGEST_NAME} letters, got one of {len(text)}")
    for text in (*_names(proto), *_other_texts(proto)):
        if isinstance(text, bytes):  # protobuf gives what it cannot decode as it is
            raise SourceError(f"{name}: expected texts in UTF-8, got {bytes(text[:40])!r}")


def _names(proto: onnx.ModelProto) -> Iterator[str]:
    """Yield the names of all operators, values and sizes, those of bodies and functions too."""
    for node in every_node(proto):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
    for graph in (proto.graph, *inner_graphs(proto)):
        yield from (tensor.name for tensor in graph.initializer)
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)


def _other_texts(proto: onnx.ModelProto) -> Iterator[str]:
    """Yield what a model says of itself and of its operators, of any length."""
    yield from (proto.producer_name, proto.producer_version, proto.domain, proto.graph.name)
    yield from (opset.domain for opset in proto.opset_import)
    entries: tuple[onnx.ModelProto | onnx.GraphProto | onnx.NodeProto, ...] = (proto, proto.graph, *every_node(proto))
    for entry in entries:
        yield entry.doc_string
        for pair in entry.metadata_props:
            yield from (pair.key, pair.value)


def check_values(types: Mapping[str, onnx.TypeProto], computed: int, name: str) -> None:
    """Raise SourceError if a value of a model takes more than half of the free memory when the model runs.

    Nor may it make too much of small constants, ``computed`` elements, in each of many runs. ``types`` are the types of
    its values by name. A value with a symbolic size is no obstacle: the proof chooses sizes.
    """
    if computed > MOST_COMPUTED:
        raise SourceError(
            f"{name}: expected operators on constants that make at most {MOST_COMPUTED:.1e} elements in a run, got "
            f"{computed:.1e}; --no-verify does not run the model"
        )
    most = isolated.free_bytes() // 2
    for value, kind in types.items():
        sizes = [dim.dim_value for dim in kind.tensor_type.shape.dim if dim.HasField("dim_value")]
        if most and len(sizes) == len(kind.tensor_type.shape.dim) and 4 * math.prod(sizes) > most:
            raise SourceError(
                f"{name}: expected values below {most / 2**30:.1f} GB, half of the free memory, but {value!r} takes "
                f"{math.prod(sizes) / 2**28:.3g} GB; --no-verify does not run the model"
            )


def _expanded_operators(proto: onnx.ModelProto) -> int:
    """Return how many operators the model has with every call of a function replaced by its body."""
    bodies = {(function.domain, function.name): function.node for function in proto.functions}
    known: dict[tuple[str, str], int] = {}
    waiting = list(bodies)
    open_calls: set[tuple[str, str]] = set()
    while waiting:
        current = waiting[-1]
        called = {call for call in _called(bodies[current]) if call in bodies} - known.keys()
        if current in known or not called - open_calls:  # a function that calls itself counts once
            known.setdefault(current, _weighed(bodies[current], known))
            open_calls.discard(current)
            waiting.pop()
        else:
            open_calls.add(current)
            waiting.extend(called - open_calls)
    return _weighed(proto.graph.node, known)


def _called(nodes: Iterable[onnx.NodeProto]) -> list[tuple[str, str]]:
    found = []
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        found.append((node.domain, node.op_type))
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)
    return found


def _weighed(nodes: Iterable[onnx.NodeProto], known: dict[tuple[str, str], int]) -> int:
    return sum(known.get(call, 1) for call in _called(nodes))
