"""Finds every norm of a model, writes each in the form that the target runs best, and gives one verdict for each.

A norm is fused only where that saves work: what others read of its intermediate values is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx_ir as ir

from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.findings.rules import CONSTANT, Selection
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.fold.gelu import parts_kept_together
from normfold.fold.search.growth import Budget
from normfold.fuse.choose import (
    OPERATOR_OF,
    Kept,
    NormPlan,
    decide,
    describe,
    finding_name,
    operator_of,
    slice_of,
    statistics_of,
)
from normfold.fuse.forms.writer import GROUPNORM, Writer
from normfold.fuse.function_shapes import shapes_in_functions
from normfold.fuse.opset import OpsetRaiseError, raise_opset
from normfold.fuse.recognize.candidates import is_anchor, regions, takes_root_of_unknown_rank
from normfold.fuse.recognize.norm_operators import NORM_OPERATORS
from normfold.fuse.recognize.published import ANY, BOUNDED, STANDARDIZATION, published_norms
from normfold.fuse.recognize.region import Region, Tracked
from normfold.fuse.recognize.surroundings import conditional_name
from normfold.graph.display_names import name_of
from normfold.graph.editor import RULE, Editor, UniqueNames, stamp
from normfold.graph.reader import GraphReader, graphs_of, is_read, opset_of
from normfold.operators.table import is_standard
from normfold.targets.table import target_of
from normfold.targets.target import AUTO, KEEP, Target

CENTER = "center"  # the rule that makes RMSNorms of LayerNorms
NO_NORM = "looks like a norm and is none"  # what a finding says of arithmetic close to a norm

_CONTRIB = frozenset(
    {
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "EmbedLayerNormalization",
        "GroupNorm",
        "SkipGroupNorm",
    }
)


def fuse_norms(model: ir.Model, options: Selection | None = None) -> tuple[Verdict, ...]:
    """Fuse in place; return one verdict for each norm, and for each near miss, that the model had.

    UsageError for an unknown target.
    """
    options = options or Selection()
    target = target_of(options)
    present = opset_of(model.graph)
    limit = newest_allowed(options, target, present)
    obstacle = ""
    wanted = _wanted_opset(model, options, target, limit)
    if wanted > present:
        try:
            raise_opset(model, wanted, target.newest_ir)
        except OpsetRaiseError as fault:
            obstacle = str(fault)
    with shapes_in_functions(model):
        verdicts = [verdict for each in _graph_fuses(model, options) for verdict in each.run()]
    raised = opset_of(model.graph)
    if obstacle:
        return tuple(_attribute_to_converter(verdict, obstacle) for verdict in verdicts)
    if raised > present:
        return tuple(_say_raised(verdict, present, raised) for verdict in verdicts)
    return tuple(verdicts)


def find_norms(model: ir.Model, options: Selection | None = None) -> tuple[Finding, ...]:
    """List every norm and near miss of a model, in order, with the form it would get. Changes nothing."""
    options = options or Selection()
    target = target_of(options)
    limit = newest_allowed(options, target, opset_of(model.graph))
    with shapes_in_functions(model):
        return tuple(finding for each in _graph_fuses(model, options, limit) for finding in each.findings())


def newest_allowed(options: Selection, target: Target, present: int) -> int:
    """Return the newest operator set that forms may use."""
    policy = options.opset or target.opset
    if policy == KEEP:
        return present
    if policy == AUTO:
        return max(present, target.newest_opset)
    return max(present, int(policy))


def _wanted_opset(model: ir.Model, options: Selection, target: Target, limit: int) -> int:
    """Return the operator set that the forms need; a number that the user gave is wanted as it is."""
    if str(options.opset or target.opset).isdigit():
        return limit
    present = opset_of(model.graph)
    if limit == present:
        return present
    plans = (plan for each in _graph_fuses(model, options, limit) for plan in each.plans())
    return max((present, *(plan.form.opset for plan in plans)))


def _attribute_to_converter(verdict: Verdict, obstacle: str) -> Verdict:
    needs = [each for each in verdict.obstacles if each.reason is Reason.NEEDS_OPSET]
    if not needs:
        return verdict
    converted = replace(needs[0], reason=Reason.CONVERTER, detail=obstacle)
    return replace(verdict, obstacles=(converted, *(each for each in verdict.obstacles if each is not needs[0])))


def _say_raised(verdict: Verdict, present: int, raised: int) -> Verdict:
    if verdict.outcome is not Outcome.FUSED:
        return verdict
    note = f"the operator set rises from {present} to {raised}"
    return replace(verdict, why=f"{verdict.why}; {note}" if verdict.why else note)


def _graph_fuses(model: ir.Model, options: Selection, opset: int = 0) -> Iterator[_GraphFuse]:
    """Yield what fuses each graph of a model; ``opset`` is the newest that forms may use, 0 for that of the model."""
    names, spare = UniqueNames(model), Budget.of(model, options.max_growth).limit
    for path, graph in list(graphs_of(model)):
        yield _GraphFuse(GraphReader(model, graph, path), names, options, opset, spare)


class _GraphFuse:
    """The norms of one graph, whose parameters may each grow by ``spare`` bytes."""

    def __init__(self, reader: GraphReader, names: UniqueNames, options: Selection, opset: int, spare: int) -> None:
        self.reader, self.options, self.target, self.spare = reader, options, target_of(options), spare
        self.editor = Editor(reader, names)
        self.opset = reader.opset if isinstance(reader.graph, ir.Function) else opset or reader.opset
        self.left = frozenset(parts_kept_together(reader, every_spelling=True))  # a factor of a Gelu is no norm's
        self.covered: set[ir.Node] = set()
        self.near_misses: dict[ir.Node, Obstacle] = {}

    def run(self) -> list[Verdict]:
        """Fuse in place."""
        verdicts = self._norms_of_constants()
        for anchor in self._anchors():
            decision = self._decide(anchor)
            while isinstance(decision, NormPlan):
                verdicts.extend(self._apply(decision))
                decision = self._decide(anchor)  # what still needs it may be part of another norm
            if decision is not None:
                verdicts.extend(self._keep(decision))
        return [*verdicts, *self._left()]

    def plans(self) -> list[NormPlan]:
        """List what would be fused; changes nothing."""
        return [decision for decision in self._decisions() if isinstance(decision, NormPlan)]

    def _decisions(self) -> Iterator[NormPlan | Kept]:
        for anchor in self._anchors():
            decision = self._decide(anchor)
            if decision is not None:
                self.covered |= slice_of(decision.region, decision.norms)  # the graph stays as it is
                yield decision

    def findings(self) -> list[Finding]:
        """List what would get a verdict; changes nothing."""
        found = []
        for decision in self._decisions():
            findings = self._findings(decision)
            if isinstance(decision, NormPlan):
                form = decision.form_name(decision.norms[0])
                findings = [replace(each, what=f"{each.what}; becomes {form}") for each in findings]
            found += findings
        return found + [verdict.finding for verdict in (*self._norms_of_constants(), *self._left())]

    # -- deciding ------------------------------------------------------------------------------------------------
    def _anchors(self) -> list[ir.Node]:
        """List where norms begin; what was centered is not written as a LayerNorm again."""
        return [node for node in self.reader.graph if is_anchor(node) and node.metadata_props.get(RULE) != CENTER]

    def _decide(self, anchor: ir.Node) -> NormPlan | Kept | None:
        """Return what becomes of the norm that ``anchor`` is part of.

        None where there is none, or it was decided before.
        """
        if anchor in self.covered or not self.reader.holds(anchor) or self._is_of_constants(anchor):
            return None
        decision, met = decide(anchor, regions(self.reader, anchor, self.left), self.target, self.opset, self.spare)
        for region in met:
            for node, obstacle in region.near_misses:
                self.near_misses.setdefault(node, obstacle)
        if decision is None:
            return None
        made_of = slice_of(decision.region, decision.norms)
        if anchor not in made_of:
            return None
        permitted = self._permitted(decision)
        self.covered |= made_of.intersection(permitted.dead) if isinstance(permitted, NormPlan) else made_of
        return permitted

    def _norms_of_constants(self) -> list[Verdict]:
        """Return a verdict for each norm of a stored weight, which is a constant; the clean-up writes its value."""
        verdicts = []
        for anchor in self._anchors():
            if anchor in self.covered or not self._is_of_constants(anchor):
                continue
            decision, _ = decide(anchor, regions(self.reader, anchor, self.left), self.target, self.opset, self.spare)
            if decision is None:
                continue
            self.covered |= slice_of(decision.region, decision.norms)
            for finding, norm in zip(self._findings(decision), decision.norms, strict=True):
                reason = self.options.reason_to_leave(finding.name, CONSTANT)
                finding = replace(finding, what=f"{finding.what}, of a stored weight")
                if reason is not None:
                    verdicts.append(Verdict(finding, Outcome.KEPT, obstacles=(Obstacle(reason, finding.name),)))
                    continue
                into = tuple(dict.fromkeys(name_of(reading) for reading, _ in norm.site.uses()))
                verdicts.append(Verdict(finding, Outcome.FOLDED, CONSTANT, "forward", into))
        return verdicts

    def _is_of_constants(self, anchor: ir.Node) -> bool:
        return bool(anchor.inputs) and self.reader.is_constant(anchor.inputs[0])

    def _permitted(self, decision: NormPlan | Kept) -> NormPlan | Kept:
        """Return the decision, or a refusal where one of its norms is to be left, for what was asked or found before.

        What keeps a norm at an older operator set is that another one does not raise it.
        """
        if isinstance(decision, Kept):
            names = [finding_name(decision.region, decision.norms, index) for index in range(len(decision.norms))]
            known = next((self.options.exclude[name] for name in names if name in self.options.exclude), None)
            if known is None or decision.reason is not Reason.NEEDS_OPSET:
                return decision
            return replace(decision, reason=known, detail="")
        for index in range(len(decision.norms)):
            name = finding_name(decision.region, decision.norms, index)
            reason = self.options.reason_to_leave(name, decision.form.rule)
            if reason is not None:
                return Kept(decision.context, decision.norms, reason)
        return decision

    def _findings(self, decision: NormPlan | Kept) -> list[Finding]:
        found = []
        reason = decision.reason if isinstance(decision, Kept) else None
        for index, norm in enumerate(decision.norms):
            operator = operator_of(decision.context, norm, reason)
            found.append(
                Finding(
                    name=finding_name(decision.region, decision.norms, index),
                    operator=operator,
                    site=norm.site.name or "",
                    graph=self.reader.path,
                    what=describe(decision.context, norm, operator),
                    is_norm=True,
                )
            )
        return found

    # -- what becomes of it --------------------------------------------------------------------------------------
    def _keep(self, decision: Kept) -> list[Verdict]:
        verdicts = []
        for finding, norm in zip(self._findings(decision), decision.norms, strict=True):
            name = conditional_name(self.reader, norm.site, finding.operator)
            reason = Reason.COMPUTED_AFFINE if name and decision.reason is Reason.OWN_STATISTICS else decision.reason
            obstacle = Obstacle(reason, finding.name, finding.site, decision.detail)
            parts = statistics_of(decision.region, norm)
            verdicts.append(Verdict(finding, Outcome.KEPT, obstacles=(obstacle,), parts=parts))
        return verdicts

    def _apply(self, plan: NormPlan) -> list[Verdict]:
        """Write the norms of a plan, then remove what only served to compute them."""
        findings = self._findings(plan)
        try:
            written = [self._write(plan, index) for index in range(len(plan.norms))]
        except Refusal as refusal:  # a constant that its type cannot hold; nothing was changed yet
            self.covered |= slice_of(plan.region, plan.norms)
            return [Verdict(finding, Outcome.KEPT, obstacles=(refusal.obstacle,)) for finding in findings]
        forms = [plan.form_name(norm) for norm in plan.norms]
        self._ask_root_for_shape(plan.region)
        verdicts = []
        for norm, finding, (writer, value), form in zip(plan.norms, findings, written, forms, strict=True):
            self._insert(norm.site, writer, value, plan.form.rule, finding)
            if norm is plan.norms[0] and plan.statistics:
                outputs = writer.statistics()
                for statistic, index in plan.statistics:
                    self.editor.take_over(statistic, outputs[index])
            verdicts.append(
                Verdict(
                    finding,
                    Outcome.FUSED,
                    rule=plan.form.rule,
                    into=tuple(name_of(node) for node in writer.nodes),
                    sites=(finding.site,),
                    form=form,
                    why=self._why(plan),
                    parts=tuple(map(name_of, plan.dead)),
                )
            )
        self._remove_dead(plan.region)
        return verdicts

    def _write(self, plan: NormPlan, index: int) -> tuple[Writer, ir.Value]:
        norm = plan.norms[index]
        writer = Writer(self.editor, plan.context, norm, plan.form.operator)
        return writer, plan.form.write(writer, norm)

    def _insert(self, site: ir.Value, writer: Writer, value: ir.Value, rule: str, finding: Finding) -> None:
        last = site.producer()
        assert last is not None, "a norm is made by an operator"
        writer.nodes[-1].metadata_props.update(last.metadata_props)
        for node in writer.nodes:
            stamp(node, rule, finding.name)
            self.covered.add(node)
        self.editor.insert_before(last, writer.nodes)
        self.editor.take_over(site, value)

    def _why(self, plan: NormPlan) -> str:
        operator = OPERATOR_OF[GROUPNORM] if plan.form.rule == GROUPNORM else plan.form.operator
        known = OPERATOR_OF.get(plan.form.rule, operator)
        contrib = self.target.contrib.get(known, "no operator of com.microsoft is known for it here")
        reasons = [self.target.why.get(operator, ""), f"--contrib: {contrib}" if self.options.contrib else ""]
        return "; ".join(filter(None, reasons))

    def _ask_root_for_shape(self, region: Region) -> None:
        for node in region.shape_readers:
            value = node.inputs[0]
            tracked = region.tracked.get(value) if value is not None else None
            if (
                isinstance(tracked, Tracked)
                and tracked.view == 0
                and region.is_whole(tracked)
                and value is not region.root
            ):
                node.replace_input_with(0, region.root)

    def _remove_dead(self, region: Region) -> None:
        for node in reversed(list(region.nodes)):
            if not any(map(is_read, node.outputs)):
                self.editor.remove([node])

    # -- what is no region ---------------------------------------------------------------------------------------
    def _left(self) -> list[Verdict]:
        """Return verdicts for norm operators that no decision covers, and for near misses."""
        published = list(self._published())
        named = {verdict.finding.name for verdict in published}
        verdicts = []
        for node in self.reader.graph:
            is_norm = (is_standard(node) and node.op_type in NORM_OPERATORS) or node.op_type in _CONTRIB
            is_unknown = not is_norm and takes_root_of_unknown_rank(self.reader, node)
            is_seen = is_norm or is_unknown or node in self.near_misses
            if node in self.covered or not is_seen or name_of(node) in named:
                continue
            what = "" if is_norm else "looks like a norm" if is_unknown else NO_NORM
            finding = Finding(name_of(node), node.op_type, node.outputs[0].name or "", self.reader.path, what, True)
            reason = Reason.UNKNOWN_SHAPE if is_unknown else Reason.OWN_STATISTICS
            own = Obstacle(reason, finding.name, finding.site, "its rank is not known" if is_unknown else "")
            obstacle = own if is_norm or is_unknown else self.near_misses[node]
            verdicts.append(Verdict(finding, Outcome.KEPT, obstacles=(obstacle,)))
        return [*verdicts, *published]

    def _published(self) -> Iterator[Verdict]:
        """Yield a verdict for each norm of the literature that is no operator, by its name."""
        for found in published_norms(self.reader):
            near = self.near_misses.get(found.node)
            says_more = near is not None and near.reason is not found.reason
            if found.node in self.covered or (says_more and found.name in (ANY, BOUNDED, STANDARDIZATION)):
                continue
            site, name = found.node.outputs[0].name or "", name_of(found.node)
            finding = Finding(name, found.name, site, self.reader.path, found.detail, True)
            parts = tuple(name_of(node) for node in found.parts if node is not found.node)
            obstacle = Obstacle(found.reason, name, site, found.detail)
            yield Verdict(finding, Outcome.KEPT, obstacles=(obstacle,), parts=parts)
