"""Which tensors a module returns, and how they are called."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from normfold.pytorch.eager.outputs import named_leaves, tensors_of

ONE, TWO = torch.zeros(1), torch.ones(2)
Pair = namedtuple("Pair", "first second")


@dataclass
class Features:
    """As kornia's DISK returns them."""

    points: Any
    scores: Any


@pytest.mark.parametrize(
    ("output", "names"),
    [
        (ONE, [""]),
        ([ONE, {"a": TWO}], ["0", "1.a"]),
        (Pair(ONE, (TWO,)), ["first", "second.0"]),
        ([Features(ONE, {"b": TWO})], ["0.points", "0.scores.b"]),
    ],
)
def test_a_tensor_is_named_by_its_way(output: Any, names: list[str]) -> None:
    assert [name for name, _ in named_leaves(output)] == names


def test_what_is_no_tensor_is_left_out() -> None:
    assert tensors_of({"a": 3, "b": Features(None, ONE), "c": Features}) == [ONE]
