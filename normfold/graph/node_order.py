"""The order of the nodes of a graph as numbers, which stay right while nodes are inserted."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import onnx_ir as ir


class NodeOrder:
    """A number for each node of a graph that grows along it: producers before readers."""

    def __init__(self, graph: ir.Graph | ir.Function) -> None:
        self.graph = graph
        self._number_all()

    def __contains__(self, node: ir.Node) -> bool:
        return node in self._order

    def __getitem__(self, node: ir.Node) -> float:
        return self._order[node]

    def insert_after(self, anchor: ir.Node, node: ir.Node) -> None:
        """Remember that ``node`` was inserted directly behind ``anchor``."""
        low = self._order[anchor]
        above = bisect_right(self._numbers, low)
        self._number_between([node], low, self._numbers[above] if above < len(self._numbers) else low + 1.0)

    def insert_before(self, anchor: ir.Node, nodes: Sequence[ir.Node]) -> None:
        """Remember that ``nodes``, in their order, were inserted directly before ``anchor``."""
        high = self._order[anchor]
        below = bisect_left(self._numbers, high)
        self._number_between(nodes, self._numbers[below - 1] if below else high - 1.0, high)

    def insert_first(self, node: ir.Node) -> None:
        """Remember that ``node`` was inserted before every other one."""
        low = self._numbers[0] if self._numbers else 0.0
        self._number_between([node], low - 2.0, low)

    def _number_between(self, nodes: Sequence[ir.Node], low: float, high: float) -> None:
        """Give ``nodes`` numbers between two that are or were in use; renumber all nodes where there is no room."""
        step = (high - low) / (len(nodes) + 1)
        numbers = [low + step * (index + 1) for index in range(len(nodes))]
        if any(right <= left for left, right in pairwise((low, *numbers, high))):
            self._number_all()
            return
        self._order.update(zip(nodes, numbers, strict=True))
        at = bisect_right(self._numbers, low)
        self._numbers[at:at] = numbers

    def _number_all(self) -> None:
        self._order = {node: float(index) for index, node in enumerate(self.graph)}
        self._numbers = list(self._order.values())
