"""Of many comparisons of a value the worst counts, and one that noise decides only where no other tells anything."""

from __future__ import annotations

from normfold.verify.record import ProofRecord
from normfold.verify.result import Comparison, Stage


def compared(margin: float, *, noisy: bool = False, stage: Stage = Stage.UNOPTIMIZED) -> Comparison:
    return Comparison("y", stage, margin <= 1, noise_dominated=noisy, margin=margin, elements=4, comparable=4)


def test_the_worst_of_a_value_counts() -> None:
    found = ProofRecord(comparisons=[compared(0.1), compared(3.0), compared(0.5)])
    assert [c.margin for c in found.counting(False)] == [3.0]


def test_noise_counts_only_where_nothing_else_tells() -> None:
    noisy = compared(9.0, noisy=True)
    assert ProofRecord(comparisons=[noisy]).counting(False) == [noisy]
    both = ProofRecord(comparisons=[noisy, compared(0.5)])
    assert [c.margin for c in both.counting(False)] == [0.5]
    assert both.set_aside(False) == [noisy]


def test_where_levels_alternate_either_tells_for_both() -> None:
    found = ProofRecord(comparisons=[compared(9.0, noisy=True), compared(0.5, stage=Stage.DEFAULT)])
    assert len(found.counting(False)) == 2
    assert [c.margin for c in found.counting(True)] == [0.5]


def test_a_note_is_said_once() -> None:
    found = ProofRecord()
    found.note("a")
    found.note("a")
    assert found.notes == ["a"]
