"""Random small networks: whatever folds, the network stays what it was, and a second run finds nothing."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import HealthCheck, Phase, given, note, settings

from normfold.findings.verdict import Outcome
from tests.fold.rows import assert_ledger, assert_names, assert_provenance, fold
from tests.onnx_text import TOLERANCE, Tensors, feeds_of, run_in_float64, run_in_ort, text_of, values_of, widened
from tests.random_graphs import networks


def assert_stays_the_same(model: onnx.ModelProto) -> None:
    """The folded model equals the original in float64, and in its own type as far as that is exact itself."""
    note(f"from {text_of(model)}")
    result = fold(model)
    note(f"to {text_of(result.model)}")
    assert_ledger(model, result)
    assert_names(model, result.model)
    if not result.sites(Outcome.FOLDED):
        return
    onnx.checker.check_model(result.model, full_check=True)
    assert_provenance(model, result.model)
    feeds = feeds_of(model)
    shared = [name for name in values_of(model) if name in set(values_of(result.model))]
    exact = run_in_float64(_showing(model, values_of(model)), feeds)
    largest = max((float(np.abs(array).max(initial=0.0)) for array in exact.values()), default=0.0) + 1e-3
    outputs = [value.name for value in model.graph.output]
    wide = run_in_float64(fold(widened(model)).model, feeds)
    _assert_within({name: wide[name] for name in outputs}, exact, 1e-8 * largest)
    ours = run_in_ort(result.model, feeds, shared)
    before = run_in_ort(model, feeds, shared)
    own = max(_difference(before[name], exact[name]) for name in shared)
    narrow = max(TOLERANCE[array.dtype] for array in before.values() if array.dtype in TOLERANCE)
    _assert_within(ours, {name: before[name] for name in shared}, 30 * own + narrow * largest)


def _showing(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return shown


def _assert_within(got: Tensors, wanted: Tensors, limit: float) -> None:
    for name, array in got.items():
        assert array.shape == wanted[name].shape
        worst = _difference(array, wanted[name])
        assert worst <= limit, f"{name} differs by {worst:.3g}, allowed are {limit:.3g}"


def _difference(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max(initial=0.0))


@given(networks())
@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a network is small enough to read; shrinking it would take minutes
    suppress_health_check=list(HealthCheck),
)
def test_random_networks(model: onnx.ModelProto) -> None:
    assert_stays_the_same(model)
