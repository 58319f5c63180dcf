"""The value y = scale*x + shift: composition, inverse and layout, against numpy on whole tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normfold.algebra.affine import Affine, aligned, compact

SHAPE = (2, 3, 4)


@st.composite
def affines(draw: st.DrawFn, *, zeros: bool = True) -> Affine:
    """An affine of a [2, 3, 4] tensor that varies along some axes, now and then with a scale of 0."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scale, shift = (
        rng.uniform(0.5, 2.0, [n if draw(st.booleans()) else 1 for n in SHAPE]) * draw(st.sampled_from([1.0, -1.0]))
        for _ in range(2)
    )
    if zeros and draw(st.booleans()):
        scale.flat[0] = 0.0
    return Affine.of(scale, shift, len(SHAPE))


X = np.random.default_rng(0).standard_normal(SHAPE)


@given(affines(), affines())
def test_then_is_one_after_the_other(first: Affine, second: Affine) -> None:
    np.testing.assert_allclose(first.then(second).apply(X), second.apply(first.apply(X)), atol=1e-13)


@given(affines(zeros=False))
def test_inverse_undoes(affine: Affine) -> None:
    np.testing.assert_allclose(affine.inverse().apply(affine.apply(X)), X, atol=1e-13)
    assert affine.after(affine).is_identity


@given(affines(), affines(zeros=False))
def test_after_reads_one_off_the_other(outer: Affine, inner: Affine) -> None:
    np.testing.assert_allclose(outer.after(inner).apply(inner.apply(X)), outer.apply(X), atol=1e-13)


@given(affines())
def test_parts_make_the_whole(affine: Affine) -> None:
    again = affine.scale_only.then(affine.shift_only)
    assert again.same_as(affine)
    assert affine.scale_only.has_no_shift and affine.shift_only.has_no_scale


@given(affines(), st.permutations(range(3)))
def test_layout_is_that_of_the_tensor(affine: Affine, order: list[int]) -> None:
    turned = affine.map(lambda array: array.transpose(order))
    np.testing.assert_array_equal(turned.apply(X.transpose(order)), affine.apply(X).transpose(order))


def test_a_zero_scale_has_no_inverse() -> None:
    for undo in (Affine.of(0.0, 1.0, 2).inverse, lambda: Affine.identity(2).after(Affine.of(0.0, 1.0, 2))):
        with pytest.raises(ZeroDivisionError):
            undo()


def test_compact_keeps_values_and_drops_what_repeats() -> None:
    array = np.broadcast_to(np.arange(3.0)[None, :, None], SHAPE)
    assert compact(array).shape == (1, 3, 1)
    np.testing.assert_array_equal(np.broadcast_to(compact(array), SHAPE), array)
    assert compact(np.full((2, 2), np.nan)).shape == (1, 1)


def test_aligned_adds_and_takes_leading_ones_only() -> None:
    assert aligned(np.zeros(4), 3).shape == (1, 1, 4)
    assert aligned(np.zeros((1, 1, 4)), 1).shape == (4,)
    with pytest.raises(ValueError, match="at most 1 dimensions"):
        aligned(np.zeros((2, 4)), 1)


def test_vectors_vary_along_one_axis_only() -> None:
    scale, shift = Affine.of(np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1), 0.0, 4).vectors(1, 3)
    assert scale.tolist() == [1.0, 2.0, 3.0] and shift.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="axis 0 only"):
        Affine.of(np.array([[1.0, 2.0]]), 0.0, 2).vectors(0, 3)


def test_a_product_that_overflows_is_infinite_and_no_warning() -> None:
    large = Affine.of(1e200, 1e200, 2)
    assert np.isinf(large.then(large).scale).all()
