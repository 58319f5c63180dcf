"""Compare two models in ONNX Runtime with code that shares nothing with the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

_RUNS = 6
"""A Dropout of two elements draws the same ones again in every fourth run."""


def differs(first: Path, second: Path) -> str:
    """Return how two models differ in ONNX Runtime on a random input, or "". It shares no code with the project."""
    one, other = _outputs(first), _outputs(second)
    again = (_outputs(first) for _ in range(_RUNS) if one is not None)
    if one is None or any(each is None or not all(map(_are_equal, one, each)) for each in again):
        return ""  # it does not run, or is random
    if other is None:
        return "ONNX Runtime runs the original and not the result"
    for left, right in zip(one, other, strict=True):
        if left.dtype.kind != "f":
            if left.shape != right.shape:
                return f"another shape: {left.shape} and {right.shape}"
            continue
        finite = np.isfinite(left)
        scale = float(np.abs(left[finite]).max(initial=0.0)) + 1e-30
        error = float(np.abs(left[finite] - right[finite]).max(initial=0.0)) if left.shape == right.shape else np.inf
        if not error <= 1e-2 * scale + 2e-7:  # a Sigmoid of the runtime has steps of 6e-8
            return f"wrong by {error:.3g} of {scale:.3g}"
    return ""


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _outputs(path: Path) -> list[np.ndarray] | None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    floats = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    integers = {
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(uint8)": np.uint8,
        "tensor(bool)": np.bool_,
    }
    kinds = {**floats, **integers}
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed: dict[str, np.ndarray] = {}
        for value in session.get_inputs():
            if value.type not in kinds:
                return None
            sizes = [size if isinstance(size, int) else 2 for size in value.shape]
            if np.prod(sizes, dtype=float) > 1e7:
                return None
            rng = np.random.default_rng(0)
            values = rng.standard_normal(sizes) if value.type in floats else rng.integers(0, 2, sizes)
            feed[value.name] = values.astype(kinds[value.type])
        return [np.array(each) for each in session.run(None, feed)]  # an output may lie in the memory of an input
    except Exception:  # noqa: BLE001  # whatever the runtime says, it does not run
        return None
