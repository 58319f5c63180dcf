"""The ranges that are claimed for values hold for what ONNX Runtime makes, whatever the attributes say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import numpy_helper

from normfold.runtime.loaded_model import load
from normfold.verify.regions.value_ranges import ANY, value_ranges
from tests.onnx_text import parse, run_in_ort

FREE = (0.0, math.inf)
CASES = {
    "Relu": ("y = Relu(x)", FREE),
    "a power of two": ("y = Mul(x, x)", FREE),
    "Sigmoid": ("y = Sigmoid(x)", (0.0, 1.0)),
    "HardSigmoid": ("y = HardSigmoid(x)", (0.0, 1.0)),
    "ThresholdedRelu keeps what is above alpha, also below zero": ("y = ThresholdedRelu<alpha=-2.0>(x)", ANY),
    "Elu": ("y = Elu(x)", (-1.0, math.inf)),
    "Elu of another alpha": ("y = Elu<alpha=3.0>(x)", (-3.0, math.inf)),
    "Elu of a negative alpha": ("y = Elu<alpha=-3.0>(x)", FREE),
    "Celu": ("y = Celu<alpha=2.0>(x)", (-2.0, math.inf)),
    "MaxPool keeps a range": ("r = Relu(x) y = MaxPool<kernel_shape=[2,2]>(r)", FREE),
    "AveragePool that counts zeros around": (
        "s = Sigmoid(x) t = Add(s, one) y = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1], count_include_pad=1>(t)",
        (0.0, 2.0),
    ),
    "AveragePool that does not": (
        "s = Sigmoid(x) t = Add(s, one) y = AveragePool<kernel_shape=[2,2], pads=[1,1,1,1]>(t)",
        (1.0, 2.0),
    ),
    "Clip": ("y = Clip(x, one)", (1.0, math.inf)),
    "Clip of what lies above its limit": ("s = Sigmoid(x) t = Add(s, two) y = Clip(t, , one)", (1.0, 1.0)),
    "Clip of what lies below its limit": ("s = Sigmoid(x) y = Clip(s, two)", (2.0, 2.0)),
    "Clip with limits that cross": ("y = Clip(x, two, one)", (1.0, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_value_lies_in_its_range(name: str) -> None:
    nodes, expected = CASES[name]
    model = parse(f"(float[1,2,8,8] x) => (float[1,2,A,B] y) <float one = {{1.0}}, float two = {{2.0}}> {{ {nodes} }}")
    found = value_ranges(load(model)).get("y", ANY)
    assert found == expected
    x = np.random.default_rng(0).uniform(-9, 9, (1, 2, 8, 8)).astype(np.float32)
    made = run_in_ort(model, {"x": x}, ["y"])["y"]
    assert found[0] - 1e-6 <= made.min() and made.max() <= found[1] + 1e-6


def test_indices_have_no_range_of_the_values() -> None:
    text = "(float[4,8] x) => (float[4,2] y, int64[4,2] i) <int64[1] k = {2}> { s = Sigmoid(x) y, i = TopK(s, k) }"
    found = value_ranges(load(parse(text)))
    assert found["y"] == (0.0, 1.0) and "i" not in found


def test_nothing_is_known_of_another_domain() -> None:
    text = "(float[4] x) => (float[4] y) { y = com.microsoft.Gelu(x) }"
    assert "y" not in value_ranges(load(parse(text, domains='"com.microsoft":1')))


def test_complex_numbers_have_no_order() -> None:
    model = parse("(float[N,4] x) => (float[N,4] y) <float[4] k> { y = Mul(x, k) }")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 + 2j], np.complex64), "c"))
    assert "c" not in value_ranges(load(model))
