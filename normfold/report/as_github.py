"""The report as annotations of GitHub Actions: workflow commands, one a line, which a runner reads from stdout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normfold.findings.escape import printable
from normfold.findings.reason import Reason
from normfold.report.notices import TEXT_LIMIT, Level, Notice, notices
from normfold.report.report import Report

Row = tuple[Report, Notice]
SHOWN = 10  # of each level; GitHub itself shows no more a step
COMMAND = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}


def as_github(reports: Sequence[Report]) -> str:
    """Return a line for each error and warning, and a notice for each reason for which something stayed."""
    rows = [(report, notice) for report in reports for notice in notices(report)]
    lines = (*_loud(rows, Level.ERROR), *_loud(rows, Level.WARNING), *_stays(rows))
    return "".join(f"{line}\n" for line in lines)


def _loud(every: Sequence[Row], level: Level) -> Iterator[str]:
    """Yield the first annotations of a level: those first that a user can help, of them those about a whole model."""
    rows = [row for row in every if row[1].level is level]
    rows.sort(key=lambda row: (not row[1].reason.can_be_helped, row[1].finding is not None))
    yield from (_annotation(report, notice) for report, notice in rows[:SHOWN])
    if len(rows) > SHOWN:
        yield _command(level, rows[SHOWN][0], "normfold", f"and {len(rows) - SHOWN} more; the job summary names all")


def _stays(every: Sequence[Row]) -> Iterator[str]:
    by_reason: dict[Reason, list[Row]] = {}
    for report, notice in every:
        if notice.level is Level.NOTE and not notice.reason.is_settled:
            by_reason.setdefault(notice.reason, []).append((report, notice))
    for reason, rows in sorted(by_reason.items(), key=lambda item: not item[0].can_be_helped)[:SHOWN]:
        names = [printable(notice.finding.name, 80) for _, notice in rows if notice.finding]
        some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        text = f"{len(names)} stay: {reason.obstacle} ({some}). Remedy: {reason.remedy}"
        yield _command(Level.NOTE, rows[0][0], f"normfold {reason.code}", text)


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
