"""Weights that a module computes at each call (weight_norm, spectral_norm, pruning, parametrizations), made plain.

At inference they are constants. What computes them is removed by torch's own functions, from clones of the parameters
it reads, because some of those functions write into the parameters and others may share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from normfold.pytorch.eager.copies import copied

M = TypeVar("M", bound=torch.nn.Module)


def computed_weights(module: torch.nn.Module) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """For each weight that ``module`` itself computes: its name, what computes it, and a call that ends that."""
    parametrized: Any = getattr(module, "parametrizations", {})
    for name in list(parametrized):
        kinds = ", ".join(type(part).__name__ for part in parametrized[name])
        yield name, kinds, partial(_remove_parametrizations, module, name)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            yield hook.name, "weight_norm", partial(remove_weight_norm, module, hook.name)
        elif isinstance(hook, SpectralNorm):
            yield hook.name, "spectral_norm", partial(_remove_spectral_norm, module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            yield hook._tensor_name, type(hook).__name__, partial(_remove_pruning, module, hook._tensor_name)


def make_plain(module: torch.nn.Module, path: str) -> list[str]:
    """Make every weight of ``module``, in eval mode, a plain parameter, in place; says what was removed."""
    notes = []
    for name, kind, remove in list(computed_weights(module)):
        remove()
        notes.append(f"{path}.{name} was computed by {kind}, which is removed; it is a parameter now".lstrip("."))
    return notes


def plain_copy(module: M) -> M:
    """Return a copy in which every weight is a parameter, of a module in eval mode."""
    plain = copied(module)
    for part in list(plain.modules()):
        make_plain(part, "")
    return plain


def _remove_parametrizations(module: torch.nn.Module, name: str) -> None:
    shared = type(module)  # a deep copy has the very class of its original, and the removal takes attributes from it
    own = {key: value for key, value in vars(shared).items() if key not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, own)
    parametrized: Any = module.parametrizations
    part = parametrized[name]
    for key, tensor in list(part._parameters.items()):
        if tensor is not None:
            part._parameters[key] = torch.nn.Parameter(tensor.detach().clone(), tensor.requires_grad)
    parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _remove_spectral_norm(module: torch.nn.Module, name: str) -> None:
    remove_spectral_norm(module, name)
    hooks = module._load_state_dict_pre_hooks
    for key, hook in list(hooks.items()):  # torch forgets it, and the state dict would ask for the keys that are gone
        function = getattr(hook, "hook", hook)
        if isinstance(function, SpectralNormLoadStateDictPreHook) and function.fn.name == name:
            del hooks[key]


def _remove_pruning(module: torch.nn.Module, name: str) -> None:
    original = module._parameters[f"{name}_orig"]
    assert original is not None
    module._parameters[f"{name}_orig"] = torch.nn.Parameter(original.detach().clone(), original.requires_grad)
    prune.remove(module, name)  # type: ignore[no-untyped-call]  # it has no types
