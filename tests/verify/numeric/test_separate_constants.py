"""A constant that two operators read has a copy for each where rounding is measured."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from normfold.verify import Site, prove
from tests.onnx_text import parse
from tests.verify.nets import edited


def test_rounding_of_a_constant_with_two_readers_is_no_difference() -> None:
    """A dead channel: the running mean is the bias, by name too, and the variance is nothing, so what is left of their
    difference by rounding grows 300 times. Moved together they would show no noise at all."""
    rng = np.random.default_rng(2)
    raw = parse(
        """(float[N,8,4,4] x) => (float[N,8,4,4] y) <float[8,8,1,1] w, float[8] b, float[8] g, float[8] k,
            float[8] nothing = {0, 0, 0, 0, 0, 0, 0, 0}>
        { z = Sub(x, x) mean = Identity(b) c = Conv(z, w, b) y = BatchNormalization(c, g, k, mean, nothing) }"""
    )
    raw = edited(raw, "k", lambda k: rng.normal(0, 0.01, k.shape))
    arrays = {t.name: numpy_helper.to_array(t) for t in raw.graph.initializer}
    folded = parse(
        "(float[N,8,4,4] x) => (float[N,8,4,4] y) <float[8,8,1,1] w, float[8] b> { z = Sub(x, x) y = Conv(z, w, b) }"
    )
    folded = edited(folded, "b", lambda b: arrays["k"])
    folded = edited(folded, "w", lambda w: arrays["w"] * (arrays["g"] / np.sqrt(np.float32(1e-5)))[:, None, None, None])
    assert prove(raw, folded, [Site("y", "norm")])
    assert prove(raw, edited(folded, "b", lambda b: b * 1.01), [Site("y", "norm")]).failing_folds == ("norm",)
