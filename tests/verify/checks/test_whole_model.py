"""Where ONNX Runtime itself changes a model at its default level, that is the runtime's fault and no fold's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import normfold
from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, ProofOptions, Site, Stage, prove
from normfold.verify.inputs.distributions import IN_TURN
from normfold.verify.inputs.generate import Feed
from normfold.verify.question import Question
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort
from tests.runtime_faults import skip_if_compiled_right
from tests.verify.nets import edited


def layer_norm(
    *, power: float = 2.0, eps: str = "Add(v, eps)", epsilon: float = 1e-5, div: str = "Div(d, s)", keep: bool = True
) -> str:
    """A Linear with its own scale, then a decomposed LayerNorm in one of many spellings."""
    axes = "axes=[-1]" if keep else "axes=[-1], keepdims=0"
    return f"""(float[8,8] x) => (float[8,8] y)
        <float[8,8] w, float[8] g, float[8] gamma, float[8] beta, float p = {{{power}}}, float eps = {{{epsilon}}}>
        {{ l = MatMul(x, w) h = Mul(l, g) m = ReduceMean<{axes}>(h) d = Sub(h, m) q = Pow(d, p)
           v = ReduceMean<{axes}>(q) e = {eps} s = Sqrt(e) n = {div} o = Mul(n, gamma) y = Add(o, beta) }}"""


# Each is miscompiled by the LayerNorm fusion of ONNX Runtime 1.31: it takes every one of them for the plain spelling.
# Version 1.32 gets the second right.
TRAPS = {
    "the exponent of Pow is 4": layer_norm(power=4.0),
    "epsilon 0.1 is added first": layer_norm(eps="Add(eps, v)", epsilon=0.1),
    "the deviation is divided by the value": layer_norm(div="Div(s, d)"),
    "keepdims=0 on a square": layer_norm(keep=False),
}


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS.keys())
def test_a_miscompilation_of_the_runtime_is_not_attributed_to_a_fold(text: str) -> None:
    original = parse(text)
    skip_if_compiled_right(original)
    folded = scale_folded(original)
    result = prove(original, folded, [Site("h", "scale")])
    assert result.verdict is Equivalence.EQUIVALENT
    [note] = result.notes
    assert "changes the result of the original itself (y) at level basic" in note
    assert "graph optimizations disabled" in note
    right = {c.stage for c in result.outputs if c.relative <= 1e-4}
    assert right == {Stage.UNOPTIMIZED}, "the reference and our model are right, the optimized run is not"


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS.keys())
def test_a_wrong_fold_is_found_next_to_a_miscompilation(text: str) -> None:
    original = parse(text)
    broken = edited(scale_folded(original), "w", lambda w: w * 1.001)
    assert prove(original, broken, [Site("h", "scale")]).failing_folds == ("scale",)


ROWS = """(float[8,6] x) => (float[2,4,4] y)
    <float[6,4] w, float[4] s, float[4] b, float[4] m, float[4] var, int64[3] rows = {2, 4, 4}>
    { a = MatMul(x, w) r = Reshape(a, rows) y = BatchNormalization(r, s, b, m, var) }"""
PADS = """(float[1,3,8,8] x) => (float[1,4,5,5] y) <float[4,3,1,1] w, float[4,1,1] g, int64[8] p = {0,0,1,1,0,0,1,1}>
    { c = Conv(x, w) h = Mul(c, g) n = Neg(h) q = Pad(n, p) y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(q) }"""
MORE = {"a norm of rows behind a Reshape of a MatMul": ROWS, "a maximum over padding": PADS}


@pytest.mark.parametrize("text", [*TRAPS.values(), *MORE.values()], ids=[*TRAPS, *MORE])
def test_a_model_is_itself_whatever_the_runtime_makes_of_it(text: str) -> None:
    model = parse(text)
    skip_if_compiled_right(model)
    result = normfold.verify(model, model)
    assert result
    [note] = result.notes
    assert "changes the result of the original itself (y) at level basic: its fault" in note
    assert {c.stage: c.relative > 0.01 for c in result.outputs} == {Stage.UNOPTIMIZED: False, Stage.DEFAULT: True}


@pytest.mark.parametrize("text", [*TRAPS.values(), PADS], ids=[*TRAPS, "a maximum over padding"])
def test_a_trap_is_folded_and_what_is_written_equals_the_reference(text: str) -> None:
    original = parse(text)
    result = normfold.optimize(original)
    assert result.changes
    assert result.verification
    feeds = feeds_of(original)
    assert_close(
        run_in_ort(result.model, feeds, ["y"]), run_in_ort(original, feeds, ["y"]), note="without optimizations"
    )
    wrong = [c for c in result.verification.outputs if c.stage == Stage.DEFAULT and c.relative > 0.01]
    said = [note for note in result.verification.notes if "at level basic: its fault, not a fold's" in note]
    assert bool(wrong) == bool(said)


def test_a_right_fold_that_leads_into_a_trap_is_undone_and_the_runtime_is_named() -> None:
    """MatMul, Mul, Reshape, BatchNormalization is right at every level; without the Mul the runtime gets it wrong."""
    skip_if_compiled_right(parse(ROWS))
    text = ROWS.replace("r = Reshape(a,", "h = Mul(a, g) r = Reshape(h,").replace(
        "float[4] s,", "float[4] g, float[4] s,"
    )
    result = normfold.optimize(parse(text))
    assert not result.changes
    [note] = result.notes
    assert (
        "h was undone by bisection over the folds, because with it ONNX Runtime's optimizations at its default" in note
    )
    with pytest.raises(normfold.NotProven) as caught:
        normfold.optimize(parse(text), strict=True)
    assert "wrong at ONNX Runtime's default level" in str(caught.value.result.verification)


def test_a_candidate_that_only_the_optimized_runtime_gets_wrong_is_different() -> None:
    """The original is right at every level; the candidate walks into the trap, so a user would get wrong numbers."""
    trap = parse(layer_norm(eps="Add(eps, v)", epsilon=0.1))
    skip_if_compiled_right(trap)
    same = parse(layer_norm(epsilon=0.1))
    assert prove(same, same)
    result = prove(same, trap)
    assert result.verdict is Equivalence.DIFFERENT
    assert {c.stage for c in result.failures} == {Stage.DEFAULT}
    assert "wrong at ONNX Runtime's default level" in str(result)


def scale_folded(original: onnx.ModelProto) -> onnx.ModelProto:
    """l = x@w, h = l*g becomes h = x@(w*g)."""
    arrays = {t.name: numpy_helper.to_array(t) for t in original.graph.initializer}
    folded = edited(original, "w", lambda w: w.astype(np.float64) * arrays["g"])
    nodes = [node for node in folded.graph.node if node.output[0] != "l"]
    nodes[0].CopyFrom(onnx.helper.make_node("MatMul", ["x", "w"], ["h"]))
    del folded.graph.node[:]
    folded.graph.node.extend(nodes)
    return folded


@pytest.mark.parametrize("seed", [12, 21])
def test_what_the_runtime_hits_by_chance_on_one_feed_is_its_fault_on_another(seed: int) -> None:
    """It multiplies in 8 bits at its default level; the few numbers of one feed may come out right by chance."""
    text = """(float[N,3,5] x) => (float[N,3,1] y)
        <float[5] b = {0.5,-1,2,1.5,-0.3}, int8[5,1] q = {127,-60,33,-128,90}, float s, float k = {1.5}, float[1] t>
        { w = DequantizeLinear(q, s) NODES }"""
    values = {"s": 0.01, "t": 0.0}
    raw = parse(text.replace("NODES", "a = Add(x, b) m = MatMul(a, w) y = Mul(m, k)"), values=values)
    shift = 0.015 * float(np.dot([0.5, -1, 2, 1.5, -0.3], [127, -60, 33, -128, 90]))
    values = {"s": 0.015, "t": shift}
    folded = parse(text.replace("NODES", "m = MatMul(x, w) y = Add(m, t)"), values=values)
    found = normfold.verify(raw, folded, seed=seed)
    assert found, found


def test_the_outputs_are_compared_without_optimizations_on_the_extreme_feeds_and_the_second() -> None:
    model = load(parse("(float[N,4] x) => (float[N,4] y) { y = Relu(x) }"))
    question = Question.of(model, model, ProofOptions())
    drawn = [Feed({}, "", distribution) for distribution in IN_TURN] * 2
    plain = [question.is_unoptimized_feed(*each) for each in enumerate(drawn)]
    assert plain == [False, True, True, False, False, False, True, True, False, False]
    assert question.is_unoptimized_feed(1, drawn[0]), "whatever is drawn for it"


def test_every_feed_counts_though_the_levels_take_turns() -> None:
    """Only the second feed, signed numbers at scales up to 10, leaves the bounds; the first is as a user runs it."""
    bounded = parse("(float[16,64] x) => (float[16,64] y) <float a = {-6.5}, float b = {6.5}> { y = Clip(x, a, b) }")
    free = parse("(float[16,64] x) => (float[16,64] y) { y = Identity(x) }")
    assert all(c.passed for c in prove(bounded, free, (), ProofOptions(feeds=1)).outputs)
    result = prove(bounded, free, (), ProofOptions(feeds=2))
    assert result.verdict is Equivalence.DIFFERENT
    assert {(c.stage, c.feed.split()[0], c.passed) for c in result.outputs} == {
        (Stage.DEFAULT, "normal", True),
        (Stage.UNOPTIMIZED, "scales", False),
    }


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
    assert verdict(broken, 1) is Equivalence.DIFFERENT, "all NaN, but the region is fed with values of its own"
