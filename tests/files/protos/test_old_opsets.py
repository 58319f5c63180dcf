"""Operators of sets 1 to 6, read as those of set 7, give what their old specification says: numpy here says it too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

import normfold
from normfold.errors import SourceError
from normfold.files.source import read
from tests.onnx_text import run_in_ort

Arrays = Sequence[npt.NDArray[Any]]
X = np.linspace(-2, 2, 2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
C = np.array([0.5, -2.0, 3.0], np.float32)
PER_CHANNEL = C.reshape(3, 1, 1)


def _model(opset: int, body: str, stored: Arrays = (), inputs: Arrays = (X,), kind: str = "float") -> onnx.ModelProto:
    """Return a model that gives ``y``, made of the inputs x0, x1 ... and the stored values c0, c1 ..."""
    declared = ", ".join(f"{kind_of(array)}{list(array.shape)} x{at}" for at, array in enumerate(inputs))
    text = f'<ir_version: 3, opset_import: ["" : {opset}]> old ({declared}) => ({kind} y) {{ {body} }}'
    model: onnx.ModelProto = onnx.parser.parse_model(text)
    for at, array in enumerate(stored):
        tensor = numpy_helper.from_array(array, f"c{at}")
        model.graph.initializer.append(tensor)
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    return model


def kind_of(array: npt.NDArray[Any]) -> str:
    """Return the name of a type in ONNX's text."""
    return {"float32": "float", "int64": "int64", "bool": "bool"}[str(array.dtype)]


