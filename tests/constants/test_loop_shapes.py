"""Sizes that a Loop keeps in every turn are known in its body; those that change, or are only declared, are not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import normfold
from normfold.constants.loop_shapes import learn_loop_shapes, without_declared_shapes
from normfold.constants.shape_values import shapes_of
from normfold.operators.shape_inference import infer_shapes
from tests.onnx_text import assert_close, parse, run_in_ort

_HEAD = (
    "(float[2,4] x, float[N,3] z, int64 n, bool c) => (float[M,4] y, float[P,3] w) <float[1,4] row = {1,2,3,4},"
    " float[1,3] low = {5,6,7}, int64[1] first = {0}, int64[1] three = {3}, int64[1] one = {1}, float zero = {0}>"
)
BODIES = {
    "both keep theirs": ("o = Tanh(s) p = Relu(t)", [(2, 4), (None, 3)]),
    "one grows": ("o = Concat<axis=0>(s, row) p = Relu(t)", [(None, 4), (None, 3)]),
    "both grow": ("o = Concat<axis=0>(s, row) p = Concat<axis=0>(t, low)", [(None, 4), (None, 3)]),
    "they change places": ("o = Identity(t) p = Identity(s)", [(None, None), (None, None)]),
    "one changes its rank": ("o = Unsqueeze(s, first) p = Relu(t)", [None, (None, 3)]),
    "one takes a size of one that grows": (
        "o = Concat<axis=0>(s, row) e = Shape(o) f = Gather(e, first) k = Concat<axis=0>(f, three) p = Expand(low, k)",
        [(None, 4), (None, 3)],
    ),
    "one grows where another says so": (
        "o = Tanh(s) e = ReduceSum<keepdims=0>(s) f = Greater(e, zero)"
        " p = If(f) <then_branch = a () => (float[A,B] q) { q = Concat<axis=0>(t, low) },"
        " else_branch = b () => (float[C,D] r) { r = Identity(t) }>",
        [(2, 4), (None, 3)],
    ),
}


def _model(body: str) -> onnx.ModelProto:
    return parse(
        f"{_HEAD} {{ y, w = Loop(n, c, x, z) <body = a (int64 i, bool d, float[2,4] s, float[7,3] t)"
        f" => (bool d2, float[2,4] o, float[7,3] p) {{ d2 = Identity(d) {body} }}> }}"
    )


@pytest.mark.parametrize(("body", "kept"), BODIES.values(), ids=BODIES)
def test_what_a_turn_ends_with_again_is_known(body: str, kept: list[tuple[int | None, ...] | None]) -> None:
    given = infer_shapes(without_declared_shapes(_model(body)))
    learned = learn_loop_shapes(given)
    assert learned is not None
    shapes = {
        name: tuple(None if isinstance(size, str) else size for size in shape)  # inference names what it does not know
        for name, shape in shapes_of(learned.graph.node[0].attribute[0].g)
    }
    assert [shapes.get(name) for name in "st"] == kept
    assert learn_loop_shapes(learned) is None


def test_a_loop_inside_a_loop_is_followed_in_its_turn() -> None:
    inner = (
        "u = Loop(n, c, s) <body = b (int64 j, bool e, float[A,B] v) => (bool e2, float[A,B] m)"
        " { e2 = Identity(e) m = Relu(v) }> o = Expand(s, one) p = Relu(t)"
    )
    model = _model(inner)
    learned = learn_loop_shapes(infer_shapes(without_declared_shapes(model)))
    assert learned is not None
    learned = learn_loop_shapes(learned)
    assert learned is not None
    outer = learned.graph.node[0].attribute[0].g
    assert dict(shapes_of(outer.node[1].attribute[0].g))["v"] == (2, 4)


@pytest.mark.parametrize("turns", [0, 1, 5])
@pytest.mark.parametrize("grows", [False, True])
def test_an_optimized_body_reads_the_sizes_that_are_kept(turns: int, grows: bool) -> None:
    """The rows that were there at the beginning are counted in each turn; a file that declares them is not believed."""
    step = "o = Concat<axis=0>(h, row)" if grows else "o = Identity(h)"
    count = "e = Shape(s) f = Gather(e, first) m = Cast<to=1>(f) h = Mul(s, m) p = Relu(t)"
    model = _model(f"{count} {step}")
    result = normfold.optimize(model)
    operators = [node.op_type for node in result.model.graph.node[0].attribute[0].g.node]
    assert ("Shape" in operators) is grows
    feeds = {"x": np.full((2, 4), 0.5, np.float32), "z": np.ones((1, 3), np.float32), "n": np.array(turns)}
    feeds["c"] = np.array(True)
    assert_close(run_in_ort(result.model, feeds, ["y", "w"]), run_in_ort(model, feeds, ["y", "w"]), note="loop")
