"""A weight that is widened block by block stands for the float64 array that the same arithmetic gives at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normfold.algebra import weight as module
from normfold.algebra.weight import Weight


def made(shape: tuple[int, ...], seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@given(
    shape=st.lists(st.integers(0, 5), max_size=4).map(tuple),
    block=st.sampled_from([1, 3, 7, 10**6]),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_it_is_the_array_that_numpy_makes_at_once(shape: tuple[int, ...], block: int, data: st.DataObject) -> None:
    stored = made(shape)
    weight, expected = Weight(stored), stored.astype(np.float64)
    for seed in range(data.draw(st.integers(0, 3))):
        rank = data.draw(st.integers(0, len(shape)))
        form = tuple(data.draw(st.sampled_from([1, size])) for size in shape[len(shape) - rank :])
        operand = made(form, seed + 1, np.float64)
        weight, expected = (
            (weight * operand, expected * operand) if seed % 2 else (weight + operand, expected + operand)
        )
    keep = tuple(axis for axis in range(len(shape)) if data.draw(st.booleans()))
    gone = tuple(axis for axis in range(len(shape)) if axis not in keep)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_BLOCK", block)
        assert np.array_equal(np.asarray(weight), expected)
        assert np.array_equal(weight.rounded(np.dtype(np.float16)), expected.astype(np.float16))
        assert np.array_equal(weight.largest(keep), np.abs(expected).max(axis=gone, initial=0.0))
        if 0 in keep:
            assert np.allclose(weight.sum(gone), expected.sum(axis=gone), rtol=1e-12, atol=1e-12)


def test_what_is_stored_is_never_changed() -> None:
    stored = made((4, 3), dtype=np.float64)
    before = stored.copy()
    assert not np.array_equal(np.asarray(Weight(stored) * np.full((4, 1), 2.0)), before)
    assert np.array_equal(stored, before)


def test_what_is_no_number_is_seen() -> None:
    stored = made((2, 3))
    stored[1, 2] = np.nan
    assert np.isnan(Weight(stored).largest((0,))[1])
    assert not np.isnan(Weight(stored).largest((0,))[0])


def test_an_operand_that_would_make_it_larger_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"broadcasts to \[1, 3\], got \[4, 1\]"):
        Weight(made((1, 3))) * np.ones((4, 1))
