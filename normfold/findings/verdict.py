"""What every room says about a model: one finding for each norm or constant affine, and exactly one verdict for each.

``found = folded + fused + kept`` holds for every result, because a ``Verdict`` is made for each ``Finding`` once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from normfold.findings.reason import Obstacle


class Outcome(Enum):
    """What became of a finding."""

    FOLDED = "folded"
    FUSED = "fused"
    KEPT = "kept"


@dataclass(frozen=True)
class Finding:
    """A norm or constant affine of the model.

    ``name`` is unique in the model: the node's own name, else its first output's. ``site`` is the name of the value
    that it makes. ``graph`` is "" for the main graph, else the path of the subgraph or function. ``what`` says in
    words what was recognized: operator, axes, epsilon, decomposition.
    """

    name: str
    operator: str
    site: str
    graph: str = ""
    what: str = ""
    is_norm: bool = False

    @property
    def path(self) -> str:
        """Return the name, behind the path of its graph where that is not the main one."""
        return f"{self.graph}/{self.name}" if self.graph else self.name


@dataclass(frozen=True)
class Verdict:
    """A finding and what became of it.

    ``rule`` names the rule that folded or fused it; ``into`` the nodes that took it over; ``sites`` the values, with
    equal names in the original and the result, at which its effect can be measured; ``obstacles`` why it stayed, one
    for each way that was tried. ``form`` says which operator was written, and ``why`` why that form.
    ``parts`` are operators of a norm, gone with it or not, that are no findings of their own.
    """

    finding: Finding
    outcome: Outcome
    rule: str = ""
    direction: str = ""
    into: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    form: str = ""
    why: str = ""
    parts: tuple[str, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Return whether the finding was folded or fused."""
        return self.outcome is not Outcome.KEPT

    @property
    def main_obstacle(self) -> Obstacle:
        """Return why the finding stayed: that it is settled, else the first obstacle that a user can remove."""
        ranked = sorted(self.obstacles, key=lambda each: (not each.reason.is_settled, not each.reason.can_be_helped))
        return ranked[0]

    @property
    def is_settled(self) -> bool:
        """Return whether the finding stayed because it already is as it should be."""
        return not self.is_changed and any(obstacle.reason.is_settled for obstacle in self.obstacles)
