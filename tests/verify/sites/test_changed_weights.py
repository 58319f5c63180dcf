"""Two models that differ in weights alone are compared at each operator that reads a changed one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import normfold
from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, prove
from normfold.verify.sites.changed_weights import changed_weight_sites
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited
from tests.verify.sites.nets import TABLE

# What the first operators make is lost in the noise of what comes behind.
FADES = """(float[1,3,8,8] x) => (float[1,4,6,6] y)
    <float[4,3,3,3] w, float[4] b, float none = {1e-3}, float[4,4,1,1] v>
    { c = Conv(x, w, b) d = Mul(c, none) e = Cos(d) y = Conv(e, v) }"""


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    for index, node in enumerate(model.graph.node):
        node.name = f"node{index}"
    return model


def off(w: np.ndarray) -> np.ndarray:
    w[2] *= 1.001
    return w


def test_a_fault_that_no_output_shows_is_found_and_attributed_to_the_operator() -> None:
    raw = named(parse(FADES))
    broken = edited(raw, "w", off)
    found = normfold.verify(raw, broken)
    assert found.verdict is Equivalence.DIFFERENT
    assert found.failing_folds == ("node0",)
    assert not normfold.verify(raw, broken, rtol=1e-3, atol=1e-6).sites, "the tolerance of a user is one for outputs"
    assert normfold.verify(raw, broken, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [4, 64])
def test_weights_in_files_and_in_memory_are_compared(size: int, tmp_path: Path) -> None:
    text = FADES.replace("[4,3,3,3]", f"[{size},3,3,3]").replace("[4]", f"[{size}]").replace("[4,4", f"[4,{size}")
    raw = named(parse(text))
    onnx.save(raw, tmp_path / "raw.onnx")
    onnx.save(edited(raw, "w", off), tmp_path / "one.onnx")
    for one in (raw, tmp_path / "raw.onnx"):
        sites = changed_weight_sites(load(one), load(tmp_path / "one.onnx"))
        assert [(site.value, site.fold) for site in sites] == [("c", "node0")]
        assert not changed_weight_sites(load(one), load(tmp_path / "raw.onnx"))


def test_a_changed_constant_is_seen_where_it_is_read() -> None:
    text = "(float[2,3] x) => (float[2,3] y) { k = Constant<value_float=@>() a = Mul(x, k) y = Relu(a) }"
    one, other = (parse(text.replace("@", number)) for number in ("1.5", "1.501"))
    assert [site.value for site in changed_weight_sites(load(one), load(other))] == ["a"]


def test_a_rounding_of_weights_is_no_fault() -> None:
    _, folded = conv_bn_pair()
    rounded = edited(folded, "w1", lambda w: np.nextafter(w, np.inf, dtype=np.float32))
    found = normfold.verify(folded, rounded)
    assert found
    assert [site.value for site in found.sites] == ["bn1"]


@pytest.mark.parametrize(
    "other",
    [
        "(float[2,3] x) => (float[2,3] y) <float[3] w = {1,2,4}> { a = Add(x, w) y = Relu(a) }",
        "(float[2,3] x) => (float[2,3] y) <float[3] w = {1,2,4}> { a = Mul(x, w) y = Sigmoid(a) }",
        "(float[2,3] x) => (float[2,3] y) <float[1] w = {4}> { a = Mul(x, w) y = Relu(a) }",
        "(float[2,3] x) => (float[2,3] y) <float[3] w = {1,2,4}> { b = Mul(x, w) y = Relu(b) }",
    ],
)
def test_models_of_another_structure_are_not_compared_by_weight(other: str) -> None:
    text = "(float[2,3] x) => (float[2,3] y) <float[3] w = {1,2,3}> { a = Mul(x, w) y = Relu(a) }"
    assert not changed_weight_sites(load(parse(text)), load(parse(other)))


EQUALIZED = """(float[1,3,8,8] x) => (float[1,4,6,6] y)
    <float[5,3,3,3] w, float[5] b, float[4,5,1,1] v> { a = Conv(x, w, b) r = Relu(a) y = Conv(r, v) }"""
FACTOR = np.array([2.3, 0.1, 1, 7, 0.6], np.float32)
ORDER = [3, 1, 0, 4, 2]


@pytest.mark.parametrize(
    "change",
    [
        {
            "w": lambda w: w * FACTOR[:, None, None, None],
            "b": lambda b: b * FACTOR,
            "v": lambda v: v / FACTOR[:, None, None],
        },
        {"w": lambda w: w[ORDER], "b": lambda b: b[ORDER], "v": lambda v: v[:, ORDER]},
    ],
    ids=["other scales", "another order"],
)
def test_channels_that_are_balanced_between_two_operators_are_no_fault(
    change: dict[str, Callable[[np.ndarray], np.ndarray]],
) -> None:
    raw = balanced = parse(EQUALIZED)
    for name, of in change.items():
        balanced = edited(balanced, name, of)
    found = normfold.verify(raw, balanced)
    assert found
    [note] = found.notes
    assert note.startswith("not compared: a, because the name means another value")
    broken = edited(balanced, "v", lambda v: v * np.float32(1.001))
    assert normfold.verify(raw, broken).verdict is Equivalence.DIFFERENT


def test_a_scale_that_leaves_the_largest_entry_alone_is_read() -> None:
    """Softmax is saturated, and stays so whatever positive number its input is multiplied by."""
    raw = parse("(float[4,8] x) => (float[4,8] y) <float[1] k = {1e4}> { m = Mul(x, k) y = Softmax(m) }")
    broken = edited(raw, "k", lambda k: k * np.float32(1.001))
    assert prove(raw, broken, ())
    assert normfold.verify(raw, broken).verdict is Equivalence.DIFFERENT


def test_a_row_that_no_feed_looks_up_is_compared() -> None:
    raw = named(parse(TABLE))

    def off(t: np.ndarray, row: int) -> np.ndarray:
        t[row] *= 1.001
        return t

    for row in (0, 123, 499):
        found = normfold.verify(raw, edited(raw, "t", lambda t, row=row: off(t, row)))
        assert found.failing_folds == ("node0",), row
    assert normfold.verify(raw, edited(raw, "t", lambda t: np.nextafter(t, np.inf, dtype=np.float32)))


def test_a_row_is_compared_though_something_else_was_folded() -> None:
    raw = parse(
        """(int64[1,8] i) => (float[1,8,4] y) <float[500,16] t, float[16,4] v, float[4] g>
        { a = Gather(t, i) m = MatMul(a, v) y = Mul(m, g) }"""
    )
    folded = normfold.optimize(raw).model
    assert normfold.verify(raw, folded)

    def off(t: np.ndarray) -> np.ndarray:
        t[321] *= 1.001
        return t

    assert normfold.verify(raw, edited(folded, "t", off)).failing_folds == ("Gather of a",)


def test_a_weight_that_was_changed_next_to_a_fold_is_compared() -> None:
    """The first operator is no site of a fold, and what it makes is saturated behind it."""
    raw = parse(
        """(float[1,3,8,8] x) => (float[1,4,6,6] y) <float[4,3,3,3] w, float[4] b, float[4,4,1,1] v, float[4,1,1] k>
        { c = Conv(x, w, b) e = Tanh(c) f = Conv(e, v) y = Mul(f, k) }"""
    )
    raw = named(edited(raw, "w", lambda w: w * np.float32(1e5)))
    folded = normfold.optimize(raw).model
    assert len(folded.graph.node) == 3
    assert [c.value for c in normfold.verify(raw, folded).sites] == ["y"]
    assert normfold.verify(raw, edited(folded, "w", off)).failing_folds == ("node0",)


def test_a_table_that_took_a_factor_over_is_another_one() -> None:
    text = "(int64[1,8] i) => (float[1,8,16] y) <float[500,16] t, float c = {4}> { NODES }"
    raw = parse(text.replace("NODES", "a = Gather(t, i) m = Mul(a, c) y = Relu(m)"))
    scaled = edited(parse(text.replace("NODES", "a = Gather(t, i) y = Relu(a)")), "t", lambda t: t * 4)
    assert normfold.verify(raw, scaled)


@pytest.mark.parametrize("name", ["s", "s_constant"])
def test_a_weight_that_normfold_made_new_is_compared_where_it_is_read(name: str) -> None:
    """What the Softmax gets is saturated, and the constant stands behind no fold of its own."""
    text = "(float[4,8] x) => (float[4,8] y) <float[8,8] w, float[8] k> { NODES y = Softmax(m) }"
    raw = edited(parse(text.replace("NODES", "s = Mul(w, k) m = MatMul(x, s)")), "w", lambda w: w * np.float32(1e6))
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in raw.graph.initializer}
    folded = parse(text.replace("[8,8] w", f"[8,8] {name}").replace("NODES", f"m = MatMul(x, {name})"))
    folded = edited(folded, name, lambda _: weights["w"] * weights["k"])
    assert [site.value for site in changed_weight_sites(load(raw), load(folded), is_written=True)] == ["m"]
    assert not changed_weight_sites(load(raw), load(folded))
