"""How far a search goes: large sums are folded, float16 keeps room for its sums."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from normfold.files.convert import to_ir
from normfold.findings.verdict import Outcome
from normfold.fold.engine import fold_affines
from tests.fold.rows import Folds, Refuses, assert_folds, assert_refuses


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


FOLDS = {
    "float16: a scale above 1 behind a product": Folds(
        "(float16[N,3,4] x, float16[N,4,2] z) => (float16[N,3,2] y) <float16 big, float16[2,2] w>"
        "{ c = Mul(x, big) d = MatMul(c, z) y = MatMul(d, w) }",
        "MatMul MatMul",
        "forward",
        values={"w": (1.0,) * 4, "big": (2.0,)},
    ),
}
REFUSES = {
    "float16: a product without its small scale": Refuses(
        "(float16[N,3,4] x, float16[N,4,2] z) => (float16[N,3,2] y) <float16 k, float16[2,2] w>"
        "{ c = Mul(x, k) d = MatMul(c, z) y = MatMul(d, w) }",
        "NF115 d, NF118 c",
        values={"w": (1.0,) * 4, "k": (0.25,)},
    ),
}


@pytest.mark.parametrize("name", FOLDS)
def test_folds(name: str) -> None:
    assert_folds(FOLDS[name])


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])
