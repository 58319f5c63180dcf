"""Inputs and outputs without elements."""

from __future__ import annotations

import normfold
from normfold.verify import Equivalence, Site, prove
from tests.onnx_text import parse
from tests.verify.nets import edited


def test_models_that_take_only_empty_inputs_are_compared_with_that_size_free() -> None:
    raw = parse("(float[0,8] x) => (float[0,4] y) <float[8,4] w, float[4] g> { a = MatMul(x, w) y = Mul(a, g) }")
    result = normfold.optimize(raw)
    assert result.verification
    assert "compared with it free" in str(result.verification)
    assert len(result.changes) == 1
    assert prove(raw, edited(result.model, "w_folded", lambda w: w * 1.001), [Site("y", "y")]).failing_folds == ("y",)


def test_models_that_can_only_be_empty_are_equal() -> None:
    model = parse("(float[0,8] x) => (float[0,4] y) <int64[2] s = {0, 4}> { y = Reshape<allowzero=1>(x, s) }")
    result = prove(model, model)
    assert result
    assert "every output is empty" in str(result)


def test_outputs_that_happen_to_be_empty_tell_nothing() -> None:
    model = parse("(float[N,8] x) => (float[N,K] y) <int64[1] z = {0}, int64[1] one = {1}> { y = Slice(x, z, z, one) }")
    result = prove(model, model)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "every output is empty" in str(result)
