"""How far a search goes: sums of very many are folded."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from normfold.files.protos.convert import to_ir
from normfold.findings.reason import Reason
from normfold.findings.verdict import Outcome, Verdict
from normfold.fold import affines
from normfold.fold.affines import AffineNode, Effort, affine_node_of
from normfold.fold.engine import fold_affines
from normfold.graph.reader import GraphReader
from tests.sweeps.growth import model


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
    many = to_ir(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    (verdict,) = (verdict for verdict in fold_affines(many) if verdict.finding.is_norm)
    assert verdict.outcome is Outcome.FOLDED, [str(obstacle) for obstacle in verdict.obstacles]
    assert len(verdict.into) == count


def _last_norm(model: onnx.ModelProto) -> Verdict:
    return [verdict for verdict in fold_affines(to_ir(model)) if verdict.finding.is_norm][-1]


def test_searches_end_when_the_effort_for_a_graph_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms that would go far are kept with a reason; one next to a convolution folds all the same."""
    far = model("batchnorm_behind_relus", 40)
    assert _last_norm(far).outcome is Outcome.FOLDED
    monkeypatch.setattr(Effort, "of", lambda reader: Effort(0))
    assert Reason.SEARCH_LIMIT in {obstacle.reason for obstacle in _last_norm(far).obstacles}
    assert _last_norm(model("conv_batchnorm_relu", 3)).outcome is Outcome.FOLDED


def test_a_run_that_stays_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales whose product leaves the range of float32: the time of 300 operators is not that of 300 runs of 300."""
    asked: list[ir.Node] = []

    def counted(reader: GraphReader, node: ir.Node) -> AffineNode:
        asked.append(node)
        return affine_node_of(reader, node)

    monkeypatch.setattr(affines, "affine_node_of", counted)
    fold_affines(to_ir(model("mul_add", 400)))
    assert len(asked) < 400 * 40
