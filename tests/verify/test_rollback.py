"""The failing folds are undone and named, whatever the evidence looks like; no other fold is."""

from __future__ import annotations

import pytest

from normfold.verify import Comparison, Equivalence, ProofCandidate, Site, Stage, Verification, prove_with_rollback

FOLDS = tuple("abcdefgh")


class World:
    """Models that are wrong when any of ``wrong`` is folded; ``shown`` maps a fold to the site that shows its error."""

    def __init__(self, wrong: set[str], shown: dict[str, str]) -> None:
        self.wrong, self.shown, self.proofs = wrong, shown, 0

    def build(self, excluded: frozenset[str]) -> ProofCandidate[frozenset[str]]:
        folds = tuple(fold for fold in FOLDS if fold not in excluded)
        return ProofCandidate(frozenset(folds), tuple(Site(self.shown[f], f) for f in folds if f in self.shown), folds)

    def prove(self, built: ProofCandidate[frozenset[str]]) -> Verification:
        self.proofs += 1
        bad = built.model & self.wrong
        if not bad:
            return Verification(Equivalence.EQUIVALENT)
        folds = {value: tuple(s.fold for s in built.sites if s.value == value) for value in self.shown.values()}
        failing = sorted({self.shown[fold] for fold in bad if fold in self.shown})
        sites = tuple(Comparison(value, Stage.AT_SITE, False, folds=folds[value]) for value in failing)
        wrong_fold = tuple(dict.fromkeys(fold for c in sites for fold in c.folds))
        return Verification(Equivalence.DIFFERENT, sites=sites, failing_folds=wrong_fold)


OWN_SITES = {fold: f"site {fold}" for fold in FOLDS}
SHARED = {fold: "site 1" if fold in "abcd" else "site 2" for fold in FOLDS}


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        pytest.param("c", OWN_SITES, id="one, with a site of its own"),
        pytest.param("bcg", OWN_SITES, id="three, each with a site of its own"),
        pytest.param("c", SHARED, id="one that shares its site with innocents"),
        pytest.param("bg", SHARED, id="two at two shared sites"),
        pytest.param("e", {}, id="one that only an output shows"),
        pytest.param("ah", {}, id="two that only an output shows"),
        pytest.param("ch", {"c": "site c"}, id="one with a site, one without"),
        pytest.param("", OWN_SITES, id="none"),
    ],
)
def test_exactly_the_wrong_folds_are_undone(wrong: str, shown: dict[str, str]) -> None:
    world = World(set(wrong), shown)
    settled = prove_with_rollback(world.build, world.prove)
    assert set(settled.undone) == set(wrong)
    assert settled.verification
    assert settled.candidate.model == set(FOLDS) - set(wrong)
    assert world.proofs <= 2 + 6 * len(wrong), "bisection, not trial of each"


def test_a_search_among_hundreds_of_folds_ends_soon_and_still_undoes_all_that_are_wrong() -> None:
    folds, wrong = tuple(f"fold {number}" for number in range(256)), {f"fold {number}" for number in range(0, 256, 51)}
    proofs = 0

    def build(excluded: frozenset[str]) -> ProofCandidate[frozenset[str]]:
        left = tuple(fold for fold in folds if fold not in excluded)
        return ProofCandidate(frozenset(left), (), left)

    def prove(built: ProofCandidate[frozenset[str]]) -> Verification:
        nonlocal proofs
        proofs += 1
        return Verification(Equivalence.DIFFERENT if built.model & wrong else Equivalence.EQUIVALENT)

    settled = prove_with_rollback(build, prove)
    assert settled.verification
    assert wrong <= set(settled.undone) < set(folds)
    assert proofs < 32


def test_a_fold_that_takes_the_place_of_another_is_a_suspect_too() -> None:
    """Without "a" the search finds "b" instead, and that is as wrong."""

    def build(excluded: frozenset[str]) -> ProofCandidate[str]:
        fold = next((fold for fold in "ab" if fold not in excluded), "")
        return ProofCandidate(fold, (), tuple(fold))

    def prove(built: ProofCandidate[str]) -> Verification:
        return Verification(Equivalence.DIFFERENT if built.model else Equivalence.EQUIVALENT)

    settled = prove_with_rollback(build, prove)
    assert settled.verification
    assert settled.undone == ("a", "b")


def test_those_who_inherit_an_error_are_kept() -> None:
    """The error of "b" also arrives at the sites of "e" and "g"."""

    def build(excluded: frozenset[str]) -> ProofCandidate[frozenset[str]]:
        return ProofCandidate(frozenset(FOLDS) - excluded, tuple(Site(f"site {fold}", fold) for fold in FOLDS))

    def prove(built: ProofCandidate[frozenset[str]]) -> Verification:
        if "b" not in built.model:
            return Verification(Equivalence.EQUIVALENT)
        failing = [fold for fold in "beg" if fold in built.model]
        sites = tuple(Comparison(f"site {fold}", Stage.AT_SITE, False, folds=(fold,)) for fold in failing)
        return Verification(Equivalence.DIFFERENT, sites=sites, failing_folds=tuple(failing))

    assert prove_with_rollback(build, prove).undone == ("b",)


def test_strict_undoes_nothing() -> None:
    world = World({"c"}, OWN_SITES)
    settled = prove_with_rollback(world.build, world.prove, strict=True)
    assert settled.verification.verdict is Equivalence.DIFFERENT
    assert settled.undone == ()
    assert world.proofs == 1


def test_a_difference_that_no_fold_makes_stays_a_difference() -> None:
    different = Verification(Equivalence.DIFFERENT)
    settled = prove_with_rollback(lambda excluded: ProofCandidate(excluded, (), FOLDS), lambda built: different)
    assert settled.verification.verdict is Equivalence.DIFFERENT
    assert settled.undone == ()
    assert settled.notes == ("the candidate differs from the original even without any fold",)


def test_inconclusive_undoes_nothing() -> None:
    unclear = Verification(Equivalence.INCONCLUSIVE)
    settled = prove_with_rollback(lambda excluded: ProofCandidate(excluded, (), FOLDS), lambda built: unclear)
    assert settled.verification is unclear
    assert settled.undone == ()
