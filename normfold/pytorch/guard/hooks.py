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
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch.utils import _pytree as pytree

from normfold.errors import UsageError
from normfold.pytorch.eager.copies import copied, copied_call, is_compiled
from normfold.pytorch.guard.followed import has_hooks_of_the_user
from normfold.pytorch.guard.recorder import Edge, Numbers, Recorder, Tags
from normfold.pytorch.guard.settings import PLAIN, OnModule, Settings
from normfold.pytorch.write_back.writing import UnfoldedStateError

_MOST_CALLS = 4096


class _Running(threading.local):
    """The checked call that runs in a thread: whether there is one, and what follows it."""

    def __init__(self) -> None:
        self.active = False  # of the instance, as torch.compile asks for it
        self.recorder: Recorder | None = None
        self.key: Any = None


class Guard:
    """What the calls of one folded module are checked against. Pickles and copies with the module."""

    def __init__(self, name: str, differing: Tags, steps: Mapping[str, str], edges: Mapping[Edge, Numbers]) -> None:
        self.name, self.differing, self.steps, self.edges = name, differing, dict(steps), dict(edges)
        self._reset()

    def _reset(self) -> None:
        self.known: set[Any] = set()
        self._settings: dict[str, Settings] = {}
        self.running = _Running()
        _run_without_compiling()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("known", "_settings", "running")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    def key_of(self, path: str, module: torch.nn.Module, args: Any, kwargs: Any, method: str) -> Any:
        """Return what tells this call of a module from others that may take another way; None for one of a tracer."""
        if _is_traced():
            return None
        return method, path, self._settings_of(path, module).number(), _kind_of_arguments(args, kwargs)

    def learn(self, key: Any) -> None:
        """Take calls of this key as known from now on."""
        if len(self.known) >= _MOST_CALLS:
            self.known.clear()
        if key is not None:
            self.known.add(key)

    def enter(self, path: str, module: torch.nn.Module, args: Any, kwargs: Any, method: str) -> bool:
        """Begin a call of the module at ``path``; one that is not known is followed. Return whether it is known."""
        running = self.running
        running.active, running.recorder, running.key = True, None, None
        if module.training:
            raise UsageError(f"{self.name} is folded for inference and is in training mode; call eval() first")
        running.key = self.key_of(path, module, args, kwargs, method)
        if running.key in self.known:
            return True
        self._require_parts(path, module)
        self._warn_of_hooks(path, module)
        running.recorder = Recorder(self.differing, self.edges, self.name)
        running.recorder.watch(module, dict(self._steps_below(path)))
        running.recorder.__enter__()  # type: ignore[no-untyped-call]  # it has no types
        return False

    def _require_parts(self, path: str, module: torch.nn.Module) -> None:
        """Raise UsageError where a part that a fold has changed, or a weight of it, is another one by now."""
        for step, name in self._steps_below(path):
            if not _is_as_folded(module, step):
                raise UsageError(
                    f"{name or 'a weight'} of {self.name} was replaced, itself or a weight of it, and the fold has "
                    "changed what is around it as well; put the new one into the original module and fold that, or "
                    "take the risk with guard=False"
                )

    def _warn_of_hooks(self, path: str, module: torch.nn.Module) -> None:
        """Warn of hooks of the user on parts that give other values; one that computes with them is refused."""
        parts = [(name, module.get_submodule(step)) for step, name in self._steps_below(path)]
        names = [name for name, part in parts if name in self.differing and has_hooks_of_the_user(part)]
        if names:
            text = f"hooks on {', '.join(names)} of {self.name} see other values than before the fold"
            warnings.warn(text, UserWarning, stacklevel=5)

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
            self.learn(running.key)

    def _steps_below(self, path: str) -> Iterator[tuple[str, str]]:
        prefix = f"{path}." if path else ""
        for step, name in self.steps.items():
            if step.startswith(prefix):
                yield step[len(prefix) :], name

    def _settings_of(self, path: str, module: torch.nn.Module) -> Settings:
        if path not in self._settings:
            self._settings[path] = Settings(module)
        return self._settings[path]


def _is_as_folded(module: torch.nn.Module, path: str) -> bool:
    """Return whether the part at ``path`` is the one that was folded, compiled or quantized at the most."""
    try:
        part = module.get_submodule(path)
    except AttributeError:
        return False
    part = part.get_submodule("_orig_mod") if is_compiled(part) else part
    forward = vars(part).get("forward")
    if not isinstance(forward, GuardedMethod if part is module else PartOfForward):
        return type(part).__module__.startswith("torch.ao.")
    return all(
        weight is forward.weights.get(name, weight)
        for name, weight in part._parameters.items()
        if weight is None or type(weight) is torch.nn.Parameter  # others come by functional_call or torch.export
    )


_KIND_OF_TENSOR = attrgetter("shape", "dtype", "device", "requires_grad")
_LEAVES = {torch.Tensor, *PLAIN}


def _kind_of_arguments(args: Any, kwargs: Any) -> Any:
    """Tell calls apart by shapes, types and flags."""
    leaves: Sequence[Any] = (*args, *kwargs.values())
    structure: Any = (*kwargs,)
    if not _LEAVES.issuperset(map(type, leaves)):
        leaves, structure = pytree.tree_flatten((args, kwargs))
    values = [
        _KIND_OF_TENSOR(leaf)
        if isinstance(leaf, torch.Tensor)
        else (type(leaf), leaf if isinstance(leaf, PLAIN) else None)
        for leaf in leaves
    ]
    return structure, tuple(values)


