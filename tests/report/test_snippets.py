"""What the pictures show: the finding, what took it over or was in its way, and the way between; never too much."""

from __future__ import annotations

import pytest

import normfold
from normfold.findings.verdict import Outcome
from normfold.report.drawing import Drawing, Role
from normfold.report.snippets import MOST
from tests.conftest import ROOT
from tests.nets import conv_bn
from tests.onnx_text import parse


def pictures(text: str) -> dict[str, tuple[Drawing, Drawing]]:
    """Before and after of each finding of a model in ONNX text."""
    report = normfold.inspect(parse(text)).report(pictures=True)
    assert len(report.drawings) == len(report.verdicts)
    return {v.finding.name: pair for v, pair in zip(report.verdicts, report.drawings, strict=True)}


def operators(drawing: Drawing, role: Role) -> list[str]:
    return [box.operator for box in drawing.boxes if box.role is role]


def arrows(drawing: Drawing) -> set[tuple[str, str]]:
    return {(drawing.boxes[one].operator, drawing.boxes[other].operator) for one, other in drawing.arrows}


def test_a_fold_shows_the_way_to_what_takes_it_over() -> None:
    ((before, after),) = pictures("""
        (float[1, 2] x) => (float[1, 3] y) <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[3] s = {2, 3, 4}>
        { m = MatMul (x, w)  r = Relu (m)  i = Identity (r)  z = Mul (i, s)  y = Sigmoid (z) }""").values()
    assert operators(before, Role.FINDING) == ["Mul"]
    assert operators(before, Role.INTO) == operators(after, Role.INTO) == ["MatMul"]
    assert {("input", "MatMul"), ("MatMul", "Relu"), ("Mul", "Sigmoid")} <= arrows(before)
    assert arrows(after) == {("input", "MatMul"), ("MatMul", "Relu"), ("Relu", "Sigmoid")}
    assert operators(after, Role.FINDING) == []
    assert [box.detail for box in after.boxes if box.operator == "MatMul"] == ["2×3"]


def test_what_stays_shows_the_operators_in_its_way() -> None:
    ((before, after),) = pictures("""
        (float[1, 2] x) => (float[1, 2] y) <float[2] t = {1, 2}>
        { s = Softmax (x)  z = Add (s, t)  y = Sigmoid (z) }""").values()
    for drawing in (before, after):
        assert operators(drawing, Role.FINDING) == ["Add"]
        assert set(operators(drawing, Role.OBSTACLE)) == {"Softmax", "Sigmoid"}
        assert ("Softmax", "Add") in arrows(drawing)


def test_another_reader_in_the_way_hangs_on_the_value_that_both_read() -> None:
    found = pictures("""
        (float[1, 2] x) => (float[1, 2] y, float[1, 2] e) <float[2, 2] w = {1, 2, 3, 4}, float[2] s = {2, 3}>
        { m = MatMul (x, w)  z = Mul (m, s)  y = Tanh (z)  e = Exp (m) }""")
    before, _ = found["z"]
    assert "Exp" in operators(before, Role.OBSTACLE)
    assert {("MatMul", "Mul"), ("MatMul", "Exp")} <= arrows(before)


def test_a_fused_norm_shows_its_spelling() -> None:
    report = normfold.inspect(ROOT / "models" / "transformer.onnx").report(pictures=True)
    pairs = [p for v, p in zip(report.verdicts, report.drawings, strict=True) if v.outcome is Outcome.FUSED]
    assert pairs
    for before, after in pairs:
        assert {"ReduceMean", "Sub", "Pow", "Sqrt"} <= set(operators(before, Role.GONE))
        assert operators(after, Role.NEW) == ["LayerNormalization"]


def test_a_merged_block_shows_all_its_branches() -> None:
    found = pictures("""
        (float[N,4,8,8] x) => (float[N,4,8,8] y)
        <float[4,4,3,3] w, float[4,4,1,1] k, float[4] s, float[4] b, float[4] m, float[4] v = {1, 2, 3, 4}>
        { c = Conv<pads=[1,1,1,1]>(x, w)  p = BatchNormalization(c, s, b, m, v)
          d = Conv(x, k)  q = BatchNormalization(d, s, b, m, v)  t = Add(p, q)
          r = BatchNormalization(x, s, b, m, v)  u = Add(t, r)  y = Relu(u) }""")
    before, after = found["r"]
    assert {box.name for box in before.boxes} >= {"c", "p", "d", "q", "t", "r", "u"}
    assert [box.operator for box in after.boxes if box.role is not Role.EDGE] == ["Conv", "Relu"]


@pytest.mark.parametrize("name", ["levit_like", "residual", "transformer"])
def test_every_picture_is_small_and_whole(name: str) -> None:
    report = normfold.inspect(ROOT / "models" / f"{name}.onnx").report(pictures=True)
    for verdict, pair in zip(report.verdicts, report.drawings, strict=True):
        assert operators(pair[0], Role.FINDING), verdict.finding
        for drawing in pair:
            inner = [box for box in drawing.boxes if box.role is not Role.EDGE]
            assert 0 < len(inner) <= MOST
            assert {index for arrow in drawing.arrows for index in arrow} == set(range(len(drawing.boxes)))


def test_no_picture_is_made_unless_asked_for() -> None:
    assert normfold.inspect(conv_bn()).report().drawings == ()
