"""Numbers of nodes follow what is inserted, also where there is no room left between two of them."""

from __future__ import annotations

import random

import onnx_ir as ir

from normfold.graph.node_order import NodeOrder


def test_numbers_grow_along_the_graph_whatever_is_inserted() -> None:
    dice = random.Random(0)
    x = ir.val("x", ir.DataType.FLOAT, ["N"])
    graph = ir.Graph([x], [], nodes=[ir.node("Relu", [x]) for _ in range(3)])
    order = NodeOrder(graph)
    first = graph[0]
    for step in range(300):
        anchor, node = dice.choice([first, *graph]), ir.node("Relu", [x])
        if step % 3 == 0:
            graph.insert_after(anchor, node)
            order.insert_after(anchor, node)
        elif step % 3 == 1:
            graph.insert_before(anchor, node)
            order.insert_before(anchor, [node])
        else:
            graph.insert_before(graph[0], node)
            order.insert_first(node)
    numbers = [order[node] for node in graph]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 303


def test_many_nodes_between_two_get_numbers_of_their_own() -> None:
    x = ir.val("x", ir.DataType.FLOAT, ["N"])
    graph = ir.Graph([x], [], nodes=[ir.node("Relu", [x]) for _ in range(2)])
    order = NodeOrder(graph)
    anchor = graph[1]
    for _ in range(200):  # each halves the room before the anchor: 50 halves are all that a float has
        node = ir.node("Relu", [x])
        graph.insert_before(anchor, node)
        order.insert_before(anchor, [node])
    numbers = [order[node] for node in graph]
    assert numbers == sorted(set(numbers))
    assert ir.node("Relu", [x]) not in order
