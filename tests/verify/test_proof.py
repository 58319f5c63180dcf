"""A proof finds what is wrong, where it is made, and lets pass what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest

from normfold.verify import Equivalence, ProofCandidate, ProofOptions, Site, prove, prove_with_rollback
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited

pytest_plugins = ("pytester",)

SITES = tuple(Site(f"bn{i}", f"norm{i}") for i in range(3))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("seed", range(3))
def test_a_right_fold_passes(kind: type, seed: int) -> None:
    raw, folded = conv_bn_pair(seed=seed, kind=kind)
    result = prove(raw, folded, SITES, ProofOptions(seed=seed))
    assert result
    assert len(result.sites) == 3


@pytest.mark.parametrize("wrong_fold", range(3))
def test_one_percent_in_one_channel_of_one_weight_is_caught_and_named(wrong_fold: int) -> None:
    raw, folded = conv_bn_pair()

    def off(w: np.ndarray) -> np.ndarray:
        w[4] *= 1.01
        return w

    result = prove(raw, edited(folded, f"w{wrong_fold}", off), SITES)
    assert result.verdict is Equivalence.DIFFERENT
    assert result.failing_folds == (f"norm{wrong_fold}",)
    assert f"norm{wrong_fold}" in str(result)


def test_the_failing_fold_is_undone_and_the_rest_kept() -> None:
    raw, folded = conv_bn_pair()
    bad = edited(folded, "b1", np.zeros_like)

    def build(excluded: frozenset[str]) -> ProofCandidate[onnx.ModelProto]:
        return ProofCandidate(folded if "norm1" in excluded else bad, SITES)

    settled = prove_with_rollback(build, lambda built: prove(raw, built.model, built.sites))
    assert settled.undone == ("norm1",)
    assert settled.verification


def test_a_failed_assertion_shows_the_table(pytester: pytest.Pytester) -> None:
    raw, folded = conv_bn_pair()
    onnx.save(raw, pytester.path / "a.onnx")
    onnx.save(edited(folded, "w0", lambda w: w * 1.001), pytester.path / "b.onnx")
    pytester.makepyfile(
        """
        from normfold.verify import verify
        def test_same(): assert verify("a.onnx", "a.onnx")
        def test_other(): assert verify("a.onnx", "b.onnx")
        """
    )
    outcome = pytester.runpytest_inprocess()
    outcome.assert_outcomes(passed=1, failed=1)
    outcome.stdout.fnmatch_lines(
        [
            "*assert <different: 0 of 2 output comparisons and 0 of 1 sites pass; made by*",
            "*DIFFERS*relu2*default*",
        ]
    )


def test_faults_a_saturated_output_hides_are_seen_at_the_site() -> None:
    """The output is all zero whatever the convolution gives."""
    text = """(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] w, float[4] b, float big = {-1e6}>
        { c = Conv(x, w, b) d = Add(c, big) y = Relu(d) }"""
    raw = parse(text)
    result = prove(raw, edited(raw, "w", lambda w: w * 1.001), [Site("c", "norm")])
    assert result.verdict is Equivalence.DIFFERENT
    assert result.failing_folds == ("norm",)
    whole = prove(raw, edited(raw, "w", lambda w: w * 1.001), ())
    assert whole.verdict is Equivalence.EQUIVALENT, "no output shows it"


def test_an_error_is_named_where_it_is_made_not_where_it_arrives() -> None:
    raw, folded = conv_bn_pair(depth=6)
    sites = [Site(f"bn{i}", f"norm{i}") for i in range(6)]
    result = prove(raw, edited(folded, "b2", lambda b: b + 0.5), sites)
    assert result.failing_folds == ("norm2",)
    assert [c.value for c in result.sites if not c.passed] == ["bn2"]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(ProofOptions(piece_bytes=1), id="a value at a time"),
        pytest.param(ProofOptions(piece_bytes=30_000), id="a few values at a time"),
        pytest.param(ProofOptions(weight_bytes=5000), id="a few weights at a time"),
        pytest.param(ProofOptions(), id="all at once"),
    ],
)
def test_bounded_parts_show_the_same(options: ProofOptions) -> None:
    raw, folded = conv_bn_pair(depth=6)
    sites = [Site(f"bn{i}", f"norm{i}") for i in range(6)]
    assert prove(raw, folded, sites, options)
    result = prove(raw, edited(folded, "w3", lambda w: w * 1.01), sites, options)
    assert result.failing_folds == ("norm3",)
    assert [c.value for c in result.sites] == ["bn3"]


@pytest.mark.parametrize("sites", [None, (), [Site(f"bn{i}", f"norm{i}") for i in range(6)]])
def test_models_larger_than_the_memory_are_proven_in_parts(sites: Sequence[Site] | None) -> None:
    raw, folded = conv_bn_pair(depth=6)
    options = ProofOptions(proof_memory=2e-5)
    result = prove(raw, folded, sites, options)
    assert result, str(result)
    assert any("in 3 parts, to fit into 2e-05 GB" in note for note in result.notes), result.notes
    assert prove(raw, edited(folded, "w3", lambda w: w * 1.01), sites, options).verdict is Equivalence.DIFFERENT


def test_a_fold_that_crashes_its_operator_is_named() -> None:
    raw, folded = conv_bn_pair()
    result = prove(raw, edited(folded, "w1", lambda w: w[:, :5]), SITES)
    assert result.verdict is Equivalence.DIFFERENT
    assert result.failing_folds == ("norm1",)
    assert "does not compute it" in str(result)


def test_a_site_that_is_gone_is_measured_at_the_first_value_behind_it() -> None:
    raw, folded = conv_bn_pair()
    result = prove(raw, edited(folded, "b0", lambda b: b + 0.1), [Site("conv0", "norm0"), *SITES[1:]])
    assert result.failing_folds == ("norm0",)
    assert [c.value for c in result.sites if not c.passed] == ["bn0"]


def test_explicit_tolerances_win_and_the_one_that_would_pass_is_printed() -> None:
    raw, folded = conv_bn_pair()
    off = edited(folded, "w1", lambda w: w * 1.001)
    assert prove(raw, off, SITES, ProofOptions(rtol=0.05, atol=0.05))
    result = prove(raw, folded, SITES, ProofOptions(atol=1e-9))
    assert result.verdict is Equivalence.DIFFERENT
    needed = max(float(c.needed_tolerance.split()[0].removeprefix("atol=")) for c in result.failures)
    assert prove(raw, folded, SITES, ProofOptions(atol=needed * 1.01))


def test_two_runs_say_the_same_and_another_seed_feeds_others() -> None:
    raw, folded = conv_bn_pair()
    first, second, other = (prove(raw, folded, SITES, ProofOptions(seed=seed)) for seed in (1, 1, 2))
    assert str(first) == str(second) != str(other)


def third_times(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    """The array with entry 3 of its first axis multiplied."""

    def change(array: np.ndarray) -> np.ndarray:
        array[3] *= factor
        return array

    return change


def test_a_weak_channel_does_not_hide_behind_strong_ones() -> None:
    raw, folded = conv_bn_pair()
    raw = edited(edited(raw, "gamma1", third_times(0.01)), "beta1", third_times(0))
    raw = edited(raw, "mean1", third_times(0))
    folded = edited(edited(folded, "w1", third_times(0.01)), "b1", third_times(0))
    assert prove(raw, folded, SITES)
    assert prove(raw, edited(folded, "w1", third_times(1.001)), SITES).failing_folds == ("norm1",)


def test_a_large_mean_subtracted_is_noise_and_a_fault_there_is_not() -> None:
    """A mean 500 times the spread leaves a few digits: a right fold moves them, a wrong one moves more."""
    raw, folded = conv_bn_pair(depth=1)
    mean = 500.0 + np.arange(8)
    gain = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in raw.graph.initializer}
    scale = gain["gamma0"] / np.sqrt(gain["var0"] + 1e-5)
    raw = with_bias(edited(raw, "mean0", lambda m: mean), mean)
    folded = edited(folded, "b0", lambda b: gain["beta0"])
    assert np.isfinite(scale).all()
    assert prove(raw, folded, SITES[:1])
    wrong = prove(raw, edited(folded, "b0", lambda b: b + 1e-2), SITES[:1])
    assert wrong.failing_folds == ("norm0",)


def with_bias(model: onnx.ModelProto, bias: np.ndarray) -> onnx.ModelProto:
    """The first Conv gets a bias."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.node[0].input.append("own_bias")
    copy.graph.initializer.append(onnx.numpy_helper.from_array(bias.astype(np.float32), "own_bias"))
    return copy


def test_without_sites_the_operator_is_named_where_a_difference_begins() -> None:
    raw, folded = conv_bn_pair(depth=5)
    result = prove(raw, edited(folded, "w2", lambda w: w * 1.01))
    assert [(c.value, c.folds) for c in result.sites] == [("bn2", ("BatchNormalization of bn2",))]
    assert not prove(raw, folded).failing_folds


def test_a_name_used_for_another_value_is_no_difference() -> None:
    """conv2 is the sum before the norm in one model and behind it in the other, and nothing behind it differs."""
    raw, folded = conv_bn_pair(depth=5)
    broken = edited(folded, "w3", lambda w: w * 1.01)
    for model in (folded, broken):
        for node in model.graph.node:
            node.input[:] = ["conv2" if name == "bn2" else name for name in node.input]
            node.output[:] = ["conv2" if name == "bn2" else name for name in node.output]
    assert prove(raw, folded)
    assert [c.value for c in prove(raw, broken).sites] == ["bn3"]
