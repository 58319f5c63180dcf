"""Every format: what it says of a fixed report (snapshots), its schema, and what it does with names not to be trusted.

A changed snapshot is written again with UPDATE_SNAPSHOTS=1, and then read before it is committed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import jsonschema
import pytest
from xmlschema import XMLSchema, XMLSchemaValidationError

import normfold
from normfold.errors import UsageError
from normfold.findings.reason import Reason
from normfold.report.formats import FORMATS, SUFFIXES, format_of, formats_of, render, write_report
from normfold.report.report import Problem, Report
from tests.conftest import ROOT, Command
from tests.nets import conv_bn
from tests.report.samples import HOSTILE, checked, hostile, sample

HERE = Path(__file__).parent
LIMIT = 500_000  # characters, with every name a megabyte long
schemas: dict[str, Any] = {
    "json": json.loads((ROOT / "normfold" / "report" / "report.schema.json").read_text()),
    "sarif": json.loads((HERE / "sarif-2.1.0.subset.json").read_text()),
}


def complaints(format: str, text: str) -> list[str]:
    """What the schema of ``format`` has against ``text``."""
    validator = jsonschema.Draft202012Validator(schemas[format])
    return [error.message[:300] for error in validator.iter_errors(json.loads(text))]


# -- snapshots --------------------------------------------------------------------------------------------------------


def _page_data(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


STABLE: dict[str, Callable[[str], str]] = {  # what of a format is compared: not the rules, which have their own tests
    "sarif": lambda text: re.sub(r'"rules": \[.*?\n     \]', '"rules": []', text, flags=re.S),
    "html": lambda text: json.dumps({**_page_data(text), "reasons": {}}, indent=1) + "\n",
}


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_format_says_what_it_said(format: str) -> None:
    file = HERE / "snapshots" / f"{format}.txt"
    said = STABLE.get(format, str)(render([sample(), checked()], format))
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.write_text(said, encoding="utf-8")
    assert file.exists(), "UPDATE_SNAPSHOTS=1 writes it; read it before you commit it"
    assert said == file.read_text(encoding="utf-8"), "UPDATE_SNAPSHOTS=1 writes it again, if that is meant"


# -- schemas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", sorted(schemas))
@pytest.mark.parametrize("reports", [[], [sample()], [sample(), checked()], [hostile("x")]], ids=len)
def test_json_and_sarif_are_valid(format: str, reports: list[Report]) -> None:
    jsonschema.Draft202012Validator.check_schema(schemas[format])
    assert complaints(format, render(reports, format)) == []


def test_the_schemas_can_say_no() -> None:
    content = json.loads(render(sample(), "json"))
    assert complaints("json", json.dumps({**content, "schema": 1}))
    assert complaints("json", json.dumps({**content, "surprise": 1}))
    content["findings"][0]["obstacles"] = content["findings"][2]["obstacles"]
    assert complaints("json", json.dumps(content)), "a folded finding has no obstacles"
    content = json.loads(render(checked(), "sarif"))
    content["runs"][0]["results"][0]["level"] = "fatal"
    assert complaints("sarif", json.dumps(content))


def test_a_real_report_is_valid_json() -> None:
    assert complaints("json", render(normfold.optimize(conv_bn()).report(), "json")) == []


def test_every_field_of_the_schema_is_described() -> None:
    reports = schemas["json"]["$defs"]["report"]["properties"]
    assert {name for name, field in reports.items() if not {"description", "const", "$ref"} & set(field)} == set()


# -- SARIF, JUnit, annotations, Markdown ------------------------------------------------------------------------------


def test_sarif_rules_are_the_reasons_with_help() -> None:
    (run,) = json.loads(render([sample(), checked()], "sarif"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [reason.code for reason in Reason]
    assert all(len(rule["help"]["text"]) > 80 and rule["help"]["markdown"] for rule in rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert run["artifacts"][place["index"]]["location"]["uri"] == place["uri"]
    levels = [(result["ruleId"], result["level"]) for result in run["results"]]
    assert levels == [("NF001", "error"), ("NF002", "error")], "what stays for a reason is no result"
    assert run["tool"]["driver"]["informationUri"].startswith("https://")


def test_sarif_uris_are_uris() -> None:
    for name in HOSTILE.values():
        (run,) = json.loads(render(hostile(name), "sarif"))["runs"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", run["artifacts"][0]["location"]["uri"])


def test_fingerprints_tell_long_names_apart() -> None:
    one, other = (json.loads(render(hostile("n" * 5000 + end + "n" * 5000), "sarif")) for end in "ab")
    prints = [[row["partialFingerprints"] for row in log["runs"][0]["results"]] for log in (one, other)]
    assert all(a != b for a, b in zip(*prints, strict=True))


@pytest.mark.parametrize(
    "reports", [[], [sample()], [sample(), checked()], *([hostile(name)] for name in HOSTILE.values())]
)
def test_junit_is_valid(reports: list[Report]) -> None:
    XMLSchema(HERE / "junit.xsd").validate(render(reports, "junit"))


def test_the_schema_of_junit_can_say_no() -> None:
    said = render([sample()], "junit").replace(' tests="', ' trials="', 1)
    with pytest.raises(XMLSchemaValidationError):
        XMLSchema(HERE / "junit.xsd").validate(said)


def test_junit_counts_what_it_lists() -> None:
    root = xml.fromstring(render([sample(), checked()], "junit"))
    assert root.attrib == {"name": "normfold", "tests": "8", "failures": "2", "errors": "0"}
    for suite in root:
        assert set(suite.attrib) <= {"name", "tests", "failures", "errors", "skipped", "time"}
        assert {each.tag for case in suite for each in case} <= {"skipped", "error", "failure"}
        for tag, counted in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert len(suite.findall(f"testcase/{tag}")) == int(suite.get(counted, ""))
        assert len(suite.findall("testcase")) == int(suite.get("tests", ""))


def test_what_fails_comes_with_norm_reason_and_remedy() -> None:
    for format in ("sarif", "junit", "github"):
        said = render(checked(), format)
        assert "/stem/bn" in said
        assert "NF001" in said
        assert Reason.FOLDABLE_LEFT.remedy in said


def test_annotations_name_a_broken_file_before_the_norms_of_others_and_each_reason_once() -> None:
    """GitHub shows ten: a file that cannot be read was the eleventh, and each model repeated each reason."""
    norms = [Problem(Reason.FOLDABLE_LEFT, verdict.finding) for verdict in checked().verdicts] * 12
    broken = Problem(Reason.UNREADABLE, why="a broken file")
    lines = render([replace(checked(), problems=tuple(norms)), replace(checked(), problems=(broken,))], "github")
    errors, notices = (re.findall(f"^::{kind} .*", lines, re.M) for kind in ("error", "notice"))
    assert "a broken file" in errors[0] and len(errors) == 11
    assert len(notices) == len({re.findall(r"NF\d+", line)[0] for line in notices})


def test_markdown_stays_below_what_github_takes() -> None:
    reports = [checked()] * 100
    assert len(render(reports, "markdown")) < 65_536
    assert len(render([hostile("*" * 10_000)], "markdown")) < 65_536


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(HOSTILE))
@pytest.mark.parametrize("format", sorted(FORMATS))
def test_no_name_disturbs_a_format(format: str, kind: str) -> None:
    name = HOSTILE[kind]
    said = render(hostile(name), format)
    assert [c for c in said if not c.isprintable() and c != "\n"] == []
    assert name not in said or format == "json" or kind in ("markup", "script_end", "cdata", "table", "properties")
    assert format == "json" or len(said) < LIMIT, "only programs read JSON, and they need whole names"
    if format in CHECKS:
        CHECKS[format](said)


def _check_json(said: str) -> None:
    assert complaints("json", said) == []


def _check_sarif(said: str) -> None:
    assert complaints("sarif", said) == []


def _check_junit(said: str) -> None:
    root = xml.fromstring(said)
    assert {element.tag for element in root.iter()} == {"testsuites", "testsuite", "testcase", "failure", "skipped"}


def _check_github(said: str) -> None:
    for line in said.splitlines():
        assert re.match(r"::(error|warning|notice) file=[^,:]*,title=[^,:]*::", line)
    assert "::owned" not in said.replace("::error::owned", "")  # one line, so inside the message it does nothing


def _check_markdown(said: str) -> None:
    for line in said.splitlines():
        assert re.sub(r"</?(code|details|summary)>", "", line).count("<") == 0
        assert not set("@[`") & set(line)
    tables = [line for line in said.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {7, 6}


class Tags(HTMLParser):
    """The tags that a browser would make elements of."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def _check_html(said: str) -> None:
    parser = Tags()
    parser.feed(said)
    own = ["html", "head", "meta", "meta", "meta", "meta", "link", "title", "style", "body", "noscript", "main"]
    tables = ("table", "tr", "th", "td", "b", "p")  # what readers without JavaScript see
    assert [tag for tag in parser.found if tag not in tables] == [*own, "script", "script"]
    assert not set("<>&") & set(re.findall(r'id="data">(.*?)</script>', said, re.S)[0])
    assert _page_data(said)["reports"]


