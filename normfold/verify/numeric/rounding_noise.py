"""How much error is only rounding: a floor for each type, and the model's own noise where the floor is not enough.

The noise of a value is measured on the original alone: its weights and inputs are moved by one unit in the last
place at random and it runs again. That is what a fold does to weights when it rounds them once, so a value that a
correct fold moves further than the floor (a large mean subtracted, a quantizer at a step) shows the same unrest here.
A model in float16 or bfloat16 is also run in float32: how far it is from that is its own error in all the steps. So is
one that takes sums, with these in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from normfold.runtime.float32_copy import coarsest, retyped
from normfold.runtime.loaded_model import Held, changed
from normfold.runtime.session import CannotRun, Runner, Value
from normfold.runtime.submodel import Part
from normfold.runtime.weight_store import is_external
from normfold.verify.numeric.distance import ROUNDING, is_floating, pooled
from normfold.verify.numeric.float64_sums import with_exact_sums
from normfold.verify.numeric.separate_constants import unshared

Open = Callable[[Held], Runner]
"""What opens a session without optimizations."""

Looks = Generator[Mapping[str, np.ndarray], None, None]
"""Noise by name, wider with every look at it."""

# Units of half a last place, relative to the scale of the value.
MADE_HERE = {"float64": 256, "float32": 64, "float16": 8, "bfloat16": 8}
"""For a value compared where it is made: one linear operator's worth of rounding."""

RESTLESS = {**MADE_HERE, "float32": 256}
"""The same where the model's own noise is above that: a few draws of it do not show how far it goes."""

AT_THE_END = {"float64": 2048, "float32": 2048, "float16": 32, "bfloat16": 32}
"""For an output at the end of a whole model, run by other kernels than the reference."""

WHOLE = {**AT_THE_END, "float16": 8, "bfloat16": 8}
"""For an output of a whole model without optimizations, where no site was compared: what the few digits of a type do to
it is measured, not granted."""

FACTOR = 8.0
"""A few draws see less than the worst case; measured over the reference networks, correct folds stay below 2."""

_MOVED = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)

_SMALLEST = {"float16": np.float32(2.0**-24)}
"""The distance of the smallest numbers of a type that is short of range: a layer scale of 1e-5 has only eight bits."""

# As many signs are drawn, and used over and over: no size of a weight divides it.
_SIGNS = 65_537

BEYOND = 0.02
"""Noise above this share of the scale says that nothing can be compared."""

BEYOND_COARSE = {"float16": 0.1, "bfloat16": 0.25}
"""The same for types with few digits."""


def floor_of(dtype: str, units: Mapping[str, int]) -> float:
    """The tolerance, relative to a value's scale, that any correct model of this type is granted."""
    return units.get(dtype, 8) * ROUNDING.get(dtype, 2.0**-4)


def noise(
    part: Part, feed: Mapping[str, Value], expected: Mapping[str, Value], move: Mover, open_session: Open
) -> Looks:
    """Rounding noise of each floating value of ``expected``: its magnitude, pooled over channels, times ``FACTOR``.

    It is given again, wider, after each look at it, so whoever has seen enough can stop.
    """
    wanted = [name for name, value in expected.items() if isinstance(value, np.ndarray) and is_floating(value)]
    found: dict[str, np.ndarray] = {}
    for variant in (_moved_feed, _moved_twice, _finer, _with_exact_sums) if wanted else ():
        made = variant(part.held, feed, move)
        if made is None:
            continue
        held, feeds = made
        try:
            with open_session(held) as runner:
                for values in feeds:
                    obtained = runner.run(values, [part.fetch[name] for name in wanted])
                    for name, value in zip(wanted, obtained, strict=True):
                        _widen(found, name, expected[name], value)
                    yield dict(found)
        except CannotRun:  # this variant tells nothing then
            continue


Variant = tuple[Held, Iterable[Mapping[str, Value]]] | None
"""Another form of the original, and the feeds for it; None where it has no such form."""


