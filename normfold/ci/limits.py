"""What a team accepts of a model: limits, and reasons and norms that it allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from normfold.errors import UsageError
from normfold.findings.reason import Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.report.notices import how
from normfold.report.report import Problem, Report
from normfold.verify.result import Equivalence


@dataclass(frozen=True)
class Allowance:
    """A reason that is accepted: everywhere, or for the nodes whose name is or matches ``node``."""

    reason: Reason
    node: str = ""

    @classmethod
    def of(cls, text: str) -> Allowance:
        """Read "NF107" or "NF107:NODE"; UsageError for a code that is none."""
        code, _, node = text.partition(":")
        try:
            return cls(Reason.of_code(code), node)
        except KeyError:
            raise UsageError(f"expected NF1xx or NF1xx:NODE, got {text!r}; see `normfold explain`", "allow") from None

    def covers(self, reason: Reason, finding: Finding) -> bool:
        """Whether it accepts that ``finding`` stands there for ``reason``."""
        names = not self.node or finding.name == self.node or fnmatchcase(finding.name, self.node)
        return reason is self.reason and names


@dataclass(frozen=True)
class Limits:
    """How many foldable and how many kept norms and affines a model may have. None: any number."""

    max_foldable: int | None = 0
    max_kept: int | None = None
    allowed: tuple[Allowance, ...] = ()

    def allows(self, verdict: Verdict) -> bool:
        """Whether a norm may stand there as ``verdict`` has it."""
        return any(allowance.covers(reason_of(verdict), verdict.finding) for allowance in self.allowed)


def reason_of(verdict: Verdict) -> Reason:
    """Why a norm still stands in the file: the first obstacle, or that it is not folded yet."""
    return verdict.main_obstacle.reason if verdict.outcome is Outcome.KEPT else Reason.FOLDABLE_LEFT


def problem_of(verdict: Verdict, why: str, op_types: Mapping[str, str] | None = None) -> Problem:
    """Return that the norm of ``verdict`` stands in the file, as a problem."""
    if verdict.outcome is Outcome.KEPT:
        return Problem(reason_of(verdict), verdict.finding, why, verdict.main_obstacle)
    return Problem(Reason.FOLDABLE_LEFT, verdict.finding, f"{how(verdict, op_types)}{f'; {why}' if why else ''}")


def apply_limits(report: Report, limits: Limits) -> Report:
    """Return the report with what ``limits`` do not accept, and what the comparison with the original says."""
    verdicts = [verdict for verdict in report.verdicts if not limits.allows(verdict)]
    foldable = [verdict for verdict in verdicts if verdict.outcome is not Outcome.KEPT]
    kept = [verdict for verdict in verdicts if verdict.outcome is Outcome.KEPT and not verdict.is_settled]
    problems = (
        *report.problems,
        *_over(report, foldable, limits.max_foldable, "--max-foldable"),
        *_over(report, kept, limits.max_kept, "--max-kept"),
        *_verification_problems(report),
    )
    return replace(report, problems=problems)


def _over(report: Report, verdicts: list[Verdict], limit: int | None, option: str) -> Iterable[Problem]:
    if limit is None or len(verdicts) <= limit:
        return ()
    why = f"{len(verdicts)} of {option} {limit}" if limit else ""
    return [problem_of(verdict, why, report.op_types) for verdict in verdicts]


def _verification_problems(report: Report) -> Iterable[Problem]:
    proof = report.verification
    if proof is None or proof.verdict is Equivalence.EQUIVALENT:
        return ()
    if proof.verdict is Equivalence.INCONCLUSIVE:
        return [Problem(Reason.UNDECIDED, why="; ".join(proof.notes))]
    outputs = ", ".join(dict.fromkeys(comparison.value for comparison in proof.failures))
    return [Problem(Reason.MODELS_DIFFER, why=f"outputs that differ: {outputs or 'see the notes'}")]
