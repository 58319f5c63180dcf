"""Combine the numbers that the switches and counts of a region are set to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np

Choices = Mapping[str, Sequence[int | None]]
"""The numbers that each input is set to; None leaves it as it is."""

_MOST = 16


def combined(choices: Choices) -> Iterator[dict[str, int]]:
    """Yield all settings of the inputs if they are few; else each number once, then as many drawn at random."""
    rows: Iterable[Sequence[int | None]] = product(*choices.values())
    if math.prod(map(len, choices.values())) > _MOST:
        rng = np.random.default_rng(0)
        first = [numbers[0] for numbers in choices.values()]
        alone = [
            [*first[:place], number, *first[place + 1 :]]
            for place, numbers in enumerate(choices.values())
            for number in numbers[1:_MOST]
        ]
        drawn = [[numbers[int(rng.integers(len(numbers)))] for numbers in choices.values()] for _ in range(_MOST)]
        rows = [first, *alone, *drawn]
    for row in rows:
        yield {name: number for name, number in zip(choices, row, strict=True) if number is not None}
