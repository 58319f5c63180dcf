"""How much error is only rounding: a floor for each type, and the model's own noise where the floor is not enough.

The noise of a value is measured on the original alone: its weights and inputs are moved by one unit in the last
place at random and it runs again. That is what a fold does to weights when it rounds them once, so a value that a
correct fold moves further than the floor (a large mean subtracted, a quantizer at a step) shows the same noise here.
A model in float16 or bfloat16 is also run in float32: how far it is from that is its own error in all the steps. So is
one that takes sums, with these in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from normfold.files.protos.tensors import is_external
from normfold.operators.table import ROUNDINGS
from normfold.operators.walk import every_node, inner_graphs
from normfold.runtime.float32_copy import coarsest, retyped
from normfold.runtime.loaded_model import LoadedModel, changed
from normfold.runtime.session import ModelRunError, Runner, Value
from normfold.runtime.submodel import Submodel
from normfold.verify.numeric.distance import ROUNDING, is_floating, pooled
from normfold.verify.numeric.exact_constants import exact_constants
from normfold.verify.numeric.float64_sums import with_exact_sums

Open = Callable[[LoadedModel], Runner]
"""What opens a session without optimizations."""

NoiseSamples = Generator[Mapping[str, np.ndarray], None, None]
"""Noise by name, wider with every look at it."""


class Tolerance(Enum):
    """What every correct model is allowed, by stage and type: half units in the last place of the value's scale.

    LOCAL: one value compared where it is made, one linear operator's worth of rounding.
    LOCAL_NOISY: the same where the model's own noise is larger than LOCAL; a few samples do not show how large it gets.
    END_TO_END: an output of a whole model, run by other kernels than the reference.
    END_TO_END_UNFUSED: an output of a whole model without optimizations, where no site was compared. What the few
    digits of a narrow type cost is measured there, not allowed in advance.
    AT_CENTRE: what a norm makes of data at its centre, where adding the shift later costs the digits that folding
    may cost (see ``normfold.fold.cancellation``).
    EAGER: an output of an exported model against the eager module, which torch's kernels compute.
    """

    LOCAL = {"float64": 256, "float32": 64, "float16": 8, "bfloat16": 8}  # noqa: RUF012  # values are constants
    LOCAL_NOISY = {"float64": 256, "float32": 256, "float16": 8, "bfloat16": 8}  # noqa: RUF012  # the same
    END_TO_END = {"float64": 2048, "float32": 2048, "float16": 32, "bfloat16": 32}  # noqa: RUF012  # the same
    END_TO_END_UNFUSED = {"float64": 2048, "float32": 2048, "float16": 8, "bfloat16": 8}  # noqa: RUF012  # the same
    AT_CENTRE = {"float64": 2**28, "float32": 2**12, "float16": 2**5, "bfloat16": 2**5}  # noqa: RUF012  # the same
    EAGER = {"float64": 128, "float32": 128, "float16": 16, "bfloat16": 16}  # noqa: RUF012  # the same

    def of(self, dtype: str) -> float:
        """Return the tolerance for a type, relative to the scale of the value."""
        return self.value.get(dtype, 8) * ROUNDING.get(dtype, 2.0**-4)


FACTOR = 8.0
"""A few draws see less than the worst case; measured over the reference networks, correct folds stay below 2."""

_MOVED = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)

_SMALLEST = {"float16": np.float32(2.0**-24)}
"""The distance of the smallest numbers of a type that is short of range: a layer scale of 1e-5 has only eight bits."""

# As many signs are drawn, and used over and over: no size of a weight divides it.
_SIGNS = 65_537

_STEPS = ROUNDINGS | {"QuantizeLinear", "DynamicQuantizeLinear"}
_AT_STEPS = 6  # times that the weights are moved where each draw may miss the step that others take

_KEPT_BYTES = 2**25  # of weights, up to which the sessions of one part stay open

BEYOND = 0.02
"""Noise above this share of the scale says that nothing can be compared."""

BEYOND_COARSE = {"float16": 0.1, "bfloat16": 0.25}
"""The same for types with few digits."""


@dataclass(frozen=True)
class _Variant:
    """Another form of a model, which may have none, and what it is fed with for a feed of the model."""

    model: Callable[[], LoadedModel | None]
    feeds: Callable[[Mapping[str, Value]], Iterable[Mapping[str, Value]]]


class NoiseMeter:
    """Measures the rounding noise that a part of the original makes of one feed after another.

    Inputs in ``exact`` carry no rounding: neither they nor the constants that are added to or multiplied with them are
    perturbed. Sessions over few weights stay open from feed to feed: to open them takes longer than to run them.
    """

    def __init__(self, part: Submodel, move: UlpPerturbation, open_session: Open, exact: frozenset[str]) -> None:
        self._part, self._open = part, open_session
        self._keeps = part.model.weight_bytes <= _KEPT_BYTES
        self._kept: dict[int, Runner | None] = {}
        model = part.model

        def moved(feed: Mapping[str, Value], times: int) -> Iterable[Mapping[str, Value]]:
            return ({name: v if name in exact else move(v) for name, v in feed.items()} for _ in range(times))

        has_exact_inputs = exact.issuperset(value.name for value in model.graph.input)
        again = _AT_STEPS if _has_steps(model) else 1
        self._variants = (
            _Variant(lambda: None if has_exact_inputs else model, lambda feed: moved(feed, 1)),
            *[_Variant(lambda: moved_weights(model, move, exact), lambda feed: moved(feed, 2))] * again,
            _Variant(lambda: retyped(model) if coarsest(model) else None, lambda feed: [_in_float32(feed)]),
            _Variant(lambda: with_exact_sums(model), lambda feed: [feed]),
        )

    def __enter__(self) -> NoiseMeter:
        return self

    def __exit__(self, *_: object) -> None:
        for runner in self._kept.values():
            if runner is not None:
                runner.close()

    def samples(
        self, feed: Mapping[str, Value], expected: Mapping[str, Value], by_channel: bool = False
    ) -> NoiseSamples:
        """Measure the noise of each floating value of ``expected``.

        It is the magnitude, pooled over channels, times ``FACTOR``, given again, wider, after each look at it, so a
        caller that has seen enough can stop.
        """
        wanted = [name for name, value in expected.items() if isinstance(value, np.ndarray) and is_floating(value)]
        found: dict[str, np.ndarray] = {}
        for place in range(len(self._variants) if wanted else 0):
            for obtained in self._runs(place, feed, [self._part.outputs[name] for name in wanted]):
                for name, value in zip(wanted, obtained, strict=True):
                    _widen(found, name, expected[name], value, by_channel)
                yield dict(found)

    def _runs(self, place: int, feed: Mapping[str, Value], outputs: Sequence[str]) -> Iterator[list[Value]]:
        """Yield what a variant makes of a feed, as far as it runs; one that does not tells nothing."""
        runner = self._session(place)
        if runner is None:
            return
        try:
            for values in self._variants[place].feeds(feed):
                yield runner.run(values, outputs)
        except ModelRunError:
            return
        finally:
            if not self._keeps:
                runner.close()

    def _session(self, place: int) -> Runner | None:
        """Return the session over a variant; None where the runtime does not load it, or there is none."""
        if place in self._kept:
            return self._kept[place]
        model = self._variants[place].model()
        try:
            runner = None if model is None else self._open(model)
        except ModelRunError:
            runner = None
        if self._keeps:
            self._kept[place] = runner
        return runner


def _has_steps(model: LoadedModel) -> bool:
    """Return whether a model rounds to integers, so that few of many small errors take a step, and a large one."""
    return any(node.op_type in _STEPS for node in every_node(model.skeleton))


def _in_float32(feed: Mapping[str, Value]) -> dict[str, Value]:
    halves = {n for n, value in feed.items() if isinstance(value, np.ndarray) and is_floating(value)}
    return {name: value.astype(np.float32) if name in halves else value for name, value in feed.items()}


def _widen(
    found: dict[str, np.ndarray], name: str, expected: np.ndarray, obtained: np.ndarray, by_channel: bool
) -> None:
    if expected.shape != obtained.shape:
        return
    wide = np.float64 if expected.dtype == np.float64 else np.float32
    with np.errstate(all="ignore"):
        gap = np.asarray(expected.astype(wide, copy=False) - obtained.astype(wide, copy=False))
        np.abs(gap, out=gap)
    gap[~np.isfinite(gap)] = 0
    level = FACTOR * pooled(gap, by_channel)
    found[name] = np.maximum(found[name], level) if name in found else level


class UlpPerturbation:
    """Moves each number of a floating array up or down by a unit in the last place; everything else stays as it is.

    ``precision`` is the type whose last place counts for float32 arrays, which may stand in for a coarser type.
    """

    def __init__(self, precision: str = "", seed: int = 1) -> None:
        self._precision = precision or "float32"
        self._rng = rng = np.random.default_rng(seed)
        self._signs = np.tile(rng.integers(0, 2, _SIGNS, dtype=np.int8) * 2 - 1, 2)
        self._factors: dict[str, np.ndarray] = {}

    def __call__(self, value: Any) -> Any:
        """Return a perturbed copy; what would become infinite, such as the lowest number in a mask, stays."""
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
                beyond = ~np.isfinite(changed_block)
                to[at : at + _SIGNS] = np.where(beyond, block, changed_block) if beyond.any() else changed_block
        return moved

    def _factors_of(self, dtype: str) -> np.ndarray:
        if dtype not in self._factors:
            wide = np.float64 if dtype == "float64" else np.float32
            self._factors[dtype] = (1 + 2 * ROUNDING[dtype] * self._signs).astype(wide)
        return self._factors[dtype]


def moved_weights(model: LoadedModel, move: UlpPerturbation, exact: Set[str] = frozenset()) -> LoadedModel:
    """Return the model with every floating initializer and Constant perturbed, but for those that are exact."""
    kept = exact_constants(model.graph, exact)
    moved = changed(model, move, {kind: kind for kind in _MOVED}, kept)
    graphs = [moved.skeleton.graph, *inner_graphs(moved.skeleton)]
    tensors = [(each.name, each) for graph in graphs for each in graph.initializer if not is_external(each)]
    constants = [node for graph in graphs for node in graph.node if node.op_type == "Constant"]
    tensors += [(node.output[0], each.t) for node in constants for each in node.attribute if each.HasField("t")]
    for name, tensor in tensors:
        if tensor.data_type in _MOVED and name not in kept:
            tensor.CopyFrom(numpy_helper.from_array(move(numpy_helper.to_array(tensor)), tensor.name))
    return moved
