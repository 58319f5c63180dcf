"""The report as annotations of GitHub Actions: workflow commands, one a line, which a runner reads from stdout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normfold.findings.escape import printable
from normfold.report.notices import TEXT_LIMIT, Level, Notice, notices
from normfold.report.report import Report

SHOWN = 10  # of each level; GitHub itself shows no more a step
COMMAND = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def as_github(reports: Sequence[Report]) -> str:
    """Return a line for each error and warning; what stayed for a reason is one notice for each reason and model."""
    loud = (Level.ERROR, Level.WARNING)
    lines = [
        *(line for level in loud for line in _loud(reports, level)),
        *(line for each in reports for line in _notes(each)),
    ]
    return "".join(f"{line}\n" for line in lines)


def _loud(reports: Sequence[Report], level: Level) -> Iterator[str]:
    """Yield the first annotations of a level, those first that a user can do something about."""
    rows = [(report, notice) for report in reports for notice in notices(report) if notice.level is level]
    rows.sort(key=lambda row: not row[1].reason.can_be_helped)
    yield from (_annotation(report, notice) for report, notice in rows[:SHOWN])
    if len(rows) > SHOWN:
        yield _command(level, rows[SHOWN][0], "normfold", f"and {len(rows) - SHOWN} more; the job summary names all")


def _notes(report: Report) -> Iterator[str]:
    every = notices(report)
    notes = [notice for notice in every if notice.level is Level.NOTE]
    for reason in dict.fromkeys(notice.reason for notice in notes):
        names = [notice.finding.name for notice in notes if notice.reason is reason and notice.finding]
        some = ", ".join(printable(name, 80) for name in names[:3]) + (", …" if len(names) > 3 else "")
        text = f"{len(names)} stay: {reason.obstacle} ({some}). Remedy: {reason.remedy}"
        yield _command(Level.NOTE, report, f"normfold {reason.code}", text)


def _annotation(report: Report, notice: Notice) -> str:
    text = f"{printable(notice.text, TEXT_LIMIT)}. Remedy: {notice.reason.remedy}"
    return _command(notice.level, report, f"normfold {notice.reason.code}", text)


def _command(level: Level, report: Report, title: str, text: str) -> str:
    return f"::{COMMAND[level]} file={_property(report.model)},title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    """Return the escapes of a workflow command's message, on top of those for terminals."""
    return printable(text, 2 * TEXT_LIMIT).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return the escapes of a workflow command's property: a comma or colon would end it."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
