"""Bound the values of a model by the operators that make them, so that no region is fed with what cannot occur."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx
from onnx import numpy_helper

from normfold.operators.table import is_standard, operator_of
from normfold.operators.walk import attribute_value
from normfold.runtime.loaded_model import LoadedModel

Range = tuple[float, float]
"""The least and the largest number that a value may hold."""

ANY: Range = (-math.inf, math.inf)
_NOT_NEGATIVE: Range = (0.0, math.inf)
_UNIT: Range = (0.0, 1.0)

_MADE: Mapping[str, Range] = {
    **dict.fromkeys(("Sigmoid", "Softmax", "HardSigmoid"), _UNIT),
    **dict.fromkeys(("Tanh", "Sin", "Cos", "Erf", "Softsign", "Sign"), (-1.0, 1.0)),
    "LogSoftmax": (-math.inf, 0.0),
    "HardSwish": (-0.375, math.inf),
    "Swish": (-0.2785, math.inf),
    "Mish": (-0.309, math.inf),
    "Gelu": (-0.17, math.inf),
}
_KEPT = frozenset(
    [
        "Identity",
        "Transpose",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Split",
        "Gather",
        "GatherElements",
        "GatherND",
        "Tile",
        "Expand",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "DepthToSpace",
        "SpaceToDepth",
        "Dropout",
        "Upsample",
        "Compress",
        "TopK",
    ]
)
_NO_NUMBERS = tuple(
    getattr(onnx.TensorProto, name) for name in ("STRING", "UNDEFINED", "COMPLEX64", "COMPLEX128")
)  # types whose values have no order


def value_ranges(model: LoadedModel) -> dict[str, Range]:
    """Return the ranges of values of the main graph that are known to be bounded."""
    found: dict[str, Range] = {}
    numbers = _scalars(model)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in numbers:
            found[node.output[0]] = (numbers[node.output[0]],) * 2
        made = _range(node, found, numbers)
        if made != ANY:  # a second output holds indices or a mask, but for those of a Split
            outputs = node.output if node.op_type == "Split" else node.output[:1]
            found.update((name, made) for name in outputs if name)
    return found


def _range(node: onnx.NodeProto, found: Mapping[str, Range], numbers: Mapping[str, float]) -> Range:
    operator = node.op_type
    if not is_standard(node):
        return ANY
    alpha = attribute_value(node, "alpha", 1.0)
    if operator in ("Elu", "Celu"):
        return (min(-alpha, 0.0), math.inf)
    if operator in _MADE and (operator != "Swish" or alpha == 1.0):
        return _MADE[operator]
    if operator_of(node).never_negative:
        return _NOT_NEGATIVE
    inputs = [_of(name, found, numbers) for name in node.input if name]
    if operator in _KEPT and inputs and (operator != "Dropout" or len(inputs) < 3):  # one in training divides
        counts_zeros = operator == "AveragePool" and any(a.name == "count_include_pad" and a.i for a in node.attribute)
        return (min(inputs[0][0], 0.0), max(inputs[0][1], 0.0)) if counts_zeros else inputs[0]
    if operator == "Clip" and inputs:
        low, high = (_bound(node, index, found, numbers) for index in (1, 2))
        least, largest = (max(end, -math.inf if low is None else low) for end in inputs[0])
        return min(least, math.inf if high is None else high), min(largest, math.inf if high is None else high)
    if operator == "Concat" and inputs:
        return min(low for low, _ in inputs), max(high for _, high in inputs)
    if operator in ("Max", "Min") and inputs:
        choose = max if operator == "Max" else min
        return choose(low for low, _ in inputs), choose(high for _, high in inputs)
    if operator in ("Add", "Sum") and inputs:
        return sum(low for low, _ in inputs), sum(high for _, high in inputs)
    if operator in ("Mul", "Div") and len(inputs) == 2 and min(inputs[0][0], inputs[1][0]) >= 0:
        return _NOT_NEGATIVE
    if operator == "Mul" and len(node.input) == 2 and node.input[0] == node.input[1]:
        return _NOT_NEGATIVE
    if operator == "Pow" and len(node.input) == 2 and numbers.get(node.input[1], 1.0) % 2 == 0:
        return _NOT_NEGATIVE
    return ANY


def _bound(node: onnx.NodeProto, index: int, found: Mapping[str, Range], numbers: Mapping[str, float]) -> float | None:
    """Return the limit of a Clip, an attribute in early operator sets."""
    if len(node.input) > index and node.input[index]:
        limit = _of(node.input[index], found, numbers)
        return limit[0] if limit[0] == limit[1] else None
    return next((a.f for a in node.attribute if a.name == ("min", "max")[index - 1]), None)


def _of(name: str, found: Mapping[str, Range], numbers: Mapping[str, float]) -> Range:
    if name in numbers:
        return numbers[name], numbers[name]
    return found.get(name, ANY)


def _scalars(model: LoadedModel) -> dict[str, float]:
    """Constants that are one number."""
    tensors = {name: tensor for name, tensor in model.initializers if list(tensor.dims) in ([], [1])}
    tensors |= {
        n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    }
    found = {}
    for name, tensor in tensors.items():
        if list(tensor.dims) in ([], [1]) and tensor.data_type not in _NO_NUMBERS:
            found[name] = float(numpy_helper.to_array(tensor).reshape(-1)[0])
    return found
