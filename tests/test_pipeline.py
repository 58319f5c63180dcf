"""A fold that goes wrong inside the engine is caught, named, undone, and everything else is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import normfold
from normfold import candidate, pipeline
from normfold.constants.simplify import InferredFacts, apply_facts, simplify
from normfold.findings.reason import Reason
from normfold.graph.editor import Editor
from normfold.timing.stopwatch import Stopwatch
from normfold.verify import Equivalence, Verification, prove
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine writes one channel of the weight w1 one percent too large."""
    right = Editor.constant

    def wrong(self: Editor, array: Any, dtype: Any, hint: str) -> Any:
        if hint.startswith("w1"):
            array = np.array(array)
            array[4] *= 1.01
        return right(self, array, dtype, hint)

    monkeypatch.setattr(Editor, "constant", wrong)


def test_a_wrong_fold_is_undone_and_the_rest_is_kept(faulty: None) -> None:
    raw, _ = conv_bn_pair()
    result = normfold.optimize(raw)
    assert sorted(v.finding.name for v in result.changes) == ["bn0", "bn2"]
    [kept] = result.kept
    assert kept.finding.name == "bn1"
    assert [obstacle.reason for obstacle in kept.obstacles] == [Reason.ROLLED_BACK]
    assert any("bn1 was undone by the evidence at its own site" in note for note in result.notes)
    assert prove(raw, result.model)


def test_constants_that_were_folded_wrong_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fold is the cause when the pre-clean changed the model, so it goes on without the pre-clean."""
    spoilt: list[InferredFacts | None] = []

    def spoiling_simplify(proto: onnx.ModelProto, fold: bool) -> InferredFacts:
        facts = simplify(proto, fold=fold)
        spoilt.append(facts if fold else None)
        return facts

    def spoiling_apply(model: ir.Model, facts: InferredFacts) -> None:
        apply_facts(model, facts)
        if facts is spoilt[0]:
            value = model.graph.initializers["w2"]
            assert value.const_value is not None
            value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.1), name="w2")

    monkeypatch.setattr(candidate, "simplify", spoiling_simplify)
    monkeypatch.setattr(candidate, "apply_facts", spoiling_apply)
    result = normfold.optimize(conv_bn_pair()[0])
    assert len(result.changes) == 3
    assert result.verification
    assert any("the folding of constants was left out" in note for note in result.notes)


def test_strict_writes_nothing(faulty: None) -> None:
    with pytest.raises(normfold.NotProven) as caught:
        normfold.optimize(conv_bn_pair()[0], strict=True)
    verification = caught.value.result.verification
    assert verification is not None
    assert verification.failing_folds == ("bn1",)


def test_without_room_on_the_disk_the_proof_runs_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(pipeline, "write_tensors", full)
    result = normfold.optimize(conv_bn_pair()[0])
    assert result.verification
    assert len(result.verification.sites) == 3


def test_a_proof_holds_no_weight_of_a_model_with_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights that changed were in a message in memory: 2 GB of them took 4.2 GB."""
    path, candidates = tmp_path / "m.onnx", list[onnx.ModelProto]()
    text = "(float[N,64] x) => (float[N,64] y) <float[64,64] w, float[64,64] v, float[64] s>"
    model = parse(f"{text} {{ a = MatMul(x, w) b = Mul(a, s) c = Tanh(b) y = MatMul(c, v) }}")
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)

    def seen(original: Path, candidate: Path, *more: Any) -> Verification:
        candidates.append(onnx.load(candidate, load_external_data=False))
        return prove(original, candidate, *more)

    monkeypatch.setattr(pipeline, "prove", seen)
    assert normfold.optimize(path).verification
    places = [{e.key: e.value for e in t.external_data}["location"] for t in candidates[0].graph.initializer]
    assert len(places) == 2
    assert "m.data" in places


NEEDLESS = "(float[2,N] x) => (float[2,N] y) <float[9] dead> { a = Identity(x) b = Relu(a) c = Relu(x) y = Add(b, c) }"


def test_where_nothing_folds_the_rest_is_done_and_proven() -> None:
    result = normfold.optimize(parse(NEEDLESS))
    assert [node.op_type for node in result.model.graph.node] == ["Relu", "Add"]
    assert not result.model.graph.initializer
    assert result.is_changed
    assert result.verification is not None
    assert result.verification.outputs
    assert "2 needless operators removed" in repr(result)
    assert normfold.optimize(result.model).is_copy
    assert normfold.optimize(parse(NEEDLESS), only=("batchnorm",)).is_copy


