"""Small files that would become huge are refused, each within a moment."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import normfold
from normfold.errors import SourceError
from normfold.files import limits
from normfold.files.protos.wire import framed
from normfold.native import isolated
from tests.sweeps.hostile.cases import CASES, chain, norm, parameters, save
from tests.sweeps.hostile.cases import model as model_of

REFUSED = {
    "huge_shape",
    "cycle",
    "own_input",
    "truncated",
    "negative_dimension",
    "huge_initializer_without_data",
    "exponential_functions",
    "recursive_function",
    "nested_subgraphs",
    "constant_of_shape",
    "outer_products",
    "relus",
    "concatenated_constant",
    "large_constants",
    "large_products",
    "large_constants_of_the_runtime",
    "many_large_constants",
}
TAKEN = {"external_itself"}
CRASHES = {"recursive_function"}  # ONNX Runtime 1.23 dies of it


@pytest.mark.parametrize("name", sorted(REFUSED | {name for name in CASES if name.startswith(("external", "offset"))}))
def test_a_hostile_file_is_refused_with_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in CRASHES:
        monkeypatch.setenv(isolated.VARIABLE, "")
    if name == "concatenated_constant" and tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23):
        pytest.skip("this onnx does not infer how large it becomes, so that it runs into the memory limit")
    path = CASES[name](tmp_path)
    before = set(tmp_path.iterdir())
    if name in TAKEN:
        normfold.optimize(path)
        return
    with pytest.raises(SourceError) as caught:
        normfold.optimize(path, tmp_path / "out.onnx")
    assert len(str(caught.value).splitlines()) == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["doubled_constant", "escapes_in_names", "metadata_nested"])
def test_what_is_strange_and_right_is_taken(name: str, tmp_path: Path) -> None:
    assert normfold.optimize(CASES[name](tmp_path)).changes


def test_entries_are_counted_before_the_file_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_ENTRIES", 50)
    normfold.inspect(save(chain("Relu", 20), tmp_path))
    with pytest.raises(SourceError, match="at most 50 operators"):
        normfold.inspect(save(chain("Relu", 60), tmp_path))


def _repeated(field: int, content: bytes = b"") -> bytes:
    """Five million empty fields in a message: 10 MB that would take gigabytes."""
    return framed(field, len(content)) + content + framed(field, 0) * 5_000_000


def _within(content: bytes, *fields: int) -> bytes:
    """Return a model's field that holds ``content`` below further fields."""
    for field in reversed(fields):
        content = framed(field, len(content)) + content
    return content


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(_within(_repeated(1), 7, 1, 5, 6), id="operators of a branch"),
        pytest.param(_within(_repeated(7), 25), id="operators of a function"),
        pytest.param(_within(_repeated(5), 7, 1), id="attributes"),
        pytest.param(_within(_repeated(1), 7, 1), id="inputs of an operator"),
        pytest.param(_within(_repeated(6), 7, 5), id="strings of a tensor"),
        pytest.param(_within(_repeated(1), 7, 11, 2, 1, 2), id="sizes of a shape"),
        pytest.param(_within(_repeated(99), 7), id="fields that onnx does not know"),
        pytest.param(b"\x08\x08" * 5_000_000, id="numbers"),
    ],
)
def test_entries_are_counted_wherever_they_are(bomb: bytes, tmp_path: Path) -> None:
    path = save(model_of(norm("x"), parameters()), tmp_path)
    path.write_bytes(path.read_bytes() + bomb)
    with pytest.raises(SourceError, match="at most 200000 operators"):
        normfold.inspect(path)


@pytest.mark.parametrize("count", [2**62, 2, 0, -1])
def test_a_scan_has_the_inputs_that_it_counts(count: int) -> None:
    """ONNX Runtime takes all memory for a body whose inputs are fewer."""
    body = onnx.helper.make_graph([], "body", [], [])
    proto = model_of([onnx.helper.make_node("Scan", ["x"], ["z"], body=body, num_scan_inputs=count), *norm("z")])
    with pytest.raises(SourceError, match=f"a Scan over some of its 1 inputs, got {count}"):
        normfold.inspect(proto)


@pytest.mark.parametrize("content", [b"\x9b\x06\x9c\x06", bytes(50_000_000)], ids=["a group", "zeros"])
def test_what_no_tool_writes_is_no_model(content: bytes, tmp_path: Path) -> None:
    """Protobuf skips a group, and what comes behind it was not counted; zeros took minutes."""
    path = save(model_of(norm("x"), parameters()), tmp_path)
    path.write_bytes(content + path.read_bytes())
    with pytest.raises(SourceError, match="no protobuf"):
        normfold.inspect(path)


def test_a_name_out_of_proportion_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST_NAME", 100)
    proto = model_of(norm("x"), parameters())
    proto.graph.node[1].name = "n" * 101
    with pytest.raises(SourceError, match="names below 100 letters, got one of 101"):
        normfold.inspect(save(proto, tmp_path))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """Protobuf takes any bytes for a name, and gives them back as bytes."""
    proto = model_of(norm("x"), parameters())
    proto.graph.initializer.add(name="spare", data_type=onnx.TensorProto.FLOAT, dims=[0])
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("typed", onnx.TensorProto.FLOAT, ["sized"]))
    proto.producer_name, proto.doc_string = "tool", "said"
    proto.metadata_props.add(key="key", value="kept")
    proto.opset_import.add(domain="mine", version=1)
    path = save(proto, tmp_path)
    content = path.read_bytes()
    for old, new in (
        (b"BatchNormalization", b"Batch\xff\xfermalization"),
        (b"\x12\x01g", b"\x12\x01\xff"),
        *((text, text[:-1] + b"\xff") for text in (b"spare", b"typed", b"sized", b"tool", b"said", b"kept", b"mine")),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new))
        with pytest.raises(SourceError, match="UTF-8"):
            normfold.inspect(path)


def test_a_text_in_a_corner_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    proto = model_of(norm("x"), parameters())
    proto.graph.input[0].doc_string = "corner"
    path = save(proto, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"corner", b"corne\xff"))
    with pytest.raises(SourceError, match="onnx-ir cannot write the model"):
        normfold.optimize(path, tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == [path]


def test_typed_data_that_is_too_short_is_refused(tmp_path: Path) -> None:
    """Shape inference would walk through 2^31 elements, of which two are there."""
    proto = model_of(norm("x"), parameters())
    proto.graph.initializer.add(name="indices", data_type=onnx.TensorProto.INT64, dims=[2**31], int64_data=[2, 2])
    with pytest.raises(SourceError, match="of 2147483648 elements holds 2"):
        normfold.inspect(save(proto, tmp_path))
    proto.graph.initializer[-1].CopyFrom(onnx.helper.make_tensor("packed", onnx.TensorProto.INT4, [3], [1, 2, 3]))
    normfold.inspect(save(proto, tmp_path))
