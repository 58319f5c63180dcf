"""Name norms of the literature that are no single operator, by the shape of their graph, and say why they are none.

Each looks like a norm: a statistic of a value divides a value. What differs from a norm operator is what is measured,
what is divided, or what the statistic is compared with. Sources: GRN https://arxiv.org/abs/2301.00808, EvoNorm
https://arxiv.org/abs/2004.02967, BiasNorm https://arxiv.org/abs/2310.11230, pRMSNorm https://arxiv.org/abs/1910.07467,
Dynamic Tanh https://arxiv.org/abs/2503.10622, CRMSNorm https://arxiv.org/abs/2305.14858, SwitchNorm
https://arxiv.org/abs/1806.10779, virtual BatchNorm https://arxiv.org/abs/1606.03498, GDN
https://arxiv.org/abs/1511.06281, cumulative LayerNorm https://arxiv.org/abs/1809.07454, local contrast and local
response normalization https://papers.nips.cc/paper/4824, squash https://arxiv.org/abs/1710.09829, SimAM
https://proceedings.mlr.press/v139/yang21o.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.fuse.recognize.surroundings import (
    LAYOUT,
    before_layout,
    behind_layout,
    leads_to,
    maker,
    maker_is,
    other_input,
)
from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader

_MOST_STEPS = 12  # operators between a statistic and the value that it divides
_MOST_PARTS = 96  # operators that several statistics are made of
_MEANS = ("ReduceMean", "ReduceSum", "GlobalAveragePool", "ReduceSumSquare")
_LENGTHS = ("ReduceL2", "ReduceL1")
_EXTREMES = ("ReduceMax", "ReduceMin", "GlobalMaxPool")
_RUNNING = ("CumSum",)
_WINDOWS = ("AveragePool",)
_MIXING = ("Conv", "MatMul", "Gemm")
_REDUCTIONS = (*_MEANS, *_LENGTHS, *_EXTREMES, *_RUNNING)
_STATISTICS = (*_REDUCTIONS, *_WINDOWS, *_MIXING)
_POINTWISE = ("Pow", "Clip", "Reciprocal", "Sqrt", "Abs", "Exp", "Log")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", *_POINTWISE)
_SIZES = ("Shape", "Size", "Range")
_GUARDS = ("Where", "Greater", "Equal", "And", "CastLike", "Gather", "ReduceProd", "Slice", "Concat", "Softmax")
_GATES = ("Sigmoid", "HardSigmoid", "Swish", "HardSwish", "Mish")
_QUANTIZES = ("Round", "QuantizeLinear", "Floor")
OF_THE_BATCH = "statistics of the batch"


@dataclass(frozen=True, eq=False)
class PublishedNorm:
    """A norm by its published name: the operator that completes it, its operators, and why it is not one operator."""

    name: str
    node: ir.Node
    parts: tuple[ir.Node, ...]
    reason: Reason
    detail: str


@dataclass(frozen=True, eq=False)
class _Division:
    """A value that statistics divide.

    ``sources`` are the reductions and linear operators that the divisor is made of, ``parts`` all of its operators,
    ``has_root`` says whether a root is taken among them.
    """

    reader: GraphReader
    node: ir.Node
    data: ir.Value
    sources: tuple[ir.Node, ...]
    parts: tuple[ir.Node, ...]
    has_root: bool

    @property
    def kinds(self) -> set[str]:
        """Return the kinds of statistics."""
        return {node.op_type for node in self.sources}

    @property
    def roots(self) -> list[ir.Value]:
        """Return the data that is divided, and what a mean was subtracted from to make it."""
        node = maker(self.data)
        minuend = node.inputs[0] if node is not None and node.op_type == "Sub" else None
        either = (self.data, before_layout(self.data), minuend, before_layout(minuend))
        return [value for value in either if value is not None]

    @property
    def inverts(self) -> bool:
        """Say whether it divides, or multiplies with an inverse."""
        last = maker(next(each for each in self.node.inputs if each is not self.data))
        return self.node.op_type == "Div" or (last is not None and last.op_type in ("Reciprocal", "Div", "Pow", "Exp"))

    @property
    def factors(self) -> list[ir.Value]:
        """Return the values whose product is divided, before changes of layout."""
        found: list[ir.Value] = []
        waiting = [before_layout(self.data)]
        while waiting and len(found) < _MOST_STEPS:
            value = waiting.pop()
            node = None if value is None else value.producer()
            if node is not None and node.op_type == "Mul":
                waiting += map(before_layout, node.inputs)
            elif value is not None:
                found.append(value)
        return found

    @property
    def measures_its_data(self) -> bool:
        """Say whether a statistic is one of what is divided."""
        return any(_comes_from(self.reader, each, root) for each in self.sources for root in self.roots)


_Match = tuple[str, Reason, str]
"""The name of a norm, why it is no operator, and what it computes instead."""


def published_norms(reader: GraphReader) -> Iterator[PublishedNorm]:
    """Yield each norm of a graph that has a name and no operator, in order."""
    met: set[ir.Node] = set()
    for node in reader.graph:
        found = _norm_at(reader, node) if is_standard(node) and node not in met else None
        if found is not None and not met.intersection(found.parts):
            met.update(found.parts)
            yield found


def _norm_at(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    if node.op_type == "Tanh":
        return _dynamic_tanh(reader, node)
    for division in _divisions(reader, node):
        for matches in _MATCHERS:
            found = matches(division)
            if found is not None:
                name, reason, detail = found
                return PublishedNorm(name, node, (*division.parts, node), reason, detail)
    return None


# -- statistics divide a value --------------------------------------------------------------------------------------
def _divisions(reader: GraphReader, node: ir.Node) -> Iterator[_Division]:
    """Yield what ``node`` divides by statistics, or multiplies with what is made of them."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return
    for index in (1,) if node.op_type == "Div" else (0, 1):
        data, divisor = node.inputs[1 - index], node.inputs[index]
        if data is None or divisor is None or reader.is_constant(data) or reader.is_constant(divisor):
            continue
        parts = _made_of(reader, divisor, data)
        sources = tuple(each for each in parts or () if each.op_type in _STATISTICS)
        if parts is not None and sources:
            yield _Division(reader, node, data, sources, parts, any(_is_root(reader, each) for each in parts))


