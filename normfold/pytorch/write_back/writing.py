"""A plan of changes, written onto a module or a copy of it. The copy shares every tensor that does not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from normfold.errors import UsageError
from normfold.pytorch.eager.arrays import tensor_of
from normfold.pytorch.write_back.module_tree import Slot
from normfold.pytorch.write_back.weight_changes import Changes

_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


class Zero(torch.nn.Module):
    """Gives 0.0 for anything: a branch of a sum that another branch has taken over."""

    def forward(self, *args: Any, **kwargs: Any) -> float:
        """Return a number and no tensor, so that sums that start with it work in any type and shape, in place too."""
        return 0.0


class Fresh(torch.nn.Module):
    """Gives a copy of its input: a norm that is gone, where something behind it writes in place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a copy, so that what the norm read stays what it was."""
        return x.clone()


class UnfoldedStateError(UsageError, RuntimeError):
    """Weights from before a fold, for a folded module; a RuntimeError, as all that load_state_dict refuses."""


class RefuseUnfolded:
    """A hook that refuses weights from before the fold, before any of them is loaded. ``marks``: see ``_with_mark``."""

    def __init__(self, marks: tuple[str, ...]) -> None:
        self.marks = marks

    def __call__(self, module: torch.nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
        """Raise UnfoldedStateError where a norm that is gone has values in ``state``."""
        for mark in self.marks:
            value = state.get(prefix + mark)
            if isinstance(value, Tensor) and value.numel():
                raise UnfoldedStateError(
                    f"expected weights of the folded module, but {prefix}{mark} is of a norm that it no longer has; "
                    "make them with Folded.convert(state_dict)"
                )


def write(target: torch.nn.Module, original: torch.nn.Module, changes: Changes) -> None:
    """Write ``changes``, which speak of the modules of ``original``, onto ``target``, a copy of it or itself."""
    counterparts = {module: target.get_submodule(name) for name, module in original.named_modules()}
    for slot, array in changes.weights.items():
        _set_weight(counterparts[slot[0]], slot, array)
    for module, settings in changes.windows.items():
        for name, value in settings.items():
            setattr(counterparts[module], name, value)
    for module in reversed(list(counterparts)):  # what a module contains before itself
        old = counterparts[module]
        if module in changes.zeros:
            new: torch.nn.Module = Zero()
        elif module in changes.left:
            new = _chain(old, changes.left[module])
        elif module in changes.gone:
            new = Fresh() if module in changes.fresh else torch.nn.Identity()
        else:
            continue
        _replace(old, _with_mark(_with_hooks(new, old), old), counterparts.values())
    marks = tuple(key for key, value in target.state_dict().items() if isinstance(value, Tensor) and not value.numel())
    if marks:
        target.register_load_state_dict_pre_hook(RefuseUnfolded(marks))  # type: ignore[no-untyped-call]  # torch's


def _replace(old: torch.nn.Module, new: torch.nn.Module, parents: Iterable[torch.nn.Module]) -> None:
    """Put ``new`` wherever a module holds ``old``: as a child, or in a plain list, dict or attribute."""
    for parent in parents:
        if not isinstance(parent, torch.jit.ScriptModule):
            for name, value in list(vars(parent).items()):
                vars(parent)[name] = _with_replaced(value, old, new)


def _with_replaced(value: Any, old: torch.nn.Module, new: torch.nn.Module) -> Any:
    if value is old:
        return new
    if isinstance(value, list):
        value[:] = [_with_replaced(part, old, new) for part in value]
    elif isinstance(value, dict):
        for key, part in value.items():
            value[key] = _with_replaced(part, old, new)
    elif type(value) is tuple:
        changed = tuple(_with_replaced(part, old, new) for part in value)
        return changed if any(a is not b for a, b in zip(changed, value, strict=True)) else value
    return value


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


def _with_mark(new: torch.nn.Module, old: torch.nn.Module) -> torch.nn.Module:
    """Keep the first key of the old module's state, with nothing in it.

    A state dict of the original does not fit then, nor does one of the folded module fit the original: torch raises an
    error even where the user allows missing keys.
    """
    for name, tensor in (*old._parameters.items(), *old._buffers.items()):
        if tensor is not None and name not in old._non_persistent_buffers_set and tensor.numel():
            new.register_buffer(name, torch.empty(0, dtype=tensor.dtype, device=tensor.device))
            break
    return new


def _set_weight(module: torch.nn.Module, slot: Slot, array: npt.NDArray[Any]) -> None:
    """Put a new tensor in place of the old one, which others may share. A new bias is like the weight."""
    name = slot[1]
    old: torch.Tensor | None = module._parameters.get(name, module._buffers.get(name))
    like = old if old is not None else module._parameters["weight"]
    assert like is not None
    tensor = tensor_of(array).to(device=like.device, dtype=like.dtype)
    if old is not None and old.shape == tensor.shape and not old.is_contiguous():
        tensor = torch.empty_like(old, requires_grad=False).copy_(tensor)  # channels_last stays
    elif like.dim() == 4 and tensor.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    if name in module._buffers:
        module._buffers[name] = tensor
        return
    parameter = torch.nn.Parameter(tensor, requires_grad=like.requires_grad)
    if old is not None:
        vars(parameter).update(vars(old))  # what the user has noted on it
    setattr(module, name, parameter)  # a recurrent module lists its weights once more
