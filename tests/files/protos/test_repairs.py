"""What a file says oddly is put right on reading, with a note, and what is no oddity is refused as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import normfold
from normfold.errors import SourceError
from normfold.files.protos.repairs import drop_identities
from normfold.files.source import read
from tests.nets import conv_bn
from tests.onnx_text import parse


@pytest.mark.parametrize("opset", [9, 13, 15, 17])
def test_unnamed_outputs_at_the_end_are_none(tmp_path: Path, opset: int) -> None:
    """A BatchNormalization of inference with empty outputs folds and is proven, although it looks like training."""
    model = conv_bn()
    model.opset_import[0].version = opset
    norm = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    norm.output.extend(["", ""] if opset > 13 else ["", "", "", ""])
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    result = normfold.optimize(path, tmp_path / "out.onnx")
    assert len(result.changes) == 1
    assert "operators that ended in outputs without a name, which are left out: 1" in result.notes
    assert len(norm.output) > 1  # the caller's own model


def test_operators_without_outputs_are_left_out() -> None:
    model = conv_bn()
    model.opset_import.add(domain="mine", version=1)
    model.graph.node.insert(0, onnx.helper.make_node("Print", [model.graph.input[0].name], [], domain="mine"))
    result = normfold.optimize(model)
    assert len(result.changes) == 1
    assert result.notes == ("operators without outputs, which are left out: 1",)


def test_a_norm_that_trains_stays_one_that_trains() -> None:
    model = conv_bn()
    model.opset_import[0].version = 15
    norm = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    norm.output.extend(["", ""])
    norm.attribute.append(onnx.helper.make_attribute("training_mode", 1))
    changes = normfold.optimize(model, verify=False).changes
    assert [each.form for each in changes] == ["InstanceNormalization"]  # of a batch of one


def _declared_twice(second: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 2] x) => (float[1, 2] y) {{
        c = Constant <value = float {{2.0}}> ()
        a = Mul (x, c)
        c = {second}
        y = Add (a, c)
    }}
    """)


def test_of_constants_declared_twice_the_last_counts_as_in_the_runtime(tmp_path: Path) -> None:
    model = _declared_twice("Constant <value = float {3.0}> ()")
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    source = read(path)
    assert "Constants that were declared again; the last value counts, as in ONNX Runtime: 1" in source.notes
    x = np.ones((1, 2), np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of the declaration
    runs = [
        onnxruntime.InferenceSession(each.SerializeToString(), options).run(None, {"x": x})[0]
        for each in (model, source.proto)
    ]
    assert runs[0].tolist() == runs[1].tolist() == [[6.0, 6.0]]


def test_a_value_of_a_constant_and_another_operator_is_refused() -> None:
    with pytest.raises(SourceError):
        read(_declared_twice("Relu (x)"))


@pytest.mark.parametrize(
    ("attributes", "value"),
    [
        ({"perm": onnx.helper.make_tensor("t", onnx.TensorProto.FLOAT, [], [2.0])}, 2.0),
        ({"axis": 3.0}, 3.0),
        ({"to": [4.0]}, 4.0),
        ({"value_float": 5.0, "value_floats": [6.0]}, 5.0),
    ],
)
def test_the_first_attribute_of_a_constant_is_its_value_as_in_the_runtime(
    attributes: dict[str, object], value: float
) -> None:
    model = _declared_twice("Constant <value = float {3.0}> ()")
    del model.graph.node[2]
    [constant] = [node for node in model.graph.node if node.op_type == "Constant"]
    del constant.attribute[:]
    constant.attribute.extend(onnx.helper.make_attribute(*each) for each in attributes.items())
    source = read(model)
    assert "Constants with their value under another name, read as ONNX Runtime does: 1" in source.notes
    x = {"x": np.ones((1, 2), np.float32)}
    runs = [
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, x)[0].tolist()
        for each in (model, normfold.optimize(model).model)
    ]
    assert runs == [[[2 * value] * 2]] * 2


