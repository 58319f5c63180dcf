"""Two models of one structure that differ in weights alone, such as a copy in which somebody changed some: every name
means the same in both, so they can be compared at each operator that reads a changed weight."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from normfold.verify.held import Held
from normfold.verify.result import Site
from normfold.verify.weights import is_external


def twin_sites(one: Held, other: Held) -> list[Site]:
    """What each operator makes that reads a changed weight, in the name of the operator; none where the operators of
    the two are not the same, or the types of the weights."""
    if not _same_operators(one, other) or _types(one) != _types(other):
        return []
    changed = set(_changed(one, other))
    found = []
    for node, reads in zip(one.graph.node, one.reads, strict=True):
        if not changed.isdisjoint(reads):
            found += [Site(value, node.name or f"{node.op_type} of {value}") for value in node.output if value]
    return found


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
