"""Folds a whole model: every graph, every constant affine, until a pass changes nothing.

Each affine of the model gets exactly one verdict: folded (by which rule, into what) or kept (with its obstacles).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.fold.affines import AffineChain, AffineIndex, affine_node_of, is_candidate
from normfold.fold.cleanup.common_subexpressions import compute_once
from normfold.fold.cleanup.tidy import clear_the_way, dead_operators
from normfold.fold.digits import DISTANCE, distance
from normfold.fold.graph_rules import channel_order as order
from normfold.fold.graph_rules import dead_bias as dead
from normfold.fold.graph_rules import explicit_pad as padding
from normfold.fold.graph_rules import join_affines as together
from normfold.fold.graph_rules import norm_scale_shift as norm_affine
from normfold.fold.graph_rules import parallel_branches as branches
from normfold.fold.graph_rules.activations import parts_kept_together
from normfold.fold.graph_rules.quantized_products import parts_of_quantized_products
from normfold.fold.search.choose import decide, decide_rescaling_addends
from normfold.fold.search.plan import FoldPlan
from normfold.fold.search.remainder import rewrite_chain
from normfold.graph.editor import RULE, Editor, Names
from normfold.graph.reader import GraphReader, copy_node_name, graphs_of, name_of, remember_display_names

_SUMS = ("Add", "Sum", "Mean")
_ALIKE = {"Add": ("Add", "Sub"), "Mul": ("Mul", "Div", "Neg")}  # what stays of a chain has the name of its own kind
BATCHNORM, AFFINE, MERGE, CONSTANT = "batchnorm", "affine", "merge", "constant"


# Rules that write the affine of a norm as an operator of its own; where it stays, it is the norm's, and said with it.
_WRITES_AFFINES = ("layernorm", "rmsnorm", "instancenorm", "groupnorm", "lpnorm", "gelu")


@dataclass(frozen=True)
class FoldOptions:
    """Which folds are wanted. Names are those of rules (``batchnorm``), nodes, or findings.

    ``skip`` leaves what it names, ``only`` leaves everything else, ``exclude`` holds findings that were rolled back.
    ``norm_affine`` asks for gamma and beta of norms to go into the MatMuls behind them, ``extra_channel`` for a
    shift that meets zero padding to go through one more channel wherever that is possible. ``any_activation`` says
    that the runtime executes every spelling of Gelu as one operator, so that none is taken apart.
    """

    skip: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    norm_affine: bool = False
    extra_channel: bool = False
    any_activation: bool = True

    def allows(self, rule: str, name: str = "") -> bool:
        """Whether a rule that is no affine's own is switched on (for the operator ``name``)."""
        wanted = not self.only or bool({rule, name} & self.only)
        return wanted and not {rule, name} & self.skip and name not in self.exclude

    def reason_to_leave(self, finding: Finding) -> Reason | None:
        """Why a finding is not to be touched at all, or None."""
        names = {finding.name, rule_of(finding.operator)}
        if finding.name in self.exclude:
            return Reason.ROLLED_BACK
        if names & self.skip or (self.only and not names & self.only):
            return Reason.SKIPPED
        return None


def rule_of(operator: str) -> str:
    """The name of the rule that folds an operator."""
    return BATCHNORM if operator == "BatchNormalization" else AFFINE


def fold_affines(model: ir.Model, options: FoldOptions | None = None) -> tuple[Verdict, ...]:
    """Fold in place; one verdict for each BatchNormalization and constant affine that the model had."""
    original = {
        node: finding
        for path, graph in graphs_of(model)
        for node, finding in _findings(GraphReader(model, graph, path)).items()
    }
    dead = set(dead_operators(model))
    clear_the_way(model)
    remember_display_names(model)
    names = Names(model)
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
    for path, graph in list(graphs_of(model)):
        found = _GraphFold(model, graph, path, names, original, options or FoldOptions()).fold()
        verdicts.update({verdict.finding: verdict for verdict in found})
    order = {finding: index for index, finding in enumerate(original.values())}
    return tuple(sorted(verdicts.values(), key=lambda verdict: order.get(verdict.finding, len(order))))


