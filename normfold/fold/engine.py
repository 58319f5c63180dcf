"""Folds a whole model: every graph, every constant affine, until a pass changes nothing.

Each affine of the model gets exactly one verdict: folded (by which rule, into what) or kept (with its obstacles).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.findings.rules import AFFINE, BATCHNORM, CONSTANT, MERGE, Selection
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.fold.affines import AffineChain, AffineIndex, affine_node_of, is_candidate
from normfold.fold.carriers.integer_products import products_of_scales
from normfold.fold.cleanup.tidy import clear_the_way, dead_operators
from normfold.fold.digits import DISTANCE, distance
from normfold.fold.graph_rules.activations import parts_kept_together
from normfold.fold.graph_rules.change import Declined, GraphChange, GraphRule, RuleStage
from normfold.fold.graph_rules.table import GRAPH_RULES
from normfold.fold.search.choose import decide, decide_rescaling_addends
from normfold.fold.search.growth import Budget, growth_of
from normfold.fold.search.plan import FoldPlan
from normfold.fold.search.remainder import rewrite_chain
from normfold.graph.editor import RULE, Editor, UniqueNames
from normfold.graph.operators import SUMS
from normfold.graph.reader import GraphReader, copy_node_name, graphs_of, name_of, remember_display_names

_SAME_KIND = {"Add": ("Add", "Sub"), "Mul": ("Mul", "Div", "Neg")}  # what stays of a chain has the name of its own kind
_ON_DEMAND = "norm-affine"


# Rules that write the affine of a norm as an operator of its own; where it stays, it is the norm's, and said with it.
_WRITES_AFFINES = ("layernorm", "rmsnorm", "instancenorm", "groupnorm", "lpnorm", "gelu")


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


def fold_affines(model: ir.Model, options: FoldOptions | None = None) -> tuple[Verdict, ...]:
    """Fold in place; one verdict for each BatchNormalization and constant affine that the model had."""
    original = {
        node: finding
        for path, graph in graphs_of(model)
        for node, finding in _findings(GraphReader(model, graph, path)).items()
    }
    options = options or FoldOptions()
    dead = set(dead_operators(model))
    clear_the_way(model, constants=options.allows(CONSTANT), merge=options.allows(MERGE))
    remember_display_names(model)
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
        found = _GraphFold(GraphReader(model, graph, path), names, original, options, budget).fold()
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
        for node, finding in _findings(GraphReader(model, graph, path)).items()
        if node not in dead
    )


def _findings(reader: GraphReader) -> dict[ir.Node, Finding]:
    return {
        node: Finding(
            name=name_of(node),
            operator=node.op_type,
            site=node.outputs[0].name or "",
            graph=reader.path,
            is_norm=node.op_type == "BatchNormalization",
        )
        for node in reader.graph
        if is_candidate(reader, node)
    }


@dataclass(frozen=True)
class _Account:
    """What verdicts say of a fold: its rule and direction, the operators that took the affine, the values it shows in.

    Without operators those that were written took it.
    """

    rule: str
    direction: str
    into: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    def of(self, finding: Finding, written: Sequence[ir.Node]) -> Verdict:
        """Return the verdict of one finding that is gone; each affine has the rule of its own operator."""
        rule = rule_of(finding.operator) if self.rule in (BATCHNORM, AFFINE) else self.rule
        into = self.into or tuple(map(name_of, written))
        return Verdict(finding, Outcome.FOLDED, rule, self.direction, into, self.sites)


class _GraphFold:
    """The folds of one graph."""

    def __init__(
        self,
        reader: GraphReader,
        names: UniqueNames,
        original: Container[ir.Node],
        options: FoldOptions,
        budget: Budget,
    ) -> None:
        """``original`` are the affines that the model came with; those of its cleanup are none of its findings."""
        self.options = options
        self.budget = budget
        self.reader = reader
        self.reader.may_add_batchnorm = options.new_batchnorm
        self.editor = Editor(self.reader, names)
        self.findings = _findings(self.reader)
        self.of_norm = {node for node in self.findings if node.metadata_props.get(RULE) in _WRITES_AFFINES}
        # Affines that folds wrote: tried like all others, but no findings of the model.
        self.created = {node for node in self.findings if node not in original}
        self.from_cleanup = frozenset(self.created)
        parts = {*parts_kept_together(self.reader, every_spelling=options.any_activation), *self._scales_of_rmsnorms()}
        left = dict.fromkeys((*parts, *products_of_scales(self.reader)), Reason.PART_OF_ACTIVATION)
        for node, finding in self.findings.items():
            is_constant = self.reader.is_constant(node.outputs[0])
            if (why := options.reason_to_leave_affine(finding, is_constant=is_constant)) is not None:
                left[node] = why
        self.affines = AffineIndex(self.reader, left)
        self.verdicts: dict[Finding, Verdict] = {}
        self.obstacles: dict[ir.Node, tuple[Obstacle, ...]] = {}

    def _scales_of_rmsnorms(self) -> Iterator[ir.Node]:
        """Yield the scales of RMSNorms that were spelled for the runtime, which finds none without its scale."""
        if not self.options.norm_affine:
            yield from (node for node in self.of_norm if node.metadata_props[RULE] == "rmsnorm")

    def fold(self) -> list[Verdict]:
        everything = list(self.findings.values())
        self._settle_constants()
        self._apply_rules(RuleStage.FIRST)
        while (
            self._pass()
            or self._apply_rules(RuleStage.BETWEEN)
            or self._pass(rescale_addends=True)
            or self._apply_rules(RuleStage.LATE)
        ):
            continue
        for node, finding in self.findings.items():
            if node in self.of_norm or node in self.created:
                continue
            obstacles = self.obstacles.get(node) or (self._why_no_affine(node),)
            self.verdicts[finding] = Verdict(finding, Outcome.KEPT, obstacles=obstacles)
        found = dict.fromkeys(each for each in (*everything, *self.verdicts) if each in self.verdicts)
        return [self.verdicts[finding] for finding in found]

    def _settle_constants(self) -> None:
        """Settle the norms of constants, as in weight standardization; ``tidy`` writes their values."""
        for node, finding in list(self.findings.items()):
            made = node.outputs[0] if finding.is_norm and node not in self.affines.left else None
            if self.reader.is_constant(made) and not self.reader.is_quantized(made):
                into = tuple(dict.fromkeys(name_of(reading) for reading, _ in node.outputs[0].uses()))
                self.verdicts[finding] = Verdict(self.findings.pop(node), Outcome.FOLDED, CONSTANT, "forward", into)

    def _pass(self, *, rescale_addends: bool = False) -> bool:
        """Try every chain once, in order; True when one was folded. ``rescale_addends``: others of a sum may change."""
        changed = False
        stays: set[ir.Node] = set()  # of a chain that was tried in vain: a long one is walked once, not for each
        self._find_new()
        for node in list(self.findings):
            if node not in self.findings or node in stays:
                continue
            affine_node = self.affines.at(node)
            if affine_node is None:
                continue
            chain = self.affines.chain_through(affine_node)
            if next(known for known in chain.nodes if known in self.findings) is not node:
                continue  # a chain is tried once, at the first operator that the model had itself
            if rescale_addends:
                plan = decide_rescaling_addends(self.reader, self.affines, chain)
                plan = plan if plan is not None and self._objection(plan) is None else None
            else:
                channel = self.options.extra_channel
                plan, obstacles = decide(
                    self.reader, self.affines, chain, extra_channel=channel, objection=self._objection
                )
                self.obstacles.update({} if plan is not None else dict.fromkeys(chain.nodes, obstacles))
            if plan is None:
                stays.update(chain.nodes)
            else:
                self._apply(plan)
                changed = True
        return changed

    def _objection(self, plan: FoldPlan) -> Obstacle | None:
        """Return why a plan that algebra allows is not carried out: the user's wish, or the bytes that it costs."""
        if not self.options.permits(plan):
            return Obstacle(Reason.SKIPPED, name_of(plan.chain.nodes[-1]))
        return self.budget.objection(self.reader, plan)

    def _find_new(self) -> None:
        """Find sums whose addends have become one value, or constants but for one: they are affines from now on."""
        for node in self.reader.graph:
            if node.op_type in SUMS and not self.reader.is_constant(node.outputs[0]):
                self._remember(node)

    def _apply_rules(self, stage: RuleStage) -> bool:
        """Try the rules of a stage for whole regions in their order, until one changes something; True when one did."""
        return any(self._apply_rule(rule) for rule in GRAPH_RULES if rule.stage is stage)

    def _apply_rule(self, rule: GraphRule) -> bool:
        """Apply all that a rule finds; True when it found something that is wanted."""
        changed = False
        for found in rule.find(self.reader, self.affines) if self.options.allows(rule.name) else ():
            if isinstance(found, Declined):
                for node in found.nodes:
                    self.obstacles[node] = (*self.obstacles.get(node, ()), found.obstacle)
            elif self.options.allows(rule.name, found.name):
                self._carry_out(rule.name, found)
                changed = True
        return changed

    def _carry_out(self, rule: str, change: GraphChange) -> None:
        """Apply a change, and say what became of each affine in it: as many stay as are written."""
        finding = change.finding(self.reader.path)
        account = _Account(rule, change.direction, change.into, change.sites)
        known = [node for node in change.nodes if node in self.findings]
        if change.plan is not None:
            self._apply_absorbers(change.plan, rule)
        written = change.apply(self.editor)
        known.sort(key=lambda node: node not in self.created)
        survivors = known[max(0, len(known) - len(written)) :]
        for new, old in zip(written, survivors, strict=False):
            copy_node_name(old, new)
        counted = [node for node in known if node not in survivors and self._is_reported(node)]
        self._settle(known, survivors, written, account)
        if finding is not None and not counted:
            self.verdicts[finding] = account.of(finding, ())

    def _why_no_affine(self, node: ir.Node) -> Obstacle:
        if node in self.affines.left:
            return Obstacle(self.affines.left[node], name_of(node))
        try:
            affine_node_of(self.reader, node)
        except Refusal as refusal:
            return refusal.obstacle
        raise AssertionError(f"{name_of(node)} is an affine, so a pass must have tried it")

    # -- applying a plan -----------------------------------------------------------------------------------------
    def _apply(self, plan: FoldPlan) -> None:
        chain, rule = plan.chain, rule_of_plan(plan)
        account = _Account(rule, plan.direction, plan.into, plan.sites)
        whole = self.affines.chain_through(chain.members[0])
        far = float(distance(self.reader, whole, whole.affine).max())
        self.budget.spend(growth_of(self.reader, plan))
        nameless = self._apply_absorbers(plan, rule)
        before = chain.input.producer()
        written = self._rewrite_chain(chain, plan.remaining, account, nameless)
        stays = written[-1] if written else before
        if plan.direction == "forward" and far > 1 and stays is not None and (written or before in whole.nodes):
            stays.metadata_props[DISTANCE] = f"{far:.6g}"

    def _apply_absorbers(self, plan: FoldPlan, rule: str) -> set[ir.Value]:
        """Change all operators of a plan but the chain itself; returns the values that lost their names."""
        origin = name_of(plan.chain.nodes[-1])
        replaced_by: dict[ir.Value, ir.Value] = {}
        for rewrite in (*plan.companions, *plan.rewrites):
            first = rewrite.node.outputs[0]
            replaced_by[first] = value = self.editor.rewrite(rewrite, rule, origin)
            self._remember(value.producer())
        nameless = {replaced_by.get(value, value) for value in plan.changed_values}
        for value in plan.changed_values:
            self.editor.rename(replaced_by.get(value, value))
        for other, affine in plan.merged:
            original = () if other.output in nameless else (other.output.name or "",)
            self._rewrite_chain(other, affine, _Account(MERGE, MERGE, sites=original), nameless)
        for value in plan.widened:
            self.editor.widen(value)
        return nameless

    def _remember(self, node: ir.Node | None) -> None:
        """Remember an Add that takes the shift of an operator without a bias, so that it may be folded later."""
        if node is not None and node not in self.findings and is_candidate(self.reader, node):
            self.findings[node] = Finding(name_of(node), node.op_type, node.outputs[0].name or "", self.reader.path)
            self.created.add(node)

    def _rewrite_chain(
        self, chain: AffineChain, affine: Affine, account: _Account, nameless: set[ir.Value]
    ) -> Sequence[ir.Node]:
        """Replace a chain, and say what became of each finding in it: as many survive as operators are written.

        Where the chain goes, its input has the content that its output had: a nameless input takes the name over.
        """
        known = [node for node in chain.nodes if node in self.findings]
        if affine.is_identity:
            entry, site = chain.input, chain.output
            takes_name = entry in nameless and site not in nameless
            self.editor.bypass(chain.nodes, entry, site, upstream_takes_name=takes_name, rule=account.rule)
            nameless -= {entry} if takes_name else set()
            written: Sequence[ir.Node] = ()
        else:
            written = rewrite_chain(self.editor, chain, affine, account.rule)
        survivors = self._survivors(known, written)
        self._settle(known, sorted(survivors, key=known.index), written, account)
        return written

    def _settle(
        self,
        known: Sequence[ir.Node],
        survivors: Sequence[ir.Node],
        written: Sequence[ir.Node],
        account: _Account,
    ) -> None:
        """Hand the findings of ``survivors`` to the operators ``written``; those of all others are folded."""
        for new, old in zip(written, survivors, strict=False):
            self.findings[new] = self.findings[old]
            self.created |= {new} if old in self.created else set()
        for new in written:
            self._remember(new)
        for node in known:
            finding = self.findings.pop(node)
            self.obstacles.pop(node, None)
            if node in self.from_cleanup:  # no affine of the model as it came, but what became of it changes the model
                finding = replace(finding, what="a value added to itself")
            if node not in survivors and self._is_reported(node):
                self.verdicts[finding] = account.of(finding, written)

    def _is_reported(self, node: ir.Node) -> bool:
        """Return whether a report speaks of an affine: the model had it, or its cleanup changed the model."""
        return node not in self.created or node in self.from_cleanup

    def _survivors(self, known: Sequence[ir.Node], written: Sequence[ir.Node]) -> list[ir.Node]:
        """Which findings stay as what is written: a norm before another affine, but no norm as a lone Add."""
        able = [
            node for node in known if [new.op_type for new in written] != ["Add"] or not self.findings[node].is_norm
        ]
        same = _SAME_KIND.get(written[0].op_type, ()) if len(written) == 1 else ()
        able.sort(
            key=lambda node: (
                node not in self.created,
                self.findings[node].is_norm,
                node.op_type in same,
                known.index(node),
            )
        )
        return able[max(0, len(able) - len(written)) :]
