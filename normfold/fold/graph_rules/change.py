"""What every rule of this room gives to the engine: a change of a region, and all that a report says of it.

A rule is a generator of changes. It asks no options and writes no verdicts: the engine decides which changes are
wanted, applies each before it asks for the next, and keeps the books of the affines that go or stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import onnx_ir as ir

from normfold.findings.reason import Obstacle
from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineIndex
from normfold.fold.search.plan import FoldPlan
from normfold.graph.editor import Editor
from normfold.graph.reader import GraphReader


class GraphChange(Protocol):
    """A change that a rule found. It changes nothing until it is applied."""

    @property
    def name(self) -> str:
        """Return the name of the operator that options and reports call the change by."""
        ...

    @property
    def direction(self) -> str:
        """Return the direction that a report gives."""
        ...

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Return the operators that go; the findings of the affines among them are folded."""
        ...

    @property
    def plan(self) -> FoldPlan | None:
        """Return the plan whose absorbers are rewritten before the change itself; most changes need none."""
        ...

    @property
    def into(self) -> tuple[str, ...]:
        """Return the names of the operators that take the change; empty for those that are written."""
        ...

    @property
    def sites(self) -> tuple[str, ...]:
        """Return the names of the values that are the same before and after."""
        ...

    def finding(self, path: str) -> Finding | None:
        """Return what a report speaks of where no affine goes; None where only affines count."""
        ...

    def apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Carry the change out; return the affines that are written in the place of others."""
        ...


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
