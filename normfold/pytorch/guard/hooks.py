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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from normfold.errors import UsageError
from normfold.pytorch.eager.copies import is_compiled
from normfold.pytorch.guard.recorder import WAY_OUT, Edge, Numbers, Recorder, Tags
from normfold.pytorch.guard.settings import PLAIN, OnModule, Settings

_MOST_CALLS = 4096


class _Running(threading.local):
    """The checked call that runs in a thread: whether there is one, and what follows it."""

    active = False
    recorder: Recorder | None = None
    key: Any = None


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
        self.running = _Running()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_known", "_settings", "running")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    def enter(self, path: str, module: torch.nn.Module, args: Any, kwargs: Any, method: str = "") -> None:
        """Begin a call of the module at ``path``; a call of a new kind, and each of a tracer, is followed."""
        running = self.running
        running.active, running.recorder, running.key = True, None, None
        if module.training:
            raise UsageError(f"{self.name} is folded for inference and is in training mode; call eval() first")
        if not _is_traced():
            running.key = method, path, self._settings_of(path, module).number(), _kind_of_arguments(args, kwargs)
        if running.key is None or running.key not in self._known:
            running.recorder = Recorder(self.differing, self.edges, self.name)
            running.recorder.watch(module, dict(self._steps_below(path)))
            running.recorder.__enter__()  # type: ignore[no-untyped-call]  # it has no types

    def leave(self, output: Any) -> None:
        """End a call; one that ended well is known from now on."""
        running = self.running
        recorder, running.active, running.recorder = running.recorder, False, None
        if recorder is None:
            return
        recorder.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # it has no types
        recorder.stop()
        if sys.exc_info()[0] is None:
            recorder.returned(output)
            if len(self._known) >= _MOST_CALLS:
                self._known.clear()
            if running.key is not None:
                self._known.add(running.key)

    def _steps_below(self, path: str) -> Iterator[tuple[str, str]]:
        prefix = f"{path}." if path else ""
        for step, name in self.steps.items():
            if step.startswith(prefix):
                yield step[len(prefix) :], name

    def _settings_of(self, path: str, module: torch.nn.Module) -> Settings:
        if path not in self._settings:
            self._settings[path] = Settings(module)
        return self._settings[path]


def _kind_of_arguments(args: Any, kwargs: Any) -> Any:
    """Tell calls apart by shapes, types and flags."""
    leaves, structure = args, None
    if kwargs or not all(type(value) is torch.Tensor for value in args):
        leaves, structure = pytree.tree_flatten((args, kwargs))
    values = [
        (leaf.shape, leaf.dtype, leaf.device, leaf.requires_grad)
        if isinstance(leaf, torch.Tensor)
        else (type(leaf), leaf if isinstance(leaf, PLAIN) else None)
        for leaf in leaves
    ]
    return structure, tuple(values)


def kind_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what torch.compile can tell of a call when it compiles it: which arguments, and the values of flags."""
    return tuple([_word(value) for value in args]), tuple([(name, _word(kwargs[name])) for name in sorted(kwargs)])


def _word(value: Any) -> Any:
    if isinstance(value, (bool, str)) or value is None:
        return value
    return "..." if isinstance(value, (torch.Tensor, int, float)) else type(value).__name__


def _refuse(name: str) -> None:
    raise UsageError(f"{name} was folded for calls with other arguments or flags than this one; {WAY_OUT}")


vars(_refuse)["_torchdynamo_disable"] = True  # as torch.compiler.disable does, whose import costs a second


class GuardedMethod(OnModule):
    """Stands in for a method of a module that contains changed ones: forward(), or another that may be called alone.

    It costs a call of Python within forward() of the folded module; hooks would cost ten times as much.
    """

    def __init__(self, module: torch.nn.Module, name: str, guard: Guard, path: str) -> None:
        super().__init__(module)
        self.name, self.guard, self.path = name, guard, path
        self.own = vars(module).get(name)  # of the instance

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.method)

    @property
    def __code__(self) -> Any:
        return self.method.__code__  # torch.export asks for it

    @property
    def method(self) -> Callable[..., Any]:
        """The method that this one stands in for."""
        method: Callable[..., Any] = self.own or getattr(type(self.module), self.name).__get__(self.module)
        return method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; a call from outside of forward() is followed, or, if it is compiled, of a proven kind."""
        guard = self.guard
        if not torch.compiler.is_dynamo_compiling():
            if guard.running.active:
                return self.method(*args, **kwargs)
            if not _is_compiled():
                return self._followed(args, kwargs)
        if not self.path and self.name == "forward" and kind_of(args, kwargs) not in guard.kinds:
            _refuse(guard.name)
        return self.method(*args, **kwargs)

    def _followed(self, args: Any, kwargs: Any) -> Any:
        output = None
        try:
            self.guard.enter(self.path, self.module, args, kwargs, self.name)
            output = self.method(*args, **kwargs)
        finally:
            self.guard.leave(output)
        return output


