"""A number that an operator needs is one element; what has more or none is a refusal with its reason."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from normfold.findings.reason import Reason, Refusal
from normfold.graph.reader import GraphReader


def _clip(lowest: list[float] | float) -> tuple[GraphReader, ir.Node]:
    x = ir.val("x", ir.DataType.FLOAT, ["N"])
    low = ir.Value(name="low", const_value=ir.tensor(np.asarray(lowest, np.float32)))
    node = ir.node("Clip", [x, low])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[low], opset_imports={"": 17})
    return GraphReader(ir.Model(graph, ir_version=8), graph), node


@pytest.mark.parametrize("lowest", [0.5, [0.5]])
def test_a_number_has_one_element(lowest: list[float] | float) -> None:
    reader, clip = _clip(lowest)
    assert reader.require_number(clip, 1, Reason.DYNAMIC_PARAMETERS) == 0.5


@pytest.mark.parametrize("lowest", [[], [0.5, 1.0]])
def test_what_is_no_number_is_refused(lowest: list[float]) -> None:
    reader, clip = _clip(lowest)
    with pytest.raises(Refusal) as refused:
        reader.require_number(clip, 1, Reason.DYNAMIC_PARAMETERS)
    assert refused.value.obstacle.reason is Reason.DYNAMIC_PARAMETERS
    assert f"{len(lowest)} elements" in refused.value.obstacle.detail