def _made_of(reader: GraphReader, divisor: ir.Value, data: ir.Value) -> tuple[ir.Node, ...] | None:
    """Follow a divisor up to its statistics; None where it is made of anything else."""
    parts: dict[ir.Node, None] = {}
    waiting: list[ir.Value | None] = [divisor]
    while waiting:
        if len(parts) == _MOST_PARTS:
            return None
        value = waiting.pop()
        node = None if value is None else value.producer()
        if value is None or before_layout(value) is before_layout(data) or reader.is_constant(value) or node in parts:
            continue
        if node is None or not is_standard(node) or not reader.holds(node):
            return None
        if node.op_type in _MIXING and not reader.is_constant(node.inputs[1]):
            return None
        parts[node] = None
        if node.op_type in _STATISTICS:
            above = before_layout(node.inputs[0])
            waiting += [above] if maker_is(above, _REDUCTIONS) else []
        elif node.op_type in LAYOUT:
            waiting.append(node.inputs[0])
        elif node.op_type in (*_ARITHMETIC, *_GUARDS):
            waiting.extend(node.inputs)
        elif node.op_type not in _SIZES:
            return None
    return tuple(parts)


def _is_root(reader: GraphReader, node: ir.Node) -> bool:
    exponent = _exponent(reader, node) if node.op_type == "Pow" else None
    return node.op_type in ("Sqrt", "Exp", *_LENGTHS) or (exponent is not None and not exponent.is_integer())


def _exponent(reader: GraphReader, node: ir.Node) -> float | None:
    array = reader.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _measured(reader: GraphReader, reduction: ir.Node) -> ir.Value | None:
    """Return the value whose square or magnitude is reduced."""
    source = reduction.inputs[0]
    return source if reduction.op_type in ("ReduceSumSquare", *_LENGTHS) else _before_square(reader, source)


def _before_square(reader: GraphReader, value: ir.Value | None) -> ir.Value | None:
    """Return the value that was squared, or made a magnitude of; any other value as it is."""
    node = maker(value)
    if node is None:
        return value
    is_square = (node.op_type == "Mul" and node.inputs[0] is node.inputs[1]) or (
        node.op_type == "Pow" and _exponent(reader, node) == 2
    )
    return node.inputs[0] if is_square or node.op_type == "Abs" else value


