"""Which folds are wanted, and the rule that each fold is reported under."""

from __future__ import annotations

from dataclasses import dataclass

from normfold.findings.reason import Reason
from normfold.findings.rules import AFFINE, BATCHNORM, CONSTANT, MERGE, Selection
from normfold.findings.verdict import Finding
from normfold.fold.graph_rules.table import GRAPH_RULES
from normfold.fold.search.plan import FoldPlan

_ON_DEMAND = "norm-affine"


@dataclass(frozen=True)
class FoldOptions(Selection):
    """Which folds are wanted. Names are those of rules, nodes, or findings.

    ``norm_affine`` asks for gamma and beta of norms to go into the MatMuls behind them, ``extra_channel`` for a
    shift that meets zero padding to go through one more channel wherever that is possible. ``any_activation`` says
    that the runtime executes every spelling of Gelu as one operator, so that none is taken apart. ``max_growth`` is the
    part of their bytes by which the weights may grow where one that is shared would be copied. Without
    ``new_batchnorm`` an affine that had none is never written as a BatchNormalization.
    """

    norm_affine: bool = False
    extra_channel: bool = False
    any_activation: bool = True
    max_growth: float = 0.05
    new_batchnorm: bool = True

    def allows(self, rule: str, name: str = "") -> bool:
        """Return whether a rule that is no affine's own is switched on (for the operator ``name``)."""
        if rule == _ON_DEMAND and not self.norm_affine:
            return False
        wanted = not self.only or rule in self.only
        return wanted and not {rule, name} & self.skip and name not in self.exclude

    def permits(self, plan: FoldPlan) -> bool:
        """Return whether the rule that a plan would be reported under is switched on."""
        rules = {rule_of_plan(plan), *([MERGE] if plan.only_merges else [])}
        return (not self.only or bool(rules & self.only)) and not (plan.only_merges and MERGE in self.skip)

    def reason_to_leave_affine(self, finding: Finding, *, is_constant: bool) -> Reason | None:
        """Return why a finding is not to be touched at all, or None; a rule for whole regions may take affines."""
        rule = CONSTANT if is_constant else rule_of(finding.operator)
        may_be_taken = not is_constant and any(each.name in self.only for each in GRAPH_RULES)
        return self.reason_to_leave(finding.name, rule, is_in_only=may_be_taken)


def rule_of(operator: str) -> str:
    """Return the name of the rule that folds an operator."""
    return BATCHNORM if operator == "BatchNormalization" else AFFINE


def rule_of_plan(plan: FoldPlan) -> str:
    """Return the name of the rule that a plan is reported under."""
    return BATCHNORM if plan.chain.has_batchnorm else AFFINE if plan.into else MERGE
