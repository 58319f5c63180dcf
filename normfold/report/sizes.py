"""Sizes before and after in words that people read, the same in every voice."""

from __future__ import annotations

from normfold.report.report import Report


def sizes(report: Report) -> tuple[tuple[str, str, str], ...]:
    """What is counted, before, and after: operators, parameters, weights, opset."""
    before, after = report.before, report.after
    return (
        ("operators", f"{before.nodes}", f"{after.nodes}"),
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
        ("weights", in_bytes(before.weight_bytes), in_bytes(after.weight_bytes)),
        ("opset", f"{before.opset}", f"{after.opset}"),
    )


def in_bytes(count: int) -> str:
    """A number of bytes in decimal units: ``4.94 kB``."""
    size, units = float(count), ("B", "kB", "MB", "GB")
    for unit in units[:-1]:
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} {units[-1]}"
