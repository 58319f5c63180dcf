"""Make the values that a region is fed with: of unit spread, around the centre of every affine, at every limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import Value
from normfold.verify.inputs.roles import InputConstraints, InputRole
from normfold.verify.numeric.distance import is_floating
from normfold.verify.regions.affine_paths import AffinePath, affine_paths
from normfold.verify.regions.questions import Questions, questions
from normfold.verify.regions.value_ranges import Range

ROWS = 16
"""A batch whose size is free has at least so many rows: a channel of fewer numbers shows little."""

LARGEST = 2**18
"""Elements of an input that is made larger than the network's own."""

_SMALL = 12
"""The size of an image's axis that is made smaller."""

_FARTHEST = 1e30
_DECADES = 4
_SIZES = 6
_INDEX_ELEMENTS = 2**16


@dataclass(frozen=True)
class RegionInput:
    """A value that a region begins with: what the network sends there, and what else it may hold.

    ``dims`` are its sizes as the runtime knows them, names where they are free. ``is_exact``: the user gives it, so it
    carries no rounding.
    """

    name: str
    base: Value
    dims: tuple[int | str | None, ...]
    bounds: Range
    constraints: InputConstraints
    is_exact: bool

    @property
    def is_random(self) -> bool:
        """Return whether it holds floating point numbers, which may be any."""
        return isinstance(self.base, np.ndarray) and is_floating(self.base)


@dataclass(frozen=True)
class RegionFeed:
    """Values for every input of a region, and words for them. ``must_keep_nan``: where one is NaN the other must be."""

    values: Mapping[str, Value]
    text: str
    must_keep_nan: bool = False
    sizes: Mapping[str, int] | None = None


Measure = Callable[[Sequence[str], Mapping[str, Value]], Mapping[str, np.ndarray]]
"""Computes values inside of the original's region."""


