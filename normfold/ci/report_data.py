"""A report as plain data for JSON and back, so that it can wait in a file or come from another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any

from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.report.drawing import Box, Drawing, Role
from normfold.report.report import Report, Statistics
from normfold.verify.result import Comparison, Equivalence, Stage, Verification

Data = Mapping[str, Any]


def to_data(report: Report) -> dict[str, Any]:
    """``report`` without its problems, which depend on limits and lock and are found again each time."""
    data: dict[str, Any] = _plain({**asdict(report), "problems": ()})
    return data


def from_data(data: Data) -> Report:
    """Return the report that ``to_data`` was given. KeyError, TypeError or ValueError for anything else."""
    proof = data["verification"]
    changes = {
        "verdicts": tuple(map(_verdict, data["verdicts"])),
        "before": _statistics(data["before"]),
        "after": _statistics(data["after"]),
        "verification": None if proof is None else _verification(proof),
        "notes": tuple(data["notes"]),
        "problems": (),
        "drawings": tuple((_drawing(before), _drawing(after)) for before, after in data["drawings"]),
        "latency": data["latency"] and tuple(data["latency"]),
    }
    return Report(**{**data, **changes})


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _tuples(data: Data) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def _statistics(data: Data) -> Statistics:
    operators = tuple((name, count) for name, count in data["operators"])
    return Statistics(**{**data, "operators": operators})


def _verdict(data: Data) -> Verdict:
    changes = {
        "finding": Finding(**data["finding"]),
        "outcome": Outcome(data["outcome"]),
        "obstacles": tuple(
            Obstacle(**{**entry, "reason": Reason.of_code(entry["reason"])}) for entry in data["obstacles"]
        ),
    }
    return Verdict(**{**_tuples(data), **changes})


def _obstacle(data: Data) -> Obstacle:
    return Obstacle(**{**data, "reason": Reason.of_code(data["reason"])})


def _drawing(data: Data) -> Drawing:
    boxes = tuple(Box(**{**box, "role": Role(box["role"])}) for box in data["boxes"])
    return Drawing(boxes, tuple((start, end) for start, end in data["arrows"]))


def _comparison(data: Data) -> Comparison:
    return Comparison(**{**_tuples(data), "stage": Stage(data["stage"])})


def _verification(data: Data) -> Verification:
    changes = {
        "verdict": Equivalence(data["verdict"]),
        "outputs": tuple(_comparison(entry) for entry in data["outputs"]),
        "sites": tuple(_comparison(entry) for entry in data["sites"]),
        "first_differences": tuple(_comparison(entry) for entry in data["first_differences"]),
    }
    return Verification(**{**_tuples(data), **changes})
