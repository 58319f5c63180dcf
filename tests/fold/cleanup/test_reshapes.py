"""Reshapes that others undo, with operators on single elements in between."""

from __future__ import annotations

import pytest

from normfold.fold.cleanup.tidy import tidy
from tests.fold.cleanup.test_tidy import assert_tidied

ALL = ", ".join(map(str, range(24)))
CONSTANTS = (
    "<int64[3] wide = {2, 3, 4}, int64[2] flat = {-1, 4}, int64[2] long = {2, 12}, float half = {0.5},"
    "float[1,1,1] deep = {0.5}, float[4] row = {1, 2, 3, 4}, int64[1] one = {-1},"
    f"int64[2,12] all = {{{ALL}}}, int64[2,12] some = {{{ALL[:-2]}22}}>"
)
GELU = "c = Erf (b) d = Add (c, half) e = Mul (b, d)"
# Body from r [6,4] to y [6,4], and the operators that are left.
ROWS = {
    "a Gather of all entries in order": (  # stayed: as_strided of torch.export
        "b = Reshape (r, one) c = Gather (b, all) d = Tanh (c) y = Reshape (d, flat)",
        "Neg Tanh",
    ),
    "a Gather that takes one entry twice": (
        "b = Reshape (r, one) c = Gather (b, some) d = Tanh (c) y = Reshape (d, flat)",
        "Neg Reshape Gather Tanh Reshape",
    ),
    "one operator": ("b = Reshape (r, wide) c = Tanh (b) y = Reshape (c, flat)", "Neg Tanh"),
    "a part with two ways": (f"b = Reshape (r, wide) {GELU} y = Reshape (e, flat)", "Neg Erf Add Mul"),
    "two that undo it": (
        "b = Reshape (r, wide) c = Tanh (b) d = Reshape (c, flat) e = Reshape (b, flat) y = Sub (d, e)",
        "Neg Tanh Sub",
    ),
    "an Unsqueeze and a Reshape": (
        "a0 = Constant <value = int64[1] {0}> () b = Unsqueeze (r, a0) c = Relu (b) y = Reshape (c, flat)",
        "Neg Relu",
    ),
    "another shape comes out": (
        "b = Reshape (r, wide) c = Tanh (b) d = Reshape (c, long) y = Reshape (d, flat)",
        "Neg Tanh",
    ),
    "a value that is read elsewhere": (
        "b = Reshape (r, wide) c = Tanh (b) d = Reshape (c, flat) e = ReduceSum <keepdims = 0> (b) y = Add (d, e)",
        "Neg Reshape Tanh Reshape ReduceSum Add",
    ),
    "numbers by column": (
        "b = Reshape (r, wide) c = Mul (b, row) y = Reshape (c, flat)",
        "Neg Reshape Mul Reshape",
    ),
    "a number of more axes": (
        "b = Reshape (r, wide) c = Mul (b, deep) y = Reshape (c, flat)",
        "Neg Reshape Mul Reshape",
    ),
    "another operand": (
        "b = Reshape (r, wide) c = Reshape (x, wide) d = Add (b, c) y = Reshape (d, flat)",
        "Neg Reshape Reshape Add Reshape",
    ),
    "a sum over elements": (
        "b = Reshape (r, wide) c = Softmax (b) y = Reshape (c, flat)",
        "Neg Reshape Softmax Reshape",
    ),
}


@pytest.mark.parametrize(("body", "left"), ROWS.values(), ids=ROWS)
def test_what_is_undone_is_left_out(body: str, left: str) -> None:
    assert_tidied(f"(float[6,4] x) => (float[6,4] y) {CONSTANTS} {{ r = Neg (x) {body} }}", left, tidy)
