"""A Concat of Concats is one, where nothing else reads the inner one and the axis is the same."""

from __future__ import annotations

import pytest

from normfold.fold.cleanup.tidy import tidy
from tests.fold.cleanup.test_tidy import assert_tidied

HEAD = "(float[2,3] x, float[2,3] z) => (float[m,n] y) { a = Relu (x) b = Neg (z) "
CONCATS = {
    "three levels": (
        "c = Concat <axis = 1> (a, b) d = Concat <axis = 1> (z, c) y = Concat <axis = -1> (d, a) }",
        "Relu Neg Concat",
    ),
    "the same one twice, of which 40 in a row would have 2^40 parts": (
        "c = Concat <axis = 0> (a, b) y = Concat <axis = 0> (c, c) }",
        "Relu Neg Concat Concat",
    ),
    "along another axis": ("c = Concat <axis = 0> (a, b) y = Concat <axis = 1> (c, c) }", "Relu Neg Concat Concat"),
    "with another reader": (
        "c = Concat <axis = 0> (a, b) d = Concat <axis = 0> (c, z) e = Concat <axis = 0> (z, c) y = Add (d, e) }",
        "Relu Neg Concat Concat Concat Add",
    ),
}


@pytest.mark.parametrize(("text", "left"), CONCATS.values(), ids=CONCATS)
def test_chains_of_concats_are_one(text: str, left: str) -> None:
    assert_tidied(HEAD + text, left, tidy)
