"""Random operators: compared with a seed, and behind them with equal draws."""

from __future__ import annotations

import pytest
from onnx import numpy_helper

from normfold.runtime.loaded_model import load
from normfold.runtime.random_operators import draws
from normfold.verify import Equivalence, Site, prove
from tests.onnx_text import parse
from tests.verify.nets import edited


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("y = Dropout(x)", False),
        ("y = Dropout(x, r)", False),
        ("y = Dropout(x, r, t)", True),
        ("y = RandomNormalLike<seed = 1.0>(x)", True),
        ("y = Relu(x)", False),
    ],
)
def test_what_draws_numbers(node: str, expected: bool) -> None:
    """A session over what draws is opened again for each run, which costs a session a run."""
    text = f"(float[2,3] x) => (float[2,3] y) <float r = {{0.5}}, bool t = {{0}}> {{ {node} }}"
    assert draws(load(parse(text))) is expected


def test_a_random_operator_with_a_seed_is_compared() -> None:
    text = """(float[4,4] x) => (float[4,4] y) <float[4,4] w>
        { r = RandomNormalLike<seed=3.0>(x) a = MatMul(x, w) y = Add(a, r) }"""
    model = parse(text)
    assert prove(model, model)
    assert prove(model, edited(model, "w", lambda w: w * 1.01)).verdict is Equivalence.DIFFERENT


def test_behind_a_random_operator_the_sites_are_compared_with_equal_draws() -> None:
    raw = parse("""(float[N,8] x) => (float[N,8] y) <float[8,8] w, float[8] g>
        { a = MatMul(x, w) b = Mul(a, g) r = RandomNormalLike(b) y = Add(b, r) }""")
    gain = {t.name: numpy_helper.to_array(t) for t in raw.graph.initializer}
    folded = edited(raw, "w", lambda w: w * gain["g"])
    folded.graph.node[0].output[0] = "b"
    del folded.graph.node[1]
    assert prove(raw, folded, [Site("b", "scale")])
    assert prove(raw, edited(folded, "w", lambda w: w * 1.001), [Site("b", "scale")]).failing_folds == ("scale",)
    assert prove(raw, folded).verdict is Equivalence.INCONCLUSIVE
