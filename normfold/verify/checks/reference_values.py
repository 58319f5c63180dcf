"""The original, run feed after feed for the values that are due."""

from __future__ import annotations

from collections.abc import Iterator

from normfold.runtime.session import Runner, Value
from normfold.runtime.submodel import Submodel, submodel
from normfold.verify.checks.accepted_inputs import accepted_feeds
from normfold.verify.checks.schedule import Schedule
from normfold.verify.inputs.generate import Feed
from normfold.verify.state import ProofState, run_part


class Original:
    """A session over the part of the original that makes the targets of a first chunk.

    To expose a value costs memory and time, so another session takes its place when much fewer values are needed.
    """

    def __init__(self, proof: ProofState, turns: Schedule, small: Submodel, runner: Runner) -> None:
        self._proof, self._turns = proof, turns
        self._part, self._runner = small, runner

    def close(self) -> None:
        """Free the session."""
        self._runner.close()

    def feeds(self) -> Iterator[tuple[Feed, dict[str, Value]]]:
        """Return the feeds that it accepts, each with its values."""
        return accepted_feeds(self._proof.question, self._run, self._proof.findings.note)

    def _run(self, number: int, feed: Feed) -> dict[str, Value]:
        needed = self._turns.needed(number, feed)
        if not self._part.outputs.keys() >= set(needed) or 2 * len(needed) < len(self._part.outputs):
            self.close()
            self._part = submodel(self._proof.question.original, needed, {})
            self._runner = self._proof.question.open(self._part.model)
        values = run_part(self._runner, self._part, feed, {}, needed)
        if not number:
            self._turns.adapt_to(values)
        return values
