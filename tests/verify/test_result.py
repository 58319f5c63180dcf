"""A proof that cannot decide says why and what to do."""

from __future__ import annotations

import pytest

from normfold.verify import Equivalence, prove
from tests.onnx_text import parse

UNDECIDED = {
    "a random operator without a seed": (
        "(float[4,4] x) => (float[4,4] y) { r = RandomNormalLike(x) y = Add(x, r) }",
        "is random",
    ),
    "an operator in a body that no kernel has": (
        """(float[4,4] x, bool b) => (float[4,4] y) {
            y = If(b) <then_branch = t () => (float[4,4] p) { p = test.Unknown(x) },
                       else_branch = e () => (float[4,4] q) { q = Neg(x) }>
        }""",
        "cannot serve as reference",
    ),
    "nothing but NaN": (
        "(float[4,4] x) => (float[4,4] y) <float c = {-1}> { z = Abs(x) n = Mul(z, c) m = Add(n, c) y = Log(m) }",
        "only gives NaN",
    ),
}


@pytest.mark.parametrize(("text", "reason"), UNDECIDED.values(), ids=UNDECIDED.keys())
def test_undecided_says_why_and_what_to_do(text: str, reason: str) -> None:
    model = parse(text, domains='"test":1') if "test." in text else parse(text)
    result = prove(model, model)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert reason in str(result)
    assert not result
