"""How far a search goes: sums of very many are folded."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from normfold.files.convert import to_ir
from normfold.findings.verdict import Outcome
from normfold.fold.engine import fold_affines


def test_a_norm_behind_a_sum_of_many() -> None:
    """The shift goes to one of 1,050 convolutions, the scale to all: as many operators as there are, each once."""
    count = 1050
    shape: list[str | int | None] = ["N", 4, 1, 1]
    nodes = [helper.make_node("Sigmoid", ["x"], ["s0"])]
    for i in range(1, count + 1):
        nodes.append(helper.make_node("Tanh" if i % 2 else "Sigmoid", [f"s{i - 1}"], [f"s{i}"]))
        nodes.append(helper.make_node("Conv", [f"s{i}", "w"], [f"c{i}"]))
    total = "c1"
    for i in range(2, count + 1):
        nodes.append(helper.make_node("Add", [total, f"c{i}"], [f"t{i}"]))
        total = f"t{i}"
    nodes.append(helper.make_node("BatchNormalization", [total, "g", "g", "g", "v"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "many",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w"),
            numpy_helper.from_array(np.array([0.5, 2, 3, -1], np.float32), "g"),
            numpy_helper.from_array(np.ones(4, np.float32), "v"),
        ],
        value_info=[helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape) for node in nodes[:-1]],
    )
    model = to_ir(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    (verdict,) = (verdict for verdict in fold_affines(model) if verdict.finding.is_norm)
    assert verdict.outcome is Outcome.FOLDED, [str(obstacle) for obstacle in verdict.obstacles]
    assert len(verdict.into) == count
