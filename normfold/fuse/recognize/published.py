"""Name norms of the literature that are no single operator, by the shape of their graph, and say why they are none.

Each looks like a norm: a statistic of a value divides a value. What differs from a norm operator is what is measured,
what is divided, or what the statistic is compared with. Sources: GRN https://arxiv.org/abs/2301.00808, EvoNorm
https://arxiv.org/abs/2004.02967, BiasNorm https://arxiv.org/abs/2310.11230, pRMSNorm https://arxiv.org/abs/1910.07467,
Dynamic Tanh https://arxiv.org/abs/2503.10622, CRMSNorm https://arxiv.org/abs/2305.14858, SwitchNorm
https://arxiv.org/abs/1806.10779, virtual BatchNorm https://arxiv.org/abs/1606.03498, GDN
https://arxiv.org/abs/1511.06281, cumulative LayerNorm https://arxiv.org/abs/1809.07454, local contrast and local
response normalization https://papers.nips.cc/paper/4824, squash https://arxiv.org/abs/1710.09829, SimAM
https://proceedings.mlr.press/v139/yang21o.html, the volume of EnCodec https://arxiv.org/abs/2210.13438, weight
demodulation https://arxiv.org/abs/1912.04958.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.fuse.recognize.division import (
    EXTREMES,
    LENGTHS,
    MEANS,
    MIXING,
    REDUCTIONS,
    RUNNING,
    WINDOWS,
    Division,
    before_centring,
    before_square,
    comes_from,
    divisions,
    is_root,
    is_same,
    made_of,
    measured,
    measures_squares,
    readers_of,
)
from normfold.fuse.recognize.surroundings import (
    LAYOUT,
    before_layout,
    behind_layout,
    leads_to,
    maker,
    maker_is,
    other_input,
)
from normfold.graph.reader import GraphReader, attribute
from normfold.operators.table import is_standard

_GATES = ("Sigmoid", "HardSigmoid", "Swish", "HardSwish", "Mish")
_QUANTIZES = ("Round", "Floor")
OF_THE_BATCH = "statistics of the batch"
STANDARDIZATION = "standardization"
BOUNDED = "LpNormalization"
ANY = "norm"


@dataclass(frozen=True, eq=False)
class PublishedNorm:
    """A norm by its published name: the operator that completes it, its operators, and why it is not one operator."""

    name: str
    node: ir.Node
    parts: tuple[ir.Node, ...]
    reason: Reason
    detail: str


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
    for division in divisions(reader, node):
        for matches in _MATCHERS:
            found = matches(division)
            if found is not None:
                name, reason, detail = found
                return PublishedNorm(name, node, (*division.parts, *division.centring, node), reason, detail)
    return None


def _response(division: Division) -> _Match | None:
    """Match GRN of ConvNeXt V2: the length of each channel, divided by the mean length of all channels."""
    if not division.inverts or not division.kinds <= {"ReduceMean", "ReduceSum"}:
        return None
    for length in division.factors:
        own = () if length.producer() is None else made_of(division.reader, length, division.node.outputs[0])
        has_root = any(is_root(division.reader, each) for each in own or ())
        is_length = has_root and any(measures_squares(division.reader, each) for each in own or ())
        if is_length and all(before_layout(each.inputs[0]) is length for each in division.sources):
            detail = "the length of each channel is compared with the mean length of all channels"
            return "GRN", Reason.ACROSS_CHANNELS, detail
    return None


def _other_numerator(division: Division) -> _Match | None:
    """Match BiasNorm, partial and masked norms, and that of EnCodec: what is divided is not what is measured."""
    divided = before_layout(division.data)
    for source in division.sources if division.has_root else ():
        node = maker(measured(division.reader, source))
        if node is None:
            continue
        operands = {before_layout(before_square(division.reader, each)) for each in node.inputs if each is not None}
        others = {each for each in operands if not is_same(each, divided)} - {None}
        if others == operands:
            continue
        if node.op_type in MEANS and before_layout(node.inputs[0]) is divided:
            detail = "the mean square is that of the mean of all channels, and each channel is divided"
            return "VolumeNorm", Reason.OTHER_NUMERATOR, detail
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


def _gated(division: Division) -> _Match | None:
    """Match EvoNorm-S0: ``x * sigmoid(v*x)`` divided by the deviation of x in groups."""
    product = maker(division.data)
    if not division.has_root or product is None or product.op_type not in ("Mul", *_GATES):
        return None
    gates = [value for value in product.inputs if maker_is(value, _GATES)]
    if product.op_type == "Mul" and not gates:
        return None
    source = other_input(product, gates[0]) if gates and gates[0] is not None else product.inputs[0]
    if source is None or not any(comes_from(division.reader, each, source) for each in division.sources):
        return None
    detail = "a gated value is divided by the deviation of the value before its gate"
    return "EvoNorm", Reason.OTHER_NUMERATOR, detail


def _demodulated(division: Division) -> _Match | None:
    """Match StyleGAN2: a linear operator of scaled data, divided by the length that the scale gives its weights."""
    linear = maker(division.data)
    scaled = maker(linear.inputs[0]) if linear is not None and linear.op_type in MIXING else None
    if not division.has_root or scaled is None or scaled.op_type != "Mul":
        return None
    scales = {before_layout(each) for each in scaled.inputs}
    if not any(before_layout(measured(division.reader, each)) in scales for each in division.sources):
        return None
    detail = "what a linear operator makes of scaled data is divided by the length of its scaled weights"
    return "weight demodulation", Reason.OTHER_NUMERATOR, detail


def _other_statistic(division: Division) -> _Match | None:
    """Match norms whose statistics are no means over whole axes: extremes, of the steps so far, or of a window."""
    kinds, name, detail = division.kinds, "", ""
    is_quantized = leads_to(division.node.outputs[0], _QUANTIZES, ("Add", "Clip", "Max", "Min", *LAYOUT))
    if kinds <= set(EXTREMES) and not is_quantized:
        name = "MinMaxNorm" if "ReduceMin" in kinds and len(kinds) > 1 else "MaxNorm"
        detail = "extreme entries of the data make what it is divided by"
    elif division.has_root and kinds & set(RUNNING):
        name, detail = "cumulative LayerNorm", "the statistics of a step are those of all steps so far"
    elif division.has_root and all(_is_window(division.reader, each) for each in division.sources):
        is_plain = all(measured(division.reader, each) in division.roots for each in division.sources)
        name = "LocalResponseNorm" if is_plain and not maker_is(division.data, ("Sub",)) else "LocalContrastNorm"
        slow = ", which the operator LRN takes 2 to 8 times as long for (ONNX Runtime 1.31, CPU)" if is_plain else ""
        detail = f"the statistics are those of a window around each place{slow}"
    return (name, Reason.OTHER_STATISTICS, detail) if name and division.measures_its_data else None


def _is_window(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether an operator averages a window of each channel: a pool, or a Conv over more than one place."""
    kernel = reader.shape(node.inputs[1]) if node.op_type == "Conv" else None
    is_spatial = kernel is not None and any(size != 1 for size in kernel[2:]) and kernel[1] == 1
    return node.op_type in WINDOWS or is_spatial


