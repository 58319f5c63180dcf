"""``fold_module``: the folds of the engine, written back onto the nn.Module, for people who stay in PyTorch.

The module is exported (torch.export follows any forward()), the engine folds the exported graph, and what it did is
written back: changed weights into their parameters, absorbed norms become Identity. There is no second implementation
of any fold. What cannot be written back is left out of the plan, with its reason, and the rest is planned again.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import onnx_ir as ir
import torch

from normfold.constants.simplify import apply_facts, simplify
from normfold.errors import SourceError
from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Outcome, Verdict
from normfold.fold.cleanup.tidy import clear_the_way
from normfold.fold.engine import FoldOptions, fold_affines
from normfold.fold.graph_rules import channel_order as order
from normfold.fold.graph_rules import explicit_pad as padding
from normfold.fold.graph_rules import parallel_branches as branches
from normfold.pytorch.eager_reference import compare, eager_run, feeds
from normfold.pytorch.module_map import Changes, WriteBack, WriteBackProblem
from normfold.pytorch.modules import Modules
from normfold.pytorch.parametrizations import computed_weights, make_plain
from normfold.pytorch.provenance import Provenance, Snapshot
from normfold.pytorch.source import Traced, evaluation, trace
from normfold.pytorch.writing import copied, write
from normfold.verify.result import Comparison, Stage

M = TypeVar("M", bound=torch.nn.Module)

_NOT_IN_MODULES = frozenset({order.RULE, padding.RULE})  # what has no module of its own to take out


@dataclass(frozen=True)
class Folded(Generic[M]):
    """A module with its norms folded.

    ``module``: of the same class as the original. ``verdicts``: one for each norm and constant affine of its graph.
    ``removed``: the paths of the modules that are gone: a norm became Identity, a branch that another one has taken
    over gives zero or is left out. ``rebuilt``: the paths of the modules that became a Sequential of what is left of
    them, under the names that it had. ``added``: the keys of biases that did not exist before; ``removed_keys``: the
    keys of the state dict that are gone. ``comparisons``: the module against the original, eagerly, output by output.
    """

    module: M
    verdicts: tuple[Verdict, ...]
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()
    removed_keys: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
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
    Class, names, hooks, training flags, devices and types stay. Keys of the state dict that go are
    ``Folded.removed_keys``; keys that come are ``Folded.added``. ``skip`` names rules or nodes to leave.

    UsageError when ``module`` is in training mode and not ``eval``; SourceError when torch.export cannot trace it.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise SourceError(
            "a TorchScript module has its forward() compiled in; fold the nn.Module before torch.jit.script or trace, "
            "or optimize the exported file: normfold.export(module, args, path)"
        )
    with evaluation(module, eval):
        plain = _plain_copy(module)
        try:
            traced = trace(plain, args, kwargs, dynamic_shapes=dynamic_shapes, fallback=False)
        except SourceError as error:
            raise SourceError(f"fold_module needs a module that torch.export can trace; {error}") from error
        planner = _Planner(plain, traced, frozenset(skip))
        plan, comparisons, notes = _confirmed(module, plain, planner, traced, seed)
    changes = plan.changes
    before = dict.fromkeys(module.state_dict())
    target = module if inplace else copied(module)
    removals = _make_plain_where_needed(target, plain, changes)
    removed = _paths(plain, changes.gone | changes.zeros | changes.dropped)
    rebuilt = _paths(plain, set(changes.left) - changes.gone)
    write(target, plain, changes)
    after = dict.fromkeys(target.state_dict())
    added, gone = _not_in(after, before), _not_in(before, after)
    notes = (*traced.notes, *removals, *notes)
    return Folded(target, plan.verdicts, removed, added, rebuilt, gone, comparisons, notes)


def _plain_copy(module: M) -> M:
    """Return the module itself, or, where it computes weights, a copy in which they are parameters."""
    if not any(True for part in module.modules() for _ in computed_weights(part)):
        return module
    plain = copied(module)
    for part in list(plain.modules()):
        make_plain(part, "")
    return plain


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


# -- planning -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ModulePlan:
    """What to change, and the verdict on each finding."""

    changes: Changes
    verdicts: tuple[Verdict, ...]


class _Planner:
    """Plans with some findings excluded; the export and what is known about it are made once."""

    def __init__(self, module: torch.nn.Module, traced: Traced, skip: frozenset[str]) -> None:
        self.modules, self.skip = Modules(module), skip | _NOT_IN_MODULES
        self.model = traced.model
        self.provenance = Provenance(self.model, self.modules.tensors)
        apply_facts(self.model, simplify(ir.to_proto(self.model)))
        clear_the_way(self.model)  # before any snapshot: what is computed twice is no part of a fold
        self.refused: dict[str, tuple[Obstacle, ...]] = {}
        self.sites = {node.name or "": node.outputs[0].name for node in self.model.graph}
        self.unmerged: dict[str, tuple[Obstacle, ...]] = {}

    def plan(self, excluded: frozenset[str] = frozenset()) -> _ModulePlan:
        """Fold; leave out what cannot be written back; fold again, until everything can."""
        while True:
            model = self.model.clone()
            snapshot = Snapshot(model)
            leave_out = excluded | frozenset(self.refused)
            verdicts = fold_affines(model, FoldOptions(skip=self.skip, exclude=leave_out))
            findings = frozenset(verdict.finding.name for verdict in verdicts)
            changes, problems = WriteBack(model, snapshot, self.provenance, self.modules, findings).run()
            inner = frozenset(v.finding.name for v in verdicts if v.outcome is Outcome.FOLDED and v.finding.graph)
            if inner:
                problems = (WriteBackProblem(inner, Reason.IN_FORWARD, "", "it stands in a branch or loop"),)
            if not problems:
                return _ModulePlan(changes, tuple(map(self._with_own_reasons, verdicts)))
            self._refuse(problems, [v for v in verdicts if v.finding.name not in leave_out])

    def _refuse(self, problems: Sequence[WriteBackProblem], verdicts: Sequence[Verdict]) -> None:
        """Leave out the findings and merges that are to blame; all where the blame falls on none, so that this ends.

        What the engine would have kept, and only written in another form, keeps the engine's reasons. What a merge
        would have folded, and nothing else can, gets the reason of the merge.
        """
        attributed = {name: problem for problem in problems for name in problem.folds if name not in self.refused}
        known = {verdict.finding.name: verdict for verdict in verdicts}
        for name in attributed or known:
            problem = attributed.get(name, problems[0])
            own = Obstacle(problem.reason, problem.node, detail=problem.detail)
            verdict = known.get(name)
            is_kept = verdict is not None and verdict.outcome is Outcome.KEPT and verdict.obstacles
            self.refused[name] = verdict.obstacles if verdict is not None and is_kept else (own,)
        if not attributed and not known:
            raise AssertionError(f"nothing is folded, and yet: {problems[0]}")
        for verdict in verdicts:
            merge = next((name for name in attributed if self.sites.get(name) in verdict.sites), None)
            if merge is not None and verdict.rule == branches.RULE and verdict.finding.name not in self.refused:
                self.unmerged[verdict.finding.name] = self.refused[merge]

    def _with_own_reasons(self, verdict: Verdict) -> Verdict:
        """Replace the engine's "rolled back" of excluded findings by the reason why they cannot be written back."""
        if verdict.outcome is not Outcome.KEPT:
            return verdict
        own = self.refused.get(verdict.finding.name)
        engine = tuple(map(self._translated, verdict.obstacles))
        return replace(verdict, obstacles=own or (*self.unmerged.get(verdict.finding.name, ()), *engine))

    def _translated(self, obstacle: Obstacle) -> Obstacle:
        causes = self.refused.get(obstacle.node, ()) if obstacle.reason is Reason.ROLLED_BACK else ()
        return replace(obstacle, reason=causes[0].reason, detail=causes[0].detail) if causes else obstacle


