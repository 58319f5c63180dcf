"""Reading: what is taken, what is refused and with which words, and that the caller's object is never touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import normfold
from normfold.errors import CrashError, SourceError, UsageError
from normfold.files.source import Source, in_eval_mode, read, rejection_by_runtime, with_constant_initializers
from normfold.native import isolated
from normfold.native.ort_session import OptimizationLevel
from tests.nets import conv_bn, nothing
from tests.onnx_text import parse

_FLOAT = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)


def _with_external(folder: Path, location: str = "w.bin", size: int = 3 * 4 * 9 * 4) -> Path:
    """conv_bn with its weight in a file of its own."""
    model = conv_bn()
    weight = model.graph.initializer[0]
    folder.joinpath("w.bin").write_bytes(weight.raw_data[:size])
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_path_bytes_a_proto_and_an_ir_model_are_the_same_model(tmp_path: Path) -> None:
    proto = conv_bn()
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    sources = [read(path), read(str(path)), read(path.read_bytes()), read(proto), read(ir.from_proto(proto))]
    for source in sources:
        assert [node.op_type for node in source.model().graph] == ["Conv", "BatchNormalization"]
        assert len(source.proto.graph.initializer) == 5


def test_the_callers_object_stays_as_it_is() -> None:
    proto = conv_bn()
    before = proto.SerializeToString(deterministic=True)
    assert len(normfold.optimize(proto, verify=False).changes) == 1
    assert proto.SerializeToString(deterministic=True) == before
    model = ir.from_proto(proto)
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(normfold.optimize(model, verify=False).changes) == 1
    assert [value.name for node in model.graph for value in node.outputs] == names
    assert ir.to_proto(model).SerializeToString(deterministic=True) == ir.to_proto(
        ir.from_proto(proto)
    ).SerializeToString(deterministic=True)


def _invalid() -> onnx.ModelProto:
    model = conv_bn()
    model.graph.node[0].input[1] = "missing"
    return model


def _short_tensor() -> onnx.ModelProto:
    model = conv_bn()
    model.graph.initializer[0].raw_data = b"1234"
    return model


def _unknown_type() -> onnx.ModelProto:
    model = conv_bn()
    model.graph.initializer[0].data_type = 99
    return model


def _segment() -> onnx.ModelProto:
    model = conv_bn()
    model.graph.initializer[0].segment.end = 4
    return model


REFUSED = [
    (b"", "got an empty file"),
    (b"\xff\xfe not a protobuf", "no protobuf"),
    (b"<html></html>", "no protobuf"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    (onnx.ModelProto(ir_version=8).SerializeToString(), "without a graph"),
    (_invalid().SerializeToString(), "not a valid model"),
    (_short_tensor().SerializeToString(), "needs 432 bytes, got 4"),
    (_unknown_type().SerializeToString(), "unknown type 99"),
    (_segment().SerializeToString(), "is a segment"),
]


@pytest.mark.parametrize(("content", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused_in_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(SourceError) as refusal:
        read(path)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("opset", "node"), [(13, "Transpose"), (6, "Add"), (6, "PRelu"), (6, "Tile")])
def test_an_operator_without_operands_is_refused_before_it_is_repaired(opset: int, node: str, tmp_path: Path) -> None:
    attributes = {"perm": [0]} if node == "Transpose" else {"axis": 0, "broadcast": 1} if node == "Add" else {}
    graph = helper.make_graph([helper.make_node(node, [], ["y"], **attributes)], "g", [], [_FLOAT])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString())
    with pytest.raises(SourceError, match="not a valid model; ONNX Runtime"):
        read(path)


def test_missing_files_folders_and_wrong_types_are_refused(tmp_path: Path) -> None:
    for argument in (tmp_path / "none.onnx", tmp_path, 42):
        with pytest.raises(SourceError):
            read(argument)  # type: ignore[arg-type]  # 42 is the point


def test_external_data_stays_on_disk_until_it_is_read(tmp_path: Path) -> None:
    whole = np.arange(2048, dtype=np.float32)
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2048] x) => (float[2048] y)'
        " <float[2048] w> { y = Mul (x, w) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(whole, "w"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin")
    source = read(tmp_path / "m.onnx")
    assert set(source.data_files) == {"w.bin"}
    weight = source.model().graph.initializers["w"].const_value
    assert isinstance(weight, ir.ExternalTensor)
    np.testing.assert_array_equal(weight.numpy(), whole)


def test_external_data_must_be_there_whole_and_in_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "circle").symlink_to("circle")
    for missing in ("elsewhere.bin", "no_folder/../w.bin", "w" * 300, "circle"):
        with pytest.raises(SourceError, match="is missing"):
            read(_with_external(inner, missing))
    with pytest.raises(SourceError, match="is no file"):
        read(_with_external(inner, "."))
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    with pytest.raises(SourceError, match="outside the folder"):
        read(_with_external(inner, "../secret.bin"))
    path = _with_external(inner)
    os.link(inner / "w.bin", tmp_path / "other.bin")
    with pytest.raises(SourceError, match="hard link"):
        read(path)
    (tmp_path / "other.bin").unlink()
    with pytest.raises(SourceError, match="outside the folder"):
        read(_with_external(inner, str(tmp_path / "secret.bin")))
    with pytest.raises(SourceError, match="should be 432 bytes"):
        read(_with_external(inner, size=100))
    os.symlink(tmp_path / "secret.bin", inner / "link.bin")
    with pytest.raises(SourceError, match="outside the folder"):
        read(_with_external(inner, "link.bin"))
    with pytest.raises(SourceError, match="no folder here"):
        read(_with_external(inner).read_bytes())


def test_what_only_the_runtime_accepts_goes_on_with_a_note() -> None:
    model = nothing()
    model.graph.node[0].op_type = "Gelu"  # com.microsoft's, in its own domain
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.add(domain="com.microsoft", version=1)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.name = ""  # the checker insists on a name
    source = read(model)
    assert not source.passes_checker
    assert "the ONNX checker rejects" in source.notes[0]
    result = normfold.optimize(model)
    assert not result.changes


def test_operators_of_one_name_are_named_apart(tmp_path: Path) -> None:
    """The format lets names repeat, and ONNX Runtime refuses them; findings are distinguished by them."""
    model = parse(
        "(float[2,3] x) => (float[2,3] y) <float[3,3] w, float[3] s, float[3] v>"
        "{ a = MatMul(x, w) b = Mul(a, s) c = Relu(b) d = MatMul(c, w) y = Mul(d, v) }"
    )
    for node, name in zip(model.graph.node, ("node", "node", "node_1", "node", ""), strict=True):
        node.name = name
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    assert [node.name for node in read(path).proto.graph.node] == ["node", "node_2", "node_1", "node_3", ""]
    result = normfold.optimize(path, tmp_path / "out.onnx")
    assert len(result.changes) == 2
    assert "operators with the name of another one, which have one of their own now: 2" in result.notes
    onnxruntime.InferenceSession(tmp_path / "out.onnx")
    assert normfold.verify(path, tmp_path / "out.onnx")


def test_map_outputs_survive(tmp_path: Path) -> None:
    """onnx_ir has no map type; scikit-learn's classifiers end in one."""
    text = """
    <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]>
    net (float[1, 2] x) => (float[1, 2] y) {
        s = Mul (x, two)
        t = Mul (s, two)
        y = Identity (t)
        z = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1]> (x)
    }
    """
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.float32), "two"))
    kind = onnx.helper.make_map_type_proto(
        onnx.TensorProto.INT64, onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    )
    model.graph.output.append(onnx.helper.make_value_info("z", onnx.helper.make_sequence_type_proto(kind)))
    result = normfold.optimize(model, tmp_path / "out.onnx", verify=False)
    assert result.changes
    written = onnx.load(tmp_path / "out.onnx")
    assert written.graph.output[1] == model.graph.output[1]
    onnxruntime.InferenceSession(tmp_path / "out.onnx")


