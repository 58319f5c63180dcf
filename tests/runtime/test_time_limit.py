"""A model that takes too long is stopped, and is not wrong for that."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, ProofOptions, Site, prove, question
from tests.onnx_text import parse
from tests.sweeps.hostile.cases import CASES


def test_a_model_that_never_ends_is_stopped() -> None:
    text = """(float[2] x) => (float[2] y) <int64 n = {1000000000}>
        { y = Loop(n, , x)
            <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity(c) w = Neg(v) }> }"""
    model = parse(text)
    result = prove(model, model, (), ProofOptions(seconds=0.5))
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "takes too long" in str(result)


def test_a_loop_has_little_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turns may be 2^40; what has none has minutes."""
    monkeypatch.setattr(question, "LOOP_SECONDS", 0.3)
    model = onnx.load(CASES["endless_loop"](tmp_path))
    result = prove(model, model, ())
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "takes too long: more than 0.3 s" in str(result)
    plain = load(parse("(float[2] x) => (float[2] y) { y = Neg(x) }"))
    assert question.Question.of(plain, plain, ProofOptions()).watch.seconds == ProofOptions().seconds
    chosen = ProofOptions(input_specs=("x=2",))
    assert question.Question.of(load(model), load(model), chosen).watch.seconds == chosen.seconds, "the user's choice"


@pytest.mark.parametrize("sites", [(), (Site("y", "fold"),)])
def test_a_candidate_that_is_slow_is_not_wrong_for_that(sites: tuple[Site, ...]) -> None:
    turns = """(float[2] x) => (float[2] y) <int64 n = {@}>
        { y = Loop(n, , x)
            <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity(c) w = Neg(v) }> }"""
    quick, slow = (parse(turns.replace("@", number)) for number in ("2", "1000000000"))
    result = prove(quick, slow, sites, ProofOptions(seconds=0.5))
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "takes too long: more than 0.5 s; pass smaller inputs" in str(result)
