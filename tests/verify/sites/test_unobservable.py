"""A difference that no output can show is no fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import normfold
from tests.onnx_text import parse
from tests.verify.nets import edited
from tests.verify.sites.nets import TABLE


def one_more(w: np.ndarray) -> np.ndarray:
    w[1] += 1
    return w


UNOBSERVABLE = {
    "multiplied by zero": (
        """(float[1,3,8,8] x) => (float[1,4,6,6] y) <float[3,3,3,3] w, float[1,3,1,1] g = {1,0,1}, float[4,3,1,1] v>
        { a = Conv(x, w) r = Mul(a, g) y = Conv(r, v) }""",
        {"w": one_more},
    ),
    "a shift before a norm": (
        """(float[1,3,8,8] x) => (float[1,3,8,8] y) <float[3,3,1,1] w, float[3] b, float[3] s, float[3] t>
        { a = Conv(x, w, b) y = InstanceNormalization(a, s, t) }""",
        {"b": one_more},
    ),
    "what a mask puts": (
        """(float[2,5,5] x, bool[2,1,5] mask) => (float[2,5,5] y) <float[1] far>
        { p = Where(mask, x, far) y = Softmax(p) }""",
        {"far": lambda far: np.maximum(far, -1e9)},
    ),
}


@pytest.mark.parametrize(("text", "changes"), UNOBSERVABLE.values(), ids=UNOBSERVABLE.keys())
def test_what_no_output_reads_is_no_fault(text: str, changes: dict[str, Callable[[np.ndarray], np.ndarray]]) -> None:
    raw = same = parse(text, values={"far": -np.inf} if "far>" in text else None)
    for name, change in changes.items():
        same = edited(same, name, change)
    found = normfold.verify(raw, same)
    assert found, found
    assert "no output reads what differs" in found.notes[-1]


def test_a_row_that_no_index_can_select_is_not() -> None:
    text = TABLE.replace("int64[1,8] i", "float[1,8,4] x").replace(
        "a = Gather(t, i) y = MatMul(a, v)",
        "i = Constant<value_ints=[1,2,3,4,5,6,7,8]>() a = Gather(t, i) m = MatMul(a, v) y = Add(x, m)",
    )
    raw = parse(text)
    assert normfold.verify(raw, edited(raw, "t", lambda t: np.where(np.arange(500)[:, None] > 100, 0, t)))
