"""A region: what a root value and constants alone make of it, each value known as a polynomial of the root's moments.

The region grows from the root along the graph and stops at every operator that no rule in ``table.py`` knows,
or that needs a value from elsewhere. Each operator is visited once, so a region costs what its size is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import wraps

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.constants.shape_values import factors
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.fuse.recognize.polynomial import Parameter, Poly
from normfold.fuse.recognize.repeated import is_sized_by, repeated_number, size_of
from normfold.fuse.recognize.views import Grouping, Size, Sizes, count_of, same_shape, sizes_of
from normfold.graph.display_names import name_of
from normfold.graph.reader import GraphReader, attribute, input_at
from normfold.operators.table import is_standard

_MOST_NODES = 256
_LAYOUTS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten")
_LAYOUTS_ABOVE = 4  # changes of layout above the root whose shapes say what its own does
_LARGEST_CONSTANT = 1 << 22  # elements: larger constants are data, not the parameters of a norm


@dataclass(frozen=True)
class Reduction:
    """Where the region's norm takes its moments: ``axes`` of the view ``sizes``, or channel groups of the root."""

    sizes: Sizes
    axes: tuple[int, ...]
    grouping: Grouping


@dataclass(frozen=True, eq=False)
class Tracked:
    """A value of the region. ``axes`` names the axis of its view that each position runs along, None where size 1."""

    poly: Poly
    view: int
    axes: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class NearMiss:
    """A value that looks like a moment but is none, and why. ``has_root``: a root was taken of it."""

    obstacle: Obstacle
    has_root: bool = False


@dataclass(frozen=True, eq=False)
class Partial:
    """The mean of ``tracked.poly`` over some of the norm's axes, times ``factor``; others reduce the rest.

    ``done`` are the axes that were reduced, ``summed`` those of them that a sum and no mean was taken over.
    ``instead`` is what every operator sees that reduces no further.
    """

    tracked: Tracked
    done: frozenset[int]
    summed: frozenset[int]
    factor: float
    instead: NearMiss | None


@dataclass(frozen=True, eq=False)
class Logarithm:
    """``factor * log(.)`` of what is never negative: with Exp behind it a power, by exponents that Pow spells too."""

    tracked: Tracked
    factor: float = 1.0


class Saying(Enum):
    """What a value says of the data without being made of its moments."""

    LEAST = "the least entry"
    LARGEST = "the largest entry"
    ALL_EQUAL = "whether all entries are equal"
    NEVER = "what never holds"
    SOMETHING = "something else"


@dataclass(frozen=True)
class Said:
    """A value of the region that only a condition is made of."""

    saying: Saying


@dataclass(frozen=True, eq=False)
class Constant:
    """An operand that is the same in every run."""

    array: Array


@dataclass(frozen=True, eq=False)
class External:
    """An operand from outside the region; None where it is absent."""

    value: ir.Value | None


Operand = Tracked | NearMiss | Constant | External
RuleResult = Tracked | NearMiss | Partial | Logarithm | Said | None
NormRule = Callable[["Region", ir.Node], RuleResult | tuple[RuleResult, ...]]


DataRule = Callable[["Region", ir.Node, Tracked], RuleResult]


def of_data(rule: DataRule) -> Callable[[Region, ir.Node], RuleResult]:
    """Return the rule for operators whose first operand is of the region; what only looks like a moment stays that."""

    @wraps(rule)
    def whole(region: Region, node: ir.Node) -> RuleResult:
        """Interpret one node."""
        found = region.operand(node, 0)
        if isinstance(found, NearMiss):
            return found
        return rule(region, node, found) if isinstance(found, Tracked) else None

    return whole


