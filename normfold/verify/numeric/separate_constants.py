"""The same model with a constant of its own for each reader: what two readers lose by rounding is not the same.

An exporter gives equal tensors one name: the bias of a convolution and the running mean behind it, where a channel is
dead. Moved together they cancel, and the model looks less noisy than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Set
from dataclasses import replace

import onnx

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.weight_store import Weights

_LARGEST = 2**16
"""Elements of a constant that is copied: norms and biases, not tables."""


_AFFINES = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "BatchNormalization",
        "Cast",
        "Identity",
        "Transpose",
        "Reshape",
        "Unsqueeze",
        "Squeeze",
        "Flatten",
    ]
)

_SETTINGS = {("Pow", 1), ("Resize", 1), ("Resize", 2), ("Upsample", 1), ("Range", 0), ("Range", 1), ("Range", 2)}
"""Operators and their inputs that say what to do, not with which numbers."""


def separate_constants(model: LoadedModel, exact: Set[str] = frozenset()) -> tuple[LoadedModel, frozenset[str]]:
    """Return a copy in which small initializers, Constants and Identities of either have one reader each.

    Return with it the names of those that are settings, which no rounding touches.
    """
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    graph = skeleton.graph
    tensors = {t.name: t for t in graph.initializer if math.prod(t.dims) <= _LARGEST}
    unseen = set(tensors)
    tensors.update(_constants(graph))
    source = {name: name for name in tensors}
    makers = {name: model.given.maker(name) for name in model.given}
    at_settings = _nodes_behind_settings(graph) | _affines_of(graph, exact)
    settings = set()
    copies: list[onnx.TensorProto] = []
    for place, node in enumerate(graph.node):
        if node.op_type == "Identity" and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
            continue
        for index, name in enumerate(node.input):
            if name not in source:
                continue
            own = original = source[name]
            if original not in unseen:
                own = f"{original}\u207a{len(copies)}"
                copies.append(onnx.TensorProto())
                copies[-1].CopyFrom(tensors[original])
                copies[-1].name = own
                if original in makers:
                    makers[own] = makers[original]
            unseen.discard(original)
            node.input[index] = own
            if place in at_settings or (node.op_type, index) in _SETTINGS:
                settings.add(own)
    graph.initializer.extend(copies)
    return replace(model, skeleton=skeleton, given=Weights(makers)), frozenset(settings)


def _affines_of(graph: onnx.GraphProto, exact: Set[str]) -> set[int]:
    """Return the nodes that shift or scale an exact input: what is subtracted there is as exact as the input."""
    values, found = set(exact), set()
    for index, node in enumerate(graph.node):
        if node.op_type in _AFFINES and not values.isdisjoint(node.input):
            values.update(node.output)
            found.add(index)
    return found


def _nodes_behind_settings(graph: onnx.GraphProto) -> set[int]:
    """Nodes that compute a setting from constants and shapes."""
    made = {name: place for place, node in enumerate(graph.node) for name in node.output}
    stack = [name for node in graph.node for i, name in enumerate(node.input) if (node.op_type, i) in _SETTINGS]
    found: set[int] = set()
    while stack:
        place = made.get(stack.pop())
        if place is not None and place not in found and graph.node[place].op_type not in ("Shape", "Size"):
            found.add(place)
            stack.extend(graph.node[place].input)
    return found


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and math.prod(value.dims) <= _LARGEST:
            yield node.output[0], value
