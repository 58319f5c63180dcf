"""``fold_module``: the folds of the engine, written back onto the nn.Module, for people who stay in PyTorch.

The module is exported (torch.export follows any forward()), the engine folds the exported graph, and what it did is
written back: changed weights into their parameters, absorbed norms become Identity. There is no second implementation
of any fold. What cannot be written back is left out of the plan, with its reason, and the rest is planned again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import torch

from normfold.errors import SourceError, UsageError
from normfold.findings.verdict import Outcome, Verdict
from normfold.pytorch.confirmation import ModuleProof, confirmed
from normfold.pytorch.eager.call import Call, evaluation, without_autocast
from normfold.pytorch.eager.copies import copied
from normfold.pytorch.eager.parametrizations import make_plain, plain_copy
from normfold.pytorch.guard.followed import Followed, follow
from normfold.pytorch.guard.hooks import Guard, install
from normfold.pytorch.trace.exporters import Traced, Tracing, require_weights, trace
from normfold.pytorch.trace.selection import selected
from normfold.pytorch.write_back.planning import Planner
from normfold.pytorch.write_back.weight_changes import Changes
from normfold.pytorch.write_back.writing import write
from normfold.verify.result import Comparison

M = TypeVar("M", bound=torch.nn.Module)


@dataclass(frozen=True)
class Folded(Generic[M]):
    """A module with its norms folded.

    ``module``: of the same class as the original. ``verdicts``: one for each norm and constant affine of its graph.
    ``removed``: the paths of the modules that are gone: a norm became Identity, a branch that another one has taken
    over gives zero or is left out. A norm inside a larger forward() runs on, with parameters that make it do nothing.
    ``rebuilt``: the paths of the modules that became a Sequential of what is left of them, under the names that it had.
    ``added``: the keys of biases that did not exist before; ``removed_keys``: the keys of the state dict that are gone.
    ``comparisons``: the module against the original, eagerly, output by output, each with its worst call; ``calls``:
    the calls that were compared.
    """

    module: M
    verdicts: tuple[Verdict, ...]
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    removed_keys: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    _convert: Callable[[Mapping[str, Any]], dict[str, Any]] | None = field(default=None, repr=False, compare=False)

    def convert(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state dict of the folded module for other weights of the original one.

        ``state_dict`` is one of the module before its fold, such as a later checkpoint; load the result with
        ``Folded.module.load_state_dict``. UsageError when it does not fit, or when these weights fold differently.
        """
        if self._convert is None:
            raise UsageError("expected a result of fold_module, which keeps what a conversion needs")
        return self._convert(state_dict)

    @property
    def folds(self) -> tuple[Verdict, ...]:
        """What was folded."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is not Outcome.KEPT)

    @property
    def kept(self) -> tuple[Verdict, ...]:
        """What stayed, each with its obstacles."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is Outcome.KEPT)


