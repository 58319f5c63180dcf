"""Sizes before and after in words that people read, the same in every format."""

from __future__ import annotations

from collections.abc import Mapping

from normfold.report.report import Report


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