CHECKS: dict[str, Callable[[str], None]] = {
    "json": _check_json,
    "sarif": _check_sarif,
    "junit": _check_junit,
    "github": _check_github,
    "markdown": _check_markdown,
    "html": _check_html,
}


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_the_suffix_chooses_the_format(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"report{suffix}"
    for _ in range(2):
        write_report(sample(), file)
    assert file.read_text(encoding="utf-8") == render(sample(), SUFFIXES[suffix].name)
    assert list(tmp_path.iterdir()) == [file]


def test_a_format_is_for_whom_the_suffix_tells_nothing(tmp_path: Path) -> None:
    one, other = str(tmp_path / "a.json"), str(tmp_path / "b")
    assert formats_of([one], "sarif") == ((one, FORMATS["sarif"]),)
    assert formats_of([one, other], "github") == ((one, FORMATS["json"]), (other, FORMATS["github"]))
    assert formats_of(["-"], "github") == (("-", FORMATS["github"]),)


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("report.pdf", "", "pass --format"),
        ("report", "", "pass --format"),
        ("report.json", "pdf", "the formats are text"),
        ("model.onnx", "json", "looks like a model"),
        ("nowhere/report.json", "", "does not exist"),
    ],
)
def test_a_wrong_file_is_refused_before_the_work(name: str, format: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        format_of(tmp_path / name, format)


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "report.json"
    folder.mkdir()
    with pytest.raises(UsageError, match="got the folder"):
        write_report(sample(), folder)


def test_the_commands_write_reports(tmp_path: Path, command: Command) -> None:
    model = ROOT / "models" / "residual.onnx"
    files = [tmp_path / f"report{suffix}" for suffix in SUFFIXES]
    options = [part for file in files for part in ("--report", file)]
    done = command(
        "optimize", model, "-o", tmp_path / "out.onnx", *options, "--report", "-", "--format", "github", "-q"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(file.stat().st_size for file in files)
    assert complaints("json", (tmp_path / "report.json").read_text()) == []
    done = command("inspect", model, "--report", "-", "--format", "github", "-q")
    assert done.stdout.startswith("::warning file=")
    for wrong in (("--report", "x.pdf"), ("--report", "-", "--format", "json", "--json")):
        assert command("inspect", model, *wrong).returncode == 2