def _response(division: _Division) -> _Match | None:
    """Match GRN of ConvNeXt V2: the length of each channel, divided by the mean length of all channels."""
    if not division.inverts or not division.kinds <= {"ReduceMean", "ReduceSum"}:
        return None
    for length in division.factors:
        own = () if length.producer() is None else _made_of(division.reader, length, division.node.outputs[0])
        has_root = any(_is_root(division.reader, each) for each in own or ())
        is_length = has_root and any(_measures_squares(division.reader, each) for each in own or ())
        if is_length and all(before_layout(each.inputs[0]) is length for each in division.sources):
            detail = "the length of each channel is compared with the mean length of all channels"
            return "GRN", Reason.ACROSS_CHANNELS, detail
    return None


def _other_numerator(division: _Division) -> _Match | None:
    """Match BiasNorm, a partial RMSNorm and masked norms: what is divided is not what is measured."""
    divided = before_layout(division.data)
    for source in division.sources if division.has_root else ():
        node = maker(_measured(division.reader, source))
        if node is None:
            continue
        operands = {before_layout(_before_square(division.reader, each)) for each in node.inputs if each is not None}
        others = operands - {None, divided}
        if divided not in operands:
            continue
        if node.op_type in ("Sub", "Add") and any(map(division.reader.is_constant, others)):
            detail = "the mean square is that of the data minus a constant, and the data itself is divided"
            return "BiasNorm", Reason.OTHER_NUMERATOR, detail
        if node.op_type in ("Slice", "Gather", "Split"):
            detail = "the mean square is that of a part of the data, and all of it is divided"
            return "PartialRMSNorm", Reason.PART_OF_DATA, detail
        if node.op_type in ("Mul", "Where") and others:
            detail = "the statistics are those of masked or weighted data, and the data itself is divided"
            return "MaskedNorm", Reason.OTHER_NUMERATOR, detail
    return None


def _gated(division: _Division) -> _Match | None:
    """Match EvoNorm-S0: ``x * sigmoid(v*x)`` divided by the deviation of x in groups."""
    product = maker(division.data)
    if not division.has_root or product is None or product.op_type not in ("Mul", *_GATES):
        return None
    gates = [value for value in product.inputs if maker_is(value, _GATES)]
    if product.op_type == "Mul" and not gates:
        return None
    source = other_input(product, gates[0]) if gates and gates[0] is not None else product.inputs[0]
    if source is None or not any(_comes_from(division.reader, each, source) for each in division.sources):
        return None
    detail = "a gated value is divided by the deviation of the value before its gate"
    return "EvoNorm", Reason.OTHER_NUMERATOR, detail


def _other_statistic(division: _Division) -> _Match | None:
    """Match norms whose statistics are no means over whole axes: extremes, of the steps so far, or of a window."""
    kinds, name, detail = division.kinds, "", ""
    is_quantized = leads_to(division.node.outputs[0], _QUANTIZES, ("Add", "Clip", "Max", "Min", *LAYOUT))
    if kinds <= set(_EXTREMES) and not is_quantized:
        name = "MinMaxNorm" if "ReduceMin" in kinds and len(kinds) > 1 else "MaxNorm"
        detail = "extreme entries of the data make what it is divided by"
    elif division.has_root and kinds & set(_RUNNING):
        name, detail = "cumulative LayerNorm", "the statistics of a step are those of all steps so far"
    elif division.has_root and all(_is_window(division.reader, each) for each in division.sources):
        is_plain = all(_measured(division.reader, each) in division.roots for each in division.sources)
        name = "LocalResponseNorm" if is_plain and not maker_is(division.data, ("Sub",)) else "LocalContrastNorm"
        detail = "the statistics are those of a window around each place"
    return (name, Reason.OTHER_STATISTICS, detail) if name and division.measures_its_data else None


