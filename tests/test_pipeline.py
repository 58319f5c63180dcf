"""A fold that goes wrong inside the engine is caught, named, undone, and everything else is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import normfold
from normfold import pipeline
from normfold.constants.simplify import InferredFacts, apply_facts, simplify
from normfold.findings.reason import Reason
from normfold.graph.editor import Editor
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

    monkeypatch.setattr(pipeline, "simplify", spoiling_simplify)
    monkeypatch.setattr(pipeline, "apply_facts", spoiling_apply)
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
    def full(model: ir.Model) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(pipeline, "streamed", full)
    result = normfold.optimize(conv_bn_pair()[0])
    assert result.verification
    assert len(result.verification.sites) == 3


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


def test_a_cleanup_that_cannot_be_proven_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    unsure = Verification(Equivalence.INCONCLUSIVE)
    monkeypatch.setattr(pipeline, "prove", lambda *_: unsure)
    model = parse(NEEDLESS)
    result = normfold.optimize(model)
    assert result.is_copy
    assert result.verification
    assert any("the cleanup was undone" in note for note in result.notes)