LISTED = "(float[N,3] x, float[3] w) => (float[N,3] y) <float[3] w = {1, 2, 3}> { t = Sin(x) u = Add(t, w) y = Cos(u) }"


@pytest.mark.parametrize("in_place", [False, True])
def test_what_reading_put_right_is_written_and_no_copy(tmp_path: Path, in_place: bool) -> None:
    """Where nothing folds too: the note said that the initializer is a constant now, and in place it was not."""
    path = tmp_path / "m.onnx"
    target = path if in_place else tmp_path / "out.onnx"
    onnx.save(parse(LISTED), path)
    result = normfold.optimize(path, target, in_place=in_place)
    assert not result.report().is_copy
    assert [value.name for value in onnx.load(target).graph.input] == ["x"]
    assert normfold.optimize(target).is_copy


def test_a_cleanup_that_cannot_be_proven_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    unsure = Verification(Equivalence.INCONCLUSIVE)
    monkeypatch.setattr(pipeline, "prove", lambda *_: unsure)
    model = parse(NEEDLESS)
    result = normfold.optimize(model)
    assert result.is_copy
    assert result.verification
    assert any("the cleanup was undone" in note for note in result.notes)


SCALED = "(float[N,3,4,4] x) => (float[N,3,4,4] y) <float[3,1,1] k, float[3,1,1] t> { a = Relu(x) b = Mul(a, k) "
SCALED += "c = Add(b, t) y = Relu(c) }"


def measuring(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[ir.Model], float]) -> None:
    """Let a model take the time that ``seconds`` says."""
    monkeypatch.setattr(Stopwatch, "times_as_fast", lambda _, one, other: seconds(one) / seconds(other))


def test_what_is_slower_here_is_undone_with_a_reason_that_the_file_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, lambda model: 1.0 / len(model.graph))
    raw, _ = conv_bn_pair()
    result = normfold.optimize(raw, measure=True)
    assert not result.changes
    assert {obstacle.reason for verdict in result.kept for obstacle in verdict.obstacles} == {Reason.SLOWER_HERE}
    assert any("measured on this machine: " in note for note in result.notes)
    assert {"guard", "measure"} <= result.seconds.keys()
    assert not normfold.inspect(result.model).changes


def test_a_new_batchnorm_is_written_where_it_is_asked_for_or_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = parse(SCALED)
    assert not normfold.optimize(model).is_changed
    asked = normfold.optimize(model, new_batchnorm=True)
    assert [node.op_type for node in asked.model.graph.node] == ["Relu", "BatchNormalization", "Relu"]
    assert any("one BatchNormalization was written" in note for note in asked.notes)
    measuring(monkeypatch, lambda model: len(model.graph))
    assert len(normfold.optimize(model, measure=True).model.graph.node) == 3
    measuring(monkeypatch, lambda model: 1.0)
    assert len(normfold.optimize(model, measure=True).model.graph.node) == 4


def test_parameters_that_fit_no_channel_end_the_run_where_the_runtime_refuses_them_too() -> None:
    text = (
        "(float[2,279,20] x) => (float[2,279,24] y) <float[20,24] w, float[24] g, float[24] b, float[24] m,"
        "float[24] var> { a = MatMul(x, w) y = BatchNormalization(a, g, b, m, var) }"
    )
    with pytest.raises(normfold.SourceError, match="y: 24 parameters for 279 channels; ONNX Runtime: "):
        normfold.optimize(parse(text))
    with pytest.raises(normfold.SourceError, match="24 parameters for 279 channels"):
        normfold.inspect(parse(text))


def test_an_unchanged_model_is_converted_once_to_look_at_and_once_to_work_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of 200,000 operators takes a second for each conversion."""
    convert, calls = ir.from_proto, iter(range(1, 100))
    monkeypatch.setattr(ir, "from_proto", lambda proto: next(calls) and convert(proto))
    result = normfold.optimize(parse("(float[N] x) => (float[N] y) { h = Relu(x) y = Sigmoid(h) }"))
    assert result.report().before == result.report().after
    assert not result.is_changed
    assert next(calls) == 3