def test_operators_out_of_order_are_sorted_as_the_runtime_does() -> None:
    model = conv_bn()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    x = {"x": np.random.default_rng(0).normal(size=[dim.dim_value or 2 for dim in dims]).astype(np.float32)}
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, x)
    names = [node.output[0] for node in model.graph.node]
    model.graph.node.sort(key=lambda node: -names.index(node.output[0]))
    source = read(model)
    assert "graphs with operators before those that they read, in order now: 1" in source.notes
    assert [node.output[0] for node in source.proto.graph.node] == names
    result = normfold.optimize(model)
    assert result.changes
    np.testing.assert_allclose(
        onnxruntime.InferenceSession(result.model.SerializeToString()).run(None, x), wanted, rtol=1e-4, atol=1e-5
    )


def test_a_cycle_is_refused() -> None:
    model = conv_bn()
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    with pytest.raises(SourceError):
        read(model)


@pytest.mark.parametrize("place", ["input", "output", "value_info"])
def test_a_value_of_no_type_is_refused_or_forgotten(place: str) -> None:
    model = onnx.shape_inference.infer_shapes(conv_bn())
    value = getattr(model.graph, place)[0]
    value.type.tensor_type.elem_type = 0
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        onnxruntime.InferenceSession(model.SerializeToString())
    if place != "value_info":
        with pytest.raises(SourceError, match=f"with an element type, '{value.name}' has none"):
            read(model)
        return
    result = normfold.optimize(model)
    assert len(result.changes) == 1
    assert "inner values of an undefined type, which have their own now: 1" in result.notes


def test_a_rank_that_its_operators_contradict_is_forgotten(tmp_path: Path) -> None:
    """Exporters write such shapes into the branches of merged decoders; the checker does not see them."""
    model = parse(
        "(float[N,6,8] x) => (float[N,2,6,4] y) <int64[4] to = {0, 6, 2, 4}, float[8,8] w> "
        "{ m = MatMul (x, w) r = Reshape (m, to) t = Transpose <perm = [0,2,1,3]> (r) y = Neg (t) }"
    )
    for value in [value for value in model.graph.value_info if value.name in ("r", "t")]:
        model.graph.value_info.remove(value)
    for name in ("r", "t"):
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["a", "b", "c"]))
    onnx.save(model, tmp_path / "m.onnx")
    inner = {value.name: value.type.tensor_type for value in read(tmp_path / "m.onnx").proto.graph.value_info}
    assert [name for name, kind in inner.items() if kind.HasField("shape")] == ["m"]
    assert normfold.optimize(tmp_path / "m.onnx").verification


def test_a_shape_that_its_constant_contradicts_is_forgotten() -> None:
    """A mutant: what is said of a Constant is another shape, which ONNX Runtime does not look at."""
    model = parse(
        "(float[N,4,8] x) => (float[N,4,8] y) <float[4] stored = {1, 2, 3, 4}> { made = Constant <value_floats = [0.0, "
        "0.0, 0.0, 0.0]> () y = InstanceNormalization (x, stored, made) }"
    )
    del model.graph.value_info[:]
    for name in ("made", "stored"):
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]))
    assert not [value.name for value in read(model).proto.graph.value_info if value.type.tensor_type.HasField("shape")]
    assert normfold.optimize(model).verification


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = Identity(x) b = Identity(a) c = Relu(b) y = Mul(c, b)", ["Relu x", "Mul c x"]),
        ("a = Relu(x) y = Identity(a)", ["Relu x", "Identity a"]),
        ("a = com.example.Identity(x) y = Relu(a)", ["Identity x", "Relu a"]),
        ("y = Identity(x) z = Relu(y)", ["Identity x", "Relu y"]),
        (
            """a = Identity(x) b = Identity(x) c = Relu(b) y = If(flag) <
                then_branch = g () => (float[2] t) { t = Add(a, x) },
                else_branch = h () => (float[2] t) { t = Relu(x) }>""",
            ["Identity x", "Relu x", "If flag"],
        ),
    ],
    ids=["a row", "an output", "another domain", "an output that is read", "a body reads it"],
)
def test_identities_go_before_anything_is_asked(body: str, left: list[str]) -> None:
    """Every pass took its time for each: 100,000 in a row, 25 s."""
    graph = parse(f"(float[2] x, bool flag) => (float[2] y) {{ {body} }}", domains='"com.example":1').graph
    drop_identities(graph)
    assert [" ".join((node.op_type, *node.input)) for node in graph.node] == left
