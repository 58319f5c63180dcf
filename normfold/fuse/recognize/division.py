"""A value that statistics divide: what a norm of any name is, before it is asked which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from normfold.fuse.recognize.surroundings import LAYOUT, before_layout, maker, maker_is
from normfold.graph.reader import GraphReader
from normfold.operators.table import is_standard

_MOST_STEPS = 12  # operators between a statistic and the value that it divides
_MOST_PARTS = 96  # operators that several statistics are made of
MEANS = ("ReduceMean", "ReduceSum", "GlobalAveragePool", "ReduceSumSquare")
LENGTHS = ("ReduceL2", "ReduceL1")
EXTREMES = ("ReduceMax", "ReduceMin", "GlobalMaxPool")
RUNNING = ("CumSum",)
WINDOWS = ("AveragePool",)
MIXING = ("Conv", "MatMul", "Gemm")
REDUCTIONS = (*MEANS, *LENGTHS, *EXTREMES, *RUNNING)
_STATISTICS = (*REDUCTIONS, *WINDOWS, *MIXING)
_POINTWISE = ("Pow", "Clip", "Reciprocal", "Sqrt", "Abs", "Exp", "Log")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", *_POINTWISE)
_SIZES = ("Shape", "Size", "Range")
_GUARDS = ("Where", "Greater", "Equal", "And", "CastLike", "Gather", "ReduceProd", "Slice", "Concat", "Softmax")


@dataclass(frozen=True, eq=False)
class Division:
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
    def centring(self) -> tuple[ir.Node, ...]:
        """Return the operators of the means that are subtracted before a square is taken."""
        centred = [maker(measured(self.reader, each)) for each in self.sources]
        means = [
            made_of(self.reader, *each.inputs[::-1]) for each in centred if each is not None and each.op_type == "Sub"
        ]
        return tuple(part for mean in means for part in mean or ())

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
        return any(comes_from(self.reader, each, root) for each in self.sources for root in self.roots)


# -- statistics divide a value --------------------------------------------------------------------------------------
def divisions(reader: GraphReader, node: ir.Node) -> Iterator[Division]:
    """Yield what ``node`` divides by statistics, or multiplies with what is made of them."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return
    for index in (1,) if node.op_type == "Div" else (0, 1):
        data, divisor = node.inputs[1 - index], node.inputs[index]
        if data is None or divisor is None or reader.is_constant(data) or reader.is_constant(divisor):
            continue
        parts = made_of(reader, divisor, data)
        sources = tuple(each for each in parts or () if each.op_type in _STATISTICS)
        if parts is not None and sources:
            yield Division(reader, node, data, sources, parts, any(is_root(reader, each) for each in parts))


def made_of(reader: GraphReader, divisor: ir.Value | None, data: ir.Value | None) -> tuple[ir.Node, ...] | None:
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
        if node.op_type in MIXING and not reader.is_constant(node.inputs[1]):
            return None
        parts[node] = None
        if node.op_type in _STATISTICS:
            above = before_layout(node.inputs[0])
            waiting += [above] if maker_is(above, REDUCTIONS) else []
        elif node.op_type in LAYOUT:
            waiting.append(node.inputs[0])
        elif node.op_type in (*_ARITHMETIC, *_GUARDS):
            waiting.extend(node.inputs)
        elif node.op_type not in _SIZES:
            return None
    return tuple(parts)


def is_root(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether an operator takes a root, or a length."""
    exponent = _exponent(reader, node) if node.op_type == "Pow" else None
    return node.op_type in ("Sqrt", "Exp", *LENGTHS) or (exponent is not None and not exponent.is_integer())


def _exponent(reader: GraphReader, node: ir.Node) -> float | None:
    array = reader.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def measured(reader: GraphReader, reduction: ir.Node) -> ir.Value | None:
    """Return the value whose square or magnitude is reduced."""
    source = reduction.inputs[0]
    return source if reduction.op_type in ("ReduceSumSquare", *LENGTHS) else before_square(reader, source)


def before_square(reader: GraphReader, value: ir.Value | None) -> ir.Value | None:
    """Return the value that was squared, or made a magnitude of; any other value as it is."""
    node = maker(value)
    if node is None:
        return value
    is_square = (node.op_type == "Mul" and node.inputs[0] is node.inputs[1]) or (
        node.op_type == "Pow" and _exponent(reader, node) == 2
    )
    return node.inputs[0] if is_square or node.op_type == "Abs" else value


def is_same(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Say whether two values are one, or differences of the same values, which exporters write for each reader."""
    first, second = (None if each is None else each.producer() for each in (one, other))
    if first is None or second is None:
        return one is other
    return one is other or (first.op_type == second.op_type == "Sub" and first.inputs == second.inputs)


def before_centring(reader: GraphReader, value: ir.Value | None) -> ir.Value | None:
    """Return the value that its own mean was subtracted from to make ``value``; None where that was not done."""
    node = maker(value)
    minuend, mean = node.inputs if node is not None and node.op_type == "Sub" else (None, None)
    return minuend if any(each.op_type in MEANS for each in made_of(reader, mean, minuend) or ()) else None


def measures_squares(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether a statistic is one of squares or magnitudes."""
    is_length = node.op_type in ("ReduceSumSquare", "ReduceL2")
    return is_length or (node.op_type in MEANS and measured(reader, node) is not node.inputs[0])


def readers_of(reader: GraphReader, value: ir.Value) -> Iterator[ir.Node]:
    """Yield who reads a value, behind changes of layout and constant factors."""
    for node, _ in value.uses():
        is_scaled = node.op_type == "Mul" and any(map(reader.is_constant, node.inputs))
        yield from readers_of(reader, node.outputs[0]) if is_scaled or node.op_type in LAYOUT else (node,)


def comes_from(reader: GraphReader, node: ir.Node, source: ir.Value) -> bool:
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
        data = above.inputs[:1] if above.op_type in LAYOUT else above.inputs  # and not the sizes that it gets
        waiting.extend(each for each in data if each is not None and not reader.is_constant(each))
    return False
