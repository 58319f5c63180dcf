"""Write the figures: a Markdown table of each model, a summary of each tool, and an SVG chart of the speed-ups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import geometric_mean, median

from tests.bench.census import Census
from tests.bench.timing import Timing
from tests.bench.tools import ToolRun

ORIGINAL, OURS = "original", "normfold"
_HEAD = "| file | norms left | operators | MB | tool CPU s | tool MB | load ms | run ms | times as fast | worst error |"
_RULE = "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
_SLOWER, _GROWTH = 1.02, 1.05  # what a file may be slower and larger before it counts
_BAR, _GAP, _LEFT, _WIDTH = 12, 10, 230, 560
_COLOURS = ("#2563eb", "#9ca3af", "#f59e0b", "#10b981", "#8b5cf6", "#ef4444", "#64748b")


@dataclass(frozen=True)
class Entry:
    """One file of one model: who made it, what that cost, what is left in it, how it runs."""

    tool: str
    run: ToolRun
    census: Census | None = None
    timing: Timing = field(default_factory=Timing)

    @property
    def fault(self) -> str:
        """Why there is nothing to compare; empty where there is."""
        return self.run.error or self.timing.fault


@dataclass(frozen=True)
class Measured:
    """All files of one model; the original comes first."""

    model: str
    entries: tuple[Entry, ...]

    def speedup(self, entry: Entry) -> tuple[float, float]:
        """Return how many times faster a file is than the original, and half the spread of the rounds."""
        return entry.timing.speedup(self.entries[0].timing)


def table(measured: Measured) -> str:
    """Return the Markdown table of one model."""
    return "\n".join(
        [f"### {measured.model}", "", _HEAD, _RULE, *(_row(measured, each) for each in measured.entries), ""]
    )


def _row(measured: Measured, entry: Entry) -> str:
    if entry.fault or entry.census is None:
        return f"| {entry.tool} | {entry.fault} " + "| " * 8 + "|"
    census, timing = entry.census, entry.timing
    times, spread = measured.speedup(entry)
    cells = (
        f"{census.batchnorms} + {census.decomposed}",
        str(census.operators),
        f"{census.size / 1e6:.2f}",
        f"{entry.run.processor:.1f}" if entry.run.processor else "",
        f"{entry.run.peak / 1e6:.0f}" if entry.run.peak else "",
        f"{timing.load * 1e3:.0f}",
        f"{median(timing.seconds or (0.0,)) * 1e3:.2f}",
        f"{times:.2f} ± {spread:.2f}",
        f"{timing.error:.0e}",
    )
    return f"| {entry.tool} | " + " | ".join(cells) + " |"


def summary(results: Sequence[Measured]) -> str:
    """Return one row for each tool: sums over the models, and the geometric mean of its speed-ups."""
    tools = list(dict.fromkeys(entry.tool for measured in results for entry in measured.entries))
    lines = [
        "| tool | models | BatchNormalizations | decomposed norms | operators | MB | tool CPU s | times as fast |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for tool in tools:
        found = [(each, entry) for each in results for entry in each.entries if entry.tool == tool and not entry.fault]
        counts = [entry.census for _, entry in found if entry.census is not None]
        speed = [times for each, entry in found if (times := each.speedup(entry)[0]) > 0]
        cells = (
            f"{len(found)}",
            f"{sum(census.batchnorms for census in counts)}",
            f"{sum(census.decomposed for census in counts)}",
            f"{sum(census.operators for census in counts)}",
            f"{sum(census.size for census in counts) / 1e6:.1f}",
            f"{sum(entry.run.processor for _, entry in found):.0f}",
            f"{geometric_mean(speed):.3f}" if speed else "",
        )
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shortfalls(results: Sequence[Measured]) -> str:
    """Return a list of every model in which normfold's file is not the best, and in what."""
    lines = [
        f"- {each.model}: {'; '.join(found)}"
        for each in results
        for ours in [entry for entry in each.entries if entry.tool.startswith(OURS)][:1]
        if (found := list(_shortfalls(each, ours)))
    ]
    return "\n".join(
        [f"Models in which another file is better than normfold's: {len(lines)} of {len(results)}", *lines]
    )


def _shortfalls(measured: Measured, ours: Entry) -> Iterator[str]:
    """Say where ``ours`` has more norms, time, bytes or operators than another file; operators that pay do not count.

    Faster means by more than 2 % and more than the spread of either.
    ONNX Runtime's own file has fused operators of its domain, which other tools do not write: they are not compared.
    """
    if ours.fault or ours.census is None:
        yield ours.fault
        return
    times, spread = measured.speedup(ours)
    original = measured.entries[0].census
    if original is not None and ours.census.size > original.size * _GROWTH:
        yield f"{ours.census.size / original.size - 1:+.1%} bytes"
    for entry in measured.entries:
        if entry.fault or entry.census is None or entry.tool.startswith(OURS):
            continue
        speed, other_spread = measured.speedup(entry)
        is_slower = times > speed * _SLOWER
        if entry.census.norms < ours.census.norms:
            yield f"{ours.census.norms} norms ({entry.tool} {entry.census.norms})"
        if entry.census.operators < ours.census.operators and entry.tool != "onnxruntime" and not is_slower:
            yield f"{ours.census.operators} operators ({entry.tool} {entry.census.operators})"
        if speed > times * _SLOWER and speed - times > max(spread, other_spread):
            yield f"{times:.2f} times as fast ({entry.tool} {speed:.2f})"


def chart(results: Sequence[Measured]) -> str:
    """Return an SVG bar chart: for each model, how many times faster each tool's file runs than the original."""
    tools = list(dict.fromkeys(entry.tool for each in results for entry in each.entries if entry.tool != ORIGINAL))
    bars = [
        (each.model if index == 0 else "", entry.tool, *each.speedup(entry))
        for each in results
        for index, entry in enumerate(shown for shown in each.entries if shown.tool != ORIGINAL and not shown.fault)
    ]
    longest = max((times for _, _, times, _ in bars), default=1.0)
    unit = _WIDTH / max(longest, 1.2)
    parts, top = [], 40
    for index, tool in enumerate(tools):
        x = 10 + index * 125
        parts.append(f'<rect x="{x}" y="10" width="12" height="12" fill="{_COLOURS[index % len(_COLOURS)]}"/>')
        parts.append(f'<text x="{x + 16}" y="20">{escape(tool)}</text>')
    for model, tool, times, _ in bars:
        top += _GAP if model else 0
        colour = _COLOURS[tools.index(tool) % len(_COLOURS)]
        parts.append(f'<text x="{_LEFT - 8}" y="{top + 10}" text-anchor="end">{escape(model)}</text>' if model else "")
        parts.append(f'<rect x="{_LEFT}" y="{top}" width="{times * unit:.1f}" height="{_BAR - 2}" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + times * unit + 4:.1f}" y="{top + 9}">{times:.2f}</text>')
        top += _BAR
    line = _LEFT + unit
    parts.append(f'<line x1="{line:.1f}" x2="{line:.1f}" y1="40" y2="{top}" stroke="#000" stroke-dasharray="3 3"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{top + 20}" '
        'font-family="sans-serif" font-size="10"><title>Times as fast as the original, ONNX Runtime, one thread</title>'
        + "".join(parts)
        + "</svg>\n"
    )
