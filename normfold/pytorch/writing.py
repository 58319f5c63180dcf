"""A plan of changes, written onto a module or a copy of it. The copy shares every tensor that does not change."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy.typing as npt
import torch

from normfold.pytorch.arrays import tensor_of
from normfold.pytorch.module_map import Changes
from normfold.pytorch.modules import Slot

M = TypeVar("M", bound=torch.nn.Module)

_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


class Zero(torch.nn.Module):
    """Gives 0.0 for anything: a branch of a sum that another branch has taken over."""

    def forward(self, *args: Any, **kwargs: Any) -> float:
        """Return a number and no tensor, so that sums that start with it work in any type and shape, in place too."""
        return 0.0


def copied(module: M) -> M:
    """Return a deep copy of the modules that shares every tensor with the original."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(tensor, torch.Tensor):
                memo[id(tensor)] = tensor
    return copy.deepcopy(module, memo)


def write(target: torch.nn.Module, original: torch.nn.Module, changes: Changes) -> None:
    """Write ``changes``, which speak of the modules of ``original``, onto ``target``, a copy of it or itself."""
    counterparts = {module: target.get_submodule(name) for name, module in original.named_modules()}
    for slot, array in changes.weights.items():
        _set_weight(counterparts[slot[0]], slot, array)
    for module, settings in changes.windows.items():
        for name, value in settings.items():
            setattr(counterparts[module], name, value)
    for module in reversed(list(counterparts)):  # what a module contains before itself
        if module in changes.zeros:
            _replace(counterparts[module], _with_hooks(Zero(), counterparts[module]), counterparts.values())
        elif module in changes.left:
            _replace(counterparts[module], _chain(counterparts[module], changes.left[module]), counterparts.values())
        elif module in changes.gone:
            _replace(
                counterparts[module], _with_hooks(torch.nn.Identity(), counterparts[module]), counterparts.values()
            )


def _replace(old: torch.nn.Module, new: torch.nn.Module, parents: Iterable[torch.nn.Module]) -> None:
    for parent in parents:
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def _chain(module: torch.nn.Module, paths: Iterable[str]) -> torch.nn.Module:
    """Chain the modules at ``paths`` in Sequentials that give each the path that it had."""
    chain = _with_hooks(torch.nn.Sequential(), module)
    for path in paths:
        inner, place = chain, module
        *above, name = path.split(".")
        for step in above:
            place = place.get_submodule(step)
            if step not in inner._modules:
                inner.add_module(step, _with_hooks(torch.nn.Sequential(), place))
            inner = inner.get_submodule(step)
        inner.add_module(name, place.get_submodule(name))
    return chain


def _with_hooks(new: torch.nn.Module, old: torch.nn.Module) -> torch.nn.Module:
    new.training = old.training
    for name in _HOOKS:
        setattr(new, name, getattr(old, name))
    return new


def _set_weight(module: torch.nn.Module, slot: Slot, array: npt.NDArray[Any]) -> None:
    """Put a new tensor in place of the old one, which others may share. A new bias is like the weight."""
    name = slot[1]
    old: torch.Tensor | None = module._parameters.get(name, module._buffers.get(name))
    like = old if old is not None else module._parameters["weight"]
    assert like is not None
    tensor = tensor_of(array).to(device=like.device, dtype=like.dtype)
    if name in module._buffers:
        module._buffers[name] = tensor
    else:
        module._parameters[name] = torch.nn.Parameter(tensor, requires_grad=like.requires_grad)