class RegionFeeds:
    """The feeds of one region, in the order in which they are tried."""

    def __init__(self, models: Sequence[LoadedModel], inputs: Sequence[RegionInput], seed: int) -> None:
        self._models, self._inputs, self._seed = models, inputs, seed

    @cached_property
    def _questions(self) -> Questions:
        found = Questions()
        for model in self._models:
            found.add(questions(model))
        return found

    @cached_property
    def _paths(self) -> list[dict[str, AffinePath]]:
        ranks = {each.name: np.ndim(each.base) for each in self._inputs if isinstance(each.base, np.ndarray)}
        return [affine_paths(model, ranks) for model in self._models]

    def shapes(self) -> list[tuple[dict[str, tuple[int, ...]], bool]]:
        """Return the shapes to try, and for each whether the models declare that they take it.

        Images are made smaller first, then batches larger where their size is free, then all is as the network has it.
        """
        base = {each.name: np.shape(each.base) for each in self._inputs if isinstance(each.base, np.ndarray)}
        free, handy = dict(base), dict(base)
        for each in self._inputs:
            if each.name in base:
                free[each.name] = _larger(base[each.name], each.dims)
                handy[each.name] = _larger(_smaller(base[each.name]) if each.is_random else base[each.name], each.dims)
        found = [(handy, handy == free), (free, True), (base, True)]
        return [each for index, each in enumerate(found) if each[0] not in [shapes for shapes, _ in found[:index]]]

    def feeds(self, shapes: Mapping[str, tuple[int, ...]], seed: int, measure: Measure | None) -> Iterator[RegionFeed]:
        """Yield the feeds of these shapes; ``seed`` makes other numbers of the same kinds."""
        rng = np.random.default_rng([self._seed, seed])
        unit = self._drawn(shapes, rng)
        yield RegionFeed(unit, "values of unit spread")
        yield from self._switched(unit)
        yield from self._covering(unit, shapes)
        yield from self._solved(unit, shapes, rng)
        if measure is not None:
            yield from self._scaled(unit, measure)
        if self._questions.asks_for_nan:
            yield from self._not_numbers(unit, rng)

    def sizes(self) -> list[dict[str, int]]:
        """Return sizes of free dimensions at which an operator may do something else."""
        names = {
            dim: axis for each in self._inputs for axis, dim in enumerate(each.dims) if isinstance(dim, str) and dim
        }
        wanted = sorted({max(n + step, 1) for n in self._questions.sizes for step in (0, 1)}, reverse=True)[:_SIZES]
        found = []
        for group in ([n for n, axis in names.items() if axis], [n for n, axis in names.items() if not axis]):
            found += [dict.fromkeys(group, size) for size in wanted if group]
        return found

    def sized(self, sizes: Mapping[str, int], seed: int) -> RegionFeed | None:
        """Return a feed with other sizes of free dimensions; None where it would be large."""
        shapes = {}
        for each in self._inputs:
            if isinstance(each.base, np.ndarray):
                dims = each.dims or (None,) * each.base.ndim
                shape = zip(dims, each.base.shape, strict=False)
                shapes[each.name] = tuple(sizes.get(str(dim), size) for dim, size in shape)
        if any(math.prod(shape) > 8 * LARGEST for shape in shapes.values()):
            return None
        text = ", ".join(f"{name}={size}" for name, size in sizes.items())
        return RegionFeed(self._drawn(shapes, np.random.default_rng([self._seed, seed])), text, sizes=sizes)

    def _drawn(self, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> dict[str, Value]:
        return {each.name: _draw(each, shapes.get(each.name), rng) for each in self._inputs}

    def _switched(self, unit: Mapping[str, Value]) -> Iterator[RegionFeed]:
        """Masks without a one, and with nothing but ones."""
        masks = [
            each
            for each in self._inputs
            if isinstance(each.base, np.ndarray)
            and (each.base.dtype == bool or each.constraints.role is InputRole.MASK)
        ]
        for value in (False, True) if masks else ():
            filled = {each.name: np.full_like(unit[each.name], value) for each in masks}
            yield RegionFeed({**unit, **filled}, f"{', '.join(filled)} all {value}".lower())

    def _covering(self, unit: Mapping[str, Value], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[RegionFeed]:
        """Every row of every table that an input selects from; the numbers at the ends of small integer types."""
        for each in self._inputs:
            value, limit = unit[each.name], each.constraints.limit
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or not value.size:
                continue
            if each.constraints.role is InputRole.INDEX and limit:
                for start in range(0, min(limit, _INDEX_ELEMENTS * 8), value.size):
                    rows = (np.arange(value.size) + start) % limit
                    text = f"rows {start} to {min(start + value.size, limit) - 1} by {each.name}"
                    yield RegionFeed({**unit, each.name: rows.astype(value.dtype).reshape(value.shape)}, text)
            elif each.constraints.role in (InputRole.SIZE, InputRole.COUNT) and value.size == 1 and each.is_exact:
                for count in sorted({n + more for n in self._questions.sizes for more in (0, 2)})[:_SIZES]:
                    yield RegionFeed({**unit, each.name: np.full_like(value, count)}, f"{each.name}={count}")
            elif each.constraints.role is InputRole.DATA and each.is_exact:
                bounds = np.iinfo(value.dtype)
                ends = (
                    [bounds.min, bounds.max, 0, 1]
                    if value.dtype.itemsize == 1
                    else [2**24 + 1, 2**24 + 3, 0, -(2**24) - 1]
                )
                chosen = np.resize(np.array([e for e in ends if bounds.min <= e <= bounds.max]), value.shape)
                yield RegionFeed(
                    {**unit, each.name: chosen.astype(value.dtype)}, f"{each.name} at the ends of its type"
                )

    def _solved(
        self, unit: Mapping[str, Value], shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
    ) -> Iterator[RegionFeed]:
        """Around the centre of each affine, and at each limit, solved for the input."""
        seen: set[tuple[str, int]] = set()
        for each in self._inputs:
            if (
                not isinstance(each.base, np.ndarray)
                or each.base.dtype.kind not in "fiu"
                or not np.size(unit[each.name])
            ):
                continue
            for centre, spread in self._centres(each.name):
                if not _fits(np.shape(unit[each.name]), centre, spread):
                    continue
                values = centre + spread * rng.standard_normal(np.shape(unit[each.name]))
                centred = _fitted(values, each, unit[each.name])
                if centred is not None:
                    yield RegionFeed({**unit, each.name: centred}, f"{each.name} around the centre of an affine")
            groups: dict[tuple[str, int], list[tuple[np.ndarray, bool]]] = {}
            for wanted, is_exact in self._required(each.name):
                size = float(np.nanmax(np.abs(wanted), initial=0.0)) if wanted.size else 0.0
                if size < _FARTHEST:
                    groups.setdefault((each.name, math.floor(math.log10(size)) if size > 1e-30 else -99), []).append(
                        (wanted, is_exact)
                    )
            for key, group in groups.items():
                if key in seen or (
                    key[1] == -99 and each.base.dtype.kind == "f" and not any(exact for _, exact in group)
                ):
                    continue
                seen.add(key)
                around, exactly = _around(group, np.shape(unit[each.name]), rng)
                for numbers, how in ((around, "around"), (exactly, "at")):
                    fitted = None if numbers is None else _fitted(numbers, each, unit[each.name])
                    if fitted is not None:
                        yield RegionFeed({**unit, each.name: fitted}, f"{each.name} {how} the limits of an operator")

    def _centres(self, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Where the affines of an input are zero, and the spread of the input that gives them unit spread."""
        known: list[tuple[np.ndarray, np.ndarray]] = []
        for paths, model in zip(self._paths, self._models, strict=True):
            for value, path in paths.items():
                is_last = not any(
                    each in paths for i in model.readers.get(value, ()) for each in model.graph.node[i].output
                )
                if path.source != name or path.is_exact or not is_last:
                    continue
                with np.errstate(all="ignore"):
                    spread = 1 / np.abs(path.scale)
                    centre = -path.shift / path.scale
                if not (np.isfinite(spread).all() and np.isfinite(centre).all()) or np.max(np.abs(centre)) > _FARTHEST:
                    spread, centre = (np.where(np.isfinite(a), a, 0.0) for a in (spread, centre))
                if any(np.array_equal(centre, c) and np.array_equal(spread, s) for c, s in known):
                    continue
                known.append((centre, spread))
                yield centre, spread

    def _required(self, name: str) -> Iterator[tuple[np.ndarray, bool]]:
        """Return what an input must be for a value behind it to be at one of its limits."""
        for paths in self._paths:
            for value, limits in self._questions.limits.items():
                path = paths.get(value)
                for limit in limits if path is not None and path.source == name else ():
                    wanted = path.solve(limit) if path is not None else None
                    if wanted is not None and path is not None:
                        yield wanted, path.is_exact

    def _scaled(self, unit: Mapping[str, Value], measure: Measure) -> Iterator[RegionFeed]:
        """As many times larger as it takes for every channel to reach its limits, where no affine of an input does."""
        solved = {value for paths in self._paths for value in paths}
        asked = [
            name for name in {**self._questions.limits, **dict.fromkeys(self._questions.rivals)} if name not in solved
        ]
        floating = [each.name for each in self._inputs if each.is_random]
        if not asked or not floating:
            return
        none = {**unit, **{name: np.zeros_like(unit[name]) for name in floating}}
        here, at_zero = measure(asked, unit), measure(asked, none)
        factors: set[int] = set()
        for name in asked:
            if name in here and name in at_zero:
                limits = [
                    *self._questions.limits.get(name, ()),
                    *([at_zero[name].max()] if name in self._questions.rivals and at_zero[name].size else []),
                ]
                for limit in limits:
                    factors |= _decades(here[name], at_zero[name], np.asarray(limit, np.float64))
        for decade in sorted(factors)[:_DECADES]:
            factor = 10.0**decade
            larger = {
                name: _clipped(unit[name] * np.asarray(factor, unit[name].dtype), self._input(name))
                for name in floating
            }
            yield RegionFeed({**unit, **larger}, f"values of a spread of {factor:g}")

    def _not_numbers(self, unit: Mapping[str, Value], rng: np.random.Generator) -> Iterator[RegionFeed]:
        for each in self._inputs:
            if each.is_random and each.is_exact and np.size(unit[each.name]):
                value = np.array(unit[each.name])
                where = rng.random(value.shape) < 0.2
                where.reshape(-1)[0] = True
                for number in (np.nan, np.inf):
                    text = f"{each.name} with {number}"
                    yield RegionFeed(
                        {**unit, each.name: np.where(where, np.asarray(number, value.dtype), value)}, text, True
                    )

    def _input(self, name: str) -> RegionInput:
        return next(each for each in self._inputs if each.name == name)


def _smaller(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if len(shape) < 4 else (*shape[:2], *(min(size, _SMALL) for size in shape[2:]))


def _larger(shape: tuple[int, ...], dims: Sequence[int | str | None]) -> tuple[int, ...]:
    if not shape or not dims or not isinstance(dims[0], str) or math.prod(shape) * ROWS > LARGEST:
        return shape
    return (max(shape[0], ROWS), *shape[1:])


def _draw(each: RegionInput, shape: tuple[int, ...] | None, rng: np.random.Generator) -> Value:
    """Values of unit spread within the bounds; whole numbers as the network has them, or within what they mean."""
    base = each.base
    if not isinstance(base, np.ndarray) or shape is None or base.dtype == object:
        return base
    if each.is_random:
        low, high = each.bounds
        drawn = rng.standard_normal(shape)
        if math.isfinite(low) and math.isfinite(high):
            drawn = rng.uniform(low, high, shape)
        elif math.isfinite(low):
            drawn = np.maximum(np.abs(drawn) + low, low)
        elif math.isfinite(high):
            drawn = high - np.abs(drawn)
        return drawn.astype(base.dtype)
    if base.dtype == bool:
        return rng.random(shape) < 0.5
    if each.constraints.role is InputRole.INDEX and each.constraints.limit:
        return rng.integers(0, each.constraints.limit, shape).astype(base.dtype)
    if each.constraints.role is InputRole.DATA and each.is_exact and base.dtype.kind in "iu":
        return rng.integers(0 if base.dtype.kind == "u" else -3, 8, shape).astype(base.dtype)
    return base if base.shape == shape else np.resize(base, shape)


def _fits(shape: tuple[int, ...], *arrays: np.ndarray) -> bool:
    """Return whether arrays broadcast to a shape; a name may mean a value of another shape in the other model."""
    try:
        return np.broadcast_shapes(shape, *(array.shape for array in arrays)) == shape
    except ValueError:
        return False


def _around(
    group: Sequence[tuple[np.ndarray, bool]], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Numbers near the required ones, to either side of each; and, where nothing was rounded, these themselves."""
    chosen = rng.integers(0, len(group), shape)
    around, exactly = np.zeros(shape), np.full(shape, np.nan)
    if not _fits(shape, *(wanted for wanted, _ in group)):
        return None, None
    for index, (wanted, is_exact) in enumerate(group):
        full = np.broadcast_to(np.nan_to_num(wanted), shape)
        around = np.where(chosen == index, full * (1 + 0.3 * rng.standard_normal(shape)), around)
        if is_exact:
            exactly = np.where(np.isnan(exactly) | (chosen == index), full, exactly)
    return around, None if np.isnan(exactly).any() else exactly


def _fitted(values: np.ndarray, each: RegionInput, like: Value) -> np.ndarray | None:
    """Return the values in the input's type.

    It is None where that cannot hold them, or where its meaning has other bounds.
    """
    dtype = np.asarray(like).dtype
    if values.shape != np.shape(like):
        return None
    if dtype.kind in "iu":
        if each.constraints.role not in (InputRole.DATA, InputRole.SIZE, InputRole.COUNT):
            return None
        bounds = np.iinfo(dtype)
        if values.size == 1 and each.constraints.role is not InputRole.DATA and not 0 <= values.reshape(-1)[0] <= 4096:
            return None
        return np.asarray(np.clip(np.rint(values), bounds.min, bounds.max).astype(dtype))
    with np.errstate(all="ignore"):
        fitted = _clipped(values, each).astype(dtype)
    return np.asarray(fitted) if np.isfinite(fitted.astype(np.float64)).all() else None


def _clipped(values: np.ndarray, each: RegionInput) -> np.ndarray:
    low, high = each.bounds
    return values if math.isinf(low) and math.isinf(high) else np.clip(values, low, high).astype(values.dtype)


def _decades(here: np.ndarray, at_zero: np.ndarray, limit: np.ndarray) -> set[int]:
    """How many times larger, in powers of ten, the input must be for each channel to reach a limit on both sides."""
    if not is_floating(np.asarray(here)) or here.shape != at_zero.shape or not here.size or here.ndim == 0:
        return set()
    axis = 1 if here.ndim > 3 else here.ndim - 1
    others = tuple(i for i in range(here.ndim) if i != axis) if here.ndim > 1 else ()
    with np.errstate(all="ignore"):
        try:
            gap = np.abs(np.broadcast_to(limit, here.shape) - at_zero).astype(np.float64).max(axis=others)
        except ValueError:
            return set()
        spread = np.abs(here.astype(np.float64) - at_zero).max(axis=others)
        ratio = 2 * gap / spread
    ratio = ratio[np.isfinite(ratio) & (ratio > 2)]
    return {math.ceil(math.log10(each)) for each in np.unique(ratio) if each < 1e12}
