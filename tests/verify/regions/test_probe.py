"""Faults that only some inputs show are found, and models that compute the same are not called different."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import numpy as np
import pytest
from onnx import helper, numpy_helper

from normfold import optimize
from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, ProofOptions, Site, Verification, prove, verify
from normfold.verify.question import Question
from normfold.verify.regions import probe
from normfold.verify.regions.critical_values import critical_values
from tests.onnx_text import parse
from tests.runtime_faults import skip_if_casts_are_joined, skip_if_not_provable
from tests.sweeps.data_faults.in_folds import FAULTS
from tests.sweeps.data_faults.in_pairs import PAIRS
from tests.sweeps.data_faults.trio import Trio, model
from tests.sweeps.wrong_pairs import PAIRS as PAIRS_OF_EACH_KIND
from tests.sweeps.wrong_pairs import read
from tests.verify.nets import edited

Make = Callable[[np.random.Generator], Trio]


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_a_fold_that_only_some_inputs_show_is_found_and_named(make: Make) -> None:
    trio = make(np.random.default_rng(7))
    sites = [Site(trio.site, "fold")]
    assert prove(trio.original, trio.right, sites)
    assert prove(trio.original, trio.wrong, sites).failing_folds == ("fold",)


@pytest.mark.parametrize("make", PAIRS, ids=lambda make: make.__name__)
def test_files_that_only_some_inputs_tell_apart_are_different(make: Make) -> None:
    trio = make(np.random.default_rng(7))
    assert verify(trio.original, trio.right)
    assert verify(trio.original, trio.wrong).verdict is Equivalence.DIFFERENT


@pytest.mark.parametrize("name", PAIRS_OF_EACH_KIND)
def test_a_pair_of_each_kind_differs_and_an_equal_spelling_does_not(name: str) -> None:
    trio = read(name)
    if name == "yes for small numbers":
        skip_if_casts_are_joined()
    skip_if_not_provable(trio.original, trio.right)
    assert verify(trio.original, trio.right)
    assert verify(trio.original, trio.wrong).verdict is Equivalence.DIFFERENT


def compared(first: str, second: str) -> Verification:
    return verify(model(first), model(second))


def test_an_epsilon_is_not_asked_about_by_values_that_drown_in_the_bias_before_them() -> None:
    text = """(float[N,3,8,8] x) => (float[N,4,8,8] y)
        <float[4,3,1,1] w, float[4] b = {30.1,-20.3,7.7,11.9}, float[1,4,1,1] k = {0.3,1.7,-2.1,0.9},
        float[4] s, float[4] o>
        { c = Conv(x, w, b) h = Mul(c, k) y = InstanceNormalization<epsilon=1e-06>(h, s, o) }"""
    result = optimize(parse(text))
    assert result.changes
    assert result.verification


def test_an_epsilon_without_limit_is_none() -> None:
    """The text of a model has no infinity."""
    text = "(float[N,3,8,8] x) => (float[N,3,8,8] y) <float[3] s, float[3] o> { y = InstanceNormalization(x, s, o) }"
    raw = parse(text)
    raw.graph.node[0].attribute.append(helper.make_attribute("epsilon", float("inf")))
    assert not critical_values(load(raw)).floors


def test_what_a_relu_never_gives_is_not_fed_behind_it() -> None:
    first = "(float[N,4] x) => (float[N,4] y) { r = Relu(x) a = Abs(r) y = Neg(a) }"
    assert compared(first, "(float[N,4] x) => (float[N,4] y) { r = Relu(x) y = Neg(r) }")


def test_a_size_that_is_fixed_is_no_other_in_a_region() -> None:
    first = "(float[1,4,20,20] x) => (float[1,4,1,1] y) { r = Relu(x) y = GlobalAveragePool(r) }"
    second = "(float[1,4,20,20] x) => (float[1,4,1,1] y) { r = Relu(x) y = AveragePool<kernel_shape=[20,20]>(r) }"
    assert compared(first, second)


def test_regions_that_are_equal_but_for_names_are_fed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = Mock(wraps=probe._compared)
    monkeypatch.setattr(probe, "_compared", compared)
    parts = [f"a{n} = Sub(x{n}, one) b{n} = Min(a{n}, limit) x{n + 1} = Relu(b{n})" for n in range(5)]
    head = (
        "(float[N,4] x) => (float[N,4] y) <float one = {1}, float minus = {-1}, float limit = {8e4}, float no = {9e4}>"
    )
    text = f"{head} {{ x0 = Relu(x) {' '.join(parts)} y = Neg(x5) }}"
    assert verify(model(text), model(text.replace("Sub", "Add").replace("one)", "minus)")))
    assert compared.call_count == 1
    found = verify(model(text), model(text.replace("a1, limit", "a1, no").replace("a3, limit", "a3, no")))
    assert [each.value for each in found.sites] == ["b1", "b3"]


@pytest.mark.parametrize("limit", ["SLOW_SECONDS", "ALL_SECONDS"])
def test_regions_that_take_long_get_fewer_feeds_and_the_proof_says_so(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = "(float[N,4] x) => (float[N,4] y) { r = Relu(x) a = Abs(r) y = Neg(a) }"
    second = "(float[N,4] x) => (float[N,4] y) { r = Relu(x) y = Neg(r) }"
    assert probe.FEW_FEEDS not in compared(first, second).notes
    monkeypatch.setattr(probe, limit, 0)
    proof = compared(first, second)
    assert proof
    assert probe.FEW_FEEDS in proof.notes
    assert not compared(first, second.replace("Neg(r)", "Sigmoid(r)"))


def test_a_name_that_another_tool_moved_is_part_of_a_larger_region() -> None:
    first = "(float[N,4] x) => (float[N,4] y) <float two = {2.0}> { a = Mul(x, two) b = Add(a, two) y = Relu(b) }"
    second = "(float[N,4] x) => (float[N,4] y) <float two = {2.0}> { c = Mul(x, two) a = Add(c, two) y = Relu(a) }"
    assert compared(first, second)
    assert not compared(first, second.replace("Relu", "Abs"))


@pytest.mark.parametrize(
    "body",
    [
        "<float z = {0}, float m = {70}> { y = Clip(x, z, m) }",
        "<float z = {70}, float m = {200}> { y = Clip(x, z, m) }",
        "<float z = {0}, float m = {70}> { c = Max(x, z) y = Min(c, m) }",
    ],
)
def test_each_limit_of_a_value_has_feeds_of_its_own(body: str) -> None:
    """The second limit was taken for a tie: the feeds that should show it again were those of the first one."""
    text = "(float[4,8] x) => (float[4,8] y) " + body
    assert compared(text, text)
    assert compared(text, text.replace("70", "60")).verdict is Equivalence.DIFFERENT


@pytest.mark.parametrize("name", ["threshold behind an affine", "last row of a table", "clip of an exponential"])
def test_a_tolerance_of_the_user_does_not_keep_the_regions_unfed(name: str) -> None:
    trio = read(name)
    assert verify(trio.original, trio.right, rtol=1e-3)
    assert verify(trio.original, trio.wrong, rtol=1e-3).verdict is Equivalence.DIFFERENT


def test_a_tolerance_of_the_user_counts_between_the_cuts_as_a_share_of_an_output() -> None:
    text = """(float[N,4] x) => (float[N,4] y) <float s = {0.01}, float[4,4] w>
        { h = MatMul(x, w) r = Relu(h) y = Mul(r, s) }"""
    first, second = parse(text), parse(text)
    array = numpy_helper.to_array(second.graph.initializer[-1]) * np.float32(1.001)
    second.graph.initializer[-1].CopyFrom(numpy_helper.from_array(array, second.graph.initializer[-1].name))
    assert not verify(first, second)
    assert not verify(first, second, rtol=1e-5)
    assert verify(first, second, rtol=2e-3)
    assert verify(first, second, atol=1e-3)


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


def test_a_region_that_was_fed_before_is_not_fed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are left out one after another, and most regions stay as they were."""
    text = "(float[N,4] x) => (float[N,4] y) { a = Mul(x, w) b = Relu(a) y = Add(b, v) }"
    weights = {"w": np.ones(4, np.float32), "v": np.full(4, 2, np.float32)}
    one, other = (load(model(each, **weights)) for each in (text, text.replace("Add(b, v)", "Sub(b, v)")))
    question = Question.of(one, other, ProofOptions())
    feed, _ = next(question.feeder.proposals(0))
    known: probe.Known = {}
    first = list(probe.compared_regions(question, feed, probe.regions_of(question), known))
    monkeypatch.setattr(Question, "open", None)
    assert [each.value for each in first if not each.passed] == ["y"]
    assert list(probe.compared_regions(question, feed, probe.regions_of(question), known)) == first
