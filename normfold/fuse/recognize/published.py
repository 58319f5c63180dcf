"""Name norms of the literature that are no single operator, by the shape of their graph, and say why they are none.

Each looks like a norm: a statistic of a value divides a value. What differs from a norm operator is what is measured,
what is divided, or what the statistic is compared with. Sources: GRN https://arxiv.org/abs/2301.00808, EvoNorm
https://arxiv.org/abs/2004.02967, BiasNorm https://arxiv.org/abs/2310.11230, pRMSNorm https://arxiv.org/abs/1910.07467,
Dynamic Tanh https://arxiv.org/abs/2503.10622, CRMSNorm https://arxiv.org/abs/2305.14858, SwitchNorm
https://arxiv.org/abs/1806.10779, virtual BatchNorm https://arxiv.org/abs/1606.03498, GDN
https://arxiv.org/abs/1511.06281.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader

_MOST_STEPS = 12  # operators between a statistic and the value that it divides
_MEANS = ("ReduceMean", "ReduceSum", "GlobalAveragePool", "ReduceSumSquare")
_LENGTHS = ("ReduceL2", "ReduceL1")
_LAYOUT = ("Expand", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity")
_KEEPS = (*_LAYOUT, "Reciprocal", "Sqrt")
_SIZES = ("Shape", "Size")
_OF_COUNTS = ("Gather", "Slice", "ReduceProd")
_GUARDS = ("Where", "Greater", "Equal", "And", "CastLike", "Gather", "ReduceProd", "Slice", "Concat", "Softmax")
_MIXING = ("Conv", "MatMul", "Gemm")
_MOST_PARTS = 48  # operators that several statistics are made of
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Clip", "Sum")
OF_THE_BATCH = "statistics of the batch"
_GATES = ("Sigmoid", "HardSigmoid", "Swish", "HardSwish", "Mish")


@dataclass(frozen=True, eq=False)
class PublishedNorm:
    """A norm by its published name: the operator that completes it, its operators, and why it is not one operator."""

    name: str
    node: ir.Node
    parts: tuple[ir.Node, ...]
    reason: Reason
    detail: str


@dataclass(frozen=True, eq=False)
class _Statistic:
    """What was found on the way up from a divisor: the reduction, its operators, and whether a root was taken."""

    reduction: ir.Node
    parts: tuple[ir.Node, ...]
    has_root: bool


def published_norms(reader: GraphReader) -> Iterator[PublishedNorm]:
    """Yield each norm of a graph that has a name and no operator, in order."""
    met: set[ir.Node] = set()
    for node in reader.graph:
        if not is_standard(node) or node in met:
            continue
        for matches in _MATCHERS:
            found = matches(reader, node)
            if found is not None and not met.intersection(found.parts):
                met.update(found.parts)
                yield found
                break


# -- a statistic divides a value ------------------------------------------------------------------------------------
def _divided(reader: GraphReader, node: ir.Node) -> Iterator[tuple[ir.Value, _Statistic]]:
    """Yield the value that ``node`` divides, and the statistic that it is divided by."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return
    for index in (1,) if node.op_type == "Div" else (0, 1):
        data, divisor = node.inputs[1 - index], node.inputs[index]
        if data is None or divisor is None or reader.is_constant(data) or reader.is_constant(divisor):
            continue
        statistic = _statistic(reader, divisor)
        if statistic is not None and statistic.has_root:
            yield data, statistic


def _statistic(reader: GraphReader, value: ir.Value) -> _Statistic | None:
    """Follow a value up through arithmetic with constants to the reduction that it comes from."""
    parts: list[ir.Node] = []
    has_root = False
    for _ in range(_MOST_STEPS):
        node = value.producer()
        if node is None or not is_standard(node) or not reader.holds(node):
            return None
        if node.op_type in _MEANS + _LENGTHS:
            return _Statistic(node, tuple(reversed([*parts, node])), has_root or node.op_type in _LENGTHS)
        above = _only_variable(reader, node)
        if node.op_type not in _KEEPS + _ARITHMETIC or above is None:
            return None
        has_root = (
            has_root or node.op_type == "Sqrt" or (node.op_type == "Pow" and _exponent(reader, node) in (0.5, -0.5))
        )
        parts.append(node)
        value = above
    return None


def _only_variable(reader: GraphReader, node: ir.Node) -> ir.Value | None:
    """Return the input of ``node`` that is no constant, where there is exactly one."""
    if node.op_type in _LAYOUT:
        return node.inputs[0]
    variable = {value for value in node.inputs if value is not None and not reader.is_constant(value)}
    if len(variable) > 1:
        variable = {value for value in variable if not _is_count(reader, value)}
    return variable.pop() if len(variable) == 1 else None