def _is_window(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether an operator averages a window of each channel: a pool, or a Conv over more than one place."""
    kernel = reader.shape(node.inputs[1]) if node.op_type == "Conv" else None
    is_spatial = kernel is not None and any(size != 1 for size in kernel[2:]) and kernel[1] == 1
    return node.op_type in _WINDOWS or is_spatial


def _squash(division: _Division) -> _Match | None:
    """Match the squash of capsules: ``q / (1 + q) * x / sqrt(q)``, where q is the squared length of x."""
    reader, factors = division.reader, division.factors
    quotients = [node for node in (*division.parts, *(each.producer() for each in factors)) if node is not None]
    numerators = [*factors, *(before_layout(node.inputs[0]) for node in quotients if node.op_type == "Div")]
    lengths = {maker(_before_square(reader, each)) for each in numerators if _is_compared(reader, each)}
    measures = [each for each in division.sources if each in lengths]
    if not division.has_root or not any(before_layout(_measured(reader, each)) in factors for each in measures):
        return None
    return "squash", Reason.MIXED_STATISTICS, "its length is not made 1: a squared length q becomes q / (1 + q)"


def _is_compared(reader: GraphReader, value: ir.Value | None) -> bool:
    """Say whether something is added to a value, and no root is taken of the sum."""
    sums = [node.outputs[0] for node in _readers(reader, value) if node.op_type == "Add"] if value is not None else []
    return any(not _is_root(reader, node) for each in sums for node in _readers(reader, each))


def _readers(reader: GraphReader, value: ir.Value) -> Iterator[ir.Node]:
    """Yield who reads a value, behind changes of layout and constant factors."""
    for node, _ in value.uses():
        is_scaled = node.op_type == "Mul" and any(map(reader.is_constant, node.inputs))
        yield from _readers(reader, node.outputs[0]) if is_scaled or node.op_type in LAYOUT else (node,)


def _energy(division: _Division) -> _Match | None:
    """Match SimAM: the squared distance from the mean of a channel, compared with its variance, makes a gate."""
    reader, behind = division.reader, behind_layout(division.node.outputs[0])
    distance = before_layout(_before_square(reader, before_layout(division.data)))
    node = maker(distance)
    if node is None or node.op_type != "Sub" or node.inputs[0] is None or node.inputs[1] is None:
        return None
    has_mean = any(each.op_type in _MEANS for each in _made_of(reader, node.inputs[1], node.inputs[0]) or ())
    is_variance = all(before_layout(_measured(reader, each)) is distance for each in division.sources)
    is_gate = leads_to(behind, ("Sigmoid",), ("Add", "Mul", *LAYOUT))
    if division.has_root or not is_variance or not has_mean or not is_gate:
        return None
    return "SimAM", Reason.OTHER_NUMERATOR, "the squared distance from the mean is divided by the variance, for a gate"


def _of_the_batch(division: _Division) -> _Match | None:
    """Match statistics that are taken over the samples."""
    if not division.has_root or not all(map(partial(_is_over_the_batch, division.reader), division.sources)):
        return None
    detail = "each channel is divided by its deviation in all samples"
    return (OF_THE_BATCH, Reason.BATCH_STATISTICS, detail) if division.measures_its_data else None


def _mixed(division: _Division) -> _Match | None:
    """Match CRMSNorm, SwitchNorm, virtual BatchNorm, EvoNorm-B0 and GDN: several statistics make one divisor."""
    if not division.has_root or not division.measures_its_data:
        return None
    name, detail = _mixture_name(division)
    return (name, Reason.MIXED_STATISTICS, detail) if name else None


def _deviation_only(division: _Division) -> _Match | None:
    """Match ``x / std(x)``, whose mean is not subtracted."""
    divided = before_layout(division.data)
    if not division.inverts or sum(_is_root(division.reader, each) for each in division.parts) != 1:
        return None
    for source in division.sources:
        node = maker(_measured(division.reader, source))
        minuend, subtrahend = node.inputs if node is not None and node.op_type == "Sub" else (None, None)
        if before_layout(minuend) is divided and maker_is(subtrahend, _MEANS):
            return "StdNorm", Reason.OTHER_NUMERATOR, "the data is divided by its deviation, and its mean stays"
    return None


def _mixture_name(division: _Division) -> tuple[str, str]:
    reader, kinds, own = division.reader, division.kinds, before_layout(division.data)
    if kinds & set(_MIXING):
        return ("GDN", "a linear operator mixes the squares of the channels") if len(kinds) == 1 else ("", "")
    reads_data = any(before_layout(value) is own for node in division.parts for value in node.inputs)
    if reads_data and any(node.op_type == "Max" for node in division.parts):
        return "EvoNorm", "the deviation and the data itself make what it is divided by"
    of_means = [each for each in division.sources if maker_is(each.inputs[0], _REDUCTIONS)]
    squares = [each for each in division.sources if _measures_squares(reader, each)]
    if (len(division.sources) > 2 and of_means) or len({_extent(reader, each) for each in squares}) > 1:
        return "SwitchNorm", "statistics of a channel and of all channels make one divisor"
    measured = {before_layout(_measured(reader, each)) for each in division.sources}
    if len(division.sources) != 2 or len(squares) != 1 or len(measured) != 1 or not measured & set(division.roots):
        return "", ""
    if any(_has_stored_addend(reader, each) for each in division.parts):
        return "VirtualBatchNorm", "stored statistics and those of the data make one divisor"
    is_plain = measured == {own} and not any(each.op_type == "Sub" for each in division.parts)
    return ("CRMSNorm", "the square of the sum is added to the sum of the squares") if is_plain else ("", "")


def _extent(reader: GraphReader, reduction: ir.Node) -> frozenset[int] | None:
    """Return the axes that a reduction takes; None where they are unknown."""
    sizes = reader.shape(reduction.inputs[0])
    is_pool = reduction.op_type == "GlobalAveragePool"
    axes = reader.axes(reduction) if sizes is not None and not is_pool else range(2, len(sizes or ()))
    return None if axes is None or sizes is None else frozenset(axis % len(sizes) for axis in axes)


def _measures_squares(reader: GraphReader, node: ir.Node) -> bool:
    is_length = node.op_type in ("ReduceSumSquare", "ReduceL2")
    return is_length or (node.op_type in _MEANS and _measured(reader, node) is not node.inputs[0])


def _is_over_the_batch(reader: GraphReader, reduction: ir.Node) -> bool:
    """Say whether a reduction takes the samples, and leaves an axis of more than one element."""
    sizes, axes = reader.shape(reduction.inputs[0]), reader.axes(reduction)
    if reduction.op_type not in (*_MEANS, *_LENGTHS) or sizes is None or not axes:
        return False
    taken = {axis % len(sizes) for axis in axes}
    return 0 in taken and any(size != 1 for axis, size in enumerate(sizes) if axis not in taken)


def _has_stored_addend(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether an Add or Sub has a constant of several numbers."""
    shapes = [reader.shape(each) for each in node.inputs if each is not None and reader.is_constant(each)]
    return node.op_type in ("Add", "Sub") and any(size != 1 for shape in shapes for size in shape or ())


_MATCHERS: tuple[Callable[[_Division], _Match | None], ...] = (
    _response,
    _squash,
    _energy,
    _other_numerator,
    _gated,
    _other_statistic,
    _of_the_batch,
    _mixed,
    _deviation_only,
)


# -- the graph around -----------------------------------------------------------------------------------------------
def _comes_from(reader: GraphReader, node: ir.Node, source: ir.Value) -> bool:
    """Say whether a reduction is of ``source``, through its mean, a square and changes of shape."""
    waiting = [value for value in node.inputs if value is not None]
    met: set[ir.Value] = set()
    source = before_layout(source) or source
    while waiting and len(met) < _MOST_STEPS:
        value = waiting.pop()
        if value is source:
            return True
        above = value.producer()
        if value in met or above is None or not reader.holds(above):
            continue
        met.add(value)
        waiting.extend(each for each in above.inputs if each is not None and not reader.is_constant(each))
    return False


def _dynamic_tanh(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    """Match ``gamma * tanh(alpha * x) + beta``, which stands in the place of a norm."""
    if node.op_type != "Tanh" or node.inputs[0] is None:
        return None
    scaled = maker(node.inputs[0])
    readers = [reading for reading, _ in behind_layout(node.outputs[0]).uses()]
    if scaled is None or scaled.op_type != "Mul" or len(readers) != 1 or readers[0].op_type != "Mul":
        return None
    alpha = next((reader.constant(v) for v in scaled.inputs if reader.is_constant(v)), None)
    gamma = next((reader.constant(v) for v in readers[0].inputs if reader.is_constant(v)), None)
    if alpha is None or gamma is None or alpha.size != 1 or gamma.size < 2:
        return None
    return PublishedNorm("DynamicTanh", node, (node,), Reason.NO_STATISTICS, "gamma * tanh(alpha * x) + beta")
