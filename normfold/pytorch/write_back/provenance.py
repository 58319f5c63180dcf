"""An exported graph as it was before the fold: which constants are parameters, and which nodes work on data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.graph.operators import RESHAPES

SAME_ORDER = RESHAPES | {"Identity", "Dropout", "Cast", "CastLike"}
LAYOUT = SAME_ORDER | {"Transpose"}


@dataclass(frozen=True)
class Origin:
    """A constant that is a parameter in another layout: the steps that led from ``leaf`` to it."""

    leaf: str
    steps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    shape: tuple[int, ...] | None = None

    def undo(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a new value of the constant in the layout of the parameter."""
        for kind, how in reversed(self.steps):
            array = array.transpose(np.argsort(how)) if kind == "transpose" else array.reshape(how)
        return array


class Provenance:
    """Where each constant of an exported graph comes from, read before anything is folded into constants.

    Only initializers in ``parameters`` count: the others are constants that the exporter made.
    """

    def __init__(self, model: ir.Model, parameters: Collection[str]) -> None:
        self.origins: dict[str, Origin] = {}
        self.leaves: dict[str, frozenset[str]] = {}
        for name, value in model.graph.initializers.items():
            if name not in parameters:
                continue
            self.origins[name] = Origin(name, shape=static(value.shape))
            self.leaves[name] = frozenset({name})
        live = set(model.graph.inputs)
        for node in model.graph:
            if _reads_data(node, live):
                live.update(node.outputs)
            else:
                self._follow(node)

    def _follow(self, node: ir.Node) -> None:
        names = [value.name or "" for value in node.inputs if value is not None]
        # The shape of a weight stays what it is when its values change.
        used = [] if node.op_type in ("Shape", "Size") else [self.leaves.get(name, frozenset()) for name in names]
        for output in node.outputs:
            self.leaves[output.name or ""] = frozenset().union(*used)
        origin = self.origins.get(names[0]) if names else None
        if origin is not None:
            moved = _perturbed(origin, node)
            if moved is not None:
                self.origins[node.outputs[0].name or ""] = moved


def _reads_data(node: ir.Node, live: set[ir.Value]) -> bool:
    """Whether the result depends on the graph's inputs; of CastLike's second input only the type matters."""
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    return any(value in live for value in inputs)


def _perturbed(origin: Origin, node: ir.Node) -> Origin | None:
    output = static(node.outputs[0].shape)
    if node.op_type in ("Identity", "Cast", "CastLike"):
        return origin
    if node.op_type == "Transpose":
        perm = tuple(node.attributes["perm"].as_ints()) if "perm" in node.attributes else None
        if perm is None:
            return None
        shape = tuple(origin.shape[axis] for axis in perm) if origin.shape is not None else None
        return Origin(origin.leaf, (*origin.steps, ("transpose", perm)), shape)
    if node.op_type in SAME_ORDER and origin.shape is not None:
        return Origin(origin.leaf, (*origin.steps, ("reshape", origin.shape)), output)
    return None


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
    """The nodes of a graph that depend on its inputs, as they are now."""

    def __init__(self, model: ir.Model) -> None:
        live = set(model.graph.inputs)
        self.nodes: dict[ir.Node, _Before] = {}
        for node in model.graph:
            if _reads_data(node, live):
                live.update(node.outputs)
                self.nodes[node] = _Before(node.op_type, tuple(node.inputs), dict(node.attributes))
        self.live = live
        self.known = set(model.graph)
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
