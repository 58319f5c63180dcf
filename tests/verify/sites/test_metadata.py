"""A file that normfold wrote records where its folds can be measured, and `verify` compares there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

import normfold
from normfold.graph.editor import Editor
from normfold.runtime.metadata_keys import SITES_KEY
from normfold.verify import Equivalence, Site, prove
from normfold.verify.sites.metadata import as_text, from_text
from tests.onnx_text import parse
from tests.runtime.test_loaded_model import ways
from tests.verify.nets import conv_bn_pair, edited
from tests.verify.sites.nets import ALL, off_by_a_hair, telling, weight, weight_of


def recorded(model: onnx.ModelProto) -> object:
    """What the metadata of a model says."""
    [entry] = [entry for entry in model.metadata_props if entry.key == SITES_KEY]
    return json.loads(entry.value)


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
    assert [(c.value, c.folds) for c in verification.sites] == [("y.then_branch/z", ("z",))]


def test_a_fold_that_was_undone_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Editor.constant

    def wrong(self: Editor, array: np.ndarray, dtype: ir.DataType, hint: str) -> ir.Value:
        return right(self, array * 1.01 if hint.startswith("w1") else array, dtype, hint)

    monkeypatch.setattr(Editor, "constant", wrong)
    assert recorded(normfold.optimize(conv_bn_pair()[0]).model) == [ALL[0], ALL[2]]


def test_where_nothing_folds_nothing_is_recorded(tmp_path: Path) -> None:
    onnx.save(conv_bn_pair()[1], tmp_path / "plain.onnx")
    normfold.optimize(tmp_path / "plain.onnx", tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()


def test_a_later_run_adds_to_what_an_earlier_one_recorded(tmp_path: Path) -> None:
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


def test_what_is_gone_after_a_later_run_is_no_longer_recorded() -> None:
    raw, _ = conv_bn_pair()
    claimed = telling(raw, json.dumps([["conv0", "an earlier fold"], ["relu0", "another"], ["nowhere", "a third"]]))
    assert recorded(normfold.optimize(claimed).model) == [["relu0", "another"], *ALL]


# -- what a comparison makes of it --------------------------------------------------------------------------------
@pytest.mark.parametrize("wrong_fold", range(3))
def test_a_fault_that_no_output_shows_is_found_and_named(
    pair: tuple[onnx.ModelProto, onnx.ModelProto], wrong_fold: int
) -> None:
    raw, folded = pair
    faulty = edited(folded, weight(folded, wrong_fold), off_by_a_hair)
    assert all(c.passed for c in prove(raw, faulty, ()).outputs), "this test wants a fault that the outputs hide"
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
    assert [c.value for c in normfold.verify(one, other).sites] == ["bn0", "bn2"], "the other is the same"


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
    [at_site] = found.sites
    assert max(output.max_abs for output in found.outputs) < 1e-5 < at_site.max_abs
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


def test_no_fold_fails_for_a_quantization(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    raw, folded = pair
    found = normfold.verify(raw, quantized(folded))
    assert found.verdict is Equivalence.DIFFERENT
    assert not found.failing_folds
    assert any("quantized" in note for note in found.notes)
    assert normfold.verify(quantized(folded), quantized(folded))
