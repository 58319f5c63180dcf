"""Random small networks out of the operators that folds pass, end in, start from and stop at.

Everything is drawn by hypothesis, so a failure shrinks to a few operators. Shapes are kept with a batch of unknown size
(``BATCH``, and 2 where an operator needs to know it); the values of weights come from a drawn seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_text import some_values

BATCH = "N"
Shape = tuple[int | str, ...]
DTYPES: dict[int, type] = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}


@dataclass
class Net:
    """A graph under construction."""

    draw: st.DrawFn
    rng: np.random.Generator
    dtype: int
    opset: int = 17
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[str, Shape] = field(default_factory=dict)
    shared: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    count: int = 0

    # -- drawing -------------------------------------------------------------------------------------------------
    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def maybe(self) -> bool:
        return self.draw(st.booleans())

    def value(self, fits: Callable[[Shape], bool] = lambda shape: True) -> str:
        """One of the values so far whose shape ``fits``, a late one rather than an early one."""
        names = [name for name, shape in self.values.items() if fits(shape)]
        if not names:
            raise Unfit
        back = self.draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 5, 8]))
        return names[max(0, len(names) - 1 - back)]

    # -- making --------------------------------------------------------------------------------------------------
    def weight(self, shape: Sequence[int], kind: str = "") -> str:
        """A constant: of both signs, now and then with zeros, or positive; ``kind`` says which.

        Now and then one that is there already, or one behind an Identity.
        """
        shared = [name for name, known in self.shared.items() if known == (tuple(shape), kind)]
        if shared and self.number(0, 3) == 0:
            return self.draw(st.sampled_from(shared))
        array = some_values(self.rng, shape, positive=kind == "positive") * 0.7
        if kind == "scale" and self.maybe():
            array = np.where(self.rng.random(tuple(shape)) < 0.3, 0.0, array)
        name = self.constant(np.asarray(array).astype(DTYPES[self.dtype]))
        if self.number(0, 9) == 0:
            self.nodes.append(helper.make_node("Identity", [name], [f"{name}_same"]))
            name = f"{name}_same"
        self.shared[name] = (tuple(shape), kind)
        return name

    def constant(self, array: np.ndarray) -> str:
        self.count += 1
        name = f"w{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], *shapes: Shape, **attributes: Any) -> str:
        """A node with an output for each of ``shapes``; returns the first."""
        outputs = []
        for shape in shapes:
            self.count += 1
            outputs.append(f"v{self.count}")
            self.values[outputs[-1]] = shape
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs[0]


class Unfit(Exception):
    """No value has the shape that an operator needs."""


def _known(shape: Shape) -> list[int]:
    return [size for size in shape if isinstance(size, int)]


def _is_image(shape: Shape) -> bool:
    return len(shape) in (3, 4) and all(size != 1 for size in shape[2:])


# -- constant affines --------------------------------------------------------------------------------------------
def batchnorm(net: Net) -> None:
    name = net.value(lambda shape: len(shape) >= 2)
    channels = [int(net.values[name][1])]
    parameters = [net.weight(channels, kind) for kind in ("scale", "", "", "positive")]
    net.add("BatchNormalization", [name, *parameters], net.values[name])


def arithmetic(net: Net) -> None:
    name = net.value()
    shape = net.values[name]
    operator = net.draw(st.sampled_from(["Mul", "Mul", "Add", "Add", "Sub", "Div", "Neg"]))
    if operator == "Neg":
        net.add("Neg", [name], shape)
        return
    varies = [isinstance(size, int) and net.maybe() for size in shape]
    if net.maybe() and len(shape) > 1:
        varies = [axis == 1 for axis in range(len(shape))]
    size = [int(length) if varying else 1 for length, varying in zip(shape, varies, strict=True)]
    while size and size[0] == 1 and net.maybe():
        size = size[1:]
    kind = "positive" if net.maybe() else "scale" if operator == "Mul" else ""
    operands = [name, net.weight(size, kind)]
    net.add(operator, operands if operator == "Div" or net.maybe() else operands[::-1], shape)


# -- linear operators --------------------------------------------------------------------------------------------
def conv(net: Net) -> None:
    name = net.value(_is_image)
    batch, channels, *space = net.values[name]
    groups = net.draw(st.sampled_from([n for n in (1, 1, 2, 3, int(channels)) if int(channels) % n == 0]))
    kernel = [net.draw(st.sampled_from([k for k in (1, 2, 3) if k <= int(size)])) for size in space]
    pads = [net.number(0, 1) * (kernel[axis % len(space)] > 1) for axis in range(2 * len(space))]
    strides = [net.draw(st.sampled_from([1, 1, 2])) for _ in space]
    out = groups * net.number(1, 3)
    sizes = [(int(n) + pads[i] + pads[i + len(space)] - kernel[i]) // strides[i] + 1 for i, n in enumerate(space)]
    inputs = [name, net.weight([out, int(channels) // groups, *kernel])]
    inputs += [net.weight([out])] if net.maybe() else []
    net.add("Conv", inputs, (batch, out, *sizes), group=groups, pads=pads, strides=strides, kernel_shape=kernel)


def parallel(net: Net) -> None:
    """Convolutions of one value that are summed, now and then with a norm in a branch, and the value itself."""
    name = net.value(_is_image)
    shape = net.values[name]
    channels, dims = int(shape[1]), len(shape) - 2
    made = []
    for size in net.draw(st.lists(st.sampled_from([1, 3, 3]), min_size=1, max_size=3)):
        groups = net.draw(st.sampled_from([1, channels]))
        inputs = [name, net.weight([channels, channels // groups, *[size] * dims])]
        inputs += [net.weight([channels])] if net.maybe() else []
        pads = [size // 2] * 2 * dims
        made.append(net.add("Conv", inputs, shape, group=groups, pads=pads, kernel_shape=[size] * dims))
        if net.maybe():
            parameters = [net.weight([channels], kind) for kind in ("scale", "", "", "positive")]
            made.append(net.add("BatchNormalization", [made.pop(), *parameters], shape))
    made += [name] if net.maybe() else []
    total = made[0]
    for other in made[1:]:
        total = net.add("Add", [total, other] if net.maybe() else [other, total], shape)


def conv_transpose(net: Net) -> None:
    name = net.value(_is_image)
    batch, channels, *space = net.values[name]
    groups = net.draw(st.sampled_from([n for n in (1, 2, int(channels)) if int(channels) % n == 0]))
    kernel, strides = [net.number(1, 2) for _ in space], [net.number(1, 2) for _ in space]
    more = [net.number(0, stride - 1) for stride in strides]
    out = net.number(1, 2)
    sizes = [(int(n) - 1) * strides[i] + kernel[i] + more[i] for i, n in enumerate(space)]
    if prod(sizes) > 200:
        raise Unfit
    inputs = [name, net.weight([int(channels), out, *kernel])]
    inputs += [net.weight([out * groups])] if net.maybe() else []
    shape = (batch, out * groups, *sizes)
    net.add("ConvTranspose", inputs, shape, group=groups, strides=strides, output_padding=more, kernel_shape=kernel)


def matmul(net: Net) -> None:
    name = net.value(lambda shape: len(shape) >= 2)
    shape, out = net.values[name], net.number(1, 4)
    if net.maybe() and len(shape) > 2:
        net.add("MatMul", [net.weight([out, int(shape[-2])]), name], (*shape[:-2], out, shape[-1]))
    else:
        net.add("MatMul", [name, net.weight([int(shape[-1]), out])], (*shape[:-1], out))
    if net.maybe():
        made = list(net.values)[-1]
        net.add("Add", [made, net.weight([int(net.values[made][-1])])], net.values[made])


def gemm(net: Net) -> None:
    name = net.value(lambda shape: len(shape) == 2)
    batch, features = net.values[name]
    out, flip = net.number(1, 4), net.number(0, 1)
    inputs = [name, net.weight([out, int(features)] if flip else [int(features), out])]
    variables = [other for other, shape in net.values.items() if shape == (batch, out)]
    if variables and net.maybe():
        inputs.append(net.draw(st.sampled_from(variables)))
    else:
        inputs += [net.weight([[out], [1, out], [1], []][net.number(0, 3)])] if net.maybe() else []
    alpha, beta = net.draw(st.sampled_from([1.0, -0.5])), net.draw(st.sampled_from([1.0, 2.0, 0.0]))
    net.add("Gemm", inputs, (batch, out), transB=flip, alpha=alpha, beta=beta)


def norm(net: Net) -> None:
    name = net.value(lambda shape: len(shape) >= 3 and int(shape[1]) > 0)
    shape = net.values[name]
    if net.opset >= 17 and net.maybe():
        width = [int(shape[-1])]
        inputs = [name, net.weight(width), *([net.weight(width)] if net.maybe() else [])]
        net.add("LayerNormalization", inputs, shape, epsilon=0.0625)
    else:
        channels = [int(shape[1])]
        net.add("InstanceNormalization", [name, net.weight(channels), net.weight(channels)], shape, epsilon=0.0625)


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
    name = net.value(_is_image)
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
        net.add("Flatten", [name], (shape[0], prod(_known(shape[1:]))))


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
    name = net.value(lambda shape: len(shape) >= 2 and max(_known(shape[1:])) > 1)
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
    name = net.value(lambda shape: len(shape) == 4 and prod(_known(shape)) < 100)
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


def quantized(net: Net) -> None:
    """A matrix product or a convolution by a weight of integers."""
    if net.dtype != TensorProto.FLOAT:
        raise Unfit
    name = net.value(lambda shape: len(shape) >= 2)
    shape, out = net.values[name], net.number(1, 4)
    is_conv = len(shape) > 2 and net.maybe()
    form = [out, int(shape[1]), *[1] * (len(shape) - 2)] if is_conv else [int(shape[-1]), out]
    numbers = net.constant(net.rng.integers(-128 + net.number(0, 1), 128, form).astype(np.int8))
    by_channel = net.maybe()
    scale = net.constant(np.asarray(net.rng.uniform(0.002, 0.02, [out] if by_channel else []), np.float32))
    axis: dict[str, Any] = {"axis": 0 if is_conv else 1} if by_channel else {}
    net.count += 1
    weight = f"w{net.count}"
    net.nodes.append(helper.make_node("DequantizeLinear", [numbers, scale], [weight], **axis))
    if is_conv:
        net.add("Conv", [name, weight, *([net.weight([out])] if net.maybe() else [])], (shape[0], out, *shape[2:]))
    else:
        net.add("MatMul", [name, weight], (*shape[:-1], out))


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


OPERATORS: tuple[tuple[Callable[[Net], None], int], ...] = (
    (batchnorm, 6),
    (arithmetic, 8),
    (conv, 5),
    (parallel, 2),
    (conv_transpose, 2),
    (matmul, 4),
    (gemm, 2),
    (norm, 2),
    (elementwise, 4),
    (pool, 2),
    (reduce, 2),
    (layout, 4),
    (concat, 2),
    (split, 2),
    (part, 2),
    (spread, 2),
    (join, 5),
    (product, 1),
    (branch, 1),
    (choose, 2),
    (power, 1),
    (function, 2),
    (along_axis, 2),
    (average_of, 1),
    (einsum, 1),
    (order, 2),
    (quantized, 1),
    (called, 1),
)
_WEIGHTED = [operator for operator, weight in OPERATORS for _ in range(weight)]
_INPUTS: tuple[Shape, ...] = (
    (BATCH, 4, 4, 4),
    (BATCH, 3, 5),
    (BATCH, 4, 6),
    (BATCH, 6),
    (BATCH, 2, 3, 4),
    (2, 4, 3, 3),
)


@st.composite
def networks(draw: st.DrawFn, most: int = 12) -> onnx.ModelProto:
    """A checked model of up to ``most`` operators, with shapes inferred."""
    dtype = draw(st.sampled_from([TensorProto.FLOAT] * 4 + [TensorProto.FLOAT16]))
    opset = draw(st.sampled_from([17, 17, 13, 18, 21, 23]))
    net = Net(draw, np.random.default_rng(draw(st.integers(0, 10**6))), dtype, opset)
    inputs = [draw(st.sampled_from(_INPUTS))]
    inputs += [inputs[0]] if draw(st.booleans()) else []
    for index, shape in enumerate(inputs):
        net.values[f"x{index}"] = shape
    for operator in draw(st.lists(st.sampled_from(_WEIGHTED), min_size=1, max_size=most)):
        try:
            operator(net)
        except Unfit:
            continue
    return finished(net, inputs)


def finished(net: Net, inputs: Sequence[Shape]) -> onnx.ModelProto:
    """The model whose outputs are what no operator reads, and now and then one value that an operator does read."""
    read = {name for node in net.nodes for name in node.input} | {
        name for node in net.nodes for attribute in node.attribute for inner in attribute.g.node for name in inner.input
    }
    made = [name for node in net.nodes for name in node.output if name in net.values]
    outputs = [name for name in made if name not in read]
    inner = [name for name in made if name in read]
    if inner and net.number(0, 3) == 0:
        outputs.append(net.draw(st.sampled_from(inner)))
    if not outputs:
        net.nodes.append(helper.make_node("Relu", ["x0"], ["y"]))
        net.values["y"] = inputs[0]
        outputs = ["y"]

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, net.dtype, list(net.values[name]))

    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    graph = helper.make_graph(
        net.nodes,
        "random",
        [*(info(f"x{index}") for index in range(len(inputs))), *([flag] if "flag" in read else [])],
        [info(name) for name in outputs],
        net.weights,
    )
    imports = [helper.make_opsetid("", net.opset), *([helper.make_opsetid("local", 1)] if net.functions else [])]
    model = helper.make_model(graph, opset_imports=imports, functions=net.functions, ir_version=8)
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
