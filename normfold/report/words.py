"""The words that every format shares: what became of a model, how it was proven, and its sizes before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from normfold.findings.verdict import Outcome
from normfold.report.report import Report
from normfold.report.statistics import Statistics


def headline(report: Report) -> str:
    """Return what became of the norms, then the counts of all findings: the first line, and the same everywhere."""
    counts = [len(report.of(Outcome.FOLDED)), len(report.of(Outcome.FUSED)), len(report.kept)]
    words = ", ".join(f"{count} {word}" for count, word in zip(counts, ("folded", "fused", "kept"), strict=True))
    return f"{_norms(report)} ({words})"


def _norms(report: Report) -> str:
    norms = [verdict for verdict in report.verdicts if verdict.finding.is_norm]
    open_ones = Counter(verdict.outcome for verdict in norms if not verdict.is_settled)
    removed, fused, total = open_ones[Outcome.FOLDED], open_ones[Outcome.FUSED], open_ones.total()
    already = len(norms) - total
    would = "" if report.command == "optimize" else "can be "
    if not any(verdict.is_changed for verdict in report.verdicts):
        nothing = "nothing to fold or fuse" if report.verdicts else "no norms and no constant affines"
        needless = report.before.nodes - report.after.nodes
        return nothing + (f", {needless} needless operators {would}removed" if needless > 0 else "")
    if not total:
        return "each norm is one operator already" if already else f"constant affines {would}folded, no norms"
    parts = [f"{removed} of {total} norm{'s' * (total != 1)} {would}removed"] if removed or not fused else []
    parts += [f"{fused} of {total} norm{'s' * (total != 1)} {would}written as one operator"] if fused else []
    return ", ".join(parts + [f"{already} one operator already"] * bool(already))


def difference_headline(a: Report, b: Report) -> str:
    """Return how many norms one model has fewer or more than the other, and both sizes."""
    old, new = (sum(verdict.finding.is_norm for verdict in report.verdicts) for report in (a, b))
    norms = f"{old - new} of {old} norms removed" if new < old else f"{new - old} norms added" if new > old else ""
    return f"{norms or f'{old} norms in both'}; {sizes_in_words(a.before, b.before)}"


def sizes(before: Statistics, after: Statistics) -> tuple[tuple[str, str, str], ...]:
    """Return what is counted, before, and after: operators, parameters, weights, opset."""
    return (
        ("operators", f"{before.nodes}", f"{after.nodes}"),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
        ("weights", in_bytes(before.weight_bytes), in_bytes(after.weight_bytes)),
        ("opset", f"{before.opset}", f"{after.opset}"),
    )


def sizes_in_words(before: Statistics, after: Statistics) -> str:
    """Return ``operators 169 -> 72; parameters 32,437; ...``, one value where nothing changed."""
    rows = sizes(before, after)
    return "; ".join(f"{name} {old} -> {new}" if old != new else f"{name} {old}" for name, old, new in rows)


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
