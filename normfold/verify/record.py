"""What a proof has recorded so far: the feeds, what the original made of them, every comparison, and notes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from normfold.runtime.session import Value
from normfold.verify.inputs.generate import Feed
from normfold.verify.result import Comparison, Stage


@dataclass
class ProofRecord:
    """Lists that grow while a proof runs; ``references`` are the original's outputs for each of ``feeds``."""

    notes: list[str] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    references: list[dict[str, Value]] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, comparison: Comparison) -> None:
        """Keep a comparison."""
        self.comparisons.append(comparison)

    def leave_out(self, values: Collection[str]) -> None:
        """Drop the comparisons of values that say nothing."""
        self.comparisons = [each for each in self.comparisons if each.value not in values]

    def counting(self, alternates_levels: bool) -> list[Comparison]:
        """Return what counts of each value and stage: the worst that tells something, else one that noise decides.

        Where levels alternate from feed to feed, what either tells of a value counts for both.
        """
        worst = _worst(c for c in self.comparisons if not c.noise_dominated)
        telling = {key: c for key, c in worst.items() if c.comparable or not c.passed}
        known = {value for value, _ in telling} if alternates_levels else set()
        noisy = _worst(c for c in self.comparisons if c.noise_dominated and c.value not in known)
        return list((worst | noisy | telling).values())

    def set_aside(self, alternates_levels: bool) -> list[Comparison]:
        """Return what noise decides on one feed while another feed tells something."""
        counting = set(map(id, self.counting(alternates_levels)))
        noisy = _worst(c for c in self.comparisons if c.noise_dominated)
        return [c for c in noisy.values() if id(c) not in counting]


def _worst(comparisons: Iterable[Comparison]) -> dict[tuple[str, Stage], Comparison]:
    """Return the worst comparison of each value and stage, the first of equals."""
    found: dict[tuple[str, Stage], Comparison] = {}
    for each in comparisons:
        known = found.get((each.value, each.stage))
        if known is None or _badness(each) > _badness(known):
            found[each.value, each.stage] = each
    return found


def _badness(comparison: Comparison) -> tuple[bool, float, int]:
    return not comparison.passed, comparison.margin, comparison.comparable
