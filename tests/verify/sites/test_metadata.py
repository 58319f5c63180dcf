"""A file that normfold wrote tells where its folds can be measured, and whoever verifies it compares there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

import normfold
from normfold.graph.editor import Editor
from normfold.runtime.loaded_model import load
from normfold.runtime.metadata_keys import SITES_KEY
from normfold.verify import Equivalence, ProofOptions, Site, Stage, Verification, prove
from normfold.verify.sites.metadata import as_text, from_text
from normfold.verify.sites.renamed_values import with_recorded_sites
from normfold.verify.state import ProofState
from tests.onnx_text import parse
from tests.runtime.test_loaded_model import ways
from tests.verify.nets import conv_bn_pair, edited

ALL = [["bn0", "bn0"], ["bn1", "bn1"], ["bn2", "bn2"]]


def recorded(model: onnx.ModelProto) -> object:
    """What the metadata of a model says."""
    [entry] = [entry for entry in model.metadata_props if entry.key == SITES_KEY]
    return json.loads(entry.value)


def telling(model: onnx.ModelProto, text: str) -> onnx.ModelProto:
    """A copy whose metadata says something else."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    helper.set_model_props(copy, {SITES_KEY: text})
    return copy


def off_by_a_hair(array: np.ndarray) -> np.ndarray:
    """One channel is wrong by so little that the outputs do not show it."""
    array[4] *= 1.00001
    return array


# -- what is written ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("verify", [True, False])
def test_the_result_tells_the_site_of_each_fold(tmp_path: Path, verify: bool) -> None:
    raw, _ = conv_bn_pair()
    result = normfold.optimize(raw, tmp_path / "folded.onnx", verify=verify)
    assert recorded(result.model) == recorded(onnx.load(tmp_path / "folded.onnx")) == ALL


def test_a_file_with_external_data_tells_it_too(tmp_path: Path) -> None:
    onnx.save(conv_bn_pair(channels=16)[0], tmp_path / "raw.onnx", save_as_external_data=True, size_threshold=0)
    normfold.optimize(tmp_path / "raw.onnx", tmp_path / "folded.onnx")
    assert recorded(onnx.load(tmp_path / "folded.onnx", load_external_data=False)) == ALL
    assert len(normfold.verify(tmp_path / "raw.onnx", tmp_path / "folded.onnx").sites) == 3


def test_it_tells_of_bodies_too() -> None:
    text = """(float[N,4,8,8] x, bool c) => (float[N,4,8,8] y)
    <float[4,4,1,1] w, float[4] s, float[4] b, float[4] m, float[4] var> {
        y = If (c) <
            then_branch = t () => (float[N,4,8,8] z) { a = Conv(x, w) z = BatchNormalization(a, s, b, m, var) },
            else_branch = e () => (float[N,4,8,8] v) { v = Relu(x) }>
    }"""
    result = normfold.optimize(parse(text))
    assert recorded(result.model) == [["z", "z", "y.then_branch"]]
    verification = normfold.verify(result.source.proto, result.model)
    assert [c.value for c in verification.sites] == ["y.then_branch/z"]


def test_a_fold_that_was_undone_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Editor.constant

    def wrong(self: Editor, array: np.ndarray, dtype: ir.DataType, hint: str) -> ir.Value:
        return right(self, array * 1.01 if hint.startswith("w1") else array, dtype, hint)

    monkeypatch.setattr(Editor, "constant", wrong)
    assert recorded(normfold.optimize(conv_bn_pair()[0]).model) == [ALL[0], ALL[2]]


