"""How a model is loaded: its weights lie in its own file, and every session reads the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from normfold.errors import SourceError
from normfold.files.protos.mapped import stub, without_weights
from normfold.files.protos.wire import WireFormatError
from normfold.native.ort_session import OptimizationLevel, SessionOptions, open_session
from normfold.operators.walk import every_node
from normfold.runtime import loaded_model as loaded_module
from normfold.runtime import session
from normfold.runtime.float32_copy import retyped
from normfold.runtime.loaded_model import LoadedModel, load
from normfold.runtime.session import OrtRunner
from normfold.verify import ProofOptions, Site, prove, verify
from normfold.verify.numeric.rounding_noise import UlpPerturbation, moved_weights
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited

X = {"x": np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)}


def ways(folder: Path, model: onnx.ModelProto) -> dict[str, LoadedModel]:
    """The model loaded in every way."""
    onnx.save(model, folder / "m.onnx")
    again = onnx.load(folder / "m.onnx")  # saving external data takes the data out of the model
    onnx.save(again, folder / "e.onnx", save_as_external_data=True, location="e.bin", size_threshold=0)
    return {
        "path": load(folder / "m.onnx"),
        "path with external data": load(folder / "e.onnx"),
        "bytes": load(model.SerializeToString()),
        "proto": load(model),
        "onnx_ir": load(ir.from_proto(model)),
    }


def result(loaded: LoadedModel, feed: dict[str, np.ndarray]) -> np.ndarray:
    with OrtRunner(loaded) as runner:
        return np.asarray(runner.run(feed, list(loaded.output_names))[0])


@pytest.mark.parametrize("spool", [1, 2**40])
def test_the_model_computes_the_same_however_it_is_loaded(
    tmp_path: Path, spool: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_module, "_SPOOL_BYTES", spool)
    _, folded = conv_bn_pair(channels=16)
    results = [result(loaded, X) for loaded in ways(tmp_path, folded).values()]
    assert all(np.array_equal(results[0], other) for other in results[1:])
    assert np.abs(results[0]).max() > 0


def test_weights_stay_in_the_file(tmp_path: Path) -> None:
    _, folded = conv_bn_pair(channels=16)
    found = ways(tmp_path, folded)
    for name in ("path", "path with external data"):
        assert not found[name].given
    assert len(found["path"].skeleton.SerializeToString()) < len(folded.SerializeToString()) / 4


def test_weights_in_files_are_moved_and_retyped_too(tmp_path: Path) -> None:
    _, folded = conv_bn_pair(channels=16, kind=np.float16)
    exact = result(load(folded), {"x": X["x"].astype(np.float16)}).astype(np.float32)
    for loaded in ways(tmp_path, folded).values():
        wide = result(retyped(loaded), X)
        assert wide.dtype == np.float32
        assert 0 < np.abs(wide - exact).max() < 0.05
        moved = result(moved_weights(loaded, UlpPerturbation()), {"x": X["x"].astype(np.float16)})
        assert 0 < np.abs(moved.astype(np.float32) - exact).max() < 0.05


def test_a_model_that_is_no_plain_message_is_left_to_protobuf() -> None:
    content = conv_bn_pair()[1].SerializeToString()
    for broken in (b"\xff\xff\xff", content[:-3], content + content):
        with pytest.raises(WireFormatError):
            without_weights(broken, "m.onnx", 0)
    assert prove(content, content)


def test_every_field_outlives_the_split() -> None:
    weight = numpy_helper.from_array(np.ones((8, 64), np.float32), "w")
    weight.doc_string = "kept"
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 64])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"key": "value"})
    bare = without_weights(model.SerializeToString(), "m.onnx", 1000)
    entries = {entry.key: entry.value for entry in bare.graph.initializer[0].external_data}
    assert (entries["location"], entries["length"]) == ("m.onnx", "2048")
    assert model.SerializeToString()[int(entries["offset"]) :].startswith(np.float32(1).tobytes())
    for field in ("external_data", "data_location"):
        bare.graph.initializer[0].ClearField(field)
    bare.graph.initializer[0].raw_data = weight.raw_data
    assert bare == model


def test_what_is_no_model_is_said_in_one_line(tmp_path: Path) -> None:
    good = conv_bn_pair()[1]
    for name, content in (("empty.onnx", b""), ("junk.onnx", b"junk" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match="expected an ONNX model"):
            verify(good, tmp_path / name)
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        verify(good, tmp_path / "nothing.onnx")


def test_bodies_are_found_in_known_and_in_custom_operators_and_functions() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[2] x, bool c) => (float[2] y, float[2] z)
        { y = If(c) <then_branch = a () => (float[2] p) { p = Neg(x) },
                     else_branch = b () => (float[2] p) { p = Abs(x) }>
          z = mine.Twice(x) <body = t () => (float[2] q) { q = Exp(x) }> }
        <domain: "mine", opset_import: ["" : 17]> Own (i) => (o) { o = Floor(i) }"""
    model = onnx.parser.parse_model(text)
    assert [node.op_type for node in every_node(model)] == ["If", "Twice", "Floor", "Neg", "Abs", "Exp"]
    assert load(model).operators == {"If", "Twice", "Floor", "Neg", "Abs", "Exp"}
    assert set(load(model).reads[1]) == {"x"}


