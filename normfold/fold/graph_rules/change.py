"""What every rule of this room gives to the engine: a change of a region, and all that a report says of it.

A rule is a generator of changes. It asks no options and writes no verdicts: the engine decides which changes are
wanted, applies each before it asks for the next, and keeps the books of the affines that go or stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import onnx_ir as ir

from normfold.findings.reason import Obstacle
from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineIndex
from normfold.fold.search.plan import FoldPlan
from normfold.graph.editor import Editor
from normfold.graph.reader import GraphReader


@dataclass(frozen=True, eq=False)
class GraphChange:
    """A change that a rule found. It changes nothing until ``apply`` is called.

    ``name`` is the operator that options and reports call the change by. ``apply`` carries it out, and returns the
    affines that are written in the place of others. ``nodes`` go; the findings of the affines among them are folded.
    ``into`` names the operators that take the change, ``sites`` the values that are the same before and after.
    ``finding`` is what a report speaks of where no affine goes. The absorbers of ``plan`` are rewritten first.
    """

    name: str
    apply: Callable[[Editor], Sequence[ir.Node]]
    nodes: tuple[ir.Node, ...] = ()
    into: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    finding: Finding | None = None
    direction: str = "forward"
    plan: FoldPlan | None = None


@dataclass(frozen=True)
class Declined:
    """A region that a rule looked at and left, with the affines in it and the reason."""

    nodes: tuple[ir.Node, ...]
    obstacle: Obstacle


class RuleStage(Enum):
    """When a rule is tried."""

    FIRST = "before any affine folds"
    BETWEEN = "whenever no affine folds by itself"
    LATE = "when no affine folds any more, at whatever cost"


@dataclass(frozen=True)
class GraphRule:
    """A rule by its name, and when it is tried."""

    name: str
    find: Callable[[GraphReader, AffineIndex], Iterator[GraphChange | Declined]]
    stage: RuleStage = RuleStage.BETWEEN
