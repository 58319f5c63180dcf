"""The words that every format shares: what became of a model, how it was proven, and its sizes before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

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


def sizes(report: Report) -> tuple[tuple[str, str, str], ...]:
    """Return what is counted, before, and after: operators, parameters, weights, opset."""
    before, after = report.before, report.after
    return (
        ("operators", f"{before.nodes}", f"{after.nodes}"),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
        ("weights", in_bytes(before.weight_bytes), in_bytes(after.weight_bytes)),
        ("opset", f"{before.opset}", f"{after.opset}"),
    )


def operator_changes(report: Report) -> tuple[str, ...]:
    """Return each type of operator whose count changed, with both counts, the largest change first."""
    before, after = dict(report.before.operators), dict(report.after.operators)
    names = sorted({*before, *after} - {"Constant"}, key=lambda name: (-abs(_change(name, before, after)), name))
    changed = (name for name in names if _change(name, before, after))
    return tuple(f"{name} {before.get(name, 0)} -> {after.get(name, 0)}" for name in changed)


def _change(name: str, before: Mapping[str, int], after: Mapping[str, int]) -> int:
    return after.get(name, 0) - before.get(name, 0)


def in_bytes(count: int) -> str:
    """Return a number of bytes in decimal units: ``4.94 kB``."""
    size, units = float(count), ("B", "kB", "MB", "GB")
    for unit in units[:-1]:
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} {units[-1]}"
