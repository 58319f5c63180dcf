"""What reductions make of polynomials: the moments. Operators as in https://onnx.ai/onnx/operators/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import ascii_letters

import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.fuse.recognize.polynomial import Monomial, Poly
from normfold.fuse.recognize.region import NearMiss, NormRule, Partial, Region, RuleResult, Tracked, of_data
from normfold.fuse.recognize.repeated import repeated_number
from normfold.fuse.recognize.views import Sizes, count_of, sizes_of
from normfold.graph.reader import GraphReader, attribute
from normfold.operators.table import RESHAPES, is_standard

LINEAR = ("Conv", "Einsum", "Gemm", "MatMul")
Moment = Callable[[Region, Poly, tuple[int, ...], int], Poly | None]
"""What a reduction makes of a polynomial, over the axes of a view."""


@dataclass(frozen=True)
class Reducer:
    """How an operator reduces.

    ``is_pool``: it reduces the axes behind the channels, all at once, and keeps them with size 1; other operators name
    their axes. ``in_steps``: several of them in a row may take one moment together. ``sums``: the result is not divided
    by the number of elements. ``squares``: its square is reduced.
    """

    moment: Moment
    is_pool: bool = False
    in_steps: bool = True
    sums: bool = False
    squares: bool = False


@dataclass(frozen=True)
class Summation:
    """What a linear operator that sums ``axes``, of the data or of its squares, multiplies each element by.

    ``keeps``: the axes stay, with size 1, or ``repeats``: with their own size, filled with the sum.
    """

    axes: tuple[int, ...]
    weight: float = 1.0
    squares: bool = False
    keeps: bool = False
    repeats: bool = False


def reduced_axes(reader: GraphReader, node: ir.Node, sizes: Sizes) -> tuple[int, ...] | None:
    """Return the axes that a reduction of a value of shape ``sizes`` takes, sorted and positive; None if not constant.

    None are reduced by what is no reduction there: a pool smaller than its input, axes that do not exist.
    """
    rank = len(sizes)
    if node.op_type in LINEAR:
        found = summation_of(reader, node, sizes)
        return () if found is None else found.axes
    if node.op_type == "GlobalAveragePool":
        return tuple(range(2, rank))
    if node.op_type == "AveragePool":
        is_global = tuple(attribute(node, "kernel_shape", ())) == sizes[2:] and not any(attribute(node, "pads", ()))
        return tuple(range(2, rank)) if is_global else ()
    given = reader.axes(node)
    if given is None:
        return None
    if not given:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    if not all(-rank <= axis < rank for axis in given):
        return ()
    return tuple(sorted({axis % rank for axis in given}))


def summation_of(reader: GraphReader, node: ir.Node, sizes: Sizes) -> Summation | None:
    """Read a linear operator as a sum of its first input, of shape ``sizes``; None where it is none."""
    return (_contraction if node.op_type == "Einsum" else _product)(reader, node, sizes)


def _contraction(reader: GraphReader, node: ir.Node, sizes: Sizes) -> Summation | None:
    """Read an Einsum of one value, of its squares, or of either and constants: ``bsd,bsd->bs``, ``bsd,d->bs``."""
    terms, arrow, result = str(attribute(node, "equation")).replace(" ", "").partition("->")
    first, *others = terms.split(",")
    free = [letter for letter in ascii_letters if letter not in terms]
    dots = "".join(free[: len(sizes) - len(first.replace("...", ""))])
    letters, kept = first.replace("...", dots), result.replace("...", dots)
    of, squares, weight = dict(zip(letters, sizes, strict=False)), False, 1.0
    for term, value in zip(others, node.inputs[1:], strict=False):
        number = None if value is None else repeated_number(reader, value)
        if term == first and value is node.inputs[0] and not squares:
            squares = True
        elif number is not None and reader.shape(value) == tuple(map(of.get, term)):
            weight *= number
        else:
            return None
    is_plain = len(letters) == len(sizes) == len(of) and kept == "".join(each for each in letters if each in kept)
    axes = tuple(axis for axis, letter in enumerate(letters) if letter not in kept)
    return Summation(axes, weight, squares) if arrow and is_plain else None


def _product(reader: GraphReader, node: ir.Node, sizes: Sizes) -> Summation | None:
    """Read a MatMul, Gemm or Conv of 1x1 with equal weights, and a MatMul of rows by themselves."""
    weight, axis = node.inputs[1], 1 if node.op_type == "Conv" else len(sizes) - 1
    shape = None if weight is None else sizes_of(reader, weight)
    if weight is None or shape is None or any(each is not None for each in node.inputs[2:]):
        return None
    if node.op_type == "Conv":
        is_plain = attribute(node, "group", 1) == 1 and not any(attribute(node, "pads", ()))
        is_plain = is_plain and all(each == 1 for each in (*shape[2:], *attribute(node, "strides", ())))
        shape = (shape[1], shape[0]) if is_plain else ()
    elif node.op_type == "Gemm":
        shape = () if attribute(node, "transA", 0) else shape[:: -1 if attribute(node, "transB", 0) else 1]
    is_sum = len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, shape[0]))
    number = repeated_number(reader, weight) if is_sum else None
    if number is not None:
        number *= attribute(node, "alpha", 1.0)
        return Summation((axis,), number, keeps=len(shape) == 2, repeats=len(shape) == 2 and shape[1] != 1)
    is_square = node.op_type == "MatMul" and _is_row_by_column(reader, node)
    return Summation((axis,), squares=True, keeps=True) if is_square else None


def weighted_sum(region: Region, node: ir.Node) -> RuleResult:
    """Follow a linear operator that sums its input, or the squares of it."""
    found = region.operand(node, 0)
    if not isinstance(found, Tracked):
        return found if isinstance(found, NearMiss) else None
    own = tuple(1 if axis is None else region.size(found.view, axis) for axis in found.axes)
    read = summation_of(region.reader, node, own)
    if read is None or not region.is_whole(found) or found.poly.has_denominator or not found.poly.has_x:
        return None
    if not region.takes_moments(found.view, read.axes):
        detail = f"axes {list(read.axes)}"
        return region.near_miss(Reason.AXES_DIFFER, node, detail) if found.poly.degree == 2 else None
    poly = (sum_of_squares if read.squares else total)(region, found.poly, read.axes, found.view)
    gone = () if read.repeats else read.axes
    kept = tuple(None if p in gone else axis for p, axis in enumerate(found.axes) if read.keeps or p not in gone)
    return None if poly is None else Tracked(poly.scaled(read.weight), found.view, kept)


def _is_row_by_column(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether a MatMul multiplies rows by the same data as columns."""
    one, other = (None if each is None else sizes_of(reader, each) for each in node.inputs)
    if one is None or other is None or min(len(one), len(other)) < 2:
        return False
    is_product = one[-2] == 1 == other[-1] and (*one[:-2], one[-1]) == other[:-1]
    row, column = (_in_same_order(reader, each) for each in node.inputs)
    return is_product and row is column


