"""Which values of a graph are norms: candidates from the reductions, and the decision by the polynomial alone."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Refusal
from normfold.fuse.recognize.norm_operators import is_norm_operator, norm_spec, takes_statistics
from normfold.fuse.recognize.polynomial import ONE, TOLERANCE, Denominator, Kind, Monomial, Parameter, Poly
from normfold.fuse.recognize.reductions import REDUCERS, reduced_axes
from normfold.fuse.recognize.region import Reduction, Region, Tracked
from normfold.fuse.recognize.repeated import repeated_number
from normfold.fuse.recognize.table import RULES
from normfold.fuse.recognize.views import Grouping, Sizes, grouping_of, sizes_of
from normfold.graph.reader import GraphReader, attribute
from normfold.operators.table import RESHAPES, is_standard

_LONGEST_WAY = 10  # operators between a reduction and the root of its norm
_STEPS = frozenset(name for name, reducer in REDUCERS.items() if reducer.in_steps)
_FURTHER_STEPS = frozenset(name for name in _STEPS if not REDUCERS[name].is_pool)
_BETWEEN = ("Identity", "Cast", "Mul", "Div")
_TO_THE_ROOT = 5  # operators between a mean square and the root of it
_UNDER_ROOT = ("Add", "Sub", "Mul", "Div", "Cast", "Identity", "Unsqueeze", "Reshape", "Max", "Clip", "Sqrt", "Pow")
_WIDTH = {ir.DataType.FLOAT16: 2, ir.DataType.BFLOAT16: 2, ir.DataType.FLOAT: 4, ir.DataType.DOUBLE: 8}


@dataclass(frozen=True, eq=False)
class Norm:
    """``site = gamma * (x - m)/W + beta`` (or ``x/W``) for the root ``x`` of its region.

    ``gamma`` and ``beta`` have the rank of the root; a parameter computed elsewhere multiplies or replaces them.
    """

    site: ir.Value
    denominator: Denominator
    gamma: Array
    beta: Array
    gamma_parameter: Parameter | None = None
    beta_parameter: Parameter | None = None
    n_half_powers: int = 0

    @property
    def is_centred(self) -> bool:
        """Say whether the mean is subtracted."""
        return self.denominator.kind is Kind.VARIANCE

    def transposed(self, order: tuple[int, ...]) -> Norm:
        """Return the same norm of a transposed root."""
        scale, shift = self.gamma_parameter, self.beta_parameter
        return replace(
            self,
            gamma=self.gamma.transpose(order),
            beta=self.beta.transpose(order),
            gamma_parameter=None if scale is None else scale.transposed(order),
            beta_parameter=None if shift is None else shift.transposed(order),
        )


def is_anchor(node: ir.Node) -> bool:
    """Say whether a node takes a moment: every norm contains one."""
    return is_standard(node) and (node.op_type in REDUCERS or is_norm_operator(node))


def regions(reader: GraphReader, anchor: ir.Node, left: Container[ir.Node] = ()) -> Iterator[Region]:
    """Return the regions that ``anchor`` may be part of, nearest root first; no operator of ``left`` is in one."""
    for root, reduction in _candidates(reader, anchor):
        sizes = sizes_of(reader, root)
        assert sizes is not None, "a candidate's rank is known"
        yield Region.grow(reader, root, sizes, reduction, RULES, left)


def _candidates(reader: GraphReader, anchor: ir.Node) -> Iterator[tuple[ir.Value, Reduction]]:
    source = anchor.inputs[0] if anchor.inputs else None
    view = None if source is None else sizes_of(reader, source)
    if source is None or view is None or (takes_statistics(anchor) and view[0] != 1):
        return  # statistics of a batch belong to no norm of one sample
    try:
        axes, groups = _reduced(reader, anchor, view)
        further = _reduced_further(reader, anchor, axes, len(view)) if groups is None else axes
    except Refusal:  # an attribute that is a parameter of a function
        return
    met: set[ir.Value] = set()
    for root in _ways_up(reader, source):
        sizes = sizes_of(reader, root)
        if sizes is None or root in met:
            continue
        met.add(root)
        for reduced in dict.fromkeys((axes, further)):
            grouping = _grouping(sizes, view, reduced, groups)
            if grouping is not None:
                yield root, Reduction(view, reduced, grouping)


def _grouping(root: Sizes, view: Sizes, axes: tuple[int, ...], groups: int | None) -> Grouping | None:
    if groups is not None:
        return Grouping.of_groups(groups, root) if root == view else None
    if root == view:
        return Grouping.of_axes(axes, root) if axes else None
    return grouping_of(root, view, axes)


def _reduced(reader: GraphReader, anchor: ir.Node, sizes: Sizes) -> tuple[tuple[int, ...], int | None]:
    """Return the axes that an anchor reduces, or its number of groups. Axes known only at run time stand for all."""
    rank = len(sizes)
    if is_norm_operator(anchor):
        spec = norm_spec(anchor, rank)
        return ((), None) if spec is None else (spec.axes or (), spec.groups if spec.axes is None else None)
    axes = reduced_axes(reader, anchor, sizes)
    return (tuple(range(rank)) if axes is None else axes), None


def _reduced_further(reader: GraphReader, anchor: ir.Node, axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Return the axes that ``anchor`` and the reductions of its result take together.

    A mean over H, and of that over W.
    """
    left: list[int | None] = [None if axis in axes else axis for axis in range(rank)]
    node, done = anchor, set(axes)
    for _ in range(_LONGEST_WAY):
        if node.op_type in _FURTHER_STEPS and not attribute(node, "keepdims", 1):
            left = [axis for axis in left if axis is not None]
        readers = [reading for reading, _ in node.outputs[0].uses() if reader.holds(reading)]
        further = [reading for reading in readers if reading.op_type in _FURTHER_STEPS]
        if not further and (len(readers) != 1 or readers[0].op_type not in _BETWEEN):
            break
        node = (further or readers)[0]
        if further:
            more = reduced_axes(reader, node, ("?",) * len(left)) or ()
            done |= {axis for position, axis in enumerate(left) if position in more and axis is not None}
            left = [None if axis in done else axis for axis in left]
    return tuple(sorted(done))


