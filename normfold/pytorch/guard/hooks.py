"""Refuse, in the folded module itself, a call that takes another way than the calls that the folds were proven on.

The edges of the proven calls are known; a call with other shapes, flags or attributes than before is followed once, and
an edge that is not known raises before a wrong number is returned. Known calls cost a look-up.
"""

from __future__ import annotations

import copy
import inspect
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from normfold.errors import UsageError
from normfold.pytorch.eager.copies import is_compiled
from normfold.pytorch.guard.recorder import WAY_OUT, Edge, Numbers, Recorder, Tags
from normfold.pytorch.guard.settings import PLAIN, Settings

_MOST_CALLS = 4096


class Guard:
    """What the calls of one folded module are checked against. Pickles and copies with the module.

    ``kinds`` are those of the proven calls (see ``kind_of``), which is all that a compiled call can be checked for.
    """

    def __init__(
        self,
        name: str,
        differing: Tags,
        steps: Mapping[str, str],
        edges: Mapping[Edge, Numbers],
        kinds: Iterable[Any],
    ) -> None:
        self.name, self.differing, self.steps, self.edges = name, differing, dict(steps), dict(edges)
        self.kinds = frozenset(kinds)
        self._reset()

    def _reset(self) -> None:
        self._known: set[Any] = set()
        self._settings: dict[str, Settings] = {}
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_known", "_settings", "_local")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    @property
    def is_active(self) -> bool:
        """Whether a checked call is running in this thread."""
        return getattr(self._local, "depth", 0) > 0

    def enter(self, path: str, module: torch.nn.Module, args: Any, kwargs: Any, method: str = "") -> None:
        """Begin a call of the module at ``path``; a call of a new kind, and each of a tracer, is followed."""
        local = self._local
        local.depth = getattr(local, "depth", 0) + 1
        if local.depth > 1:
            return
        local.recorder = local.key = None
        if module.training:
            raise UsageError(f"{self.name} is folded for inference and is in training mode; call eval() first")
        if not _is_traced():
            local.key = method, self._key(path, module, args, kwargs)
        if local.key is None or local.key not in self._known:
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
            if local.key is not None:
                self._known.add(local.key)

    def _steps_below(self, path: str) -> Iterator[tuple[str, str]]:
        prefix = f"{path}." if path else ""
        for step, name in self.steps.items():
            if step.startswith(prefix):
                yield step[len(prefix) :], name

    def _key(self, path: str, module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
        """Tell calls apart by shapes, types, flags, and the plain values that the module's own code can read."""
        leaves, structure = pytree.tree_flatten((args, kwargs))
        values = tuple(
            (leaf.shape, leaf.dtype, leaf.device, leaf.requires_grad)
            if isinstance(leaf, torch.Tensor)
            else (type(leaf), leaf if isinstance(leaf, PLAIN) else None)
            for leaf in leaves
        )
        if path not in self._settings:
            self._settings[path] = Settings(module)
        return path, structure, values, self._settings[path].values()


def kind_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what torch.compile can tell of a call when it compiles it: which arguments, and the values of flags."""
    return tuple([_word(value) for value in args]), tuple([(name, _word(kwargs[name])) for name in sorted(kwargs)])


def _word(value: Any) -> Any:
    if isinstance(value, (bool, str)) or value is None:
        return value
    return "..." if isinstance(value, (torch.Tensor, int, float)) else type(value).__name__


class EntryHook:
    """A hook before a module that contains changed ones."""

    def __init__(self, guard: Guard, path: str) -> None:
        self.guard, self.path = guard, path

    def __call__(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        """Begin a call. torch.compile, which follows this code, cannot follow the call: it must be of a proven kind."""
        if not _is_compiled():
            self.guard.enter(self.path, module, args, kwargs)
        elif not self.path and kind_of(args, kwargs) not in self.guard.kinds:
            _refuse(self.guard.name)


def _refuse(name: str) -> None:
    raise UsageError(f"{name} was folded for calls with other arguments or flags than this one; {WAY_OUT}")


vars(_refuse)["_torchdynamo_disable"] = True  # as torch.compiler.disable does, whose import costs a second


class ExitHook:
    """The hook behind it."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def __call__(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """End the call."""
        if not _is_compiled():
            self.guard.leave(output)


class GuardedMethod:
    """Stands in for another method than forward(), such as forward_features() of timm, that is called by itself."""

    def __init__(self, module: torch.nn.Module, name: str, guard: Guard, path: str) -> None:
        self.module, self.name, self.guard, self.path = module, name, guard, path

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(getattr(type(self.module), self.name).__get__(self.module))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; from outside of forward() the call is followed as those of forward() are."""
        method = getattr(type(self.module), self.name)
        if _is_compiled() or self.guard.is_active:
            return method(self.module, *args, **kwargs)
        self.guard.enter(self.path, self.module, args, kwargs, self.name)
        output = None
        try:
            output = method(self.module, *args, **kwargs)
        finally:
            self.guard.leave(output)
        return output


class Replicas:
    """Stands in for ``_replicate_for_data_parallel``, by which torch.nn.DataParallel makes shallow copies."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def __call__(self) -> torch.nn.Module:
        """Return a replica whose own methods are its own."""
        replica: torch.nn.Module = type(self.module)._replicate_for_data_parallel(self.module)  # type: ignore[no-untyped-call]  # torch's
        for name, value in list(vars(replica).items()):
            if isinstance(value, (GuardedMethod, InferenceOnly, Replicas)):
                vars(replica)[name] = copy.copy(value)
                vars(replica)[name].module = replica
        return replica


class StepHook:
    """A hook before a module whose output differs: it must not be called on its own."""

    def __init__(self, guard: Guard, path: str) -> None:
        self.guard, self.path = guard, path

    def __call__(self, module: torch.nn.Module, args: Any) -> None:
        """Refuse a call from outside of forward()."""
        if not _is_compiled() and not self.guard.is_active:
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


_OWN = (EntryHook, ExitHook, StepHook, InferenceOnly, WithoutGuard, GuardedMethod, Replicas)


def _is_compiled() -> bool:
    """Tell whether torch.compile follows this code, or compiles what is called from here."""
    if torch.compiler.is_dynamo_compiling():
        return True
    return "torch._dynamo" in sys.modules and callable(torch._C._dynamo.eval_frame.get_eval_frame_callback())


def _is_traced() -> bool:
    """Tell whether torch.export or torch.jit.trace runs this code with sizes that stand for others."""
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
        vars(part)["_replicate_for_data_parallel"] = Replicas(part)
        vars(part).update((name, GuardedMethod(part, name, guard, path)) for name in _methods(type(part)))
    vars(module)["train"] = InferenceOnly(module)
    for path in guard.differing - {""}:
        part = module.get_submodule(path)
        if path in guard.steps:
            part.register_forward_pre_hook(StepHook(guard, path), prepend=True)
            vars(part)["__prepare_scriptable__"] = WithoutGuard(part)


def _methods(cls: type) -> Iterator[str]:
    """Yield the methods that a user may call besides those of every module."""
    for name, value in inspect.getmembers(cls, inspect.isfunction):
        is_static = isinstance(inspect.getattr_static(cls, name), staticmethod)
        is_of_torch = hasattr(torch.nn.Module, name) or value.__module__.startswith("torch.nn.")
        if not name.startswith("_") and not is_static and not is_of_torch:
            yield name


def _parents(path: str) -> Iterator[str]:
    names = path.split(".")
    for length in range(len(names)):
        yield ".".join(names[:length])