def _in_same_order(reader: GraphReader, value: ir.Value | None) -> ir.Value | None:
    """Return the value whose elements a value has in the same order."""
    node = None if value is None else value.producer()
    while node is not None and is_standard(node) and node.op_type in RESHAPES | {"Transpose"}:
        order, sizes = attribute(node, "perm", ()), reader.shape(node.inputs[0])
        moved = [axis for axis in order if sizes is None or sizes[axis] != 1]
        if node.op_type == "Transpose" and moved != sorted(moved):
            break
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return value


def moment_rule(moment: Moment) -> NormRule:
    """Return the rule for a reduction: over all of the norm's axes a moment; over some, it may become one."""

    def rule(region: Region, node: ir.Node) -> RuleResult:
        """Interpret one reduction."""
        partial = region.partial(node, 0)
        found = partial.tracked if partial is not None else region.operand(node, 0)
        if not isinstance(found, Tracked):
            return found if isinstance(found, NearMiss) else None
        own = tuple(1 if axis is None else region.size(found.view, axis) for axis in found.axes)
        axes = reduced_axes(region.reader, node, own)
        if axes is None:
            detail = "the axes are an input"
            return region.near_miss(Reason.DYNAMIC_AXES, node, detail) if found.poly.degree == 2 else None
        if not axes and not attribute(node, "noop_with_empty_axes", 0):
            return None  # a pool smaller than its input changes the value, and is no mean of it
        keep = REDUCERS[node.op_type].is_pool or bool(attribute(node, "keepdims", 1))
        kept = tuple(None if p in axes else axis for p, axis in enumerate(found.axes) if keep or p not in axes)
        if partial is not None:
            return _reduced_further(region, node, partial, axes, kept)
        if not region.is_whole(found) or (not found.poly.has_x and not found.poly.has_denominator):
            changes_nothing = REDUCERS[node.op_type].moment is mean
            is_done = changes_nothing and all(found.axes[p] is None for p in axes)
            return Tracked(found.poly, found.view, kept) if is_done else None
        if found.poly.has_denominator:  # a norm of a norm starts at its own root
            return None
        if region.takes_moments(found.view, axes):
            poly = moment(region, found.poly, axes, found.view)
            return None if poly is None else Tracked(poly, found.view, kept)
        detail = f"axes {list(axes)}"
        instead = region.near_miss(Reason.AXES_DIFFER, node, detail) if found.poly.degree == 2 else None
        started = _started(region, node, found, axes, kept, instead)
        return started if started is not None else instead

    return rule


