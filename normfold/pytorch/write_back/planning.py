"""Plan the folds that can be written back onto a module; each that cannot is left out with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir
import torch

from normfold.constants.simplify import apply_facts, simplify
from normfold.findings.reason import Obstacle, Reason
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome, Verdict
from normfold.fold.cleanup.tidy import clear_the_way
from normfold.fold.engine import fold_affines
from normfold.fold.graph_rules import channel_order as order
from normfold.fold.graph_rules import explicit_pad as padding
from normfold.fold.graph_rules import parallel_branches as branches
from normfold.pytorch.trace.exporters import Traced
from normfold.pytorch.write_back.module_map import WriteBack
from normfold.pytorch.write_back.module_tree import Modules
from normfold.pytorch.write_back.provenance import Provenance, Snapshot
from normfold.pytorch.write_back.weight_changes import Changes, WriteBackProblem

_ANY_RUNTIME = "onnx"  # eager mode has an operator for each activation
_NOT_IN_MODULES = frozenset({order.RULE, padding.RULE})  # what has no module of its own to take out


@dataclass(frozen=True)
class ModulePlan:
    """What to change, and the verdict on each finding."""

    changes: Changes
    verdicts: tuple[Verdict, ...]

    @property
    def folds(self) -> list[str]:
        """The names of the findings that are folded."""
        return [verdict.finding.name for verdict in self.verdicts if verdict.outcome is Outcome.FOLDED]


class Planner:
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

    def plan(self, excluded: frozenset[str] = frozenset()) -> ModulePlan:
        """Fold; leave out what cannot be written back; fold again, until everything can."""
        while True:
            model = self.model.clone()
            snapshot = Snapshot(model)
            leave_out = dict.fromkeys((*excluded, *self.refused), Reason.ROLLED_BACK)
            wanted = Selection(skip=self.skip, only=self.only, exclude=leave_out, target=_ANY_RUNTIME)
            verdicts = fold_affines(model, wanted)
            findings = frozenset(verdict.finding.name for verdict in verdicts)
            changes, problems = WriteBack(model, snapshot, self.provenance, self.modules, findings).run()
            inner = frozenset(v.finding.name for v in verdicts if v.outcome is Outcome.FOLDED and v.finding.graph)
            if inner:
                problems = (WriteBackProblem(inner, Reason.IN_FORWARD, "", "it stands in a branch or loop"),)
            if not problems:
                return ModulePlan(changes, tuple(map(self._with_own_reasons, verdicts)))
            self._refuse(problems, [v for v in verdicts if v.finding.name not in leave_out])

    def _refuse(self, problems: Sequence[WriteBackProblem], verdicts: Sequence[Verdict]) -> None:
        """Leave out the findings and merges that are wrong; all where no single one is wrong, so that this ends.

        Of several that share a problem only that with the most problems goes, the last one where these are equal.
        What the engine would have kept, and only written in another form, keeps the engine's reasons. What a merge
        would have folded, and nothing else can, gets the reason of the merge.
        """
        attributed: dict[str, WriteBackProblem] = {}
        places = {verdict.finding.name: place for place, verdict in enumerate(verdicts)}
        for shared in (False, True):  # the uses of a parameter may agree without what is left out anyway
            while pending := [
                each
                for each in problems
                if (each.reason is Reason.SHARED_PARAMETER) is shared
                and not each.folds <= self.refused.keys()
                and each.folds.isdisjoint(attributed)
            ]:
                counts = Counter(name for each in pending for name in each.folds - self.refused.keys())
                worst = max(counts, key=lambda name: (counts[name], places.get(name, -1)))
                attributed[worst] = next(each for each in pending if worst in each.folds)
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
