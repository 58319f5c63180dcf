"""Follow the inputs of a model through affine operators: which values are ``scale * input + shift``, exactly.

Solving that for the input gives what the input must be for a value deep inside to be some number: the limit of a
Clip, the constant of a comparison, the centre of a normalization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from normfold.operators.table import RESHAPES
from normfold.runtime.loaded_model import LoadedModel

_LARGEST = 2**20
"""Elements of a constant that is read."""

_WHOLE = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16})


@dataclass(frozen=True)
class AffinePath:
    """A value that is ``scale * source + shift``, both broadcastable to the source.

    ``axes`` says which axis of the source each axis of the value is; None when a Reshape lost that, and then scale and
    shift are single numbers. ``is_exact``: no arithmetic was done so far, so nothing was rounded.
    """

    source: str
    rank: int
    scale: np.ndarray
    shift: np.ndarray
    axes: tuple[int, ...] | None
    is_exact: bool = True

    def solve(self, wanted: np.ndarray) -> np.ndarray | None:
        """Return what the source must be for the value to be ``wanted``; NaN where no number does it."""
        aligned = self.aligned(wanted)
        if aligned is None:
            return None
        with np.errstate(all="ignore"):
            return np.asarray((aligned - self.shift) / np.where(self.scale == 0, np.nan, self.scale))

    def aligned(self, constant: np.ndarray) -> np.ndarray | None:
        """Return a constant, which broadcasts with the value, so that it broadcasts with the source."""
        constant = np.asarray(constant, np.float64)
        if constant.size == 1:
            return constant.reshape(())
        if self.axes is None or constant.ndim > len(self.axes):
            return None
        full = constant.reshape((1,) * (len(self.axes) - constant.ndim) + constant.shape)
        return full.transpose(np.argsort(self.axes))

    def then(self, scale: np.ndarray, shift: np.ndarray) -> AffinePath | None:
        """Return the path through one more affine operator; both are aligned with the source."""
        return replace(self, scale=self.scale * scale, shift=self.shift * scale + shift, is_exact=False)


def affine_paths(model: LoadedModel, ranks: Mapping[str, int]) -> dict[str, AffinePath]:
    """Return the path of each value that is an affine of one input; ``ranks`` are those of the inputs."""
    one, zero = np.asarray(1.0), np.asarray(0.0)
    found = {name: AffinePath(name, rank, one, zero, tuple(range(rank))) for name, rank in ranks.items()}
    constants = small_constants(model)
    for node in model.graph.node:
        if node.input and node.output and node.output[0]:
            path = _through(node, found, constants)
            if path is not None:
                found[node.output[0]] = path
    return found


def small_constants(model: LoadedModel) -> dict[str, np.ndarray]:
    """Return the numbers of all initializers and Constants of moderate size."""
    found = {}
    for name, tensor in model.initializers:
        if tensor.data_type != TensorProto.STRING and int(np.prod(tensor.dims)) <= _LARGEST:
            found[name] = model.array_of(tensor)
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value" and attribute.t.data_type != TensorProto.STRING:
                found[node.output[0]] = numpy_helper.to_array(attribute.t)
            elif attribute.name in ("value_float", "value_int"):
                found[node.output[0]] = np.asarray(onnx.helper.get_attribute_value(attribute))
    return found


def _through(
    node: onnx.NodeProto, found: Mapping[str, AffinePath], constants: Mapping[str, np.ndarray]
) -> AffinePath | None:
    operator, first = node.op_type, found.get(node.input[0])
    if operator in ("Add", "Sub", "Mul", "Div") and len(node.input) == 2:
        return _arithmetic(node, found, constants)
    if first is None:
        return None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if not a.ref_attr_name}
    if operator in ("Identity", "Dropout"):
        return first
    if operator == "Cast":
        return first if attributes.get("to") in _WHOLE else None
    if operator == "Neg":
        return first.then(np.asarray(-1.0), np.asarray(0.0))
    if operator == "Transpose" and first.axes is not None:
        order = attributes.get("perm") or tuple(reversed(range(len(first.axes))))
        return replace(first, axes=tuple(first.axes[i] for i in order))
    if operator in RESHAPES | {"Expand"}:
        return replace(first, axes=None) if first.scale.size == first.shift.size == 1 else None
    if operator == "BatchNormalization" and len(node.output) == 1:
        return _batchnorm(node, first, constants, attributes.get("epsilon", 1e-5))
    if operator == "Scaler":
        offset, scale = (np.asarray(attributes.get(key, base)) for key, base in (("offset", [0.0]), ("scale", [1.0])))
        return _by_arrays(first, scale, -offset * scale)
    return None


def _arithmetic(
    node: onnx.NodeProto, found: Mapping[str, AffinePath], constants: Mapping[str, np.ndarray]
) -> AffinePath | None:
    for index in (0, 1):
        path, constant = found.get(node.input[index]), constants.get(node.input[1 - index])
        if path is None or constant is None:
            continue
        other = np.asarray(constant, np.float64)
        if node.op_type == "Add":
            return _by_arrays(path, np.asarray(1.0), other)
        if node.op_type == "Sub":
            return _by_arrays(path, np.asarray(1.0 if index == 0 else -1.0), -other if index == 0 else other)
        if node.op_type == "Mul":
            return _by_arrays(path, other, np.asarray(0.0))
        with np.errstate(all="ignore"):
            return _by_arrays(path, 1.0 / other, np.asarray(0.0)) if index == 0 else None
    return None


def _by_arrays(path: AffinePath, scale: np.ndarray, shift: np.ndarray) -> AffinePath | None:
    aligned = path.aligned(scale), path.aligned(shift)
    return None if aligned[0] is None or aligned[1] is None else path.then(aligned[0], aligned[1])


def _batchnorm(
    node: onnx.NodeProto, path: AffinePath, constants: Mapping[str, np.ndarray], epsilon: float
) -> AffinePath | None:
    arrays = [constants.get(name) for name in node.input[1:5]]
    if any(array is None for array in arrays) or path.axes is None or len(path.axes) < 2:
        return None
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
    shape = (1, -1, *(1,) * (len(path.axes) - 2))
    return _by_arrays(path, scale.reshape(shape), (beta - mean * scale).reshape(shape))
