"""Operators that affines pass, and those that stop them."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_text import some_values
from tests.random_graphs.net import DTYPES, Net, Shape, Unfit, is_image, known


# -- carriers ----------------------------------------------------------------------------------------------------
def elementwise(net: Net) -> None:
    name = net.value()
    operator = net.draw(
        st.sampled_from(["Relu", "Relu", "LeakyRelu", "Abs", "Identity", "Dropout", "Sigmoid", "PRelu"])
    )
    shape = net.values[name]
    inputs = [name]
    if operator == "PRelu":
        inputs.append(net.weight([int(shape[1]), *[1] * (len(shape) - 2)] if len(shape) > 1 else [1]))
    net.add(operator, inputs, shape)


def pool(net: Net) -> None:
    name = net.value(is_image)
    batch, channels, *space = net.values[name]
    kernel = [min(2, int(size)) for size in space]
    pads = [net.number(0, 1) * (size > 1) for size in kernel] * 2
    sizes = [int(n) + 2 * pads[i] - kernel[i] + 1 for i, n in enumerate(space)]
    if net.maybe():
        net.add("MaxPool", [name], (batch, channels, *sizes), kernel_shape=kernel, pads=pads)
    else:
        counts = net.number(0, 1)
        shape = (batch, channels, *sizes)
        net.add("AveragePool", [name], shape, kernel_shape=kernel, pads=pads, count_include_pad=counts)


def reduce(net: Net) -> None:
    name = net.value(lambda shape: len(shape) >= 3)
    shape = net.values[name]
    operator = net.draw(st.sampled_from(["GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"]))
    if operator.startswith("Global"):
        net.add(operator, [name], (*shape[:2], *[1] * (len(shape) - 2)))
        return
    axis, keeps = net.number(1, len(shape) - 1), net.number(0, 1)
    kept = [1] if keeps else []
    reduced = (*shape[:axis], *kept, *shape[axis + 1 :])
    if net.opset < 18:
        net.add(operator, [name], reduced, axes=[axis], keepdims=keeps)
    else:
        net.add(operator, [name, net.constant(np.array([axis]))], reduced, keepdims=keeps)


def layout(net: Net) -> None:
    name = net.value(lambda shape: len(shape) >= 2)
    shape = net.values[name]
    way = net.draw(st.sampled_from(["transpose", "transpose", "join", "part", "flatten", "unsqueeze"]))
    if way == "transpose":
        order = [0, *net.draw(st.permutations(range(1, len(shape))))]
        net.add("Transpose", [name], tuple(shape[axis] for axis in order), perm=order)
    elif way == "join" and len(shape) > 2:
        axis = net.number(1, len(shape) - 2)
        target = [0, *shape[1:axis], int(shape[axis]) * int(shape[axis + 1]), *shape[axis + 2 :]]
        net.add("Reshape", [name, net.constant(np.array(target))], (shape[0], *target[1:]))
    elif way == "part" and len(shape) < 5:
        axis = net.number(1, len(shape) - 1)
        size = int(shape[axis])
        first = net.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        target = [0, *shape[1:axis], first, size // first, *shape[axis + 1 :]]
        net.add("Reshape", [name, net.constant(np.array(target))], (shape[0], *target[1:]))
    elif way == "unsqueeze" and len(shape) < 5:
        axis = net.number(1, len(shape))
        net.add("Unsqueeze", [name, net.constant(np.array([axis]))], (*shape[:axis], 1, *shape[axis:]))
    else:
        net.add("Flatten", [name], (shape[0], prod(known(shape[1:]))))


def concat(net: Net) -> None:
    first = net.value(lambda shape: len(shape) >= 2)
    shape = net.values[first]
    axis = net.number(1, len(shape) - 1)
    second = net.value(
        lambda other: (
            (*other[:axis], *other[axis + 1 :]) == (*shape[:axis], *shape[axis + 1 :]) and len(other) == len(shape)
        )
    )
    parts = [first, second] if net.maybe() else [second, first]
    size = sum(int(net.values[part][axis]) for part in parts)
    net.add("Concat", parts, (*shape[:axis], size, *shape[axis + 1 :]), axis=axis - (len(shape) if net.maybe() else 0))


def split(net: Net) -> None:
    name = net.value(lambda shape: len(shape) >= 2 and max(known(shape[1:])) > 1)
    shape = net.values[name]
    axis = max(range(1, len(shape)), key=lambda at: int(shape[at]))
    cut = net.number(1, int(shape[axis]) - 1)
    sizes = [cut, int(shape[axis]) - cut]
    parts = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    net.add("Split", [name, net.constant(np.array(sizes))], *parts, axis=axis)


def part(net: Net) -> None:
    name = net.value(lambda shape: len(shape) >= 2)
    shape = net.values[name]
    axis = net.number(1, len(shape) - 1)
    size = int(shape[axis])
    if net.maybe():
        picks = net.draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=4))
        net.add(
            "Gather", [name, net.constant(np.array(picks))], (*shape[:axis], len(picks), *shape[axis + 1 :]), axis=axis
        )
        return
    start, step = net.number(0, size - 1), net.draw(st.sampled_from([1, 1, 2, -1]))
    taken = len(range(size)[start::step])
    bounds = [[start], [-9999 if step < 0 else 9999], [axis], [step]]
    inputs = [name, *(net.constant(np.array(bound)) for bound in bounds)]
    net.add("Slice", inputs, (*shape[:axis], taken, *shape[axis + 1 :]))


def spread(net: Net) -> None:
    name = net.value(lambda shape: len(shape) == 4 and prod(known(shape)) < 100)
    batch, channels, height, width = net.values[name]
    way = net.draw(st.sampled_from(["pad", "resize", "depth", "space"]))
    if way == "pad":
        mode = net.draw(st.sampled_from(["constant", "constant", "edge"]))
        pads = np.array([0, 0, *(net.number(0, 1) for _ in range(2)), 0, 0, *(net.number(0, 1) for _ in range(2))])
        value = (
            [net.constant(np.array(net.number(-1, 1), DTYPES[net.dtype]))] if mode == "constant" and net.maybe() else []
        )
        shape = (batch, channels, int(height) + int(pads[2] + pads[6]), int(width) + int(pads[3] + pads[7]))
        net.add("Pad", [name, net.constant(pads), *value], shape, mode=mode)
    elif way == "resize":
        scales = net.constant(np.array([1, 1, 2, 2], np.float32))
        net.add("Resize", [name, "", scales], (batch, channels, 2 * int(height), 2 * int(width)), mode="nearest")
    elif way == "depth" and int(channels) % 4 == 0:
        shape = (batch, int(channels) // 4, 2 * int(height), 2 * int(width))
        net.add("DepthToSpace", [name], shape, blocksize=2, mode=net.draw(st.sampled_from(["DCR", "CRD"])))
    elif way == "space" and int(height) % 2 == 0 and int(width) % 2 == 0:
        net.add("SpaceToDepth", [name], (batch, int(channels) * 4, int(height) // 2, int(width) // 2), blocksize=2)
    else:
        raise Unfit


def join(net: Net) -> None:
    """A residual sum, a difference, a gate."""
    first = net.value()
    shape = net.values[first]
    second = net.value(lambda other: other == shape or (len(other) == len(shape) and _fits(other, shape)))
    operator = net.draw(st.sampled_from(["Add", "Add", "Add", "Sub", "Mul", "Sum"]))
    more = [net.value(lambda other: other == shape)] if operator == "Sum" and net.maybe() else []
    net.add(operator, [*([first, second] if net.maybe() else [second, first]), *more], shape)


def _fits(small: Shape, large: Shape) -> bool:
    return all(a in (1, b) for a, b in zip(small, large, strict=True))


def product(net: Net) -> None:
    """A matrix product of two variables."""
    left = net.value(lambda shape: len(shape) >= 3)
    shape = net.values[left]
    right = net.value(lambda other: len(other) == len(shape) and other[:-2] == shape[:-2] and other[-2] == shape[-1])
    net.add("MatMul", [left, right], (*shape[:-1], net.values[right][-1]))


def branch(net: Net) -> None:
    """An If whose branches capture a value, and are folded themselves."""
    name = net.value()
    shape = net.values[name]
    net.count += 2
    here, there = f"v{net.count}", f"u{net.count}"
    factor, shift = net.weight([]), net.weight([])
    then = [helper.make_node("Mul", [name, factor], [f"{here}_a"]), helper.make_node("Relu", [f"{here}_a"], [here])]
    other = [
        helper.make_node("Add", [name, shift], [f"{there}_a"]),
        helper.make_node("Mul", [f"{there}_a", factor], [there]),
    ]
    bodies = {
        key: helper.make_graph(nodes, key, [], [helper.make_tensor_value_info(out, net.dtype, list(shape))])
        for key, nodes, out in (("then_branch", then, here), ("else_branch", other, there))
    }
    net.add("If", ["flag"], shape, **bodies)


def choose(net: Net) -> None:
    """A maximum, a minimum or a masked value, of two variables or of one and a constant."""
    first = net.value()
    shape = net.values[first]
    operator = net.draw(st.sampled_from(["Max", "Min", "Where", "Where"]))
    same = net.value(lambda other: other == shape) if net.maybe() else net.weight([])
    operands = [first, same] if net.maybe() else [same, first]
    net.add(operator, ["flag", *operands] if operator == "Where" else operands, shape)


def power(net: Net) -> None:
    name = net.value()
    shape = net.values[name]
    way = net.draw(st.sampled_from(["square", "root", "pow"]))
    if way == "square":
        net.add("Mul", [name, name], shape)
    elif way == "pow":
        net.add("Pow", [name, net.constant(np.array(2, DTYPES[net.dtype]))], shape)
    else:
        net.add("Sqrt", [net.add("Abs", [name], shape)], shape)


def function(net: Net) -> None:
    """An odd function, most often of a sign; an exponential of what is bounded, a logarithm of what is positive."""
    name = net.value()
    shape = net.values[name]
    way = net.draw(st.sampled_from(["odd", "exponential", "logarithm"]))
    if way == "odd":
        signed = net.add("Neg", [name], shape) if net.maybe() else name
        net.add(net.draw(st.sampled_from(["Tanh", "Erf", "Sin"])), [signed], shape)
    elif way == "exponential":
        bounded = net.add("Tanh", [name], shape)
        moved = net.add("Add", [bounded, net.weight([], "positive")], shape) if net.maybe() else bounded
        net.add("Exp", [moved], shape)
    else:
        positive = net.add("Max", [net.add("Abs", [name], shape), net.weight([], "positive")], shape)
        scaled = net.add("Mul", [positive, net.weight([], "positive")], shape) if net.maybe() else positive
        net.add("Log", [scaled], shape)


def along_axis(net: Net) -> None:
    """A running sum, the largest few, a norm's length, the order or the share of each, along one axis."""
    name = net.value(lambda shape: len(shape) >= 2)
    shape = net.values[name]
    axis = net.number(1, len(shape) - 1)
    operator = net.draw(
        st.sampled_from(["CumSum", "TopK", "ReduceL2", "ReduceL1", "ReduceSum", "ReduceMin", "Softmax", "LogSoftmax"])
    )
    if operator == "CumSum":
        if net.dtype != TensorProto.FLOAT:
            raise Unfit
        net.add(operator, [name, net.constant(np.array(axis))], shape)
    elif operator == "TopK":
        taken = (*shape[:axis], 1, *shape[axis + 1 :])
        net.add(operator, [name, net.constant(np.array([1]))], taken, taken, axis=axis)
        del net.values[list(net.values)[-1]]
    elif operator in ("Softmax", "LogSoftmax"):
        net.add(operator, [name], shape, axis=axis)
    elif net.opset >= 18 or (operator == "ReduceSum" and net.opset >= 13):
        reduced = (*shape[:axis], 1, *shape[axis + 1 :])
        net.add(operator, [name, net.constant(np.array([axis]))], reduced)
    else:
        net.add(operator, [name], (*shape[:axis], 1, *shape[axis + 1 :]), axes=[axis])


