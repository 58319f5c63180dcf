"""``fold_module``: the folds of the engine, written back onto the nn.Module, for people who stay in PyTorch.

The module is exported (torch.export follows any forward()), the engine folds the exported graph, and what it did is
written back: changed weights into their parameters, absorbed norms become Identity. There is no second implementation
of any fold. What cannot be written back is left out of the plan, with its reason, and the rest is planned again.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from normfold.errors import SourceError
from normfold.fold.run import FoldOptions, fold_affines
from normfold.pytorch.module_map import Changes, Comparison, Modules, Problem, Slot, children_left
from normfold.pytorch.provenance import Provenance, Snapshot
from normfold.pytorch.source import Traced, evaluation, trace
from normfold.pytorch.witness import WITNESS, compare, eager_run, feeds
from normfold.reason import Obstacle, Reason
from normfold.record import Outcome, Verdict
from normfold.simplify import apply_facts, simplify
from normfold.verify.result import Comparison as Compared

M = TypeVar("M", bound=torch.nn.Module)


@dataclass(frozen=True)
class Folded(Generic[M]):
    """A module with its norms folded.

    ``module``: of the same class as the original. ``verdicts``: one for each norm and constant affine of its graph.
    ``removed``: the paths of the modules that became Identity; their state_dict keys are gone. ``added``: the keys of
    biases that did not exist before. ``comparisons``: the module against the original, eagerly, output by output.
    """

    module: M
    verdicts: tuple[Verdict, ...]
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    comparisons: tuple[Compared, ...] = ()
    notes: tuple[str, ...] = ()

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
    args: Sequence[Any] | torch.Tensor,
    kwargs: Mapping[str, Any] | None = None,
    *,
    inplace: bool = False,
    dynamic_shapes: Any = None,
    skip: Iterable[str] = (),
    eval: bool = False,  # the word of nn.Module.eval
    seed: int = 0,
) -> Folded[M]:
    """Fold every norm of ``module`` that one of its linear layers can take, and prove it eagerly.

    ``args`` and ``kwargs`` are one valid call of ``forward``; ``dynamic_shapes`` is that of torch.export.export.
    The result is a copy that shares all unchanged tensors with ``module``, or, with ``inplace``, the module itself.
    Class, names, hooks, training flags, devices and types stay. Keys of the state dict that go are those below
    ``Folded.removed``; keys that come are ``Folded.added``. ``skip`` names rules or nodes to leave.

    UsageError when ``module`` is in training mode and not ``eval``; SourceError when torch.export cannot trace it.
    """
    with evaluation(module, eval):
        traced = trace(module, args, kwargs, dynamic_shapes=dynamic_shapes)
        if traced.program is None:
            raise SourceError(f"fold_module needs a module that torch.export can trace; {'; '.join(traced.notes)}")
        planner = _Planner(module, traced, frozenset(skip) | {"branches"})
        plan, comparisons, notes = _confirmed(module, planner, traced, seed)
    paths = _paths(module, plan.changes)
    added = tuple(f"{path}.bias" for path in _paths_of_biases(module, plan.changes))
    target = module if inplace else _copy(module)
    _apply(target, module, plan)
    return Folded(target, plan.verdicts, paths, added, comparisons, (*traced.notes, *notes))


# -- planning -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """What to change, the verdict on each finding, and what is left of the children of modules that go."""

    changes: Changes
    verdicts: tuple[Verdict, ...]
    children: Mapping[torch.nn.Module, tuple[str, ...]]


class _Planner:
    """Plans with some findings excluded; the export and what is known about it are made once."""

    def __init__(self, module: torch.nn.Module, traced: Traced, skip: frozenset[str]) -> None:
        self.modules, self.skip = Modules(module), skip
        self.model = traced.model
        self.provenance = Provenance(self.model, self.modules.tensors)
        apply_facts(self.model, simplify(ir.to_proto(self.model)))
        self.refused: dict[str, tuple[Obstacle, ...]] = {}

    def plan(self, excluded: frozenset[str] = frozenset()) -> _Plan:
        """Fold; leave out what cannot be written back; fold again, until everything can."""
        while True:
            model = self.model.clone()
            snapshot = Snapshot(model)
            leave_out = excluded | frozenset(self.refused)
            verdicts = fold_affines(model, FoldOptions(skip=self.skip, exclude=leave_out))
            findings = frozenset(verdict.finding.name for verdict in verdicts)
            changes, problems = Comparison(model, snapshot, self.provenance, self.modules, findings).run()
            inner = frozenset(v.finding.name for v in verdicts if v.outcome is Outcome.FOLDED and v.finding.graph)
            if inner:
                problems = (Problem(inner, Reason.IN_FORWARD, "", "it stands in a branch or loop"),)
            if not problems:
                left = children_left(changes.gone, model.graph, self.modules)
                return _Plan(changes, tuple(map(self._with_own_reasons, verdicts)), left)
            self._refuse(problems, [v for v in verdicts if v.finding.name not in leave_out])

    def _refuse(self, problems: Sequence[Problem], verdicts: Sequence[Verdict]) -> None:
        """Leave out the findings that are to blame; all of them where the blame falls on none, so that this ends.

        What the engine would have kept, and only written in another form, keeps the engine's reasons.
        """
        if not verdicts:
            raise AssertionError(f"nothing is folded, and yet: {problems[0]}")
        blamed = {name: problem for problem in problems for name in problem.folds}
        chosen = [verdict for verdict in verdicts if verdict.finding.name in blamed] or verdicts
        for verdict in chosen:
            problem = blamed.get(verdict.finding.name, problems[0])
            own = Obstacle(problem.reason, problem.node, detail=problem.detail)
            is_kept = verdict.outcome is Outcome.KEPT and verdict.obstacles
            self.refused[verdict.finding.name] = verdict.obstacles if is_kept else (own,)

    def _with_own_reasons(self, verdict: Verdict) -> Verdict:
        """The engine calls what was excluded rolled back; say instead why it cannot be written back."""
        if verdict.outcome is not Outcome.KEPT:
            return verdict
        own = self.refused.get(verdict.finding.name)
        return replace(verdict, obstacles=own or tuple(map(self._translated, verdict.obstacles)))

    def _translated(self, obstacle: Obstacle) -> Obstacle:
        causes = self.refused.get(obstacle.node, ()) if obstacle.reason is Reason.ROLLED_BACK else ()
        return replace(obstacle, reason=causes[0].reason, detail=causes[0].detail) if causes else obstacle


def _confirmed(
    module: torch.nn.Module, planner: _Planner, traced: Traced, seed: int
) -> tuple[_Plan, tuple[Compared, ...], tuple[str, ...]]:
    """A plan that eager runs confirm. A fold that they do not confirm is found by halving, and left out."""
    plan = planner.plan()
    while True:
        comparisons, notes = _comparisons(module, plan, traced, seed)
        failed = [compared for compared in comparisons if not compared.passed]
        folds = [verdict.finding.name for verdict in plan.verdicts if verdict.outcome is Outcome.FOLDED]
        if not failed or not folds:
            hidden = [compared.value for compared in comparisons if compared.chaotic]
            noisy = [f"{value}: rounding noise of the module itself hides every difference" for value in hidden]
            return plan, comparisons, (*notes, *noisy)
        guilty = _first_guilty(module, planner, traced, seed, folds)
        planner.refused[guilty] = (Obstacle(Reason.NOT_CONFIRMED, guilty, detail=_first_failure(failed[0])),)
        plan = planner.plan()


def _first_guilty(module: torch.nn.Module, planner: _Planner, traced: Traced, seed: int, folds: list[str]) -> str:
    """The last fold of the shortest run of first folds that fails."""
    low, high = 0, len(folds)
    while high - low > 1:
        middle = (low + high) // 2
        plan = planner.plan(frozenset(folds[middle:]))
        comparisons, _ = _comparisons(module, plan, traced, seed)
        low, high = (low, middle) if any(not compared.passed for compared in comparisons) else (middle, high)
    return folds[high - 1]


def _comparisons(
    module: torch.nn.Module, plan: _Plan, traced: Traced, seed: int
) -> tuple[tuple[Compared, ...], tuple[str, ...]]:
    candidate = _copy(module)
    _apply(candidate, module, plan)
    calls = feeds(traced.call, traced.program, seed)
    try:
        return compare(module, eager_run(candidate), calls)
    except (AttributeError, TypeError, RuntimeError, ValueError, KeyError, NotImplementedError) as error:
        # forward() may ask a norm that is gone for something
        return (Compared("all outputs", WITNESS, False, note=f"{type(error).__name__}: {error}"),), ()


def _first_failure(compared: Compared) -> str:
    off = compared.note or f"off by {compared.relative:.3g} of its scale, allowed {compared.tolerance:.3g}"
    return f"{compared.value} on {compared.feed or 'the given arguments'}: {off}"


# -- writing back -------------------------------------------------------------------------------------------------


def _copy(module: M) -> M:
    """A deep copy of the modules that shares every tensor with the original. What changes gets a new tensor."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for tensor in (*part._parameters.values(), *part._buffers.values(), *vars(part).values()):
            if isinstance(tensor, torch.Tensor):
                memo[id(tensor)] = tensor
    return copy.deepcopy(module, memo)


