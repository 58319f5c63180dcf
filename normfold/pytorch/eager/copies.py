"""Copy a module without copying its parameters, whatever else it holds.

``copy.deepcopy`` fails on a lock or an open file, and the copy that a class of its own makes may lose training flags
(as torch.fx.GraphModule does). Here every module gets a new object of the very class with the same flags and hooks.
Buffers and other tensors are new, because forward() may write into them. Attributes that cannot be copied are shared.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch

M = TypeVar("M", bound=torch.nn.Module)

# What does not change, and handles, which belong to the module that they were made for.
_SHARED = (bool, int, float, str, type(None), type, torch.dtype, torch.device, torch.utils.hooks.RemovableHandle)


def copied(module: M, *, with_parameters: bool = False) -> M:
    """Return a copy that shares parameters with ``module``, or has its own ``with_parameters``."""
    memo: dict[int, Any] = {}
    parts = list(module.modules())
    for part in parts:
        if isinstance(part, torch.jit.ScriptModule):
            memo[id(part)] = copy.deepcopy(part)
        else:
            memo[id(part)] = object.__new__(type(part))
        if not with_parameters:
            memo.update((id(value), value) for value in part._parameters.values() if value is not None)
    for part in parts:
        if not isinstance(part, torch.jit.ScriptModule) and not is_compiled(part):
            vars(memo[id(part)]).update({name: _copied_value(value, memo) for name, value in vars(part).items()})
    for part in filter(is_compiled, reversed(parts)):  # its forward() is bound to what it wraps
        memo[id(part)].__init__(memo[id(part._orig_mod)], part.dynamo_ctx)
    result: M = memo[id(module)]
    return result


def copied_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return copies of the arguments of a call, for a run that must leave them what they are."""
    memo: dict[int, Any] = {}
    return tuple(_copied_value(value, memo) for value in args), {
        name: _copied_value(value, memo) for name, value in kwargs.items()
    }


def one_module_a_path(module: torch.nn.Module) -> None:
    """Put a module of its own, over the same state, at each further path of a module that has several.

    torch.export names the modules that it runs by how they were reached as soon as one of them is shared, be it an
    activation, and these names are no paths.
    """
    met: set[torch.nn.Module] = set()

    def visit(parent: torch.nn.Module) -> None:
        for name, part in parent._modules.items():
            if part in met and not isinstance(part, torch.jit.ScriptModule) and not is_compiled(part):
                parent._modules[name] = part = _with_the_state_of(part)
            if part is not None and part not in met:
                met.add(part)
                visit(part)

    visit(module)


def _with_the_state_of(module: torch.nn.Module) -> torch.nn.Module:
    made: torch.nn.Module = object.__new__(type(module))
    vars(made).update(vars(module), _modules=dict(module._modules))
    return made


def is_compiled(module: torch.nn.Module) -> bool:
    """Tell whether it is what torch.compile makes of a module."""
    return type(module).__name__ == "OptimizedModule"  # its class is not imported: that costs a second


def _copied_value(value: Any, memo: dict[int, Any]) -> Any:
    """Copy one attribute of a module; the attempt that fails leaves no trace in ``memo``."""
    if isinstance(value, _SHARED):
        return value
    if isinstance(value, (dict, list, set)) and not value:
        return type(value)()
    if type(value) is dict and value and all(isinstance(key, str) for key in value):
        return {key: _copied_value(part, memo) for key, part in value.items()}  # _parameters, _buffers, _modules
    if isinstance(value, torch.Tensor) and id(value) not in memo:
        memo[id(value)] = _copied_tensor(value, memo)
    trial = dict(memo)
    try:
        made = copy.deepcopy(value, trial)
    except Exception:  # noqa: BLE001  # deepcopy runs the code of any class that the module holds
        return copy.copy(value) if isinstance(value, (dict, list, set)) else value
    memo.setdefault(id(memo), []).extend(trial.pop(id(trial), []))  # what deepcopy keeps alive
    memo.update(trial)
    return made


def _copied_tensor(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    if tensor.is_inference():
        with torch.inference_mode(False), torch.no_grad():
            made = tensor.clone()
            return torch.nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else made
    try:
        return copy.deepcopy(tensor, memo)  # keeps strides, and that two tensors share their memory
    except RuntimeError:  # the result of an operation that gradients flow through
        return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def state_of(module: torch.nn.Module) -> dict[tuple[str, str], Any]:
    """Return what a call may change of a module: its tensors with their versions, and its plain attributes."""
    state: dict[tuple[str, str], Any] = {}
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue
        attributes: Mapping[str, Any] = {**vars(part), **part._parameters, **part._buffers}
        state.update(((path, name), _mark(value)) for name, value in attributes.items())
    return state


def _mark(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return id(value), -1 if value.is_inference() else value._version
    if isinstance(value, (list, dict, set)):
        return id(value), len(value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else id(value)
