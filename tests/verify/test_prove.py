"""A proof finds what is wrong, where it is made, and lets pass what is right."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from normfold.verify import Built, ProofOptions, Site, Verdict, prove, settle
from tests.verify.verify_nets import conv_bn_pair, edited

pytest_plugins = ("pytester",)

SITES = tuple(Site(f"bn{i}", f"norm{i}") for i in range(3))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("seed", range(3))
def test_a_right_fold_passes(kind: type, seed: int) -> None:
    raw, folded = conv_bn_pair(seed=seed, kind=kind)
    result = prove(raw, folded, SITES, ProofOptions(seed=seed))
    assert result
    assert len(result.sites) == 3


@pytest.mark.parametrize("guilty", range(3))
def test_one_percent_in_one_channel_of_one_weight_is_caught_and_named(guilty: int) -> None:
    raw, folded = conv_bn_pair()

    def off(w: np.ndarray) -> np.ndarray:
        w[4] *= 1.01
        return w

    result = prove(raw, edited(folded, f"w{guilty}", off), SITES)
    assert result.verdict is Verdict.DIFFERENT
    assert result.guilty == (f"norm{guilty}",)
    assert f"norm{guilty}" in str(result)


def test_the_guilty_fold_is_undone_and_the_rest_kept() -> None:
    raw, folded = conv_bn_pair()
    bad = edited(folded, "b1", np.zeros_like)

    def build(excluded: frozenset[str]) -> Built[onnx.ModelProto]:
        return Built(folded if "norm1" in excluded else bad, SITES)

    settled = settle(build, lambda built: prove(raw, built.candidate, built.sites))
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
    outcome.stdout.fnmatch_lines(["*assert <different: 0 of 3 output comparisons pass>*", "*DIFFERS*relu2*default*"])