def _confirmed(
    module: torch.nn.Module, plain: torch.nn.Module, planner: _Planner, traced: Traced, seed: int
) -> tuple[_ModulePlan, tuple[Comparison, ...], tuple[str, ...]]:
    """Return a plan that eager runs confirm. A fold that they do not confirm is found by bisection and left out."""
    plan = planner.plan()
    while True:
        comparisons, notes = _comparisons(module, plain, plan, traced, seed)
        failed = [compared for compared in comparisons if not compared.passed]
        folds = [verdict.finding.name for verdict in plan.verdicts if verdict.outcome is Outcome.FOLDED]
        if not failed or not folds:
            hidden = [compared.value for compared in comparisons if compared.noise_dominated]
            noisy = [f"{value}: rounding noise of the module itself hides every difference" for value in hidden]
            return plan, comparisons, (*notes, *noisy)
        failing = _first_failing(module, plain, planner, traced, seed, folds)
        planner.refused[failing] = (Obstacle(Reason.NOT_CONFIRMED, failing, detail=_first_failure(failed[0])),)
        plan = planner.plan()


def _first_failing(
    module: torch.nn.Module, plain: torch.nn.Module, planner: _Planner, traced: Traced, seed: int, folds: list[str]
) -> str:
    """Find the last fold of the shortest prefix of the folds that fails."""
    low, high = 0, len(folds)
    while high - low > 1:
        middle = (low + high) // 2
        plan = planner.plan(frozenset(folds[middle:]))
        comparisons, _ = _comparisons(module, plain, plan, traced, seed)
        low, high = (low, middle) if any(not compared.passed for compared in comparisons) else (middle, high)
    return folds[high - 1]


def _comparisons(
    module: torch.nn.Module, plain: torch.nn.Module, plan: _ModulePlan, traced: Traced, seed: int
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    candidate = copied(plain)
    write(candidate, plain, plan.changes)
    calls = feeds(traced.call, traced.program, seed)
    try:
        return compare(module, eager_run(candidate), calls)
    except (AttributeError, TypeError, RuntimeError, ValueError, KeyError, NotImplementedError) as error:
        # forward() may ask a norm that is gone for something
        return (Comparison("all outputs", Stage.EAGER, False, note=f"{type(error).__name__}: {error}"),), ()


def _first_failure(compared: Comparison) -> str:
    off = compared.note or f"off by {compared.relative:.3g} of its scale, allowed {compared.tolerance:.3g}"
    return f"{compared.value} on {compared.feed or 'the given arguments'}: {off}"
