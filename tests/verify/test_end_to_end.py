"""A fold that goes wrong inside the engine is caught, named, undone, and everything else is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import normfold
from normfold.edit import Editor
from normfold.reason import Reason
from normfold.verify import prove
from tests.verify.verify_nets import conv_bn_pair


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine writes one channel of the weight w1 one percent too large."""
    right = Editor.constant

    def wrong(self: Editor, array: Any, dtype: Any, hint: str) -> Any:
        if hint.startswith("w1"):
            array = np.array(array)
            array[4] *= 1.01
        return right(self, array, dtype, hint)

    monkeypatch.setattr(Editor, "constant", wrong)


def test_a_wrong_fold_is_undone_and_the_rest_is_kept(faulty: None) -> None:
    raw, _ = conv_bn_pair()
    result = normfold.optimize(raw)
    assert sorted(v.finding.name for v in result.folds) == ["bn0", "bn2"]
    [kept] = result.kept
    assert kept.finding.name == "bn1"
    assert [obstacle.reason for obstacle in kept.obstacles] == [Reason.ROLLED_BACK]
    assert any("bn1 was undone by the evidence at its own site" in note for note in result.notes)
    assert prove(raw, result.model)


def test_strict_writes_nothing(faulty: None) -> None:
    with pytest.raises(normfold.NotProven) as caught:
        normfold.optimize(conv_bn_pair()[0], strict=True)
    verification = caught.value.result.verification
    assert verification is not None
    assert verification.guilty == ("bn1",)