def _is_count(reader: GraphReader, value: ir.Value) -> bool:
    """Say whether a value is computed from sizes alone, as a number of elements is."""
    waiting, met = [value], 0
    while waiting and met < _MOST_STEPS:
        each = waiting.pop()
        node = each.producer()
        if reader.is_constant(each) or (node is not None and node.op_type in _SIZES):
            continue
        if node is None or node.op_type not in (*_LAYOUT, *_ARITHMETIC, *_OF_COUNTS):
            return False
        met += 1
        waiting.extend(entry for entry in node.inputs if entry is not None)
    return not waiting


def _exponent(reader: GraphReader, node: ir.Node) -> float | None:
    array = reader.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def _measured(reader: GraphReader, reduction: ir.Node) -> tuple[ir.Value | None, tuple[ir.Node, ...]]:
    """Return the value whose square or magnitude is reduced, and the operators that square it."""
    source = reduction.inputs[0]
    node = _maker(source)
    if node is None or reduction.op_type in ("ReduceSumSquare", *_LENGTHS):
        return source, ()
    is_square = (node.op_type == "Mul" and node.inputs[0] is node.inputs[1]) or (
        node.op_type == "Pow" and _exponent(reader, node) == 2
    )
    return (node.inputs[0], (node,)) if is_square or node.op_type == "Abs" else (source, ())


