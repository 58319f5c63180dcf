"""A proof that cannot decide says why and what to do."""

from __future__ import annotations

import pytest

from normfold.verify import Comparison, Equivalence, Stage, Verification, prove
from normfold.verify.result import proof_sentence
from tests.onnx_text import parse

UNDECIDED = {
    "a random operator without a seed": (
        "(float[4,4] x) => (float[4,4] y) { r = RandomNormalLike(x) y = Add(x, r) }",
        "is random",
    ),
    "nothing but NaN": (
        "(float[4,4] x) => (float[4,4] y) <float c = {-1}> { z = Abs(x) n = Mul(z, c) m = Add(n, c) y = Log(m) }",
        "only gives NaN",
    ),
}


@pytest.mark.parametrize(("text", "reason"), UNDECIDED.values(), ids=UNDECIDED.keys())
def test_undecided_says_why_and_what_to_do(text: str, reason: str) -> None:
    model = parse(text)
    result = prove(model, model)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert reason in str(result)
    assert not result


def test_the_sentence_of_a_proof_shows_no_error_above_its_limit() -> None:
    """What the runtime's own optimizer changes is said in a note."""
    fine = Comparison("y", Stage.AT_SITE, True, relative=1e-7, tolerance=1e-6, margin=0.1)
    changed_by_runtime = Comparison("y", Stage.DEFAULT, True, relative=1e-2, tolerance=1e-4, margin=100.0)
    proof = Verification(Equivalence.EQUIVALENT, outputs=(changed_by_runtime,), sites=(fine,), notes=("a note",))
    assert "at 1 place, worst error 1e-07 of the value's range (limit 1e-06)" in proof_sentence(proof)
