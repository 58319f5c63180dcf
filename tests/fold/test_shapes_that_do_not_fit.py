"""A weight or bias of a shape that its operator does not allow is a refusal, never a traceback."""

from __future__ import annotations

import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from normfold.findings.verdict import Outcome
from normfold.fold.engine import fold_affines

TWO_BIASES = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,4,4] x) => (float[1,2,4,4] y)
    <float[2,2,1,1] w = {1, 2, 3, 4}, float[2,2] b = {1, 2, 3, 4}, float[2,1,1] s = {2, 3}>
"""


@pytest.mark.parametrize(
    "tail", ["{ c = Conv(x, w, b) y = Mul(c, s) }", "{ c = Conv(x, w, b) d = Conv(x, w) y = Add(c, d) }"]
)
def test_a_bias_of_two_dimensions_stays(tail: str) -> None:
    model = ir.from_proto(onnx.parser.parse_model(TWO_BIASES + tail))
    for node in model.graph:
        node.outputs[0].shape, node.outputs[0].dtype = ir.Shape([1, 2, 4, 4]), ir.DataType.FLOAT
    before = [node.op_type for node in model.graph]
    verdicts = fold_affines(model)
    assert all(verdict.outcome is Outcome.KEPT for verdict in verdicts)
    assert [node.op_type for node in model.graph] == before
