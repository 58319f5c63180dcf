"""An original that sums badly is no measure of an operator that sums well, and still finds what is wrong."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import normfold
from normfold.findings.reason import Reason
from normfold.findings.verdict import Outcome
from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, ProofOptions, Site, prove
from normfold.verify.numeric.float64_sums import with_exact_sums
from tests.onnx_text import assert_close, feeds_of, parse, run_in_float64, run_in_ort
from tests.verify.nets import edited

# Channels last: ReduceMean adds 50,176 numbers one after another.
GROUPNORM = (
    "(float[N,112,112,16] x) => (float[N,112,112,16] y) <int64[5] split = {-1, 112, 112, 4, 4},"
    "int64[4] back = {-1, 112, 112, 16}, float eps = {0.001}, float[16] g, float[16] b>"
    "{ r = Reshape(x, split) m = ReduceMean<axes=[1,2,4]>(r) d = Sub(r, m) p = Mul(d, d)"
    "v = ReduceMean<axes=[1,2,4]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(d, s) q = Reshape(n, back) h = Mul(q, g)"
    "y = Add(h, b) }"
)


def test_a_norm_that_sums_better_than_the_original_is_no_difference() -> None:
    result = normfold.optimize(parse(GROUPNORM), new_batchnorm=True)
    assert [verdict.outcome for verdict in result.changes] == [Outcome.FUSED]
    assert result.verification


def test_a_wrong_scale_of_such_a_norm_is_found() -> None:
    original = parse(GROUPNORM)
    candidate = normfold.optimize(original, new_batchnorm=True).model
    (gamma,) = (tensor for tensor in candidate.graph.initializer if tensor.name.endswith("_gamma"))
    array = numpy_helper.to_array(gamma).copy()
    array[3] *= 1.002
    gamma.CopyFrom(numpy_helper.from_array(array, gamma.name))
    proof = prove(original, candidate, (Site("y", "y"),), ProofOptions())
    assert proof.verdict is Equivalence.DIFFERENT


def test_exact_sums_change_rounding_only_and_only_sums_of_floats() -> None:
    original = parse(
        "(float[2,3,4] x) => (float[2,1,1] y, int64[1] z) <int64[1] axes = {0}>"
        "{ y = ReduceMean<axes=[1,2]>(x) l = Shape(x) z = ReduceSum(l, axes) }"
    )
    exact = with_exact_sums(load(original))
    assert exact is not None
    assert [node.op_type for node in exact.graph.node] == ["Cast", "ReduceMean", "Cast", "Shape", "ReduceSum"]
    feeds = feeds_of(original)
    assert_close(
        run_in_ort(exact.skeleton, feeds, ["y", "z"]), run_in_ort(original, feeds, ["y", "z"]), note="own type"
    )
    assert_close(run_in_float64(exact.skeleton, feeds), run_in_float64(original, feeds), note="float64")
    assert with_exact_sums(load(parse("(float[2] x) => (float[2] y) { y = Relu(x) }"))) is None
    assert exact.graph.node[0].attribute[0].i == TensorProto.DOUBLE
    onnx.checker.check_model(exact.skeleton)


def test_rounding_that_a_dead_channel_enlarges_is_no_difference() -> None:
    """A dead channel: the running mean is the bias, by name too, and the variance is nothing, so what is left of their
    difference by rounding grows 300 times."""
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


@pytest.mark.parametrize(
    ("norm", "opset"),
    [
        ("InstanceNormalization(x, g, b)", 17),
        ("InstanceNormalization(x, g, b)", 20),
        ("LayerNormalization(x, g2, b2)", 17),
        ("LayerNormalization(x, g2, b2)", 20),
        ("GroupNormalization<num_groups = 3>(x, g, b)", 21),
    ],
)
def test_norms_are_computed_in_float64_too(norm: str, opset: int) -> None:
    model = parse(
        "(float[2,3,4,5] x) => (float[2,3,4,5] y) <float[3] g, float[3] b, float[5] g2, float[5] b2>"
        f"{{ n = {norm} y = Neg(n) }}",
        opset=opset,
        ir_version=10,
    )
    exact = with_exact_sums(load(model))
    assert exact is not None
    feeds = feeds_of(model)
    assert_close(run_in_float64(exact.skeleton, feeds), run_in_float64(model, feeds), note="float64")
    level = {"x": np.full((2, 3, 4, 5), 0.7, np.float32)}
    bias = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    expected = -(bias["b"][:, None, None] if "(x, g, b)" in norm else bias["b2"])
    np.testing.assert_array_equal(
        run_in_ort(exact.skeleton, level, ["y"])["y"], np.broadcast_to(expected, (2, 3, 4, 5))
    )


def test_a_fold_before_a_norm_of_what_a_relu_has_made_equal_is_right() -> None:
    text = (
        "(float[N,3,H,W] x) => (float[N,2,I,J] y) <float[8,3,3,3] w, float[8] c, float[8] g = {1, 1, 1, 1, 1, 1, 1, 1},"
        " float[8] k = {0, 0, 0, 0, 0, 0, 0, 0}, float[8] m = {0, 0, 0, 0, 0, 0, 0, 0},"
        " float[8] var = {1, 1, 1, 1, 1, 1, 1, 1}, float[8,4,2,2] u, float[4] d, float[4] a = {1, 1, 1, 1},"
        " float[4] o = {0, 0, 0, 0}, float[2,4,1,1] h>"
        "{ p = Conv<pads = [1,1,1,1], strides = [2,2]>(x, w, c) q = BatchNormalization(p, g, k, m, var) r = Relu(q)"
        " t = ConvTranspose<strides = [2,2]>(r, u, d) i = InstanceNormalization(t, a, o) y = Conv(i, h) }"
    )
    for seed in range(3):
        result = normfold.optimize(parse(text, seed=seed))
        assert Reason.ROLLED_BACK not in {verdict.obstacles[0].reason for verdict in result.kept}, seed
