"""Inputs and outputs of two models that are compared."""

from __future__ import annotations

from normfold.verify import Equivalence, prove
from tests.onnx_text import parse


def test_models_with_other_inputs_cannot_be_compared() -> None:
    one = parse("(float[2] x) => (float[2] y) { y = Relu(x) }")
    other = parse("(float[2] z) => (float[2] y) { y = Relu(z) }")
    result = prove(one, other)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "expected the inputs x, got z" in str(result)


def test_models_with_an_input_of_another_type_cannot_be_compared() -> None:
    one = parse("(float[2] x) => (float[2] y) { y = Relu(x) }")
    other = parse("(float16[2] x) => (float[2] y) { r = Relu(x) y = Cast<to=1>(r) }")
    result = prove(one, other)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "expected the input x as float, got float16" in str(result)


def test_other_outputs_are_a_difference() -> None:
    one = parse("(float[2] x) => (float[2] y) { y = Relu(x) }")
    other = parse("(float[2] x) => (float[2] z) { z = Relu(x) }")
    result = prove(one, other)
    assert result.verdict is Equivalence.DIFFERENT
    assert "expected the outputs y, got z" in str(result)
