"""Small networks with a right fold, and ways to get it wrong."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shapes = dict[str, list[int | str | None]]


def _tensor(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def model(
    nodes: list[onnx.NodeProto],
    inputs: Shapes,
    outputs: Shapes,
    weights: dict[str, np.ndarray],
    opset: int = 17,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A checked model of float inputs and outputs."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
        [_tensor(name, array) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def conv_bn_pair(
    depth: int = 3, channels: int = 8, seed: int = 0, kind: type = np.float32
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """``depth`` times Conv -> BatchNormalization -> Relu, and the same with every norm folded. Sites: bn0, bn1, ..."""
    rng = np.random.default_rng(seed)
    raw: dict[str, np.ndarray] = {}
    folded: dict[str, np.ndarray] = {}
    nodes_raw, nodes_folded = [], []
    value = "x"
    for i in range(depth):
        width = 3 if i == 0 else channels
        w = rng.normal(0, (2 / (9 * width)) ** 0.5, (channels, width, 3, 3))
        gamma, beta = rng.normal(1, 0.3, channels), rng.normal(0, 0.3, channels)
        mean, var = rng.normal(0, 0.3, channels), rng.uniform(0.5, 1.5, channels)
        scale = gamma / np.sqrt(var + 1e-5)
        raw |= {f"w{i}": w, f"gamma{i}": gamma, f"beta{i}": beta, f"mean{i}": mean, f"var{i}": var}
        folded |= {f"w{i}": w * scale[:, None, None, None], f"b{i}": beta - mean * scale}
        nodes_raw += [
            helper.make_node("Conv", [value, f"w{i}"], [f"conv{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node(
                "BatchNormalization", [f"conv{i}", *(f"{n}{i}" for n in ("gamma", "beta", "mean", "var"))], [f"bn{i}"]
            ),
            helper.make_node("Relu", [f"bn{i}"], [f"relu{i}"]),
        ]
        nodes_folded += [
            helper.make_node("Conv", [value, f"w{i}", f"b{i}"], [f"bn{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"bn{i}"], [f"relu{i}"]),
        ]
        value = f"relu{i}"
    x: Shapes = {"x": ["N", 3, 12, 12]}
    y: Shapes = {value: ["N", channels, 12, 12]}
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return (
        model(nodes_raw, x, y, {k: v.astype(kind) for k, v in raw.items()}, dtype=dtype),
        model(nodes_folded, x, y, {k: v.astype(kind) for k, v in folded.items()}, dtype=dtype),
    )


def edited(original: onnx.ModelProto, name: str, change: object) -> onnx.ModelProto:
    """A copy with the initializer ``name`` replaced by ``change(array)``."""
    assert callable(change)
    copy = onnx.ModelProto()
    copy.CopyFrom(original)
    for tensor in copy.graph.initializer:
        if tensor.name == name:
            array = np.array(numpy_helper.to_array(tensor))
            tensor.CopyFrom(_tensor(name, np.asarray(change(array)).astype(array.dtype)))
            return copy
    raise KeyError(name)
