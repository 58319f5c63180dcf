"""Folded networks whose metadata says something of one's own, and faults that no output shows."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from normfold.runtime.metadata_keys import SITES_KEY

ALL = [["bn0", "bn0"], ["bn1", "bn1"], ["bn2", "bn2"]]


TABLE = """(int64[1,8] i) => (float[1,8,4] y) <float[500,16] t, float[16,4] v> { a = Gather(t, i) y = MatMul(a, v) }"""


def telling(model: onnx.ModelProto, text: str) -> onnx.ModelProto:
    """A copy whose metadata says something else."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    helper.set_model_props(copy, {SITES_KEY: text})
    return copy


def off_by_a_hair(array: np.ndarray) -> np.ndarray:
    """One channel is wrong by so little that the outputs do not show it."""
    array[4] *= 1.00003
    return array


def weight(model: onnx.ModelProto, number: int) -> str:
    """The name of one of the weights of the folded network."""
    return weight_of(model, f"bn{number}")


def weight_of(model: onnx.ModelProto, value: str) -> str:
    """The weight of the operator that makes a value."""
    return next(str(node.input[1]) for node in model.graph.node if node.output[0] == value)