def _apply(target: torch.nn.Module, original: torch.nn.Module, plan: _Plan) -> None:
    """Write the plan, which speaks of the modules of ``original``, onto ``target``, a copy of it or itself."""
    twins = dict(zip(original.modules(), target.modules(), strict=True))
    for slot, array in plan.changes.weights.items():
        _set_weight(twins[slot[0]], slot, array)
    stand_ins = {twins[gone]: _stand_in(twins[gone], plan.children[gone]) for gone in plan.changes.gone}
    for parent in list(twins.values()):
        for name, child in list(parent._modules.items()):
            if child in stand_ins:
                parent._modules[name] = stand_ins[child]


def _set_weight(module: torch.nn.Module, slot: Slot, array: npt.NDArray[Any]) -> None:
    """A new tensor in place of the old one, which others may share. A new bias takes type and place of the weight."""
    name = slot[1]
    old: torch.Tensor | None = module._parameters.get(name, module._buffers.get(name))
    like = old if old is not None else module._parameters["weight"]
    assert like is not None
    tensor = _tensor_of(array).to(device=like.device, dtype=like.dtype)
    if name in module._buffers:
        module._buffers[name] = tensor
    else:
        module._parameters[name] = torch.nn.Parameter(tensor, requires_grad=like.requires_grad)


def _tensor_of(array: npt.NDArray[Any]) -> torch.Tensor:
    array = np.array(array, copy=True, order="C")
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


def _stand_in(module: torch.nn.Module, children: tuple[str, ...]) -> torch.nn.Module:
    """Identity, or the children that still do something (a norm with its activation), with the module's hooks."""
    left: torch.nn.Module = torch.nn.Identity()
    if children:
        left = torch.nn.Sequential()
        for name in children:
            left.add_module(name, module.get_submodule(name))
    left.training = module.training
    for name in _HOOKS:
        setattr(left, name, getattr(module, name))
    return left


def _paths(module: torch.nn.Module, changes: Changes) -> tuple[str, ...]:
    return tuple(name for name, part in module.named_modules(remove_duplicate=False) if part in changes.gone)


def _paths_of_biases(module: torch.nn.Module, changes: Changes) -> list[str]:
    new = {owner for owner, name in changes.weights if name == "bias" and owner._parameters["bias"] is None}
    return [name for name, part in module.named_modules(remove_duplicate=False) if part in new]
