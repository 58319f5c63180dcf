"""Walking over the operators of a model, those of bodies and functions included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count
from typing import TypeVar

import onnx

_T = TypeVar("_T")


def attribute_value(node: onnx.NodeProto, name: str, default: _T) -> _T:
    """Return the value of an attribute; ``default`` where it is missing, a parameter, or of another kind."""
    for entry in node.attribute:
        if entry.name == name and not entry.ref_attr_name:
            value = onnx.helper.get_attribute_value(entry)
            return value if isinstance(value, type(default)) else default
    return default


def initializer_names(graph: onnx.GraphProto) -> set[str]:
    """Names of all initializers."""
    return {tensor.name for tensor in graph.initializer}


@cache
def attributes_of(domain: str, operator: str) -> dict[str, str] | None:
    """Return the names of an operator's attributes with their kinds ("INT", "TENSOR", "GRAPH" ...).

    It is None of a custom one.
    """
    try:
        attributes = onnx.defs.get_schema(operator, domain).attributes
    except onnx.defs.SchemaError:
        return None
    return {name: str(attribute.type).rpartition(".")[2] for name, attribute in attributes.items()}


@cache
def _may_have_bodies(domain: str, operator: str) -> bool:
    known = attributes_of(domain, operator)
    return known is None or not {"GRAPH", "GRAPHS"}.isdisjoint(known.values())


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Return the graphs in the attributes of a node (not the graphs inside those)."""
    # Most of a walk over a model is spent on attributes, so only those are looked at that can be graphs.
    attributes = node.attribute
    for attribute in attributes if attributes and _may_have_bodies(node.domain, node.op_type) else ():
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def reads(node: onnx.NodeProto) -> tuple[str, ...]:
    """Every value that a node needs, each once: its inputs, and what its subgraphs capture from outside."""
    names = dict.fromkeys(filter(None, node.input))
    for graph in subgraphs(node):
        names |= dict.fromkeys(sorted(captures(graph)))
    return tuple(names)


def captures(graph: onnx.GraphProto) -> set[str]:
    """Return every value that a body needs from outside."""
    own = {value.name for value in graph.input} | initializer_names(graph)
    needed: set[str] = set()
    for node in graph.node:
        needed |= set(reads(node)) - own
        own |= set(node.output)
    return needed | ({value.name for value in graph.output} - own)


def every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes of the main graph, of all subgraphs and of all functions."""
    yield from model.graph.node
    yield from inner_nodes(model)


def inner_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes of all subgraphs and of all functions."""
    for function in model.functions:
        yield from function.node
    for graph in inner_graphs(model):
        yield from graph.node


def nodes_within(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of all subgraphs of some nodes."""
    for graph in graphs_within(nodes):
        yield from graph.node


def inner_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield all subgraphs of the main graph and of the functions."""
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        yield from graphs_within(nodes)


def graphs_within(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """Yield all subgraphs of some nodes."""
    for node in nodes:
        for graph in subgraphs(node):
            yield graph
            yield from graphs_within(graph.node)


def name_nodes_apart(graphs: Iterable[onnx.GraphProto]) -> int:
    """Give every node whose name stands earlier in its graph a name of its own; return how many these are.

    The format lets names of nodes repeat, and ONNX Runtime loads no graph in which they do.
    """
    renamed = 0
    for graph in graphs:
        taken = {node.name for node in graph.node}
        seen: set[str] = set()
        for node in graph.node:
            if node.name and node.name in seen:
                node.name = next(name for n in count(1) if (name := f"{node.name}_{n}") not in taken)
                renamed += 1
            seen.add(node.name)
            taken.add(node.name)
    return renamed
