"""Two models of one structure that differ in weights alone, such as a copy in which somebody changed some: every name
means the same in both, so they can be compared at each operator that reads a changed weight."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from normfold.verify.held import Held
from normfold.verify.randomness import depending_on
from normfold.verify.result import Site
from normfold.verify.weights import is_external

_SELECTORS = frozenset({"Gather", "GatherElements", "GatherND", "PRelu"})
"""What these make shows the rows or slopes that the data selects, and no others: so the weights are compared."""


def twin_sites(one: Held, other: Held) -> list[Site]:
    """What each operator makes that reads a changed weight, in the name of the operator, and the weight itself where
    the data selects what shows of it. Where the operators of the two are not the same, or the types of the
    weights, only weights that the same operators select from."""
    if not _same_operators(one, other) or _types(one) != _types(other):
        return list(_changed_tables(one, other))
    changed = set(_changed(one, other))
    data = depending_on(one, [value.name for value in one.inputs]) if changed else set()
    found = []
    for node, reads in zip(one.graph.node, one.reads, strict=True):
        read = sorted(changed.intersection(reads))
        selected = read if node.op_type in _SELECTORS and not data.isdisjoint(reads) else []
        found += [Site(value, _owner(node)) for value in (*node.output, *selected) if value and read]
    return found


def _owner(node: onnx.NodeProto) -> str:
    return node.name or f"{node.op_type} of {next(filter(None, node.output), '')}"


def _changed_tables(one: Held, other: Held) -> Iterator[Site]:
    """Weights of one name that hold other numbers, where operators select from them that do the same in both models,
    and so do those that read the result."""
    tensors, others = dict(one.initializers), dict(other.initializers)
    nodes = [node for node in one.graph.node if node.op_type in _SELECTORS]
    data = depending_on(one, [value.name for value in one.inputs]) if nodes else set()
    for node in nodes:
        same = _uses(one, node) == _uses(other, node) and not data.isdisjoint(node.input)
        for name in node.input if same else ():
            if name in tensors and name in others:
                a, b = tensors[name], others[name]
                if (a.data_type, a.dims) == (b.data_type, b.dims) and not _are_equal(one, a, other, b):
                    yield Site(name, _owner(node))


def _uses(held: Held, node: onnx.NodeProto) -> list[object]:
    """What makes the result of a node of this or the other model, and what kinds of operator read it."""
    made = node.output[0]
    found: list[object] = [(n.op_type, *n.input, *n.output) for n in held.graph.node if made in n.output]
    readers = [held.graph.node[place] for place in held.readers.get(made, ())]
    return found + sorted((n.op_type, list(n.input).index(made) if made in n.input else -1) for n in readers)


def _same_operators(one: Held, other: Held) -> bool:
    nodes, others = one.graph.node, other.graph.node
    return (
        len(nodes) == len(others)
        and one.skeleton.opset_import == other.skeleton.opset_import
        and one.skeleton.functions == other.skeleton.functions
        and all(a == b or _are_constants(a, b) for a, b in zip(nodes, others, strict=True))
    )


def _are_constants(a: onnx.NodeProto, b: onnx.NodeProto) -> bool:
    return a.op_type == b.op_type == "Constant" and a.output == b.output


def _types(held: Held) -> dict[str, tuple[int, tuple[int, ...]]]:
    return {name: (tensor.data_type, tuple(tensor.dims)) for name, tensor in held.initializers}


def _changed(one: Held, other: Held) -> Iterator[str]:
    """The weights and constants that hold other numbers."""
    tensors = dict(other.initializers)
    for name, tensor in one.initializers:
        if not _are_equal(one, tensor, other, tensors[name]):
            yield name
    for a, b in zip(one.graph.node, other.graph.node, strict=True):
        if a != b:
            yield a.output[0]


def _are_equal(one: Held, tensor: onnx.TensorProto, other: Held, its: onnx.TensorProto) -> bool:
    if not (is_external(tensor) or is_external(its)):
        return bool(tensor == its)
    a, b = (
        np.ascontiguousarray(held.array_of(each)).reshape(-1).view(np.uint8)
        for held, each in ((one, tensor), (other, its))
    )
    return np.array_equal(a, b)
