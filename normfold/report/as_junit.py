"""The report as JUnit XML: a suite for each model, a test case for each norm and one for the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as xml

from normfold.findings.escape import printable
from normfold.findings.reason import Reason
from normfold.report.notices import TEXT_LIMIT, Level, Notice, describe, notices
from normfold.report.report import Report


def as_junit(reports: Sequence[Report]) -> str:
    """Render each error-level notice as a failure (an unreadable file: an error), a stated reason as skipped."""
    root = xml.Element("testsuites", name="normfold")
    for report in reports:
        root.append(_suite(report))
    counts = ("tests", "failures", "errors", "skipped")
    for name in counts[:3]:  # the root has no count of skipped cases by its schema
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _suite(report: Report) -> xml.Element:
    by_finding: dict[tuple[str, str] | None, list[Notice]] = {}
    for notice in notices(report):
        finding = notice.finding
        by_finding.setdefault(None if finding is None else (finding.graph, finding.name), []).append(notice)
    model = printable(report.model)
    cases = [_case(model, "the model", by_finding.pop(None, []))]
    for verdict in report.verdicts:
        key = verdict.finding.graph, verdict.finding.name
        cases.append(_case(model, describe(verdict.finding), by_finding.pop(key, [])))
    gone = ((rest[0].finding, rest) for rest in by_finding.values())  # problems about norms that are no more
    cases.extend(_case(model, describe(finding), rest) for finding, rest in gone if finding is not None)
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    seconds = f"{sum(report.seconds.values()):.3f}"
    suite = xml.Element("testsuite", name=model, time=seconds)
    for name, count in counts.items():
        suite.set(name, str(count))
    suite.extend(cases)
    return suite


def _case(model: str, name: str, found: list[Notice]) -> xml.Element:
    case = xml.Element("testcase", classname=model, name=printable(name))
    failing = [notice for notice in found if notice.level is not Level.NOTE]
    chosen = failing or found
    if not chosen:
        return case
    text = "\n".join(f"{printable(notice.text, TEXT_LIMIT)}\nremedy: {notice.reason.remedy}" for notice in chosen)
    kind = _kind(chosen[0])
    message = printable(chosen[0].text, TEXT_LIMIT)
    child = xml.SubElement(case, kind, message=message)
    if kind != "skipped":
        child.set("type", chosen[0].reason.code)
    child.text = text
    return case


def _kind(notice: Notice) -> str:
    if notice.level is Level.NOTE:
        return "skipped"
    return "error" if notice.reason is Reason.UNREADABLE else "failure"
