"""The report as one HTML file that needs nothing else: data, style (page.css) and program (page*.js) are inside.

Names of a model are untrusted: the page gets them as JSON without a ``<``, the program sets them as text only, and a
content security policy lets nothing but the two known blocks of code run and nothing at all be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from normfold.findings.escape import printable
from normfold.findings.reason import Reason
from normfold.findings.verdict import Outcome, Verdict
from normfold.report.drawing import Drawing
from normfold.report.notices import Level, how, notices
from normfold.report.report import Groups, Report
from normfold.report.words import headline, sizes
from normfold.verify.result import Comparison, proof_sentence

NAME, TEXT = 160, 500
MODELS_SHOWN, ROWS_SHOWN = 20, 500  # in the tables for readers without JavaScript; the program shows all
PROGRAM = ("page_graph.js", "page_charts.js", "page.js")


def as_html(reports: Sequence[Report]) -> str:
    """One page for one or many models."""
    style, program = _part("page.css"), "\n".join(('"use strict";', *map(_part, PROGRAM)))
    title = printable(reports[0].model, 80) if len(reports) == 1 else f"{len(reports)} models"
    content = {
        "reasons": {r.code: [r.title, r.obstacle, r.remedy] for r in Reason},
        "reports": list(map(_report, reports)),
    }
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(program)}"
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">',
            f"<title>{html.escape(title)} · normfold</title>",
            f"<style>{style}</style>\n</head>\n<body>",
            f"<noscript>{''.join(map(_static, reports[:MODELS_SHOWN]))}</noscript>",
            '<main id="page"></main>',
            f'<script type="application/json" id="data">{_data(content)}</script>',
            f"<script>{program}</script>\n</body>\n</html>\n",
        )
    )


def _part(name: str) -> str:
    return files("normfold.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(content: Any) -> str:
    """JSON that no HTML parser finds a tag, a comment or an entity in."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _report(report: Report) -> dict[str, Any]:
    proof = report.verification
    owners = {verdict.finding.name: index for index, verdict in enumerate(report.verdicts)}
    errors: dict[int, Comparison] = {}
    for site in proof.sites if proof is not None else ():
        for owner in site.folds:
            index = owners.get(owner, -1)
            if index >= 0 and (index not in errors or errors[index].margin < site.margin):
                errors[index] = site
    return {
        "model": printable(report.model, NAME),
        "output": printable(report.output, NAME),
        "original": printable(report.sha256, 64),
        "command": report.command,
        "target": printable(report.target, NAME),
        "version": report.version,
        "sizes": [[name, old, new] for name, old, new in sizes(report.before, report.after)],
        "numbers": _numbers(report),
        "latency": list(report.latency) if report.latency else None,
        "operators": [_counts(report.before.operators), _counts(report.after.operators)],
        "headline": headline(report),
        "kept": _by_reason(report.kept_by_reason),
        "settled": _by_reason(report.settled_by_reason),
        "options": printable(json.dumps(report.options, sort_keys=True), TEXT) if report.options else "",
        "rows": [_row(report, index, errors.get(index)) for index in range(len(report.verdicts))],
        "errors": [[n.reason.code, printable(n.text, TEXT)] for n in notices(report) if n.level is Level.ERROR],
        "proof": None if proof is None else proof.verdict.value,
        "proofNotes": [] if proof is None else [printable(note, TEXT) for note in proof.notes],
        "outputs": [] if proof is None else [_comparison(each, owners) for each in proof.outputs],
        "sites": [] if proof is None else [_comparison(each, owners) for each in proof.sites],
        "notes": [printable(note, TEXT) for note in report.notes],
        "seconds": {stage: round(seconds, 3) for stage, seconds in report.seconds.items()},
    }


def _by_reason(groups: Groups) -> list[list[Any]]:
    return [[reason.code, len(rows)] for reason, rows in groups]


