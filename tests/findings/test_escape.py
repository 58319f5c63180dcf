"""Names of a model are made harmless before they are shown."""

from __future__ import annotations

import pytest

from normfold.findings.escape import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/plain/Name_0", "/plain/Name_0"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202eevil", "\\u202eevil"),
        ("schön", "schön"),
        ("lone \ud800", "lone \\ud800"),
    ],
)
def test_names_are_made_harmless(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_long_names_are_cut_in_the_middle() -> None:
    cut = printable("a" * 1_000_000 + "b", 100)
    assert len(cut) <= 100
    assert cut.endswith("b")