def test_what_is_no_model_is_refused_with_the_way_out() -> None:
    with pytest.raises(SourceError, match=r"expected a path, bytes, onnx.ModelProto or onnx_ir.Model, got dict"):
        load({})  # type: ignore[arg-type]  # what a caller without type checks may pass


def test_external_data_is_read_from_the_folder_of_the_model(tmp_path: Path) -> None:
    raw, folded = conv_bn_pair(channels=16)
    paths = []
    for name, model in (("raw", raw), ("folded", folded), ("wrong", edited(folded, "w1", lambda w: w * 1.01))):
        paths.append(tmp_path / name / "m.onnx")
        paths[-1].parent.mkdir()
        onnx.save(model, paths[-1], save_as_external_data=True, location="m.bin", size_threshold=0)
    sites = [Site(f"bn{i}", f"norm{i}") for i in range(3)]
    assert prove(paths[0], paths[1], sites)
    assert prove(paths[0], paths[2], sites).failing_folds == ("norm1",)
    again = onnx.load(paths[1], load_external_data=False)
    assert prove(paths[0], again, sites, ProofOptions(folder=str(paths[1].parent)))


def test_what_is_loaded_has_no_identities(tmp_path: Path) -> None:
    """The runtime took 45 us to load each, and the proof as long again."""
    body = "a = Identity(x) b = Relu(a) c = Identity(b) y = Mul(c, w)"
    model = parse(f"(float[N,4] x) => (float[N,4] y) <float[4] w> {{ {body} }}")
    for name, loaded in ways(tmp_path, model).items():
        assert [node.op_type for node in loaded.graph.node] == ["Relu", "Mul"], name


def test_operators_in_any_order_are_loaded_as_the_runtime_does() -> None:
    """An Identity whose reader stands before it was dropped, and what it passed on was missing."""
    model = parse("(float[N,4] x) => (float[N,4] y) <float[4] w> { a = Identity(w) b = Relu(x) y = Mul(b, a) }")
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    del turned.graph.node[:]
    turned.graph.node.extend(reversed(model.graph.node))
    assert [node.op_type for node in load(turned).graph.node] == ["Relu", "Mul"]
    assert prove(turned, model)


def test_weights_may_lie_next_to_the_model_and_in_another_folder(tmp_path: Path) -> None:
    """A candidate has its own next to it and leaves the others in the data file of the original."""
    text = "(float[N,64] x) => (float[N,64] y) <float[64,64] w, float[64,64] v>"
    model = parse(f"{text} {{ a = MatMul(x, w) y = MatMul(a, v) }}")
    feed = {"x": np.eye(64, dtype=np.float32)}
    wanted = result(load(model), feed)
    for tensor, folder in zip(model.graph.initializer, ("here", "there"), strict=True):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.bin").write_bytes(tensor.raw_data)
        tensor.CopyFrom(stub(tensor, f"{folder}.bin"))
    (tmp_path / "here" / "m.onnx").write_bytes(model.SerializeToString())
    loaded = load(tmp_path / "here" / "m.onnx", str(tmp_path / "there"))
    assert not loaded.given
    np.testing.assert_array_equal(result(loaded, feed), wanted)


@pytest.mark.parametrize(("most", "packed"), [(2**29, True), (1, False)])
def test_no_packed_copies_of_many_weights(monkeypatch: pytest.MonkeyPatch, most: int, packed: bool) -> None:
    """At the level of a user, ONNX Runtime kept a second copy of every weight in memory."""
    monkeypatch.setattr(session, "_MOST_PACKED", most)
    opened: list[SessionOptions] = []

    def seen(model: bytes, wanted: SessionOptions, **more: Any) -> Any:
        opened.append(wanted)
        return open_session(model, wanted, **more)

    monkeypatch.setattr(session, "open_session", seen)
    OrtRunner(load(conv_bn_pair()[0]), OptimizationLevel.DEFAULT).close()
    assert ("session.disable_prepacking" not in opened[0].settings) == packed
