"""The numbers and shapes that a region is fed with."""

from __future__ import annotations

import numpy as np

import normfold
from normfold.verify.regions.drawing import LARGEST, decades, larger
from tests.onnx_text import parse


def test_inputs_that_share_a_batch_grow_by_one_factor() -> None:
    shapes = {"x": (1, 6, 16), "rows": (6, 16), "fixed": (1, 16)}
    grown = larger(shapes, {"x": ("N", 6, 16), "rows": (None, 16), "fixed": (1, 16)}, ())
    times = grown["x"][0]
    assert times > 1
    assert grown == {"x": (times, 6, 16), "rows": (6 * times, 16), "fixed": (1, 16)}


def test_what_would_be_large_stays_as_it_is() -> None:
    assert larger({"x": (1, LARGEST)}, {"x": ("N", LARGEST)}, ()) == {"x": (1, LARGEST)}


def test_whole_numbers_have_no_channels_and_so_few_rows() -> None:
    assert larger({"i": (1, 2048)}, {"i": ("N", 2048)}, ("i",)) == {"i": (2, 2048)}
    assert larger({"i": (1, 2048)}, {"i": ("N", 2048)}, ()) == {"i": (16, 2048)}


def test_a_range_may_be_wider_than_the_largest_number() -> None:
    model = parse(
        "(double[N,4] x) => (double[N,4] y) <double low = {-1.7e308}, double high = {1.7e308}, double[4] two = "
        "{2, 2, 2, 2}, double[4] one = {1, 1, 1, 1}, double[4,4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7}> "
        "{ c = Clip (x, low, high) h = MatMul (c, w) y = BatchNormalization (h, two, one, one, two) }"
    )
    assert normfold.optimize(model).verification


def test_a_limit_is_reached_from_its_own_side() -> None:
    """The first channel moves 10 away from its limit of 100 and 1 towards it, the second 10 towards it."""
    at_zero = np.zeros((2, 2))
    assert decades(np.array([[-10.0, 10.0], [1.0, -1.0]]), at_zero, np.asarray(100.0)) == {3, 2}
    assert decades(np.array([[-10.0, 10.0], [-1.0, -1.0]]), at_zero, np.asarray(100.0)) == {2}