def test_where_nothing_folds_nothing_is_told(tmp_path: Path) -> None:
    onnx.save(conv_bn_pair()[1], tmp_path / "plain.onnx")
    normfold.optimize(tmp_path / "plain.onnx", tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()


def test_a_later_run_adds_to_what_an_earlier_one_told(tmp_path: Path) -> None:
    raw, _ = conv_bn_pair()
    first = normfold.optimize(raw, tmp_path / "first.onnx", skip=["bn1"])
    assert recorded(first.model) == [ALL[0], ALL[2]]
    second = normfold.optimize(tmp_path / "first.onnx", tmp_path / "second.onnx")
    assert recorded(second.model) == [ALL[0], ALL[2], ALL[1]]
    faulty = edited(second.model, next(t.name for t in second.model.graph.initializer if "w2" in t.name), off_by_a_hair)
    assert normfold.verify(raw, faulty).failing_folds == ("bn2",), "a fold of the first run"
    assert normfold.verify(first.model, faulty).failing_folds == ("bn2",)
    third = normfold.optimize(tmp_path / "second.onnx", tmp_path / "third.onnx")
    assert not third.is_changed
    assert (tmp_path / "third.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_what_is_gone_after_a_later_run_is_no_longer_told() -> None:
    raw, _ = conv_bn_pair()
    claimed = telling(raw, json.dumps([["conv0", "an earlier fold"], ["relu0", "another"], ["nowhere", "a third"]]))
    assert recorded(normfold.optimize(claimed).model) == [["relu0", "another"], *ALL]


# -- what a comparison makes of it --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pair() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network, and what normfold makes of it."""
    raw, _ = conv_bn_pair(channels=16)
    return raw, normfold.optimize(raw).model


def weight(model: onnx.ModelProto, number: int) -> str:
    """The name of one of the weights of the folded network."""
    return weight_of(model, f"bn{number}")


@pytest.mark.parametrize("wrong_fold", range(3))
def test_a_fault_that_no_output_shows_is_found_and_named(
    pair: tuple[onnx.ModelProto, onnx.ModelProto], wrong_fold: int
) -> None:
    raw, folded = pair
    faulty = edited(folded, weight(folded, wrong_fold), off_by_a_hair)
    assert prove(raw, faulty, ()), "this test wants a fault that the outputs hide"
    assert normfold.verify(raw, folded)
    found = normfold.verify(raw, faulty)
    assert found.failing_folds == (f"bn{wrong_fold}",)
    assert not found.notes
    assert normfold.verify(faulty, raw).failing_folds == found.failing_folds, "the other way round"


def test_it_is_found_however_the_model_is_given(pair: tuple[onnx.ModelProto, onnx.ModelProto], tmp_path: Path) -> None:
    raw, folded = pair
    faulty = edited(folded, weight(folded, 1), off_by_a_hair)
    assert {loaded.recorded for loaded in ways(tmp_path, faulty).values()} == {json.dumps(ALL, separators=(",", ":"))}
    assert normfold.verify(raw, tmp_path / "m.onnx").failing_folds == ("bn1",)


def test_two_results_of_one_original_are_compared_where_either_tells() -> None:
    raw, _ = conv_bn_pair()
    one = normfold.optimize(raw, skip=["bn0"]).model
    other = normfold.optimize(raw, skip=["bn2"]).model
    assert [c.value for c in normfold.verify(one, other).sites] == ["bn0", "bn1", "bn2"]


def test_sites_that_are_given_decide(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    raw, folded = pair
    assert [c.folds for c in prove(raw, folded, [Site("bn1", "mine")]).sites] == [("mine",)]
    assert not prove(raw, folded, ()).sites


def test_a_tolerance_of_the_user_is_for_outputs() -> None:
    raw = parse("""(float[N,4,8,8] x) => (float[N,4,8,8] y)
    <float[4,4,1,1] w, float[4] s, float[4] b, float[4] m, float[4] var, float d = {1000}> {
        a = Conv(x, w)  z = BatchNormalization(a, s, b, m, var)  y = Div(z, d)
    }""")
    result = normfold.optimize(raw, only=["batchnorm"], verify=False)
    [site] = (value for verdict in result.changes for value in verdict.sites)
    faulty = edited(result.model, weight_of(result.model, site), lambda w: w * np.float32(1.0001))
    found = normfold.verify(raw, faulty)
    [at_site], [output] = found.sites, [c for c in found.outputs if c.stage == Stage.AT_SITE]
    assert output.max_abs < 1e-5 < at_site.max_abs
    assert normfold.verify(raw, faulty, atol=1e-5)


MALFORMED = {
    "no JSON": "[[",
    "deep": "[" * 100_000,
    "huge": "[" + '["bn0","bn0"],' * 400_000 + '["bn0","bn0"]]',
    "large number": "9" * 10_000,
    "object": '{"bn0": "bn0"}',
    "string": '"bn0"',
    "null": "null",
    "entries": '[["bn0", 1], [], ["bn0"], 7, null, {"a": 1}, ["a", "b", "c", "d"], ["", "b"], ["\\ud800", "b"]]',
    "mixed": '[["bn0", 1], ["bn1", "fold"]]',
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_whatever_stands_in_the_metadata_is_no_more_than_a_note(
    pair: tuple[onnx.ModelProto, onnx.ModelProto], text: str
) -> None:
    raw, folded = pair
    found = normfold.verify(raw, telling(folded, text))
    assert found
    [note] = found.notes
    assert note.startswith("normfold.sites in the metadata of the second model")
    assert [c.value for c in found.sites] == (["bn1"] if "fold" in text else [])
    assert normfold.optimize(telling(raw, text)).verification


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


def test_the_text_comes_back() -> None:
    sites = (Site("a", "b"), Site("a", "c", "If_0.then_branch"), Site('"\n', "é\u2028"))
    assert from_text(as_text((*sites, sites[0]))) == (sites, "")
    assert from_text("") == ((), "")
    assert as_text(sites[:2]) == '[["a","b"],["a","c","If_0.then_branch"]]'


# -- what another tool has changed since --------------------------------------------------------------------------
def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """As converters do it that keep the types of inputs and outputs: every value keeps its name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for tensor in graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    [x], [y] = graph.input, graph.output
    for node in graph.node:
        node.input[:] = ["x16" if name == x.name else name for name in node.input]
        node.output[:] = ["y16" if name == y.name else name for name in node.output]
    graph.node.insert(0, helper.make_node("Cast", [x.name], ["x16"], to=onnx.TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["y16"], [y.name], to=onnx.TensorProto.FLOAT))
    del graph.value_info[:]
    onnx.checker.check_model(copy)
    return copy


def test_a_copy_in_float16_is_a_model_of_another_precision(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    raw, folded = pair
    found = normfold.verify(raw, in_float16(folded))
    assert found, found
    assert found.notes == ("the second model computes in float16, so what float16 loses is allowed",)
    assert normfold.verify(in_float16(raw), folded), "the first one is the coarse one"


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight by way of 8 bits."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    graph.initializer.append(numpy_helper.from_array(np.array(0.01, np.float32), "step"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero"))
    for node in [node for node in graph.node if node.op_type == "Conv"]:
        tensor = next(tensor for tensor in graph.initializer if tensor.name == node.input[1])
        array = np.clip(np.rint(numpy_helper.to_array(tensor) / 0.01), -128, 127).astype(np.int8)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        made = helper.make_node("DequantizeLinear", [tensor.name, "step", "zero"], [f"{tensor.name}_wide"])
        node.input[1] = made.output[0]
        graph.node.insert(0, made)
    return copy


def test_no_fold_is_blamed_for_a_quantization(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    raw, folded = pair
    found = normfold.verify(raw, quantized(folded))
    assert found.verdict is Equivalence.DIFFERENT
    assert not found.failing_folds
    assert any("quantized" in note for note in found.notes)
    assert normfold.verify(quantized(folded), quantized(folded)).sites


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
def test_a_fault_beside_such_a_name_is_found_and_named(
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


def test_names_that_were_all_given_anew_are_all_passed_over(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
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


def weight_of(model: onnx.ModelProto, value: str) -> str:
    """The weight of the operator that makes a value."""
    return next(str(node.input[1]) for node in model.graph.node if node.output[0] == value)


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
        hidden += shown and bool(prove(raw, faulty, [Site("d", "two")]))
        assert not shown or normfold.verify(raw, faulty).failing_folds == ("one", "two")
    assert hidden, "this test wants an error between the two tolerances"


SEVERAL = {
    "between them": ({"bn0": "conv0", "bn2": "conv2"}, [1]),
    "behind them": ({"bn0": "conv0", "bn2": "conv2"}, [4]),
    "two faults in a row": ({"bn0": "conv0", "bn2": "conv2"}, [3, 4]),
    "two faults in a row elsewhere": ({"bn0": "conv0"}, [3, 4]),
}


@pytest.mark.parametrize(("names", "wrong_fold"), SEVERAL.values(), ids=SEVERAL.keys())
def test_each_of_several_names_is_judged_by_what_is_behind_it(names: dict[str, str], wrong_fold: list[int]) -> None:
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

    def undecided(proof: ProofState, sites: Sequence[Site]) -> Verification:
        asked.append(len(sites))
        return Verification(Equivalence.INCONCLUSIVE if sites else Equivalence.EQUIVALENT)

    proof = ProofState(load(pair[0]), load(pair[1]), ProofOptions())
    assert with_recorded_sites(proof, [Site("bn0", "bn0")], undecided)
    assert asked == [1, 0]
