"""Change a model at random: its bytes, its structure, or only what leaves it valid."""

from __future__ import annotations

import math
import random

import numpy as np
import onnx
from onnx import numpy_helper

from tests.sweeps.hostile.rewrites import VALID


def mutated(model: onnx.ModelProto, dice: random.Random) -> bytes:
    """Return the bytes of a mutant: changed as bytes, in its structure, or so that it is as valid as before."""
    kind = dice.random()
    if kind < 0.2:
        content = bytearray(model.SerializeToString())
        for _ in range(dice.choice((1, 1, 2, 8))):
            _change_bytes(content, dice)
        return bytes(content)
    mutant = onnx.ModelProto()
    mutant.CopyFrom(model)
    for _ in range(dice.choice((1, 1, 2, 4)) if kind < 0.5 else dice.choice((1, 3, 6))):
        dice.choice(STRUCTURAL if kind < 0.5 else VALID)(mutant, dice)
    return bytes(mutant.SerializeToString())


def _change_bytes(content: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(content))
    kind = dice.randrange(4)
    if kind == 0:
        content[at] = dice.randrange(256)
    elif kind == 1:
        del content[at : at + dice.randrange(1, 16)]
    elif kind == 2:
        content[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 16)))
    else:
        content[at] ^= 1 << dice.randrange(8)


def _node(model: onnx.ModelProto, dice: random.Random) -> onnx.NodeProto:
    nodes: list[onnx.NodeProto] = list(model.graph.node)
    return dice.choice(nodes) if nodes else model.graph.node.add()


def _operator(model: onnx.ModelProto, dice: random.Random) -> None:
    kinds = ("Relu", "Mul", "Add", "Div", "Transpose", "Reshape", "MatMul", "Conv", "BatchNormalization", "Softmax")
    _node(model, dice).op_type = dice.choice((*kinds, "", "NoSuch", "Loop", "If", "Cast", "Constant", "Expand"))


def _attribute(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    if not node.attribute:
        return
    attribute = dice.choice(node.attribute)
    kind = dice.randrange(6)
    if kind == 0:
        node.attribute.remove(attribute)
    elif kind == 1:
        attribute.i = dice.choice((0, 1, -1, 2**31, -(2**63), 2**62))
    elif kind == 2:
        attribute.ints[:] = [dice.choice((0, 1, -1, 7, 2**40)) for _ in range(dice.randrange(5))]
    elif kind == 3:
        attribute.f = dice.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    elif kind == 4:
        attribute.name = dice.choice(("axis", "perm", "", "epsilon", "value"))
    else:
        attribute.type = dice.randrange(15)


def _wire(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    names = [name for each in model.graph.node for name in (*each.input, *each.output)]
    side = dice.choice((node.input, node.output))
    kind = dice.randrange(3)
    if side and kind == 0:
        side[dice.randrange(len(side))] = dice.choice((*names, "", "no_such"))
    elif side and kind == 1:
        del side[dice.randrange(len(side))]
    else:
        side.append(dice.choice((*names, "")))


def _order(model: onnx.ModelProto, dice: random.Random) -> None:
    nodes = list(model.graph.node)
    kind = dice.randrange(3)
    if kind == 0:
        dice.shuffle(nodes)
    elif kind == 1 and nodes:
        nodes.pop(dice.randrange(len(nodes)))
    elif nodes:
        nodes.insert(dice.randrange(len(nodes)), dice.choice(nodes))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _tensor(model: onnx.ModelProto, dice: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = dice.choice(model.graph.initializer)
    kind = dice.randrange(6)
    if kind == 0:
        tensor.dims[:] = [dice.choice((0, 1, -1, 3, 2**31, 2**60)) for _ in range(dice.randrange(5))]
    elif kind == 1:
        tensor.data_type = dice.randrange(30)
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[: dice.randrange(len(tensor.raw_data) + 1)]
    elif kind == 3:
        model.graph.initializer.remove(tensor)
    elif kind == 4:
        tensor.name = dice.choice(("", "x", tensor.name + "2"))
    elif tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.raw_data) == 4 * math.prod(tensor.dims) > 0:
        array = numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[: dice.randrange(1, array.size + 1)] = dice.choice((np.nan, np.inf, 0.0, -1.0, 1e-41, 3e38))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _interface(model: onnx.ModelProto, dice: random.Random) -> None:
    values = dice.choice((model.graph.input, model.graph.output, model.graph.value_info))
    if not values:
        return
    value = dice.choice(values)
    kind = dice.randrange(4)
    if kind == 0:
        value.type.tensor_type.elem_type = dice.randrange(24)
    elif kind == 1 and value.type.tensor_type.shape.dim:
        dimension = dice.choice(value.type.tensor_type.shape.dim)
        dimension.dim_value = dice.choice((0, 1, -1, 5, 2**40))
    elif kind == 2:
        values.remove(value)
    else:
        value.ClearField("type")


def _header(model: onnx.ModelProto, dice: random.Random) -> None:
    kind = dice.randrange(3)
    if kind == 0:
        model.ir_version = dice.choice((0, 2, 3, 4, 99, 2**31 - 1))
    elif kind == 1 and model.opset_import:
        model.opset_import[0].version = dice.choice((0, 1, 6, 7, 8, 9, 11, 13, 22, 99))
    elif model.opset_import:
        del model.opset_import[:]


STRUCTURAL = (_operator, _attribute, _wire, _order, _tensor, _tensor, _interface, _header)
