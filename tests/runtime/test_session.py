"""One way to open a session of ONNX Runtime, and what never reaches it."""

from __future__ import annotations

from normfold.verify import Equivalence, prove
from tests.onnx_text import parse


def test_empty_named_training_outputs_never_reach_the_runtime() -> None:
    """ONNX Runtime 1.31 dies on them at DISABLE_ALL, and the test with it."""
    model = parse(
        """(float[2,4,3] x) => (float[2,4,3] y) <float[4] s, float[4] b, float[4] m, float[4] var>
        { y = BatchNormalization<training_mode=1>(x, s, b, m, var) }"""
    )
    model.graph.node[0].output.extend(["", ""])
    result = prove(model, model)
    assert result.verdict is Equivalence.INCONCLUSIVE
    assert "crashes ONNX Runtime" in str(result)
