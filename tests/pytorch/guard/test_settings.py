"""What counts as a setting: attributes, configurations, globals and closures, and nothing of torch's own."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from normfold.pytorch.guard.settings import Settings

GLOBAL = [1]


def changed_closure(module: nn.Module) -> None:
    module.function.__closure__[0].cell_contents = 2  # type: ignore[union-attr, index]  # of ``made``


CHANGES: dict[str, Callable[[Any], object]] = {
    "attribute": lambda module: setattr(module, "mode", "b"),
    "a new attribute": lambda module: setattr(module, "other", 1),
    "dict": lambda module: module.config.update(depth=2),
    "object": lambda module: setattr(module.space.inner, "flag", True),
    "list": lambda module: module.steps.append(3),
    "class": lambda module: setattr(type(module), "fused", False),
    "global": lambda module: GLOBAL.__setitem__(0, GLOBAL[0] + 1),
    "closure": changed_closure,
    "partial": lambda module: module.call.keywords.update(factor=3),
    "mode": lambda module: module.train(),
    "a tensor that is gone": lambda module: setattr(module, "cache", None),
    "a tensor of another rank": lambda module: setattr(module, "cache", torch.ones(2, 1)),
    "a buffer that is gone": lambda module: setattr(module, "mask", None),
    "a buffer of another size": lambda module: setattr(module, "mask", torch.ones(4)),
    "a new buffer": lambda module: module.register_buffer("other", None),
}


def made() -> Any:
    hidden = 1

    class Own(nn.Module):
        fused = True

        def forward(self, x: Any) -> Any:
            return x * GLOBAL[0]

    module: Any = Own().eval()
    module.mode, module.config, module.steps = "a", {"depth": 1}, [1, 2]
    module.space = SimpleNamespace(inner=SimpleNamespace(flag=False))
    module.function = lambda x: x + hidden
    module.call, module.cache = partial(max, factor=2), torch.ones(2)
    module.register_buffer("mask", torch.ones(3))
    return module


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(change: Callable[[Any], object]) -> None:
    module = made()
    settings = Settings(module)
    before = settings.number()
    assert settings.number() == before
    change(module)
    assert settings.number() != before


def test_a_value_that_returns_has_its_number_again() -> None:
    module = made()
    settings = Settings(module)
    before = settings.number()
    module.mode = "b"
    assert settings.number() != before
    module.mode = "a"
    assert settings.number() == before


def test_a_tensor_costs_one_number_and_is_not_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    module = made()
    settings = Settings(module)
    before, alive = settings.number(), weakref.ref(module.cache)
    module.cache = torch.zeros(2)
    assert alive() is None
    monkeypatch.delattr(Settings, "_number_of")  # what is as before is not numbered again
    assert settings.number() == before


def test_modules_of_torch_have_none() -> None:
    module: Any = nn.Sequential(nn.Conv2d(1, 1, 1))
    settings = Settings(module)
    before = settings.number()
    module.other = 1
    assert settings.number() == before
