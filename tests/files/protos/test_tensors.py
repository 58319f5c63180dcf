"""Small weights are read from data files, sparse ones become dense; no tensor written points to data of the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import normfold
from normfold.errors import SourceError
from normfold.files.protos import tensors as tensor_files
from normfold.files.protos.tensors import tensors


@pytest.mark.parametrize("last", ["Mul (a, s)", "Tanh (a)"])
def test_small_weights_do_not_point_to_the_data_file_of_the_input(tmp_path: Path, last: str) -> None:
    """Those of norms and the constants of nodes are small: they are written with the graph."""
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2] x) => (float[N, 2] z)
    <float[2] g = {{1, 2}}, float[2] s = {{1, 2}}, float[2, 2] w = {{1, 2, 3, 4}}> {{
        y = LayerNormalization (x, g)
        c = Constant <value = float[2] {{1, 2}}> ()
        e = Max (y, c)
        a = MatMul (e, w)
        z = {last}
    }}""")
    for tensor in tensors(model):
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    path, target = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0, convert_attribute=True)
    normfold.optimize(path, target)
    (tmp_path / "m.data").unlink()
    onnx.checker.check_model(onnx.load(target), full_check=True)


def _with_sparse_weight(
    place: str, indices: list[int] | list[tuple[int, int]], dims: tuple[int, int] = (3, 2)
) -> bytes:
    """Return a MatMul with a sparse weight [3, 2], and a norm behind it."""
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 2] y)
    <float[2] s = {1, 2}, float[2] b = {0.5, -1}, float[2] m = {1, 0}, float[2] v = {2, 1}> {
        h = MatMul (x, w)
        y = BatchNormalization (h, s, b, m, v)
    }""")
    values = helper.make_tensor("w", TensorProto.FLOAT, [len(indices)], [1.0 + i for i in range(len(indices))])
    where = np.array(indices, np.int64)
    sparse = helper.make_sparse_tensor(values, onnx.numpy_helper.from_array(where, "where"), (3, 2))
    if place == "initializer":
        model.graph.sparse_initializer.append(sparse)
    else:
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=sparse))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("place", ["initializer", "constant"])
@pytest.mark.parametrize("indices", [[0, 3, 4], [(0, 0), (1, 1), (2, 0)]])
def test_a_sparse_weight_is_folded_into(tmp_path: Path, place: str, indices: list[int] | list[tuple[int, int]]) -> None:
    model = _with_sparse_weight(place, indices)
    path, target = tmp_path / "m.onnx", tmp_path / "out.onnx"
    path.write_bytes(model)
    result = normfold.optimize(path, target)
    assert len(result.changes) == 1
    assert "1 sparse tensors are stored with their zeros now" in result.notes
    assert normfold.verify(path, target)
    feed = {"x": np.array([[1, 2, 3], [-1, 0.5, 0]], np.float32)}
    before, after = (onnxruntime.InferenceSession(each).run(None, feed)[0] for each in (model, str(target)))
    np.testing.assert_allclose(after, before, rtol=1e-5)


@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_a_sparse_weight_that_is_none_or_too_large_is_refused(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="the sparse tensor 'w' is not valid: index 9 is out of bounds"):
        normfold.optimize(_with_sparse_weight(place, [0, 9]))
    monkeypatch.setattr(tensor_files, "MOST_DENSE_BYTES", 23)
    with pytest.raises(SourceError, match="expected sparse tensors up to 23 bytes with their zeros, got 24"):
        normfold.optimize(_with_sparse_weight(place, [0, 3]))
