"""Nothing stands in a table without a row of its own: one that folds, one that refuses, one that a format writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from normfold.findings.reason import Reason
from normfold.fuse.recognize.table import RULES
from normfold.report.formats import FORMATS, SUFFIXES
from tests.conftest import ROOT
from tests.fold.rows import Folds, Refuses
from tests.fold.tables import Entry, entries

ENTRIES = {entry.name: entry for entry in entries()}
# Lines of the tables that no row folds, or that nothing refuses in their own file, with the reason.
NEVER_ASKED: dict[str, str] = {}
NEVER_REFUSED: dict[str, str] = {}


@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - NEVER_ASKED))
def test_every_rule_has_a_row_that_folds(name: str) -> None:
    assert any(isinstance(row, Folds) for row in ENTRIES[name].rows())


def operators_without_refusal() -> set[str]:
    """The operators of the tables, by room, that no row of their room's file refuses."""
    by_room: dict[str, list[Entry]] = {}
    for entry in ENTRIES.values():
        by_room.setdefault(entry.name.replace(f" {entry.direction}", ""), []).append(entry)
    return {name for name, both in by_room.items() if not any(isinstance(row, Refuses) for row in both[0].rows())}


def test_every_rule_has_a_row_that_refuses() -> None:
    assert operators_without_refusal() == NEVER_REFUSED.keys()


def test_every_operator_of_a_decomposition_is_in_a_row() -> None:
    texts = "".join(path.read_text() for path in (ROOT / "tests" / "fuse").rglob("*.py"))
    assert {operator for operator in RULES if not re.search(rf"\b{operator}\b", texts)} == set()


def test_every_reason_is_given_by_some_test() -> None:
    """By its code or its name; ``explain`` and the report's own samples are no reason to give one."""
    here = {Path(__file__), *(ROOT / "tests" / "findings").rglob("*"), *(ROOT / "tests" / "report").rglob("*")}
    texts = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path not in here)
    assert {
        reason.code for reason in Reason if reason.code not in texts and f"Reason.{reason.name}" not in texts
    } == set()


def test_every_format_has_a_snapshot_and_every_suffix_a_format() -> None:
    snapshots = {path.stem for path in (ROOT / "tests" / "report" / "snapshots").glob("*.txt")}
    assert snapshots == FORMATS.keys()
    assert set(SUFFIXES.values()) <= FORMATS.keys()
