"""Random changes that leave a model valid, so that it is folded, proven and written, and not only refused."""

from __future__ import annotations

import random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _floats(model: onnx.ModelProto) -> list[str]:
    """Return the float32 values inside the main graph that some operator makes."""
    made = {name for node in model.graph.node for name in node.output}
    values = (*model.graph.value_info, *model.graph.output)
    return [v.name for v in values if v.name in made and v.type.tensor_type.elem_type == TensorProto.FLOAT]


def _at(model: onnx.ModelProto, value: str) -> int:
    return next(index for index, node in enumerate(model.graph.node) if value in node.output)


def insert(model: onnx.ModelProto, dice: random.Random) -> None:
    """Let the readers of a value read what one more operator makes of it."""
    values = _floats(model) or [""]
    value, number = dice.choice(values), dice.randrange(10**6)
    readers = [node for node in model.graph.node if value and value in node.input]
    if not readers:
        return
    new, scalar = f"new{number}", f"scalar{number}"
    kind = dice.choice(("Identity", "Relu", "Neg", "Sigmoid", "Mul", "Add", "Sub", "Div", "Max", "Pow", "PRelu"))
    operands = [value] if kind in ("Identity", "Relu", "Neg", "Sigmoid") else [value, scalar]
    if len(operands) > 1:
        content = dice.choice((0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 1e-30, 1e30, float("inf"), float("nan")))
        model.graph.initializer.append(numpy_helper.from_array(np.array(content, np.float32), scalar))
    for node in readers if dice.random() < 0.5 else [dice.choice(readers)]:
        for index, name in enumerate(node.input):
            if name == value:
                node.input[index] = new
    model.graph.node.insert(_at(model, value) + 1, helper.make_node(kind, operands, [new], f"node{number}"))


def weigh(model: onnx.ModelProto, dice: random.Random) -> None:
    """Change numbers of a float32 weight."""
    weights = [each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT and each.raw_data]
    if not weights:
        return
    tensor = dice.choice(weights)
    array = numpy_helper.to_array(tensor).copy()
    flat = array.reshape(-1)
    some = slice(None) if dice.random() < 0.4 else slice(0, dice.randrange(flat.size + 1))
    flat[some] = flat[some] * np.float32(dice.choice((-1, 0, 2, 1e-3, 1e3, 1e-20, 1e15))) + np.float32(
        dice.choice((0, 0, 0, 1, -0.5))
    )
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def repeat(model: onnx.ModelProto, dice: random.Random) -> None:
    """Compute a value once more under another name, for one of its readers."""
    values = _floats(model)
    value = dice.choice(values) if values else ""
    readers = [node for node in model.graph.node if value and value in node.input]
    at = _at(model, value) if readers else 0
    if not readers or len(model.graph.node[at].output) > 1:
        return
    copy = onnx.NodeProto.FromString(model.graph.node[at].SerializeToString())
    copy.name, copy.output[0] = f"{copy.name}_again", f"{value}_again{dice.randrange(10**6)}"
    reader = dice.choice(readers)
    reader.input[list(reader.input).index(value)] = copy.output[0]
    model.graph.node.insert(at + 1, copy)


def tap(model: onnx.ModelProto, dice: random.Random) -> None:
    """Make a value inside an output."""
    outputs = {value.name for value in model.graph.output}
    values = [value for value in _floats(model) if value not in outputs]
    if values:
        name = dice.choice(values)
        model.graph.output.append(next(value for value in model.graph.value_info if value.name == name))


def rename(model: onnx.ModelProto, dice: random.Random) -> None:
    """Give a value a name of unusual characters."""
    values = [value for value in _floats(model) if value not in {each.name for each in model.graph.output}]
    if not values:
        return
    old = dice.choice(values)
    new = dice.choice(("a/b", "..", "€ \n", "<b>", "x" * 300, "\x1b[31m", "%s{0}", ":", "-o")) + str(dice.random())
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for value in model.graph.value_info:
        if value.name == old:
            value.name = new


def store_as_constant(model: onnx.ModelProto, dice: random.Random) -> None:
    """Let a Constant hold what is an initializer."""
    inputs = {value.name for value in model.graph.input}
    weights = [each for each in model.graph.initializer if each.name not in inputs]
    if weights:
        tensor = dice.choice(weights)
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        model.graph.initializer.remove(tensor)


VALID = (insert, insert, insert, weigh, weigh, repeat, tap, rename, store_as_constant)
"""Changes after which a model is as valid as before."""
