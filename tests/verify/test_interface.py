"""Inputs and outputs of two models that are compared."""

from __future__ import annotations

from normfold.verify import Equivalence, prove
from tests.onnx_text import parse


def test_other_inputs_or_outputs_are_a_difference() -> None:
    one = parse("(float[2] x) => (float[2] y) { y = Relu(x) }")
    other = parse("(float[2] z) => (float[2] y) { y = Relu(z) }")
    result = prove(one, other)
    assert result.verdict is Equivalence.DIFFERENT
    assert "expected the inputs x, got z" in str(result)


def test_an_input_of_another_type_is_a_difference() -> None:
    one = parse("(float[2] x) => (float[2] y) { y = Relu(x) }")
    other = parse("(float16[2] x) => (float[2] y) { r = Relu(x) y = Cast<to=1>(r) }")
    result = prove(one, other)
    assert result.verdict is Equivalence.DIFFERENT
    assert "expected the input x as float, got float16" in str(result)
