"""Transposes, Squeezes and Unsqueezes in a row: which become one or none, which stay."""

from __future__ import annotations

import pytest

from normfold.fold.cleanup import axis_moves
from normfold.fold.cleanup.tidy import tidy
from tests.fold.cleanup.test_tidy import assert_tidied

CONSTANTS = (
    "<int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] n1 = {-1}, int64[2] i02 = {0, 2},"
    "float low = {0.1}, int64 at1 = {1}, int64[2] both = {0, 1}, int64[0] none = {}>"
)
# Input, output, body, and the operators that are left. Sizes that are letters are not known.
ROWS = {
    "two Transposes": (
        "[2,3,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 0, 2]> (r) y = Transpose <perm = [2, 1, 0]> (a)", "Relu Transpose",
    ),
    "two Transposes that undo each other": (
        "[N,M,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 2, 0]> (r) b = Transpose <perm = [2, 0, 1]> (a) y = Neg (b)", "Relu Neg",
    ),
    "a Transpose without an order, twice": ("[N,M,4]", "[a,b,c]", "a = Transpose (r) y = Transpose (a)", "Relu"),
    "a first Transpose that is read elsewhere": (
        "[2,3,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 0, 2]> (r) b = Transpose <perm = [1, 0, 2]> (a) c = ReduceSum (a) y = Add (b, c)",
        "Relu Transpose ReduceSum Add",
    ),
    "two Unsqueezes": ("[N,M]", "[a,b,c,d]", "a = Unsqueeze (r, i1) y = Unsqueeze (a, i2)", "Relu Unsqueeze"),
    "two Squeezes": ("[N,1,1,M]", "[a,b]", "a = Squeeze (r, i1) y = Squeeze (a, i1)", "Relu Squeeze"),
    "an Unsqueeze and its Squeeze": (
        "[N,M]", "[a,b]", "a = Unsqueeze (r, i1) b = Unsqueeze (a, i0) y = Squeeze (b, i02)", "Relu",
    ),
    "a Squeeze and its Unsqueeze": (
        "[1,N,M]", "[a,b,c]", "a = Squeeze (r, i0) b = Unsqueeze (a, i0) y = Neg (b)", "Relu Neg",
    ),
    "a Squeeze of every size 1": (
        "[1,N,M]", "[a,b,c]", "a = Squeeze (r) y = Unsqueeze (a, i0)", "Relu Squeeze Unsqueeze",
    ),
    "Squeeze, Transpose, Unsqueeze": (
        "[1,N,M]", "[a,b,c]",
        "a = Squeeze (r, i0) b = Transpose (a) y = Unsqueeze (b, i0)", "Relu Squeeze Transpose Unsqueeze",
    ),
    "two Transposes that undo each other around activations": (
        "[N,M,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 2, 0]> (r) c = Sigmoid (a) d = Clip (c, low) y = Transpose <perm = [2, 0, 1]> (d)",
        "Relu Sigmoid Clip",
    ),
    "an Unsqueeze and its Squeeze around an activation": (
        "[N,M]", "[a,b]", "a = Unsqueeze (r, i1) c = Tanh (a) d = Squeeze (c, i1) y = Neg (d)", "Relu Tanh Neg",
    ),
    "two Transposes around an activation that another reads": (
        "[2,3,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 0, 2]> (r) c = Sigmoid (a) b = Transpose <perm = [1, 0, 2]> (c) d = ReduceSum (c)"
        " y = Add (b, d)",
        "Relu Transpose Sigmoid Transpose ReduceSum Add",
    ),
    "two Transposes of which the first is read elsewhere, around an activation": (
        "[2,3,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 0, 2]> (r) c = Sigmoid (a) b = Transpose <perm = [1, 0, 2]> (c) d = ReduceSum (a)"
        " y = Add (b, d)",
        "Relu Transpose Sigmoid ReduceSum Add",
    ),
    "two Transposes around an activation that do not undo each other": (
        "[2,3,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 2, 0]> (r) c = Sigmoid (a) y = Transpose <perm = [1, 0, 2]> (c)",
        "Relu Transpose Sigmoid Transpose",
    ),
    "two Transposes around a softmax": (
        "[2,3,4]", "[a,b,c]",
        "a = Transpose <perm = [1, 0, 2]> (r) c = Softmax (a) y = Transpose <perm = [1, 0, 2]> (c)",
        "Relu Transpose Softmax Transpose",
    ),
    "a mean of one": (
        "[N,1]", "[a,b]", "a = ReduceMean <axes = [1], keepdims = 0> (r) y = Unsqueeze (a, i1)", "Relu",
    ),
    "a mean of several": (
        "[N,2]", "[a,b]", "a = ReduceMean <axes = [1], keepdims = 0> (r) y = Unsqueeze (a, i1)",
        "Relu ReduceMean Unsqueeze",
    ),
    "a sum over no axes, which means all": (
        "[2,2]", "[a,b]", "a = ReduceSum (r, none) y = Neg (a)", "Relu ReduceSum Neg",
    ),
    "a Gather of one index": (
        "[N,3,M]", "[a,b,c]", "a = Gather <axis = 1> (r, at1) y = Unsqueeze (a, i1)", "Relu Gather",
    ),
    "a Gather whose axis comes back elsewhere": (
        "[N,3,M]", "[a,b,c]", "a = Gather <axis = 1> (r, at1) y = Unsqueeze (a, i0)", "Relu Gather Unsqueeze",
    ),
    "a Gather of two indices": (
        "[N,3,M]", "[a,b,c,d]", "a = Gather <axis = 1> (r, both) y = Unsqueeze (a, i1)", "Relu Gather Unsqueeze",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "body", "left"), ROWS.values(), ids=ROWS)
def test_axes_are_moved_once(before: str, after: str, body: str, left: str) -> None:
    assert_tidied(f"(float{before} x) => (float{after} y) {CONSTANTS} {{ r = Relu (x) {body} }}", left, tidy)


def test_no_row_is_walked_for_what_moves_no_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk of 16 operators for each of a row of Relus took half of the time that their folds took."""
    walked: list[object] = []
    monkeypatch.setattr(axis_moves, "_acts_on_elements", lambda _, node: walked.append(node))
    body = " ".join(f"r{i + 1} = Relu (r{i})" for i in range(20))
    assert_tidied(
        f"(float[N,4] x) => (float[N,4] y) {{ r0 = Tanh (x) {body} y = Tanh (r20) }}",
        "Tanh" + 20 * " Relu" + " Tanh",
        tidy,
    )
    assert not walked