def _squash(division: Division) -> _Match | None:
    """Match the squash of capsules: ``q / (1 + q) * x / sqrt(q)``, where q is the squared length of x."""
    reader, factors = division.reader, division.factors
    quotients = [node for node in (*division.parts, *(each.producer() for each in factors)) if node is not None]
    numerators = [*factors, *(before_layout(node.inputs[0]) for node in quotients if node.op_type == "Div")]
    lengths = {maker(before_square(reader, each)) for each in numerators if _is_compared(reader, each)}
    measures = [each for each in division.sources if each in lengths]
    if not division.has_root or not any(before_layout(measured(reader, each)) in factors for each in measures):
        return None
    return "squash", Reason.MIXED_STATISTICS, "its length is not made 1, but q / (1 + q) of the squared length q"


def _is_compared(reader: GraphReader, value: ir.Value | None) -> bool:
    """Say whether something is added to a value, and no root is taken of the sum."""
    sums = [node.outputs[0] for node in readers_of(reader, value) if node.op_type == "Add"] if value is not None else []
    return any(not is_root(reader, node) for each in sums for node in readers_of(reader, each))


def _energy(division: Division) -> _Match | None:
    """Match SimAM: the squared distance from the mean of a channel, compared with its variance, makes a gate."""
    reader, behind = division.reader, behind_layout(division.node.outputs[0])
    distance = before_layout(before_square(reader, before_layout(division.data)))
    is_variance = all(before_layout(measured(reader, each)) is distance for each in division.sources)
    is_gate = leads_to(behind, ("Sigmoid",), ("Add", "Mul", *LAYOUT))
    if division.has_root or not is_variance or before_centring(reader, distance) is None or not is_gate:
        return None
    return "SimAM", Reason.OTHER_NUMERATOR, "the squared distance from the mean is divided by the variance, for a gate"