def _ways_up(reader: GraphReader, value: ir.Value) -> Iterator[ir.Value]:
    """Return the values that ``value`` may be a moment of.

    Itself, and what layout, casts and arithmetic made it from.
    """
    for _ in range(_LONGEST_WAY):
        node = value.producer()
        is_square = node is not None and _is_square(reader, node)
        if not is_square:
            yield value
        if node is None or not reader.holds(node) or not is_standard(node):
            return
        above = node.inputs[0] if is_square else _above(reader, node)
        if above is None or reader.is_constant(above) != reader.is_constant(value):
            return
        value = above


def _is_square(reader: GraphReader, node: ir.Node) -> bool:
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return node.op_type == "Pow"


def _above(reader: GraphReader, node: ir.Node) -> ir.Value | None:
    if node.op_type in RESHAPES | {"Identity", "Neg", "Abs", "Dropout"}:
        return node.inputs[0]
    if node.op_type == "Cast" and node.inputs[0] is not None:
        before, after = reader.dtype(node.inputs[0]), ir.DataType(attribute(node, "to", 0))
        is_wider = before in _WIDTH and after in _WIDTH and _WIDTH[after] >= _WIDTH[before]
        return node.inputs[0] if is_wider else None
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        variable = [
            each
            for each in node.inputs
            if each is not None and repeated_number(reader, each) is None and not reader.is_constant(each)
        ]
        if len(variable) == 1 and (node.op_type != "Div" or variable[0] is node.inputs[0]):
            return variable[0]
    return None


def takes_root_of_unknown_rank(reader: GraphReader, anchor: ir.Node) -> bool:
    """Say whether a root is taken of a mean square whose rank is unknown: a norm that cannot be decided."""
    source = anchor.inputs[0] if anchor.inputs else None
    if (
        not is_standard(anchor)
        or anchor.op_type not in _STEPS
        or source is None
        or sizes_of(reader, source) is not None
    ):
        return False
    square = source.producer()
    if anchor.op_type != "ReduceSumSquare" and (square is None or not _is_square(reader, square)):
        return False
    nodes = [anchor]
    for _ in range(_TO_THE_ROOT):
        nodes = [reading for node in nodes for reading, _ in node.outputs[0].uses() if reading.op_type in _UNDER_ROOT]
        if any(node.op_type in ("Sqrt", "Pow") for node in nodes):
            return True
    return False


# -- the decision -----------------------------------------------------------------------------------------------
def norms_of(region: Region) -> dict[ir.Value, Norm]:
    """Return every value of a region that is a norm of the root, in order."""
    found: dict[ir.Value, Norm] = {}
    for node in region.nodes:
        for value in node.outputs:
            tracked = region.tracked.get(value)
            if isinstance(tracked, Tracked) and tracked.view == 0 and region.is_whole(tracked):
                norm = as_norm(tracked.poly, value)
                if norm is not None:
                    found[value] = norm
    return found


def as_norm(poly: Poly, site: ir.Value) -> Norm | None:
    """Return the norm that a polynomial is, if it is one: g*x/W - g*m/W + b, or g*x/W + b."""
    data = [(term, array) for term, array in poly.terms.items() if term.x or term.a]
    if len(data) != 1:
        return None
    (term, gamma) = data[0]
    if (
        term.x != 1
        or term.a
        or term.m
        or term.q
        or term.statistics
        or len(term.denominators) != 1
        or term.denominators[0][1] != -1
    ):
        return None
    denominator = term.denominators[0][0]
    rest = dict(poly.terms)
    del rest[term]
    centre = rest.pop(term._replace(x=0, m=1), None)
    if not _centre_fits(denominator, gamma, centre):
        return None
    shift = _shift(rest, poly.rank)
    if shift is None or len(term.parameters) > 1:
        return None
    scale = term.parameters[0] if term.parameters else None
    return Norm(site, denominator, gamma, shift[0], scale, shift[1], term.n_half_powers)


def _centre_fits(denominator: Denominator, gamma: Array, centre: Array | None) -> bool:
    if denominator.kind is not Kind.VARIANCE:
        return centre is None
    if centre is None:
        return False
    one, other = np.broadcast_arrays(gamma, -centre)
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=0.0))


def _shift(rest: dict[Monomial, Array], rank: int) -> tuple[Array, Parameter | None] | None:
    """Return what is added: constants, or one parameter times constants."""
    if not rest:
        return np.zeros((1,) * rank), None
    if len(rest) != 1:
        return None
    ((term, array),) = rest.items()
    if term._replace(parameters=()) != ONE or len(term.parameters) > 1:
        return None
    return array, (term.parameters[0] if term.parameters else None)
