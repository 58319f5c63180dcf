"""What a node computes as a linear operator of one variable: convolution, matrix product, or by its weight alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.fold.graph_rules.kernel_sum import Kernel, Matrix
from normfold.graph.reader import GraphReader, attribute, has_parameters
from normfold.operators.table import is_standard

# Operators that add up by their weights when they differ in nothing else: where the weight may be, and the bias.
_BY_WEIGHT: dict[str, tuple[tuple[int, ...], int | None]] = {
    "Conv": ((1,), 2),
    "ConvTranspose": ((1,), 2),
    "Gemm": ((0, 1), 2),
    "MatMul": ((0, 1), None),
    "Einsum": ((0, 1), None),
    "Gather": ((0,), None),
    "GatherND": ((0,), None),
}


@dataclass(frozen=True, eq=False)
class SameOperator:
    """A linear operator with its weight at input ``side``; operators of one ``kind`` differ in weight and bias only."""

    kind: tuple[object, ...]
    side: int
    weight: Array
    bias: Array | None


Linear = Kernel | Matrix | SameOperator


def linear_of(reader: GraphReader, node: ir.Node) -> Linear | None:
    """Return the linear operator that ``node`` is, or None. A Kernel or Matrix reads its input 0."""
    if not is_standard(node) or has_parameters(node):
        return None
    if any(map(reader.is_quantized, node.inputs)):  # the sum of two is not of the integers of one
        return None
    return _kernel(reader, node) or _matrix(reader, node) or _same_operator(reader, node)


def summed_operators(operators: Sequence[tuple[SameOperator, float]]) -> SameOperator:
    """Return the sum of operators of one kind, each with its sign."""
    first = operators[0][0]
    biases = [sign * same.bias for same, sign in operators if same.bias is not None]
    weight = sum((sign * same.weight for same, sign in operators), np.zeros(()))
    return replace(first, weight=weight, bias=sum(biases, np.zeros(())) if biases else None)


def _same_operator(reader: GraphReader, node: ir.Node) -> SameOperator | None:
    sides, bias_at = _BY_WEIGHT.get(node.op_type, ((), None))
    constants = [side for side in sides if side < len(node.inputs) and reader.is_constant(node.inputs[side])]
    most = 2 if bias_at is None else bias_at + 1  # an Einsum of three has a variable that is not compared
    if not 2 <= len(node.inputs) <= most or len(constants) != 1:
        return None
    (side,) = constants
    weight = reader.constant(node.inputs[side])
    value = node.inputs[bias_at] if bias_at is not None and bias_at < len(node.inputs) else None
    bias = reader.constant(value)
    if weight is None or (value is not None and bias is None) or weight.dtype != np.float64:
        return None
    settings = tuple(sorted((name, repr(found.value)) for name, found in node.attributes.items()))
    return SameOperator((node.op_type, side, weight.shape, settings), side, weight, bias)


def _matrix(reader: GraphReader, node: ir.Node) -> Matrix | None:
    """Return a MatMul or Gemm by a constant from the right, or None."""
    if node.op_type not in ("MatMul", "Gemm"):
        return None
    weight = reader.constant(node.inputs[1])
    bias = reader.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(())
    if weight is None or weight.ndim != 2 or bias is None or attribute(node, "transA", 0):
        return None
    weight = weight.T if attribute(node, "transB", 0) else weight
    if bias.ndim == 2 and bias.shape[0] != 1:
        return None
    bias = np.broadcast_to(bias.reshape(-1), weight.shape[1:])
    return Matrix(float(attribute(node, "alpha", 1.0)) * weight, float(attribute(node, "beta", 1.0)) * bias)


def _kernel(reader: GraphReader, node: ir.Node) -> Kernel | None:
    """Return a Conv with constant weight and bias and explicit padding, or the AveragePool that is one; else None."""
    if node.op_type == "AveragePool":
        return _mean_kernel(reader, node)
    if node.op_type != "Conv":
        return None
    weight = reader.constant(node.inputs[1])
    bias = reader.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else 0.0
    if weight is None or bias is None or np.shape(bias) not in ((), weight.shape[:1]):
        return None
    dims = weight.ndim - 2
    pads, groups = _pads(node, weight.shape[2:]), int(attribute(node, "group", 1))
    if pads is None or groups < 1:
        return None
    ones = [1] * dims
    return Kernel(
        weight,
        np.broadcast_to(bias, weight.shape[:1]),
        groups,
        tuple(int(n) for n in attribute(node, "strides", ones)),
        tuple(int(n) for n in attribute(node, "dilations", ones)),
        tuple(pads[:dims]),
        tuple(pads[dims:]),
    )


def _pads(node: ir.Node, sizes: Sequence[int]) -> list[int] | None:
    """Return the pads of a Conv, begins and then ends; None where they depend on the size of the input."""
    mode, ones = attribute(node, "auto_pad", "NOTSET"), [1] * len(sizes)
    if mode == "VALID":
        return [0] * (2 * len(sizes))
    if mode == "NOTSET":
        return [int(pad) for pad in attribute(node, "pads", ())] or [0] * (2 * len(sizes))
    if any(step != 1 for step in attribute(node, "strides", ones)):
        return None
    total = [(size - 1) * step for size, step in zip(sizes, attribute(node, "dilations", ones), strict=True)]
    small, large = [each // 2 for each in total], [each - each // 2 for each in total]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]


def _mean_kernel(reader: GraphReader, node: ir.Node) -> Kernel | None:
    """AveragePool as a depthwise convolution, where every window has the same divisor."""
    shape = reader.shape(node.inputs[0])
    pads = [int(pad) for pad in attribute(node, "pads", ())]
    even = not any(pads) or attribute(node, "count_include_pad", 0)
    plain = attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID") and not attribute(node, "ceil_mode", 0)
    if shape is None or len(shape) < 3 or not isinstance(shape[1], int) or not even or not plain:
        return None
    sizes, dims = [int(size) for size in attribute(node, "kernel_shape")], len(shape) - 2
    pads, ones = pads or [0] * (2 * dims), [1] * dims
    return Kernel(
        np.full((shape[1], 1, *sizes), 1.0 / np.prod(sizes)),
        np.zeros(shape[1]),
        shape[1],
        tuple(int(n) for n in attribute(node, "strides", ones)),
        tuple(int(n) for n in attribute(node, "dilations", ones)),
        tuple(pads[:dims]),
        tuple(pads[dims:]),
    )
