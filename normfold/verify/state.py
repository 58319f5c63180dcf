"""One proof while it runs: the question, which stays as it is, and the record, which grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from normfold.runtime.session import ModelRunError, Runner, Value
from normfold.runtime.submodel import Submodel
from normfold.verify.inputs.generate import Feed
from normfold.verify.numeric.distance import AllowedError, distance
from normfold.verify.question import Question
from normfold.verify.record import ProofRecord
from normfold.verify.result import Comparison, Stage


@dataclass(frozen=True)
class ProofState:
    """A question and what has been found out about it."""

    question: Question
    record: ProofRecord

    @classmethod
    def of(cls, question: Question) -> ProofState:
        """Return a proof of which nothing is known yet."""
        return cls(question, ProofRecord(list(question.notes)))

    def comparisons(self) -> list[Comparison]:
        """Return what counts of each value and stage."""
        return self.record.counting(self.question.alternates_levels)

    def add_failing(self, value: str, stage: Stage, why: str, feed: str) -> None:
        """Record a value that the candidate did not even compute."""
        self.record.add(self.question.failing(value, stage, why, feed))


def run_part(runner: Runner, submodel: Submodel, feed: Feed, injected: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values of a part's targets, by name."""
    found = runner.run(part_feed(submodel, feed, injected), list(submodel.outputs.values()))
    return dict(zip(submodel.outputs, found, strict=True))


def part_feed(submodel: Submodel, feed: Feed, injected: Mapping[str, Value]) -> dict[str, Value]:
    """Return what a part must be fed with: graph inputs of the feed, and values of earlier parts."""
    return {name: feed.values[name] for name in submodel.feeds} | {name: injected[name] for name in submodel.injected}


def random_values(question: Question, names: Sequence[str], submodel: Submodel, feed: Feed) -> list[str]:
    """Return the values of the original that two fresh sessions do not agree on."""
    runs = []
    for _ in range(2):
        try:
            with question.open(submodel.model) as runner:
                runs.append(run_part(runner, submodel, feed, {}))
        except ModelRunError:
            return []
    strict = AllowedError(1e-6)
    return [name for name in names if distance(runs[0][name], runs[1][name], strict).margin > 1]
