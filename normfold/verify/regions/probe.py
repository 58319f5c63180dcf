"""Feed each region in which two models differ with values of its own, and compare what comes out by channel.

What the network sends to a region may hide a fault: a channel that is zero behind a Relu, a limit that no value
reaches, a row of a table that no index names, data far from the centre of a norm. A linear region that agrees at a few
random points agrees everywhere, and the values come from the operators of the region itself (see ``feeds.py``).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import onnx

from normfold.files.protos.tensors import is_external
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.random_operators import depending_on, unseeded_values
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value
from normfold.runtime.submodel import Submodel, submodel, types_of
from normfold.verify.inputs.generate import Feed
from normfold.verify.inputs.roles import InputConstraints, input_constraints
from normfold.verify.numeric.distance import is_floating
from normfold.verify.numeric.rounding_noise import Tolerance
from normfold.verify.question import Conditions, Question
from normfold.verify.regions.difference import DifferingRegion, boundary_of, differing_regions, signatures
from normfold.verify.regions.drawing import RegionInput
from normfold.verify.regions.feeds import RegionFeed, RegionFeeds
from normfold.verify.regions.value_ranges import ANY, value_ranges
from normfold.verify.result import Comparison, Stage

SLOW_SECONDS = 2.0  # of processor time, which the feeds of one region may take
ALL_SECONDS = 60.0  # which those of all regions may take together; beyond, each region gets its first feed
FEW_FEEDS = f"operators that differ were fed with some of their own values only, as these took over {SLOW_SECONDS:g} s"

_GUESS = 16  # a size that nothing says
_SELECTORS = frozenset({"Gather", "GatherElements", "GatherND"})

SEEDS = 3
"""A difference counts where as many feeds of one kind show it: a decision between values that tie shows once."""


_NETWORK = "as the network sends them"

RegionKind = tuple[object, ...]
"""What is equal for regions that compute the same of the same feeds, whatever the names."""

Compared = dict[int, Comparison]
"""The worst comparison of each target of a region by its place, as far as it runs."""

Known = dict[RegionKind | DifferingRegion, Compared]
"""The comparisons of regions that were fed, by region and by kind."""


@dataclass(frozen=True)
class _Pair:
    """The region as both models compute it."""

    region: DifferingRegion
    original: Submodel
    candidate: Submodel
    inputs: tuple[RegionInput, ...]

    @property
    def exact(self) -> frozenset[str]:
        """Return the inputs that carry no rounding."""
        return frozenset(each.name for each in self.inputs if each.is_exact)

    @property
    def kind(self) -> RegionKind:
        """Return the kind of the region."""
        weights = (weight for side in (self.original, self.candidate) for weight in side.model.initializers)
        known = {name: f"weight {name}".encode() for name, tensor in weights if is_external(tensor)}
        known |= {each.name: f"input {number}".encode() for number, each in enumerate(self.inputs)}
        sides = [signatures(side.model, known) for side in (self.original, self.candidate)]
        made = [side[name] for side in sides for name in self.region.targets]
        names: dict[object, str] = {}
        dims = [
            tuple(size if isinstance(size, int) else names.setdefault(size, f"size {len(names)}") for size in each.dims)
            for each in self.inputs
        ]
        return (*made, *dims, *(each.kind for each in self.inputs))


def regions_of(question: Question) -> list[DifferingRegion]:
    """Return the regions in which the models differ and that can be fed."""
    return differing_regions(question.original, question.candidate, question.left_out)


def compared_regions(
    question: Question, feed: Feed, regions: Sequence[DifferingRegion], known: Known | None = None
) -> Iterator[Comparison]:
    """Yield the worst comparison of each region that runs on feeds of its own.

    Of regions that compute the same one is fed. ``known`` are those that were fed in earlier calls, and grows.
    """
    known = {} if known is None else known
    fresh = [each for each in regions if each not in known]
    latest = time.process_time() + ALL_SECONDS
    ranges = (value_ranges(question.original), value_ranges(question.candidate)) if fresh else ()
    for group, values, dims in _with_values(question, feed, fresh):
        for region, each in zip(group, _between_tensors(question, group, values), strict=True):
            pair = _pair(question, feed, each, values, dims, *ranges)
            kind = region if pair is None else pair.kind
            if kind not in known:
                known[kind] = {} if pair is None else _compared(question, pair, latest)
            known[region] = known[kind]
    for region in regions:
        for place, comparison in known[region].items():
            name = region.targets[place]
            yield replace(comparison, value=name, folds=question.folds.get(name, ()))


def _between_tensors(
    question: Question, regions: Sequence[DifferingRegion], values: Mapping[str, Value]
) -> Iterator[DifferingRegion]:
    """Yield the regions, larger where one begins with a sequence or with strings, which cannot be made up."""
    others = values.keys() - types_of(values).keys()
    for each in regions:
        is_between = others.isdisjoint(each.boundary)
        models, among = (question.original, question.candidate), set(each.boundary) - others
        yield each if is_between else replace(each, boundary=boundary_of(*models, each.targets[0], among))


def _with_values(
    question: Question, feed: Feed, regions: Sequence[DifferingRegion]
) -> Iterator[tuple[list[DifferingRegion], Mapping[str, Value], Mapping[str, Sequence[int | str | None]]]]:
    """Yield the regions in groups, with the values of the first feed between them, of which few are kept at once."""
    wanted = {name for each in regions for name in each.boundary if name in question.original.producers}
    if not wanted:
        yield list(regions), {}, {}
        return
    whole = submodel(question.original, sorted(wanted), {})
    with question.open(whole.model) as runner:
        sizes = {name: _expected_bytes(runner.output_shapes.get(made, ())) for name, made in whole.outputs.items()}
        dims = {name: runner.output_shapes.get(made, ()) for name, made in whole.outputs.items()}
        given = {name: feed.values[name] for name in whole.feeds}
        group: list[DifferingRegion] = []
        names: dict[str, None] = {}
        taken = 0
        for each in (*regions, None):
            fresh = [n for n in each.boundary if n in wanted and n not in names] if each is not None else []
            taken += sum(sizes[n] for n in fresh)
            if group and (each is None or taken > question.options.piece_bytes):
                values = runner.run(given, [whole.outputs[name] for name in names])
                yield group, dict(zip(names, values, strict=True)), dims
                fresh = [n for n in each.boundary if n in wanted] if each is not None else []
                group, names, taken = [], {}, sum(sizes[n] for n in fresh)
            if each is not None:
                group.append(each)
                names |= dict.fromkeys(fresh)


def _expected_bytes(shape: Sequence[int | str | None]) -> int:
    """Return the bytes of a value as far as its shape is known; of a free first dimension, mostly the batch, 1."""
    return 4 * math.prod(size if isinstance(size, int) else _GUESS if axis else 1 for axis, size in enumerate(shape))


def _pair(
    question: Question,
    feed: Feed,
    region: DifferingRegion,
    values: Mapping[str, Value],
    dims: Mapping[str, Sequence[int | str | None]],
    *ranges: Mapping[str, tuple[float, float]],
) -> _Pair | None:
    inner = {name: values[name] for name in region.boundary if name in values}
    boundary = types_of(inner)
    sides = [submodel(model, region.targets, boundary) for model in (question.original, question.candidate)]
    if any(unseeded_values(side.model) for side in sides):
        return None
    ours, theirs = (input_constraints(side.model) for side in sides)
    inputs = []
    needed = dict.fromkeys(name for side in sides for name in (*side.feeds, *side.injected))
    declared, place_of = question.original.graph.input, question.original.input_places
    for name in needed:
        is_given = name not in inner
        low = min((each.get(name, ANY)[0] for each in ranges), default=ANY[0])
        high = max((each.get(name, ANY)[1] for each in ranges), default=ANY[1])
        sizes = _declared_dims(declared[place_of[name]]) if is_given else tuple(dims.get(name, ()))
        base = feed.values[name] if is_given else inner[name]
        known = ours.get(name) or theirs[name]
        if name in theirs:
            known = replace(known, words=tuple(dict.fromkeys((*known.words, *theirs[name].words))))
        inputs.append(RegionInput(name, base, sizes, (low, high), known, is_given))
    read = dict.fromkeys(value.name for side in sides for value in side.model.graph.input)
    models = question.original, question.candidate
    for name in (name for name in read if all(_has_default(model, name) for model in models)):
        tensor = models[0].graph.initializer[models[0].initializer_places[name]]
        known = InputConstraints()
        inputs.append(RegionInput(name, question.original.array_of(tensor), tuple(tensor.dims), ANY, known, True))
    return _Pair(region, sides[0], sides[1], tuple(inputs))


def _has_default(model: LoadedModel, name: str) -> bool:
    """Return whether a user may replace an initializer; before version 4 of the format no user can."""
    return name in model.input_places and name in model.initializer_places and model.skeleton.ir_version >= 4


def _declared_dims(value: onnx.ValueInfoProto) -> tuple[int | str | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}:{axis}"
        for axis, dim in enumerate(dims)
    )


def _compared(question: Question, pair: _Pair, latest: float) -> Compared:
    """Return the comparisons of the first kind of feed that shows a difference again and again, or of a table.

    They are else the worst of those that pass, and none where the region does not run. From ``latest`` on, in seconds
    of processor time, the first feed is the only one.
    """
    try:
        with ExitStack() as opened:
            feeds = RegionFeeds([pair.original.model, pair.candidate.model], pair.inputs, question.options.seed)
            ours = opened.enter_context(question.open(_showing(pair.original, feeds.asked)))
            try:
                theirs = opened.enter_context(question.open(_showing(pair.candidate, feeds.asked)))
            except ModelRunError as error:
                return _does_not_run(question, pair, error)
            comparing = _Comparing(question, pair, feeds, ours, theirs, latest)
            opened.enter_context(comparing.noise)
            failing = _other_table(question, pair) or comparing.first_difference()
            return failing or comparing.agreement
    except ModelRunError as error:
        if error.kind is FailureKind.TIME:
            raise
        return {}  # the original's part does not load on its own


def _does_not_run(question: Question, pair: _Pair, error: ModelRunError) -> Compared:
    """Return the comparisons of a region that only the original computes."""
    if error.kind is FailureKind.TIME:
        raise error
    why = f"the candidate does not compute it: {error}"
    targets = enumerate(pair.region.targets)
    return {place: question.failing(target, Stage.AT_SITE, why, _NETWORK) for place, target in targets}


def _other_table(question: Question, pair: _Pair) -> Compared:
    """Return the comparison of a table of which data selects entries, if it fails: no feeds reach each of them.

    Where the operators differ, one of them may have been folded into the table.
    """
    ours, theirs = pair.original.model, pair.candidate.model
    if [node.op_type for node in ours.graph.node] != [node.op_type for node in theirs.graph.node]:
        return {}
    tables, others = dict(ours.initializers), dict(theirs.initializers)
    data = depending_on(ours, [each.name for each in pair.inputs])
    for node in (node for node in ours.graph.node if node.op_type in _SELECTORS):
        table, other = tables.get(node.input[0]), others.get(node.input[0])
        if table is not None and other is not None and node.input[1] in data:
            how = Conditions(Stage.REGION, f"the table {node.input[0]}", Tolerance.LOCAL)
            found = question.judge(pair.region.targets[0], how, ours.array_of(table), theirs.array_of(other))
            if not found.passed:
                return {0: replace(found, note=found.note or "the tables that data selects from differ")}
    return {}


class _Comparing:
    """Both sides of a region, open. ``agreement`` are the worst comparisons so far that pass; ``noise`` is to close."""

    def __init__(
        self, question: Question, pair: _Pair, feeds: RegionFeeds, ours: Runner, theirs: Runner, latest: float
    ) -> None:
        self._question, self._pair, self._feeds, self._ours, self._theirs = question, pair, feeds, ours, theirs
        self.agreement: Compared = {}
        self.noise = question.noise_meter(pair.original, pair.exact)
        self._latest = min(latest, time.process_time() + SLOW_SECONDS)

    def first_difference(self) -> Compared:
        """Try what the network sends there, then shapes until one runs.

        A difference at a shape that the models do not declare must show at another too. Where the first feed of such a
        shape does not run, no other will. A region that takes long, as one with a loop, gets the first feeds only.
        """
        found = self._as_the_network_sends_them()
        if found:
            return found
        for shapes, is_declared in self._feeds.shapes():
            runs = False
            kinds: Counter[str] = Counter()
            for feed in self._feeds.feeds(shapes, 0, self._measured):
                if runs and time.process_time() > self._latest:
                    return self._with_few_feeds()
                kinds[feed.text] += 1
                pairs = self._run(feed.values)
                if pairs is None and not runs and not is_declared:
                    break
                if pairs is None:
                    continue
                runs = True
                found = self._failing(feed, pairs)
                if found and self._shows_again(feed, shapes, kinds[feed.text] - 1):
                    break
                found = {}
            if found and is_declared:
                return found
            if runs and not found:
                break
        return self._at_other_sizes()

    def _with_few_feeds(self) -> Compared:
        self.agreement = {place: replace(found, note=FEW_FEEDS) for place, found in self.agreement.items()}
        return {}

    def _as_the_network_sends_them(self) -> Compared:
        """Compare what the network itself sends to the region, unless a tolerance of the user is for outputs."""
        feed = RegionFeed({each.name: each.base for each in self._pair.inputs}, _NETWORK)
        pairs = self._run(feed.values)
        if pairs is None:
            return self._only_ours_runs(feed.values)
        return {} if self._question.options.is_explicit else self._failing(feed, pairs, stage=Stage.AT_SITE)

    def _only_ours_runs(self, values: Mapping[str, Value]) -> Compared:
        """Return the failing comparisons where the candidate does not run on a feed that the original takes."""
        original, candidate = self._pair.original, self._pair.candidate
        try:
            self._ours.run(_given(original, values), list(original.outputs.values()))
        except ModelRunError:
            return {}
        try:
            self._theirs.run(_given(candidate, values), list(candidate.outputs.values()))
        except ModelRunError as error:
            return _does_not_run(self._question, self._pair, error)
        return {}

    def _at_other_sizes(self) -> Compared:
        for sizes in self._feeds.sizes():
            feed = self._feeds.sized(sizes)
            pairs = None if feed is None else self._run(feed.values)
            found = {} if feed is None or pairs is None else self._failing(feed, pairs)
            if found:
                return found
        return {}

    def _shows_again(self, feed: RegionFeed, shapes: Mapping[str, tuple[int, ...]], index: int) -> bool:
        """Return whether feeds of the same kind with other numbers show a difference too.

        ``index`` counts the feeds of that kind before it: each limit of a value has a feed of its own.
        """
        for seed in range(1, SEEDS):
            same = (each for each in self._feeds.feeds(shapes, seed, self._measured) if each.text == feed.text)
            again = next(islice(same, index, None), feed)
            pairs = self._run(again.values)
            if pairs is None or not self._failing(again, pairs):
                return False
        return True

    def _measured(self, names: Sequence[str], feeds: Sequence[Mapping[str, Value]]) -> list[dict[str, np.ndarray]]:
        """Compute values inside of both sides of the region for each feed."""
        found: list[dict[str, np.ndarray]] = [{} for _ in feeds]
        for side, runner in (self._pair.candidate, self._theirs), (self._pair.original, self._ours):
            there = [name for name in names if name in side.model.producers]
            try:
                for known, values in zip(found, feeds, strict=True):
                    made = zip(there, runner.run(_given(side, values), there), strict=True)
                    known.update({name: value for name, value in made if isinstance(value, np.ndarray)})
            except ModelRunError:
                continue
        return found

    def _run(self, values: Mapping[str, Value]) -> list[tuple[Value, Value]] | None:
        """Return what both sides make of a feed; None where either does not run."""
        targets = self._pair.region.targets
        try:
            ours, theirs = (
                runner.run(_given(side, values), [side.outputs[target] for target in targets])
                for side, runner in ((self._pair.original, self._ours), (self._pair.candidate, self._theirs))
            )
        except ModelRunError as error:
            if error.kind is FailureKind.TIME:
                raise
            return None
        pairs = list(zip(ours, theirs, strict=True))
        have_one_shape = all(getattr(a, "shape", ()) == getattr(b, "shape", ()) for a, b in pairs)
        return pairs if have_one_shape or not self._may_contradict(values) else None

    def _may_contradict(self, values: Mapping[str, Value]) -> bool:
        """Return whether sizes between operators are not those of the network, nor such as sizes of its inputs make."""
        inputs = [(each, np.shape(values[each.name])) for each in self._pair.inputs]
        if all(each.is_exact for each, _ in inputs) or all(shape == np.shape(each.base) for each, shape in inputs):
            return False
        if any(len(each.dims) != len(shape) for each, shape in inputs):
            return True
        declared = {dim for value in self._question.original.graph.input for dim in _declared_dims(value)}
        known: dict[object, int] = {}
        sizes = [pair for each, shape in inputs for pair in zip(each.dims, shape, strict=True)]
        return any(
            size != dim if isinstance(dim, int) else dim not in declared or known.setdefault(dim, size) != size
            for dim, size in sizes
        )

    def _failing(self, feed: RegionFeed, pairs: Sequence[tuple[Value, Value]], stage: Stage = Stage.REGION) -> Compared:
        """Return the comparisons that fail."""
        found = {}
        for place, comparison in enumerate(self._comparisons(feed, pairs, stage)):
            known = self.agreement.get(place)
            if comparison.passed and (known is None or comparison.margin > known.margin):
                self.agreement[place] = comparison
            elif not (comparison.passed or comparison.noise_dominated):
                found[place] = replace(comparison, note=comparison.note or "the operators that make it differ")
        return found

    def _comparisons(
        self, feed: RegionFeed, pairs: Sequence[tuple[Value, Value]], stage: Stage
    ) -> Iterable[Comparison]:
        """Return the comparison of each target, with the noise there of all that need it."""
        question, text = self._question, feed.text if stage is Stage.AT_SITE else f"its own: {feed.text}"
        how = Conditions(stage, text, feed.tolerance)
        found: dict[str, Comparison] = {}
        near: dict[str, tuple[Value, Value]] = {}
        for target, (expected, obtained) in zip(self._pair.region.targets, pairs, strict=True):
            if feed.must_keep_nan and _nan_moved(expected, obtained):
                found[target] = question.failing(target, stage, "NaN or infinity goes another way", text)
                continue
            found[target] = question.judge(target, how, expected, obtained)
            if not found[target].passed and isinstance(expected, np.ndarray) and is_floating(expected):
                near[target] = expected, obtained
        if near:
            ours = {target: expected for target, (expected, _) in near.items()}
            given = _given(self._pair.original, feed.values)
            samples = self.noise.samples(given, ours, by_channel=stage is Stage.REGION)
            found |= question.compare_with_noise(samples, how, near)[0]
        return found.values()


def _showing(side: Submodel, names: Sequence[str]) -> LoadedModel:
    """Return one side of a region with values inside of it as outputs too."""
    inside = [name for name in names if name in side.model.producers and name not in side.model.output_names]
    return submodel(side.model, [*side.outputs.values(), *inside], {}).model if inside else side.model


def _given(side: Submodel, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values that a region takes, those with a default included."""
    return {value.name: values[value.name] for value in side.model.graph.input if value.name in values}


def _nan_moved(expected: Value, obtained: Value) -> bool:
    if not all(isinstance(value, np.ndarray) and is_floating(value) for value in (expected, obtained)):
        return False
    a, b = (np.isnan(value.astype(np.float64)) for value in (expected, obtained))
    return a.shape == b.shape and bool((a != b).any())
