"""Make the values that a region is fed with: of unit spread, around the centre of every affine, at every limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import Value
from normfold.verify.inputs.roles import InputRole
from normfold.verify.numeric.rounding_noise import Tolerance
from normfold.verify.regions.affine_paths import AffinePath, affine_paths
from normfold.verify.regions.critical_values import CriticalValues, critical_values
from normfold.verify.regions.drawing import (
    LARGEST,
    RegionInput,
    around_and_at,
    can_hold,
    clipped,
    crossing,
    decades,
    draw,
    ends,
    fits,
    fitted,
    is_within,
    larger,
    smaller,
)
from normfold.verify.regions.settings import Choices, combined

_FARTHEST = 1e30
_DECADES = 4
_SIZES = 6
_INDEX_ELEMENTS = 2**16
_SHORT = 8
"""Whole numbers that are set to the same number, if they are no data."""

_DRAWS = 64
"""So many numbers around the limits of a value are tried at least, in several feeds where an input is small."""

_CROSSED = 4
"""So many limits of values inside are looked for by bisection."""

_WAYS = ((0.0, 1e3, 0.0), (1.0, 1.0, 1e3), (1.0, 1.0, -1e3))
"""Along these: by which number the values begin and end to be multiplied, and what is added in the end."""

_LEVELS = np.linspace(0.5, 1.5, 11)
"""Of a limit of a value that is no affine of an input: inputs that are all about that large reach it if it is a
maximum, a mean or the like of them."""


@dataclass(frozen=True)
class RegionFeed:
    """Values for every input of a region, and words for them.

    ``must_keep_nan``: where one is NaN the other must be. ``tolerance``: what two right results may differ by.
    """

    values: Mapping[str, Value]
    text: str
    must_keep_nan: bool = False
    tolerance: Tolerance = Tolerance.LOCAL


Measure = Callable[[Sequence[str], Sequence[Mapping[str, Value]]], Sequence[Mapping[str, np.ndarray]]]
"""Computes values inside of a region, for each of some feeds."""


class RegionFeeds:
    """The feeds of one region, in the order in which they are tried."""

    def __init__(self, models: Sequence[LoadedModel], inputs: Sequence[RegionInput], seed: int) -> None:
        self._models, self._inputs, self._seed = models, inputs, seed

    @cached_property
    def _critical(self) -> CriticalValues:
        found = CriticalValues()
        for model in self._models:
            found.add(critical_values(model))
        return found

    @cached_property
    def _paths(self) -> list[dict[str, AffinePath]]:
        ranks = {each.name: np.ndim(each.base) for each in self._inputs if isinstance(each.base, np.ndarray)}
        return [affine_paths(model, ranks) for model in self._models]

    @cached_property
    def asked(self) -> list[str]:
        """Return the values inside that have a limit or the largest entry, and are no affine of one input."""
        solved = {value for paths in self._paths for value in paths}
        asked = dict.fromkeys((*self._critical.limits, *self._critical.rivals))
        return [name for name in asked if name not in solved] if any(each.is_random for each in self._inputs) else []

    def shapes(self) -> list[tuple[dict[str, tuple[int, ...]], bool]]:
        """Return the shapes to try, and for each whether the models declare that they take it.

        Images are made smaller first, then batches larger where their size is free, then all is as the network has it.
        """
        base = {each.name: np.shape(each.base) for each in self._inputs if isinstance(each.base, np.ndarray)}
        handy = {
            each.name: smaller(base[each.name]) if each.is_random else base[each.name]
            for each in self._inputs
            if each.name in base
        }
        dims = {each.name: each.dims for each in self._inputs}
        whole = {each.name for each in self._inputs if not each.is_random}
        free, handy = larger(base, dims, whole), larger(handy, dims, whole)
        found = [(handy, handy == free), (free, True), (base, True)]
        return [each for index, each in enumerate(found) if each[0] not in [shapes for shapes, _ in found[:index]]]

    def feeds(self, shapes: Mapping[str, tuple[int, ...]], seed: int, measure: Measure) -> Iterator[RegionFeed]:
        """Yield the feeds of these shapes; ``seed`` makes other numbers of the same kinds."""
        rng = np.random.default_rng([self._seed, seed])
        drawn = self._drawn(shapes, rng)
        for setting in combined(self._choices()):
            unit = drawn | {name: np.full_like(drawn[name], number) for name, number in setting.items()}
            where = "".join(f"; {name}={number}" for name, number in setting.items())
            for feed in self._of_setting(unit, rng, measure):
                yield replace(feed, text=feed.text + where)

    def _of_setting(
        self, unit: Mapping[str, Value], rng: np.random.Generator, measure: Measure
    ) -> Iterator[RegionFeed]:
        """Yield the feeds in which every switch and count is as in ``unit``."""
        yield RegionFeed(unit, "values of unit spread")
        yield from self._switched(unit)
        yield from self._covering(unit)
        yield from self._solved(unit, rng)
        yield from self._equal(unit, rng)
        yield from self._scaled(unit, measure)
        yield from self._across(unit, measure)
        yield from self._small(unit)
        if self._critical.asks_for_nan:
            yield from self._not_numbers(unit, rng)

    def _choices(self) -> Choices:
        """Return the numbers that each switch, count or other short list of whole numbers among the inputs is set to.

        None leaves it as it is.
        """
        found: dict[str, list[int | None]] = {}
        for each in self._inputs:
            base, role = each.base, each.constraints.role
            if not isinstance(base, np.ndarray) or base.dtype.kind not in "biu" or not 0 < base.size <= _SHORT:
                continue
            if base.dtype == bool or role is InputRole.MASK:
                found[each.name] = [0, 1] if base.size == 1 else []
            elif role is InputRole.INDEX or not (each.is_exact or role is InputRole.DATA):
                continue
            elif role is not InputRole.DATA:
                counts = sorted({n + more for n in self._critical.sizes for more in (0, 2)})[:_SIZES]
                is_count = role in (InputRole.SIZE, InputRole.COUNT)
                found[each.name] = [None, *(counts if is_count else ()), 2, 1, 3, 0, -1]
            elif base.size == 1:
                limits = [int(w.reshape(-1)[0]) for w, _ in self._required(each.name) if is_within(w, base.dtype)]
                found[each.name] = [None, *(n + d for n in limits for d in (-1, 0, 1))]
        return {
            name: [n for n in dict.fromkeys(numbers) if n is None or can_hold(self._input(name).base, n)]
            for name, numbers in found.items()
            if numbers
        }

    def sizes(self) -> list[dict[str, int]]:
        """Return sizes of free dimensions at which an operator may do something else."""
        names = {
            dim: axis for each in self._inputs for axis, dim in enumerate(each.dims) if isinstance(dim, str) and dim
        }
        wanted = sorted({max(n + step, 1) for n in self._critical.sizes for step in (0, 1)}, reverse=True)[:_SIZES]
        found = []
        for group in ([n for n, axis in names.items() if axis], [n for n, axis in names.items() if not axis]):
            found += [dict.fromkeys(group, size) for size in wanted if group]
        return found

    def sized(self, sizes: Mapping[str, int]) -> RegionFeed | None:
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
        return RegionFeed(self._drawn(shapes, np.random.default_rng([self._seed, 0])), text)

    def _drawn(self, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> dict[str, Value]:
        return {each.name: draw(each, shapes.get(each.name), rng) for each in self._inputs}

    def _switched(self, unit: Mapping[str, Value]) -> Iterator[RegionFeed]:
        """Masks without a one, and with nothing but ones."""
        masks = [
            each
            for each in self._inputs
            if isinstance(each.base, np.ndarray)
            and each.base.size > 1
            and (each.base.dtype == bool or each.constraints.role is InputRole.MASK)
        ]
        for value in (False, True) if masks else ():
            filled = {each.name: np.full_like(unit[each.name], value) for each in masks}
            yield RegionFeed({**unit, **filled}, f"{', '.join(filled)} all {value}".lower())

    def _covering(self, unit: Mapping[str, Value]) -> Iterator[RegionFeed]:
        """Every row of every table that an input selects from, every word; the ends of small integer types."""
        for each in self._inputs:
            value, limit, words = unit[each.name], each.constraints.limit, each.constraints.words
            for start in range(0, len(words) if np.size(value) else 0, np.size(value) or 1):
                chosen = np.resize(np.array(words[start : start + np.size(value)], object), np.shape(value))
                yield RegionFeed({**unit, each.name: chosen}, f"words from {start} on by {each.name}")
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or not value.size:
                continue
            if each.constraints.role is InputRole.INDEX and limit:
                for start in range(0, min(limit, _INDEX_ELEMENTS * 8), value.size):
                    rows = (np.arange(value.size) + start).reshape(value.shape) % (each.constraints.columns or limit)
                    text = f"rows {start} to {min(start + value.size, limit) - 1} by {each.name}"
                    yield RegionFeed({**unit, each.name: rows.astype(value.dtype)}, text)
            elif each.constraints.role is InputRole.DATA and each.is_exact:
                for chosen in ends(value):
                    yield RegionFeed({**unit, each.name: chosen}, f"{each.name} at the ends of its type")

    def _solved(self, unit: Mapping[str, Value], rng: np.random.Generator) -> Iterator[RegionFeed]:
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
                if not fits(np.shape(unit[each.name]), centre, spread):
                    continue
                steps = 4 * np.spacing(np.abs(centre).astype(each.base.dtype)) if each.is_random else 0.0
                values = centre + np.maximum(spread, steps) * rng.standard_normal(np.shape(unit[each.name]))
                centred = fitted(values, each, unit[each.name])
                if centred is not None:
                    text = f"{each.name} around the centre of an affine"
                    yield RegionFeed({**unit, each.name: centred}, text, tolerance=Tolerance.AT_CENTRE)
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
                shape = np.shape(unit[each.name])
                draws = [around_and_at(group, shape, rng) for _ in range(-(-_DRAWS // math.prod(shape)))]
                for numbers, how in (*((around, "around") for around, _ in draws), (draws[0][1], "at")):
                    made = None if numbers is None else fitted(numbers, each, unit[each.name])
                    if made is not None:
                        yield RegionFeed({**unit, each.name: made}, f"{each.name} {how} the limits of an operator")

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
            for value, limits in self._critical.limits.items():
                path = paths.get(value)
                for limit in limits if path is not None and path.source == name else ():
                    wanted = path.solve(limit) if path is not None else None
                    if wanted is not None and path is not None:
                        yield wanted, path.is_exact

    def _scaled(self, unit: Mapping[str, Value], measure: Measure) -> Iterator[RegionFeed]:
        """As many times larger as it takes for every channel to reach its limits, where no affine of an input does."""
        asked, floating = self.asked, [each.name for each in self._inputs if each.is_random]
        if not asked:
            return
        none = {**unit, **{name: np.zeros_like(unit[name]) for name in floating}}
        here, at_zero = measure(asked, (unit, none))
        factors: set[int] = set()
        for name in asked:
            if name in here and name in at_zero:
                limits = [
                    *self._critical.limits.get(name, ()),
                    *([at_zero[name].max()] if name in self._critical.rivals and at_zero[name].size else []),
                ]
                for limit in limits:
                    factors |= decades(here[name], at_zero[name], np.asarray(limit, np.float64))
        for decade in sorted(factors)[:_DECADES]:
            factor = 10.0**decade
            scaled = {
                name: clipped(unit[name] * np.asarray(factor, unit[name].dtype), self._input(name)) for name in floating
            }
            yield RegionFeed({**unit, **scaled}, f"values of a spread of {factor:g}")

        for name in asked:
            if name not in here:
                limits = [float(np.max(np.abs(limit), initial=0.0)) for limit in self._critical.limits.get(name, ())]
                for limit in [each for each in dict.fromkeys(limits) if 1 < each < _FARTHEST][:_DECADES]:
                    for level in _LEVELS:
                        near = {
                            name: clipped(unit[name] + np.asarray(level * limit, unit[name].dtype), self._input(name))
                            for name in floating
                        }
                        yield RegionFeed({**unit, **near}, f"values around {level * limit:g}")

    def _across(self, unit: Mapping[str, Value], measure: Measure) -> Iterator[RegionFeed]:
        """Yield numbers right before and behind those at which a value inside crosses a limit where something jumps."""
        asked = [(name, limit) for name in self.asked if name in self._critical.steps for limit in self._limits(name)]
        for (name, limit), way in product(asked[:_CROSSED], _WAYS):

            def inside(share: float, name: str = name, way: tuple[float, ...] = way) -> np.ndarray | None:
                return measure([name], [self._moved(unit, way, share)])[0].get(name)

            for share in crossing(inside, limit):
                yield RegionFeed(self._moved(unit, way, share), f"values at which {name} crosses {limit:g}")

    def _moved(self, unit: Mapping[str, Value], way: tuple[float, ...], share: float) -> dict[str, Value]:
        """Return the values of unit spread moved along a share of a way."""
        start, end, shift = way
        random = [each for each in self._inputs if each.is_random]
        moved = {each.name: unit[each.name] * (start + share * (end - start)) + share * shift for each in random}
        return {**unit, **{each.name: clipped(moved[each.name], each).astype(each.base.dtype) for each in random}}

    def _limits(self, name: str) -> list[float]:
        return [float(limit.reshape(-1)[0]) for limit in self._critical.limits[name] if limit.size == 1]

    def _equal(self, unit: Mapping[str, Value], rng: np.random.Generator) -> Iterator[RegionFeed]:
        """Yield inputs that the model compares with each other, equal at some places."""
        for one, other in sorted(self._critical.rival_inputs):
            a, b = unit.get(one), unit.get(other)
            if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.dtype == b.dtype:
                small, large = sorted((one, other), key=lambda name: np.size(unit[name]))
                if fits(np.shape(unit[large]), np.asarray(unit[small])):
                    mixed = np.where(rng.random(np.shape(unit[large])) < 0.5, unit[small], unit[large])
                    yield RegionFeed({**unit, large: mixed}, f"{large} equal to {small} at some places")

    def _small(self, unit: Mapping[str, Value]) -> Iterator[RegionFeed]:
        """Yield values as small as the numbers that are added to them or below which they are cut off."""
        floating = [each for each in self._inputs if each.is_random]
        powers = {math.floor(math.log10(each)) for each in self._critical.floors}
        for decade in sorted(powers, reverse=True)[:_DECADES] if floating else ():
            factor = 10.0**decade
            scaled = {each.name: unit[each.name] * np.asarray(factor, unit[each.name].dtype) for each in floating}
            yield RegionFeed({**unit, **scaled}, f"values of a spread of {factor:g}")

    def _not_numbers(self, unit: Mapping[str, Value], rng: np.random.Generator) -> Iterator[RegionFeed]:
        for each in self._inputs:
            if each.is_random and each.is_exact and np.size(unit[each.name]):
                value = np.array(unit[each.name])
                where = rng.random(value.shape) < 0.2
                where.reshape(-1)[0] = True
                for number in (np.nan, np.inf, -np.inf):
                    text = f"{each.name} with {number}"
                    yield RegionFeed(
                        {**unit, each.name: np.where(where, np.asarray(number, value.dtype), value)}, text, True
                    )

    def _input(self, name: str) -> RegionInput:
        return next(each for each in self._inputs if each.name == name)
