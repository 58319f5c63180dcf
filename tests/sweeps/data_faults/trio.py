"""A model with a right and a wrong other one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper, parser

Array = np.ndarray
Number = np.ndarray | np.generic


@dataclass(frozen=True)
class Trio:
    """A model, another that computes the same, and one that does not."""

    original: onnx.ModelProto
    right: onnx.ModelProto
    wrong: onnx.ModelProto
    site: str = "y"


def model(text: str, **weights: Number) -> onnx.ModelProto:
    """Return a model from ONNX text, with initializers of these numbers."""
    head = '<ir_version: 9, opset_import: ["" : 17, "ai.onnx.ml" : 3]> g '
    made = parser.parse_model(head + text)
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items())
    onnx.checker.check_model(made)
    return made


def spread(rng: np.random.Generator, size: int) -> Array:
    """Return numbers of many sizes, from 0.1 to 100."""
    return (10 ** rng.uniform(-1, 2, size)).astype(np.float32)


def linear(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Return the weight of a linear operator."""
    return rng.standard_normal((rows, columns)).astype(np.float32)
