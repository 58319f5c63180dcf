"""Say in one sentence what became of a model, and how it was proven; the same in every format."""

from __future__ import annotations

from collections import Counter

from normfold.findings.verdict import Outcome
from normfold.report.report import Report
from normfold.verify.result import Equivalence, Verification, as_table


def headline(report: Report) -> str:
    """Return what became of the norms, then of the constant affines, then how many were kept, in one sentence."""
    norms = [verdict for verdict in report.verdicts if verdict.finding.is_norm]
    affines = [verdict for verdict in report.verdicts if not verdict.finding.is_norm and not verdict.is_settled]
    would = "" if report.command == "optimize" else "can be "
    parts = []
    if not any(verdict.is_changed for verdict in report.verdicts):
        nothing = "nothing to fold or fuse" if report.verdicts else "no norms and no constant affines"
        return f"{nothing}, {len(report.kept)} kept" if report.verdicts else nothing
    if norms:
        done = Counter(verdict.outcome for verdict in norms)
        removed, fused = done[Outcome.FOLDED], done[Outcome.FUSED]
        if removed or not fused:
            parts.append(f"{removed} of {len(norms)} norms {would}removed")
        if fused:
            parts.append(f"{fused} of {len(norms)} norms {would}written as one operator")
        already = sum(verdict.is_settled for verdict in norms)
        parts += [f"{already} one operator already"] if already else []
    if affines:
        folded = sum(verdict.is_changed for verdict in affines)
        parts.append(f"{folded} of {len(affines)} constant affines {would}folded")
    return ", ".join((*parts, f"{len(report.kept)} kept"))


def proof_sentence(verification: Verification) -> str:
    """Return the result of a proof in a sentence, with the largest error of all places."""
    compared = (*verification.sites, *verification.outputs)
    worst = verification.worst
    if verification.verdict is not Equivalence.EQUIVALENT:
        return as_table(verification).splitlines()[0]
    if worst is None:
        return f"equivalent: {'; '.join(verification.notes)}"
    places = len({comparison.value for comparison in compared})
    error = f"largest error {worst.relative:.2g} of the value's range (limit {worst.tolerance:.2g})"
    return f"proven equal to the original at {places} place{'s' * (places != 1)}, {error}"