def fold_module(
    module: M,
    args: Sequence[Any] | torch.Tensor | Mapping[str, Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    inplace: bool = False,
    dynamic_shapes: Any = None,
    skip: Iterable[str] = (),
    only: Iterable[str] = (),
    eval: bool = False,  # the word of nn.Module.eval
    guard: bool = True,
    seed: int = 0,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Folded[M]:
    """Fold every norm of ``module`` that one of its linear layers can take, and prove it eagerly.

    ``args`` and ``kwargs`` are one valid call of ``forward``; ``dynamic_shapes`` is that of torch.export.export.
    A fold must hold on every call that the signature allows and the module takes: each flag both ways, optional
    arguments left out, other batches and sizes (``Folded.calls``). The result is a copy that shares all unchanged
    parameters with ``module``, or, with ``inplace``, the module itself. Class, names, hooks, devices, types, memory
    formats and attributes of parameters stay. With ``eval`` the result is in eval mode, and a copy leaves ``module`` as
    it is. Keys of the state dict that go are ``Folded.removed_keys``; keys that come are ``Folded.added``;
    ``Folded.convert`` makes such a state dict from one of ``module``. ``skip`` and ``only`` name rules, nodes, or paths
    of modules.

    With ``guard`` the folded module follows each new kind of call once, and raises UsageError for one that would use a
    changed weight in another way; calling train() warns that the norms are gone. ``on_stage`` is called with trace,
    fold and write.

    UsageError when ``module`` is in training mode and not ``eval``, or for an unknown name; SourceError when
    torch.export cannot trace it.
    """
    _require_foldable(module)
    choice = _Choice(dynamic_shapes, frozenset(skip), frozenset(only), seed)
    on_stage("trace")
    with evaluation(module, eval), torch.inference_mode(False), without_autocast():
        original = copied(module)
        plain = plain_copy(original)
        try:
            traced = trace(plain, args, kwargs, Tracing(dynamic_shapes, fallback=False))
        except SourceError as error:
            raise SourceError(f"fold_module needs a module that torch can export to ONNX; {error}") from error
        on_stage("fold")
        proof = ModuleProof.of(original if eval else module, plain, traced, seed)
        planned = _planned(proof, traced, choice)
    on_stage("write")
    before = dict.fromkeys(module.state_dict())
    target = module if inplace else copied(module)
    removals = _make_plain_where_needed(target, plain, planned.changes)
    write(target, plain, planned.changes)
    for part in target.modules() if eval else ():
        part.training = False
    if guard:
        _install_guard(target, planned)
    after = dict.fromkeys(key for key, value in target.state_dict().items() if _has_values(value))
    changes, trail = planned.changes, planned.trail
    return Folded(
        target,
        planned.verdicts,
        removed=_paths(plain, changes.gone | changes.zeros | changes.dropped),
        added=_not_in(after, before),
        rebuilt=_paths(plain, set(changes.left) - changes.gone),
        removed_keys=_not_in(before, after),
        comparisons=planned.comparisons,
        notes=(*traced.notes, *removals, *trail.notes, *planned.notes),
        calls=planned.calls,
        _convert=partial(_converted, original, target, traced.call, choice),
    )


@dataclass(frozen=True)
class _Choice:
    """What the caller chose besides the module and its call."""

    dynamic_shapes: Any
    skip: frozenset[str]
    only: frozenset[str]
    seed: int


@dataclass(frozen=True, eq=False)
class _Planned:
    """Changes that eager runs confirm, with what they showed."""

    changes: Changes
    verdicts: tuple[Verdict, ...]
    comparisons: tuple[Comparison, ...]
    trail: Followed
    notes: tuple[str, ...]
    calls: tuple[str, ...]


def _planned(proof: ModuleProof, traced: Traced, choice: _Choice) -> _Planned:
    names = selected(traced.model, proof.plain, choice.skip, choice.only)
    plan, comparisons, notes = confirmed(Planner(proof.plain, traced, *names), proof)
    changes = proof.with_copies_before_writes(plan.changes)
    steps, calls = _paths(proof.plain, changes.steps), [(each.feed, each.call) for each in proof.covered(changes)]
    trail = follow(proof.original, proof.candidate(changes), steps, calls, partial(proof.shows, changes))
    feeds = tuple(feed for feed, _ in calls if feed not in trail.blind)
    return _Planned(changes, plan.verdicts, comparisons, trail, notes, feeds)


def _install_guard(target: torch.nn.Module, planned: _Planned) -> None:
    trail = planned.trail
    if planned.changes.steps:
        install(target, Guard(type(target).__name__, trail.differing, trail.steps, trail.edges))


def _has_values(value: object) -> bool:
    return not isinstance(value, torch.Tensor) or value.numel() > 0


def _require_foldable(module: object) -> None:
    """Refuse what has no modules to fold, or no values."""
    if isinstance(module, torch.export.ExportedProgram):
        raise UsageError(
            "expected an nn.Module, got an ExportedProgram, whose forward() is one graph without modules; fold the "
            "module before torch.export.export, or pass torch.export.unflatten(program), or use normfold.export"
        )
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"expected an nn.Module, got {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise SourceError(
            "a TorchScript module has its forward() compiled in; fold the nn.Module before torch.jit.script or trace, "
            "or optimize the exported file: normfold.export(module, args, path)"
        )
    require_weights(module)
    scripted = next((path for path, part in module.named_modules() if isinstance(part, torch.jit.ScriptModule)), None)
    if scripted is not None:
        raise SourceError(
            f"{scripted} is a TorchScript module, which torch.export cannot trace; put its nn.Module there, or fold "
            "what is around it as a module of its own"
        )


def _converted(
    original: torch.nn.Module, target: torch.nn.Module, call: Call, choice: _Choice, state: Mapping[str, Any]
) -> dict[str, Any]:
    """Fold the original with the weights of ``state``."""
    other = copied(original, with_parameters=True)
    try:
        other.load_state_dict(dict(state))
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise UsageError(f"expected a state dict of the module before its fold: {line}") from error
    folded = fold_module(other, call.args, call.kwargs, **vars(choice), guard=False)
    wanted, made = target.state_dict(), folded.module.state_dict()
    if {key: value.shape for key, value in wanted.items()} != {key: value.shape for key, value in made.items()}:
        raise UsageError("with these weights other norms can be folded; fold the module itself with them")
    return dict(made)


def _make_plain_where_needed(target: torch.nn.Module, plain: torch.nn.Module, changes: Changes) -> list[str]:
    """Turn computed weights that change into parameters; the others go on being computed."""
    changed = {owner for owner, _ in changes.weights}
    with evaluation(target, switch=True):
        return [
            note
            for path, part in plain.named_modules()
            if part in changed
            for note in make_plain(target.get_submodule(path), path)
        ]


def _not_in(keys: Iterable[str], others: Container[str]) -> tuple[str, ...]:
    return tuple(key for key in keys if key not in others)


def _paths(module: torch.nn.Module, parts: Collection[torch.nn.Module]) -> tuple[str, ...]:
    return tuple(name for name, part in module.named_modules(remove_duplicate=False) if part in parts)
