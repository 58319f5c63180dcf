"""Every reason has its three texts, in whole sentences, and the texts hold nothing but plain words."""

from __future__ import annotations

import re

import pytest

from normfold.findings.explanations import EXPLANATIONS, explain
from normfold.findings.reason import Reason


def complaints(why: str, example: str, remedy: str) -> list[str]:
    """What is wrong with the form of an explanation."""
    found = []
    if not re.match(r"[A-Z]", why) or not why.endswith((".", "!")) or len(why) < 60:
        found.append("why: whole sentences, at least 60 characters")
    if len(example) < 10 or not example.endswith("."):
        found.append("example: at least 10 characters, with a full stop")
    if not re.match(r"[A-Z]", remedy) or not remedy.endswith("."):
        found.append("remedy: a whole sentence")
    if "\n" in why + example + remedy or "  " in why + example + remedy:
        found.append("one paragraph each, single spaces")
    return found


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.code)
def test_each_reason_is_explained_in_form(reason: Reason) -> None:
    assert re.fullmatch(r"NF\d{3}", reason.code)
    assert not reason.obstacle.endswith(".")
    assert not reason.remedy.endswith(".")
    text = EXPLANATIONS[reason]
    end = "" if text.example.endswith(".") else "."
    assert complaints(text.why, text.example + end, text.remedy) == []
    assert explain(reason).startswith(f"{reason.code}: {reason.title}\n\n")


def test_the_form_check_can_fail() -> None:
    assert len(complaints("short", "x", "no")) == 3


def test_codes_are_unique_and_found_in_any_case() -> None:
    codes = [reason.code for reason in Reason]
    assert len(set(codes)) == len(codes)
    assert Reason.of_code("nf103") is Reason.SEVERAL_READERS
    with pytest.raises(KeyError):
        Reason.of_code("NF999")
