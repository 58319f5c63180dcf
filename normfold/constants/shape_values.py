"""What a model computes from constants and shapes alone, also where only some dimensions are known.

Exporters write ``x.reshape(batch, 16, -1)`` as a chain of Shape, Gather, Div, Concat and Reshape. With a symbolic batch
the chain is no constant as a whole, but most of its entries are. Entries are integers, names of symbolic dimensions, or
None; a target of a Reshape with one unknown entry becomes a constant with -1 there, which is the same by definition.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeGuard

import onnx
from onnx import numpy_helper

from normfold.operators.table import is_standard

ROUNDS = 256  # of inference and arithmetic; before Shape-15, each can take a chain of Reshapes only one further
LONGEST = 64  # entries; longer vectors are no shapes
WHOLE = (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL)
MADE_UP = "unk__"  # how inference begins a name that says nothing
_IS_PLAIN = re.compile(r"[\w.:]+|ceil\([^()*]+\)").fullmatch

Dimension = int | str | None


@dataclass(frozen=True)
class PartialInts:
    """A scalar (``is_scalar``) or a vector of integers, of which some may be known only by name or not at all."""

    entries: tuple[Dimension, ...]
    is_scalar: bool = False

    @property
    def is_known(self) -> bool:
        """Say whether every entry is a number."""
        return all(isinstance(entry, int) for entry in self.entries)


def named_targets(
    graph: onnx.GraphProto, values: Mapping[str, PartialInts], shapes: Shapes
) -> dict[str, tuple[int, ...]]:
    """Return the constant targets of Reshapes that are computed from known names, by the name of the output."""
    found = ((node.output[0], _target(node, values, shapes)) for node in graph.node if _has_target(node))
    return {name: target for name, target in found if target is not None}


def _has_target(node: onnx.NodeProto) -> bool:
    return node.op_type == "Reshape" and len(node.input) > 1


def _target(node: onnx.NodeProto, values: Mapping[str, PartialInts], shapes: Shapes) -> tuple[int, ...] | None:
    """Return the constant target of a Reshape, with -1 for one unknown entry and 0 for the same sizes of the input.

    None where nothing is gained or proven.
    """
    target, source = values.get(node.input[1]), shapes.get(node.input[0])
    if target is None or target.is_scalar or target.is_known:
        return None
    entries = without_rest(target.entries, source)
    if any(isinstance(entry, int) and entry < 1 and entry != -1 for entry in entries):
        return None  # 0 means the size of the input
    if len(_unknown(entries)) > 1 and not allows_zero(node):
        pairs = zip(entries, (source or ())[: len(entries)], strict=False)
        same = [isinstance(entry, str) and entry == size for entry, size in pairs]
        entries = tuple(0 if index < len(same) and same[index] else entry for index, entry in enumerate(entries))
    if len(_unknown(entries)) > 1:
        return None  # two entries cannot both be what is left
    return tuple(entry if isinstance(entry, int) else -1 for entry in entries)


def _unknown(entries: tuple[Dimension, ...]) -> list[Dimension]:
    return [entry for entry in entries if not isinstance(entry, int) or entry == -1]


def allows_zero(node: onnx.NodeProto) -> bool:
    """Say whether a 0 in the target of a Reshape means no element, and not the size of the input."""
    return bool(_attribute(node, "allowzero", 0))


def without_rest(target: tuple[Dimension, ...], source: tuple[Dimension, ...] | None) -> tuple[Dimension, ...]:
    """Return ``target`` with a size for -1, where the sizes of the input divided by the others are one."""
    if source is None or target.count(-1) != 1:
        return target
    rest = _quotient(source, [entry for entry in target if entry != -1])
    return target if rest is None else tuple(rest if entry == -1 else entry for entry in target)


def _quotient(sizes: Sequence[Dimension], divisors: Sequence[Dimension] = ()) -> Dimension:
    """Return the product of sizes, divided by others, as a size (``2*N``, as torch.export writes it); None for none."""
    (above, names), (below, gone) = factors(sizes), factors(divisors)
    number, rest = divmod(above, below) if below > 0 else (0, 1)
    names.subtract(gone)
    remaining = sorted(names.elements())
    if rest or number < 1 or any(count < 0 for count in names.values()):
        return None
    if len(remaining) + (number > 1) < 2:
        return remaining[0] if remaining else number
    is_readable = all(map(_IS_PLAIN, remaining))  # N + 1 times 2 would read as 2*N + 1
    return "*".join([str(number)] * (number > 1) + remaining) if is_readable else None


def factors(sizes: Sequence[Dimension]) -> tuple[int, Counter[str]]:
    """Return the number and the names whose product is the product of sizes; a number of 0 where one is not known."""
    parts = [part for size in sizes for part in (size.split("*") if _is_product(size) else [size])]
    numbers = [int(part or 0) for part in parts if not isinstance(part, str) or part.isdigit()]
    return prod(numbers), Counter(part for part in parts if isinstance(part, str) and not part.isdigit())


def _is_product(size: Dimension) -> TypeGuard[str]:
    """Say whether a size is a product of names and numbers; other arithmetic, as in ``N + 1``, is one name."""
    return isinstance(size, str) and all(map(_IS_PLAIN, size.split("*")))


# -- evaluation ---------------------------------------------------------------------------------------------------


def evaluate(graph: onnx.GraphProto, shapes: Shapes) -> dict[str, PartialInts]:
    """Return what is known of each small integer value, by its name."""
    values = stored_integers(graph)
    for node in graph.node:
        add_result(values, node, shapes)
    return values


def stored_integers(graph: onnx.GraphProto) -> dict[str, PartialInts]:
    """Return the small initializers of integers."""
    return {t.name: known for t in graph.initializer if (known := _known(t)) is not None}


def add_result(values: MutableMapping[str, PartialInts], node: onnx.NodeProto, shapes: Shapes) -> None:
    """Add to ``values`` what is known of the result of an operator, if it is a small integer value."""
    rule = _RULES.get(node.op_type) if is_standard(node) and len(node.output) == 1 else None
    if rule is None:
        return
    try:
        value = rule(node, [values.get(name) for name in node.input], shapes)
    except (IndexError, TypeError, ValueError, ZeroDivisionError):
        return  # not a shape, or not a valid one: nothing is known about it
    if value is not None and len(value.entries) <= LONGEST and not any(map(_is_too_large, value.entries)):
        values[node.output[0]] = value


def _is_too_large(entry: Dimension) -> bool:
    return isinstance(entry, int) and not -(2**63) <= entry < 2**63


def _known(tensor: onnx.TensorProto) -> PartialInts | None:
    if tensor.data_type not in WHOLE or len(tensor.dims) > 1:
        return None
    if tensor.dims and tensor.dims[0] > LONGEST:
        return None
    array = numpy_helper.to_array(tensor)
    return PartialInts(tuple(map(int, array.reshape(-1))), array.ndim == 0)


def shapes_of(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[Dimension, ...]]]:
    """Yield the known shape of each value, by its name."""
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            yield value.name, tuple(map(dimension, value.type.tensor_type.shape.dim))


def dimension(dim: onnx.TensorShapeProto.Dimension) -> Dimension:
    """Return a size, or its name; None where it has neither."""
    return int(dim.dim_value) if dim.HasField("dim_value") else (str(dim.dim_param) or None)


NodeInputs = Sequence[PartialInts | None]
Shapes = Mapping[str, tuple[Dimension, ...]]
ShapeRule = Callable[[onnx.NodeProto, NodeInputs, Shapes], PartialInts | None]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for entry in node.attribute:
        if entry.name == name:
            return onnx.helper.get_attribute_value(entry)
    return default


def _constant(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    tensor = _attribute(node, "value", None)
    if tensor is not None:
        return _known(tensor)
    number, numbers = _attribute(node, "value_int", None), _attribute(node, "value_ints", None)
    if number is not None:
        return PartialInts((int(number),), is_scalar=True)
    return None if numbers is None else PartialInts(tuple(map(int, numbers)))


def _shape(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    shape = shapes.get(node.input[0])
    return None if shape is None else PartialInts(shape[_attribute(node, "start", 0) : _attribute(node, "end", None)])


def _size(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    shape = shapes.get(node.input[0])
    return None if shape is None else PartialInts((_quotient(shape),), is_scalar=True)


def _product(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    """Multiply all entries of a vector."""
    value = inputs[0]
    if value is None or value.is_scalar or _attribute(node, "noop_with_empty_axes", 0):
        return None
    return PartialInts((_quotient(value.entries),), is_scalar=not _attribute(node, "keepdims", 1))


def _range(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    if any(value is None or not value.is_known for value in inputs):
        return None
    numbers = range(*(int(value.entries[0] or 0) for value in inputs if value is not None))
    return PartialInts(tuple(numbers)) if len(numbers) <= LONGEST else None


def _gather(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    data, indices = inputs
    if data is None or data.is_scalar or indices is None or not indices.is_known:
        return None
    return PartialInts(tuple(data.entries[int(index or 0)] for index in indices.entries), indices.is_scalar)


def _slice(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    data = inputs[0]
    if data is None or data.is_scalar:
        return None
    if len(inputs) == 1:
        start, end, step = _attribute(node, "starts", [0])[0], _attribute(node, "ends", [0])[0], 1
    else:
        bounds = [inputs[1], inputs[2], inputs[4] if len(inputs) > 4 else PartialInts((1,))]
        if any(bound is None or not bound.is_known for bound in bounds):
            return None
        start, end, step = (int(bound.entries[0] or 0) for bound in bounds if bound is not None)
    if step <= 0:
        return None
    return PartialInts(data.entries[start:end:step])


def _concat(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    if any(part is None or part.is_scalar for part in inputs):
        return None
    return PartialInts(tuple(entry for part in inputs if part is not None for entry in part.entries))


def _unsqueeze(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    value = inputs[0]
    return PartialInts(value.entries) if value is not None and value.is_scalar else None


def _squeeze(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    value = inputs[0]
    return None if value is None or value.is_scalar or len(value.entries) != 1 else PartialInts(value.entries, True)


def _reshape(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    value, target = inputs
    if value is None or target is None or target.is_scalar or len(target.entries) > 1:
        return None
    return PartialInts(value.entries, is_scalar=not target.entries)


def _cast(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    integers = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return inputs[0] if _attribute(node, "to", 0) in integers else None


def _same(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    return inputs[0]


def _elementwise(function: Callable[[Dimension, Dimension], Dimension]) -> ShapeRule:
    def rule(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
        """Apply the function entry by entry."""
        left, right = inputs
        if left is None or right is None:
            return None
        size = max(len(left.entries), len(right.entries))
        if {len(left.entries), len(right.entries)} - {1, size}:
            return None
        pairs = zip(_stretched(left, size), _stretched(right, size), strict=True)
        return PartialInts(tuple(function(a, b) for a, b in pairs), left.is_scalar and right.is_scalar)

    return rule


def _stretched(value: PartialInts, size: int) -> tuple[Dimension, ...]:
    return value.entries * size if len(value.entries) == 1 else value.entries


def _arithmetic(
    function: Callable[[int, int], int], of_names: Callable[[Dimension, Dimension], Dimension]
) -> ShapeRule:
    def apply(a: Dimension, b: Dimension) -> Dimension:
        """Apply the function to two entries."""
        return function(a, b) if isinstance(a, int) and isinstance(b, int) else of_names(a, b)

    return _elementwise(apply)


def _unless_zero(a: Dimension, b: Dimension) -> Dimension:
    """Return a size that is not changed by a 0."""
    return a if b == 0 else None


def _divide(a: int, b: int) -> int:
    if a < 0 or b <= 0:
        raise ValueError("integer division rounds towards zero in ONNX; sizes are never negative")
    return a // b


def _where(node: onnx.NodeProto, inputs: NodeInputs, shapes: Shapes) -> PartialInts | None:
    if any(value is None for value in inputs):
        return None
    given = [value for value in inputs if value is not None]
    size = max(len(value.entries) for value in given)
    columns = zip(*(_stretched(value, size) for value in given), strict=True)
    entries = tuple(None if which is None else one if which else other for which, one, other in columns)
    return PartialInts(entries, all(value.is_scalar for value in given))


def _equal(a: Dimension, b: Dimension) -> Dimension:
    """Compare two entries: a size by name is not negative, and equal to itself."""
    if isinstance(a, int) and isinstance(b, int):
        return int(a == b)
    numbers = [entry for entry in (a, b) if isinstance(entry, int)]
    if None in (a, b):
        return None
    return 0 if numbers and numbers[0] < 0 else 1 if a == b else None


_RULES: dict[str, ShapeRule] = {
    "Constant": _constant,
    "Shape": _shape,
    "Size": _size,
    "ReduceProd": _product,
    "Range": _range,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Cast": _cast,
    "Identity": _same,
    "Add": _arithmetic(operator.add, _unless_zero),
    "Sub": _arithmetic(operator.sub, _unless_zero),
    "Mul": _arithmetic(operator.mul, lambda a, b: _quotient((a, b))),
    "Div": _arithmetic(_divide, lambda a, b: _quotient((a,), (b,))),
    "Equal": _elementwise(_equal),
    "Where": _where,
}
