"""Rounding noise: how much of it a model makes, and what is compared where it decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, ProofOptions, Site, prove
from normfold.verify.numeric.rounding_noise import UlpPerturbation, moved_weights
from tests.onnx_text import parse
from tests.verify.nets import edited


def test_a_model_that_amplifies_rounding_is_proved_at_its_sites_only() -> None:
    """x -> 4x(1-x) sixty times: after that no digit of the output is left, however it is computed."""
    steps = " ".join(f"s{i} = Mul(v{i}, v{i}) d{i} = Sub(v{i}, s{i}) v{i + 1} = Mul(d{i}, four)" for i in range(60))
    text = f"""(float[N,8] x) => (float[N,8] y) <float[8,8] w, float[8] g, float four = {{4}}>
        {{ a = MatMul(x, w) b = Mul(a, g) v0 = Sigmoid(b) {steps} y = Identity(v60) }}"""
    raw = parse(text)
    folded = onnx.ModelProto()
    folded.CopyFrom(raw)
    gain = {t.name: numpy_helper.to_array(t) for t in raw.graph.initializer}
    folded.graph.node[0].CopyFrom(helper.make_node("MatMul", ["x", "w"], ["b"]))
    del folded.graph.node[1]
    folded = edited(folded, "w", lambda w: w * gain["g"])
    result = prove(raw, folded, [Site("b", "scale")])
    assert result
    assert "rounding noise" in str(result)
    assert prove(raw, folded).verdict is Equivalence.INCONCLUSIVE
    assert prove(raw, edited(folded, "w", lambda w: w * 1.001), [Site("b", "scale")]).failing_folds == ("scale",)


def test_a_feed_that_noise_decides_is_set_aside_where_another_tells(tmp_path: Path) -> None:
    """x -> 4x(1-x) sixty times leaves no digit of what begins between 0 and 1, but 0 stays 0."""
    steps = " ".join(f"s{i} = Mul(v{i}, v{i}) d{i} = Sub(v{i}, s{i}) v{i + 1} = Mul(d{i}, four)" for i in range(60))
    text = f"""(float[N,8] x) => (float[N,8] y) <float[8,8] w, float zero = {{0}}, float four = {{4}}>
        {{ b = MatMul(x, w) v0 = Max(b, zero) {steps} y = Add(v60, b) }}"""
    raw = edited(parse(text), "w", np.abs)
    moved = edited(raw, "w", lambda w: w * np.float32(1 + 2**-22))
    rng = np.random.default_rng(0)
    for name, sign in (("wild", 0.02), ("calm", -1.0)):
        np.savez(tmp_path / f"{name}.npz", x=(sign * rng.uniform(1, 2, (2, 8))).astype(np.float32))
    both = ProofOptions(inputs=(str(tmp_path / "wild.npz"), str(tmp_path / "calm.npz")))
    result = prove(raw, moved, (), both)
    assert result
    assert any("y, disable_all: feed wild.npz was set aside" in note for note in result.notes)
    assert {c.feed for c in result.outputs} == {"calm.npz"}
    assert prove(raw, moved, (), ProofOptions(inputs=both.given_inputs[:1])).verdict is Equivalence.INCONCLUSIVE
    assert prove(raw, edited(raw, "w", lambda w: w * 1.001), (), both).verdict is Equivalence.DIFFERENT


def test_a_layer_scale_among_the_smallest_numbers_of_float16_is_no_difference() -> None:
    """1e-5 has eight bits in float16, and so have the weights that it is folded into."""
    raw = parse(
        "(float16[N,32] x) => (float16[N,16] y) <float16[32,16] w, float16[16] g> { a = MatMul(x, w) y = Mul(a, g) }",
        values={"g": [1e-5] * 16},
    )
    gain = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in raw.graph.initializer}
    folded = edited(raw, "w", lambda w: (w.astype(np.float64) * gain["g"]).astype(np.float16))
    folded.graph.node[0].output[0] = "y"
    del folded.graph.node[1]
    for seed in range(5):
        assert prove(raw, folded, [Site("y", "scale")], ProofOptions(seed=seed))
    assert prove(raw, edited(folded, "w", lambda w: w * 1.5), [Site("y", "scale")]).failing_folds == ("scale",)


def test_a_model_that_computes_in_float16_is_granted_what_that_loses() -> None:
    fine = parse("(float[N,8] x) => (float[N,8] y) <float[8,8] w> { a = MatMul(x, w) y = Relu(a) }")
    coarse = parse("""(float[N,8] x) => (float[N,8] y) <float16[8,8] w>
        { h = Cast<to=10>(x) a = MatMul(h, w) r = Relu(a) y = Cast<to=1>(r) }""")
    weight = numpy_helper.to_array(fine.graph.initializer[0])
    result = prove(fine, edited(coarse, "w", lambda w: weight))
    assert result
    assert any("computes in float16" in note for note in result.notes)
    assert prove(fine, edited(coarse, "w", lambda w: weight * 1.05)).verdict is Equivalence.DIFFERENT


def test_weights_in_branches_are_moved_and_no_number_becomes_infinite() -> None:
    """The lowest number of float32 stands for minus infinity in masks."""
    model = parse(
        "(float[N,4] x, bool c) => (float[N,4] y) { y = If (c) < "
        "then_branch = t () => (float[N,4] p) { k = Constant<value_float = 1.0>() p = Mul(x, k) }, "
        "else_branch = e () => (float[N,4] q) { l = Constant<value = float {-3.4028235e38}>() q = Add(x, l) } > }"
    )
    then = model.graph.node[0].attribute[0].g
    then.node[0].attribute[0].CopyFrom(
        helper.make_attribute("value", numpy_helper.from_array(np.array([1.5, 2.5], np.float32)))
    )
    moved = [moved_weights(load(model), UlpPerturbation(seed=seed)) for seed in range(4)]
    bodies = [[attribute.g for attribute in each.skeleton.graph.node[0].attribute] for each in moved]
    values = [[numpy_helper.to_array(body.node[0].attribute[0].t) for body in each] for each in bodies]
    assert all((one != [1.5, 2.5]).all() and np.allclose(one, [1.5, 2.5]) for one, _ in values)
    assert all(np.isfinite(lowest).all() for _, lowest in values)
