"""Distances between values: what counts, what does not, and in which units."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import normfold
from normfold.verify import Equivalence, prove
from normfold.verify.numeric.distance import AllowedError, distance, pooled
from tests.onnx_text import parse
from tests.verify.nets import edited

TIGHT = AllowedError(floor=1e-5)
NAN, INF = float("nan"), float("inf")


def row(*numbers: float) -> np.ndarray:
    return np.array([numbers], dtype=np.float32)


@pytest.mark.parametrize(
    ("expected", "obtained", "is_right"),
    [
        pytest.param(row(1, 2, 3), row(1, 2, 3), True, id="equal"),
        pytest.param(row(1, 2, 3), row(1, 2, 3.1), False, id="another number"),
        pytest.param(row(1, NAN, 3), row(1, NAN, 3), True, id="NaN in both"),
        pytest.param(row(1, NAN, 3), row(1, 2, 3), True, id="NaN in the original says nothing"),
        pytest.param(row(1, 2, 3), row(1, NAN, 3), False, id="NaN in the candidate only"),
        pytest.param(row(1, INF, 3), row(1, INF, 3), True, id="the same infinity"),
        pytest.param(row(1, INF, 3), row(1, -INF, 3), False, id="the other infinity"),
        pytest.param(row(1, -INF, 3), row(1, -1e4, 3), False, id="a number for an infinity"),
        pytest.param(row(1, 65500, 3).astype("e"), row(1, INF, 3).astype("e"), True, id="an overflow within rounding"),
        pytest.param(row(1, 50000, 3).astype("e"), row(1, INF, 3).astype("e"), False, id="an overflow from afar"),
        pytest.param(row(0, 1e-7).astype("e"), row(1.2e-7, 0).astype("e"), True, id="the last steps of float16"),
        pytest.param(row(0, 1e-6).astype("e"), row(0, 1.5e-6).astype("e"), False, id="above the last steps of float16"),
        pytest.param(row(0, 1e-7), row(1.2e-7, 0), False, id="as small in float32"),
        pytest.param(row(1, NAN, 3), row(1, NAN, 3.1), False, id="wrong next to a NaN"),
        pytest.param(row(0, 0, 0), row(0, 0, 0), True, id="zeros"),
        pytest.param(row(0, 0, 0), row(0, 0, 1e-30), False, id="something for nothing"),
        pytest.param(row(1, 2), row(1, 2, 3), False, id="another shape"),
        pytest.param(np.array([1, 2]), np.array([1, 3]), False, id="another integer"),
        pytest.param(np.array(["a", "b"]), np.array(["a", "c"]), False, id="another string"),
        pytest.param(np.array([True]), np.array([True]), True, id="equal booleans"),
        pytest.param(np.array([1]), np.array([1.0]), False, id="another kind of type"),
        pytest.param(np.float32(2), np.float32(2), True, id="equal numbers"),
        pytest.param(np.array(2.0), np.array(2.1), False, id="another number alone"),
        pytest.param(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), True, id="empty"),
    ],
)
def test_what_is_right(expected: np.ndarray, obtained: np.ndarray, is_right: bool) -> None:
    found = distance(expected, obtained, TIGHT)
    assert (found.margin <= 1) is is_right


def test_a_weak_channel_is_measured_on_its_own_scale() -> None:
    """1e-3 in a channel a hundred times weaker than the rest would vanish against the whole tensor."""
    expected = np.ones((2, 3, 8, 8), np.float32)
    expected[:, 1] = 0.01
    obtained = expected.copy()
    obtained[:, 1] *= 1.001
    assert distance(expected, obtained, TIGHT).relative == pytest.approx(1e-3, rel=1e-3)
    last = np.moveaxis(expected, 1, -1), np.moveaxis(obtained, 1, -1)
    assert distance(*last, TIGHT).relative == pytest.approx(1e-3, rel=1e-3), "the channel may be the last axis"


@pytest.mark.parametrize(("rtol", "atol", "is_right"), [(0.0, 0.011, True), (0.0, 0.009, False), (0.011, 0.0, True)])
def test_the_users_tolerance_is_numpys(rtol: float, atol: float, is_right: bool) -> None:
    expected, obtained = row(1, 1, 1), row(1, 1, 1.01)
    found = distance(expected, obtained, AllowedError(1.0, rtol=rtol, atol=atol))
    assert (found.margin <= 1) is is_right is np.allclose(obtained, expected, rtol=rtol, atol=atol)


finite = st.floats(-1e6, 1e6, width=32)


@settings(deadline=None)
@given(st.lists(finite, min_size=8, max_size=8), st.integers(0, 7), st.floats(1e-3, 10.0))
def test_no_error_above_the_tolerance_passes(numbers: list[float], place: int, error: float) -> None:
    expected = np.array(numbers, np.float32).reshape(2, 4)
    obtained = expected.copy()
    obtained.flat[place] += np.float32(error * max(1.0, float(np.abs(expected).max())))
    found = distance(expected, obtained, TIGHT)
    assert found.margin > 1
    assert found.at == tuple(np.unravel_index(place, (2, 4)))


@settings(deadline=None)
@given(st.lists(finite, min_size=8, max_size=8), st.floats(0.1, 10.0))
def test_the_tolerance_that_would_have_passed_passes(numbers: list[float], factor: float) -> None:
    expected = np.array(numbers, np.float32).reshape(2, 4)
    obtained = (expected * np.float32(factor) + np.float32(0.5)).astype(np.float32)
    found = distance(expected, obtained, TIGHT)
    atol, rtol = (float(each.partition("=")[2]) for each in found.needed_tolerance.split(" or "))
    assert distance(expected, obtained, AllowedError(atol=atol)).margin <= 1
    if np.isfinite(rtol):
        assert distance(expected, obtained, AllowedError(rtol=rtol)).margin <= 1


@settings(deadline=None)
@given(st.lists(finite, min_size=24, max_size=24))
def test_no_scale_exceeds_the_tensors(numbers: list[float]) -> None:
    magnitude = np.abs(np.array(numbers, np.float32)).reshape(2, 3, 4)
    scale = np.broadcast_to(pooled(magnitude), magnitude.shape)
    assert (scale <= magnitude.max()).all()
    assert (scale >= magnitude.max() / 128 * (1 - 1e-6)).all()


def test_nan_at_the_same_place_is_no_difference() -> None:
    model = parse("(float[4,4] x) => (float[4,4] y) <float[4] g> { l = Sqrt(x) y = Mul(l, g) }")
    assert prove(model, model)
    assert prove(model, edited(model, "g", lambda g: g * 1.001)).verdict is Equivalence.DIFFERENT


def test_a_sequence_of_another_length_is_another_result() -> None:
    def split(sizes: str) -> onnx.ModelProto:
        return parse(
            f"(float[4,3] x) => (seq(float[N,3]) y) {{ k = Constant<value_ints=[{sizes}]>() "
            "y = SplitToSequence<axis=0>(x, k) }"
        )

    assert normfold.verify(split("2,2"), split("2,2"))
    found = normfold.verify(split("2,2"), split("2,1,1"))
    assert found.verdict is Equivalence.DIFFERENT
    assert found.failures[0].note == "expected 2 items, got 3"
