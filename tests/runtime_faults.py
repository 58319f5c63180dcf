"""What some version of ONNX Runtime cannot do or does wrongly: a test skips by a probe of the installed one.

Tests about a fault skip where the runtime is right, all others where it has no kernel or a wrong one. The newest
release that was measured runs everything, so that on it and on newer ones nothing is skipped for want of a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NoReturn

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from normfold import verify
from normfold.fuse.choose import OPERATOR_OF
from normfold.targets.table import target_named
from tests.onnx_text import Tensors, feeds_of, parse, run_in_ort

_RUNS_ALL = (1, 31)
_REFUSALS = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.NotImplemented,
    failures.RuntimeException,
)


def _is_old() -> bool:
    return tuple(map(int, onnxruntime.__version__.split(".")[:2])) < _RUNS_ALL


def skip_if_not_provable(*models: onnx.ModelProto) -> None:
    """Skip the test where an old ONNX Runtime does not load or run one of the models."""
    for model in models if _is_old() else ():
        try:
            onnxruntime.InferenceSession(model.SerializeToString())
        except _REFUSALS as refusal:
            _skip(refusal)
        found = verify(model, model)
        if not found:
            _skip(found)


def skip_if_casts_are_joined() -> None:
    """Skip the test where ONNX Runtime makes one Cast to bool of two, so that 0.5 becomes True and not False."""
    model = parse("(float[1] x) => (bool[1] y) { i = Cast<to = 6>(x) y = Cast<to = 9>(i) }")
    if run_in_ort(model, {"x": np.full(1, 0.5, np.float32)}, ["y"])["y"].any():
        _skip("it makes one Cast of two")


def _skip(why: object) -> NoReturn:
    pytest.skip(f"ONNX Runtime {onnxruntime.__version__}: {str(why).splitlines()[0]}")


def run_or_skip(model: onnx.ModelProto, feeds: Tensors, names: Iterable[str]) -> Tensors:
    """Return values of a model; skip where an ONNX Runtime older than the newest measured refuses it."""
    try:
        return run_in_ort(model, feeds, names)
    except _REFUSALS as refusal:
        if not _is_old():
            raise
        _skip(refusal)


def skip_without_kernels(operators: Iterable[str]) -> None:
    """Skip the test where the installed ONNX Runtime has no kernel for a norm that a form is written as."""
    missing = (set(operators) & set(OPERATOR_OF.values())) - target_named("onnxruntime").operators.keys()
    if missing:
        pytest.skip(f"ONNX Runtime {onnxruntime.__version__} has no kernel for {', '.join(sorted(missing))}")


@cache
def layer_norm_cancels() -> bool:
    """Say whether LayerNormalization subtracts the square of the mean, and so loses its digits far from zero."""
    model = parse("(float[2,8] x) => (float[2,8] y) <float[8] g = {1,1,1,1,1,1,1,1}> { y = LayerNormalization(x, g) }")
    data = 1000 + np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    wide = data.astype(np.float64)
    right = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    return float(np.abs(run_in_ort(model, {"x": data}, ["y"])["y"] - right).max()) > 0.01


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