def _of_the_batch(division: Division) -> _Match | None:
    """Match statistics that are taken over the samples."""
    if not division.has_root or not all(map(partial(_is_over_the_batch, division.reader), division.sources)):
        return None
    detail = "each channel is divided by its deviation in all samples"
    return (OF_THE_BATCH, Reason.BATCH_STATISTICS, detail) if division.measures_its_data else None


def _mixed(division: Division) -> _Match | None:
    """Match CRMSNorm, SwitchNorm, virtual BatchNorm, EvoNorm-B0 and GDN: several statistics make one divisor."""
    if not division.has_root or not division.measures_its_data:
        return None
    name, detail = _mixture_name(division)
    return (name, Reason.MIXED_STATISTICS, detail) if name else None


def _deviation_only(division: Division) -> _Match | None:
    """Match ``x / std(x)``, whose mean is not subtracted."""
    divided = before_layout(division.data)
    if not division.inverts or sum(is_root(division.reader, each) for each in division.parts) != 1:
        return None
    minuends = [before_centring(division.reader, measured(division.reader, each)) for each in division.sources]
    if divided not in map(before_layout, minuends):
        return None
    return "StdNorm", Reason.OTHER_NUMERATOR, "the data is divided by its deviation, and its mean stays"


def _bounded(division: Division) -> _Match | None:
    """Match a deviation, or a length over a free size, that is bounded from below: images, and torch's normalize."""
    if not division.has_root or not division.measures_its_data or not division.kinds <= {*MEANS, *LENGTHS}:
        return None
    if not any(_bounds(division.reader, each) for each in division.parts):
        return None
    is_centred = before_centring(division.reader, division.data) is not None
    name, what = (STANDARDIZATION, "deviation") if is_centred else (BOUNDED, "length")
    return name, Reason.CLIPPED, f"the {what} is bounded from below"


