"""Skip tests about what some version of ONNX Runtime cannot do or does wrongly, where the installed one is right."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.onnx_text import feeds_of


def skip_if_loaded(model: onnx.ModelProto) -> None:
    """Skip the test where ONNX Runtime has kernels for ``model``."""
    try:
        onnxruntime.InferenceSession(model.SerializeToString())
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
        return
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        return
    pytest.skip(f"ONNX Runtime {onnxruntime.__version__} runs this model")


def skip_if_compiled_right(model: onnx.ModelProto) -> None:
    """Skip the test where ONNX Runtime's optimizations leave the outputs of ``model`` as they are."""
    levels = onnxruntime.GraphOptimizationLevel
    outputs = []
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        outputs.append(onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds_of(model)))
    if all(np.allclose(one, other, rtol=1e-3, atol=1e-3) for one, other in zip(*outputs, strict=True)):
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} compiles this model rightly")