def test_the_initializers_of_ir_3_stay_listed_and_only_they(tmp_path: Path) -> None:
    """Before IR 4 each initializer is a graph input too; a fold's new weight must be, and a dead one must not."""
    model = conv_bn()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    assert len(normfold.optimize(model, tmp_path / "out.onnx").changes) == 1
    written = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(written)
    assert written.ir_version == 3
    listed = [value.name for value in written.graph.input]
    assert listed[0] == "x"
    assert sorted(listed[1:]) == sorted(tensor.name for tensor in written.graph.initializer)
    assert "gamma" not in listed


def _training(outputs: int) -> onnx.ModelProto:
    model = conv_bn()
    node = model.graph.node[1]
    node.attribute.append(onnx.helper.make_attribute("training_mode", 1))
    node.output.extend(["m", "v"][: outputs - 1] if outputs > 1 else [])
    return model


@pytest.mark.parametrize("outputs", [1, 3])
def test_assume_eval_switches_training_mode_off(outputs: int) -> None:
    source = in_eval_mode(read(_training(outputs)))
    node = source.proto.graph.node[1]
    assert list(node.output) == ["y"]
    assert not any(attribute.name == "training_mode" for attribute in node.attribute)
    assert "--assume-eval" in source.notes[-1]


def test_assume_eval_leaves_what_is_read() -> None:
    model = _training(3)
    model.graph.output.append(onnx.helper.make_tensor_value_info("m", onnx.TensorProto.FLOAT, [4]))
    assert in_eval_mode(read(model)).proto.graph.node[1].output[1] == "m"