def _bounds(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether an operator is a bound from below by a number above 0: one of 0 changes no variance."""
    bounds = [array for each in node.inputs[:2] if (array := reader.constant(each)) is not None]
    is_above = attribute(node, "min", 0.0) > 0 or any(bool((array > 0).all()) for array in bounds)
    return node.op_type in ("Max", "Clip") and is_above


def _of_another_shape(division: Division) -> _Match | None:
    """Match any other norm: its statistics are several, or come in another shape, or a scale was put into them."""
    is_of_squares = any(measures_squares(division.reader, each) for each in division.sources)
    steps = {division.node.op_type, *(each.op_type for each in division.parts)}
    is_norm = division.has_root and is_of_squares and not steps.isdisjoint(("Div", "Reciprocal", "Pow"))
    if not is_norm or not division.measures_its_data:
        return None
    if not steps.isdisjoint(("Gather", "Reshape")):
        detail = "the statistics, or a scale that is part of them, come in another shape than that of the data"
        return ANY, Reason.NO_FORM, detail
    is_mixed = len(division.sources) > 1 and division.kinds <= {*MEANS, *LENGTHS}
    return (
        (ANY, Reason.MIXED_STATISTICS, "several statistics, or one of another, make what it is divided by")
        if is_mixed
        else None
    )


def _mixture_name(division: Division) -> tuple[str, str]:
    reader, kinds, own = division.reader, division.kinds, before_layout(division.data)
    if kinds & set(MIXING):
        return ("GDN", "a linear operator mixes the squares of the channels") if len(kinds) == 1 else ("", "")
    reads_data = any(before_layout(value) is own for node in division.parts for value in node.inputs)
    if reads_data and any(node.op_type == "Max" for node in division.parts):
        return "EvoNorm", "the deviation and the data itself make what it is divided by"
    of_means = [each for each in division.sources if maker_is(each.inputs[0], REDUCTIONS)]
    squares = [each for each in division.sources if measures_squares(reader, each)]
    if (len(division.sources) > 2 and of_means) or len({_extent(reader, each) for each in squares}) > 1:
        return "SwitchNorm", "statistics of a channel and of all channels make one divisor"
    data = {before_layout(measured(reader, each)) for each in division.sources}
    if len(division.sources) != 2 or len(squares) != 1 or len(data) != 1 or not data & set(division.roots):
        return "", ""
    if any(_has_stored_addend(reader, each) for each in division.parts):
        return "VirtualBatchNorm", "stored statistics and those of the data make one divisor"
    is_plain = data == {own} and not any(each.op_type == "Sub" for each in division.parts)
    return ("CRMSNorm", "the square of the sum is added to the sum of the squares") if is_plain else ("", "")


def _extent(reader: GraphReader, reduction: ir.Node) -> frozenset[int] | None:
    """Return the axes that a reduction takes; None where they are unknown."""
    sizes = reader.shape(reduction.inputs[0])
    is_pool = reduction.op_type == "GlobalAveragePool"
    axes = reader.axes(reduction) if sizes is not None and not is_pool else range(2, len(sizes or ()))
    return None if axes is None or sizes is None else frozenset(axis % len(sizes) for axis in axes)


def _is_over_the_batch(reader: GraphReader, reduction: ir.Node) -> bool:
    """Say whether a reduction takes the samples, and leaves an axis of more than one element."""
    sizes, axes = reader.shape(reduction.inputs[0]), reader.axes(reduction)
    if reduction.op_type not in (*MEANS, *LENGTHS) or sizes is None or not axes:
        return False
    taken = {axis % len(sizes) for axis in axes}
    return 0 in taken and sizes[0] != 1 and any(size != 1 for axis, size in enumerate(sizes) if axis not in taken)


def _has_stored_addend(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether an Add or Sub has a constant of several numbers."""
    shapes = [reader.shape(each) for each in node.inputs if each is not None and reader.is_constant(each)]
    return node.op_type in ("Add", "Sub") and any(size != 1 for shape in shapes for size in shape or ())


_MATCHERS: tuple[Callable[[Division], _Match | None], ...] = (
    _response,
    _squash,
    _energy,
    _other_numerator,
    _gated,
    _demodulated,
    _other_statistic,
    _of_the_batch,
    _mixed,
    _deviation_only,
    _bounded,
    _of_another_shape,
)


def _dynamic_tanh(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    """Match ``gamma * tanh(alpha * x) + beta``, which stands in the place of a norm."""
    scaled = maker(node.inputs[0])
    readers = [reading for reading, _ in behind_layout(node.outputs[0]).uses()]
    if scaled is None or scaled.op_type != "Mul" or len(readers) != 1 or readers[0].op_type != "Mul":
        return None
    alpha = next((reader.constant(v) for v in scaled.inputs if reader.is_constant(v)), None)
    gamma = next((reader.constant(v) for v in readers[0].inputs if reader.is_constant(v)), None)
    if alpha is None or gamma is None or alpha.size != 1 or gamma.size < 2:
        return None
    return PublishedNorm("DynamicTanh", node, (node,), Reason.NO_STATISTICS, "gamma * tanh(alpha * x) + beta")
