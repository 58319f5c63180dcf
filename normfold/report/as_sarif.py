"""The report as SARIF 2.1.0 (OASIS standard): what code scanning shows. Every Reason is a rule with its help text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from normfold._version import HOME
from normfold.findings.escape import printable
from normfold.findings.explanations import EXPLANATIONS, explain
from normfold.findings.reason import Reason
from normfold.report.notices import TEXT_LIMIT, Level, Notice, notices
from normfold.report.report import Report

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"  # a name: nothing is fetched from there
INDEX = {reason: index for index, reason in enumerate(Reason)}


def as_sarif(reports: Sequence[Report]) -> str:
    """One run over all models. Names are cut and made printable; fingerprints are of the whole names."""
    version = reports[0].version if reports else "0"
    driver = {
        "name": "normfold",
        "version": version,
        "semanticVersion": version,
        "informationUri": HOME,
        "rules": list(map(_rule, Reason)),
    }
    artifacts = {uri: index for index, uri in enumerate(dict.fromkeys(_uri(report.model) for report in reports))}
    run = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "invocations": [{"executionSuccessful": True}],
        "artifacts": [{"location": {"uri": uri}} for uri in artifacts],
        "results": [_result(artifacts, report, notice) for report in reports for notice in _failing(report)],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=True) + "\n"


def _failing(report: Report) -> list[Notice]:
    """Return what fails or can be repaired; a norm that stays for a stated reason is no result of a scan."""
    return [notice for notice in notices(report) if notice.level is not Level.NOTE]


def _rule(reason: Reason) -> dict[str, Any]:
    text = EXPLANATIONS[reason]
    markdown = f"{text.why}\n\n**Example:** {text.example}\n\n**What to do:** {text.remedy}"
    return {
        "id": reason.code,
        "name": "".join(word.capitalize() for word in reason.title.split()),
        "shortDescription": {"text": f"{reason.title.capitalize()}."},
        "fullDescription": {"text": f"{reason.obstacle[0].upper()}{reason.obstacle[1:]}."},
        "help": {"text": explain(reason), "markdown": markdown},
        "defaultConfiguration": {"level": "error" if reason.code < "NF1" else "note"},
    }


def _result(artifacts: dict[str, int], report: Report, notice: Notice) -> dict[str, Any]:
    uri = _uri(report.model)
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": uri, "index": artifacts[uri]},
            "region": {"startLine": 1},  # a model has no lines, but GitHub shows no result without one
        }
    }
    parts = [report.model, notice.reason.code]
    if notice.finding is not None:
        parts.append(notice.finding.path)
        logical = {
            "name": printable(notice.finding.name),
            "fullyQualifiedName": printable(notice.finding.path, TEXT_LIMIT),
        }
        location["logicalLocations"] = [{**logical, "kind": "member"}]
    text = f"{printable(notice.text, TEXT_LIMIT)}. Remedy: {notice.reason.remedy}."
    return {
        "ruleId": notice.reason.code,
        "ruleIndex": INDEX[notice.reason],
        "level": {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "note"}[notice.level],
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"normfold/v1": _fingerprint(parts)},
    }


def _fingerprint(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _uri(path: str) -> str:
    """Return a relative reference for a relative path, so that it fits any checkout, else a file URI."""
    pure = PurePath(printable(path, TEXT_LIMIT))
    text = quote(pure.as_posix(), safe="/")
    return f"file://{text}" if pure.is_absolute() else text
