"""Tracks the affines of one graph through all folds, until each has its verdict."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from normfold.findings.reason import Obstacle
from normfold.findings.rules import AFFINE, BATCHNORM, CONSTANT, rule_of
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.fold.affines import is_candidate
from normfold.graph.display_names import name_of
from normfold.graph.editor import RULE
from normfold.graph.reader import GraphReader
from normfold.operators.table import SUMS

_SAME_KIND = {"Add": ("Add", "Sub"), "Mul": ("Mul", "Div", "Neg")}  # what stays of a chain has the name of its own kind

# Rules that write the affine of a norm as an operator of its own; where it stays, it is the norm's, and said with it.
_WRITES_AFFINES = ("layernorm", "rmsnorm", "instancenorm", "groupnorm", "lpnorm", "gelu")


@dataclass(frozen=True)
class Account:
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


def findings_of(reader: GraphReader) -> dict[ir.Node, Finding]:
    """Return the affines of a graph in order, each BatchNormalization among them."""
    return {node: _finding(reader, node) for node in reader.graph if is_candidate(reader, node)}


def _finding(reader: GraphReader, node: ir.Node) -> Finding:
    is_norm = node.op_type == "BatchNormalization"
    return Finding(name_of(node), node.op_type, node.outputs[0].name or "", reader.path, is_norm=is_norm)


class AffineTracker:
    """The affines of a graph that are still there (``findings``), and the verdicts of those that are gone.

    Two kinds are tried like all others and are no findings of the model: those that folds or the cleanup wrote
    (``created``), and what is left of a norm (``of_norm``).
    """

    def __init__(self, reader: GraphReader, original: Container[ir.Node]) -> None:
        """``original`` are the affines that the model came with."""
        self._reader = reader
        self.findings = findings_of(reader)
        self.of_norm = {node for node in self.findings if node.metadata_props.get(RULE) in _WRITES_AFFINES}
        self.created = {node for node in self.findings if node not in original}
        self._from_cleanup = frozenset(self.created)
        self._in_order = list(self.findings.values())
        self._verdicts: dict[Finding, Verdict] = {}
        self._obstacles: dict[ir.Node, tuple[Obstacle, ...]] = {}

    # -- affines that appear, stay or go ---------------------------------------------------------------------------
    def find_new(self) -> None:
        """Find sums whose addends have become one value, or constants but for one: they are affines from now on."""
        for node in self._reader.graph:
            if node.op_type in SUMS and not self._reader.is_constant(node.outputs[0]):
                self.remember(node)

    def remember(self, node: ir.Node | None) -> None:
        """Track an affine that a fold wrote, such as the shift of an operator without a bias: it may be folded too."""
        if node is not None and node not in self.findings and is_candidate(self._reader, node):
            self.findings[node] = _finding(self._reader, node)
            self.created.add(node)

    def keep(self, nodes: Iterable[ir.Node], *obstacles: Obstacle) -> None:
        """Note why affines stay for now, in place of what was noted before."""
        self._obstacles.update(dict.fromkeys(nodes, obstacles))

    def keep_too(self, nodes: Iterable[ir.Node], obstacle: Obstacle) -> None:
        """Note one more obstacle for each of ``nodes``."""
        for node in nodes:
            self._obstacles[node] = (*self._obstacles.get(node, ()), obstacle)

    def settle_constant(self, node: ir.Node) -> None:
        """Settle the norm of a constant, whose value is stored in its place."""
        into = tuple(dict.fromkeys(name_of(reading) for reading, _ in node.outputs[0].uses()))
        finding = self.findings.pop(node)
        self._verdicts[finding] = Verdict(finding, Outcome.FOLDED, CONSTANT, "forward", into)

    def settle_region(self, finding: Finding, account: Account) -> None:
        """Say what became of a region in which no affine of the model went."""
        self._verdicts[finding] = account.of(finding, ())

    def settle(
        self,
        known: Sequence[ir.Node],
        survivors: Sequence[ir.Node],
        written: Sequence[ir.Node],
        account: Account,
    ) -> None:
        """Hand the findings of ``survivors`` to the operators ``written``; those of all others are folded."""
        for new, old in zip(written, survivors, strict=False):
            self.findings[new] = self.findings[old]
            self.created |= {new} if old in self.created else set()
        for new in written:
            self.remember(new)
        for node in known:
            finding = self.findings.pop(node)
            self._obstacles.pop(node, None)
            if node in self._from_cleanup:  # none of the model's, but what becomes of it changes the model
                finding = replace(finding, what="a value added to itself")
            if node not in survivors and self.is_reported(node):
                self._verdicts[finding] = account.of(finding, written)

    # -- questions -------------------------------------------------------------------------------------------------
    def among(self, nodes: Iterable[ir.Node]) -> list[ir.Node]:
        """Return those of ``nodes`` that are tracked."""
        return [node for node in nodes if node in self.findings]

    def is_reported(self, node: ir.Node) -> bool:
        """Return whether a report speaks of an affine: the model had it, or its cleanup changed the model."""
        return node not in self.created or node in self._from_cleanup

    def survivors(self, known: Sequence[ir.Node], written: Sequence[ir.Node]) -> list[ir.Node]:
        """Return, in order, which of ``known`` stay as what is written.

        A norm stays before another affine, but no norm as a lone Add.
        """
        able = [
            node for node in known if [new.op_type for new in written] != ["Add"] or not self.findings[node].is_norm
        ]
        same = _SAME_KIND.get(written[0].op_type, ()) if len(written) == 1 else ()
        able.sort(key=lambda node: (node not in self.created, self.findings[node].is_norm, node.op_type in same))
        return sorted(able[max(0, len(able) - len(written)) :], key=known.index)

    def verdicts(self, why_untried: Callable[[ir.Node], Obstacle]) -> list[Verdict]:
        """Return one verdict for each finding: what is still there is kept; ``why_untried`` says why none was tried."""
        for node, finding in self.findings.items():
            if node in self.of_norm or node in self.created:
                continue
            obstacles = self._obstacles.get(node) or (why_untried(node),)
            self._verdicts[finding] = Verdict(finding, Outcome.KEPT, obstacles=obstacles)
        found = dict.fromkeys(each for each in (*self._in_order, *self._verdicts) if each in self._verdicts)
        return [self._verdicts[finding] for finding in found]
