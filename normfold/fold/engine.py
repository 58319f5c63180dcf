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
from normfold.fold.affines import Run, Sources, is_candidate, source_of
from normfold.fold.cleanup.common_subexpressions import compute_once
from normfold.fold.cleanup.tidy import clear_the_way, dead_operators
from normfold.fold.graph_rules import channel_order as order
from normfold.fold.graph_rules import dead_bias as dead
from normfold.fold.graph_rules import explicit_pad as padding
from normfold.fold.graph_rules import join_affines as together
from normfold.fold.graph_rules import norm_scale_shift as norm_affine
from normfold.fold.graph_rules import parallel_branches as branches
from normfold.fold.graph_rules.gelu import parts_of_activations
from normfold.fold.search.choose import decide, decide_generously
from normfold.fold.search.plan import Plan
from normfold.fold.search.remainder import rewrite_run
from normfold.graph.editor import RULE, Editor, Names
from normfold.graph.reader import GraphReader, graphs_of, name_like, name_of, remember_names

_SUMS = ("Add", "Sum", "Mean")
BATCHNORM, AFFINE, MERGE, CONSTANT = "batchnorm", "affine", "merge", "constant"


# Rules that write the affine of a norm as an operator of its own; where it stays, it is the norm's, and said with it.
_WRITES_AFFINES = ("layernorm", "rmsnorm", "instancenorm", "groupnorm", "lpnorm")


@dataclass(frozen=True)
class FoldOptions:
    """Which folds are wanted. Names are those of rules (``batchnorm``), nodes, or findings.

    ``skip`` leaves what it names, ``only`` leaves everything else, ``exclude`` holds findings that were rolled back.
    ``norm_affine`` asks for gamma and beta of norms to go into the MatMuls behind them, ``extra_channel`` for a
    shift that meets zero padding to go through one more channel wherever that is possible.
    """

    skip: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    norm_affine: bool = False
    extra_channel: bool = False

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
    own = {
        node: finding
        for path, graph in graphs_of(model)
        for node, finding in _findings(GraphReader(model, graph, path)).items()
    }
    dead = set(dead_operators(model))
    clear_the_way(model)
    remember_names(model)
    names = Names(model)
    verdicts = {
        finding: Verdict(finding, Outcome.FOLDED, MERGE, "removal")
        for node, finding in own.items()
        if node.graph is None and node not in dead
    }
    verdicts |= {
        own[node]: Verdict(own[node], Outcome.FOLDED, CONSTANT, "forward")
        for path, graph in graphs_of(model)
        for node in _constant_now(GraphReader(model, graph, path), own)
    }
    for path, graph in list(graphs_of(model)):
        found = _GraphFold(model, graph, path, names, own, options or FoldOptions()).run()
        verdicts.update({verdict.finding: verdict for verdict in found})
    order = {finding: index for index, finding in enumerate(own.values())}
    return tuple(sorted(verdicts.values(), key=lambda verdict: order.get(verdict.finding, len(order))))


