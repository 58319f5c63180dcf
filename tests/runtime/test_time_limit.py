"""A model that takes too long is stopped, and is not wrong for that."""

from __future__ import annotations

import pytest

from normfold.verify import Equivalence, ProofOptions, Site, prove
from tests.onnx_text import parse


def test_a_model_that_never_ends_is_stopped() -> None:
    text = """(float[2] x) => (float[2] y) <int64 n = {1000000000}>
        { y = Loop(n, , x)
            <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity(c) w = Neg(v) }> }"""
    model = parse(text)
    result = prove(model, model, (), ProofOptions(seconds=0.5))
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "takes too long" in str(result)


@pytest.mark.parametrize("sites", [(), (Site("y", "fold"),)])
def test_a_candidate_that_is_slow_is_not_wrong_for_that(sites: tuple[Site, ...]) -> None:
    turns = """(float[2] x) => (float[2] y) <int64 n = {@}>
        { y = Loop(n, , x)
            <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity(c) w = Neg(v) }> }"""
    quick, slow = (parse(turns.replace("@", number)) for number in ("2", "1000000000"))
    result = prove(quick, slow, sites, ProofOptions(seconds=0.5))
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "takes too long: more than 0.5 s; pass smaller inputs" in str(result)
