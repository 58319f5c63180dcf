"""Building a candidate is what costs most in a large model, so the same one is not built twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import normfold
from normfold.findings.reason import Reason
from normfold.fusion_guard import Guarded
from normfold.rewrite import rewrite
from tests.onnx_text import parse


def test_each_set_of_findings_that_stay_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[frozenset[str]] = []

    def counted(model: Any, options: Any, excluded: Mapping[str, Reason]) -> Any:
        built.append(frozenset(excluded))
        return rewrite(model, options, excluded)

    monkeypatch.setattr("normfold.candidate.rewrite", counted)
    blocks = "".join(
        f"a{i} = Conv<pads = [1,1,1,1]>(x{i}, k) b{i} = Conv(x{i}, p{i}) s{i} = Add(a{i}, b{i}) x{i + 1} = Relu(s{i}) "
        for i in range(4)
    )
    weights = ", ".join(f"float[32,32,1,1] p{i}" for i in range(4))
    text = f"(float[N,32,8,8] x) => (float[N,32,8,8] y) <float[32,32,3,3] k, {weights}> {{ x0 = Neg(x) {blocks} "
    normfold.optimize(parse(text + "y = Relu(x4) }"), verify=False)
    assert len(built) == len(set(built)) > 1


def test_a_fold_that_breaks_a_fusion_of_the_runtime_stays_for_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normfold.candidate.folds_that_break_fusions", lambda _, build: Guarded(frozenset({"h"})))
    text = "(float[N,4] x) => (float[N,3] y) <float[4,3] w, float[3] g> { m = MatMul(x, w) h = Mul(m, g) y = Tanh(h) }"
    result = normfold.optimize(parse(text), verify=False)
    assert [each.obstacles[0].reason for each in result.kept] == [Reason.BREAKS_FUSION]


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        pytest.param([True], ["Reshape", "Relu"], id="no fusion is lost"),
        pytest.param([False, True], ["Shape", "Gather", "Concat", "Reshape", "Relu"], id="without facts"),
        pytest.param([False, False], None, id="nothing may change"),
    ],
)
def test_a_cleanup_that_breaks_a_fusion_of_the_runtime_is_left_out(
    answers: list[bool], left: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining = iter(answers)
    monkeypatch.setattr(
        "normfold.candidate.folds_that_break_fusions", lambda _, build: Guarded(is_enough=next(remaining))
    )
    text = (
        "(float[N,4,6] x) => (float[N,24] y) <int64 first = {0}, int64[1] axis = {0}, int64[1] rest = {24}>"
        "{ s = Shape(x) n = Gather(s, first) u = Unsqueeze(n, axis) t = Concat<axis = 0>(u, rest) r = Reshape(x, t)"
        " i = Identity(r) y = Relu(i) }"
    )
    model = parse(text)
    result = normfold.optimize(model, verify=False)
    operators = [node.op_type for node in result.model.graph.node]
    assert operators == (left or [node.op_type for node in model.graph.node])
    assert any("fewer groups of operators" in note for note in result.notes) == (False in answers)
