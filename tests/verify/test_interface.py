"""Inputs and outputs of two models that are compared."""

from __future__ import annotations

import pytest

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


NET = "(float[{x}] x) => (float[{y}] y) <float[4,3,1,1] w, float[4] s> {{ c = Conv(x, w) y = {last} }}"


@pytest.mark.parametrize("sizes", ["N,3,4,4", "N,C,H,W"])
def test_a_model_that_takes_fewer_sizes_is_compared_at_those(sizes: str) -> None:
    one = parse(NET.format(x=sizes, y="N,4,H,W", last="BatchNormalization(c, s, s, s, s)"))
    other = parse(NET.format(x="2,3,4,4", y="2,4,4,4", last="BatchNormalization(c, s, s, s, s)"))
    result = prove(one, other)
    assert result.verdict is Equivalence.EQUIVALENT
    assert "the second model only takes x as 2x3x4x4, so the models were compared there" in str(result)
    assert prove(other, one).verdict is Equivalence.EQUIVALENT
    wrong = parse(NET.format(x="2,3,4,4", y="2,4,4,4", last="Abs(c)"))
    assert prove(one, wrong).verdict is Equivalence.DIFFERENT


def test_a_model_that_declares_no_sizes_is_compared_at_those_of_the_other() -> None:
    one, other = (parse(NET.format(x="2,3,4,4", y="2,4,4,4", last="Abs(c)")) for _ in range(2))
    one.graph.input[0].type.tensor_type.ClearField("shape")
    result = prove(one, other)
    assert result.verdict is Equivalence.EQUIVALENT
    assert "the second model only takes x as 2x3x4x4" in str(result)


@pytest.mark.parametrize("sizes", ["1,3,4,4", "2,3,4"])
def test_models_of_which_no_input_fits_both_cannot_be_compared(sizes: str) -> None:
    one = parse("(float[2,3,4,4] x) => (float[2,3,4,4] y) { y = Relu(x) }")
    other = parse(f"(float[{sizes}] x) => (float[{sizes}] y) {{ y = Relu(x) }}")
    result = prove(one, other)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "expected the input x as 2x3x4x4, got " in str(result)
