"""Confirm a plan by eager runs of the folded module and the original, on every call that is covered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from normfold.findings.reason import Obstacle, Reason
from normfold.pytorch.eager.copies import copied
from normfold.pytorch.eager.reference import ARGUMENT, Expected, against, eager_run, expectations, feeds
from normfold.pytorch.eager.variants import of_other_ranks, variants
from normfold.pytorch.guard.followed import written_behind
from normfold.pytorch.trace.exporters import Traced
from normfold.pytorch.write_back.planning import ModulePlan, Planner
from normfold.pytorch.write_back.weight_changes import Changes
from normfold.pytorch.write_back.writing import write
from normfold.verify.result import Comparison, Stage


@dataclass(frozen=True, eq=False)
class ModuleProof:
    """What a folded module is compared with. ``plain``: the module that the changes speak of.

    ``possible`` are calls that a fold need not hold on; one that it does not hold on is not covered.
    """

    original: torch.nn.Module
    plain: torch.nn.Module
    expected: list[Expected]
    possible: list[Expected]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, original: torch.nn.Module, plain: torch.nn.Module, traced: Traced, seed: int) -> ModuleProof:
        """Run the original on the call of the trace, on calls like it, and on others that its signature allows."""
        calls = feeds(traced.call, traced.program, seed)
        expected, notes = expectations(original, calls, variants(original, traced.call), with_arguments=True)
        possible, _ = expectations(original, (), of_other_ranks(traced.call), with_arguments=True)
        return cls(original, plain, expected, possible, notes)

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
        try:
            return against(self.expected if expected is None else expected, eager_run(candidate, with_arguments=True))
        except Exception as error:  # noqa: BLE001  # the user's forward() may ask a norm that is gone for anything
            return (Comparison("all outputs", Stage.EAGER, False, note=f"{type(error).__name__}: {error}"),)

    def covered(self, changes: Changes) -> list[Expected]:
        """Return the calls that a module with these changes, which are confirmed, holds on."""
        return self.expected + [
            each for each in self.possible if all(found.passed for found in self.compare(changes, [each]))
        ]

    def shows(self, changes: Changes, feed: str, path: str) -> bool:
        """Tell whether the outputs of a call would be others if one of the modules had not changed."""
        less = changes.without(self.plain.get_submodule(path))
        expected = [each for each in self.expected + self.possible if each.feed == feed]
        return not all(compared.passed for compared in self.compare(less, expected))


def confirmed(planner: Planner, proof: ModuleProof) -> tuple[ModulePlan, tuple[Comparison, ...], tuple[str, ...]]:
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
    """Tell whether noise hides all outputs that a wrong fold would change: floats, or integers where these are all."""
    outputs = [compared for compared in comparisons if not compared.value.startswith(ARGUMENT)]
    decisive = [compared for compared in outputs if "float" in compared.dtype] or outputs
    return bool(decisive) and all(compared.noise_dominated for compared in decisive)


def _failing(planner: Planner, proof: ModuleProof, folds: Sequence[str]) -> list[str]:
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
