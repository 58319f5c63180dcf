"""The report as Markdown for a pull-request comment: GitHub takes 65,536 characters, so long lists are cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from normfold.findings.escape import printable
from normfold.findings.verdict import Outcome
from normfold.report.notices import Level, notices
from normfold.report.report import Report
from normfold.report.words import sizes

SHOWN = 20  # errors and warnings of each model
MODELS_SHOWN = 40
NAME, TEXT = 80, 240


def as_markdown(reports: Sequence[Report]) -> str:
    """Return a table of the models, then for each what fails, what could be folded, and what stays, folded away."""
    lines = ["## normfold", ""]
    lines += ["| model | folded | fused | kept | operators | proof |", "|---|--:|--:|--:|--:|---|"]
    lines += [_row(report) for report in reports]
    for report in reports[:MODELS_SHOWN]:
        lines += _details(report)
    if len(reports) > MODELS_SHOWN:
        lines += ["", f"The details of {len(reports) - MODELS_SHOWN} more models are left out here."]
    return "\n".join(lines) + "\n"


def _row(report: Report) -> str:
    counts = [len(report.of(Outcome.FOLDED)), len(report.of(Outcome.FUSED)), len(report.kept)]
    before, after = report.before.nodes, report.after.nodes
    operators = f"{before} → {after}" if before != after else f"{before}"
    proof = "not run" if report.verification is None else report.verification.verdict.value
    failed = " ❌" if any(notice.level is Level.ERROR for notice in notices(report)) else ""
    return "| " + " | ".join((code(report.model) + failed, *map(str, counts), operators, proof)) + " |"


def _details(report: Report) -> Iterator[str]:
    every = notices(report)
    loud = [notice for notice in every if notice.level is not Level.NOTE]
    if loud or report.kept_by_reason or report.notes:
        yield from ("", f"### {code(report.model)}")
    if loud:
        yield ""
        for notice in loud[:SHOWN]:
            mark = "❌" if notice.level is Level.ERROR else "⚠️"
            yield f"- {mark} {plain(notice.text)}. *Remedy:* {plain(notice.reason.remedy)}."
        if len(loud) > SHOWN:
            yield f"- and {len(loud) - SHOWN} more"
    if report.kept_by_reason:
        yield from _kept(report)
    changed = [f"{name} {old} → {new}" for name, old, new in sizes(report.before, report.after) if old != new]
    if changed:
        yield from ("", ", ".join(changed))
    yield from (f"\n> {plain(note)}" for note in report.notes)


def _kept(report: Report) -> Iterator[str]:
    yield from ("", f"<details><summary>{len(report.kept)} kept, each for a reason</summary>", "")
    yield from ("| reason | count | what is in the way | remedy | for instance |", "|---|--:|---|---|---|")
    for reason, rows in report.kept_by_reason:
        words = plain(reason.obstacle), plain(reason.remedy), code(rows[0][0].finding.name)
        yield "| " + " | ".join((reason.code, str(len(rows)), *words)) + " |"
    yield from ("", "</details>")


def plain(text: str, limit: int = TEXT) -> str:
    """Untrusted text as text: every mark that Markdown, HTML or GitHub would act on becomes a character reference."""
    return re.sub(r"[^\w\s/,()=-]|[_@]", lambda mark: f"&#{ord(mark[0])};", printable(text, limit))


def code(text: str) -> str:
    """Return a name, in the letters of a program; GitHub makes no mention and no link of what stands there."""
    return f"<code>{plain(text, NAME)}</code>"
