"""Constants that are as exact as what they meet: settings, and what an exact input is shifted or scaled by.

Moved by a unit in the last place, a large centre would show noise that hides a shift at the wrong place. Nothing else
finds the digits that a fold loses there.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

import onnx

from normfold.operators.walk import graphs_within

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


def exact_constants(graph: onnx.GraphProto, exact: Set[str] = frozenset()) -> frozenset[str]:
    """Return the values that no rounding touches, those that bodies read among them; inputs in ``exact`` carry none."""
    graphs = [graph, *graphs_within(graph.node)]
    source = {node.output[0]: node.input[0] for each in graphs for node in each.node if node.op_type == "Identity"}
    found = {name for each in graphs for name in _exact_in(each, exact)}
    for each in tuple(found):
        name = each
        while name in source:
            name = source[name]
            found.add(name)
    return frozenset(found)


def _exact_in(graph: onnx.GraphProto, exact: Set[str]) -> Iterator[str]:
    places = _nodes_behind_settings(graph) | _affines_of(graph, exact)
    for place, node in enumerate(graph.node):
        for index, name in enumerate(node.input):
            if place in places or (node.op_type, index) in _SETTINGS:
                yield name


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
