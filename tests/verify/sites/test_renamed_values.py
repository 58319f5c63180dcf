"""A name that means another value in the second model is no fault, and a fault next to it is found."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnx
import pytest

import normfold
from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, ProofOptions, Site, Verification, prove
from normfold.verify.question import Question
from normfold.verify.sites.renamed_values import with_recorded_sites
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited
from tests.verify.sites.nets import ALL, off_by_a_hair, telling, weight, weight_of

STRANGE = {
    "unknown": ('[["nowhere","ghost"],["bn0","bn0","no/such.body"]]', []),
    "gone": (json.dumps([["conv0", f"fold {i}"] for i in range(100_000)]), ["bn0"]),
    "an input and an output": ('[["x","a"],["relu2","b"]]', ["relu2"]),
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
        assert not shown or normfold.verify(raw, faulty).failing_folds == ("one", "two")
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


def test_without_a_decision_at_the_sites_the_outputs_decide(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    asked: list[int] = []

    def undecided(question: Question, sites: Sequence[Site]) -> Verification:
        asked.append(len(sites))
        return Verification(Equivalence.INCONCLUSIVE if sites else Equivalence.EQUIVALENT)

    question = Question.of(load(pair[0]), load(pair[1]), ProofOptions())
    assert with_recorded_sites(question, [Site("bn0", "bn0")], undecided)
    assert asked == [1, 0]