def _selu(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return 1.0507 * np.where(x > 0, x, 1.6732 * np.exp(x) - 1.6732)


def _tiled(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.tile(x, (1, 1, 3, 1))


GATE, FLAT = (X > 0), X.reshape(2, 48)
ROWS: dict[str, tuple[onnx.ModelProto, npt.NDArray[Any]]] = {
    "what was consumed": (_model(1, "y = Relu <consumed_inputs = [0]> (x0)"), np.maximum(X, 0)),
    "it was left over in set 6": (_model(6, "y = Relu <consumed_inputs = [0]> (x0)"), np.maximum(X, 0)),
    "a default that changed": (_model(1, "y = Selu (x0)"), _selu(X)),
    "a default that was given": (
        _model(1, "y = Selu <alpha = 1.0, gamma = 1.0> (x0)"),
        np.where(X > 0, X, np.expm1(X)),
    ),
    "equal shapes": (_model(6, "y = Add (x0, x0)"), X + X),
    "broadcast to the end": (_model(6, "y = Add <broadcast = 1> (x0, c0)", [C[:1]]), X + C[0]),
    "broadcast from an axis": (_model(6, "y = Mul <broadcast = 1, axis = 1> (x0, c0)", [C]), X * PER_CHANNEL),
    "from axis 0": (_model(1, "y = Sub <broadcast = 1, axis = 0> (x0, c0)", [X[:, :, 0, 0]]), X - X[:, :, :1, :1]),
    "from the last": (_model(6, "y = Div <broadcast = 1, axis = 3> (x0, c0)", [X[0, 0, 0]]), X / X[0, 0, 0]),
    "from axis -1": (_model(6, "y = Div <broadcast = 1, axis = -1> (x0, c0)", [X[0, 0, 0]]), X / X[0, 0, 0]),
    "of a scalar": (_model(6, "y = Pow <broadcast = 1, axis = 1> (x0, c0)", [np.array(2, np.float32)]), X**2),
    "computed operands": (
        _model(6, "a = Relu (x0) b = Neg (x1) y = Sub <broadcast = 1, axis = 1> (a, b)", inputs=(X, C)),
        np.maximum(X, 0) + PER_CHANNEL,
    ),
    "behind another broadcast": (
        _model(6, "a = Add <broadcast = 1, axis = 1> (x0, c0) y = Mul <broadcast = 1, axis = 1> (a, c0)", [C]),
        (X + PER_CHANNEL) * PER_CHANNEL,
    ),
    "a comparison": (_model(1, "y = Less <broadcast = 1, axis = 1> (x0, c0)", [C], kind="bool"), X < PER_CHANNEL),
    "of truths": (
        _model(1, "y = And <broadcast = 1, axis = 1> (x0, c0)", [C > 0], (GATE,), "bool"),
        GATE & (PER_CHANNEL > 0),
    ),
    "behind an operator of the runtime": (
        _model(
            1,
            "a = ImageScaler <scale = 2.0, bias = [1.0, 2.0, 3.0]> (x0) y = Add <broadcast = 1, axis = 1> (a, c0)",
            [C],
        ),
        2 * X + np.array([1, 2, 3], np.float32).reshape(3, 1, 1) + PER_CHANNEL,
    ),
    "one slope a channel": (_model(6, "y = PRelu (x0, c0)", [C]), np.where(X < 0, X * PER_CHANNEL, X)),
    "one slope": (_model(1, "y = PRelu <consumed_inputs = [0]> (x0, c0)", [C[:1]]), np.where(X < 0, X * C[0], X)),
    "one slope a column": (
        _model(6, "y = PRelu (x0, c0)", [FLAT[0]], (FLAT,)),
        np.where(FLAT < 0, FLAT * FLAT[0], FLAT),
    ),
    "Gemm with a bias": (
        _model(6, "y = Gemm <broadcast = 1> (x0, c0, c1)", [FLAT.T[:, :2], C[:2]], (FLAT,)),
        FLAT @ FLAT.T + C[:2],
    ),
    "Cast": (_model(1, 'y = Cast <to = "INT64"> (x0)', kind="int64"), X.astype(np.int64)),
    "Clip without bounds": (_model(1, "y = Clip <min = -1.0> (x0)"), np.maximum(X, -1)),
    "Concat by default": (_model(1, "y = Concat (x0, x0)"), np.concatenate([X, X], axis=1)),
    "Concat": (_model(1, "y = Concat <axis = 0> (x0, x0)"), np.concatenate([X, X], axis=0)),
    "Dropout": (_model(6, "y = Dropout <is_test = 1, ratio = 0.9> (x0)"), X),
    "BatchNormalization": (
        _model(
            1, "y = BatchNormalization <is_test = 1, consumed_inputs = [0, 0, 0, 1, 1]> (x0, c0, c0, c0, c1)", [C, C**2]
        ),
        (X - PER_CHANNEL) / np.sqrt(PER_CHANNEL**2 + 1e-5) * PER_CHANNEL + PER_CHANNEL,
    ),
    "GlobalLpPool": (_model(1, "y = GlobalLpPool (x0)"), np.sqrt((X**2).sum((2, 3), keepdims=True))),
    "Pad": (
        _model(1, "y = Pad <paddings = [0, 0, 1, 0, 0, 0, 0, 2]> (x0)"),
        np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 2))),
    ),
    "Pad of set 2": (
        _model(2, 'y = Pad <pads = [0, 0, 1, 0, 0, 0, 0, 0], mode = "edge"> (x0)'),
        np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 0)), "edge"),
    ),
    "Reshape": (_model(1, "y = Reshape <shape = [0, -1]> (x0)"), FLAT),
    "Reshape of set 5": (_model(5, "y = Reshape (x0, c0)", [np.array([2, -1])]), FLAT),
    "Split": (_model(1, "a, y = Split <axis = 1, split = [1, 2]> (x0)"), X[:, 1:]),
    "Split by an input": (_model(1, "a, y = Split <axis = 1> (x0, c0)", [np.array([1, 2])]), X[:, 1:]),
    "Tile": (_model(1, "y = Tile (x0, c0, c1)", [np.array([3]), np.array([2])]), _tiled(X)),
    "Tile of set 6": (_model(6, "y = Tile (x0, c0)", [np.array([1, 1, 3, 1])]), _tiled(X)),
    "Upsample": (
        _model(1, 'y = Upsample <height_scale = 2.0, width_scale = 1.0, mode = "nearest"> (x0)'),
        X.repeat(2, axis=2),
    ),
    "in a body": (
        _model(
            6,
            "y = If (x1) <"
            "then_branch = yes () => (float a) { a = Add <broadcast = 1, axis = 1> (x0, c0) },"
            "else_branch = no () => (float b) { b = Relu (x0) }>",
            [C],
            (X, np.array(True)),
        ),
        X + PER_CHANNEL,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_an_old_operator_gives_what_its_specification_says(row: str) -> None:
    model, wanted = ROWS[row]
    source = read(model)
    assert source.proto.opset_import[0].version == 7
    assert f"operator set {model.opset_import[0].version} is read as operator set 7" in source.notes
    got = run_in_ort(source.proto, _feeds(model), ["y"])["y"]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def _feeds(model: onnx.ModelProto) -> dict[str, npt.NDArray[Any]]:
    """Return what the inputs of a row are fed with: the one of the arrays above that has their shape and type."""
    feeds = {}
    for value in (value for value in model.graph.input if value.name.startswith("x")):
        shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        known = (X, C, FLAT, GATE, np.array(True))
        feeds[value.name] = next(array for array in known if array.shape == shape and array.dtype == dtype)
    return feeds


REFUSED = {
    "y is a Dropout of operator set 6: it draws at random": _model(6, "y = Dropout (x0)"),
    "the rank of a is not known": _model(6, "a = Mystery (x0) y = Add <broadcast = 1, axis = 1> (a, c0)", [C]),
    "x1 is computed at run time": _model(1, "a, y = Split (x0, x1)", inputs=(X, np.array([1, 1]))),
    "expected the name of a type, got 'FLOTA'": _model(1, 'y = Cast <to = "FLOTA"> (x0)'),
    "expected an integer p, got 1.5": _model(1, "y = GlobalLpPool <p = 1.5> (x0)"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_set_7_lacks_is_refused(words: str) -> None:
    with pytest.raises(SourceError, match="export it again") as refusal:
        read(REFUSED[words])
    assert words in str(refusal.value)


NORM = "a = Relu (x0) y = BatchNormalization <epsilon = 0.01> (a, c0, c0, c0, c1)"


def test_training_is_kept_unless_it_is_said_to_be_inference() -> None:
    """A BatchNormalization without is_test is one of training, and stays; ``assume_eval`` makes it an affine."""
    model = _model(6, NORM, [C, C**2])
    assert [verdict.obstacles[0].reason.code for verdict in normfold.inspect(model).verdicts] == ["NF101"]
    node = read(model, assume_eval=True).proto.graph.node[-1]
    assert len(node.output) == 1


def test_a_first_file_has_neither_operator_sets_nor_types_of_attributes() -> None:
    model = _model(1, "y = Concat <axis = 0> (x0, x0)")
    model.ir_version = 1
    del model.opset_import[:]
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.UNDEFINED
    onnx.checker.check_model(read(model).proto)


CAFFE = """
    a = Conv <kernel_shape = [1, 1]> (x0, c0)
    b = BatchNormalization <is_test = 1, consumed_inputs = [0, 0, 0, 1, 1]> (a, c1, c1, c1, c2)
    c = Mul <broadcast = 1, axis = 1> (b, c1)
    d = Add <broadcast = 1, axis = 1> (c, c1)
    e = Dropout <is_test = 1> (d)
    f = Reshape <shape = [2, -1]> (e)
    y = Gemm <transB = 1, broadcast = 1> (f, c3, c1)
"""


def test_an_old_network_is_folded_and_proven(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((3, 51)).astype(np.float32)
    path = tmp_path / "old.onnx"
    onnx.save(_model(1, CAFFE, [weights[:, :3, None, None], C, C**2, weights[:, 3:]]), path)
    result = normfold.optimize(path, tmp_path / "new.onnx")
    operators = [node.op_type for node in onnx.load(tmp_path / "new.onnx").graph.node]
    assert operators == ["Conv", "Constant", "Reshape", "Gemm"]
    assert "operator set 1 is read as operator set 7" in result.notes
    assert normfold.verify(path, tmp_path / "new.onnx")


SAMPLES = Path(onnx.__file__).with_name("backend") / "test" / "data"
OLD_SAMPLES = sorted(SAMPLES.glob("pytorch-*/*/model.onnx"))


def test_old_files_of_onnx_itself_give_the_outputs_that_came_with_them() -> None:
    """The package of onnx carries what PyTorch wrote in operator set 6."""
    compared = 0
    for path in OLD_SAMPLES:
        if onnx.load(path, load_external_data=False).opset_import[0].version > 6:
            continue
        model, data = read(path).proto, path.parent / "test_data_set_0"
        stored = {tensor.name for tensor in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in stored]
        feeds = {name: _tensor(data / f"input_{at}.pb") for at, name in enumerate(names)}
        outputs = [value.name for value in model.graph.output]
        for at, (name, got) in enumerate(run_in_ort(model, feeds, outputs).items()):
            wanted = _tensor(data / f"output_{at}.pb")
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5, err_msg=f"{path.parent.name}: {name}")
        compared += 1
    assert compared > 100


def _tensor(path: Path) -> npt.NDArray[Any]:
    return np.asarray(numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes())))


def test_each_attribute_that_went_is_asked_for_before() -> None:
    """Every attribute of an old operator that set 7 lacks is dropped or has a row; a new name must be looked at."""
    gone: set[str] = set()
    for old in onnx.defs.get_all_schemas_with_history():
        if old.domain == "" and old.since_version < 7:
            gone |= set(old.attributes) - set(onnx.defs.get_schema(old.name, 7, "").attributes)
    assert gone == {
        "axis",
        "broadcast",
        "consumed_inputs",
        "height_scale",
        "is_test",
        "output_sequence",
        "paddings",
        "shape",
        "width_scale",
    }
