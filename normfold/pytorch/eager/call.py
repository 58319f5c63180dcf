"""One call of a module, and the mode that it is made in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from normfold.errors import UsageError


@dataclass(frozen=True)
class Call:
    """Arguments of one call of a module."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def evaluation(module: torch.nn.Module, switch: bool = False) -> Iterator[None]:
    """Make sure that all of ``module`` is in eval mode; with ``switch`` put it there and restore each flag after."""
    training = [(name, part) for name, part in module.named_modules() if part.training]
    if training and not switch:
        name = training[0][0] or "the module"
        raise UsageError(
            f"expected a module in eval mode, but {name} ({type(training[0][1]).__name__}) is in training mode; "
            "call module.eval() first, or pass eval=True"
        )
    for _, part in training:
        part.training = False
    try:
        yield
    finally:
        for _, part in training:
            part.training = True


@contextmanager
def without_autocast() -> Iterator[None]:
    """Leave the types of a module as they are, whatever autocast the caller has switched on."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
