"""A model whose runs take long, or much memory, gets fewer feeds, and the proof says so."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np
import pytest

from normfold.runtime.loaded_model import load
from normfold.runtime.session import FailureKind, ModelRunError
from normfold.verify import Equivalence, prove, verify
from normfold.verify.inputs.generate import Feed
from normfold.verify.inputs.largest_value import bytes_of_largest_value
from tests.onnx_text import parse

accepted_inputs = importlib.import_module("normfold.verify.checks.accepted_inputs")
MODEL = "(float[N,4] x) => (float[N,3] y) <float[4,3] w> { y = MatMul(x, w) }"


def test_a_slow_model_gets_two_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = parse(MODEL)
    assert len(prove(model, model, []).feeds) == 4
    monkeypatch.setattr(accepted_inputs, "SLOW_SECONDS", -1.0)
    found = verify(model, model)
    assert len(found.feeds) == 2
    assert "two feeds only" in found.notes[0]


def test_nothing_as_large_is_tried_after_one_that_took_too_much_memory() -> None:
    class Proposals:
        def proposals(self, index: int, working: dict[str, int] | None) -> Iterator[tuple[Feed, dict[str, int]]]:
            yield from ((Feed({}, str(size)), {"N": size}) for size in (8, 8, 16, 4, 2, 2, 1))

    tried = []

    def run(feed: Feed) -> dict[str, np.ndarray]:
        tried.append(int(feed.text))
        if tried[-1] > 2:
            raise ModelRunError(FailureKind.MEMORY, "")
        return {"y": np.ones(1)}

    assert accepted_inputs._first_that_runs(Proposals(), 0, None, run)[2] == {"N": 2}
    assert tried == [8, 4, 2]


def test_a_model_that_takes_more_memory_than_there_is_is_undecided() -> None:
    model = parse(f"(float[N] x) => (float[M] y) <int64[1] s = {{{2**50}}}> {{ y = Expand (x, s) }}")
    found = prove(model, model, [])
    assert found.verdict is Equivalence.INCONCLUSIVE
    assert "more memory than there is" in " ".join(found.notes)


def test_a_size_that_doubles_at_every_operator_is_not_run() -> None:
    """Each run took memory up to the limit, for seconds, before it failed."""
    doubled = " ".join(f"x{i + 1} = Concat<axis = 0>(x{i}, x{i})" for i in range(40))
    model = parse(f"(float[N,4] x) => (float[1,4] y) {{ x0 = Relu(x) {doubled} y = ReduceMean<axes = [0]>(x40) }}")
    found = prove(model, model, [])
    assert found.verdict is Equivalence.INCONCLUSIVE
    assert "one value would have at least" in " ".join(found.notes)
    assert bytes_of_largest_value(load(model), frozenset({("x", (3, 4))})) > 2**31  # onnx 1.19 has 31 bits a size


@pytest.mark.parametrize(("size", "runs"), [("N", False), ("40000", True)])
def test_sizes_that_are_free_are_not_chosen_so_that_a_value_is_huge(size: str, runs: bool) -> None:
    """A batch that is squared took all memory that was free; where the model asks for its size, it runs."""
    model = load(parse(f"(float[{size},1] x) => (float[M] y) {{ t = Transpose(x) s = MatMul(x, t) y = Neg(s) }}"))
    feed, ran = Feed({"x": np.ones((40000, 1), np.float32)}, ""), {"y": np.ones(1)}
    limited = accepted_inputs._within_memory(model, lambda _: ran)
    if runs:
        assert limited(feed) is ran
        return
    with pytest.raises(ModelRunError) as caught:
        limited(feed)
    assert caught.value.kind is FailureKind.MEMORY
