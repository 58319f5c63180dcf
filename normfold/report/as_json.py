"""The report as JSON: ASCII only, so that no name in a model can disturb a terminal or a parser."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from typing import Any

from normfold.findings.reason import Obstacle
from normfold.findings.verdict import Outcome, Verdict
from normfold.report.report import SCHEMA, Problem, Report
from normfold.report.statistics import Statistics


def as_json(reports: Sequence[Report]) -> str:
    """One report as a JSON object with the fields of ``Report`` in words (report.schema.json), several as a set."""
    return _dumped(_document(reports[0])) if len(reports) == 1 else as_json_set(reports)


def as_json_set(reports: Sequence[Report]) -> str:
    """Several reports, or none, as one JSON object: ``reports`` holds what is said of each."""
    version = reports[0].version if reports else None
    documents = list(map(_document, reports))
    return _dumped({"schema": SCHEMA, "tool": "normfold", "version": version, "reports": documents})


def _dumped(content: dict[str, Any]) -> str:
    return json.dumps(_finite(content), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _document(report: Report) -> dict[str, Any]:
    counts = {
        "folded": len(report.of(Outcome.FOLDED)),
        "fused": len(report.of(Outcome.FUSED)),
        "kept": len(report.kept),
        "settled": len(report.settled),
    }
    return {
        "schema": SCHEMA,
        "tool": "normfold",
        "version": report.version,
        "command": report.command,
        "model": report.model,
        "output": report.output or None,
        "is_copy": report.is_copy,
        "target": report.target,
        "options": report.options,
        "found": len(report.verdicts),
        **counts,
        "before": _statistics(report.before),
        "after": _statistics(report.after),
        "findings": [_verdict(verdict) for verdict in report.verdicts],
        "problems": [_problem(problem) for problem in report.problems],
        "verification": _verification(report),
        "notes": list(report.notes),
        "seconds": {stage: round(seconds, 4) for stage, seconds in report.seconds.items()},
    }


def _statistics(statistics: Statistics) -> dict[str, Any]:
    return {**asdict(statistics), "operators": dict(statistics.operators), "nodes": statistics.nodes}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    finding = asdict(verdict.finding)
    return {
        **finding,
        "outcome": verdict.outcome.value,
        "rule": verdict.rule,
        "direction": verdict.direction,
        "into": list(verdict.into),
        "sites": list(verdict.sites),
        "form": verdict.form,
        "why": verdict.why,
        "obstacles": [_obstacle(obstacle) for obstacle in verdict.obstacles],
    }


def _problem(problem: Problem) -> dict[str, Any]:
    reason = problem.reason
    finding = None if problem.finding is None else asdict(problem.finding)
    words = {"code": reason.code, "message": problem.message, "remedy": reason.remedy}
    return {**words, "why": problem.why, "finding": finding}


def _obstacle(obstacle: Obstacle) -> dict[str, Any]:
    reason = obstacle.reason
    words = {"code": reason.code, "title": reason.title, "obstacle": reason.obstacle, "remedy": reason.remedy}
    where = {"node": obstacle.node, "value": obstacle.value}
    return {**words, **where, "detail": obstacle.detail, "direction": obstacle.direction}


def _verification(report: Report) -> dict[str, Any] | None:
    if report.verification is None:
        return None
    return asdict(report.verification)


def _finite(value: Any) -> Any:
    """JSON has no infinities and no NaN; they become the strings "inf", "-inf" and "nan"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value
