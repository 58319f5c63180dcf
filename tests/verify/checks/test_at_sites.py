"""Values at the sites of folds: on which feed, and how many at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.ort_session import OptimizationLevel
from normfold.runtime.session import Runner
from normfold.runtime.submodel import MADE
from normfold.verify import Equivalence, ProofOptions, Site, prove
from normfold.verify.checks import at_sites as evidence
from normfold.verify.checks import schedule as turns_module
from normfold.verify.question import Question
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited

SITES = tuple(Site(f"bn{i}", f"norm{i}") for i in range(3))


def test_a_site_of_which_the_first_feed_tells_nothing_is_compared_on_the_next(tmp_path: Path) -> None:
    raw = parse(
        """(float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] w, float none = {0.0}>
        { r = Sqrt(x) a = Conv(r, w) y = Mul(a, none) }"""
    )
    rng = np.random.default_rng(0)
    files = [str(tmp_path / f"{sign}.npz") for sign in ("minus", "plus")]
    for path, sign in zip(files, (-1, 1), strict=True):
        np.savez(path, x=(sign * rng.uniform(1, 2, (1, 3, 8, 8))).astype(np.float32))

    def verdict(candidate: onnx.ModelProto, count: int) -> Equivalence:
        return prove(raw, candidate, [Site("a", "fold")], ProofOptions(inputs=tuple(files[:count]))).verdict

    broken = edited(raw, "w", lambda w: w * 1.001)
    assert verdict(raw, 2) is Equivalence.EQUIVALENT
    assert verdict(broken, 2) is Equivalence.DIFFERENT
    assert verdict(broken, 1) is Equivalence.DIFFERENT, "all NaN, but the region is fed with values of its own"


@pytest.mark.parametrize("wrong_fold", range(3))
def test_values_too_large_to_be_kept_together_are_compared_in_groups(
    wrong_fold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "GROUP_BYTES", 1)
    raw, folded = conv_bn_pair()
    opened: list[list[str]] = []
    plain = Question.open

    def counted(self: Question, loaded: LoadedModel, *level: OptimizationLevel) -> Runner:
        opened.append([value.name for value in loaded.graph.output])
        return plain(self, loaded, *level)

    monkeypatch.setattr(Question, "open", counted)
    assert len(prove(raw, folded, SITES).sites) == 3
    assert {(f"bn0{MADE}",), (f"bn1{MADE}",), (f"bn2{MADE}",)} <= set(map(tuple, opened))
    result = prove(raw, edited(folded, f"w{wrong_fold}", lambda w: w * 1.001), SITES)
    assert result.failing_folds == (f"norm{wrong_fold}",)


@pytest.mark.parametrize(("limit", "sessions"), [(turns_module.LIGHT_BYTES, 3 + 7), (0, 4 + 7)])
def test_small_values_cost_no_sessions_of_their_own(limit: int, sessions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original, the candidate in pieces and as a user runs it; else once more for the piece before the output.

    The regions take one session for the values between them, and two each.
    """
    monkeypatch.setattr(turns_module, "LIGHT_BYTES", limit)
    raw, folded = conv_bn_pair()
    opened: list[OptimizationLevel] = []
    plain = Question.open

    def counted(
        self: Question, loaded: LoadedModel, level: OptimizationLevel = OptimizationLevel.DISABLE_ALL
    ) -> Runner:
        opened.append(level)
        return plain(self, loaded, level)

    monkeypatch.setattr(Question, "open", counted)
    assert prove(raw, folded, SITES, ProofOptions(input_specs=("x=1x3x12x12",)))
    assert len(opened) == sessions