@dataclass(eq=False)
class Region:
    """The values that come from one ``root``. ``near_misses`` only look like a norm's division."""

    reader: GraphReader
    root: ir.Value
    reduction: Reduction
    views: list[Sizes]
    tracked: dict[ir.Value, Tracked | NearMiss | Partial | Logarithm | Said] = field(default_factory=dict)
    nodes: dict[ir.Node, None] = field(default_factory=dict)
    shape_readers: list[ir.Node] = field(default_factory=list)
    near_misses: list[tuple[ir.Node, Obstacle]] = field(default_factory=list)
    _equal_sizes: dict[Size, Size] = field(default_factory=dict)
    _parameters: dict[tuple[ir.Value, tuple[int, ...]], Parameter] = field(default_factory=dict)

    @staticmethod
    def grow(
        reader: GraphReader,
        root: ir.Value,
        sizes: Sizes,
        reduction: Reduction,
        rules: Mapping[str, NormRule],
        left: Container[ir.Node] = (),
    ) -> Region:
        """Grow the region of ``root`` for one way of reducing it, without the operators of ``left``."""
        region = Region(reader, root, reduction, [sizes])
        region.tracked[root] = Tracked(Poly.root(len(sizes)), 0, region.whole(0))
        readers = (node for node in region._readers(root) if node not in left)
        queue = [(reader.order(node), index, node) for index, node in enumerate(readers)]
        heapq.heapify(queue)
        met = {node for _, _, node in queue}
        number = len(queue)
        while queue and len(region.nodes) < _MOST_NODES:
            node = heapq.heappop(queue)[2]
            for output in region._visit(node, rules):
                for reading in region._readers(output):
                    if reading not in met and reading not in left:
                        met.add(reading)
                        number += 1
                        heapq.heappush(queue, (reader.order(reading), number, reading))
        return region

    def _readers(self, value: ir.Value) -> Iterator[ir.Node]:
        return (node for node, _ in value.uses() if self.reader.holds(node))

    def _visit(self, node: ir.Node, rules: Mapping[str, NormRule]) -> list[ir.Value]:
        """Interpret one operator; return the outputs that are now known."""
        if node.op_type == "Shape" and node.domain == "" and not node.attributes:
            self.shape_readers.append(node)
            return []
        rule = rules.get(node.op_type) if is_standard(node) else None
        if rule is None:
            return []
        try:
            outcome = rule(self, node)
        except Refusal:  # an attribute that is a parameter of a function
            return []
        outcomes = outcome if isinstance(outcome, tuple) else (outcome,)
        known = [(value, found) for value, found in zip(node.outputs, outcomes, strict=False) if found is not None]
        if not known:
            return []
        self.nodes[node] = None
        self.tracked.update(known)
        return [value for value, _ in known]

    # -- what a rule asks -----------------------------------------------------------------------------------------
    def operand(self, node: ir.Node, index: int) -> Operand:
        """Return input ``index`` of ``node`` as the region knows it."""
        value = input_at(node, index)
        if value is None:
            return External(None)
        known = self.tracked.get(value)
        if isinstance(known, Partial):
            return known.instead or External(value)
        if known is not None:
            return External(value) if isinstance(known, (Said, Logarithm)) else known
        like = value.producer()
        if like is not None and is_standard(like) and like.op_type == "CastLike" and like.inputs[0] is not None:
            value = like.inputs[0]
        if not self.reader.is_constant(value) or (count_of(self.sizes(value) or ()) or 0) > _LARGEST_CONSTANT:
            return External(value)
        array = self.reader.constant(value)
        return External(value) if array is None else Constant(np.asarray(array))

    def partial(self, node: ir.Node, index: int) -> Partial | None:
        """Return input ``index`` of ``node`` where only some of the norm's axes were reduced."""
        known = self.unfinished(node, index)
        return known if isinstance(known, Partial) else None

    def unfinished(self, node: ir.Node, index: int) -> Partial | Logarithm | None:
        """Return input ``index`` of ``node`` where further operators have to complete what it is."""
        value = input_at(node, index)
        known = None if value is None else self.tracked.get(value)
        return known if isinstance(known, (Partial, Logarithm)) else None

    def said(self, node: ir.Node, index: int) -> Saying | None:
        """Return what input ``index`` of ``node`` says of the data."""
        value = node.inputs[index]
        known = None if value is None else self.tracked.get(value)
        return known.saying if isinstance(known, Said) else None

    def number(self, node: ir.Node, index: int) -> float | None:
        """Return a constant operand that holds one number, however often; None where it is anything else."""
        found = self.operand(node, index)
        if isinstance(found, External) and found.value is not None:
            return repeated_number(self.reader, found.value)
        if not isinstance(found, Constant) or not found.array.size:
            return None
        first = found.array.reshape(-1)[0]
        return float(first) if np.all(found.array == first) else None

    def counted(self, value: ir.Value) -> float | None:
        """Return how many times the number of elements behind each moment a number computed from shapes is."""
        below, own = factors([self.reduction.sizes[axis] for axis in self.reduction.axes])
        above, names = factors([size_of(self.reader, value)]) if own else (0, own)
        return above / below if above and below and names == own else None

    def keeps_size(self, node: ir.Node, tracked: Tracked, *others: ir.Value) -> bool:
        """Say whether ``node`` makes of ``tracked`` a value of its size: the others measure the region's own data."""
        own = tuple(1 if axis is None else self.size(tracked.view, axis) for axis in tracked.axes)
        sizes = self.sizes(node.outputs[0])
        known = [[size for size in each if isinstance(size, int)] for each in (sizes or ("?",), own)]
        data: set[ir.Value] = {self.root, *self.tracked}
        above: ir.Value | None = self.root
        for _ in range(_LAYOUTS_ABOVE):
            maker = None if above is None else above.producer()
            if maker is None or maker.op_type not in _LAYOUTS:
                break
            above = maker.inputs[0]
            data |= set() if above is None else {above}
        return known[0] == known[1] and all(is_sized_by(each, data) for each in others)

    def whole(self, view: int) -> tuple[int | None, ...]:
        """Return the axes of a value that has every element of its view."""
        return tuple(None if size == 1 else axis for axis, size in enumerate(self.views[view]))

    def is_whole(self, tracked: Tracked) -> bool:
        """Say whether a value has every element of its view."""
        return tracked.axes == self.whole(tracked.view)

    def is_full(self, tracked: Tracked) -> bool:
        """Say whether a value has every element of its view, in whatever order."""
        return sorted(axis for axis in tracked.axes if axis is not None) == [
            axis for axis in self.whole(tracked.view) if axis is not None
        ]

    @property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """Return the orders of axes that Transposes so far bring the root in, or what was made of it."""
        nodes = (node for node in (*self._readers(self.root), *self.nodes) if node.op_type == "Transpose")
        perms = (attribute(node, "perm") for node in nodes)
        return tuple(dict.fromkeys(tuple(int(axis) for axis in perm) for perm in perms if perm is not None))

    def rank(self, view: int) -> int:
        """Return the number of axes of a view."""
        return len(self.views[view])

    def size(self, view: int, axis: int) -> Size:
        """Return the size of an axis of a view."""
        return self.views[view][axis]

    def view_of(self, sizes: Sizes) -> int:
        """Return the view of that shape; a new one where no known one has it."""
        for index, known in enumerate(self.views):
            if same_shape(sizes, known):
                return index
        self.views.append(sizes)
        return len(self.views) - 1

    def sizes(self, value: ir.Value) -> Sizes | None:
        """Return the shape of a value; None when its rank is unknown."""
        sizes = sizes_of(self.reader, value)
        return None if sizes is None else tuple(self._equal_sizes.get(size, size) for size in sizes)

    def learn_equal(self, one: Sizes, other: Sizes) -> None:
        """Remember that two shapes are equal, of which one may have names that the region does not use."""
        self._equal_sizes.update({a: b for a, b in zip(one, other, strict=True) if a != b and isinstance(a, str)})

    def takes_moments(self, view: int, axes: tuple[int, ...]) -> bool:
        """Say whether reducing ``axes`` of ``view`` takes the region's own moments."""
        return axes == self.moment_axes(view)

    def moment_axes(self, view: int) -> tuple[int, ...] | None:
        """Return the axes of ``view`` that the region's own moments reduce; None where it is another view."""
        if same_shape(self.views[view], self.reduction.sizes) and self.reduction.axes:
            return self.reduction.axes
        return self.reduction.grouping.axes if view == 0 else None

    def parameter(self, value: ir.Value, sizes: tuple[int, ...]) -> Parameter:
        """Return one Parameter for each value and shape, so that equal ones are equal."""
        return self._parameters.setdefault((value, sizes), Parameter(value, sizes))

    def near_miss(self, reason: Reason, node: ir.Node, detail: str = "", *, has_root: bool = False) -> NearMiss:
        """Return a NearMiss for what ``node`` makes."""
        return NearMiss(Obstacle(reason, name_of(node), node.outputs[0].name or "", detail), has_root)

    def record_near_miss(self, node: ir.Node, obstacle: Obstacle) -> None:
        """Remember an operator that looks like the division of a norm."""
        self.near_misses.append((node, obstacle))
