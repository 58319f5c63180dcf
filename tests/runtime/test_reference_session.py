"""Where ONNX Runtime has no kernel, onnx's reference evaluator runs both models, and the report says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import normfold
from normfold.runtime import reference_session as reference
from normfold.runtime.loaded_model import load
from normfold.runtime.reference_session import ReferenceRunner
from normfold.runtime.session import FailureKind, ModelRunError
from normfold.verify import Equivalence, ProofOptions, Site, check, prove
from tests.onnx_text import parse
from tests.runtime_faults import skip_if_loaded
from tests.sweeps.hostile.cases import CASES
from tests.verify.nets import edited

NEWEST = onnx.defs.onnx_opset_version()  # what an older onnx has is in part known to the runtime
NORM = "BatchNormalization(c, s, b, m, var)"
IMAGES = "float[4,3,3,3] w, float[4] s, float[4] b, float[4] m, float[4] var"
UNKNOWN = {
    "an operator set newer than the runtime": parse(
        f"(float[N,3,8,8] x) => (float[N,4,6,6] y) <{IMAGES}> {{ c = Conv(x, w) y = {NORM} }}",
        opset=NEWEST - 1,
        ir_version=onnx.IR_VERSION - 1,
    ),
    "a file format newer than the runtime": parse(
        f"(float[N,3,8,8] x) => (float[N,4,6,6] y) <{IMAGES}> {{ c = Conv(x, w) y = {NORM} }}",
        opset=NEWEST - 2,
        ir_version=onnx.IR_VERSION,
    ),
    "a type without a kernel": parse(
        """(float[N,4] x) => (uint16[N,4] z, float[N,4] y) <float[4,4] w, float[4] s, uint16[4] k = {1, 2, 3, 4}>
        { c = MatMul(x, w) y = Mul(c, s) e = Abs(y) f = Cast<to=4>(e) z = BitShift<direction="LEFT">(f, k) }"""
    ),
}


@pytest.mark.parametrize("model", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_the_reference_evaluator_stands_in(model: onnx.ModelProto) -> None:
    skip_if_loaded(model)
    result = normfold.optimize(model)
    assert result.verification is not None
    [note] = result.verification.notes
    assert "both models were run by onnx's reference evaluator, because: ONNX Runtime" in note
    weight = next(t.name for t in result.model.graph.initializer if len(t.dims) > 1)
    broken = edited(result.model, weight, lambda w: w * 1.001)
    sites = [Site(value, v.finding.name) for v in result.changes for value in v.sites]
    assert prove(model, broken, sites).failing_folds == tuple(v.finding.name for v in result.changes)


def test_stored_outputs_are_compared_where_the_runtime_has_no_kernel(tmp_path: Path) -> None:
    model = UNKNOWN["an operator set newer than the runtime"]
    skip_if_loaded(model)
    folder = _stored(tmp_path, model, 1.0)
    result = check(model, ProofOptions(inputs=(folder,)))
    assert result
    assert any("reference evaluator" in note for note in result.notes)
    assert check(model, ProofOptions(inputs=(_stored(tmp_path, model, 1.01),))).verdict is Equivalence.DIFFERENT


def _stored(folder: Path, model: onnx.ModelProto, factor: float) -> str:
    """One input, and the model's output times ``factor``, as a test_data_set."""
    place = folder / f"set_{factor}"
    place.mkdir()
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    with ReferenceRunner(load(model)) as runner:
        [y] = runner.run({"x": x}, ["y"])
    for name, array in (("input_0", x), ("output_0", (y * factor).astype(np.float32))):
        (place / f"{name}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())
    return str(place)


def test_an_unknown_operator_is_left_unproven() -> None:
    model = parse("(float[4,4] x) => (float[4,4] y) { y = test.Unknown(x) }", domains='"test":1')
    result = prove(model, model)
    assert result.verdict is Equivalence.EQUIVALENT
    assert result.unproven_operators


def test_a_model_too_large_for_the_reference_evaluator_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "LARGEST_BYTES", 100)
    model = UNKNOWN["a file format newer than the runtime"]
    skip_if_loaded(model)
    assert prove(model, model).verdict is Equivalence.INCONCLUSIVE


def test_the_reference_evaluator_is_stopped_in_time() -> None:
    steps = " ".join(f"v{i + 1} = Neg(v{i})" for i in range(2000))
    model = parse(f"(float[4] x) => (float[4] y) {{ v0 = Abs(x) {steps} y = Neg(v2000) }}")
    with ReferenceRunner(load(model), seconds=1e-4) as runner, pytest.raises(ModelRunError) as caught:
        runner.run({"x": np.ones(4, np.float32)}, ["y"])
    assert caught.value.kind is FailureKind.TIME


@pytest.mark.parametrize("opset", [8, 9, 13, 14, 17])
def test_a_batch_normalization_of_every_version_is_inference(opset: int) -> None:
    model = parse(
        """(double[2,3,4] x) => (double[2,3,4] y) <double[3] g, double[3] b, double[3] m, double[3] var>
        { y = BatchNormalization(x, g, b, m, var) }""",
        opset=opset,
        ir_version=4,
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    weights = {t.name: numpy_helper.to_array(t)[:, None] for t in model.graph.initializer}
    with ReferenceRunner(load(model)) as runner:
        [y] = runner.run({"x": x}, ["y"])
    expected = (x - weights["m"]) / np.sqrt(weights["var"] + 1e-5) * weights["g"] + weights["b"]
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_the_turns_of_a_loop_are_bounded(tmp_path: Path) -> None:
    """2^31 turns of one operator each end with the time of the run."""
    model = onnx.load(CASES["endless_loop_of_constants"](tmp_path))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    model.graph.node[0].input[1] = "true"
    runner = ReferenceRunner(load(model), seconds=0.3)
    with pytest.raises(ModelRunError) as caught:
        runner.run({"x": np.ones((2, 4), np.float32)}, ["y"])
    assert caught.value.kind is FailureKind.TIME


def test_one_operator_is_bounded() -> None:
    model = parse("(float[1,8,512,512] x) => (float[1,8,N,M] y) { y = MaxPool <kernel_shape = [2, 2]> (x) }")
    runner = ReferenceRunner(load(model), seconds=0.3)
    with pytest.raises(ModelRunError) as caught:
        runner.run({"x": np.ones((1, 8, 512, 512), np.float32)}, ["y"])
    assert caught.value.kind is FailureKind.TIME


def test_the_elements_of_a_run_are_bounded_and_those_of_runs_that_fail_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The evaluator keeps each value until the end; a batch of 16,000 took 4.4 GB."""
    monkeypatch.setattr(reference, "MOST_COMPUTED", 1000)
    body = "b (int64 i, bool c, float[N] v) => (bool d, float[N] w) { d = Identity(c) w = Neg(v) }"
    text = f"(float[N] x) => (float[N] y) <int64 n = {{8}}, bool t = {{1}}> {{ y = Loop(n, t, x) <body = {body}> }}"
    with ReferenceRunner(load(parse(text))) as runner:
        for _ in range(3):
            assert runner.run({"x": np.ones(100, np.float32)}, ["y"])[0].size == 100
        for size in (120, 20):
            with pytest.raises(ModelRunError) as caught:
                runner.run({"x": np.ones(size, np.float32)}, ["y"])
            assert caught.value.kind is FailureKind.MEMORY
