"""Arrays that follow a tensor through Reshape, against numpy on the whole tensor."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from normfold.algebra.affine import compact
from normfold.fold.reshape_axes import reshaped
from normfold.graph.reader import Dim


@st.composite
def factorings(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two shapes of the same number of elements."""
    factors = draw(st.lists(st.sampled_from([1, 2, 2, 3, 3, 4, 5]), max_size=6))
    shapes = []
    for _ in range(2):
        cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
        ends = [0, *cuts, len(factors)]
        shapes.append([prod(factors[a:b]) for a, b in pairwise(ends)])
    return shapes[0], shapes[1]


@st.composite
def arrays(draw: st.DrawFn, shape: list[int]) -> np.ndarray:
    """A compact array that varies along some axes of ``shape``, now and then with values that repeat."""
    varies = [draw(st.booleans()) for _ in shape]
    size = [length if varying else 1 for length, varying in zip(shape, varies, strict=True)]
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    values = rng.standard_normal(size) if draw(st.booleans()) else rng.integers(0, 3, size)
    return compact(np.asarray(values, np.float64))


@given(factorings(), st.data())
def test_known_shapes_are_always_traced(shapes: tuple[list[int], list[int]], data: st.DataObject) -> None:
    source, target = shapes
    array = data.draw(arrays(source))
    result = reshaped(array, source, target)
    assert result is not None
    assert all(size in (1, whole) for size, whole in zip(result.shape, target, strict=True))
    whole = np.broadcast_to(array, source).reshape(target)
    np.testing.assert_array_equal(np.broadcast_to(result, target), whole)
    assert result.shape == compact(whole).shape


@given(factorings(), st.data())
@settings(max_examples=800, deadline=None)
def test_unknown_sizes_are_traced_or_refused_but_never_wrong(
    shapes: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    source, target = shapes
    array = data.draw(arrays(source))  # also along axes whose size is then hidden
    known_source, known_target = _hidden(source, data), _hidden(target, data)
    result = reshaped(array, known_source, known_target)
    if result is None:
        return
    whole = np.broadcast_to(array, source).reshape(target)
    np.testing.assert_array_equal(np.broadcast_to(result, target), whole)


def _hidden(shape: list[int], data: st.DataObject) -> list[Dim]:
    """Some sizes unknown, some under a name; equal names are equal sizes."""
    ways = [data.draw(st.sampled_from(["known", "known", "none", "named"])) for _ in shape]
    return [
        size if way == "known" else None if way == "none" else f"d{size}" for size, way in zip(shape, ways, strict=True)
    ]


def test_a_batch_of_any_size_passes() -> None:
    """[batch, tokens, heads*width] to [batch*tokens, heads, width] and back, where batch and tokens are unknown."""
    array = np.arange(6.0).reshape(1, 1, 6)
    there = reshaped(array, ["batch", "tokens", 6], [None, 2, 3])
    assert there is not None
    assert there.shape == (1, 2, 3)
    back = reshaped(there, [None, 2, 3], ["batch", "tokens", 6])
    assert back is not None
    np.testing.assert_array_equal(back, array)


def test_two_unknown_sizes_need_not_be_equal() -> None:
    """[2, 6] as [4, 3], where the first size of both is unknown: an array along it cannot follow."""
    assert reshaped(np.arange(2.0).reshape(2, 1), [None, 6], [None, 3]) is None


def test_channels_are_parted_into_heads_before_sizes_that_are_not_known() -> None:
    array = np.arange(6.0).reshape(1, 6, 1, 1)
    result = reshaped(array, ["N", 6, "H", "W"], ["N", 2, 3, None])
    assert result is not None
    np.testing.assert_array_equal(result, array.reshape(1, 2, 3, 1))
    assert reshaped(array, ["N", 6, "H", "W"], [2, "N", 3, None]) is None
