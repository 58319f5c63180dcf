"""Lists whose elements are known by number go; those whose length or places are not stay."""

from __future__ import annotations

import pytest

from normfold.fold.cleanup.tidy import tidy
from tests.fold.cleanup.test_tidy import assert_tidied

HEAD = (
    "(float[6,7] x, int64 at) => (float[a,b] y) <int64 i0 = {0}, int64 i1 = {1}, int64 n1 = {-1}, int64 size = {4},"
    "int64[3] sizes = {1, 2, 4}, int64[1] one = {1}> { r = Relu (x) "
)
LISTS = {
    "chunks of one size, the last smaller": (
        "l = SplitToSequence <axis=1> (r, size) a = SequenceAt (l, i0) b = SequenceAt (l, n1)"
        " y = Concat <axis=1> (b, a) }",
        "Relu Split Concat",
    ),
    "parts of given sizes": (
        "l = SplitToSequence <axis=-1> (r, sizes) a = SequenceAt (l, i1) y = Neg (a) }",
        "Relu Split Neg",
    ),
    "single slices that keep their axis": (
        "l = SplitToSequence <axis=1> (r) a = SequenceAt (l, i1) y = Neg (a) }",
        "Relu Gather Neg",
    ),
    "single slices without it": (
        "l = SplitToSequence <axis=1, keepdims=0> (r) a = SequenceAt (l, n1) b = SequenceAt (l, i1)"
        " c = Add (a, b) i = Unsqueeze (c, one) y = Neg (i) }",
        "Relu Gather Gather Add Unsqueeze Neg",
    ),
    "a list that is written out": (
        "s = Sigmoid (r) l = SequenceConstruct (r, s) y = ConcatFromSequence <axis=1> (l) }",
        "Relu Sigmoid Concat",
    ),
    "one of a list that is written out": (
        "s = Sigmoid (r) l = SequenceConstruct (r, s) a = SequenceAt (l, n1) y = Neg (a) }",
        "Relu Sigmoid Neg",
    ),
    "a list with a new axis": (
        "l = SequenceConstruct (r, r) a = ConcatFromSequence <axis=0, new_axis=1> (l)"
        " y = ReduceSum <keepdims=0> (a, one) }",
        "Relu SequenceConstruct ConcatFromSequence ReduceSum",
    ),
    "a place that is computed": (
        "l = SplitToSequence <axis=1> (r, size) a = SequenceAt (l, at) y = Neg (a) }",
        "Relu SplitToSequence SequenceAt Neg",
    ),
    "a list whose length is read": (
        "l = SplitToSequence <axis=1> (r, size) n = SequenceLength (l) c = Cast <to=1> (n) a = SequenceAt (l, i0)"
        " y = Mul (a, c) }",
        "Relu SplitToSequence SequenceLength Cast SequenceAt Mul",
    ),
}


@pytest.mark.parametrize(("text", "left"), LISTS.values(), ids=LISTS)
def test_tensors_are_taken_out_of_lists(text: str, left: str) -> None:
    assert_tidied(HEAD + text, left, tidy)
