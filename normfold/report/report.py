"""What happened to a model, as one value. Every format (text, JSON, ...) reads this and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.report.drawing import Drawing
from normfold.report.statistics import Statistics
from normfold.verify.result import Verification

Groups = tuple[tuple[Reason, tuple[tuple[Verdict, Obstacle], ...]], ...]

SCHEMA = 2  # of the JSON form; raised when a field changes its meaning


@dataclass(frozen=True)
class Problem:
    """What a check does not accept about a model.

    ``reason`` has code and remedy: why the norm stayed, or one of NF0xx. ``finding`` is the norm or affine, None where
    it is about the whole model. ``why`` says in words what makes it a problem here: a limit, or what the lock has.
    """

    reason: Reason
    finding: Finding | None = None
    why: str = ""
    obstacle: Obstacle | None = None

    @property
    def message(self) -> str:
        """One line: the norm, what is in the way, and why that is a problem. Names are untrusted text."""
        parts = []
        if self.finding is not None:
            parts.append(f"{self.finding.operator} {self.finding.name}: ")
        parts.append(f"{self.reason.code} {self.reason.obstacle}" if self.obstacle is None else str(self.obstacle))
        return "".join(parts) + (f"; {self.why}" if self.why else "")


@dataclass(frozen=True)
class Report:
    """The result of a command on one model.

    ``command`` is "optimize", "inspect" or "check". ``output`` is where the result was written, "" for nowhere.
    ``is_copy`` says that nothing was changed, so the output equals the input byte for byte. ``notes`` hold
    whatever else the user must know. ``seconds`` maps stages to wall time. ``problems`` are what a check does not
    accept: with one of them it fails. ``drawings`` show the surroundings of each verdict before and after, where
    pictures were asked for; ``op_types`` has the type of each operator in ``Verdict.into``; ``options`` are those that
    are no defaults; ``sha256`` is that of the original, where the result names it. ``latency`` is the median of a run
    before and after, in milliseconds, where measured.
    """

    command: str
    version: str
    model: str
    target: str
    verdicts: tuple[Verdict, ...]
    before: Statistics
    after: Statistics
    verification: Verification | None = None
    output: str = ""
    is_copy: bool = False
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    drawings: tuple[tuple[Drawing, Drawing], ...] = ()
    latency: tuple[float, float] | None = None
    op_types: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def of(self, outcome: Outcome) -> tuple[Verdict, ...]:
        """Return the verdicts of one outcome. The three outcomes together are all verdicts."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is outcome)

    @property
    def kept(self) -> tuple[Verdict, ...]:
        """Return what stayed although it could be gone, each for a reason."""
        return tuple(verdict for verdict in self.of(Outcome.KEPT) if not verdict.is_settled)

    @property
    def settled(self) -> tuple[Verdict, ...]:
        """Return what stayed because it is as it should be: biases, parts of activations, norms in one operator."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_settled)

    @property
    def kept_by_reason(self) -> Groups:
        """Return what was kept by the reason that a user can help first, the most frequent reason first."""
        return _by_reason(self.kept)

    @property
    def settled_by_reason(self) -> Groups:
        """Return what is as it should be, by reason, the most frequent reason first."""
        return _by_reason(self.settled)


def _by_reason(verdicts: Iterable[Verdict]) -> Groups:
    groups: dict[Reason, list[tuple[Verdict, Obstacle]]] = {}
    for verdict in verdicts:
        obstacle = verdict.main_obstacle
        groups.setdefault(obstacle.reason, []).append((verdict, obstacle))
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0].code))
    return tuple((reason, tuple(rows)) for reason, rows in ordered)
