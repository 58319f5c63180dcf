"""``fold_module``: the folds of the engine, written back onto the nn.Module, for people who stay in PyTorch.

The module is exported (torch.export follows any forward()), the engine folds the exported graph, and what it did is
written back: changed weights into their parameters, absorbed norms become Identity. There is no second implementation
of any fold. What cannot be written back is left out of the plan, with its reason, and the rest is planned again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

import onnx_ir as ir
import torch

from normfold.constants.simplify import apply_facts, simplify
from normfold.errors import SourceError, UsageError
from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Outcome, Verdict
from normfold.fold.cleanup.tidy import clear_the_way
from normfold.fold.engine import FoldOptions, fold_affines
from normfold.fold.graph_rules import channel_order as order
from normfold.fold.graph_rules import explicit_pad as padding
from normfold.fold.graph_rules import parallel_branches as branches
from normfold.pytorch.calls import variants
from normfold.pytorch.copies import copied
from normfold.pytorch.eager_reference import Expected, against, eager_run, expectations, feeds
from normfold.pytorch.followed import follow, written_behind
from normfold.pytorch.guard import Guard, install
from normfold.pytorch.module_map import Changes, WriteBack, WriteBackProblem
from normfold.pytorch.modules import Modules
from normfold.pytorch.parametrizations import computed_weights, make_plain
from normfold.pytorch.provenance import Provenance, Snapshot
from normfold.pytorch.selection import selected
from normfold.pytorch.source import Call, Traced, evaluation, trace
from normfold.pytorch.writing import write
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
    keys of the state dict that are gone. ``comparisons``: the module against the original, eagerly, output by output,
    each with its worst call; ``calls``: the calls that were compared.
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
) -> Folded[M]:
    """Fold every norm of ``module`` that one of its linear layers can take, and prove it eagerly.

    ``args`` and ``kwargs`` are one valid call of ``forward``; ``dynamic_shapes`` is that of torch.export.export.
    A fold must hold on every call that the signature allows and the module takes: each flag both ways, optional
    arguments left out, other batches and sizes (``Folded.calls``). The result is a copy that shares all unchanged
    parameters with ``module``, or, with ``inplace``, the module itself. Class, names, hooks, training flags, devices,
    types, memory formats and attributes of parameters stay. Keys of the state dict that go are ``Folded.removed_keys``;
    keys that come are ``Folded.added``; ``Folded.convert`` makes such a state dict from one of ``module``. ``skip`` and
    ``only`` name rules, nodes, or paths of modules.

    With ``guard`` the folded module follows each new kind of call once, and raises UsageError for one that would use a
    changed weight in another way; ``train()`` warns that the norms are gone.

    UsageError when ``module`` is in training mode and not ``eval``, or for an unknown name; SourceError when
    torch.export cannot trace it.
    """
    _require_foldable(module)
    with evaluation(module, eval), torch.inference_mode(False):
        original = copied(module)
        plain = _plain_copy(original)
        try:
            traced = trace(plain, args, kwargs, dynamic_shapes=dynamic_shapes, fallback=False)
        except SourceError as error:
            raise SourceError(f"fold_module needs a module that torch.export can trace; {error}") from error
        names = selected(traced.model, module, frozenset(skip), frozenset(only))
        proof = _Proof.of(original if eval else module, plain, traced, seed)
        plan, comparisons, notes = _confirmed(_Planner(plain, traced, *names), proof)
        changes = proof.with_copies_before_writes(plan.changes)
        steps = _paths(plain, changes.steps)
        trail = follow(
            proof.original, proof.candidate(changes), steps, [(each.feed, each.call) for each in proof.expected]
        )
    before = dict.fromkeys(module.state_dict())
    target = module if inplace else copied(module)
    removals = _make_plain_where_needed(target, plain, changes)
    removed = _paths(plain, changes.gone | changes.zeros | changes.dropped)
    rebuilt = _paths(plain, set(changes.left) - changes.gone)
    write(target, plain, changes)
    if guard and steps:
        install(target, Guard(type(module).__name__, trail.differing, trail.steps, trail.edges))
    after = dict.fromkeys(key for key, value in target.state_dict().items() if _has_values(value))
    added, gone = _not_in(after, before), _not_in(before, after)
    calls = tuple(each.feed for each in proof.expected)
    return Folded(
        target,
        plan.verdicts,
        removed,
        added,
        rebuilt,
        gone,
        comparisons,
        (*traced.notes, *removals, *trail.notes, *notes),
        calls,
        partial(_converted, original, target, traced.call, dynamic_shapes, frozenset(skip), frozenset(only), seed),
    )


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
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise UsageError(
                f"expected a module with weights, but {name} is on the meta device; load its weights first"
            )


def _converted(
    original: torch.nn.Module,
    target: torch.nn.Module,
    call: Call,
    dynamic_shapes: Any,
    skip: frozenset[str],
    only: frozenset[str],
    seed: int,
    state: Mapping[str, Any],
) -> dict[str, Any]:
    """Fold the original with the weights of ``state``."""
    other = copied(original, with_parameters=True)
    try:
        other.load_state_dict(dict(state))
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise UsageError(f"expected a state dict of the module before its fold: {line}") from error
    folded = fold_module(
        other, call.args, call.kwargs, dynamic_shapes=dynamic_shapes, skip=skip, only=only, seed=seed, guard=False
    )
    wanted, made = target.state_dict(), folded.module.state_dict()
    if {key: value.shape for key, value in wanted.items()} != {key: value.shape for key, value in made.items()}:
        raise UsageError("with these weights other norms can be folded; fold the module itself with them")
    return dict(made)


def _plain_copy(module: M) -> M:
    """Return the module itself, or, where it computes weights, a copy in which they are parameters."""
    if not any(True for part in module.modules() for _ in computed_weights(part)):
        return module  # which is a copy already
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

    @property
    def folds(self) -> list[str]:
        """The names of the findings that are folded."""
        return [verdict.finding.name for verdict in self.verdicts if verdict.outcome is Outcome.FOLDED]


class _Planner:
    """Plans with some findings excluded; the export and what is known about it are made once."""

    def __init__(
        self, module: torch.nn.Module, traced: Traced, skip: frozenset[str], only: frozenset[str] = frozenset()
    ) -> None:
        self.modules, self.skip, self.only = Modules(module), skip | _NOT_IN_MODULES, only
        self.left_out: frozenset[str] = frozenset()
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
            verdicts = fold_affines(model, FoldOptions(skip=self.skip, only=self.only, exclude=leave_out))
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


@dataclass(frozen=True, eq=False)
class _Proof:
    """What a folded module is compared with. ``plain``: the module that the changes speak of."""

    original: torch.nn.Module
    plain: torch.nn.Module
    expected: list[Expected]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, original: torch.nn.Module, plain: torch.nn.Module, traced: Traced, seed: int) -> _Proof:
        """Run the original on the call of the trace, on calls like it, and on others that its signature allows."""
        calls = feeds(traced.call, traced.program, seed)
        expected, notes = expectations(original, calls, variants(original, traced.call), with_arguments=True)
        return cls(original, plain, expected, notes)

    def candidate(self, changes: Changes) -> torch.nn.Module:
        """Return a copy with the changes."""
        made = copied(self.plain)
        write(made, self.plain, changes)
        return made

    def with_copies_before_writes(self, changes: Changes) -> Changes:
        """Let a norm that is gone copy its input where others read that too and something behind it writes in place."""
        if not changes.shared:
            return changes
        paths = {path: module for path, module in self.plain.named_modules() if module in changes.shared}
        candidate = self.candidate(changes)
        written = {path for each in self.expected for path in written_behind(candidate, list(paths), each.call)}
        return replace(changes, fresh=frozenset(paths[path] for path in written))

    def compare(self, changes: Changes, expected: Iterable[Expected] | None = None) -> tuple[Comparison, ...]:
        """Compare a module with these changes."""
        candidate = self.candidate(self.with_copies_before_writes(changes))
        count = len(self.expected[0].outputs)
        names = [f"output {index}" for index in range(count)]
        try:
            return against(
                self.expected if expected is None else expected, eager_run(candidate, with_arguments=True), names
            )
        except Exception as error:  # noqa: BLE001  # the user's forward() may ask a norm that is gone for anything
            return (Comparison("all outputs", Stage.EAGER, False, note=f"{type(error).__name__}: {error}"),)


def _confirmed(planner: _Planner, proof: _Proof) -> tuple[_ModulePlan, tuple[Comparison, ...], tuple[str, ...]]:
    """Return a plan that eager runs confirm. Folds that they do not confirm are found by bisection and left out."""
    plan = planner.plan()
    while True:
        comparisons = proof.compare(plan.changes)
        failed = [compared for compared in comparisons if not compared.passed]
        hidden = [compared for compared in comparisons if compared.noise_dominated]
        if not plan.folds or (not failed and not _is_lost(comparisons)):
            noisy = [f"{each.value}: rounding noise of the module itself hides every difference" for each in hidden]
            return plan, comparisons, (*proof.notes, *noisy)
        detail = _first_failure(failed[0]) if failed else "the module's own rounding noise hides every difference"
        failing = _failing(planner, proof, plan.folds) if failed else plan.folds
        planner.refused.update((name, (Obstacle(Reason.NOT_CONFIRMED, name, detail=detail),)) for name in failing)
        plan = planner.plan()


def _is_lost(comparisons: Sequence[Comparison]) -> bool:
    """Tell whether noise hides all that is not an integer."""
    floats = [compared for compared in comparisons if "float" in compared.dtype]
    return bool(floats) and all(compared.noise_dominated for compared in floats)


def _failing(planner: _Planner, proof: _Proof, folds: Sequence[str]) -> list[str]:
    """Return those of the folds that fail on their own, or all where they fail only together."""
    if len(folds) == 1:
        return list(folds)
    middle = len(folds) // 2
    found = []
    for half in (folds[:middle], folds[middle:]):
        others = frozenset(folds) - frozenset(half)
        plan = planner.plan(planner.left_out | others)
        if plan.folds and not all(compared.passed for compared in proof.compare(plan.changes)):
            planner.left_out |= others
            found += _failing(planner, proof, half)
            planner.left_out -= others
    return found or list(folds)


def _first_failure(compared: Comparison) -> str:
    off = compared.note or f"off by {compared.relative:.3g} of its scale, allowed {compared.tolerance:.3g}"
    return f"{compared.value} on {compared.feed or 'the given arguments'}: {off}"
