"""Show a report in a notebook: the headline, the proof, and what was kept by reason, as a small HTML table."""

from __future__ import annotations

from html import escape

from normfold.report.escape import printable
from normfold.report.headline import headline, proof_sentence
from normfold.report.report import Report


def as_notebook(report: Report) -> str:
    """Return HTML without style or program; names of the model are escaped."""
    lines = [f"<p><b>{_text(report.model)}</b>: {_text(headline(report))}</p>"]
    if report.verification is not None:
        lines.append(f"<p>{_text(proof_sentence(report.verification))}</p>")
    rows = [*report.kept_by_reason, *report.settled_by_reason]
    if rows:
        lines.append("<table><tr><th>count</th><th>reason</th><th>why it stayed</th><th>remedy</th></tr>")
        for reason, findings in rows:
            cells = (str(len(findings)), reason.code, reason.obstacle, reason.remedy)
            lines.append("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>")
        lines.append("</table>")
    return "".join(lines)


def _text(text: str) -> str:
    return escape(printable(text, 400))
