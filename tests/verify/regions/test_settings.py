"""All settings of few switches, and each number of many."""

from __future__ import annotations

from normfold.verify.regions.settings import combined


def test_few_switches_are_set_in_every_way() -> None:
    found = list(combined({"f": [0, 1], "g": [0, 1], "n": [None, 3]}))
    assert len(found) == 8
    assert {"f": 1, "g": 0, "n": 3} in found
    assert {"f": 1, "g": 1} in found, "None leaves a count as it is"


def test_of_many_each_number_has_its_turn() -> None:
    choices = {f"n{i}": [None, *range(10 * i, 10 * i + 5)] for i in range(6)}
    found = list(combined(choices))
    assert {n for setting in found for n in setting.values()} == {10 * i + k for i in range(6) for k in range(5)}
    assert len(found) < 60


def test_without_a_choice_there_is_one_setting() -> None:
    assert list(combined({})) == [{}]
