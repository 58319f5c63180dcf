"""The report for people: rich tables on a terminal, the same lines without colour or frames elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from normfold.findings.verdict import Outcome, Verdict
from normfold.report.escape import printable
from normfold.report.notices import how
from normfold.report.report import Report
from normfold.report.sizes import sizes
from normfold.verify.result import as_table

NAMES_SHOWN = 4  # of each group of kept affines; `inspect` and --json name all
PLAIN_WIDTH = 200  # columns where there is no terminal to ask


def console_for(is_terminal: bool | None = None) -> Console:
    """A console on stdout. Without a terminal it neither styles nor wraps at 80 columns; NO_COLOR is plain text too."""
    probe = Console(highlight=False, markup=False, emoji=False, force_terminal=is_terminal)
    if probe.is_terminal and not probe.no_color:
        return probe
    width = probe.width if probe.is_terminal else PLAIN_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width, force_terminal=False, no_color=True)


def print_report(report: Report, console: Console, details: bool = False) -> None:
    """Print ``report``; with ``details`` one line for each finding, else what stayed grouped by reason."""
    console.print(_headline(report))
    if details and report.verdicts:
        console.print(_findings(report, console))
    _print_kept(report, console, names=not details)
    console.print(_sizes(report))
    for line in _closing(report):
        console.print(line, soft_wrap=True)


def _headline(report: Report) -> Text:
    would = "would be " if report.command == "inspect" else ""
    counts = [f"{len(report.of(outcome))} {would}{outcome.value}" for outcome in (Outcome.FOLDED, Outcome.FUSED)]
    kept = f"{len(report.of(Outcome.KEPT))} kept"
    found = f"{len(report.verdicts)} norms and constant affines: "
    return Text.assemble((printable(report.model), "bold"), ": ", found, ", ".join((*counts, kept)))


def _table(console_is_terminal: bool, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD if console_is_terminal else None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _findings(report: Report, console: Console) -> Table:
    table = _table(console.is_terminal, "node", "operator", "verdict", "how, or why not")
    style = {Outcome.FOLDED: "green", Outcome.FUSED: "green", Outcome.KEPT: "yellow"}
    for verdict in report.verdicts:
        finding = verdict.finding
        name = f"{finding.graph}/{finding.name}" if finding.graph else finding.name
        what = f"{finding.operator} ({finding.what})" if finding.what else finding.operator
        cells = (name, what, verdict.outcome.value, _how(verdict))
        texts = [Text(printable(cell)) for cell in cells[:3]]
        texts[2].stylize(style[verdict.outcome])
        table.add_row(*texts, Text("\n".join(printable(line, 400) for line in cells[3].splitlines())))
    return table


def _how(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.KEPT:
        return "\n".join(str(obstacle) for obstacle in verdict.obstacles)
    return how(verdict)


def _print_kept(report: Report, console: Console, names: bool) -> None:
    for reason, rows in report.kept_by_reason:
        console.print(Text.assemble((f"  {reason.code}", "yellow"), f" {len(rows)} kept: {reason.obstacle}"))
        shown = rows[:NAMES_SHOWN] if names else ()
        for verdict, obstacle in shown:
            where = f" at {obstacle.node}" if obstacle.node else ""
            detail = f" ({obstacle.detail})" if obstacle.detail else ""
            console.print(Text(printable(f"      {verdict.finding.name}{where}{detail}", 400)), soft_wrap=True)
        if names and len(rows) > len(shown):
            console.print(Text(f"      and {len(rows) - len(shown)} more; `normfold inspect` names all"))
        console.print(Text(f"      remedy: {reason.remedy}", style="dim"), soft_wrap=True)


def _sizes(report: Report) -> Text:
    return Text(
        "; ".join(f"{name} {old} -> {new}" if old != new else f"{name} {old}" for name, old, new in sizes(report))
    )


def _closing(report: Report) -> Iterator[Text]:
    for note in report.notes:
        yield Text.assemble(("note: ", "bold"), printable(note, 400))
    yield from _proof(report)
    if report.output:
        how = "an unchanged copy" if report.is_copy else "written"
        yield Text.assemble(f"{how}: ", (printable(report.output, 4096), "bold"))
    elif report.command == "optimize":
        yield Text("nothing written")


def _proof(report: Report) -> Iterator[Text]:
    verification = report.verification
    if verification is None:
        return
    if not verification.outputs and verification:
        yield Text(f"verification: {'; '.join(verification.notes)}", style="green")
        return
    first, *rest = as_table(verification).splitlines()
    yield Text(printable(f"verification: {first}", 400), style="green" if verification else "red")
    if not verification:
        yield from (Text(printable(f"  {line}", 400)) for line in rest)
    elif verification.worst is not None:
        worst = verification.worst
        error = f"{worst.relative:.3g} of its scale, allowed {worst.tolerance:.3g}"
        yield Text(printable(f"  worst: {worst.value}: {error}", 400))
