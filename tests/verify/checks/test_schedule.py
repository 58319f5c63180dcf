"""What is compared for which feed, one feed ahead, and what a feed does not show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, ProofOptions, Site, Stage, prove
from normfold.verify.checks.schedule import Chunk, Schedule, decisive_inputs
from normfold.verify.inputs.distributions import IN_TURN
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import Question
from normfold.verify.sites.targets import with_targets
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited

SITES = tuple(Site(f"bn{i}", f"norm{i}") for i in range(3))


# -- turns -------------------------------------------------------------------------------------------------------------
def turns(sites: tuple[Site, ...] = SITES) -> Schedule:
    raw, folded = conv_bn_pair()
    question, targets = with_targets(Question.of(load(raw), load(folded), ProofOptions()), sites)
    return Schedule(question, Chunk(tuple(targets)))


def feed(size: int, **switches: bool) -> Feed:
    flags = {name: np.array(flag) for name, flag in switches.items()}
    return Feed({"x": np.zeros((1, 3, size, size), np.float32), **flags}, "")


def test_sites_are_compared_once_and_outputs_for_every_feed() -> None:
    plan = turns()
    values_to_compare = [plan.values_to_compare(number, feed(size)) for number, size in enumerate((8, 8, 9))]
    assert values_to_compare == [["bn0", "bn1", "bn2", "relu2"], ["relu2"], ["relu2"]]


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


def test_without_sites_the_outputs_are_compared_on_the_extreme_feeds_and_the_second() -> None:
    plan = turns(())
    drawn = [replace(feed(8), distribution=distribution) for distribution in IN_TURN]
    compared = ["relu2"]
    assert [plan.values_to_compare(*each) for each in enumerate(drawn)] == [[], compared, compared, [], []]
    later = [plan.values_to_compare(5 + number, each) for number, each in enumerate(drawn)]
    assert later == [[], compared, compared, [], []], "the sixth feed is an ordinary one again"
    assert plan.values_to_compare(1, drawn[0]) == compared, "whatever is drawn for it"


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


def test_without_sites_every_feed_counts_though_the_levels_take_turns() -> None:
    """Only the second feed, signed numbers at scales up to 10, leaves the bounds; the first is as a user runs it."""
    bounded = parse("(float[16,64] x) => (float[16,64] y) <float a = {-6.5}, float b = {6.5}> { y = Clip(x, a, b) }")
    free = parse("(float[16,64] x) => (float[16,64] y) { y = Identity(x) }")
    assert prove(bounded, free, (), ProofOptions(feeds=1))
    result = prove(bounded, free, (), ProofOptions(feeds=2))
    assert result.verdict is Equivalence.DIFFERENT
    assert {(c.stage, c.feed.split()[0], c.passed) for c in result.outputs} == {
        (Stage.DEFAULT, "normal", True),
        (Stage.UNOPTIMIZED, "scales", False),
    }


def test_only_the_values_between_which_the_candidate_runs_are_needed() -> None:
    plan = turns()
    assert plan.needed(0, feed(8)) == ["bn0", "bn1", "bn2", "relu2"]
    assert plan.needed(1, feed(8)) == ["bn2", "relu2"], "the last Relu is fed with what is before it"
