"""Nothing stands in a table without a row of its own: one that folds, one that refuses, one that a format writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from normfold.findings.reason import Reason
from normfold.fuse.recognize.table import RULES
from normfold.report.formats import FORMATS
from tests.conftest import ROOT
from tests.fold.rows import Folds, Refuses
from tests.fold.tables import Entry, entries

ENTRIES = {entry.name: entry for entry in entries()}
# What no row refuses, and why.
NEVER_REFUSED = {
    "carriers/elementwise Shape": "it passes everything, and nothing comes out",
    "carriers/elementwise Size": "it passes everything, and nothing comes out",
}
NO_DECOMPOSITION = {"SimplifiedLayerNormalization": "an operator of ONNX Runtime that onnx has no schema of"}
_UNKNOWN = "no small model that ends in it was found"
NEVER_GIVEN = {
    **dict.fromkeys(("NF127", "NF131"), _UNKNOWN),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_every_rule_has_a_row_that_folds(name: str) -> None:
    assert any(isinstance(row, Folds) for row in ENTRIES[name].rows()), "the test file of its room needs a row Folds"


def operators_without_refusal() -> set[str]:
    """The operators of the tables, by room, that no row of their room's file refuses."""
    by_room: dict[str, list[Entry]] = {}
    for entry in ENTRIES.values():
        by_room.setdefault(entry.name.replace(f" {entry.direction}", ""), []).append(entry)
    return {name for name, both in by_room.items() if not any(isinstance(row, Refuses) for row in both[0].rows())}


def test_every_rule_has_a_row_that_refuses() -> None:
    assert operators_without_refusal() == NEVER_REFUSED.keys(), "the test file of its room needs a row Refuses"


def test_every_operator_of_a_decomposition_is_in_a_row() -> None:
    texts = "".join(path.read_text() for path in (ROOT / "tests" / "fuse").rglob("*.py"))
    unseen = {operator for operator in RULES if not re.search(rf"\b{operator}\b", texts)}
    assert unseen == NO_DECOMPOSITION.keys(), "ROWS of tests/fuse/forms/test_table.py needs a norm with it"


def test_every_reason_is_given_by_some_test() -> None:
    """By its code or its name; ``explain`` and the report's own samples are no reason to give one."""
    here = {Path(__file__), *(ROOT / "tests" / "findings").rglob("*"), *(ROOT / "tests" / "report").rglob("*")}
    texts = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path not in here)
    unseen = {r.code for r in Reason if r.code not in texts and f"Reason.{r.name}" not in texts}
    assert unseen == NEVER_GIVEN.keys(), "a test needs a model that ends in it"


def test_every_format_has_a_snapshot_and_is_in_the_reference() -> None:
    snapshots = {path.stem for path in (ROOT / "tests" / "report" / "snapshots").glob("*.txt")}
    assert snapshots == FORMATS.keys(), "UPDATE_SNAPSHOTS=1 with tests/report/test_formats.py writes it"
    reference = (ROOT / "normfold" / "REFERENCE.md").read_text().split("## Reports")[1].split("\n## ")[0]
    unnamed = [each.name for each in FORMATS.values() if (each.suffixes or (each.name,))[0] not in reference]
    assert unnamed == [], "REFERENCE, section Reports, does not name it"