def _moved_feed(held: Held, feed: Mapping[str, Value], move: Mover) -> Variant:
    return held, [{name: move(value) for name, value in feed.items()}]


def _moved_twice(held: Held, feed: Mapping[str, Value], move: Mover) -> Variant:
    return moved_weights(held, move), ({name: move(value) for name, value in feed.items()} for _ in range(2))


def _finer(held: Held, feed: Mapping[str, Value], _: Mover) -> Variant:
    return (retyped(held), [{name: _in_float32(value) for name, value in feed.items()}]) if coarsest(held) else None


def _with_exact_sums(held: Held, feed: Mapping[str, Value], _: Mover) -> Variant:
    exact = with_exact_sums(held)
    return None if exact is None else (exact, [feed])


def _in_float32(value: Any) -> Any:
    is_half = isinstance(value, np.ndarray) and is_floating(value)
    return value.astype(np.float32) if is_half else value


def _widen(found: dict[str, np.ndarray], name: str, expected: np.ndarray, obtained: np.ndarray) -> None:
    if expected.shape != obtained.shape:
        return
    wide = np.float64 if expected.dtype == np.float64 else np.float32
    with np.errstate(all="ignore"):
        gap = np.asarray(expected.astype(wide, copy=False) - obtained.astype(wide, copy=False))
        np.abs(gap, out=gap)
    gap[~np.isfinite(gap)] = 0
    level = FACTOR * pooled(gap)
    found[name] = np.maximum(found[name], level) if name in found else level


class Mover:
    """Moves each number of a floating array up or down by a unit in the last place; everything else stays as it is.

    ``precision`` is the type whose last place counts for float32 arrays, which may stand in for a coarser type.
    """

    def __init__(self, precision: str = "", seed: int = 1) -> None:
        self._precision = precision or "float32"
        self._rng = rng = np.random.default_rng(seed)
        self._signs = np.tile(rng.integers(0, 2, _SIGNS, dtype=np.int8) * 2 - 1, 2)
        self._factors: dict[str, np.ndarray] = {}

    def __call__(self, value: Any) -> Any:
        """A moved copy. The largest number of the type may move beyond it."""
        if not isinstance(value, np.ndarray) or not is_floating(value) or str(value.dtype) not in ROUNDING:
            return value
        step = self._precision if value.dtype == np.float32 else str(value.dtype)
        factors, smallest = self._factors_of(step), _SMALLEST.get(step)
        start = int(self._rng.integers(_SIGNS))
        moved = np.empty(value.shape, value.dtype)
        to, source = moved.reshape(-1), value.reshape(-1)
        with np.errstate(all="ignore"):
            for at in range(0, value.size, _SIGNS):
                block = source[at : at + _SIGNS]
                places = slice(start, start + block.size)
                changed_block = block.astype(factors.dtype, copy=False) * factors[places]
                if smallest is not None:
                    changed_block += smallest * self._signs[places] * (block != 0)
                to[at : at + _SIGNS] = changed_block
        return moved

    def _factors_of(self, dtype: str) -> np.ndarray:
        if dtype not in self._factors:
            wide = np.float64 if dtype == "float64" else np.float32
            self._factors[dtype] = (1 + 2 * ROUNDING[dtype] * self._signs).astype(wide)
        return self._factors[dtype]


def moved_weights(held: Held, move: Mover) -> Held:
    """The model with every floating initializer and Constant moved likewise, for each reader in another way."""
    apart, settings = unshared(held)
    moved = changed(apart, move, {kind: kind for kind in _MOVED})
    for tensor in moved.skeleton.graph.initializer:
        if tensor.data_type in _MOVED and not is_external(tensor) and tensor.name not in settings:
            tensor.CopyFrom(numpy_helper.from_array(move(numpy_helper.to_array(tensor)), tensor.name))
    return moved