def _leave_graph() -> None:
    """Break the graph that torch.compile makes of code around a folded module: a call is followed outside of it."""


vars(_leave_graph)["_torchdynamo_disable"] = True  # as torch.compiler.disable does, whose import costs a second


class GuardedMethod(OnModule):
    """Stands in for a method of a module that contains changed ones: forward(), or another that may be called alone.

    It costs a call of Python within forward() of the folded module; hooks would cost ten times as much.
    """

    def __init__(self, module: torch.nn.Module, name: str, guard: Guard, path: str) -> None:
        super().__init__(module)
        self.name, self.guard, self.path = name, guard, path
        self.own = vars(module).get(name)  # of the instance
        self.weights: dict[str, Any] = {}
        self.take_weights()

    def take_weights(self) -> None:
        """Take the parameters that the module has itself by now as those of the fold."""
        self.weights = dict(self.module._parameters)

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
        """Call the method; a call from outside of forward() is followed, which breaks a graph that is compiled."""
        if self.guard.running.active:
            return self.method(*args, **kwargs)
        if torch.compiler.is_dynamo_compiling():
            if self.followed_while_compiling(*args, **kwargs):
                self.guard.running.active = True
                output = self.method(*args, **kwargs)
                self.guard.running.active = False
                return output
            _leave_graph()
        return self.followed(args, kwargs)

    def followed_while_compiling(self, *args: Any, **kwargs: Any) -> bool:
        """Follow a copy where the graph must be whole; torch.compile runs this, with real values, as it compiles."""
        compiler = sys.modules["torch._dynamo"].symbolic_convert.InstructionTranslator.current_tx()
        if compiler.one_graph:
            self._follow_copy(args, kwargs)
        return bool(compiler.one_graph)

    def followed(self, args: Any, kwargs: Any) -> Any:
        """Follow a call of a new kind; torch.compile goes on with what a known one runs."""
        output, method = None, self.method
        compiler = _switch_compiler(None)
        try:
            if callable(compiler):
                _run_without_compiling()
                self._follow_copy(args, kwargs)
            if self.guard.enter(self.path, self.module, args, kwargs, self.name) and callable(compiler):
                if method.__module__.startswith("torch.nn."):  # as torch.compile does, which leaves code of torch alone
                    method = sys.modules["torch._dynamo"].external_utils.wrap_inline(method)
                _switch_compiler(compiler)
            output = method(*args, **kwargs)
        finally:
            _switch_compiler(None)
            try:
                self.guard.leave(output)
            finally:
                _switch_compiler(compiler)
        return output

    def _follow_copy(self, args: Any, kwargs: Any) -> None:
        """Make a call known that will be compiled, which cannot be followed."""
        key = self.guard.key_of(self.path, self.module, args, kwargs, self.name)
        if key in self.guard.known:
            return
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                given = copied_call(args, kwargs)
                vars(copied(self.module))[self.name].followed(*given)
        except UsageError:
            raise
        except Exception:  # noqa: BLE001  # the call itself will raise it
            return
        self.guard.learn(key)


vars(GuardedMethod.followed_while_compiling)["_dynamo_marked_constant"] = True  # as assume_constant_result does


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
    """Stands in for forward() of a module that a fold has changed: it must not be called on its own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse a call from outside of forward() of the folded module."""
        if self.guard.running.active:
            return self.method(*args, **kwargs)
        raise UsageError(
            f"{self.path} is a part of a fold, and is called outside of forward() of {self.guard.name}, where it gives "
            "something else than the original's; fold what calls it (such as a copy that torch.fx traced from the "
            "original), use the original module, or take the risk with guard=False"
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
        vars(plain)["_modules"] = dict(module._modules)  # torch puts what it compiles into the very dict
        return plain


def _refuse_alone(module: torch.nn.Module, state: Any, prefix: str, *_: Any) -> None:
    """Refuse weights for a changed part alone: nothing tells those from before the fold from its own."""
    if not prefix:
        raise UnfoldedStateError(
            f"{type(module).__name__} holds a folded norm, so that weights from before the fold do not fit; load those "
            "of the whole folded module, which Folded.convert makes"
        )


def _take_loaded(module: torch.nn.Module, _: Any) -> None:
    """Take the weights that load_state_dict(assign=True) has put into all of a folded module."""
    for part in module.modules():
        forward = vars(part).get("forward")
        if isinstance(forward, GuardedMethod):
            forward.take_weights()


def _switch_compiler(callback: Any) -> Any:
    """Let torch.compile use ``callback`` for what is called from here, None for nothing; return what it used."""
    if "torch._dynamo" not in sys.modules:
        return None
    return torch._C._dynamo.eval_frame.set_eval_frame(callback)


def _run_without_compiling() -> None:
    """Let torch.compile leave the code that follows calls as it is; what that calls is compiled."""
    if "torch._dynamo" in sys.modules:
        for function in (GuardedMethod.__call__, GuardedMethod.followed, _switch_compiler):
            sys.modules["torch._dynamo"].eval_frame.skip_code(function.__code__)


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
    module.register_load_state_dict_post_hook(_take_loaded)  # type: ignore[no-untyped-call]  # torch's
    for path in set(guard.steps) - {""}:
        part = module.get_submodule(path)
        vars(part).update(
            forward=PartOfForward(part, "forward", guard, path), __prepare_scriptable__=WithoutGuard(part)
        )
        part.register_load_state_dict_pre_hook(_refuse_alone)  # type: ignore[no-untyped-call]  # torch's


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
