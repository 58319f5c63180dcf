"""A graph under construction, from which operators take values, weights and drawn numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


def known(shape: Shape) -> list[int]:
    return [size for size in shape if isinstance(size, int)]


def is_image(shape: Shape) -> bool:
    return len(shape) in (3, 4) and all(size != 1 for size in shape[2:])
