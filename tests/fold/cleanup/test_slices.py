"""Two Slices in a row along different axes are one."""

from __future__ import annotations

import pytest

from normfold.fold.cleanup.tidy import tidy
from tests.fold.cleanup.test_tidy import assert_tidied

HEAD = (
    "(float[6,7,8] x) => (float[a,b,c] y) <int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, "
    "int64[1] i5 = {5}, int64[1] n1 = {-1}, int64[1] n9 = {-9}, int64[1] max = {9223372036854775807}> { r = Relu (x) "
)
SLICES = {
    "three axes": (
        "a = Slice (r, i1, i5, i0) b = Slice (a, i2, max, i1) y = Slice (b, n1, n9, i2, n1) }",
        "Relu Slice",
    ),
    "axes that are not said": ("a = Slice (r, i1, i5) y = Slice (a, i2, i5, i2) }", "Relu Slice"),
    "one axis twice": ("a = Slice (r, i1, i5, i0) y = Slice (a, i1, i2, i0) }", "Relu Slice Slice"),
    "axes from both ends": ("a = Slice (r, i1, i5, i2) y = Slice (a, i1, i2, n1) }", "Relu Slice Slice"),
    "another reader": (
        "a = Slice (r, i1, i5, i0) b = Slice (a, i1, i2, i1) c = Slice (a, i1, i2, i2) s = ReduceSum (c) "
        "y = Add (b, s) }",
        "Relu Slice Slice ReduceSum Add",
    ),
    "another reader that is no Slice": (
        "a = Slice (r, i1, i5, i0) b = Slice (a, i1, i2, i1) s = ReduceSum (a) y = Add (b, s) }",
        "Relu Slice Slice ReduceSum Add",
    ),
}


@pytest.mark.parametrize(("text", "left"), SLICES.values(), ids=SLICES)
def test_chains_of_slices_are_one(text: str, left: str) -> None:
    assert_tidied(HEAD + text, left, tidy)