def _numbers(report: Report) -> list[list[int]]:
    """Return the same as ``sizes``, to compute the change from."""
    pairs = ("nodes", "parameters", "weight_bytes", "opset")
    return [[getattr(report.before, name), getattr(report.after, name)] for name in pairs]


def _counts(operators: Sequence[tuple[str, int]]) -> list[list[Any]]:
    return [[printable(name, 60), count] for name, count in operators if name != "Constant"]


def _row(report: Report, index: int, error: Comparison | None) -> dict[str, Any]:
    verdict = report.verdicts[index]
    finding = verdict.finding
    row: dict[str, Any] = {
        "name": printable(finding.name, NAME),
        "graph": printable(finding.graph, NAME),
        "operator": printable(finding.operator, 60),
        "what": printable(finding.what, TEXT),
        "outcome": "settled" if verdict.is_settled else verdict.outcome.value,
        "norm": finding.is_norm,
        "how": "" if verdict.outcome is Outcome.KEPT else printable(how(verdict, report.op_types), TEXT),
        "rule": printable(verdict.rule, 60),
        "obstacles": _obstacles(verdict),
        "error": None if error is None else [_number(error.relative), _number(error.tolerance), _number(error.margin)],
    }
    if index < len(report.drawings):
        row["drawings"] = [_drawing(drawing) for drawing in report.drawings[index]]
    return row


def _obstacles(verdict: Verdict) -> list[list[str]]:
    """Return the obstacles, the main one first."""
    ordered = sorted(verdict.obstacles, key=lambda each: each is not verdict.main_obstacle)
    return [
        [o.reason.code, o.direction, printable(o.node, NAME), printable(o.value, NAME), printable(o.detail, TEXT)]
        for o in ordered
    ]


def _comparison(found: Comparison, owners: dict[str, int]) -> dict[str, Any]:
    return {
        "value": printable(found.value, NAME),
        "stage": printable(found.stage.value, 60),
        "passed": found.passed,
        "relative": _number(found.relative),
        "tolerance": _number(found.tolerance),
        "margin": _number(found.margin),
        "absolute": _number(found.max_abs),
        "ulps": _number(found.ulps),
        "row": next((owners[owner] for owner in found.folds if owner in owners), -1),
    }


def _number(value: float) -> float | None:
    """JSON has no infinity and no NaN: null, which the page shows as "not finite"."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _drawing(drawing: Drawing) -> list[Any]:
    boxes = [[printable(b.operator, 40), printable(b.name, NAME), b.role.value, b.detail] for b in drawing.boxes]
    return [boxes, [list(arrow) for arrow in drawing.arrows]]


# -- without JavaScript -------------------------------------------------------------------------------------------


def _static(report: Report) -> str:
    """Return the same as tables that need no program: what was kept, and each norm with what became of it."""
    shown = report.verdicts[:ROWS_SHOWN]
    rest = f"<p>and {len(report.verdicts) - ROWS_SHOWN} more</p>" if len(report.verdicts) > ROWS_SHOWN else ""
    return as_notebook(report) + _table(("name", "operator", "verdict", "how, or why not"), map(_cells, shown)) + rest


def _cells(verdict: Verdict) -> tuple[str, ...]:
    why = how(verdict) if verdict.is_changed else "; ".join(map(str, verdict.obstacles))
    return verdict.finding.path, verdict.finding.operator, verdict.outcome.value, why


def as_notebook(report: Report) -> str:
    """Return HTML without style or program; names of the model are escaped."""
    lines = [f"<p><b>{_escaped(report.model)}</b>: {_escaped(headline(report))}</p>"]
    if report.verification is not None:
        lines.append(f"<p>{_escaped(proof_sentence(report.verification))}</p>")
    groups = (*report.kept_by_reason, *report.settled_by_reason)
    rows = [(str(len(found)), reason.code, reason.obstacle, reason.remedy) for reason, found in groups]
    if rows:
        lines.append(_table(("count", "reason", "why it stayed", "remedy"), rows))
    return "".join(lines)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _escaped(text: str) -> str:
    return html.escape(printable(text, 400))
