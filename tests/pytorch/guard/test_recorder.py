"""Which edges two calls share: sizes may differ, axes may not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from normfold.pytorch.guard.recorder import Edges, Numbers, Recorder, merge


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


def test_a_hook_that_another_thread_calls_after_the_end_does_nothing() -> None:
    """By then torch has forgotten that it takes keywords."""
    part, x = torch.nn.Identity(), torch.ones(2)
    Recorder(frozenset(), {}, "Net").watch(torch.nn.Sequential(part), {"0": "0"})
    (before,), (after,) = part._forward_pre_hooks.values(), part._forward_hooks.values()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(before, part, (x,)).result() is None
        assert threads.submit(after, part, (x,), x).result() is x
