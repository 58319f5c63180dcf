"""Operators on constants, evaluated in float64: the short chains that exporters put before a weight.

Shape arithmetic is the simplifier's; this is for Identity, Cast, layout, and weight standardization, so that a weight
behind them can still be folded into. Each entry takes the node and its operands (None for an absent one).
Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.graph.quantization import dequantized, quantized

Evaluator = Callable[[ir.Node, Sequence[Any]], npt.NDArray[Any]]
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def constant_attribute(node: ir.Node) -> tuple[npt.NDArray[Any], ir.DataType] | None:
    """Return the tensor of a Constant node, whichever attribute holds it; None for strings and sparse tensors."""
    for name, dtype in (
        ("value", None),
        ("value_float", "f"),
        ("value_floats", "f"),
        ("value_int", "i"),
        ("value_ints", "i"),
    ):
        found = node.attributes.get(name)
        if found is None or found.is_ref():
            continue
        if dtype is None:
            return found.value.numpy(), found.value.dtype
        kinds = {"f": (np.float32, ir.DataType.FLOAT), "i": (np.int64, ir.DataType.INT64)}
        return np.asarray(found.value, dtype=kinds[dtype][0]), kinds[dtype][1]
    return None


def jumps(node: ir.Node) -> bool:
    """Return whether the least change of an operand may change the result by much: a comparison, a Cast to integers."""
    to_other = node.op_type == "Cast" and ir.DataType(_attribute(node, "to")) not in _FLOATS
    return to_other or node.op_type in ("CastLike", "Equal", "Less", "Greater", "QuantizeLinear", "Sign")


def _attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    found = node.attributes.get(name)
    return default if found is None else found.value


def _cast(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    """To a floating type nothing is rounded: the one rounding comes when the weight is written."""
    target = ir.DataType(_attribute(node, "to"))
    array = np.asarray(operands[0])
    return array.astype(np.float64) if target in _FLOATS else array.astype(target.numpy())


def _cast_like(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    return np.asarray(operands[0]).astype(np.asarray(operands[1]).dtype)


def _reshape(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    array, target = np.asarray(operands[0]), [int(size) for size in operands[1]]
    if not _attribute(node, "allowzero", 0):
        target = [array.shape[index] if size == 0 else size for index, size in enumerate(target)]
    return array.reshape(target)


def _axes(node: ir.Node, operands: Sequence[Any]) -> tuple[int, ...] | None:
    """Axes as an attribute (older opsets) or as the second input."""
    axes = operands[1] if len(operands) > 1 and operands[1] is not None else _attribute(node, "axes")
    return None if axes is None else tuple(int(axis) for axis in axes)


def _unsqueeze(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    return np.expand_dims(np.asarray(operands[0]), _axes(node, operands) or ())


def _squeeze(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    return np.asarray(np.squeeze(operands[0], _axes(node, operands)))


def _flatten(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    array = np.asarray(operands[0])
    axis = int(_attribute(node, "axis", 1))
    axis += array.ndim if axis < 0 else 0
    return array.reshape((int(np.prod(array.shape[:axis])), -1))


def _constant_of_shape(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    fill = _attribute(node, "value")
    array = np.zeros(1, np.float64) if fill is None else fill.numpy()
    if fill is None or fill.dtype in _FLOATS:
        array = array.astype(np.float64)
    return np.full([int(size) for size in operands[0]], array.reshape(-1)[0])


def _gather(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    data, indices = operands
    return np.asarray(np.take(data, np.asarray(indices, np.int64), int(_attribute(node, "axis", 0))))


def _slice(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    """Bounds as attributes (before opset 10) or as inputs."""
    array = np.asarray(operands[0])
    if len(operands) == 1:
        operands = [array, *(_attribute(node, name) for name in ("starts", "ends", "axes"))]
    starts, ends, axes, steps = (*operands[1:], None, None)[:4]
    parts = [slice(None)] * array.ndim
    for index, axis in enumerate(range(len(starts)) if axes is None else axes):
        step = 1 if steps is None else int(steps[index])
        parts[int(axis)] = part_of_axis(int(starts[index]), int(ends[index]), step, array.shape[int(axis)])
    return np.asarray(array[tuple(parts)])


def part_of_axis(start: int, end: int, step: int, size: int) -> slice:
    """ONNX counts both bounds from the end once where they are negative, and then clips them into the axis."""
    start, end = (bound + size if bound < 0 else bound for bound in (start, end))
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    end = min(max(end, -1), size - 1)
    return slice(min(max(start, 0), size - 1), None if end < 0 else end, step)


def _clip(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    """Bounds as attributes (before opset 11) or as inputs."""
    low, high = (operands[index] if len(operands) > index else None for index in (1, 2))
    low = _attribute(node, "min", -np.inf) if low is None else low
    high = _attribute(node, "max", np.inf) if high is None else high
    return np.asarray(np.minimum(np.maximum(operands[0], low), high))


def _reduce(reduction: Callable[..., Any]) -> Evaluator:
    def evaluate(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
        array, keepdims = np.asarray(operands[0]), bool(_attribute(node, "keepdims", 1))
        nothing = () if _attribute(node, "noop_with_empty_axes", 0) else None
        result = reduction(array, axis=_axes(node, operands) or nothing, keepdims=keepdims)
        return np.asarray(result).astype(array.dtype)

    return evaluate


def _divide(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """ONNX divides integers toward zero, numpy does not."""
    if np.issubdtype(left.dtype, np.integer):
        return np.asarray(np.sign(left) * np.sign(right) * (abs(left) // abs(right))).astype(left.dtype)
    return np.asarray(left / right)


def _elementwise(function: Callable[..., Any]) -> Evaluator:
    return lambda node, operands: np.asarray(function(*operands))


def _batchnorm(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    """Of a weight, as weight standardization spells it: with its own statistics in training mode, else with stored."""
    array, gamma, beta, mean, variance = (np.asarray(operand) for operand in operands)
    others = tuple(axis for axis in range(array.ndim) if axis != 1)
    form = (1, -1, *[1] * (array.ndim - 2))
    if _attribute(node, "training_mode", 0):
        mean, variance = array.mean(axis=others), array.var(axis=others)
    spread = variance + float(np.float32(_attribute(node, "epsilon", 1e-5)))
    scale = gamma / np.sqrt(spread)
    return np.asarray(array * scale.reshape(form) + (beta - scale * mean).reshape(form))


def _quantize(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    array, scale, zero = (*operands, None)[:3]
    dtype = ir.DataType(_attribute(node, "output_dtype", 0) or ir.DataType.UINT8)
    dtype = dtype if zero is None else ir.DataType.from_numpy(np.asarray(zero).dtype)
    return quantized(array, scale, zero, dtype, *_granularity(node))


def _dequantize(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    numbers, scale, zero = (*operands, None)[:3]
    return np.asarray(dequantized(numbers, scale, zero, *_granularity(node)))


def _granularity(node: ir.Node) -> tuple[int, int]:
    """Return the axis along which scales vary, and how many numbers share one; 0 where that is all of the others."""
    return int(_attribute(node, "axis", 1)), int(_attribute(node, "block_size", 0))


LARGEST = 2**24
"""Elements that a constant may have which is made from smaller ones; larger ones are left to the runtime."""


_SUMMED = 64  # products that a processor sums in the time of one element elsewhere


class TooLargeError(ValueError):
    """A constant would have far more elements than what it is made from, or all of a model together."""


@dataclass
class Quota:
    """The elements that operators on constants may still make, so that a few bytes cannot ask for any amount."""

    left: int

    def take(self, elements: int) -> bool:
        """Return whether that many may be made; then they are counted."""
        fits = elements <= self.left
        self.left -= elements if fits else 0
        return fits


def evaluate(node: ir.Node, operands: Sequence[Any]) -> npt.NDArray[Any]:
    """Return what a node of a type in EVALUATORS makes of its operands.

    Raises TooLargeError, before anything is allocated, for a result above LARGEST elements that is also larger than all
    different operands together, and what numpy raises for operands that do not fit each other.
    """
    size = elements_of(node, operands)
    different = {id(operand): int(np.size(operand)) for operand in operands if operand is not None}
    if size > max(LARGEST, sum(different.values())):
        raise TooLargeError(f"{node.op_type} would make a constant of {size} elements")
    return EVALUATORS[node.op_type](node, operands)


def work(operator: str, shapes: Sequence[Sequence[int]]) -> int:
    """Return how many elements an operator makes and goes through, given the shapes of its first input and its outputs.

    A product takes longer for each element, by those that it sums.
    """
    elements = sum(map(math.prod, shapes))
    return elements * max(1, shapes[0][-1] // _SUMMED) if operator == "MatMul" and shapes[0] else elements


def elements_of(node: ir.Node, operands: Sequence[Any]) -> int:
    """Return how many elements the result has; for a type that never makes more than it reads, 0."""
    if node.op_type == "ConstantOfShape":
        return math.prod(int(size) for size in operands[0])
    if node.op_type == "Concat":
        return sum(int(np.size(operand)) for operand in operands)
    if node.op_type == "Tile":
        return int(np.size(operands[0])) * math.prod(int(count) for count in operands[1])
    if node.op_type == "Gather":
        axis = int(np.shape(operands[0])[int(_attribute(node, "axis", 0))])
        return int(np.size(operands[0])) * int(np.size(operands[1])) // max(axis, 1)
    if node.op_type == "MatMul":
        left, right = map(np.shape, operands)
        return int(math.prod(left[:-1]) * math.prod(right[-1:]) * max(1, math.prod(right[:-2])))
    if node.op_type == "Expand":
        shapes = [np.shape(operands[0]), tuple(int(size) for size in operands[1])]
    elif node.op_type in _BROADCASTS:
        shapes = [np.shape(operand) for operand in operands if operand is not None]
    else:
        return 0
    rank = max(map(len, shapes), default=0)
    aligned = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return math.prod(max(sizes) for sizes in zip(*aligned, strict=True))


_BROADCASTS = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Or", "Pow", "Sub", "Where", "Clip"}
)

EVALUATORS: dict[str, Evaluator] = {
    "Identity": _elementwise(np.asarray),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Reshape": _reshape,
    "Transpose": lambda node, operands: np.transpose(operands[0], _attribute(node, "perm")),
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Flatten": _flatten,
    "Expand": lambda node, operands: operands[0] * np.ones([int(n) for n in operands[1]], operands[0].dtype),
    "ConstantOfShape": _constant_of_shape,
    "Gather": _gather,
    "Slice": _slice,
    "Tile": lambda node, operands: np.tile(operands[0], [int(n) for n in operands[1]]),
    "Where": _elementwise(np.where),
    "Equal": _elementwise(np.equal),
    "Less": _elementwise(np.less),
    "Greater": _elementwise(np.greater),
    "Min": lambda node, operands: np.asarray(functools.reduce(np.minimum, operands)),
    "Max": lambda node, operands: np.asarray(functools.reduce(np.maximum, operands)),
    "Not": _elementwise(np.logical_not),
    "And": _elementwise(np.logical_and),
    "Or": _elementwise(np.logical_or),
    "Abs": _elementwise(np.abs),
    "Sign": _elementwise(np.sign),
    "Clip": _clip,
    "Relu": _elementwise(lambda x: np.maximum(x, 0)),
    "Sigmoid": _elementwise(lambda x: 0.5 * (1.0 + np.tanh(0.5 * x))),
    "Tanh": _elementwise(np.tanh),
    "Softplus": _elementwise(lambda x: np.logaddexp(x, 0.0)),
    "Sin": _elementwise(np.sin),
    "Cos": _elementwise(np.cos),
    "Log": _elementwise(np.log),
    "Concat": lambda node, operands: np.concatenate(operands, axis=_attribute(node, "axis")),
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _elementwise(_divide),
    "Neg": _elementwise(np.negative),
    "Sqrt": _elementwise(np.sqrt),
    "Reciprocal": _elementwise(lambda x: 1.0 / x),
    "Exp": _elementwise(np.exp),
    "Pow": _elementwise(lambda x, y: np.power(x, y).astype(x.dtype)),
    "MatMul": _elementwise(np.matmul),
    "BatchNormalization": _batchnorm,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "ReduceMean": _reduce(np.mean),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
    "ReduceL2": _reduce(lambda x, **how: np.sqrt(np.sum(np.square(x), **how))),
    "ReduceSumSquare": _reduce(lambda x, **how: np.sum(np.square(x), **how)),
}
