"""The reports of a check for people: a line for each model, and under it what is not accepted, with the remedy."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from normfold.findings.verdict import Outcome
from normfold.report.as_text import print_report
from normfold.report.escape import printable
from normfold.report.report import Problem, Report

SHOWN = 20  # problems of each model; --verbose and the files of --report name all


def print_checks(reports: Sequence[Report], console: Console, details: bool = False) -> None:
    """Print ``reports``; with ``details`` every norm of every model too."""
    for report in reports:
        if details and report.verdicts:
            print_report(report, console, details=True)
        console.print(_headline(report), soft_wrap=True)
        shown = report.problems if details else report.problems[:SHOWN]
        for problem in shown:
            _print_problem(problem, console)
        if len(shown) < len(report.problems):
            console.print(Text(f"    and {len(report.problems) - len(shown)} more; --verbose names all"))
        if not details:
            for note in report.notes:
                console.print(Text(printable(f"    note: {note}", 400)), soft_wrap=True)
    console.print(_closing(reports), soft_wrap=True)


def _headline(report: Report) -> Text:
    verdict = ("FAIL", "bold red") if report.problems else ("ok  ", "green")
    kept = len(report.of(Outcome.KEPT))
    counts = f": {len(report.verdicts) - kept} to fold or fuse, {kept} kept" if report.before.nodes else ""
    proof = f"; {report.verification.verdict.value} to the original" if report.verification else ""
    return Text.assemble(verdict, " ", (printable(report.model), "bold"), counts, proof)


def _print_problem(problem: Problem, console: Console) -> None:
    console.print(Text(printable(f"    {problem.message}", 600)), soft_wrap=True)
    console.print(Text(f"      remedy: {problem.reason.remedy}", style="dim"), soft_wrap=True)


def _closing(reports: Sequence[Report]) -> Text:
    failed = sum(bool(report.problems) for report in reports)
    models = f"{len(reports)} model{'s' * (len(reports) != 1)}"
    return Text(f"{models}: {failed} failed" if failed else f"{models}: all passed", "red" if failed else "green")