def _other_numerator(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    """Match BiasNorm, a partial RMSNorm and EvoNorm: what is divided is not what is measured."""
    for data, statistic in _divided(reader, node):
        measured, squares = _measured(reader, statistic.reduction)
        made_by, divided = _maker(measured), _before_layout(data)
        parts = (*squares, *statistic.parts, node)
        if made_by is None:
            continue
        if made_by.op_type in ("Sub", "Add") and _before_layout(_only_variable(reader, made_by)) is divided:
            detail = "the mean square is that of the data minus a constant, and the data itself is divided"
            return PublishedNorm("BiasNorm", node, (made_by, *parts), Reason.OTHER_NUMERATOR, detail)
        if made_by.op_type in ("Slice", "Gather", "Split") and _before_layout(made_by.inputs[0]) is divided:
            detail = "the mean square is that of a part of the data, and all of it is divided"
            return PublishedNorm("PartialRMSNorm", node, (made_by, *parts), Reason.PART_OF_DATA, detail)
    return None


def _gated(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    """Match EvoNorm-S0: ``x * sigmoid(v*x)`` divided by the deviation of x in groups."""
    for data, statistic in _divided(reader, node):
        product = _maker(data)
        if product is None or product.op_type not in ("Mul", *_GATES):
            continue
        gates = [value for value in product.inputs if _is_gate(value)]
        if product.op_type == "Mul" and not gates:
            continue
        source = _other_input(product, gates[0]) if gates and gates[0] is not None else product.inputs[0]
        if source is not None and _comes_from(reader, statistic.reduction, source):
            detail = "a gated value is divided by the deviation of the value before its gate"
            return PublishedNorm("EvoNorm", node, (*statistic.parts, node), Reason.OTHER_NUMERATOR, detail)
    return None


def _is_gate(value: ir.Value | None) -> bool:
    node = _maker(value)
    return node is not None and node.op_type in _GATES


def _other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    others = [each for each in node.inputs if each is not value]
    return others[0] if len(others) == 1 else None


def _comes_from(reader: GraphReader, node: ir.Node, source: ir.Value) -> bool:
    """Say whether a reduction is of ``source``, through its mean, a square and changes of shape."""
    waiting = [value for value in node.inputs if value is not None]
    met: set[ir.Value] = set()
    source = _before_layout(source) or source
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


def _response(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    """Match GRN of ConvNeXt V2: the length of each channel, divided by the mean length of all channels."""
    if node.op_type != "Div" or node.inputs[0] is None or node.inputs[1] is None:
        return None
    own, mean = _statistic(reader, node.inputs[0]), _statistic(reader, node.inputs[1])
    if own is None or mean is None or not own.has_root or mean.reduction.op_type != "ReduceMean":
        return None
    if _before_layout(mean.reduction.inputs[0]) is not _before_layout(node.inputs[0]):
        return None
    detail = "the length of each channel is compared with the mean length of all channels"
    _, squares = _measured(reader, own.reduction)
    return PublishedNorm("GRN", node, (*squares, *own.parts, *mean.parts, node), Reason.ACROSS_CHANNELS, detail)


def _before_layout(value: ir.Value | None) -> ir.Value | None:
    """Return the value that changes of layout made ``value`` of."""
    node = None if value is None else value.producer()
    while node is not None and is_standard(node) and node.op_type in _LAYOUT:
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return value


def _behind_layout(value: ir.Value) -> ir.Value:
    """Return the value that changes of layout make of ``value``, which nothing else reads."""
    while len(readers := value.uses()) == 1 and (node := next(iter(readers))[0]).op_type in _LAYOUT:
        value = node.outputs[0]
    return value


@dataclass(frozen=True, eq=False)
class _Mixture:
    """What a divisor is made of: its reductions and linear operators, all operators, and whether a root is taken."""

    sources: tuple[ir.Node, ...]
    parts: tuple[ir.Node, ...]
    has_root: bool
    has_maximum: bool


def _mixture(reader: GraphReader, divisor: ir.Value, data: ir.Value) -> _Mixture | None:
    """Follow a divisor up through arithmetic on several values; None where it is made of anything but statistics."""
    parts: dict[ir.Node, None] = {}
    sources: dict[ir.Node, None] = {}
    waiting = [divisor]
    while waiting and len(parts) < _MOST_PARTS:
        value = waiting.pop()
        node = value.producer()
        if _before_layout(value) is _before_layout(data) or reader.is_constant(value) or node in parts:
            continue
        if node is None or not is_standard(node) or not reader.holds(node):
            return None
        parts[node] = None
        if node.op_type in _MIXING and not reader.is_constant(node.inputs[1]):
            return None
        if node.op_type in (*_MEANS, *_LENGTHS, *_MIXING):
            sources[node] = None
            above = _before_layout(node.inputs[0])
            waiting += [above] if above is not None and _is_reduction(above.producer()) else []
        elif node.op_type in (*_KEEPS, *_ARITHMETIC, *_GUARDS):
            waiting.extend(each for each in node.inputs if each is not None)
        elif node.op_type not in _SIZES:
            return None
    has_root = any(node.op_type in ("Sqrt", *_LENGTHS) for node in parts)
    has_maximum = any(node.op_type == "Max" for node in parts)
    return _Mixture(tuple(sources), tuple(parts), has_root, has_maximum)


def _mixed(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    """Match CRMSNorm, SwitchNorm, virtual BatchNorm, EvoNorm-B0 and GDN: several statistics make one divisor."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    for index in (1,) if node.op_type == "Div" else (0, 1):
        data, divisor = node.inputs[1 - index], node.inputs[index]
        if data is None or divisor is None or reader.is_constant(data) or reader.is_constant(divisor):
            continue
        found = _mixture(reader, divisor, data)
        if found is None or not found.has_root or not found.sources:
            continue
        if not any(_comes_from(reader, each, root) for each in found.sources for root in _roots(reader, data)):
            continue
        name, detail = _mixture_name(reader, found, data)
        reason = Reason.BATCH_STATISTICS if name == OF_THE_BATCH else Reason.MIXED_STATISTICS
        if name:
            return PublishedNorm(name, node, (*found.parts, node), reason, detail)
    return None


def _roots(reader: GraphReader, data: ir.Value) -> list[ir.Value]:
    """Return the data that is divided, and what a mean was subtracted from to make it."""
    node = _maker(data)
    minuend = node.inputs[0] if node is not None and node.op_type == "Sub" else None
    return [value for value in (data, _before_layout(data), minuend, _before_layout(minuend)) if value is not None]


def _mixture_name(reader: GraphReader, found: _Mixture, data: ir.Value) -> tuple[str, str]:
    kinds = {node.op_type for node in found.sources}
    if all(map(partial(_is_over_the_batch, reader), found.sources)):
        return OF_THE_BATCH, "each channel is divided by its deviation in all samples"
    if kinds & set(_MIXING):
        return ("GDN", "a linear operator mixes the squares of the channels") if len(kinds) == 1 else ("", "")
    if found.has_maximum:
        own = _before_layout(data)
        reads_data = any(_before_layout(value) is own for node in found.parts for value in node.inputs)
        return ("EvoNorm", "the deviation and the data itself make what it is divided by") if reads_data else ("", "")
    of_means = [each for each in found.sources if _is_reduction(_maker(each.inputs[0]))]
    if len(found.sources) > 2 and of_means:
        return "SwitchNorm", "statistics of a channel and of all channels make one divisor"
    squares = [each for each in found.sources if _measured(reader, each)[1] or each.op_type == "ReduceSumSquare"]
    measured = {_before_layout(_measured(reader, each)[0]) for each in found.sources}
    if len(found.sources) != 2 or len(squares) != 1 or len(measured) != 1 or not measured & set(_roots(reader, data)):
        return "", ""
    if any(_has_stored_addend(reader, each) for each in found.parts):
        return "VirtualBatchNorm", "stored statistics and those of the data make one divisor"
    is_plain = measured == {_before_layout(data)} and not any(each.op_type == "Sub" for each in found.parts)
    return ("CRMSNorm", "the square of the sum is added to the sum of the squares") if is_plain else ("", "")


def _is_over_the_batch(reader: GraphReader, reduction: ir.Node) -> bool:
    """Say whether a reduction takes the samples, and leaves an axis of more than one element."""
    sizes, axes = reader.shape(reduction.inputs[0]), reader.axes(reduction)
    if reduction.op_type in _MIXING or sizes is None or not axes:
        return False
    taken = {axis % len(sizes) for axis in axes}
    return 0 in taken and any(size != 1 for axis, size in enumerate(sizes) if axis not in taken)


def _maker(value: ir.Value | None) -> ir.Node | None:
    source = _before_layout(value)
    return None if source is None else source.producer()


def _has_stored_addend(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether an Add or Sub has a constant of several numbers."""
    shapes = [reader.shape(each) for each in node.inputs if each is not None and reader.is_constant(each)]
    return node.op_type in ("Add", "Sub") and any(size != 1 for shape in shapes for size in shape or ())


def _is_reduction(node: ir.Node | None) -> bool:
    return node is not None and is_standard(node) and node.op_type in (*_MEANS, *_LENGTHS)


def _dynamic_tanh(reader: GraphReader, node: ir.Node) -> PublishedNorm | None:
    """Match ``gamma * tanh(alpha * x) + beta``, which stands in the place of a norm."""
    if node.op_type != "Tanh" or node.inputs[0] is None:
        return None
    scaled = _maker(node.inputs[0])
    readers = [reading for reading, _ in _behind_layout(node.outputs[0]).uses()]
    if scaled is None or scaled.op_type != "Mul" or len(readers) != 1 or readers[0].op_type != "Mul":
        return None
    alpha = next((reader.constant(v) for v in scaled.inputs if reader.is_constant(v)), None)
    gamma = next((reader.constant(v) for v in readers[0].inputs if reader.is_constant(v)), None)
    if alpha is None or gamma is None or alpha.size != 1 or gamma.size < 2:
        return None
    return PublishedNorm("DynamicTanh", node, (node,), Reason.NO_STATISTICS, "gamma * tanh(alpha * x) + beta")


_MATCHERS: tuple[Callable[[GraphReader, ir.Node], PublishedNorm | None], ...] = (
    _response,
    _other_numerator,
    _gated,
    _mixed,
    _dynamic_tanh,
)


# -- the surroundings of a norm operator ----------------------------------------------------------------------------
def conditional_name(reader: GraphReader, norm: ir.Value, operator: str) -> str:
    """Return the name of a norm whose scale and shift behind it are computed from other data; empty if they are not."""
    norm = _behind_layout(norm)
    product = _reader_with_variable(reader, norm, "Mul")
    total = None if product is None else _reader_with_variable(reader, _behind_layout(product.outputs[0]), "Add")
    if product is None or total is None:
        return ""
    scale = _other_input(product, norm)
    shape = None if scale is None else reader.shape(scale)
    if operator == "LayerNormalization" or operator == "RMSNormalization":
        return "AdaLN"
    is_map = shape is not None and len(shape) >= 4 and sum(size != 1 for size in shape[1:]) > 1
    return "SPADE" if is_map else "AdaIN"


def is_thresholded(norm: ir.Value) -> bool:
    """Say whether a learned threshold (TLU: Max with a constant) follows, perhaps behind a scale and a shift."""
    value = norm
    for _ in range(3):
        readers = [node for node, _ in value.uses()]
        if len(readers) != 1 or readers[0].op_type not in ("Max", "Mul", "Add"):
            return False
        if readers[0].op_type == "Max":
            return True
        value = readers[0].outputs[0]
    return False


def _reader_with_variable(reader: GraphReader, value: ir.Value, operator: str) -> ir.Node | None:
    for node, _ in value.uses():
        other = _other_input(node, value) if node.op_type == operator and reader.holds(node) else None
        if other is not None and not reader.is_constant(other):
            return node
    return None
