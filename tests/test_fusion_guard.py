"""The guard: folds that take apart what ONNX Runtime executes as one are found and left out, with a reason."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
import pytest

import normfold
from normfold.findings.reason import Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.fusion_guard import folds_that_break_fusions
from normfold.runtime.fused_operators import fused_operators
from normfold.targets.table import ONNXRUNTIME, at_version, target_named
from normfold.timing.stopwatch import Stopwatch
from tests.onnx_text import parse

_HEAD = (
    "(float[4,8] x) => (float[4,8] y) <float root = {1.4142135}, float one = {1.0}, float half = {0.5}, float[8] g> "
)
_ERF = "{ a = Div(x, root) e = Erf(a) p = Add(e, one) m = Mul(x, p)"
WHOLE = parse(_HEAD + _ERF + "h = Mul(m, half) y = Mul(h, g) }")
APART = parse(_HEAD + _ERF + "y = Mul(m, g) }")
BROKEN = parse(_HEAD + _ERF + "h = Mul(m, g) y = Neg(h) }")
CONSTANT = parse("(float[4,8] x) => (float[4,8] z) <float[4,8] y> { z = Add(x, y) }")
NEAR = Verdict(Finding("h", "Mul", "h"), Outcome.FOLDED, "affine", sites=("y",))
FAR = Verdict(Finding("far", "Mul", "elsewhere"), Outcome.FOLDED, "affine")


@pytest.mark.parametrize(("changes", "left"), [((NEAR, FAR), {"h"}), ((FAR,), {"far"})])
def test_the_fold_next_to_a_lost_operator_is_left_out(changes: tuple[Verdict, ...], left: set[str]) -> None:
    asked: list[frozenset[str]] = []

    def build(excluded: frozenset[str]) -> tuple[ir.Model, Sequence[Verdict]]:
        asked.append(excluded)
        is_whole = left <= excluded
        kept = [each for each in changes if each.finding.name not in excluded]
        return ir.from_proto(WHOLE if is_whole else APART), kept

    guarded = folds_that_break_fusions(ir.from_proto(WHOLE), build)
    assert guarded.left == left
    assert guarded.is_enough
    assert asked == [frozenset(), left][: len(asked)]


@pytest.mark.parametrize(
    ("result", "changes", "is_enough"),
    [
        pytest.param(WHOLE, [NEAR], True, id="nothing is lost"),
        pytest.param(APART, [NEAR, FAR], True, id="leaving folds does not help"),
        pytest.param(BROKEN, [], False, id="the cleanup alone is the cause"),
        pytest.param(CONSTANT, [], True, id="what was fused is a constant now"),
    ],
)
def test_nothing_is_left_out_where_no_fold_is_the_cause(
    result: onnx.ModelProto, changes: list[Verdict], is_enough: bool
) -> None:
    original = ir.from_proto(WHOLE)
    guarded = folds_that_break_fusions(original, lambda _: (ir.from_proto(result), changes))
    assert (guarded.left, guarded.is_enough) == (frozenset(), is_enough)


QUANTIZED = (
    "(float[N,8] x) => (float[N,6] y) <uint8[8,6] w, uint8 zero = {3}, float scale = {0.1}, float[6] b>"
    "{ q, qs, qz = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, qz, zero) f = Cast<to = 1>(i)"
    "s = Mul(qs, scale) m = Mul(f, s) y = Add(m, b) }"
)


def test_scales_and_bias_of_a_quantized_product_stay_with_it() -> None:
    model = parse(QUANTIZED)
    result = normfold.optimize(model, verify=False)
    assert not result.changes
    assert {each.obstacles[0].reason for each in result.kept} == {Reason.PART_OF_ACTIVATION, Reason.BIAS}
    assert len(result.kept) == 2


def test_a_factor_behind_a_quantized_product_is_no_part_of_it() -> None:
    model = parse(QUANTIZED.replace("y = Add(m, b)", "n = Add(m, b) y = Mul(n, b)"))
    assert normfold.inspect(model).kept


_RESIDUAL = "(float[2,S,8] x, float[2,S,8] z) => (float[2,S,8] y) <float[8] g, float[8] b, float eps = {0.00001}>"
_LAYER = "y = LayerNormalization(s, g, b)"
_SPELLED = (
    "m = ReduceMean<axes = [-1]>(s) d = Sub(s, m) q = Mul(d, d) v = ReduceMean<axes = [-1]>(q) e = Add(v, eps)"
    " r = Sqrt(e) n = Div(d, r) t = Mul(n, g) y = Add(t, b)"
)


@pytest.mark.parametrize(
    ("norm", "skips", "written"),
    [
        pytest.param(_LAYER, 1, "Add LayerNormalization", id="fused in the original too"),
        pytest.param(
            _SPELLED,
            0,
            "Sum LayerNormalization",
            id="in a spelling that the runtime does not know",
            marks=pytest.mark.skipif(
                not target_named("onnxruntime").slow_skip, reason="up to 1.29 it makes no Skip of it"
            ),
        ),
    ],
)
def test_a_slow_fusion_that_the_original_has_not_is_hindered(
    norm: str, skips: int, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normfold.targets.table._installed_onnxruntime", lambda: (1, 31))
    model = parse(f"{_RESIDUAL} {{ s = Add(x, z) {norm} }}")
    result = normfold.optimize(model)
    assert " ".join(node.op_type for node in result.model.graph.node) == written
    assert [_skips(each) for each in (model, result.model)] == [skips, skips]
    assert not normfold.optimize(result.model).changes


@pytest.mark.parametrize(("ratio", "written"), [(1.2, "Sum"), (1.01, "Add")])
def test_where_that_is_measured_to_be_faster_every_such_fusion_is_hindered(
    ratio: float, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normfold.targets.table._installed_onnxruntime", lambda: (1, 31))
    monkeypatch.setattr(Stopwatch, "times_as_fast", lambda *_: ratio)
    result = normfold.optimize(
        parse(f"{_RESIDUAL} {{ i = Identity(x) t = Relu(i) s = Add(t, z) {_LAYER} }}"), measure=True
    )
    assert [node.op_type for node in result.model.graph.node] == ["Relu", written, "LayerNormalization"]
    assert any("written as Sum" in note for note in result.notes) is (written == "Sum")


def test_up_to_release_1_29_that_fusion_is_the_faster_one() -> None:
    assert at_version(ONNXRUNTIME, (1, 30)).slow_skip
    assert not at_version(ONNXRUNTIME, (1, 29)).slow_skip
    assert not target_named("onnxruntime-cuda").slow_skip


def _skips(model: onnx.ModelProto) -> int:
    fused = fused_operators(ir.from_proto(model))
    assert fused is not None
    return sum(each.operator == "SkipLayerNormalization" for each in fused)
