"""The search backward: a value's label is the affine that its content shall take on."""

from __future__ import annotations

import numpy as np

from normfold.findings.reason import Reason
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from tests.fold.rows import BN4, Folds, Refuses, assert_sound, back, every, fold, operators
from tests.onnx_text import feeds_of, parse, run_in_float64, widened

BACKWARD = {
    "two norms on one conv, the second becomes an affine of the first": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) <float[4,3,1,1] v, "
        f"{BN4},float[4] g2, float[4] be2, float[4] m2, float[4] var2> "
        "{ c = Conv(x, v) y = BatchNormalization(c, g, be, m, var) "
        "z = BatchNormalization(c, g2, be2, m2, var2) }",
        "Conv BatchNormalization",
        kept="z",
    ),
    "two equal norms on one conv, both outputs of the graph": Folds(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) <float[4,3,1,1] v, {BN4}> "
        "{ c = Conv(x, v) y = BatchNormalization(c, g, be, m, var) "
        "z = BatchNormalization(c, g, be, m, var) }",
        "Conv Identity",
        "backward merge",
    ),
}
REFUSES = {
    "softmax": Refuses(back("N,4,6,6", "d = Softmax(c) y = BatchNormalization(d, g, be, m, var)"), "NF110 d, NF104 y"),
    "a conv that has another reader": Refuses(
        back(
            "N,4,6,6",
            "d = AveragePool<kernel_shape=[1,1]>(c) z = Relu(c) y = BatchNormalization(d, g, be, m, var)",
            outputs=", float[N,4,6,6] z",
        ),
        "NF103 z, NF104 y",
    ),
    "a conv that is an output": Refuses(
        back("N,4,6,6", "d = Relu(c) y = Mul(d, pos)", "float[4,1,1] pos", outputs=", float[N,4,6,6] c"),
        "NF104 y, NF104 y",
    ),
    "the conv is an output of the graph": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] c) <float[4,3,1,1] w, {BN4}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }",
        "NF104 y, NF104 y",
    ),
    "the conv has another reader": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) <float[4,3,1,1] w, {BN4}> "
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) z = Relu(c) }",
        "NF103 z, NF104 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_refuses = every(REFUSES)


CANCELS = (
    "(float[N,1,6,6] x) => (float[N,2,6,6] y, float[N,2,6,6] z) <float[2,1,1,1] w, float[2] g = {0.000001, 1},"
    "float[2] be = {5, 0}, float[2] m = {0, 0}, float[2] v = {1, 1}, float[2] g2, float[2] be2, float[2] m2,"
    "float[2] var2> { c = Conv(x, w) y = BatchNormalization(c, g, be, m, v)"
    " z = BatchNormalization(c, g2, be2, m2, var2) }"
)


def test_a_norm_is_not_computed_from_another_that_has_lost_its_digits() -> None:
    """y is almost constant in channel 0; z cannot be read off it. The other way around is exact."""
    result = assert_sound(parse(CANCELS), same_decisions_in_float64=False)
    assert operators(result.model) in ("Conv BatchNormalization", "Conv BatchNormalization BatchNormalization")


LORA = (
    "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] b, float[3,4] a, float k, float[4] s> "
    "{ c = Gemm(x, w, b) d = MatMul(x, a) e = Mul(d, k) f = Add(c, e) y = Mul(f, s) }"
)


def test_a_scale_passes_a_constant_factor_that_is_to_be_left() -> None:
    model = widened(parse(LORA))
    folded = fold(model, Selection(exclude={"e": Reason.ROLLED_BACK}))
    assert operators(folded.model) == "Gemm MatMul Mul Add"
    assert folded.sites(Outcome.KEPT) == ["e"]
    before, after = (run_in_float64(each, feeds_of(model)) for each in (model, folded.model))
    np.testing.assert_allclose(before["y"], after["y"], rtol=1e-10)
