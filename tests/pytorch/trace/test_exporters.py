"""Modules that are wrapped, or that cannot be traced: seen through, or refused in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from normfold.errors import SourceError, UsageError
from normfold.pytorch.export import export
from normfold.pytorch.fold_module import fold_module
from normfold.pytorch.trace.exporters import trace
from tests.pytorch.nets import behind_conv, drawn, image
from tests.pytorch.test_fold_module import equal


class Branching(nn.Module):
    """Control flow that torch.export keeps; the norm stands before it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = behind_conv(nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        out: Tensor = torch.cond(y.sum() > 0, torch.sin, torch.cos, (y,))
        return out


def plain() -> nn.Module:
    return behind_conv(nn.BatchNorm2d(4))


WRAPPED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "compiled": (lambda: cast(nn.Module, torch.compile(plain(), backend="eager")), "_orig_mod.1"),
    "data parallel": (lambda: nn.DataParallel(plain()), "module.1"),
    "control flow": (Branching, "body.1"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_wrappers_are_seen_through(kind: str) -> None:
    make, removed = WRAPPED[kind]
    module, args = drawn(make()), image(1, 3, 6, 6)()
    folded = fold_module(module, args)
    assert folded.removed == (removed,) and type(folded.module) is type(module)
    with torch.no_grad():
        equal(folded.module(*args), module(*args))


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return torch.linalg.eigvals(x).real


@pytest.mark.parametrize("road", [fold_module, export])
@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4)), UsageError, "0.weight is not initialized"),
        (Untraceable, SourceError, "torch.export: "),
    ],
)
def test_what_cannot_be_traced_is_refused_in_one_line(
    road: Callable[..., Any],
    make: Callable[[], nn.Module],
    error: type[Exception],
    says: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(error, match=says):
        road(make().eval(), image(1, 3, 6, 6)())
    assert capfd.readouterr().out == ""


class WayByData(nn.Module):
    """Its forward() takes a way that depends on how many values are positive."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if torch.nonzero(x > 0).shape[0] > 5 else x


def test_the_graph_that_torch_prints_where_it_fails_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"torch\.export"):
        fold_module(nn.Sequential(nn.Conv2d(3, 4, 3), WayByData()).eval(), image(1, 3, 6, 6)())
    assert capfd.readouterr() == ("", "")


def test_the_graph_that_torch_prints_where_a_first_attempt_fails_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    """The value that a hook reads is nowhere used, which only the second attempt finds out."""
    module, seen = drawn(plain()), list[float]()
    module.register_forward_hook(lambda part, args, output: seen.append(float(output.sum())))
    trace(module, torch.randn(2, 3, 6, 6))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("way", [lambda output: {"twice": output["a"] * 2}, lambda output: output["a"].relu()])
def test_a_hook_of_the_user_sees_what_forward_returns(way: Callable[[Any], Any]) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = plain()

        def forward(self, x: Tensor) -> Any:
            return {"a": self.body(x)}

    module, (x,) = drawn(Named()), image(2, 3, 6, 6)()
    module.register_forward_hook(lambda part, args, output: way(output))
    assert export(module, (x,)).verification
    folded = fold_module(module, (x,))
    assert folded.removed == ("body.1",)
    equal(folded.module(x), module(x))


def test_a_script_is_refused_with_the_way_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its own deprecation
        script = torch.jit.script(plain().eval())
    with pytest.raises(SourceError, match="has its forward"):
        fold_module(script, image(1, 3, 6, 6)())


class TakesADict(nn.Module):
    """A dict as the only argument; ``forward`` would take its keys as keyword arguments, too."""

    def forward(self, given: dict[str, torch.Tensor], **others: torch.Tensor) -> torch.Tensor:
        return given["x"] + given["y"]


def test_a_dict_that_comes_last_is_an_argument() -> None:
    call = {"x": torch.ones(2), "y": torch.ones(2)}
    assert len(trace(TakesADict().eval(), (call,)).model.graph.inputs) == 2


def test_a_module_without_values_is_refused() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 2).eval()
    with pytest.raises(UsageError, match="weight is on the meta device; load its weights first"):
        trace(module, torch.ones(1, 2))
