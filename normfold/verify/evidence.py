"""Compare two models at every site, each where its value is made.

Both models run in parts. The original's part gives the reference values; the candidate's part is cut at every site
and fed with those values, so an error shows at the site behind the operator that makes it and nowhere else, and
saturated or chaotic operators further on cannot hide or inflate it. Parts are chosen so that what is held at once stays
bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from normfold.verify.calibrate import BEYOND, MADE_HERE, floor_of, noise
from normfold.verify.compare import Allowance, Distance, distance
from normfold.verify.feeds import Feed
from normfold.verify.held import Held, Part, part
from normfold.verify.result import Comparison, ProofOptions
from normfold.verify.run import CannotRun, Level, Runner, Value

FORCED = "disable_all, at the site"


@dataclass
class Tally:
    """The worst comparison of each value and witness so far, over all feeds."""

    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    worst: dict[tuple[str, str], Comparison] = field(default_factory=dict)

    def add(self, comparison: Comparison) -> None:
        """Keep it if it is the worst of its value and witness."""
        key = comparison.value, comparison.witness
        known = self.worst.get(key)
        if known is None or (comparison.passed, -comparison.margin) < (known.passed, -known.margin):
            self.worst[key] = comparison

    def judged(self, value: str, witness: str, found: Distance, feed: str) -> Comparison:
        """The distance of one feed as a comparison."""
        passed = not found.mismatch and found.margin <= 1
        return Comparison(
            value=value,
            witness=witness,
            passed=passed,
            dtype=found.dtype,
            max_abs=found.max_abs,
            relative=found.relative,
            margin=found.margin,
            ulps=found.ulps,
            cosine=found.cosine,
            top1=found.top1,
            differing=found.differing,
            elements=found.elements,
            comparable=found.comparable,
            at=found.at,
            expected=found.expected,
            obtained=found.obtained,
            tolerance=found.relative / found.margin if found.margin not in (0.0, float("inf")) else 0.0,
            would_pass=f"atol={found.needed_atol:.3g} or rtol={found.needed_rtol:.3g}",
            feed=feed,
            note=found.mismatch,
            owners=self.owners.get(value, ()),
        )

    def failed(self, value: str, witness: str, why: str, feed: str) -> Comparison:
        """A comparison for a value that the candidate did not even compute."""
        inf = float("inf")
        owners = self.owners.get(value, ())
        return Comparison(value, witness, False, relative=inf, margin=inf, feed=feed, note=why, owners=owners)


def distances(expected: Value, obtained: Value, allowance: Allowance) -> Distance:
    """``distance`` for any runtime value: lists (sequences) item by item, None (an empty optional) only equals None."""
    if isinstance(expected, list) and isinstance(obtained, list) and len(expected) == len(obtained):
        items = [distances(a, b, allowance) for a, b in zip(expected, obtained, strict=True)]
        empty = Distance("sequence", elements=0)
        return max(items, key=lambda d: (bool(d.mismatch), d.margin), default=empty)
    if isinstance(expected, dict) and isinstance(obtained, dict) and expected.keys() == obtained.keys():
        keys = list(expected)
        return distances([np.asarray(expected[k]) for k in keys], [np.asarray(obtained[k]) for k in keys], allowance)
    if expected is None and obtained is None:
        return Distance("optional")
    if not isinstance(expected, np.ndarray) or not isinstance(obtained, np.ndarray):
        kinds = type(expected).__name__, type(obtained).__name__
        return Distance(kinds[0], mismatch=f"expected a value of kind {kinds[0]}, got {kinds[1]}")
    return distance(expected, obtained, allowance)


def floor_for(value: Value, units: Mapping[str, int], options: ProofOptions) -> Allowance:
    """What is allowed without looking at the model's own noise."""
    dtype = str(value.dtype) if isinstance(value, np.ndarray) else "float32"
    return Allowance(floor_of(dtype, units), rtol=options.rtol, atol=options.atol)


@dataclass(frozen=True)
class Chunk:
    """Values compared in one go: ``targets``, and the earlier targets that both parts are fed with."""

    targets: tuple[str, ...]
    earlier: tuple[str, ...]


def chunks(targets: Sequence[str], sizes: Mapping[str, int], limit: int) -> list[Chunk]:
    """Targets, in the order of the graph, grouped so that a group's values stay below ``limit`` bytes."""
    groups: list[list[str]] = [[]]
    used = 0
    for name in targets:
        if groups[-1] and used + sizes.get(name, 0) > limit:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += sizes.get(name, 0)
    result: list[Chunk] = []
    earlier: list[str] = []
    for group in groups:
        result.append(Chunk(tuple(group), tuple(earlier)))
        earlier += group
    return result


