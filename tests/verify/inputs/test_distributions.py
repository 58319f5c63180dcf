"""How the numbers of a made-up input are distributed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from normfold.runtime.loaded_model import load
from normfold.verify.inputs.distributions import FEW_INTEGERS, IN_TURN, Distribution, draw_array
from normfold.verify.inputs.generate import Feeder
from normfold.verify.inputs.roles import InputConstraints
from tests.onnx_text import parse


def drawn(distribution: Distribution, elem_type: int = TensorProto.FLOAT) -> np.ndarray:
    rng = np.random.default_rng(0)
    return draw_array(elem_type, (2, 16, 8, 8), InputConstraints(), distribution, 0, rng)


def test_each_distribution_is_what_it_is_called() -> None:
    kinds = (Distribution.NORMAL, Distribution.SCALES, Distribution.STRESS, Distribution.POSITIVE, Distribution.TINY)
    assert kinds == IN_TURN, "say here what a new one is like"
    normal, scales, stress, positive, tiny = map(drawn, kinds)
    assert normal.min() < -1 < 1 < normal.max()
    spread = scales.std(axis=(0, 2, 3))
    assert spread.max() > 5 * spread.min()
    deviation, mean = stress.std(axis=(0, 2, 3)), stress.mean(axis=(0, 2, 3))
    assert (deviation == 0).any(), "a constant channel"
    assert ((deviation > 0) & (deviation < 1e-2)).any(), "a tiny variance"
    assert (np.abs(mean) > 5).any(), "a large mean"
    assert ((deviation == 0) & (mean == 0)).any(), "zeros"
    assert positive.min() >= 0
    assert 0 < np.abs(tiny).max() < 0.1


def test_few_integers_are_drawn_where_others_are_rejected() -> None:
    found = [set(drawn(distribution, TensorProto.INT64).ravel()) for distribution in FEW_INTEGERS]
    assert found == [{0, 1}, {1}, {0}]


def test_feeds_take_the_distributions_in_turn() -> None:
    model = load(parse("(float[2,3] x) => (float[2,3] y) { y = Relu(x) }"))
    made = [next(Feeder.of(model).proposals(index))[0].distribution for index in range(len(IN_TURN) + 1)]
    assert made == [*IN_TURN, IN_TURN[0]]
    assert set(IN_TURN) | set(FEW_INTEGERS) | {Distribution.GIVEN} == set(Distribution), "each is drawn somewhere"


@pytest.mark.parametrize("distribution", Distribution)
def test_extreme_are_those_that_amplify_rounding(distribution: Distribution) -> None:
    assert distribution.is_extreme is (distribution.value in ("scales", "stress"))