class Replicas(OnModule):
    """Stands in for ``_replicate_for_data_parallel``, by which torch.nn.DataParallel makes shallow copies."""

    def __call__(self) -> torch.nn.Module:
        """Return a replica whose own methods are its own."""
        replica: torch.nn.Module = type(self.module)._replicate_for_data_parallel(self.module)  # type: ignore[no-untyped-call]  # torch's
        for name, value in list(vars(replica).items()):
            if isinstance(value, OnModule):
                vars(replica)[name] = copy.copy(value)
                vars(replica)[name].module = replica
        return replica


class PartOfForward(GuardedMethod):
    """Stands in for forward() of a module whose output differs: it must not be called on its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse a call from outside of forward() of the folded module."""
        if torch.compiler.is_dynamo_compiling() or self.guard.running.active or _is_compiled():
            return self.method(*args, **kwargs)
        raise UsageError(
            f"{self.path} holds a folded norm, and is called outside of forward() of {self.guard.name}, "
            f"where its output differs from the original's; {WAY_OUT}"
        )


class InferenceOnly(OnModule):
    """Stands in for ``train`` of a folded module: sets the flags, and says what it means."""

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


class WithoutGuard(OnModule):
    """Stands in for ``__prepare_scriptable__``, by which torch.jit.script asks for what it can compile."""

    def __call__(self) -> torch.nn.Module:
        """Return the module without the guard, which is no TorchScript."""
        module = self.module
        plain = object.__new__(type(module))
        for name, value in vars(module).items():
            own = value.own if isinstance(value, GuardedMethod) else None
            if own is not None or not isinstance(value, OnModule):
                vars(plain)[name] = own or value
        return plain


def _is_compiled() -> bool:
    """Tell whether torch.compile follows this code, or compiles what is called from here."""
    if torch.compiler.is_dynamo_compiling():
        return True
    return "torch._dynamo" in sys.modules and callable(torch._C._dynamo.eval_frame.get_eval_frame_callback())


def _is_traced() -> bool:
    """Tell whether torch.export or torch.jit.trace runs this code with sizes that stand for others."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def install(module: torch.nn.Module, guard: Guard) -> None:
    """Put the guard on what contains a changed module, and on changed modules that must not be called alone."""
    parents = {parent for step in guard.steps for parent in _parents(step)} - set(guard.steps) | {""}
    for path in sorted(parents):
        part = module.get_submodule(path)
        if is_compiled(part):
            continue  # its inner module is the one that is traced
        methods = {name: GuardedMethod(part, name, guard, path) for name in ("forward", *_methods(type(part)))}
        vars(part).update(
            methods, __prepare_scriptable__=WithoutGuard(part), _replicate_for_data_parallel=Replicas(part)
        )
    vars(module)["train"] = InferenceOnly(module)
    for path in guard.differing & set(guard.steps) - {""}:
        part = module.get_submodule(path)
        vars(part).update(
            forward=PartOfForward(part, "forward", guard, path), __prepare_scriptable__=WithoutGuard(part)
        )


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
