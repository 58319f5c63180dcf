"""A model that runs part after part gives the values of one that runs whole."""

from __future__ import annotations

import numpy as np
import pytest

from normfold.runtime import parts
from normfold.runtime.loaded_model import LoadedModel, load
from normfold.runtime.parts import PartedRunner, parts_of
from normfold.runtime.session import FailureKind, ModelRunError, OrtRunner
from tests.onnx_text import parse

TEXT = """(float[N,8] x, float[N,8] u) => (float[N,8] y, float[N,8] early, float[8,8] v, float[N,8] u2)
<float[8,8] v, float[8,8] w, float[8] b>
{ a = MatMul(x, v) early = Relu(a) c = MatMul(early, w) d = Add(c, b) e = Add(d, a) y = MatMul(e, v)
  u2 = Identity(u) }"""


@pytest.fixture
def model() -> LoadedModel:
    return load(parse(TEXT))


def test_parts_hold_weights_up_to_the_limit(model: LoadedModel) -> None:
    assert parts_of(model, 10**6) == [range(7)]
    assert parts_of(model, 8 * 8 * 4) == [range(2), range(2, 3), range(3, 5), range(5, 7)]
    assert parts_of(model, 1) == [range(2), range(2, 3), range(3, 5), range(5, 7)]


@pytest.mark.parametrize("limit", [1, 300, 600])
@pytest.mark.parametrize("kept", [1, 10**6])
def test_the_values_are_those_of_a_whole_run(
    model: LoadedModel, limit: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs that are inputs, initializers, or read by a later part too, whether values lie on the disk or not."""
    monkeypatch.setattr(parts, "KEPT_BYTES", kept)
    rng = np.random.default_rng(0)
    feed = {name: rng.standard_normal((3, 8)).astype(np.float32) for name in ("x", "u")}
    names = ["y", "early", "v", "u2", "u"]
    with OrtRunner(model) as whole, PartedRunner(model, limit, OrtRunner) as parted:
        expected = whole.run(feed, names[:-1])
        found = parted.run(feed, names)
    assert all(map(np.array_equal, [*expected, feed["u"]], found))
    assert not any(isinstance(each, np.memmap) for each in found)


def test_a_sequence_between_parts_is_no_value_to_feed() -> None:
    text = """(float[8,8] x) => (float[8,8] y) <float[8,8] w, float[8,8] v>
    { a = MatMul(x, w) s = SequenceConstruct(a, x) c = ConcatFromSequence<axis=0>(s) y = MatMul(x, v) z = Relu(c) }"""
    model = load(parse(text.replace("float[8,8] y)", "float[8,8] y, float[16,8] z)")))
    with PartedRunner(model, 1, OrtRunner) as parted:
        assert len(parted.run({"x": np.eye(8, dtype=np.float32)}, ["y", "z"])) == 2
    text = """(float[8,8] x) => (float[16,8] z) <float[8,8] w, float[8,8] v>
    { a = MatMul(x, w) s = SequenceConstruct(a, x) b = MatMul(x, v) c = ConcatFromSequence<axis=0>(s) z = Relu(c) }"""
    with PartedRunner(load(parse(text)), 1, OrtRunner) as parted, pytest.raises(ModelRunError) as caught:
        parted.run({"x": np.eye(8, dtype=np.float32)}, ["z"])
    assert caught.value.kind is FailureKind.RUN
