"""Print reports for people: the same lines everywhere, on a terminal in colour and folded at its width."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from normfold.findings.escape import printable
from normfold.findings.verdict import Outcome, Verdict
from normfold.report.notices import how
from normfold.report.report import Problem, Report
from normfold.report.words import headline, operator_changes, sizes_in_words
from normfold.verify.result import as_table, proof_sentence

NAMES_SHOWN = 4  # of each reason; `inspect` and --json name all
PROBLEMS_SHOWN = 10  # of each model; --verbose and the files of --report name all
HANGING = 4
PLAIN_WIDTH = 10**6  # columns where there is no terminal: nothing is wrapped


def console_for(is_terminal: bool | None = None) -> Console:
    """Return a console on stdout. Without a terminal it neither styles nor wraps; NO_COLOR is plain text too."""
    probe = Console(highlight=False, markup=False, emoji=False, force_terminal=is_terminal)
    if probe.is_terminal and not probe.no_color:
        return probe
    width = probe.width if probe.is_terminal else PLAIN_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width, force_terminal=False, no_color=True)


def as_text(reports: Sequence[Report]) -> str:
    """Return reports as they are printed where there is no terminal, with a line for each finding."""
    stream = io.StringIO()
    plain = Console(file=stream, highlight=False, markup=False, emoji=False, width=PLAIN_WIDTH, no_color=True)
    for report in reports:
        print_report(report, plain, details=True)
    return stream.getvalue()


def print_report(report: Report, console: Console, details: bool = False) -> None:
    """Print ``report``; with ``details`` a line for each finding, else what was kept, by reason."""
    for line, indent in _lines(report, details, console.width):
        _print_line(line, indent, console)


def print_lines(lines: Iterable[str], console: Console) -> None:
    """Print lines of plain text, each folded behind its own indentation."""
    for line in lines:
        text = line.lstrip(" ")
        _print_line(Text(text), len(line) - len(text), console)


def _print_line(line: Text, indent: int, console: Console) -> None:
    """Print a line that is folded at the width of a terminal, its further rows four columns to the right."""
    rows = line.wrap(console, console.width - indent - HANGING) if console.width < PLAIN_WIDTH else [line]
    for index, row in enumerate(rows):
        row.rstrip()
        console.print(Text.assemble(" " * (indent + HANGING * bool(index)), row), soft_wrap=True)


def _lines(report: Report, details: bool, width: int) -> Iterator[tuple[Text, int]]:
    """Yield each line with its indentation."""
    yield Text.assemble((printable(report.model), "bold"), ": ", (headline(report), "bold")), 0
    if details:
        yield from _findings(report)
    yield from _kept(report, details)
    yield from _settled(report)
    changes = operator_changes(report)
    yield Text(sizes_in_words(report.before, report.after)), 2
    if changes:
        yield Text(printable("by type: " + ", ".join(changes), 2000)), 2
    for note in report.notes:
        yield Text.assemble(("note: ", "bold"), printable(note, 400)), 2
    yield from _proof(report, width)
    if report.output:
        written = "an unchanged copy" if report.is_copy else "written"
        yield Text.assemble(f"{written}: ", (printable(report.output, 4096), "bold")), 2
    elif report.command == "optimize":
        yield Text("nothing written"), 2


def _findings(report: Report) -> Iterator[tuple[Text, int]]:
    styles = {Outcome.FOLDED: "green", Outcome.FUSED: "green", Outcome.KEPT: "yellow"}
    for verdict in report.verdicts:
        finding = verdict.finding
        what = f" ({finding.what})" if finding.what else ""
        name = printable(f"{finding.operator} {finding.path}{what}", 600)
        done = f" {how(verdict, report.op_types)}" if verdict.is_changed else ""
        yield (
            Text.assemble((f"{verdict.outcome.value:<6}", styles[verdict.outcome]), f" {name}", printable(done, 600)),
            2,
        )
        for obstacle in verdict.obstacles if not verdict.is_changed else ():
            yield Text(printable(str(obstacle), 400)), 9


def _kept(report: Report, details: bool) -> Iterator[tuple[Text, int]]:
    for reason, rows in report.kept_by_reason:
        yield Text.assemble((reason.code, "yellow"), f" {len(rows)} kept: {reason.obstacle}"), 2
        shown = () if details else rows[:NAMES_SHOWN]
        for verdict, obstacle in shown:
            where = f" at {obstacle.node}" if obstacle.node else ""
            detail = f" ({obstacle.detail})" if obstacle.detail else ""
            yield Text(printable(f"{verdict.finding.path}{where}{detail}{_others(verdict)}", 600)), 6
        if not details and len(rows) > len(shown):
            yield Text(f"and {len(rows) - len(shown)} more; `normfold inspect` names all"), 6
        yield Text(f"remedy: {reason.remedy}", style="dim"), 6


def _others(verdict: Verdict) -> str:
    """Return the reasons besides the main one, by their codes."""
    others = [each for each in verdict.obstacles if each is not verdict.main_obstacle]
    words = [f"{each.direction + ': ' if each.direction else ''}{each.reason.code}" for each in others]
    return f"; also {', '.join(words)}" if words else ""


def _settled(report: Report) -> Iterator[tuple[Text, int]]:
    if report.settled:
        groups = ", ".join(f"{len(rows)} {reason.title} ({reason.code})" for reason, rows in report.settled_by_reason)
        yield Text(f"{len(report.settled)} as they should be: {groups}", style="dim"), 2


def _proof(report: Report, width: int) -> Iterator[tuple[Text, int]]:
    verification = report.verification
    if verification is None:
        return
    if verification:
        yield Text(printable(f"verification: {proof_sentence(verification)}", 600), style="green"), 2
        for note in verification.notes if verification.outputs else ():
            yield Text.assemble(("note of the proof: ", "bold"), printable(note, 600)), 2
        return
    first, *rest = as_table(verification, width=width - 4 - HANGING).splitlines()
    yield Text(printable(f"verification: {first}", 400), style="red"), 2
    yield from ((Text(printable(line, 600)), 4) for line in rest)


# -- many models, checked ----------------------------------------------------------------------------------------


def print_checks(reports: Sequence[Report], console: Console, details: bool = False) -> None:
    """Print ``reports``; with ``details`` every norm of every model too."""
    for report in reports:
        if details and report.verdicts:
            print_report(report, console, details=True)
        _print_line(_headline(report), 0, console)
        shown = report.problems if details else report.problems[:PROBLEMS_SHOWN]
        for problem in shown:
            _print_line(Text(printable(_line(problem), 600)), 2, console)
        if len(shown) < len(report.problems):
            _print_line(Text(f"and {len(report.problems) - len(shown)} more; --verbose names all"), 2, console)
        if not details:
            for note in report.notes:
                _print_line(Text(printable(f"note: {note}", 400)), 2, console)
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
    return f"{problem.reason.code} {problem.finding.operator} {problem.finding.name} {problem.why}"


def _print_remedies(reports: Sequence[Report], console: Console) -> None:
    reasons = dict.fromkeys(problem.reason for report in reports for problem in report.problems)
    for reason in sorted(reasons, key=lambda each: each.code):
        _print_line(Text(f"{reason.code}: {reason.obstacle}. Remedy: {reason.remedy}", style="dim"), 0, console)


def _closing(reports: Sequence[Report]) -> Text:
    failed = sum(bool(report.problems) for report in reports)
    models = f"{len(reports)} model{'s' * (len(reports) != 1)}"
    return Text(f"{models}: {failed} failed" if failed else f"{models}: all passed", "red" if failed else "green")