def test_assume_eval_leaves_a_layernorm_of_rows() -> None:
    text = (
        "(float[2,3,4] x) => (float[2,3,4] y) <int64[4] rows = {1, 6, 4, 1}, float[6] g, float[6] b, float[6] m,"
        "float[6] var, int64[3] back = {2, 3, 4}> { r = Reshape(x, rows)"
        "t, u, v = BatchNormalization<training_mode=1>(r, g, b, m, var) y = Reshape(t, back) }"
    )
    source = read(parse(text))
    assert in_eval_mode(source) is source


# -- initializers that are inputs --------------------------------------------------------------------------------
LISTED = "(float[N,4] x, float[4,4] w, float[4] k) => (float[N,4] y) <float[4,4] w, float[4] k>"
SOME = "(float[N,4] x, float[4] k) => (float[N,4] y) <float[4,4] w, float[4] k>"
BODY = "{ a = MatMul(x, w) y = Mul(a, k) }"


def inputs_of(source: Source) -> list[str]:
    return [value.name for value in source.proto.graph.input]


@pytest.mark.parametrize(
    ("text", "options", "left"),
    [
        (LISTED, {}, ["x"]),
        (LISTED, {"keep": True}, ["x", "w", "k"]),
        (LISTED, {"keep": True, "freeze": ("w",)}, ["x", "k"]),
        (SOME, {}, ["x", "k"]),
        (SOME, {"freeze": ("*",)}, ["x"]),
    ],
)
def test_initializers_that_are_inputs(text: str, options: dict[str, Any], left: list[str]) -> None:
    source = with_constant_initializers(read(parse(f"{text} {BODY}")), **options)
    assert inputs_of(source) == left
    assert bool(source.notes) == (len(left) < text.split("=>")[0].count("float"))


def test_before_ir_version_4_every_initializer_is_fixed_anyway() -> None:
    source = read(parse(f"{LISTED} {BODY}", ir_version=3))
    assert with_constant_initializers(source) is source


def test_a_name_to_freeze_must_be_there() -> None:
    with pytest.raises(UsageError, match="freeze: expected an initializer that is an input, got 'v'; there are k"):
        with_constant_initializers(read(parse(f"{SOME} {BODY}")), freeze=("v",))


def test_a_length_of_minus_one_is_unknown_and_no_number_for_shape_inference() -> None:
    proto = parse(
        """(float[N, 3, H, W] x) => (float[N, 8] y) <float[8, 3, 3, 3] w, float five = {5}> {
            c = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (x, w)
            d = Div (c, five)
            p = GlobalAveragePool (d)
            y = Flatten (p)
        }"""
    )
    del proto.graph.value_info[:]
    for dim in (dim for v in (*proto.graph.input, *proto.graph.output) for dim in v.type.tensor_type.shape.dim):
        if dim.dim_param:
            dim.dim_value = -1
    result = normfold.optimize(proto)
    assert len(result.changes) == 1
    dims = [dim for value in result.model.graph.value_info for dim in value.type.tensor_type.shape.dim]
    assert dims
    assert all(dim.dim_value > 0 for dim in dims if dim.HasField("dim_value"))


def test_a_tensor_that_holds_its_numbers_in_the_field_of_another_type_is_refused() -> None:
    model = conv_bn()
    tensor = model.graph.initializer[0]
    numbers = onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()
    tensor.ClearField("raw_data")
    tensor.double_data.extend(numbers)
    with pytest.raises(SourceError, match="holds no data"):
        read(model)


@pytest.mark.parametrize("deadly", [OptimizationLevel.DISABLE_ALL, OptimizationLevel.DEFAULT])
def test_a_model_that_ends_the_runtime_is_rejected_at_either_level(
    deadly: OptimizationLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trained model in float16 ended ONNX Runtime 1.32 in its own optimizer, and we asked for a report of it."""

    def call(name: str, function: object, target: object, folder: object, level: OptimizationLevel) -> str:
        if level is deadly:
            raise CrashError(f"{name} ended its process (SIGSEGV)")
        return ""

    monkeypatch.setattr(isolated, "call", call)
    where = " at its default level" if deadly is OptimizationLevel.DEFAULT else ""
    assert rejection_by_runtime(b"") == f"loading it in ONNX Runtime{where} ended its process (SIGSEGV)"