def _started(
    region: Region, node: ir.Node, found: Tracked, axes: tuple[int, ...], kept: tuple[int | None, ...],
    instead: NearMiss | None,
) -> Partial | None:  # fmt: skip
    """Start with the first of several reductions that together reduce the norm's axes."""
    reduction, own = region.moment_axes(found.view), REDUCERS[node.op_type]
    if reduction is None or not axes or not set(axes) < set(reduction) or not own.in_steps:
        return None
    poly = found.poly.times(found.poly) if own.squares else found.poly
    summed = frozenset(axes) if own.sums else frozenset()
    after = None if poly is None else Tracked(poly, found.view, kept)
    return None if after is None else Partial(after, frozenset(axes), summed, 1.0, instead)


def _reduced_further(
    region: Region, node: ir.Node, partial: Partial, axes: tuple[int, ...], kept: tuple[int | None, ...]
) -> RuleResult:
    """Take the mean of a mean: complete, where all of the norm's axes are done."""
    found = partial.tracked
    new = frozenset(axis for axis in (found.axes[position] for position in axes) if axis is not None)
    reduction, own = region.moment_axes(found.view) or (), REDUCERS[node.op_type]
    if not new <= set(reduction) or not own.in_steps or own.squares:
        return partial.instead
    after = Tracked(found.poly, found.view, kept)
    summed = partial.summed | (new if own.sums else frozenset())
    done = partial.done | new
    if any(axis not in done and region.size(found.view, axis) != 1 for axis in reduction):
        return Partial(after, done, summed, partial.factor, partial.instead)
    poly = found.poly.expectation(reduction)
    if poly is None:
        return partial.instead
    count = count_of([region.size(found.view, axis) for axis in sorted(summed)])
    if count is not None:
        return Tracked(poly.scaled(partial.factor * count), found.view, kept)
    whole = poly.scaled(partial.factor).with_monomial(Monomial(n_half_powers=2)) if summed == set(reduction) else None
    return partial.instead if whole is None else Tracked(whole, found.view, kept)


def mean(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    """Return ``E[.]``."""
    return poly.expectation(axes)


def total(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    """Return ``n * E[.]``; where n is known only at run time, it is an atom."""
    mean = poly.expectation(axes)
    count = count_of([region.size(view, axis) for axis in axes])
    if mean is None:
        return None
    return mean.with_monomial(Monomial(n_half_powers=2)) if count is None else mean.scaled(float(count))


def sum_of_squares(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    """Return ``n * E[x^2]``."""
    square = None if poly.expectation(axes) is None else poly.times(poly)
    return None if square is None else total(region, square, axes, view)


def length(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    """Return ``sqrt(n * E[x^2])``."""
    total = sum_of_squares(region, poly, axes, view)
    return None if total is None else total.square_root()


def sum_of_magnitudes(region: Region, poly: Poly, axes: tuple[int, ...], view: int) -> Poly | None:
    """Return ``n * E[|x|]``."""
    own = poly.magnitude() if poly.has_x else None
    return None if own is None else total(region, own, axes, view)


REDUCERS: Mapping[str, Reducer] = {
    "ReduceMean": Reducer(mean),
    "GlobalAveragePool": Reducer(mean, is_pool=True),
    "AveragePool": Reducer(mean, is_pool=True),
    "ReduceSum": Reducer(total, sums=True),
    "ReduceSumSquare": Reducer(sum_of_squares, sums=True, squares=True),
    **dict.fromkeys(LINEAR, Reducer(total, in_steps=False, sums=True)),
    "ReduceL2": Reducer(length, in_steps=False),
    "ReduceL1": Reducer(sum_of_magnitudes, in_steps=False),
}
"""Every operator that takes a moment: the search for norms begins at each of them."""


@of_data
def size(region: Region, node: ir.Node, found: Tracked) -> RuleResult:
    """Follow Size: of the whole data ``n`` times the number of moments, of a moment that number; no axes of its own."""
    reduction = region.reduction
    each = count_of([reduction.sizes[axis] for axis in reduction.axes]) if region.is_whole(found) else 1
    count, view = Monomial(statistics=1, n_half_powers=2 if each is None else 0), region.view_of(reduction.sizes)
    return Tracked(Poly.of({count: float(each or 1)}, region.rank(view)), view, ())
