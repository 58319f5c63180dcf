"""Weights behind what an activation turns into zeros are fed with other values."""

from __future__ import annotations

import numpy as np
import pytest

from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, Site, prove
from normfold.verify.inputs.roles import InputConstraints
from normfold.verify.numeric.rounding_noise import Tolerance
from normfold.verify.regions.drawing import RegionInput
from normfold.verify.regions.feeds import RegionFeeds
from tests.onnx_text import parse
from tests.verify.nets import edited

# -- what a feed does not show -----------------------------------------------------------------------------------------
BEHIND_ZEROS = """(float[1,3,8,8] x) => (float[1,4,6,6] y)
    <float[8,3,3,3] w0, float[8] below = {-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4}, float[4,8,1,1] w1>
    { a = Conv(x, w0, below) r = Relu(a) y = Conv(r, w1) }"""


@pytest.mark.parametrize("kind", ["Relu", "HardSigmoid", "HardSwish", "ThresholdedRelu", "Sigmoid"])
def test_a_fault_in_weights_that_only_get_zeros_is_found(kind: str) -> None:
    raw = parse(BEHIND_ZEROS.replace("Relu", kind))
    broken = edited(raw, "w1", lambda w: w * 1.001)
    result = prove(raw, broken, [Site("a", "first"), Site("y", "second")])
    assert result.verdict is Equivalence.DIFFERENT
    assert result.failing_folds == ("second",)
    assert result.failures[0].feed.startswith("its own")
    assert prove(raw, raw, [Site("a", "first"), Site("y", "second")])


def test_a_slope_that_no_value_meets_is_compared() -> None:
    raw = parse(
        """(float[1,3,8,8] x) => (float[1,2,8,8] y) <float[2,3,1,1] w, float[2] above = {5e4, 0}, float[2,1,1] slope>
        { a = Conv(x, w, above) y = PRelu(a, slope) }"""
    )
    sites = [Site("a", "first"), Site("y", "second")]
    assert prove(raw, raw, sites)
    assert prove(raw, edited(raw, "slope", lambda w: w * [[[1.01]], [[1]]]), sites).failing_folds == ("second",)


ALIASED = {
    "twice": ("a = Conv(x, w0, below) b = Identity(a) r = Relu(a) s = Relu(b)", "s"),
    "once": ("a = Conv(x, w0, below) b = Identity(a) r = Relu(a)", "r"),
    "of the other": ("b = Conv(x, w0, below) r = Relu(b)", "r"),
}


@pytest.mark.parametrize("one", ALIASED)
@pytest.mark.parametrize("other", ALIASED)
def test_a_value_with_two_names_is_no_fault(one: str, other: str) -> None:
    """One model makes the rest from one of its names, which gets other signs, and the other from another."""
    text = """(float[1,3,8,8] x) => (float[1,4,6,6] y, float[1,8,6,6] r, float[1,8,6,6] b)
        <float[8,3,3,3] w0, float[8] below = {-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4}, float[4,8,1,1] w1>
        { NODES y = Conv(READ, w1) }"""
    raw, same = (parse(text.replace("NODES", ALIASED[k][0]).replace("READ", ALIASED[k][1])) for k in (one, other))
    assert prove(raw, same, [Site("a", "first"), Site("r", "second"), Site("y", "third")])


def test_a_channel_of_a_sequence_that_only_gets_zeros_is_found() -> None:
    raw = parse(
        """(float[1,16,3] x) => (float[1,16,5] y) <float[3,4] w0, float[4] below = {0,0,-5e4,0}, float[4,5] w1>
        { m = MatMul(x, w0) a = Add(m, below) r = Relu(a) y = MatMul(r, w1) }"""
    )

    def off(w: np.ndarray) -> np.ndarray:
        w[2] *= 1.01
        return w

    result = prove(raw, edited(raw, "w1", off), [Site("a", "first"), Site("y", "second")])
    assert result.failing_folds == ("second",)


def test_numbers_around_a_centre_are_more_than_one_in_their_type() -> None:
    """Float32 holds no number between 1,699,999,872 and 1,700,000,000, and Relu hides one of the two."""
    head = "(float[N,4] x) => (float[N,4] y) <float a = {1699999872}"
    raw = parse(head + ", float b = {37}> { c = Sub(x, a) d = Sub(c, b) y = Relu(d) }")
    wrong = parse(head + "> { e = Sub(x, a) y = Relu(e) }")
    assert prove(raw, wrong, [Site("y", "fold")]).verdict is Equivalence.DIFFERENT


def test_the_name_of_an_input_decides_no_tolerance() -> None:
    model = load(
        parse("(float[1,4] centre) => (float[1,4] y) <float[4] t = {1,2,3,4}> { a = Add(centre, t) y = Relu(a) }")
    )
    base = np.zeros((1, 4), np.float32)
    given = RegionInput("centre", base, (1, 4), (-np.inf, np.inf), InputConstraints(), is_exact=True)
    feeds = list(RegionFeeds([model], [given], 0).feeds({"centre": (1, 4)}, 0, lambda asked, fed: [{} for _ in fed]))
    assert {feed.tolerance for feed in feeds if "around the centre of an affine" in feed.text} == {Tolerance.AT_CENTRE}
    assert {feed.tolerance for feed in feeds if "around the centre of an affine" not in feed.text} == {Tolerance.LOCAL}
    assert any("centre around the limits" in feed.text for feed in feeds)
