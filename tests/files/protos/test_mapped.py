"""Weights that stay in the file they came in, the model's own included: the same model, and nothing refers to it."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

import normfold
from normfold.errors import SourceError
from normfold.files import source as source_module
from normfold.files.protos.mapped import MappedTensor
from normfold.files.source import read
from tests.onnx_text import parse


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "_MAPPED_FILE", 1)
    monkeypatch.setattr(source_module, "BIG_INTEGERS", 64)


def _wide() -> onnx.ModelProto:
    """A large MatMul that no norm changes, and one that takes a norm."""
    text = "(float[N,64] x) => (float[N,64] y) <float[64,64] u, float[64,64] w, float[64] k>"
    model = parse(f"{text} {{ a = MatMul (x, u) t = Tanh (a) b = MatMul (t, w) y = Mul (b, k) }}")
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(rng.standard_normal(tensor.dims).astype(np.float32), tensor.name))
    model.graph.initializer[0].doc_string = "kept"
    return model


@pytest.mark.usefixtures("mapped")
def test_a_model_with_its_weights_inside_is_not_read_into_memory(tmp_path: Path) -> None:
    path, output = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(_wide(), path)
    source = read(path)
    assert all(isinstance(source.model().graph.initializers[name].const_value, MappedTensor) for name in "uw")
    assert source.data_files == set()
    result = normfold.optimize(path, output=output)
    assert result.verification
    expected = normfold.optimize(path.read_bytes()).model.graph
    for graph in (result.model.graph, onnx.load(output, load_external_data=False).graph):
        assert graph.node == expected.node
        assert graph.initializer == expected.initializer


@pytest.mark.usefixtures("mapped")
def test_what_was_read_outlives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_wide(), path)
    result = normfold.optimize(path, output=path, in_place=True)
    path.unlink()
    ir.save(result.ir_model, tmp_path / "again.onnx")
    assert normfold.verify(_wide(), tmp_path / "again.onnx")
    np.testing.assert_array_equal(
        result.source.original.graph.initializers["u"].const_value, numpy_helper.to_array(_wide().graph.initializer[0])
    )


@pytest.mark.usefixtures("mapped")
@pytest.mark.parametrize("listed", ["", ", float[64,64] u"])
def test_a_model_that_stays_is_written_whole(listed: str, tmp_path: Path) -> None:
    model = parse(f"(float[N,64] x{listed}) => (float[N,64] y) <float[64,64] u> {{ y = MatMul (x, u) }}")
    model.graph.initializer[0].CopyFrom(_wide().graph.initializer[0])
    path, output = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(model, path)
    result = normfold.optimize(path, output=output)
    assert (result.is_changed, result.is_copy) == (bool(listed), not listed)
    assert onnx.load(output, load_external_data=False).graph.initializer == model.graph.initializer


@pytest.mark.usefixtures("mapped")
def test_a_file_that_changes_before_the_result_is_written_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(_wide(), path)
    result = normfold.optimize(path)
    os.utime(path, (0, 0))
    with pytest.raises(SourceError, match="changed after it was read"):
        result.save(tmp_path / "out.onnx")


@pytest.mark.parametrize("dtype", [np.float32, np.int64, ml_dtypes.bfloat16, ml_dtypes.int4, ml_dtypes.float4_e2m1fn])
def test_a_mapped_tensor_has_the_content_of_every_type(dtype: type, tmp_path: Path) -> None:
    array: np.ndarray = np.arange(9001).astype(np.int8).astype(dtype)
    tensors = [numpy_helper.from_array(array, name) for name in "ab"]
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("a", tensors[0].data_type, [9001])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=12)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    for value in read(tmp_path / "m.onnx").model().graph.initializers.values():
        tensor = value.const_value
        assert isinstance(tensor, MappedTensor)
        np.testing.assert_array_equal(tensor.numpy(), array)
        assert tensor.tobytes() == ir.Tensor(array).tobytes()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the open files as Linux lists them")
def test_the_weights_of_a_data_file_open_it_once(tmp_path: Path) -> None:
    onnx.save(_wide(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    source = read(tmp_path / "m.onnx")
    before = len(os.listdir("/proc/self/fd"))
    arrays = [value.const_value.numpy() for value in source.model().graph.initializers.values() if value.const_value]
    assert len(arrays) > 2
    assert len(os.listdir("/proc/self/fd")) == before + 1
