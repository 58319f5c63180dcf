"""Operators whose result is another one at every run, and what depends on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx
from onnx import numpy_helper

from normfold.operators.table import RANDOM
from normfold.operators.walk import every_node, subgraphs
from normfold.runtime.loaded_model import LoadedModel


def is_unseeded_random(node: onnx.NodeProto, off: Collection[str] = ()) -> bool:
    """Whether a node draws numbers without a seed. ``off`` are constants that are false: a Dropout not in training."""
    if any(attribute.name == "seed" for attribute in node.attribute):
        return False
    trains = len(node.input) > 2 and node.input[2] not in ("", *off)
    return node.op_type in RANDOM or ("Dropout" in node.op_type and trains)


def draws(model: LoadedModel) -> bool:
    """Whether any operator may draw numbers, with or without a seed; a Dropout may if it has a switch for training."""
    if not any(each in RANDOM or "Dropout" in each for each in model.operators):  # known of the whole model already
        return False
    nodes = every_node(model.skeleton)
    return any(node.op_type in RANDOM or ("Dropout" in node.op_type and len(node.input) > 2) for node in nodes)


def unseeded_values(model: LoadedModel) -> list[str]:
    """Return what such operators of the main graph make; of those in subgraphs, what the node around them makes."""
    if not draws(model):
        return []
    constants = [(t.name, t) for t in model.graph.initializer]
    constants += [(n.output[0], a.t) for n in model.graph.node if n.op_type == "Constant" for a in n.attribute]
    off = {name for name, t in constants if t.data_type == onnx.TensorProto.BOOL and not _first(t)}
    return [name for node in model.graph.node if _inside(node, off) for name in node.output if name]


def _first(tensor: onnx.TensorProto) -> bool:
    array = numpy_helper.to_array(tensor)
    return bool(array.size and array.reshape(-1)[0])


def _inside(node: onnx.NodeProto, off: Collection[str]) -> bool:
    return is_unseeded_random(node, off) or any(_inside(each, off) for graph in subgraphs(node) for each in graph.node)


def depending_on(model: LoadedModel, values: Iterable[str]) -> set[str]:
    """Everything downstream of ``values``, themselves included."""
    found = set(values)
    stack = list(found)
    while stack:
        for index in model.readers.get(stack.pop(), ()):
            fresh = set(model.graph.node[index].output) - found
            found |= fresh
            stack.extend(fresh)
    return found
