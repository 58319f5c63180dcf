"""What is compared for which feed, one feed ahead, and what a feed does not show."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from normfold.runtime.loaded_model import LoadedModel, load
from normfold.runtime.session import OptimizationLevel, Runner
from normfold.runtime.submodel import MADE
from normfold.verify import Equivalence, ProofOptions, Site, prove
from normfold.verify.checks import at_sites as evidence
from normfold.verify.checks import schedule as turns_module
from normfold.verify.checks.prefetch import prefetch
from normfold.verify.checks.schedule import Chunk, Schedule, decisive_inputs
from normfold.verify.checks.sign_flip import SIGN_FLIPPED
from normfold.verify.inputs.generate import Feed
from normfold.verify.sites.targets import targets_of
from normfold.verify.state import ProofState
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited

SITES = tuple(Site(f"bn{i}", f"norm{i}") for i in range(3))


# -- working ahead -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("room", "early"), [(0, 2), (3, 4), (100, 6)])
def test_items_are_made_ahead_as_far_as_they_fit(room: int, early: int) -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            if len(made) == early:
                enough.set()
            yield number

    found = prefetch(items(), lambda _: 1, room)
    assert next(found) == 0
    assert enough.wait(10), "nobody asked for the next ones, yet they are made"
    time.sleep(0.02)
    assert len(made) == early
    assert list(found) == [1, 2, 3, 4, 5]
    assert made == list(range(6))


def test_what_an_item_raises_is_raised_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    found = prefetch(items(), lambda _: 1, 10)
    assert next(found) == 1
    with pytest.raises(ValueError, match="the second"):
        next(found)


@pytest.mark.parametrize("room", [0, 100])
def test_closing_early_leaves_no_thread(room: int) -> None:
    before = set(threading.enumerate())
    found = prefetch(iter(range(10)), lambda _: 1, room)
    next(found)
    found.close()
    assert set(threading.enumerate()) <= before


# -- turns -------------------------------------------------------------------------------------------------------------
def turns(sites: tuple[Site, ...] = SITES) -> Schedule:
    raw, folded = conv_bn_pair()
    proof = ProofState(load(raw), load(folded), ProofOptions())
    return Schedule(proof, Chunk(tuple(targets_of(proof, sites))))


def feed(size: int, **switches: bool) -> Feed:
    flags = {name: np.array(flag) for name, flag in switches.items()}
    return Feed({"x": np.zeros((1, 3, size, size), np.float32), **flags}, "")


def test_sites_are_compared_once_for_a_size_and_in_turns_for_other_sizes() -> None:
    plan = turns()
    values_to_compare = [plan.values_to_compare(number, feed(size)) for number, size in enumerate((8, 8, 9, 9, 10))]
    assert values_to_compare == [
        ["bn0", "bn1", "bn2", "relu2"],
        ["relu2"],
        ["bn2", "relu2"],
        ["relu2"],
        ["bn1", "relu2"],
    ]


def test_all_sites_are_compared_for_each_way_to_throw_the_switches() -> None:
    plan = turns()
    flags = ((True, True), (False, True), (True, True), (False, False))
    values_to_compare = [plan.values_to_compare(number, feed(8, p=p, q=q)) for number, (p, q) in enumerate(flags)]
    assert [len(names) for names in values_to_compare] == [4, 4, 1, 4]


def test_a_whole_number_is_a_switch_where_something_is_decided_by_it() -> None:
    text = """(float[4] x, int64 step, int64 n, int64 branch) => (float[4] y) <int64 one = {1}> {
        s = Cast<to=1>(step)  a = Mul(x, s)  m = Cast<to=1>(n)  b = Mul(a, m)  c = Equal(branch, one)
        y = If(c) <then_branch = t () => (float[4] p) { p = Neg(b) }, else_branch = e () => (float[4] q) { q = Abs(b) }>
    }"""
    assert decisive_inputs(load(parse(text))) == {"branch"}


def test_sites_with_few_numbers_in_a_channel_are_compared_for_every_feed() -> None:
    plan = turns()
    shapes = {"bn0": (1, 8), "bn1": (2, 8, 3, 3), "bn2": (1, 3, 16)}
    plan.adapt_to({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert [plan.values_to_compare(number, feed(8)) for number in range(3)] == [
        ["bn0", "bn1", "bn2", "relu2"],
        ["bn0", "bn2", "relu2"],
        ["bn0", "bn2", "relu2"],
    ]


def test_what_the_first_feed_hides_in_a_small_model_is_seen_by_another() -> None:
    """The first batch is 1, and the Relu takes the channel whose weight is wrong."""
    raw = parse(
        """(float16[N,6] x) => (float16[N,3] y) <float16[6,3] w, float16[3] g, float16[3] b>
        { a = MatMul(x, w) r = Relu(a) m = Mul(r, g) y = Add(m, b) }"""
    )

    def off(g: np.ndarray, channel: int) -> np.ndarray:
        g[channel] *= 1.3
        return g

    for channel in range(3):
        broken = edited(raw, "g", lambda g, channel=channel: off(g, channel))
        assert not prove(raw, broken, [Site("m", "fold")]), channel


TWO_FLAGS = """(float[2,3] x, bool p, bool q) => (float[2,3] y) <float one = {1.0}, float k = {@}>
    { n = Not(NEGATED) c = And(OTHER, n) f = Where(c, k, one) y = Mul(x, f) }"""


@pytest.mark.parametrize("sites", [(), (Site("y", "fold"),)])
@pytest.mark.parametrize(("negated", "other"), ["pq", "qp"])
def test_switches_are_thrown_in_every_way(sites: tuple[Site, ...], negated: str, other: str) -> None:
    text = TWO_FLAGS.replace("NEGATED", negated).replace("OTHER", other)
    assert not prove(parse(text.replace("@", "2.0")), parse(text.replace("@", "3.0")), sites)


def test_only_the_values_between_which_the_candidate_runs_are_needed() -> None:
    plan = turns()
    assert plan.needed(0, feed(8)) == ["bn0", "bn1", "bn2", "relu2"]
    assert plan.needed(1, feed(8)) == ["bn2", "relu2"], "the last Relu is fed with what is before it"


def test_without_sites_the_outputs_are_compared_on_the_wild_feeds() -> None:
    plan = turns(())
    assert [plan.values_to_compare(number, feed(8)) for number in range(5)] == [[], ["relu2"], ["relu2"], [], []]


# -- what a feed does not show -----------------------------------------------------------------------------------------
BEHIND_ZEROS = """(float[1,3,8,8] x) => (float[1,4,6,6] y)
    <float[8,3,3,3] w0, float[8] below = {-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4}, float[4,8,1,1] w1>
    { a = Conv(x, w0, below) r = Relu(a) y = Conv(r, w1) }"""


@pytest.mark.parametrize("kind", ["Relu", "HardSigmoid", "HardSwish", "ThresholdedRelu", "Sigmoid"])
def test_a_fault_in_weights_that_only_get_zeros_is_found(kind: str) -> None:
    raw = parse(BEHIND_ZEROS.replace("Relu", kind))
    broken = edited(raw, "w1", lambda w: w * 1.001)
    result = prove(raw, broken, [Site("a", "first"), Site("y", "second")])
    assert result.verdict is Equivalence.DIFFERENT
    assert result.failing_folds == ("second",)
    assert SIGN_FLIPPED in result.failures[0].feed
    assert prove(raw, raw, [Site("a", "first"), Site("y", "second")])


def test_a_slope_that_no_value_meets_is_compared() -> None:
    raw = parse(
        """(float[1,3,8,8] x) => (float[1,2,8,8] y) <float[2,3,1,1] w, float[2] above = {5e4, 0}, float[2,1,1] slope>
        { a = Conv(x, w, above) y = PRelu(a, slope) }"""
    )
    sites = [Site("a", "first"), Site("y", "second")]
    assert prove(raw, raw, sites)
    assert prove(raw, edited(raw, "slope", lambda w: w * [[[1.01]], [[1]]]), sites).failing_folds == ("second",)


ALIASED = {
    "twice": ("a = Conv(x, w0, below) b = Identity(a) r = Relu(a) s = Relu(b)", "s"),
    "once": ("a = Conv(x, w0, below) b = Identity(a) r = Relu(a)", "r"),
    "of the other": ("b = Conv(x, w0, below) r = Relu(b)", "r"),
}


@pytest.mark.parametrize("one", ALIASED)
@pytest.mark.parametrize("other", ALIASED)
def test_a_value_with_two_names_is_no_fault(one: str, other: str) -> None:
    """One model makes the rest from one of its names, which gets other signs, and the other from another."""
    text = """(float[1,3,8,8] x) => (float[1,4,6,6] y, float[1,8,6,6] r, float[1,8,6,6] b)
        <float[8,3,3,3] w0, float[8] below = {-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4,-5e4}, float[4,8,1,1] w1>
        { NODES y = Conv(READ, w1) }"""
    raw, same = (parse(text.replace("NODES", ALIASED[k][0]).replace("READ", ALIASED[k][1])) for k in (one, other))
    assert prove(raw, same, [Site("a", "first"), Site("r", "second"), Site("y", "third")])


def test_a_channel_of_a_sequence_that_only_gets_zeros_is_found() -> None:
    raw = parse(
        """(float[1,16,3] x) => (float[1,16,5] y) <float[3,4] w0, float[4] below = {0,0,-5e4,0}, float[4,5] w1>
        { m = MatMul(x, w0) a = Add(m, below) r = Relu(a) y = MatMul(r, w1) }"""
    )

    def off(w: np.ndarray) -> np.ndarray:
        w[2] *= 1.01
        return w

    result = prove(raw, edited(raw, "w1", off), [Site("a", "first"), Site("y", "second")])
    assert result.failing_folds == ("second",)


SIZE_MATTERS = """(float[1,3,N] x) => (float[1,3,N] y) <float none = {0.0}, float c = {2.0}, float more = {@}>
    { s = Mul(x, c) n = Shape(s) i = Cast<to=1>(n) big = ReduceMax<keepdims=0>(i) f = Pow(big, more)
      t = Mul(s, f) y = Mul(t, none) }"""


def test_a_fold_that_is_wrong_for_another_size_only_is_found_at_its_site() -> None:
    """The first size, 6, is made good again by a constant; the output shows nothing."""
    right = parse(SIZE_MATTERS.replace("@", "0.0"))
    wrong = parse(SIZE_MATTERS.replace("@", "0.001").replace("c = {2.0}", f"c = {{{2.0 / 6**0.001}}}"))
    only_t = [Site("t", "fold")]
    assert prove(right, right, only_t)
    result = prove(right, wrong, only_t)
    assert result.verdict is Equivalence.DIFFERENT
    assert result.failing_folds == ("fold",)
    assert prove(right, wrong, only_t, ProofOptions(feeds=1)), "the first size shows nothing"


def test_a_site_of_which_the_first_feed_tells_nothing_is_compared_on_the_next(tmp_path: Path) -> None:
    raw = parse(
        """(float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] w, float none = {0.0}>
        { r = Sqrt(x) a = Conv(r, w) y = Mul(a, none) }"""
    )
    rng = np.random.default_rng(0)
    files = [str(tmp_path / f"{sign}.npz") for sign in ("minus", "plus")]
    for path, sign in zip(files, (-1, 1), strict=True):
        np.savez(path, x=(sign * rng.uniform(1, 2, (1, 3, 8, 8))).astype(np.float32))

    def verdict(candidate: onnx.ModelProto, count: int) -> Equivalence:
        return prove(raw, candidate, [Site("a", "fold")], ProofOptions(inputs=tuple(files[:count]))).verdict

    broken = edited(raw, "w", lambda w: w * 1.001)
    assert verdict(raw, 2) is Equivalence.EQUIVALENT
    assert verdict(broken, 2) is Equivalence.DIFFERENT
    assert verdict(broken, 1) is Equivalence.INCONCLUSIVE, "all NaN"


@pytest.mark.parametrize("wrong_fold", range(3))
def test_values_too_large_to_be_held_together_are_compared_in_groups(
    wrong_fold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "GROUP_BYTES", 1)
    raw, folded = conv_bn_pair()
    opened: list[list[str]] = []
    plain = ProofState.open

    def counted(self: ProofState, loaded: LoadedModel, *level: OptimizationLevel) -> Runner:
        opened.append([value.name for value in loaded.graph.output])
        return plain(self, loaded, *level)

    monkeypatch.setattr(ProofState, "open", counted)
    assert len(prove(raw, folded, SITES).sites) == 3
    assert {(f"bn0{MADE}",), (f"bn1{MADE}",), (f"bn2{MADE}",)} <= set(map(tuple, opened))
    result = prove(raw, edited(folded, f"w{wrong_fold}", lambda w: w * 1.001), SITES)
    assert result.failing_folds == (f"norm{wrong_fold}",)


@pytest.mark.parametrize(("limit", "sessions"), [(turns_module.LIGHT_BYTES, 3), (0, 4)])
def test_small_values_cost_no_sessions_of_their_own(limit: int, sessions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original, the candidate in pieces and as a user runs it; else once more for the piece before the output."""
    monkeypatch.setattr(turns_module, "LIGHT_BYTES", limit)
    raw, folded = conv_bn_pair()
    opened: list[OptimizationLevel] = []
    plain = ProofState.open

    def counted(
        self: ProofState, loaded: LoadedModel, level: OptimizationLevel = OptimizationLevel.DISABLE_ALL
    ) -> Runner:
        opened.append(level)
        return plain(self, loaded, level)

    monkeypatch.setattr(ProofState, "open", counted)
    assert prove(raw, folded, SITES, ProofOptions(input_specs=("x=1x3x12x12",)))
    assert len(opened) == sessions
