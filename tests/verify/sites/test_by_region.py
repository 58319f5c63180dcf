"""A name that means another value in the second model is no fault, and a fault next to it is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import normfold
from normfold.verify import Equivalence, ProofOptions, Site, prove
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited
from tests.verify.sites.nets import ALL, TABLE, off_by_a_hair, telling, weight, weight_of

STRANGE = {
    "unknown": ('[["nowhere","ghost"],["bn0","bn0","no/such.body"]]', []),
    "gone": (json.dumps([["conv0", f"fold {i}"] for i in range(100_000)]), ["bn0"]),
    "an input and an output": ('[["x","a"],["relu2","b"]]', []),
    "for a terminal": (json.dumps([["bn1", "\x1b[31mred\n"], ["\x1b]0;\x07", "x"]]), ["bn1"]),
}


@pytest.mark.parametrize(("text", "sites"), STRANGE.values(), ids=STRANGE.keys())
def test_names_that_fit_nothing_are_passed_over(
    pair: tuple[onnx.ModelProto, onnx.ModelProto], text: str, sites: list[str]
) -> None:
    raw, folded = pair
    found = normfold.verify(raw, telling(folded, text))
    assert found
    assert not found.notes
    assert [c.value for c in found.sites] == sites
    wrong = normfold.verify(raw, telling(edited(folded, weight(folded, 1), lambda w: w * 1.01), text))
    assert not wrong
    assert str(wrong).isprintable() or "\x1b" not in str(wrong)


def test_a_name_that_another_tool_gave_to_another_value_is_passed_over(
    pair: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    """The names of the first value and of all that follow were moved on by one operator, as a merger does it."""
    raw, folded = pair
    moved = renamed(folded, {"bn0": "conv0"})
    claims = json.dumps([["conv0", "first"], *ALL[1:]])
    found = normfold.verify(raw, telling(moved, claims))
    assert found, found
    assert [c.value for c in found.sites] == ["bn1", "bn2"]
    [note] = found.notes
    assert note.startswith("not compared: conv0, because the name means another value")


@pytest.mark.parametrize("wrong_fold", [1, 2])
def test_a_fault_next_to_such_a_name_is_found_and_named(
    pair: tuple[onnx.ModelProto, onnx.ModelProto], wrong_fold: int
) -> None:
    raw, folded = pair
    claims = json.dumps([["conv0", "first"], *ALL[1:]])
    small = renamed(edited(folded, weight(folded, wrong_fold), off_by_a_hair), {"bn0": "conv0"})
    assert normfold.verify(raw, telling(small, claims)).failing_folds == (f"bn{wrong_fold}",)
    large = renamed(edited(folded, weight(folded, wrong_fold), lambda w: w * 1.01), {"bn0": "conv0"})
    assert f"bn{wrong_fold}" in normfold.verify(raw, telling(large, claims)).failing_folds


def test_a_fault_under_such_a_name_is_found_by_the_outputs(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    raw, folded = pair
    moved = renamed(edited(folded, weight(folded, 0), lambda w: w * 1.001), {"bn0": "conv0"})
    assert not normfold.verify(raw, telling(moved, json.dumps([["conv0", "first"], *ALL[1:]])))


def test_names_that_were_all_given_again_are_all_passed_over(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    raw, folded = pair
    moved = renamed(folded, {"bn0": "relu0", "relu0": "bn1", "bn1": "relu1", "relu1": "bn2", "bn2": "bn0"})
    assert normfold.verify(raw, moved), normfold.verify(raw, moved)
    assert not normfold.verify(raw, edited(moved, weight_of(moved, "relu1"), lambda w: w * 1.01))


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    """A copy whose values have other names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del copy.graph.value_info[:]
    return copy


