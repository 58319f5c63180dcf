"""Operators that affines are folded from and into: constant affines, linear operators, norms."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.random_graphs.net import Net, Unfit, is_image


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
    name = net.value(is_image)
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
    name = net.value(is_image)
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
    name = net.value(is_image)
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
