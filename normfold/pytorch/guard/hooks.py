"""Refuse, in the folded module itself, a call that takes another way than the calls that the folds were proven on.

The edges of the proven calls are known; a call with other shapes, flags or attributes than before is followed once, and
an edge that is not known raises before a wrong number is returned. Known calls cost a look-up.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from normfold.errors import UsageError
from normfold.pytorch.eager.copies import is_compiled
from normfold.pytorch.guard.recorder import WAY_OUT, Edge, Recorder, Tags

_MOST_CALLS = 4096


class Guard:
    """What the calls of one folded module are checked against. Pickles and copies with the module."""

    def __init__(self, name: str, differing: Tags, steps: Iterable[str], edges: frozenset[Edge]) -> None:
        self.name, self.differing, self.steps, self.edges = name, differing, tuple(steps), edges
        self._reset()

    def _reset(self) -> None:
        self._known: set[Any] = set()
        self._own: dict[str, list[torch.nn.Module]] = {}
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_known", "_own", "_local")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    @property
    def is_active(self) -> bool:
        """Whether a checked call is running in this thread."""
        return getattr(self._local, "depth", 0) > 0

    def enter(self, path: str, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        """Begin a call of the module at ``path``; a call of a new kind is followed."""
        local = self._local
        local.depth = getattr(local, "depth", 0) + 1
        if local.depth > 1:
            return
        local.recorder = None
        if module.training:
            raise UsageError(f"{self.name} is folded for inference and is in training mode; call eval() first")
        local.key = self._key(path, module, args, kwargs)
        if local.key not in self._known:
            local.recorder = Recorder(self.differing, self.edges, self.name)
            local.recorder.watch(module, dict(self._steps_below(path)))
            local.recorder.__enter__()

    def leave(self, output: Any) -> None:
        """End a call; one that ended well is known from now on."""
        local = self._local
        local.depth = max(getattr(local, "depth", 0) - 1, 0)
        recorder: Recorder | None = getattr(local, "recorder", None)
        if local.depth or recorder is None:
            return
        local.recorder = None
        recorder.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # it has no types
        recorder.stop()
        if sys.exc_info()[0] is None:
            recorder.returned(output)
            if len(self._known) >= _MOST_CALLS:
                self._known.clear()
            self._known.add(local.key)

    def _steps_below(self, path: str) -> Iterator[tuple[str, str]]:
        prefix = f"{path}." if path else ""
        for step in self.steps:
            if step.startswith(prefix):
                yield step[len(prefix) :], step

    def _key(self, path: str, module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        """Tell calls apart by shapes, types, flags, and the plain attributes of the user's own modules."""
        leaves, structure = pytree.tree_flatten((args, kwargs))
        values = tuple(
            (leaf.shape, leaf.dtype)
            if isinstance(leaf, torch.Tensor)
            else (type(leaf), leaf if isinstance(leaf, (bool, int, float, str, type(None))) else None)
            for leaf in leaves
        )
        if path not in self._own:
            self._own[path] = [part for part in module.modules() if not type(part).__module__.startswith("torch.nn.")]
        plain = tuple(
            value for part in self._own[path] for value in vars(part).values() if type(value) in (bool, int, float, str)
        )
        return path, structure, values, plain


class EntryHook:
    """A hook before a module that contains changed ones."""

    def __init__(self, guard: Guard, path: str) -> None:
        self.guard, self.path = guard, path

    def __call__(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        """Begin a call, unless it is one of a tracer, which has no values."""
        if not _is_traced():
            self.guard.enter(self.path, module, args, kwargs)


class ExitHook:
    """The hook behind it."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def __call__(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """End the call."""
        if not _is_traced():
            self.guard.leave(output)


class StepHook:
    """A hook before a module whose output differs: it must not be called on its own."""

    def __init__(self, guard: Guard, path: str) -> None:
        self.guard, self.path = guard, path

    def __call__(self, module: torch.nn.Module, args: Any) -> None:
        """Refuse a call from outside of forward()."""
        if not self.guard.is_active and not _is_traced():
            raise UsageError(
                f"{self.path} holds a folded norm, and is called outside of forward() of {self.guard.name}, "
                f"where its output differs from the original's; {WAY_OUT}"
            )


class InferenceOnly:
    """Stands in for ``train`` of a folded module: sets the flags, and says what it means."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def __call__(self, mode: bool = True) -> torch.nn.Module:
        """Set the mode; training is warned of."""
        if mode:
            warnings.warn(
                f"{type(self.module).__name__} is folded for inference: its norms are gone and train() does not bring "
                "them back; train the original module and fold it again",
                UserWarning,
                stacklevel=2,
            )
        return type(self.module).train(self.module, mode)


class WithoutGuard:
    """Stands in for ``__prepare_scriptable__``, by which torch.jit.script asks for what it can compile."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def __call__(self) -> torch.nn.Module:
        """Return the module without the guard, which is no TorchScript."""
        module = self.module
        plain = object.__new__(type(module))
        vars(plain).update({name: value for name, value in vars(module).items() if type(value) not in _OWN})
        for name, value in vars(module).items():
            if name == "_modules" or name.endswith("_hooks"):
                vars(plain)[name] = type(value)((key, part) for key, part in value.items() if type(part) not in _OWN)
        return plain


_OWN = (EntryHook, ExitHook, StepHook, InferenceOnly, WithoutGuard)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def is_own_hook(hook: object) -> bool:
    """Tell whether a hook belongs to a guard."""
    return isinstance(hook, _OWN)


def install(module: torch.nn.Module, guard: Guard) -> None:
    """Put the guard on what contains a changed module, and on changed modules that must not be called alone."""
    parents = {parent for step in guard.steps for parent in _parents(step)} - set(guard.steps) | {""}
    for path in sorted(parents):
        part = module.get_submodule(path)
        if is_compiled(part):
            continue  # its inner module is the one that is traced
        part.register_forward_pre_hook(EntryHook(guard, path), prepend=True, with_kwargs=True)
        part.register_forward_hook(ExitHook(guard), always_call=True)
        vars(part)["__prepare_scriptable__"] = WithoutGuard(part)
    vars(module)["train"] = InferenceOnly(module)
    for path in guard.steps:
        part = module.get_submodule(path)
        if path in guard.differing and path:
            part.register_forward_pre_hook(StepHook(guard, path), prepend=True)
            vars(part)["__prepare_scriptable__"] = WithoutGuard(part)


def _parents(path: str) -> Iterator[str]:
    names = path.split(".")
    for length in range(len(names)):
        yield ".".join(names[:length])
