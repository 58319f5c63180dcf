"""What rounding noise may hide in the comparison of a module, and what it may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from normfold.findings.reason import Reason
from normfold.pytorch.eager import reference
from normfold.pytorch.eager.call import Call
from normfold.pytorch.fold_module import fold_module


def noisy(x: torch.Tensor) -> torch.Tensor:
    """Values that rounding alone decides."""
    return torch.sin(x * 1e9)


class Tail(nn.Module):
    def __init__(self, tail: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.conv, self.bn, self.tail = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), tail

    def forward(self, x: torch.Tensor) -> object:
        return self.tail(self.bn(self.conv(x)))


@pytest.mark.parametrize("wrong_call", range(3))
def test_the_noise_of_one_output_hides_no_error_of_another(wrong_call: int) -> None:
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    calls = [(f"call {index}", Call((x + index,))) for index in range(3)]
    count = iter(range(3))

    def off(call: Call) -> list[torch.Tensor]:
        return [noisy(call.args[0] + 1e-3), call.args[0] * (2.2 if next(count) == wrong_call else 2.0)]

    (first, second), _ = reference.compare(lambda x: (noisy(x), x * 2), off, calls)
    assert first.passed and first.noise_dominated
    assert not second.passed and second.feed == f"call {wrong_call}"


def test_an_integer_that_rounding_decides_is_undecided_only_in_its_place() -> None:
    x = torch.arange(16) + 0.5
    calls = [("given", Call((x,)))]

    def signs(few: int, flipped: slice) -> Callable[..., torch.Tensor]:
        def run(x: torch.Tensor) -> torch.Tensor:
            given = torch.cat([noisy(x[:few]) * 1e3, x[few:]]).long()
            given[flipped] += 1
            return given

        return run

    def decided(few: int, flipped: slice) -> tuple[bool, bool]:
        other = signs(few, flipped)
        ((found,), _) = reference.compare(signs(few, slice(0)), lambda call: [other(*call.args)], calls)
        return found.passed, found.noise_dominated

    assert decided(2, slice(0)) == (True, False)
    assert decided(2, slice(1)) == (True, False)
    assert decided(2, slice(15, 16)) == (False, False)
    assert decided(14, slice(1)) == (True, True)


@pytest.mark.parametrize("tail", [noisy, lambda y: (noisy(y) * 1e3).long()])
def test_no_fold_is_confirmed_where_noise_hides_every_output(tail: Callable[[torch.Tensor], object]) -> None:
    """The argument, which is compared as well, is no output."""
    folded = fold_module(Tail(tail).eval(), torch.randn(2, 3, 8, 8))
    assert not folded.folds
    assert {obstacle.reason for verdict in folded.kept for obstacle in verdict.obstacles} >= {Reason.NOT_CONFIRMED}


def test_noise_in_one_of_two_outputs_is_noted() -> None:
    folded = fold_module(Tail(lambda y: (noisy(y), y)).eval(), torch.randn(2, 3, 8, 8))
    assert folded.folds and any("rounding noise" in note for note in folded.notes)
