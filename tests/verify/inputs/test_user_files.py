"""The user's own inputs: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from normfold.errors import UsageError
from normfold.verify import Equivalence, ProofOptions, Stage, check, prove
from normfold.verify.inputs.user_files import InputSpec, parse_spec
from tests.onnx_text import parse

SPECS = {
    "x=1x3x224x224": InputSpec("x", (1, 3, 224, 224)),
    "x=2x8:float16": InputSpec("x", (2, 8), "float16"),
    "x=2:uint8:0..255": InputSpec("x", (2,), "uint8", (0, 255)),
    "x=2:-1..1": InputSpec("x", (2,), "", (-1, 1)),
    "x=:int64:0..100": InputSpec("x", None, "int64", (0, 100)),
    "x=scalar": InputSpec("x", ()),
    "input:0=1x3:float32:-1.5..2e-1": InputSpec("input:0", (1, 3), "float32", (-1.5, 0.2)),
}


@pytest.mark.parametrize("text", SPECS)
def test_a_spec_is_read(text: str) -> None:
    assert parse_spec(text) == SPECS[text]


@pytest.mark.parametrize("text", ["x", "x=", "=1x3", "x=1x", "x=1x3:floaty9", "x=1x3:0..", "x=1x3:2..1", "x=ax3"])
def test_a_malformed_spec_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_spec(text)


@pytest.fixture
def model() -> onnx.ModelProto:
    return parse("(float[N,3] x, float[N,3] z) => (float[N,3] y) { a = Mul(x, z) y = Relu(a) }")


def save_set(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, array in arrays.items():
        (folder / f"{name}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())
    return folder


def test_npz_and_test_data_sets_are_feeds(tmp_path: Path, model: onnx.ModelProto) -> None:
    x, z = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), -1, np.float32)
    np.savez(tmp_path / "feed.npz", x=x, z=z)
    data = save_set(tmp_path / "test_data_set_0", {"input_0": x, "input_1": z})
    result = prove(model, model, (), ProofOptions(inputs=(str(tmp_path / "feed.npz"), str(data))))
    assert result
    assert result.feeds == ("feed.npz", "test_data_set_0")


def test_stored_outputs_are_compared(tmp_path: Path, model: onnx.ModelProto) -> None:
    x, z = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    right = save_set(tmp_path / "right", {"input_0": x, "input_1": z, "output_0": x * 2})
    wrong = save_set(tmp_path / "wrong", {"input_0": x, "input_1": z, "output_0": x * 2.01})
    bare = save_set(tmp_path / "bare", {"input_0": x, "input_1": z})
    assert check(model, ProofOptions(inputs=(str(right),)))
    result = check(model, ProofOptions(inputs=(str(right), str(wrong))))
    assert result.verdict is Equivalence.DIFFERENT
    assert "2.0" in result.failures[0].expected
    assert {c.stage for c in result.failures} == {Stage.UNOPTIMIZED, Stage.DEFAULT}, "the runtime is not the cause"
    with pytest.raises(UsageError, match="output_0"):
        check(model, ProofOptions(inputs=(str(bare),)))


def test_one_array_serves_one_input(tmp_path: Path, model: onnx.ModelProto) -> None:
    single = parse("(float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    assert prove(single, single, (), ProofOptions(inputs=(str(tmp_path / "x.npy"),)))
    with pytest.raises(UsageError, match="one input"):
        prove(model, model, (), ProofOptions(inputs=(str(tmp_path / "x.npy"),)))


def test_names_that_do_not_fit_are_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    np.savez(tmp_path / "feed.npz", x=np.ones((2, 3), np.float32))
    with pytest.raises(UsageError, match="expected the inputs x, z"):
        prove(model, model, (), ProofOptions(inputs=(str(tmp_path / "feed.npz"),)))
    with pytest.raises(UsageError, match="the inputs are x, z"):
        prove(model, model, (), ProofOptions(input_specs=("q=2x3",)))


def test_a_pickle_is_not_opened(tmp_path: Path, model: onnx.ModelProto) -> None:
    np.savez(tmp_path / "feed.npz", x=np.array([{"a": 1}], dtype=object), z=np.ones((2, 3), np.float32))
    with pytest.raises(UsageError, match="feed"):
        prove(model, model, (), ProofOptions(inputs=(str(tmp_path / "feed.npz"),)))


def test_data_that_the_model_rejects_is_inconclusive(tmp_path: Path, model: onnx.ModelProto) -> None:
    np.savez(tmp_path / "feed.npz", x=np.ones((2, 3), np.float32), z=np.ones((4, 3), np.float32))
    result = prove(model, model, (), ProofOptions(inputs=(str(tmp_path / "feed.npz"),)))
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "pass --inputs" in str(result)


def test_data_of_another_width_is_converted_and_that_is_said(tmp_path: Path, model: onnx.ModelProto) -> None:
    """numpy makes float64 and int64 unless asked for another type."""
    np.savez(tmp_path / "feed.npz", x=np.ones((2, 3)), z=np.ones((2, 3), np.float32))
    result = prove(model, model, (), ProofOptions(inputs=(str(tmp_path / "feed.npz"),)))
    assert result
    assert result.feeds == ("feed.npz (x from float64)",)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.ones((2, 3), np.int64), "expected x in feed.npz as float32, got int64"),
        (np.ones((2, 4), np.float32), "expected x in feed.npz of shape Nx3, got 2x4"),
        (np.ones(3, np.float32), "expected x in feed.npz of shape Nx3, got 3"),
    ],
    ids=["kind", "size", "rank"],
)
def test_data_that_no_model_of_this_interface_takes_is_refused(
    tmp_path: Path, model: onnx.ModelProto, x: np.ndarray, expected: str
) -> None:
    np.savez(tmp_path / "feed.npz", x=x, z=np.ones((2, 3), np.float32))
    with pytest.raises(UsageError) as caught:
        prove(model, model, (), ProofOptions(inputs=(str(tmp_path / "feed.npz"),)))
    assert expected in str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("spec", ["x=2x4", "x=3", "x=2x3:int64"])
def test_a_spec_that_does_not_fit_is_refused(model: onnx.ModelProto, spec: str) -> None:
    with pytest.raises(UsageError, match="expected x"):
        prove(model, model, (), ProofOptions(input_specs=(spec,)))


def test_a_folder_of_sets_is_all_of_them(tmp_path: Path, model: onnx.ModelProto) -> None:
    for number in (0, 2, 10):
        arrays = {f"input_{i}": np.full((2, 3), number, np.float32) for i in range(2)}
        save_set(tmp_path / f"test_data_set_{number}", arrays)
    result = prove(model, model, (), ProofOptions(inputs=(str(tmp_path),)))
    assert result.feeds == ("test_data_set_0", "test_data_set_2", "test_data_set_10")
