"""What a report has to say about single norms and the whole model, for the formats that list issues one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from normfold.findings.reason import Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.report.report import Report
from normfold.verify.result import Equivalence

MOST_NAMES = 4  # of the operators that took over one finding
TEXT_LIMIT = 1000  # letters of one notice, in every format


class Level(Enum):
    """How much a notice matters: an ERROR fails the build, a WARNING can be repaired, a NOTE is a stated reason."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Notice:
    """One thing to say. ``finding`` is None where it is about the whole model. ``text`` holds untrusted names."""

    level: Level
    reason: Reason
    text: str
    finding: Finding | None = None


def notices(report: Report) -> tuple[Notice, ...]:
    """Problems first, then what could be folded, then what stayed for a stated reason; nothing for what is done."""
    errors = tuple(_errors(report))
    reported = {notice.finding.path for notice in errors if notice.finding is not None}
    rest = [verdict for verdict in report.verdicts if verdict.finding.path not in reported]
    return (*errors, *_foldable(report, rest), *_kept(rest))


def _errors(report: Report) -> Iterator[Notice]:
    for problem in report.problems:
        yield Notice(Level.ERROR, problem.reason, problem.message, problem.finding)
    proof = report.verification
    reported = {problem.reason for problem in report.problems}
    if proof is None or proof or reported & {Reason.MODELS_DIFFER, Reason.UNDECIDED}:
        return
    reason = Reason.MODELS_DIFFER if proof.verdict is Equivalence.DIFFERENT else Reason.UNDECIDED
    made_by = f"; made by {', '.join(proof.failing_folds)}" if proof.failing_folds else ""
    yield Notice(Level.ERROR, reason, f"{reason.code} {reason.obstacle}{made_by}")


def _foldable(report: Report, verdicts: list[Verdict]) -> Iterator[Notice]:
    """Return what is folded or fused on paper only: the file that was looked at still has it."""
    if report.command == "optimize":
        return
    level = Level.WARNING if report.command == "inspect" else Level.NOTE  # a check that takes it has said so
    reason = Reason.FOLDABLE_LEFT
    for verdict in verdicts:
        if verdict.outcome is not Outcome.KEPT:
            text = f"{describe(verdict.finding)}: {reason.code} {reason.obstacle} ({how(verdict, report.op_types)})"
            yield Notice(level, reason, text, verdict.finding)


def _kept(verdicts: list[Verdict]) -> Iterator[Notice]:
    for verdict in verdicts:
        if verdict.outcome is Outcome.KEPT:
            text = f"{describe(verdict.finding)}: {'; '.join(map(str, verdict.obstacles))}"
            yield Notice(Level.NOTE, verdict.main_obstacle.reason, text, verdict.finding)


def describe(finding: Finding) -> str:
    """Return the operator and the name of a finding, with the path of its graph where that is not the main one."""
    return f"{finding.operator} {finding.path}"


def how(verdict: Verdict, op_types: Mapping[str, str] | None = None) -> str:
    """Return into what a finding was folded or fused, with the rule: ``into the Conv before it (/conv) [affine]``."""
    form = f"as {verdict.form}" if verdict.form else ""
    done = " ".join(filter(None, (_into(verdict, op_types or {}), form)))
    return f"{'; '.join(filter(None, (done, verdict.why)))} [{verdict.rule}]".lstrip()


def _into(verdict: Verdict, op_types: Mapping[str, str]) -> str:
    if not verdict.into:
        return verdict.direction
    side = {"backward": " before it", "forward": " after it"}.get(verdict.direction, "")
    if verdict.form and {op_types.get(name) for name in verdict.into} <= {verdict.form}:
        return ""  # the form says it
    if len(verdict.into) == 1:
        return f"into the {op_types.get(verdict.into[0], 'operator')}{side} ({verdict.into[0]})"
    types = dict.fromkeys(op_types.get(name, "operator") for name in verdict.into)
    names = ", ".join(verdict.into[:MOST_NAMES]) + (", …" if len(verdict.into) > MOST_NAMES else "")
    return f"into {len(verdict.into)} operators{side} ({', '.join(types)}: {names})"
