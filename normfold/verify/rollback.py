"""Undo the failing fold and keep the rest: pure control over ``build`` and ``prove``, which the caller brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from normfold.verify.result import Equivalence, Site, Stage, Verification

AnyModel = TypeVar("AnyModel")

# So many proved folds are undone one at a time; after that all that are left, because something is wrong at large.
_ONE_BY_ONE = 4

# After so many candidates the suspects left are undone together: each costs a build and a proof, seconds on a real net.
_MOST_CANDIDATES = 24


@dataclass(frozen=True)
class ProofCandidate(Generic[AnyModel]):
    """A candidate, its sites, and the names of all folds in it (those of the sites, when not given)."""

    model: AnyModel
    sites: tuple[Site, ...] = ()
    folds: tuple[str, ...] = ()

    @property
    def all_folds(self) -> tuple[str, ...]:
        """Every fold that could be undone, in the order of the graph."""
        return tuple(dict.fromkeys((*(site.fold for site in self.sites), *self.folds)))


@dataclass(frozen=True)
class RollbackResult(Generic[AnyModel]):
    """What is left in the end: the candidate, its proof, the folds that were undone and why."""

    candidate: ProofCandidate[AnyModel]
    verification: Verification
    undone: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def prove_with_rollback(
    build: Callable[[frozenset[str]], ProofCandidate[AnyModel]],
    prove: Callable[[ProofCandidate[AnyModel]], Verification],
    *,
    strict: bool = False,
) -> RollbackResult[AnyModel]:
    """Build without the folds that proved wrong until the rest is proved.

    ``build(excluded)`` makes the candidate without those folds. A fold is failing if its own site differs; where
    sites do not tell (only an output differs, several folds share a site, only the optimized run differs), the smallest
    failing set is searched by bisection. With ``strict`` nothing is undone. The result is DIFFERENT when the candidate
    still differs with every fold undone, or under ``strict``; then nothing may be written.
    """
    candidate = build(frozenset())
    verification = prove(candidate)
    if strict or verification.verdict is not Equivalence.DIFFERENT:
        return RollbackResult(candidate, verification)
    trial = _Outcomes(build, prove)
    undone: tuple[str, ...] = ()
    notes: list[str] = []
    while verification.verdict is Equivalence.DIFFERENT:
        suspects = tuple(fold for fold in verification.failing_folds if fold not in undone)
        others = tuple(fold for fold in candidate.all_folds if fold not in undone)
        proved = _proved_failing(verification, suspects)
        # The first in the order of the graph made its error; the later ones may have got theirs from it.
        fresh = proved[:1] if len(undone) < _ONE_BY_ONE else proved
        fresh = fresh or trial.smallest(suspects, undone)
        fresh = fresh or trial.smallest(others, undone)
        if not fresh:
            notes.append("the candidate differs from the original even without any fold")
            break
        how = "the evidence at its own site" if set(fresh) <= set(suspects) else "bisection over the folds"
        why = "" if set(fresh) <= set(suspects) else _only_when_optimized(verification)
        notes += [f"{fold} was undone by {how}{why}" for fold in fresh]
        undone += fresh
        candidate, verification = trial.outcome(frozenset(undone))
    return RollbackResult(candidate, verification, undone, tuple(notes))


def _proved_failing(verification: Verification, suspects: tuple[str, ...]) -> tuple[str, ...]:
    """Return the suspects with a failing site that no other fold shares: nothing is left to search."""
    alone = {c.folds[0] for c in verification.sites if not c.passed and len(c.folds) == 1}
    return tuple(fold for fold in suspects if fold in alone)


def _only_when_optimized(verification: Verification) -> str:
    """Say that the folds are right, where only ONNX Runtime's own optimizations make the candidate wrong."""
    if not verification.failures or any(c.stage is not Stage.DEFAULT for c in verification.failures):
        return ""
    return ", because with it ONNX Runtime's optimizations at its default level change the result; it is right itself"


class _Outcomes(Generic[AnyModel]):
    """Remembers the outcome of each set of excluded folds, because bisection comes back to some."""

    def __init__(
        self,
        build: Callable[[frozenset[str]], ProofCandidate[AnyModel]],
        prove: Callable[[ProofCandidate[AnyModel]], Verification],
    ) -> None:
        self._build, self._prove = build, prove
        self._seen: dict[frozenset[str], tuple[ProofCandidate[AnyModel], Verification]] = {}

    def outcome(self, excluded: frozenset[str]) -> tuple[ProofCandidate[AnyModel], Verification]:
        if excluded not in self._seen:
            candidate = self._build(excluded)
            self._seen[excluded] = candidate, self._prove(candidate)
        return self._seen[excluded]

    def _differs(self, excluded: tuple[str, ...]) -> bool:
        return self.outcome(frozenset(excluded))[1].verdict is Equivalence.DIFFERENT

    def smallest(self, suspects: tuple[str, ...], undone: tuple[str, ...]) -> tuple[str, ...]:
        """Return the fewest suspects whose exclusion ends the difference; none when excluding all of them does not.

        They are more than the fewest once ``_MOST_CANDIDATES`` were built.
        Where one fold is left out another may be tried in its place, and then that one is a suspect too.
        """
        while suspects and self._differs(undone + suspects):
            candidate, _ = self.outcome(frozenset(undone + suspects))
            more = tuple(fold for fold in candidate.all_folds if fold not in undone + suspects)
            if not more:
                return ()
            suspects += more
        return self._narrow(suspects, undone) if suspects else ()

    def _narrow(self, suspects: tuple[str, ...], undone: tuple[str, ...]) -> tuple[str, ...]:
        """QuickXplain: both halves only when neither suffices alone."""
        if len(suspects) == 1 or len(self._seen) >= _MOST_CANDIDATES:
            return suspects
        left, right = suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]
        for half in (left, right):
            if not self._differs(undone + half):
                return self._narrow(half, undone)
        first = self._narrow(left, undone + right)
        return first + self._narrow(right, undone + first)