def type_of(value: np.ndarray) -> onnx.TypeProto:
    """The tensor type of an array, with its rank but free sizes."""
    element = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_type_proto(element, [None] * value.ndim)


class SiteCheck:
    """Compares the values of one chunk, feed after feed. The candidate's session opens with the first feed, because the
    types of the values it is fed with are known only then."""

    def __init__(self, original: Held, candidate: Held, chunk: Chunk, options: ProofOptions, tally: Tally) -> None:
        self._original, self._candidate = original, candidate
        self._chunk, self._options, self._tally = chunk, options, tally
        self._part: Part | None = None
        self._runner: Runner | None = None

    def close(self) -> None:
        """Free the candidate's session."""
        if self._runner is not None:
            self._runner.close()

    def compare(self, feed: Feed, values: Mapping[str, Value]) -> None:
        """Compare one feed. ``values`` are the original's values of the chunk's targets and of all earlier ones."""
        cut = {name: type_of(v) for name, v in values.items() if isinstance(v, np.ndarray) and v.dtype != object}
        try:
            if self._part is None or self._runner is None:
                self._part = part(self._candidate, self._chunk.targets, cut)
                self._runner = self._open(self._part)
            obtained = self._run(self._part, self._runner, feed, values)
        except CannotRun as error:
            self._one_by_one(feed, values, cut, error)
            return
        doubtful = [
            name for name in self._chunk.targets if not self._judge(name, values[name], obtained[name], feed, None)
        ]
        if doubtful and not self._options.is_explicit:
            levels = self._noise(doubtful, feed, values, cut)
            doubtful_levels = {name: levels[name] for name in doubtful if name in levels}
        else:
            doubtful_levels = {}
        for name in doubtful:
            self._judge(name, values[name], obtained[name], feed, doubtful_levels.get(name), final=True)

    def _open(self, small: Part) -> Runner:
        return Runner(small.held, Level.DISABLE_ALL, self._options.threads, self._options.seconds)

    def _run(self, small: Part, runner: Runner, feed: Feed, values: Mapping[str, Value]) -> dict[str, Value]:
        given = {name: feed.values[name] for name in small.feeds} | {name: values[name] for name in small.forced}
        return dict(zip(small.fetch, runner.run(given, list(small.fetch.values())), strict=True))

    def _judge(
        self,
        name: str,
        expected: Value,
        obtained: Value,
        feed: Feed,
        level: np.ndarray | None = None,
        final: bool = False,
    ) -> bool:
        """Whether one value passes; recorded when it does, or when no noise is left to excuse it."""
        allowance = floor_for(expected, MADE_HERE, self._options)
        if level is not None:
            allowance = Allowance(allowance.floor, np.minimum(level, BEYOND * np.abs(expected).max()))
        judged = self._tally.judged(name, FORCED, distances(expected, obtained, allowance), feed.text)
        if judged.passed or final:
            self._tally.add(judged)
        return judged.passed

    def _noise(
        self, names: Sequence[str], feed: Feed, values: Mapping[str, Value], cut: Mapping[str, onnx.TypeProto]
    ) -> dict[str, np.ndarray]:
        """The rounding noise that the original itself makes between the cuts and these values."""
        small = part(self._original, names, cut)
        given = {name: feed.values[name] for name in small.feeds} | {name: values[name] for name in small.forced}
        expected = {name: values[name] for name in names}
        return noise(small, given, expected, self._options.threads, self._options.seconds)

    def _one_by_one(
        self, feed: Feed, values: Mapping[str, Value], cut: Mapping[str, onnx.TypeProto], error: CannotRun
    ) -> None:
        """The part does not run: find the values that cannot be computed."""
        blamed = False
        for name in self._chunk.targets:
            small = part(self._candidate, [name], cut)
            try:
                with self._open(small) as runner:
                    obtained = self._run(small, runner, feed, values)
            except CannotRun as alone:
                self._tally.add(
                    self._tally.failed(name, FORCED, f"the candidate does not compute it: {alone}", feed.text)
                )
                blamed = True
                continue
            self._judge(name, values[name], obtained[name], feed, None, final=True)
        if not blamed:
            raise error


def in_order(held: Held, names: Iterable[str]) -> list[str]:
    """Values in the order in which the graph makes them (inputs and initializers first)."""
    place = {name: i for i, node in enumerate(held.graph.node) for name in node.output}
    return sorted(dict.fromkeys(names), key=lambda name: place.get(name, -1))
