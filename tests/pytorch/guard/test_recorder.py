"""Which edges two calls share: sizes may differ, axes may not."""

from __future__ import annotations

import pytest

from normfold.pytorch.guard.recorder import Edges, Numbers, merge


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ((1, 8), (1, 8), (1, 8)),
        ((1, 8), (1, 9), (1, None)),
        ((1,), (1, 1), None),
        (None, (1,), None),
    ],
)
def test_numbers_that_differ_between_calls_decide_nothing(one: Numbers, other: Numbers, both: Numbers) -> None:
    edges: Edges = {("op",): one}
    merge(edges, {("op",): other, ("more",): (3,)})
    assert edges == {("op",): both, ("more",): (3,)}
