"""A model whose runs take long gets fewer feeds, and the proof says so."""

from __future__ import annotations

import importlib

import pytest

from normfold.verify import prove, verify
from tests.onnx_text import parse

accepted_inputs = importlib.import_module("normfold.verify.checks.accepted_inputs")
MODEL = "(float[N,4] x) => (float[N,3] y) <float[4,3] w> { y = MatMul(x, w) }"


def test_a_slow_model_gets_two_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = parse(MODEL)
    assert len(prove(model, model, []).feeds) == 4
    monkeypatch.setattr(accepted_inputs, "SLOW_SECONDS", -1.0)
    found = verify(model, model)
    assert len(found.feeds) == 2
    assert "two feeds only" in found.notes[0]