def average_of(net: Net) -> None:
    first = net.value()
    shape = net.values[first]
    second = net.value(lambda other: other == shape)
    net.add("Mean", [first, second, *([net.weight([])] if net.maybe() else [])], shape)


def einsum(net: Net) -> None:
    name = net.value(lambda shape: len(shape) == 3)
    batch, rows, columns = net.values[name]
    if net.maybe():
        out = net.number(1, 3)
        net.add("Einsum", [name, net.weight([int(columns), out])], (batch, rows, out), equation="abc,cd->abd")
        return
    other = net.value(lambda shape: len(shape) == 3 and shape[0] == batch and shape[2] == columns)
    net.add("Einsum", [name, other], (batch, rows, net.values[other][1]), equation="abc,adc->abd")


def order(net: Net) -> None:
    """The channels in another order, by one operator or by the parts of a Split."""
    name = net.value(lambda shape: len(shape) >= 2 and int(shape[1]) > 1)
    shape = net.values[name]
    size = int(shape[1])
    if net.maybe():
        net.add("Gather", [name, net.constant(np.array(net.draw(st.permutations(range(size)))))], shape, axis=1)
        return
    cut = net.number(1, size - 1)
    sizes = [cut, size - cut]
    net.add("Split", [name, net.constant(np.array(sizes))], *((shape[0], each, *shape[2:]) for each in sizes), axis=1)
    net.add("Concat", list(net.values)[:-3:-1], shape, axis=1)


def called(net: Net) -> None:
    """A function of the model with constants of its own."""
    name = net.value(lambda shape: len(shape) >= 2)
    shape = net.values[name]
    net.count += 1
    function = f"F{net.count}"
    dtype = DTYPES[net.dtype]
    channels = [int(shape[1]), *[1] * (len(shape) - 2)]
    tensors = [numpy_helper.from_array((some_values(net.rng, size) * 0.7).astype(dtype)) for size in (channels, [])]
    middle = net.draw(st.sampled_from(["Relu", "Abs", "Identity", "Sigmoid"]))
    nodes = [
        helper.make_node("Constant", [], ["k"], value=tensors[0]),
        helper.make_node("Constant", [], ["t"], value=tensors[1]),
        helper.make_node("Mul", ["a", "k"], ["b"]),
        helper.make_node(middle, ["b"], ["c"]),
        helper.make_node("Mul", ["c", "t"], ["d"]),
        helper.make_node("Add", ["d", "k"], ["e"]),
    ]
    imports = [helper.make_opsetid("", net.opset)]
    net.functions.append(helper.make_function("local", function, ["a"], ["e"], nodes, imports))
    net.add(function, [name], shape, domain="local")
