"""Each claim of the table of operators, against onnx's reference evaluator on random data."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from normfold.algebra.affine import Array
from normfold.operators.table import (
    ADDITIONS,
    COMPARISONS,
    OPERATORS,
    RANDOM,
    RESHAPES,
    ROUNDINGS,
    SUMS,
    is_standard,
    operator_of,
)

OPSET = min(onnx.defs.onnx_opset_version(), 24)
SHAPE = (2, 4, 6, 6)
# What an operator needs in addition to its first input, and the inputs for which it is defined at all.
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Cast": {"to": TensorProto.DOUBLE},
    "MaxPool": {"kernel_shape": [2, 2]},
    "AveragePool": {"kernel_shape": [2, 2]},
    "GroupNormalization": {"num_groups": 2},
    "LpPool": {"kernel_shape": [4, 4], "p": 1},
    "Einsum": {"equation": "nchw->nc"},
}
# Inputs behind the first that are no data: axes, sizes, steps, weights whose axes are not claimed.
SETTINGS: dict[str, list[Any]] = {
    "CastLike": [np.ones(())],
    "Col2Im": [np.array([8, 8]), np.array([4, 4])],
    "CumSum": [np.array(3)],
    "DeformConv": [np.ones((5, 4, 3, 3)), np.full((2, 18, 4, 4), 0.3)],
    "STFT": [np.array(4), np.ones(16)],
}
SHAPES = {
    "Gemm": (3, 4),
    "MatMul": (2, 3, 4),
    "Col2Im": (1, 48, 25),
    "CumSum": (1, 1, 1, 16),
    "DFT": (1, 16, 1),
    "STFT": (1, 64, 1),
}
PER_CHANNEL = {"BatchNormalization": 4, "InstanceNormalization": 2, "GroupNormalization": 2}
LAST_AXIS = {"LayerNormalization": 2, "RMSNormalization": 1}
DOMAINS = {"Acos": (-1, 1), "Asin": (-1, 1), "Atanh": (-0.9, 0.9), "Log": (0.1, 4), "Sqrt": (0, 4)}
NOT_IN_REFERENCE = ("GlobalLpPool",)
FUNCTIONS = [name for name, operator in OPERATORS.items() if operator.weight is None and name not in NOT_IN_REFERENCE]
LINEAR = [name for name, operator in OPERATORS.items() if operator.weight_out is not None]


def data(name: str, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Array:
    low, high = DOMAINS.get(name, (-3.0, 3.0))
    return np.random.default_rng(seed).uniform(low, high, shape)


def run(name: str, x: Array, *weights: Array, **attributes: Any) -> Array:
    """Return the first output of one operator in float64."""
    rng = np.random.default_rng(1)
    more = [*weights, *SETTINGS.get(name, ())]
    if name in PER_CHANNEL:
        more = [rng.uniform(0.5, 2, SHAPE[1]) for _ in range(PER_CHANNEL[name])]
    if name in LAST_AXIS:
        more = [rng.uniform(0.5, 2, SHAPE[-1]) for _ in range(LAST_AXIS[name])]
    names = ["x", *(f"w{index}" for index in range(len(more)))]
    node = helper.make_node(name, names, ["y"], **{**ATTRIBUTES.get(name, {}), **attributes})
    values: dict[str, Any] = dict(zip(names, (x, *more), strict=True))
    infos = [
        helper.make_tensor_value_info(each, helper.np_dtype_to_tensor_dtype(array.dtype), None)
        for each, array in values.items()
    ]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    with np.errstate(all="ignore"):
        first, *_ = ReferenceEvaluator(model).run(None, values)
    return np.asarray(first)


def in_this_onnx(name: str) -> None:
    if not onnx.defs.has(name, OPSET):
        pytest.skip(f"{name} is newer than this onnx")


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if OPERATORS[name].elementwise])
def test_an_elementwise_operator_sees_each_element_alone(name: str) -> None:
    in_this_onnx(name)
    x = data(name)
    whole = run(name, x)
    order = np.random.default_rng(5).permutation(x.size)
    shuffled = run(name, x.reshape(-1)[order].reshape(SHAPE))
    np.testing.assert_array_equal(shuffled.reshape(-1), whole.reshape(-1)[order])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if OPERATORS[name].by_channel])
def test_a_channel_depends_on_its_own_channel_only(name: str) -> None:
    in_this_onnx(name)
    x, other = data(name), data(name, seed=2)
    mixed = other.copy()
    mixed[:, 1] = x[:, 1]
    np.testing.assert_array_equal(run(name, mixed)[:, 1], run(name, x)[:, 1])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if OPERATORS[name].keeps_shape])
def test_a_shape_is_kept(name: str) -> None:
    in_this_onnx(name)
    assert run(name, data(name)).shape == SHAPE


@pytest.mark.parametrize("name", [name for name in (*FUNCTIONS, *LINEAR) if OPERATORS[name].homogeneous])
def test_a_scale_passes(name: str) -> None:
    in_this_onnx(name)
    x = data(name, shape_for(name))
    weights = weights_for(name, x)
    for scale in (2.5, -2.5) if OPERATORS[name].homogeneous == "any" else (2.5,):
        np.testing.assert_allclose(run(name, scale * x, *weights), scale * run(name, x, *weights), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if OPERATORS[name].never_negative])
def test_a_result_is_never_negative(name: str) -> None:
    in_this_onnx(name)
    for slope in (1.0, 100.0):
        assert run(name, np.clip(slope * data(name), *DOMAINS.get(name, (-300, 300)))).min() >= 0


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if OPERATORS[name].keeps_one])
def test_a_one_stays_a_one(name: str) -> None:
    in_this_onnx(name)
    assert (run(name, np.ones(SHAPE)) == 1).all()


@pytest.mark.parametrize("name", [name for name in (*FUNCTIONS, *LINEAR) if name not in PER_CHANNEL])
def test_only_what_amplifies_makes_large_numbers(name: str) -> None:
    in_this_onnx(name)
    grown = []
    for size in (0.01, 1.57, 30.0):
        x = np.clip(np.full(shape_for(name), size), *DOMAINS.get(name, (-30, 30)))
        weights = [np.full(weight.shape, size) for weight in weights_for(name, x)]
        result = run(name, x, *weights)
        grown.append(np.abs(result).max() / max(10 * size, 10))
    assert bool(max(grown) > 1) is OPERATORS[name].amplifies, grown


@pytest.mark.parametrize("name", sorted(RESHAPES))
def test_a_reshape_keeps_the_order(name: str) -> None:
    x = np.arange(12.0).reshape(1, 3, 1, 4)
    settings = {"Reshape": [np.array([2, 6])], "Unsqueeze": [np.array([1])]}.get(name, [])
    np.testing.assert_array_equal(run(name, x, *settings).reshape(-1), x.reshape(-1))


@pytest.mark.parametrize("name", sorted(SUMS))
def test_a_sum_is_one_of_its_operands_with_a_sign(name: str) -> None:
    one, other = data(name), data(name, seed=2)[:, :1]
    part = 2 if name == "Mean" else 1
    np.testing.assert_allclose(run(name, one, other), (one + (-other if name == "Sub" else other)) / part, rtol=1e-12)
    assert (name in ADDITIONS) is (part == 1)


@pytest.mark.parametrize("name", sorted(ROUNDINGS))
def test_a_rounding_gives_whole_numbers_near_by(name: str) -> None:
    x = data(name)
    assert (run(name, x) % 1 == 0).all() and np.abs(run(name, x) - x).max() < 1


@pytest.mark.parametrize("name", sorted(COMPARISONS))
def test_a_comparison_gives_truth_values(name: str) -> None:
    x = data(name)
    assert run(name, x, data(name, seed=2)).dtype == bool
    assert set(run(name, x, x).reshape(-1)) == {"Equal" in name}


def test_random_operators_are_those_that_take_a_seed() -> None:
    schemas = onnx.defs.get_all_schemas()
    assert {each.name for each in schemas if "seed" in each.attributes} - {"Dropout"} == RANDOM


def weights_for(name: str, x: Array) -> list[Array]:
    """Return the operands behind the first: a weight, or data of the same shape."""
    if name in LINEAR:
        return [weight_for(name)]
    return [np.array(x)] * (name in ("Mul", "Pow"))


def weight_for(name: str) -> Array:
    shapes = {"Conv": (5, 4, 3, 3), "ConvTranspose": (4, 5, 3, 3), "Gemm": (4, 5), "MatMul": (4, 5)}
    return np.random.default_rng(4).standard_normal(shapes[name])


def shape_for(name: str) -> tuple[int, ...]:
    return SHAPES.get(name, SHAPE)


@pytest.mark.parametrize("name", LINEAR)
def test_the_axes_of_a_weight(name: str) -> None:
    operator = OPERATORS[name]
    assert operator.weight == 1 and operator.axis is not None
    assert operator.weight_out is not None and operator.weight_in is not None
    x, weight = data(name, shape_for(name)), weight_for(name)
    plain = run(name, x, weight)
    rows = np.random.default_rng(6).permutation(weight.shape[operator.weight_out])
    turned = run(name, x, np.take(weight, rows, axis=operator.weight_out))
    np.testing.assert_allclose(turned, np.take(plain, rows, axis=operator.axis), rtol=1e-12)
    columns = np.random.default_rng(8).permutation(weight.shape[operator.weight_in])
    read = run(name, np.take(x, columns, axis=operator.axis), np.take(weight, columns, axis=operator.weight_in))
    np.testing.assert_allclose(read, plain, rtol=1e-9, atol=1e-12)
    if operator.bias is not None:
        bias = np.arange(5.0)
        assert operator.bias == 2
        form = (1, -1, 1, 1) if plain.ndim == 4 else (1, -1)
        np.testing.assert_allclose(run(name, x, weight, bias), plain + bias.reshape(form), rtol=1e-12)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_the_weight_of_a_recurrent_operator(name: str) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[name]
    operator, rng = OPERATORS[name], np.random.default_rng(9)
    x, weight = rng.standard_normal((3, 2, 4)), rng.standard_normal((1, gates * 5, 4))
    other = rng.standard_normal((1, gates * 5, 5))
    assert (operator.weight, operator.bias) == (1, 3) and operator.axis is not None and operator.weight_in is not None
    columns = [2, 0, 3, 1]
    plain = run(name, x, weight, other, hidden_size=5)
    turned = np.take(x, columns, axis=operator.axis), np.take(weight, columns, axis=operator.weight_in)
    np.testing.assert_allclose(run(name, *turned, other, hidden_size=5), plain, rtol=1e-9)


def test_an_operator_of_another_domain_is_not_known() -> None:
    assert is_standard(helper.make_node("Relu", ["x"], ["y"]))
    assert operator_of(helper.make_node("Relu", ["x"], ["y"])).elementwise
    foreign = helper.make_node("Relu", ["x"], ["y"], domain="com.microsoft")
    assert not is_standard(foreign) and not operator_of(foreign).elementwise
