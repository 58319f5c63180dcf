"""An exported graph as it was before the fold: which constants are parameters, and which nodes work on data."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.graph.evaluators import EVALUATORS, evaluate
from normfold.graph.reader import GraphReader, attribute
from normfold.operators.table import RESHAPES

SAME_ORDER = RESHAPES | {"Identity", "Dropout", "Cast", "CastLike"}
LAYOUT = SAME_ORDER | {"Transpose"}
BIAS_INPUT = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "ScatterElements": 0, "ScatterND": 0}
"""Where an operator reads what it adds to all of its result: a scatter adds to what is there."""

NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
"""With which constant an operator gives what it reads."""

MOVES = LAYOUT | {"Slice", "Concat", "Gather"}
"""Operators whose results are numbers of their operands, in other places."""


class Provenance:
    """Where each constant of an exported graph comes from, read before anything is folded into constants.

    Only initializers in ``parameters`` count: the others are constants that the exporter made. ``leaves``: the
    parameters that a constant is computed from; ``moved``: the constants that are their numbers in other places.
    """

    def __init__(self, model: ir.Model, parameters: Collection[str]) -> None:
        self.leaves: dict[str, frozenset[str]] = {}
        self.moved: set[str] = set()
        self._made: dict[str, tuple[ir.Node, list[Any]]] = {}  # by which node, from names or constants
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._begins: dict[str, int] = {}  # the number of the first element of each parameter
        count = 0
        for name, value in model.graph.initializers.items():
            shape = static(value.shape)
            if name in parameters and shape is not None:
                self.leaves[name] = frozenset({name})
                self.moved.add(name)
                self._shapes[name], self._begins[name] = shape, count
                count += math.prod(shape)
        live = set(model.graph.inputs)
        for node in model.graph:
            if _reads_data(node, live):
                live.update(node.outputs)
            else:
                self._follow(node)

    def parts_of(self, name: str, array: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]] | None:
        """Return new values of parameters, flat, that give the constant ``name``, which is one of ``moved``.

        None where it has not each number of its parameters once, or ``array`` has another size.
        """
        if name in self._begins:
            return {name: array.reshape(-1)} if array.size == math.prod(self._shapes[name]) else None
        numbers, values = self._numbers(name).reshape(-1), array.reshape(-1)
        if numbers.size != values.size or len(np.unique(numbers)) != numbers.size:
            return None
        parts = {}
        for leaf in self.leaves[name]:
            places = numbers - self._begins[leaf]
            inside = (places >= 0) & (places < math.prod(self._shapes[leaf]))
            parts[leaf] = np.empty(math.prod(self._shapes[leaf]), values.dtype)
            if inside.sum() != parts[leaf].size:
                return None
            parts[leaf][places[inside]] = values[inside]
        return parts

    def _numbers(self, name: str) -> npt.NDArray[np.int64]:
        """Return which element of which parameter each element of a constant is."""
        if name in self._begins:
            shape = self._shapes[name]
            return self._begins[name] + np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
        node, operands = self._made[name]
        if node.op_type in ("Cast", "CastLike"):
            return self._numbers(operands[0])  # a type of few digits cannot hold them
        given = [self._numbers(each) if isinstance(each, str) else each for each in operands]
        return evaluate(node, given).astype(np.int64)

    def _follow(self, node: ir.Node) -> None:
        names = [value.name or "" for value in node.inputs if value is not None]
        # The shape of a weight stays what it is when its values change.
        used = [] if node.op_type in ("Shape", "Size") else [self.leaves.get(name, frozenset()) for name in names]
        for output in node.outputs:
            self.leaves[output.name or ""] = frozenset().union(*used)
        operands = [self._operand(value) for value in node.inputs]
        moves = node.op_type in MOVES and node.op_type in EVALUATORS
        data = operands if node.op_type == "Concat" else operands[:1]
        if moves and all(isinstance(each, str) for each in data):
            name = node.outputs[0].name or ""
            self.moved.add(name)
            self._made[name] = node, operands

    def _operand(self, value: ir.Value | None) -> Any:
        if value is None or value.name in self.moved:
            return value and value.name
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.numpy()


def undo_each_other(nodes: Iterable[ir.Node]) -> bool:
    """Tell whether they are Transposes that come to nothing together, as around the arithmetic of a norm."""
    order: tuple[int, ...] | None = None
    for node in nodes:
        if node.op_type != "Transpose" or "perm" not in node.attributes:
            return False
        perm = tuple(node.attributes["perm"].as_ints())
        if order is not None and len(order) != len(perm):  # a Reshape stands between them
            return False
        order = perm if order is None else tuple(order[axis] for axis in perm)
    return order is None or order == tuple(sorted(order))


def _reads_data(node: ir.Node, live: set[ir.Value]) -> bool:
    """Whether the result depends on the graph's inputs; of CastLike's second input only the type matters."""
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    return any(value in live for value in inputs)


def _has_bias(node: ir.Node) -> bool:
    return len(node.inputs) > BIAS_INPUT.get(node.op_type, len(node.inputs))


def static(shape: ir.Shape | None) -> tuple[int, ...] | None:
    """Return the sizes of a shape that knows them all, else None."""
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        return None
    return tuple(int(dim) for dim in shape)  # type: ignore[arg-type]  # all are int, as asked above


@dataclass(frozen=True, eq=False)
class _Before:
    """A node that works on data, as it was before the fold."""

    operator: str
    inputs: tuple[ir.Value | None, ...]
    attributes: Mapping[str, ir.Attr]


class Snapshot:
    """The nodes of a graph that depend on its inputs, as they are now; ``zeros``: the biases that add nothing."""

    def __init__(self, model: ir.Model) -> None:
        live = set(model.graph.inputs)
        self.nodes: dict[ir.Node, _Before] = {}
        for node in model.graph:
            if _reads_data(node, live):
                live.update(node.outputs)
                self.nodes[node] = _Before(node.op_type, tuple(node.inputs), dict(node.attributes))
        self.live = live
        self.known = set(model.graph)
        reader = GraphReader(model, model.graph)
        biases = {node.inputs[BIAS_INPUT[node.op_type]] for node in self.nodes if _has_bias(node)}
        self.zeros = {value for value in biases if (array := reader.constant(value)) is not None and not array.any()}
        self.outputs = tuple(model.graph.outputs)

    def data_input(self, node: ir.Node) -> ir.Value | None:
        """Return the one input that carries data; None when there are several, or none."""
        if node not in self.nodes:
            return None  # a value of weights alone
        inputs = self.nodes[node].inputs
        if node.op_type in LAYOUT:
            return inputs[0]
        data = [value for value in inputs if value in self.live]
        return data[0] if len(data) == 1 else None

    def constant_input(self, node: ir.Node) -> ir.Value | None:
        """Return the one constant that a node of two inputs reads: the second, or either where both may change."""
        inputs = self.nodes[node].inputs
        constants = [value for value in inputs if value is not None and value not in self.live]
        commutes = node.op_type in ("Add", "Mul")
        if len(inputs) != 2 or len(constants) != 1 or not (commutes or constants[0] is inputs[1]):
            return None
        return constants[0] if constants[0].const_value is not None else None

    def not_neutral(self, node: ir.Node) -> dict[str, tuple[ir.Value, float]] | None:
        """Return the constants with which a node does something, by name, each with the number that ends it.

        None where a node has no such constants. A BatchNormalization divides by the root of 1 then.
        """
        numbers = {self.constant_input(node): NEUTRAL.get(node.op_type)}
        if node.op_type == "BatchNormalization":
            variance = 1.0 - float(attribute(node, "epsilon", 1e-5))
            numbers = dict(zip(self.nodes[node].inputs[1:], (1.0, 0.0, 0.0, variance), strict=True))
        found = {}
        for value, number in numbers.items():
            if value is None or number is None:
                return None
            if value.const_value is None or not (value.const_value.numpy() == np.float32(number)).all():
                found[value.name or ""] = value, number
        return found