def _constant_now(reader: GraphReader, original: Container[ir.Node]) -> Iterator[ir.Node]:
    """Affines of a value that the runtime has computed by now; a norm of constants is settled with its readers."""
    for node in reader.graph:
        if node in original and node.op_type != "BatchNormalization" and reader.is_constant(node.outputs[0]):
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


class _GraphFold:
    """The folds of one graph."""

    def __init__(
        self,
        model: ir.Model,
        graph: ir.Graph | ir.Function,
        path: str,
        names: Names,
        original: Container[ir.Node],
        options: FoldOptions,
    ) -> None:
        """``own`` are the affines that the model came with; what clearing the way made one is none of its findings."""
        self.options = options
        self.reader = GraphReader(model, graph, path)
        self.editor = Editor(self.reader, names)
        self.findings = _findings(self.reader)
        self.of_norm = {node for node in self.findings if node.metadata_props.get(RULE) in _WRITES_AFFINES}
        # Affines that folds wrote: tried like all others, but no findings of the model.
        self.created = {node for node in self.findings if node not in original}
        self.from_cleanup = frozenset(self.created)
        parts = parts_kept_together(self.reader, every_spelling=options.any_activation)
        products = parts_of_quantized_products(self.reader)
        left = dict.fromkeys((*parts, *products), Reason.PART_OF_ACTIVATION)
        left |= {node: why for node, finding in self.findings.items() if (why := options.reason_to_leave(finding))}
        self.affines = AffineIndex(self.reader, left)
        self.verdicts: dict[Finding, Verdict] = {}
        self.obstacles: dict[ir.Node, tuple[Obstacle, ...]] = {}

    def fold(self) -> list[Verdict]:
        everything = list(self.findings.values())
        self._settle_constants()
        while (
            self._pass()
            or self._merge_branches()
            or self._bring_together()
            or self._move_orders()
            or self._fold_norm_scales()
            or self._pass(rescale_addends=True)
            or self._merge_paddings()
            or self._compute_once()
        ):
            continue
        self._drop_dead_biases()
        for node, finding in self.findings.items():
            if node in self.of_norm or node in self.created:
                continue
            obstacles = self.obstacles.get(node) or (self._why_no_affine(node),)
            self.verdicts[finding] = Verdict(finding, Outcome.KEPT, obstacles=obstacles)
        found = dict.fromkeys(each for each in (*everything, *self.verdicts) if each in self.verdicts)
        return [self.verdicts[finding] for finding in found]

    def _settle_constants(self) -> None:
        """A norm of constants is a constant (weight standardization); ``tidy`` writes its value."""
        for node, finding in list(self.findings.items()):
            if finding.is_norm and self.reader.is_constant(node.outputs[0]):
                into = tuple(dict.fromkeys(name_of(reading) for reading, _ in node.outputs[0].uses()))
                self.verdicts[finding] = Verdict(self.findings.pop(node), Outcome.FOLDED, CONSTANT, "forward", into)

    def _pass(self, *, rescale_addends: bool = False) -> bool:
        """Try every run once, in order; True when one was folded. ``generous`` folds change a sum's other addends."""
        changed = False
        self._find_new()
        for node in list(self.findings):
            if node not in self.findings:
                continue
            affine_node = self.affines.at(node)
            if affine_node is None:
                continue
            chain = self.affines.chain_through(affine_node)
            if next(known for known in chain.nodes if known in self.findings) is not node:
                continue  # a run is tried once, at the first operator that the model had itself
            if rescale_addends:
                plan = decide_rescaling_addends(self.reader, self.affines, chain)
            else:
                channel = self.options.extra_channel
                plan, obstacles = decide(self.reader, self.affines, chain, extra_channel=channel)
                self.obstacles.update({} if plan is not None else dict.fromkeys(chain.nodes, obstacles))
            if plan is not None:
                self._apply(plan)
                changed = True
        return changed

    def _find_new(self) -> None:
        """A sum whose addends have become one value, or constants but for one, is an affine from now on."""
        for node in self.reader.graph:
            if node.op_type in _SUMS and not self.reader.is_constant(node.outputs[0]):
                self._remember(node)

    def _merge_branches(self) -> bool:
        """Try every sum once; True when branches were merged."""
        changed = False
        for found in branches.merges(self.reader, self.affines):
            if isinstance(found, branches.Merge):
                if not self.options.allows(branches.RULE, found.name):
                    continue
                self._apply_merge(found)
                changed = True
                continue
            chain, obstacle = found
            for node in chain.nodes:
                self.obstacles[node] = (*self.obstacles.get(node, ()), obstacle)
        return changed

    def _apply_merge(self, merge: branches.Merge) -> None:
        """Every affine in a branch is folded into the operator that the branches become."""
        site = merge.root.outputs[0].name or ""
        sum_itself = Finding(
            merge.name, merge.root.op_type, site, self.reader.path, "a sum of parallel linear branches"
        )
        written = branches.apply(self.editor, merge)
        known = [node for node in merge.nodes if node in self.findings]
        stays = len(written) - len(merge.others) if isinstance(merge.result, Affine) else 0
        for new, old in zip(written, known[:stays], strict=False):
            copy_node_name(old, new)
            self.findings[new] = self.findings.pop(old)
            self.created |= {new} if old in self.created else set()
        popped = {node: self.findings.pop(node) for node in known[stays:]}
        gone = [finding for node, finding in popped.items() if node not in self.created]
        into = (name_of(written[0]),)
        for finding in gone or [sum_itself]:
            self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, branches.RULE, "branches", into, (site,))

    def _bring_together(self) -> bool:
        """Affines on several operands become one behind the operator; True when some did."""
        changed = False
        for found in together.affines_together(self.reader, self.affines):
            site = found.node.outputs[0].name or ""
            known = [node for chain in found.chains for node in chain.nodes if node in self.findings]
            written = together.apply(self.editor, found, MERGE)
            own_last = sorted(known, key=lambda node: (node not in self.created, known.index(node)))
            survivors = own_last[len(known) - len(written) :]
            for new, old in zip(written, survivors, strict=False):
                copy_node_name(old, new)
            self._settle(known, survivors, written, MERGE, "forward", tuple(map(name_of, written)), (site,))
            changed = True
        return changed

    def _move_orders(self) -> bool:
        """Fixed orders of channels go into weights; True when one did."""
        changed = False
        for move in order.moves(self.reader, self.affines):
            finding = move.finding(self.reader.path)
            if self.options.allows(order.RULE, finding.name):
                verdict = Verdict(finding, Outcome.FOLDED, order.RULE, move.direction, move.into, move.sites)
                order.apply(self.editor, move)
                self.verdicts[finding] = verdict
                changed = True
        return changed

    def _merge_paddings(self) -> bool:
        """Zeros go from a Pad into the operators behind it; True when some did."""
        changed = False
        for found in padding.paddings(self.reader, self.affines):
            finding, into, sites = found.finding(self.reader.path), found.into, found.sites
            if self.options.allows(padding.RULE, finding.name):
                padding.apply(self.editor, found)
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, padding.RULE, "forward", into, sites)
                changed = True
        return changed

    def _compute_once(self) -> bool:
        """Operators that folds made twins of others go; True when some did. A graph without folds stays as it is."""
        if not any(verdict.outcome is Outcome.FOLDED for verdict in self.verdicts.values()):
            return False
        duplicates = compute_once(self.reader.graph)
        for node, original in duplicates:
            finding = self.findings.pop(node, None)
            if finding is not None and node not in self.created:
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, MERGE, "removal", (name_of(original),))
        self.editor.remove([node for node, _ in duplicates])
        return bool(duplicates)

    def _drop_dead_biases(self) -> None:
        for node, finding in list(dead.dead_biases(self.reader)):
            if self.options.allows(dead.RULE, finding.name):
                dead.drop_bias(node)
                self.editor.rename(node.outputs[0])
                into = (name_of(node.outputs[0].consumers()[0]),)
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, dead.RULE, "forward", into, (finding.site,))

    def _fold_norm_scales(self) -> bool:
        changed = False
        for plan, finding in norm_affine.norm_affines(self.reader, self.affines) if self.options.norm_affine else ():
            if self.options.allows(norm_affine.RULE, finding.name):
                into, sites = plan.into, plan.sites
                self._apply_absorbers(plan, norm_affine.RULE)
                norm_affine.strip(self.editor, plan.chain)
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, norm_affine.RULE, "forward", into, sites)
                changed = True
        return changed

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
        chain, into, sites = plan.chain, plan.into, plan.sites
        rule = BATCHNORM if chain.has_batchnorm else AFFINE if into else MERGE
        nameless = self._apply_absorbers(plan, rule)
        whole = self.affines.chain_through(chain.members[0])
        far = float(distance(self.reader, whole, whole.affine).max())
        before = chain.input.producer()
        written = self._rewrite_chain(chain, plan.remaining, rule, into, sites, plan.direction, nameless)
        stays = written[-1] if written else before
        if plan.direction == "forward" and far > 1 and stays is not None and (written or before in whole.nodes):
            stays.metadata_props[DISTANCE] = f"{far:.6g}"

    def _apply_absorbers(self, plan: FoldPlan, rule: str) -> set[ir.Value]:
        """Change all operators of a plan but the run itself; returns the values that lost their names."""
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
            self._rewrite_chain(other, affine, MERGE, (), original, MERGE, nameless)
        for value in plan.widened:
            self.editor.widen(value)
        return nameless

    def _remember(self, node: ir.Node | None) -> None:
        """An Add that takes the shift of an operator without a bias may itself be folded, later."""
        if node is not None and node not in self.findings and is_candidate(self.reader, node):
            self.findings[node] = Finding(name_of(node), node.op_type, node.outputs[0].name or "", self.reader.path)
            self.created.add(node)

    def _rewrite_chain(
        self,
        chain: AffineChain,
        affine: Affine,
        rule: str,
        into: tuple[str, ...],
        sites: tuple[str, ...],
        direction: str,
        nameless: set[ir.Value],
    ) -> Sequence[ir.Node]:
        """Replace a run, and say what became of each finding in it: as many survive as operators are written.

        Where the run goes, its entry has the content that the site had: a nameless entry takes the name over.
        """
        known = [node for node in chain.nodes if node in self.findings]
        if affine.is_identity:
            entry, site = chain.input, chain.output
            takes_name = entry in nameless and site not in nameless
            self.editor.bypass(chain.nodes, entry, site, upstream_takes_name=takes_name, rule=rule)
            nameless -= {entry} if takes_name else set()
            written: Sequence[ir.Node] = ()
        else:
            written = rewrite_chain(self.editor, chain, affine, rule)
        survivors = self._survivors(known, written)
        into = into or tuple(name_of(node) for node in written)
        self._settle(known, sorted(survivors, key=known.index), written, rule, direction, into, sites)
        return written

    def _settle(
        self,
        known: Sequence[ir.Node],
        survivors: Sequence[ir.Node],
        written: Sequence[ir.Node],
        rule: str,
        direction: str,
        into: tuple[str, ...],
        sites: tuple[str, ...],
    ) -> None:
        """The findings of ``survivors`` go over to the operators ``written``; those of all others are folded."""
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
            if node not in survivors and (node not in self.created or node in self.from_cleanup):
                original = rule_of(finding.operator) if rule != MERGE else MERGE
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, original, direction, into, sites)

    def _survivors(self, known: Sequence[ir.Node], written: Sequence[ir.Node]) -> list[ir.Node]:
        """Which findings stay as what is written: a norm before another affine, but no norm as a lone Add."""
        able = [
            node for node in known if [new.op_type for new in written] != ["Add"] or not self.findings[node].is_norm
        ]
        alike = _ALIKE.get(written[0].op_type, ()) if len(written) == 1 else ()
        able.sort(
            key=lambda node: (
                node not in self.created,
                self.findings[node].is_norm,
                node.op_type in alike,
                known.index(node),
            )
        )
        return able[max(0, len(able) - len(written)) :]
