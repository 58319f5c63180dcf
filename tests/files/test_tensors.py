"""Small weights are read from data files; what is written does not point to the data file of the input."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import normfold
from normfold.files.tensors import tensors


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
