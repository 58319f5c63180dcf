"""What is different, what cannot be told, and what only looks different."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import normfold
from normfold.verify import Equivalence, ProofOptions, Site, Stage, prove
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited

UNDECIDED = {
    "a random operator without a seed": (
        "(float[4,4] x) => (float[4,4] y) { r = RandomNormalLike(x) y = Add(x, r) }",
        "is random",
    ),
    "an operator that nobody knows": (
        "(float[4,4] x) => (float[4,4] y) { y = test.Nobody(x) }",
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


def test_empty_named_training_outputs_never_reach_the_runtime() -> None:
    """ONNX Runtime 1.31 dies on them at DISABLE_ALL, and the test with it."""
    model = parse(
        """(float[2,4,3] x) => (float[2,4,3] y) <float[4] s, float[4] b, float[4] m, float[4] var>
        { y = BatchNormalization<training_mode=1>(x, s, b, m, var) }"""
    )
    model.graph.node[0].output.extend(["", ""])
    result = prove(model, model)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "crashes ONNX Runtime" in str(result)


def test_a_random_operator_with_a_seed_is_compared() -> None:
    text = """(float[4,4] x) => (float[4,4] y) <float[4,4] w>
        { r = RandomNormalLike<seed=3.0>(x) a = MatMul(x, w) y = Add(a, r) }"""
    model = parse(text)
    assert prove(model, model)
    assert prove(model, edited(model, "w", lambda w: w * 1.01)).verdict is Equivalence.DIFFERENT


def test_nan_at_the_same_place_is_no_difference() -> None:
    model = parse("(float[4,4] x) => (float[4,4] y) <float[4] g> { l = Sqrt(x) y = Mul(l, g) }")
    assert prove(model, model)
    assert prove(model, edited(model, "g", lambda g: g * 1.001)).verdict is Equivalence.DIFFERENT


def test_other_inputs_or_outputs_are_a_difference() -> None:
    one = parse("(float[2] x) => (float[2] y) { y = Relu(x) }")
    other = parse("(float[2] z) => (float[2] y) { y = Relu(z) }")
    result = prove(one, other)
    assert result.verdict is Equivalence.DIFFERENT
    assert "expected the inputs x, got z" in str(result)


def test_an_argmax_of_equal_scores_may_fall_either_way() -> None:
    """Column 1 repeats column 0 up to the last digit, so which of them wins is rounding."""
    text = "(float[N,16] x) => (int64[N,1] y, float[N,4] z) <float[16,4] w> { z = MatMul(x, w) y = ArgMax<axis=1>(z) }"

    def twin(factor: float) -> onnx.ModelProto:
        return edited(parse(text), "w", lambda w: np.stack([w[:, 0], w[:, 0] * np.float32(factor), *w.T[2:]], axis=1))

    base = twin(1 - 2**-23)
    result = prove(base, twin(1 + 2**-22), (), ProofOptions(input_specs=("x=64x16",)))
    assert result
    assert any("decides between values that tie" in note for note in result.notes)
    assert prove(base, twin(1.01), (), ProofOptions(input_specs=("x=64x16",))).verdict is Equivalence.DIFFERENT


def test_a_flipped_index_without_a_tie_is_a_difference() -> None:
    text = "(float[N,16] x) => (int64[N,1] y) <float[16,4] w> { z = MatMul(x, w) y = ArgMax<axis=1>(z) }"
    swapped = edited(parse(text), "w", lambda w: w[:, [1, 0, 2, 3]])
    assert prove(parse(text), swapped).verdict is Equivalence.DIFFERENT


def test_a_type_without_kernel_is_compared_in_float32() -> None:
    raw, folded = conv_bn_pair(kind=np.float64)
    sites = [Site(f"bn{i}", f"norm{i}") for i in range(3)]
    result = prove(raw, folded, sites)
    assert result
    assert any("compared in float32" in note for note in result.notes)
    assert prove(raw, edited(folded, "b2", lambda b: b * 1.01), sites).failing_folds == ("norm2",)


def test_bfloat16_is_compared_in_float32() -> None:
    def linear(factor: float) -> onnx.ModelProto:
        weight = np.random.default_rng(0).normal(size=(8, 4)) * factor
        tensor = numpy_helper.from_array(weight.astype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)), "w")
        info = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, ["N", c]) for n, c in (("x", 8), ("y", 4))]
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", info[:1], info[1:], [tensor])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    result = prove(linear(1.0), linear(1.0))
    assert result
    assert any("compared in float32" in note for note in result.notes)
    assert prove(linear(1.0), linear(1.1)).verdict is Equivalence.DIFFERENT


def test_external_data_is_read_from_beside_the_model(tmp_path: Path) -> None:
    raw, folded = conv_bn_pair(channels=16)
    paths = []
    for name, model in (("raw", raw), ("folded", folded), ("wrong", edited(folded, "w1", lambda w: w * 1.01))):
        paths.append(tmp_path / name / "m.onnx")
        paths[-1].parent.mkdir()
        onnx.save(model, paths[-1], save_as_external_data=True, location="m.bin", size_threshold=0)
    sites = [Site(f"bn{i}", f"norm{i}") for i in range(3)]
    assert prove(paths[0], paths[1], sites)
    assert prove(paths[0], paths[2], sites).failing_folds == ("norm1",)
    again = onnx.load(paths[1], load_external_data=False)
    assert prove(paths[0], again, sites, ProofOptions(folder=str(paths[1].parent)))


def test_a_model_that_amplifies_rounding_is_proved_at_its_sites_only() -> None:
    """x -> 4x(1-x) sixty times: after that no digit of the output is left, whoever computes it."""
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


def test_behind_a_random_operator_the_sites_are_compared_with_equal_draws() -> None:
    raw = parse("""(float[N,8] x) => (float[N,8] y) <float[8,8] w, float[8] g>
        { a = MatMul(x, w) b = Mul(a, g) r = RandomNormalLike(b) y = Add(b, r) }""")
    gain = {t.name: numpy_helper.to_array(t) for t in raw.graph.initializer}
    folded = edited(raw, "w", lambda w: w * gain["g"])
    folded.graph.node[0].output[0] = "b"
    del folded.graph.node[1]
    assert prove(raw, folded, [Site("b", "scale")])
    assert prove(raw, edited(folded, "w", lambda w: w * 1.001), [Site("b", "scale")]).failing_folds == ("scale",)
    assert prove(raw, folded).verdict is Equivalence.INCONCLUSIVE


def test_a_model_that_never_ends_is_stopped() -> None:
    text = """(float[2] x) => (float[2] y) <int64 n = {1000000000}>
        { y = Loop(n, , x)
            <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity(c) w = Neg(v) }> }"""
    model = parse(text)
    result = prove(model, model, (), ProofOptions(seconds=0.5))
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "takes too long" in str(result)


@pytest.mark.parametrize("sites", [(), (Site("y", "fold"),)])
def test_a_candidate_that_is_slow_is_not_wrong_for_that(sites: tuple[Site, ...]) -> None:
    turns = """(float[2] x) => (float[2] y) <int64 n = {@}>
        { y = Loop(n, , x)
            <body = b (int64 i, bool c, float[2] v) => (bool d, float[2] w) { d = Identity(c) w = Neg(v) }> }"""
    quick, slow = (parse(turns.replace("@", number)) for number in ("2", "1000000000"))
    result = prove(quick, slow, sites, ProofOptions(seconds=0.5))
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "takes too long: more than 0.5 s; pass smaller inputs" in str(result)


def test_without_sites_every_feed_counts_though_the_levels_take_turns() -> None:
    """Only the second feed, signed numbers at scales up to 10, leaves the bounds; the first is as a user runs it."""
    bounded = parse("(float[16,64] x) => (float[16,64] y) <float a = {-6.5}, float b = {6.5}> { y = Clip(x, a, b) }")
    free = parse("(float[16,64] x) => (float[16,64] y) { y = Identity(x) }")
    assert prove(bounded, free, (), ProofOptions(feeds=1))
    result = prove(bounded, free, (), ProofOptions(feeds=2))
    assert result.verdict is Equivalence.DIFFERENT
    assert {(c.stage, c.feed.split()[0], c.passed) for c in result.outputs} == {
        (Stage.DEFAULT, "normal", True),
        (Stage.UNOPTIMIZED, "scales", False),
    }


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
    assert any("feed wild.npz was set aside" in note for note in result.notes)
    assert {c.feed for c in result.outputs} == {"calm.npz"}
    assert prove(raw, moved, (), ProofOptions(inputs=both.inputs[:1])).verdict is Equivalence.INCONCLUSIVE
    assert prove(raw, edited(raw, "w", lambda w: w * 1.001), (), both).verdict is Equivalence.DIFFERENT


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
    assert prove(raw, folded, [Site("y", "norm")])
    assert prove(raw, edited(folded, "b", lambda b: b * 1.01), [Site("y", "norm")]).failing_folds == ("norm",)


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


def test_models_that_take_only_empty_inputs_are_compared_with_that_size_free() -> None:
    raw = parse("(float[0,8] x) => (float[0,4] y) <float[8,4] w, float[4] g> { a = MatMul(x, w) y = Mul(a, g) }")
    result = normfold.optimize(raw)
    assert result.verification
    assert "compared with it free" in str(result.verification)
    assert len(result.changes) == 1
    assert prove(raw, edited(result.model, "w_folded", lambda w: w * 1.001), [Site("y", "y")]).failing_folds == ("y",)


def test_models_that_can_only_be_empty_are_equal() -> None:
    model = parse("(float[0,8] x) => (float[0,4] y) <int64[2] s = {0, 4}> { y = Reshape<allowzero=1>(x, s) }")
    result = prove(model, model)
    assert result
    assert "every output is empty" in str(result)


def test_outputs_that_happen_to_be_empty_tell_nothing() -> None:
    model = parse("(float[N,8] x) => (float[N,K] y) <int64[1] z = {0}, int64[1] one = {1}> { y = Slice(x, z, z, one) }")
    result = prove(model, model)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "every output is empty" in str(result)


def test_a_model_that_computes_in_float16_is_granted_what_that_loses() -> None:
    fine = parse("(float[N,8] x) => (float[N,8] y) <float[8,8] w> { a = MatMul(x, w) y = Relu(a) }")
    coarse = parse("""(float[N,8] x) => (float[N,8] y) <float16[8,8] w>
        { h = Cast<to=10>(x) a = MatMul(h, w) r = Relu(a) y = Cast<to=1>(r) }""")
    weight = numpy_helper.to_array(fine.graph.initializer[0])
    result = prove(fine, edited(coarse, "w", lambda w: weight))
    assert result
    assert any("computes in float16" in note for note in result.notes)
    assert prove(fine, edited(coarse, "w", lambda w: weight * 1.05)).verdict is Equivalence.DIFFERENT


def test_an_input_of_another_type_is_a_difference() -> None:
    one = parse("(float[2] x) => (float[2] y) { y = Relu(x) }")
    other = parse("(float16[2] x) => (float[2] y) { r = Relu(x) y = Cast<to=1>(r) }")
    result = prove(one, other)
    assert result.verdict is Equivalence.DIFFERENT
    assert "expected the input x as float, got float16" in str(result)


def test_a_sequence_of_another_length_is_another_result() -> None:
    def split(sizes: str) -> onnx.ModelProto:
        return parse(
            f"(float[4,3] x) => (seq(float[N,3]) y) {{ k = Constant<value_ints=[{sizes}]>() "
            "y = SplitToSequence<axis=0>(x, k) }"
        )

    assert normfold.verify(split("2,2"), split("2,2"))
    found = normfold.verify(split("2,2"), split("2,1,1"))
    assert found.verdict is Equivalence.DIFFERENT
    assert found.failures[0].note == "expected 2 items, got 3"
