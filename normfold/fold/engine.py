"""Folds a whole model: every graph, every constant affine, until a pass changes nothing.

Each affine of the model gets exactly one verdict: folded (by which rule, into what) or kept (with its obstacles).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.findings.rules import CONSTANT, MERGE, Selection, rule_of
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.fold.affines import AffineChain, AffineIndex, affine_node_of
from normfold.fold.attention_blocks import parts_of_attention
from normfold.fold.cancellation import OFFSET, offset_in_spreads
from normfold.fold.carriers.integer_products import products_of_scales
from normfold.fold.cleanup.tidy import clear_the_way, dead_operators
from normfold.fold.gelu import parts_kept_together
from normfold.fold.graph_rules.change import Declined, GraphChange, GraphRule, RuleStage
from normfold.fold.graph_rules.table import GRAPH_RULES
from normfold.fold.search.choose import decide, decide_rescaling_addends
from normfold.fold.search.growth import Budget
from normfold.fold.search.plan import FoldPlan
from normfold.fold.search.remainder import rewrite_chain
from normfold.fold.tracker import Account, AffineTracker, findings_of
from normfold.graph.display_names import copy_node_name, name_of, remember_display_names
from normfold.graph.editor import RULE, Editor, UniqueNames
from normfold.graph.reader import GraphReader, graphs_of
from normfold.targets.table import target_of


def fold_affines(model: ir.Model, options: Selection | None = None) -> tuple[Verdict, ...]:
    """Fold in place; one verdict for each BatchNormalization and constant affine that the model had."""
    original = {
        node: finding
        for path, graph in graphs_of(model)
        for node, finding in findings_of(GraphReader(model, graph, path)).items()
    }
    options = options or Selection()
    dead = set(dead_operators(model))
    clear_the_way(model, constants=options.allows(CONSTANT), merge=options.allows(MERGE))
    remember_display_names(graph for _, graph in graphs_of(model))
    names = UniqueNames(model)
    verdicts = {
        finding: Verdict(finding, Outcome.FOLDED, MERGE, "removal")
        for node, finding in original.items()
        if node.graph is None and node not in dead
    }
    verdicts |= {
        original[node]: Verdict(original[node], Outcome.FOLDED, CONSTANT, "forward")
        for path, graph in graphs_of(model)
        for node in _constant_now(GraphReader(model, graph, path), original)
    }
    budget = Budget.of(model, options.max_growth)
    for path, graph in list(graphs_of(model)):
        reader = GraphReader(model, graph, path, may_add_batchnorm=target_of(options).new_batchnorm)
        found = _GraphFold(reader, names, original, options, budget).fold()
        verdicts.update({verdict.finding: verdict for verdict in found})
    order = {finding: index for index, finding in enumerate(original.values())}
    return tuple(sorted(verdicts.values(), key=lambda verdict: order.get(verdict.finding, len(order))))


def _constant_now(reader: GraphReader, original: Container[ir.Node]) -> Iterator[ir.Node]:
    """Affines of a value that the runtime has computed by now; a norm of constants is settled with its readers."""
    for node in reader.graph:
        made = node.outputs[0] if node in original and node.op_type != "BatchNormalization" else None
        if reader.is_constant(made) and not reader.is_quantized(made):
            yield node


def find_affines(model: ir.Model) -> tuple[Finding, ...]:
    """Every BatchNormalization and constant affine of a model, in order. Changes nothing."""
    dead = set(dead_operators(model))
    return tuple(
        finding
        for path, graph in graphs_of(model)
        for node, finding in findings_of(GraphReader(model, graph, path)).items()
        if node not in dead
    )


class _GraphFold:
    """The folds of one graph: passes over its chains and the rules for regions, in turns, until nothing changes."""

    def __init__(
        self,
        reader: GraphReader,
        names: UniqueNames,
        original: Container[ir.Node],
        options: Selection,
        budget: Budget,
    ) -> None:
        """``original`` are the affines that the model came with; those of its cleanup are none of its findings."""
        self.options = options
        self.budget = budget
        self.reader = reader
        self.editor = Editor(self.reader, names)
        self.tracker = AffineTracker(self.reader, original)
        self.affines = AffineIndex(self.reader, self._left_alone())

    def _left_alone(self) -> dict[ir.Node, Reason]:
        """Return the operators that no fold may touch, each with its reason."""
        target = target_of(self.options)
        parts = {*parts_kept_together(self.reader, every_spelling=target.any_activation)}
        if target.fuses_itself:
            parts.update(parts_of_attention(self.reader))
        if not self.options.fold_norm_scale:  # the runtime finds no RMSNorm that was spelled for it without its scale
            parts |= {node for node in self.tracker.of_norm if node.metadata_props[RULE] == "rmsnorm"}
        left = dict.fromkeys((*parts, *products_of_scales(self.reader)), Reason.PART_OF_ACTIVATION)
        for node, finding in self.tracker.findings.items():
            if (why := self._reason_to_leave(node, finding)) is not None:
                left[node] = why
        return left

    def _reason_to_leave(self, node: ir.Node, finding: Finding) -> Reason | None:
        """Return why a finding is not to be touched at all, or None; a rule for whole regions may take affines."""
        is_constant = self.reader.is_constant(node.outputs[0])
        rule = CONSTANT if is_constant else rule_of(finding.operator)
        may_be_taken = not is_constant and any(each.name in self.options.only for each in GRAPH_RULES)
        return self.options.reason_to_leave(finding.name, rule, is_in_only=may_be_taken)

    def fold(self) -> list[Verdict]:
        self._settle_constants()
        self._apply_rules(RuleStage.FIRST)
        while (
            self._pass()
            or self._apply_rules(RuleStage.BETWEEN)
            or self._pass(rescale_addends=True)
            or self._apply_rules(RuleStage.LATE)
        ):
            continue
        return self.tracker.verdicts(self._why_no_affine)

    def _settle_constants(self) -> None:
        """Settle the norms of constants, as in weight standardization; ``tidy`` writes their values."""
        for node, finding in list(self.tracker.findings.items()):
            made = node.outputs[0] if finding.is_norm and node not in self.affines.left else None
            if self.reader.is_constant(made) and not self.reader.is_quantized(made):
                self.tracker.settle_constant(node)

    def _why_no_affine(self, node: ir.Node) -> Obstacle:
        if node in self.affines.left:
            return Obstacle(self.affines.left[node], name_of(node))
        try:
            affine_node_of(self.reader, node)
        except Refusal as refusal:
            return refusal.obstacle
        raise AssertionError(f"{name_of(node)} is an affine, so a pass must have tried it")

    # -- chains ----------------------------------------------------------------------------------------------------
    def _pass(self, *, rescale_addends: bool = False) -> bool:
        """Try every chain once, in order; True when one was folded. ``rescale_addends``: others of a sum may change."""
        changed = False
        tried: set[ir.Node] = set()  # in vain; a long chain is walked once, not for each of its operators
        self.tracker.find_new()
        self.budget.waiting.clear()
        for node in list(self.tracker.findings):
            chain = self._chain_that_begins_with(node) if node not in tried else None
            if chain is None:
                continue
            plan = self._plan_rescaling_addends(chain) if rescale_addends else self._plan(chain)
            if plan is None:
                tried.update(chain.nodes)
            else:
                self._apply(plan)
                changed = True
        return changed

    def _chain_that_begins_with(self, node: ir.Node) -> AffineChain | None:
        """Return the chain whose first tracked operator is ``node``; None where it is gone, or not the first."""
        affine_node = self.affines.at(node) if node in self.tracker.findings else None
        if affine_node is None:
            return None
        chain = self.affines.chain_through(affine_node)
        return chain if self.tracker.among(chain.nodes)[0] is node else None

    def _plan(self, chain: AffineChain) -> FoldPlan | None:
        channel = self.options.extra_channel
        plan, obstacles = decide(self.reader, self.affines, chain, extra_channel=channel, objection=self._objection)
        if plan is None:
            self.tracker.keep(chain.nodes, *obstacles)
        return plan

    def _plan_rescaling_addends(self, chain: AffineChain) -> FoldPlan | None:
        plan = decide_rescaling_addends(self.reader, self.affines, chain)
        return plan if plan is not None and self._objection(plan) is None else None

    def _objection(self, plan: FoldPlan) -> Obstacle | None:
        """Return why a plan that algebra allows is not carried out: the user's wish, or the bytes that it costs."""
        if not self.options.permits(plan.rule, is_merge=plan.only_merges):
            return Obstacle(Reason.SKIPPED, name_of(plan.chain.nodes[-1]))
        return self.budget.objection(self.reader, plan)

    def _apply(self, plan: FoldPlan) -> None:
        chain, rule = plan.chain, plan.rule
        account = Account(rule, plan.direction, plan.into, plan.sites)
        whole = self.affines.chain_through(chain.members[0]) if plan.direction == "forward" else None
        offset = 0.0 if whole is None else float(offset_in_spreads(self.reader, whole, whole.affine).max())
        self.budget.spend(self.reader, plan)
        nameless = self._apply_absorbers(plan, rule)
        before = chain.input.producer()
        written = self._rewrite_chain(chain, plan.remaining, account, nameless)
        stays = written[-1] if written else before
        if whole is not None and offset > 1 and stays is not None and (written or before in whole.nodes):
            stays.metadata_props[OFFSET] = f"{offset:.6g}"

    def _apply_absorbers(self, plan: FoldPlan, rule: str) -> set[ir.Value]:
        """Change all operators of a plan but the chain itself; returns the values that lost their names."""
        origin = name_of(plan.chain.nodes[-1])
        replaced_by: dict[ir.Value, ir.Value] = {}
        for rewrite in (*plan.companions, *plan.rewrites):
            first = rewrite.node.outputs[0]
            replaced_by[first] = value = self.editor.rewrite(rewrite, rule, origin)
            self.tracker.remember(value.producer())
        nameless = {replaced_by.get(value, value) for value in plan.changed_values}
        for value in plan.changed_values:
            self.editor.rename(replaced_by.get(value, value))
        for other, affine in plan.merged:
            original = () if other.output in nameless else (other.output.name or "",)
            self._rewrite_chain(other, affine, Account(MERGE, MERGE, sites=original), nameless)
        for value in plan.widened:
            self.editor.widen(value)
        return nameless

    def _rewrite_chain(
        self, chain: AffineChain, affine: Affine, account: Account, nameless: set[ir.Value]
    ) -> Sequence[ir.Node]:
        """Replace a chain, and say what became of each finding in it: as many survive as operators are written.

        Where the chain goes, its input has the content that its output had: a nameless input takes the name over.
        """
        known = self.tracker.among(chain.nodes)
        written: Sequence[ir.Node] = ()
        if affine.is_identity:
            entry, site = chain.input, chain.output
            takes_name = entry in nameless and site not in nameless
            self.editor.bypass(chain.nodes, entry, site, upstream_takes_name=takes_name, rule=account.rule)
            nameless -= {entry} if takes_name else set()
        else:
            written = rewrite_chain(self.editor, chain, affine, account.rule)
        self.tracker.settle(known, self.tracker.survivors(known, written), written, account)
        return written

    # -- rules for regions -----------------------------------------------------------------------------------------
    def _apply_rules(self, stage: RuleStage) -> bool:
        """Try the rules of a stage for whole regions in their order, until one changes something; True when one did."""
        return any(self._apply_rule(rule) for rule in GRAPH_RULES if rule.stage is stage)

    def _apply_rule(self, rule: GraphRule) -> bool:
        """Apply all that a rule finds; True when it found something that is wanted."""
        changed = False
        for found in rule.find(self.reader, self.affines) if self.options.allows(rule.name) else ():
            if isinstance(found, Declined):
                self.tracker.keep_too(found.nodes, found.obstacle)
            elif self.options.allows(rule.name, found.name):
                self._carry_out(rule.name, found)
                changed = True
        return changed

    def _carry_out(self, rule: str, change: GraphChange) -> None:
        """Apply a change, and say what became of each affine in it: as many stay as are written."""
        account = Account(rule, change.direction, change.into, change.sites)
        known = self.tracker.among(change.nodes)
        if change.plan is not None:
            self._apply_absorbers(change.plan, rule)
        written = change.apply(self.editor)
        known.sort(key=lambda node: node not in self.tracker.created)
        survivors = known[max(0, len(known) - len(written)) :]
        for new, old in zip(written, survivors, strict=False):
            copy_node_name(old, new)
        counted = [node for node in known if node not in survivors and self.tracker.is_reported(node)]
        self.tracker.settle(known, survivors, written, account)
        if change.finding is not None and not counted:
            self.tracker.settle_region(change.finding, account)
