"""Print the reports of a check: a line for each model, one for each problem under it, and the remedies at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from normfold.report.as_text import print_report
from normfold.report.escape import printable
from normfold.report.headline import headline
from normfold.report.report import Problem, Report

SHOWN = 10  # problems of each model; --verbose and the files of --report name all


def print_checks(reports: Sequence[Report], console: Console, details: bool = False) -> None:
    """Print ``reports``; with ``details`` every norm of every model too."""
    for report in reports:
        if details and report.verdicts:
            print_report(report, console, details=True)
        console.print(_headline(report), soft_wrap=True)
        shown = report.problems if details else report.problems[:SHOWN]
        for problem in shown:
            console.print(Text(printable(f"  {_line(problem)}", 600)), soft_wrap=True)
        if len(shown) < len(report.problems):
            console.print(Text(f"  and {len(report.problems) - len(shown)} more; --verbose names all"))
        if not details:
            for note in report.notes:
                console.print(Text(printable(f"  note: {note}", 400)), soft_wrap=True)
    _print_remedies(reports, console)
    console.print(_closing(reports), soft_wrap=True)


def _headline(report: Report) -> Text:
    verdict = ("FAIL", "bold red") if report.problems else ("ok  ", "green")
    counts = f": {headline(report)}" if report.before.nodes else ""
    proof = f"; {report.verification.verdict.value} to the original" if report.verification else ""
    return Text.assemble(verdict, " ", (printable(report.model), "bold"), counts, proof)


def _line(problem: Problem) -> str:
    """Return the problem in one line: the code, the norm, and what would become of it or what is in the way."""
    if problem.finding is None or problem.obstacle is not None:
        return problem.message
    return f"{problem.reason.code} {problem.finding.operator} {problem.finding.name}: {problem.why}"


def _print_remedies(reports: Sequence[Report], console: Console) -> None:
    reasons = dict.fromkeys(problem.reason for report in reports for problem in report.problems)
    for reason in sorted(reasons, key=lambda each: each.code):
        console.print(Text(f"{reason.code}: {reason.obstacle}. Remedy: {reason.remedy}", style="dim"), soft_wrap=True)


def _closing(reports: Sequence[Report]) -> Text:
    failed = sum(bool(report.problems) for report in reports)
    models = f"{len(reports)} model{'s' * (len(reports) != 1)}"
    return Text(f"{models}: {failed} failed" if failed else f"{models}: all passed", "red" if failed else "green")