def test_two_faults_in_a_row_are_no_change_of_names(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    """What is fed with the first faulty value is wrong too, but for a reason of its own."""
    raw, folded = pair
    faulty = edited(edited(folded, weight(folded, 0), off_by_a_hair), weight(folded, 1), off_by_a_hair)
    assert normfold.verify(raw, faulty).failing_folds == ("bn0", "bn1")
    assert (
        normfold.verify(
            raw,
            faulty,
        ).verdict
        is Equivalence.DIFFERENT
    )
    assert prove(raw, faulty, None, ProofOptions(seed=3)).failing_folds == ("bn0", "bn1")


def test_a_fault_that_reaches_two_sites_is_no_change_of_names() -> None:
    """What is fed with the first faulty value is wrong too, because the fault reaches it past that value as well."""
    text = """(float[N,4,8,8] x) => (float[N,4,8,8] y) <float[4,4,1,1] w, float[4,4,1,1] v, float[4,4,1,1] u> {
        a = Conv(x, w)  b = Conv(a, v)  c = Conv(b, u)  d = Add(a, c)  y = Relu(d)
    }"""
    raw, folded = parse(text), parse(text.replace("a = ", "e = ").replace("(a", "(e"))
    for error in (1e-5, 1e-4, 1e-2):
        faulty = telling(edited(folded, "w", lambda w, e=error: w * np.float32(1 + e)), '[["b","one"],["d","two"]]')
        found = normfold.verify(raw, faulty)
        assert found.failing_folds == ("one", "two"), error
        assert not found.notes


def test_what_an_error_hides_behind_a_wider_tolerance_is_no_change_of_names() -> None:
    """Fed with the original's ``b`` the second site shows the fault; without it three quarters cancel out."""
    text = """(float[N,64] x, float[N,64] z) => (float[N,64] y)
    <float w = {1.25}, float q = {0.75}, float h = {0.5}> {
        a = Mul(x, w)  b = Mul(a, q)  c = Sub(a, b)  k = Mul(z, h)  d = Add(c, k)  y = Relu(d)
    }"""
    raw, folded = parse(text), parse(text.replace("a = ", "e = ").replace("(a", "(e"))
    hidden = 0
    for error in np.geomspace(1e-6, 1e-4, 21):
        faulty = telling(edited(folded, "w", lambda w, e=error: w * np.float32(1 + e)), '[["b","one"],["d","two"]]')
        shown = prove(raw, faulty, [Site("b", "one"), Site("d", "two")]).failing_folds == ("one", "two")
        hidden += shown
        assert not shown or "one" in normfold.verify(raw, faulty).failing_folds
    assert hidden, "this test wants an error between the two tolerances"


SEVERAL = {
    "between them": ({"bn0": "conv0", "bn2": "conv2"}, [1]),
    "behind them": ({"bn0": "conv0", "bn2": "conv2"}, [4]),
    "two faults in a row": ({"bn0": "conv0", "bn2": "conv2"}, [3, 4]),
    "two faults in a row elsewhere": ({"bn0": "conv0"}, [3, 4]),
}


@pytest.mark.parametrize(("names", "wrong_fold"), SEVERAL.values(), ids=SEVERAL.keys())
def test_each_of_several_names_is_decided_by_what_is_behind_it(names: dict[str, str], wrong_fold: list[int]) -> None:
    raw, _ = conv_bn_pair(depth=7, channels=16)
    right = renamed(normfold.optimize(raw, verify=False).model, names)
    claims = json.dumps([[names.get(f"bn{i}", f"bn{i}"), f"{i}"] for i in range(7)])
    faulty = right
    for number in wrong_fold:
        faulty = edited(faulty, weight(faulty, number), off_by_a_hair)
    found, clean = (normfold.verify(raw, telling(model, claims)) for model in (faulty, right))
    assert clean, clean
    assert found.failing_folds == tuple(map(str, wrong_fold))
    for verification in (found, clean):
        assert f"not compared: {', '.join(names.values())}, because" in verification.notes[0]


# -- weights that a user changed ------------------------------------------------------------------------------------
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
    assert not normfold.verify(raw, broken, rtol=2e-3, atol=1e-6).sites, "the tolerance of a user is one for outputs"
    assert normfold.verify(raw, broken, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("size", [4, 64])
def test_weights_in_files_and_in_memory_are_compared(size: int, tmp_path: Path) -> None:
    text = FADES.replace("[4,3,3,3]", f"[{size},3,3,3]").replace("[4]", f"[{size}]").replace("[4,4", f"[4,{size}")
    raw = named(parse(text))
    onnx.save(raw, tmp_path / "raw.onnx")
    onnx.save(edited(raw, "w", off), tmp_path / "one.onnx")
    for one in (raw, tmp_path / "raw.onnx"):
        assert normfold.verify(one, tmp_path / "one.onnx").failing_folds == ("node0",)
        assert normfold.verify(one, tmp_path / "raw.onnx")


def test_a_changed_constant_is_seen_where_it_is_read() -> None:
    text = "(float[2,3] x) => (float[2,3] y) { k = Constant<value_float=@>() a = Mul(x, k) y = Relu(a) }"
    one, other = (parse(text.replace("@", number)) for number in ("1.5", "1.501"))
    assert normfold.verify(one, other).failing_folds == ("Mul of a",)


def test_a_rounding_of_weights_is_no_fault() -> None:
    _, folded = conv_bn_pair()
    rounded = edited(folded, "w1", lambda w: np.nextafter(w, np.inf, dtype=np.float32))
    assert normfold.verify(folded, rounded)


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
    found = prove(raw, broken, ())
    assert all(c.passed for c in found.outputs)
    assert found.verdict is normfold.verify(raw, broken).verdict is Equivalence.DIFFERENT


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
    assert normfold.verify(raw, folded)
    assert normfold.verify(raw, edited(folded, name, off)).failing_folds == ("MatMul of m",)