def _constant_now(reader: GraphReader, own: Container[ir.Node]) -> Iterator[ir.Node]:
    """Affines of a value that the runtime has computed by now; a norm of constants is settled with its readers."""
    for node in reader.graph:
        if node in own and node.op_type != "BatchNormalization" and reader.is_constant(node.outputs[0]):
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
        own: Container[ir.Node],
        options: FoldOptions,
    ) -> None:
        """``own`` are the affines that the model came with; what clearing the way made one is none of its findings."""
        self.options = options
        self.reader = GraphReader(model, graph, path)
        self.editor = Editor(self.reader, names)
        self.findings = _findings(self.reader)
        self.owned = {node for node in self.findings if node.metadata_props.get(RULE) in _WRITES_AFFINES}
        # Affines that folds wrote: tried like all others, but no findings of the model.
        self.made = {node for node in self.findings if node not in own}
        self.cleared = frozenset(self.made)
        left = dict.fromkeys(parts_of_activations(self.reader), Reason.PART_OF_ACTIVATION)
        left |= {node: why for node, finding in self.findings.items() if (why := options.reason_to_leave(finding))}
        self.sources = Sources(self.reader, left)
        self.verdicts: dict[Finding, Verdict] = {}
        self.obstacles: dict[ir.Node, tuple[Obstacle, ...]] = {}

    def run(self) -> list[Verdict]:
        everything = list(self.findings.values())
        self._settle_constants()
        while (
            self._pass()
            or self._merge_branches()
            or self._bring_together()
            or self._move_orders()
            or self._fold_norm_scales()
            or self._pass(generous=True)
            or self._merge_paddings()
            or self._compute_once()
        ):
            continue
        self._drop_dead_biases()
        for node, finding in self.findings.items():
            if node in self.owned or node in self.made:
                continue
            obstacles = self.obstacles.get(node) or (self._why_no_source(node),)
            self.verdicts[finding] = Verdict(finding, Outcome.KEPT, obstacles=obstacles)
        found = dict.fromkeys(each for each in (*everything, *self.verdicts) if each in self.verdicts)
        return [self.verdicts[finding] for finding in found]

    def _settle_constants(self) -> None:
        """A norm of constants is a constant (weight standardization); ``tidy`` writes its value."""
        for node, finding in list(self.findings.items()):
            if finding.is_norm and self.reader.is_constant(node.outputs[0]):
                into = tuple(dict.fromkeys(name_of(reading) for reading, _ in node.outputs[0].uses()))
                self.verdicts[finding] = Verdict(self.findings.pop(node), Outcome.FOLDED, CONSTANT, "forward", into)

    def _pass(self, *, generous: bool = False) -> bool:
        """Try every run once, in order; True when one was folded. ``generous`` folds change a sum's other addends."""
        changed = False
        self._find_new()
        for node in list(self.findings):
            if node not in self.findings:
                continue
            source = self.sources.at(node)
            if source is None:
                continue
            run = self.sources.run_through(source)
            if next(known for known in run.nodes if known in self.findings) is not node:
                continue  # a run is tried once, at the first operator that the model had itself
            if generous:
                plan = decide_generously(self.reader, self.sources, run)
            else:
                channel = self.options.extra_channel
                plan, obstacles = decide(self.reader, self.sources, run, extra_channel=channel)
                self.obstacles.update({} if plan is not None else dict.fromkeys(run.nodes, obstacles))
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
        for found in branches.merges(self.reader, self.sources):
            if isinstance(found, branches.Merge):
                if not self.options.allows(branches.RULE, found.name):
                    continue
                self._apply_merge(found)
                changed = True
                continue
            run, obstacle = found
            for node in run.nodes:
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
            name_like(old, new)
            self.findings[new] = self.findings.pop(old)
            self.made |= {new} if old in self.made else set()
        popped = {node: self.findings.pop(node) for node in known[stays:]}
        gone = [finding for node, finding in popped.items() if node not in self.made]
        into = (name_of(written[0]),)
        for finding in gone or [sum_itself]:
            self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, branches.RULE, "branches", into, (site,))

    def _bring_together(self) -> bool:
        """Affines on several operands become one behind the operator; True when some did."""
        changed = False
        for found in together.affines_together(self.reader, self.sources):
            site = found.node.outputs[0].name or ""
            known = [node for run in found.runs for node in run.nodes if node in self.findings]
            written = together.apply(self.editor, found, MERGE)
            own_last = sorted(known, key=lambda node: (node not in self.made, known.index(node)))
            survivors = own_last[len(known) - len(written) :]
            for new, old in zip(written, survivors, strict=False):
                name_like(old, new)
            self._settle(known, survivors, written, MERGE, "forward", tuple(map(name_of, written)), (site,))
            changed = True
        return changed

    def _move_orders(self) -> bool:
        """Fixed orders of channels go into weights; True when one did."""
        changed = False
        for move in order.moves(self.reader, self.sources):
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
        for found in padding.paddings(self.reader, self.sources):
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
        twins = compute_once(self.reader.graph)
        for node, twin in twins:
            finding = self.findings.pop(node, None)
            if finding is not None and node not in self.made:
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, MERGE, "removal", (name_of(twin),))
        self.editor.remove([node for node, _ in twins])
        return bool(twins)

    def _drop_dead_biases(self) -> None:
        for node, finding in list(dead.dead_biases(self.reader)):
            if self.options.allows(dead.RULE, finding.name):
                dead.drop_bias(node)
                self.editor.rename(node.outputs[0])
                into = (name_of(node.outputs[0].consumers()[0]),)
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, dead.RULE, "forward", into, (finding.site,))

    def _fold_norm_scales(self) -> bool:
        changed = False
        for plan, finding in norm_affine.norm_affines(self.reader, self.sources) if self.options.norm_affine else ():
            if self.options.allows(norm_affine.RULE, finding.name):
                into, sites = plan.into, plan.sites
                self._apply_absorbers(plan, norm_affine.RULE)
                norm_affine.strip(self.editor, plan.run)
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, norm_affine.RULE, "forward", into, sites)
                changed = True
        return changed

    def _why_no_source(self, node: ir.Node) -> Obstacle:
        if node in self.sources.left:
            return Obstacle(self.sources.left[node], name_of(node))
        try:
            source_of(self.reader, node)
        except Refusal as refusal:
            return refusal.obstacle
        raise AssertionError(f"{name_of(node)} is an affine, so a pass must have tried it")

    # -- applying a plan -----------------------------------------------------------------------------------------
    def _apply(self, plan: Plan) -> None:
        run, into, sites = plan.run, plan.into, plan.sites
        rule = BATCHNORM if run.has_batchnorm else AFFINE if into else MERGE
        nameless = self._apply_absorbers(plan, rule)
        self._rewrite_run(run, plan.residue, rule, into, sites, plan.direction, nameless)

    def _apply_absorbers(self, plan: Plan, rule: str) -> set[ir.Value]:
        """Change all operators of a plan but the run itself; returns the values that lost their names."""
        source_name = name_of(plan.run.nodes[-1])
        stands_for: dict[ir.Value, ir.Value] = {}
        for rewrite in (*plan.beside, *plan.rewrites):
            first = rewrite.node.outputs[0]
            stands_for[first] = value = self.editor.rewrite(rewrite, rule, source_name)
            self._remember(value.producer())
        nameless = {stands_for.get(value, value) for value in plan.changed}
        for value in plan.changed:
            self.editor.rename(stands_for.get(value, value))
        for other, affine in plan.merged:
            own = () if other.site in nameless else (other.site.name or "",)
            self._rewrite_run(other, affine, MERGE, (), own, MERGE, nameless)
        for value in plan.widened:
            self.editor.widen(value)
        return nameless

    def _remember(self, node: ir.Node | None) -> None:
        """An Add that takes the shift of an operator without a bias may itself be folded, later."""
        if node is not None and node not in self.findings and is_candidate(self.reader, node):
            self.findings[node] = Finding(name_of(node), node.op_type, node.outputs[0].name or "", self.reader.path)
            self.made.add(node)

    def _rewrite_run(
        self,
        run: Run,
        affine: Affine,
        rule: str,
        into: tuple[str, ...],
        sites: tuple[str, ...],
        direction: str,
        nameless: set[ir.Value],
    ) -> None:
        """Replace a run, and say what became of each finding in it: as many survive as operators are written.

        Where the run goes, its entry has the content that the site had: a nameless entry takes the name over.
        """
        known = [node for node in run.nodes if node in self.findings]
        if affine.is_identity:
            entry, site = run.entry, run.site
            takes_name = entry in nameless and site not in nameless
            self.editor.bypass(run.nodes, entry, site, entry_takes_name=takes_name, rule=rule)
            nameless -= {entry} if takes_name else set()
            written: Sequence[ir.Node] = ()
        else:
            written = rewrite_run(self.editor, run, affine, rule)
        survivors = self._survivors(known, written)
        into = into or tuple(name_of(node) for node in written)
        self._settle(known, sorted(survivors, key=known.index), written, rule, direction, into, sites)

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
            self.made |= {new} if old in self.made else set()
        for new in written:
            self._remember(new)
        for node in known:
            finding = self.findings.pop(node)
            self.obstacles.pop(node, None)
            if node in self.cleared:  # no affine of the model as it came, but what became of it changes the model
                finding = replace(finding, what="a value added to itself")
            if node not in survivors and (node not in self.made or node in self.cleared):
                own = rule_of(finding.operator) if rule != MERGE else MERGE
                self.verdicts[finding] = Verdict(finding, Outcome.FOLDED, own, direction, into, sites)

    def _survivors(self, known: Sequence[ir.Node], written: Sequence[ir.Node]) -> list[ir.Node]:
        """Which findings stay as what is written: a norm before another affine, but no norm as a lone Add."""
        able = [
            node for node in known if [new.op_type for new in written] != ["Add"] or not self.findings[node].is_norm
        ]
        able.sort(key=lambda node: (node not in self.made, self.findings[node].is_norm, known.index(node)))
        return able[max(0, len(able) - len(written)) :]
