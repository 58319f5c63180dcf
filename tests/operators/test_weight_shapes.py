"""Shapes that a weight tells, where shape inference knows nothing of the input."""

from __future__ import annotations

import pytest

from normfold.operators.shape_inference import infer_shapes
from tests.fold.rows import Folds, Refuses, every
from tests.onnx_text import parse

# b is x, but two branches of several ranks make it: nothing is known of it but its type.
EITHER = (
    "e = ReduceSum<keepdims=0>(x) f = Mul(e, e) k = GreaterOrEqual(f, z) "
    "b = If(k) <then_branch = t () => (u) { u = Identity(x) }, else_branch = e () => (o) { o = Flatten(x) }>"
)
HEAD = "(float[N,4,8,8] x) => (float[A,B,C,D] y) <float z = {0}, "
SHAPES = {
    "Conv": ("c = Conv(b, w)", [None, 6, None, None]),
    "ConvTranspose": ("c = ConvTranspose<group=2>(b, v)", [None, 6, None, None]),
    "an operator behind it": ("d = Conv(b, w) c = ReduceMean<axes=[-1]>(d)", [None, 6, None, 1]),
    "in a body": (
        "c = If(k) <then_branch = p () => (q) { q = Conv(b, w) }, else_branch = r () => (s) { s = Conv(b, w) }>",
        [None, 6, None, None],
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    body, expected = SHAPES[name]
    model = parse(f"{HEAD}float[6,4,3,3] w, float[4,3,3,3] v> {{ {EITHER} {body} y = Relu(c) }}")
    known = {value.name: value.type.tensor_type for value in infer_shapes(model).graph.value_info}
    assert [dim.dim_value or None for dim in known["c"].shape.dim] == expected


ROWS: dict[str, Folds | Refuses] = {
    "a Neg behind the mean of a Conv that reads a value of unknown rank": Folds(
        f"{HEAD}float[6,4,3,3] w> {{ {EITHER} c = Conv(b, w) d = ReduceMean<axes=[-1]>(c) y = Neg(d) }}",
        "ReduceSum Mul GreaterOrEqual If Conv ReduceMean",
    ),
}
test_rows = every(ROWS)
