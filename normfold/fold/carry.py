"""How an affine passes an operator: one small function for each family, and two tables.

Backward: the output of ``op(u...)`` shall become ``A(op(u...))``; find affines on the inputs that make it so. Each
answer is a tuple of demands, one for an input; several answers are alternatives, the preferred first.
Forward: the input that an operator reads is ``x`` where ``A(x)`` was meant; find the affine that its output then lacks.
Everything that is not in the tables refuses. Conditions stand in each docstring; operators as in
https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from normfold.affine import Affine, Array, compact
from normfold.edit import Rewrite
from normfold.fold.layout import reshaped
from normfold.graph import Dim, GraphReader, attribute, name_of
from normfold.reason import Reason, Refusal

Labels = Mapping[int, Affine]


@dataclass(frozen=True)
class Passage:
    """One way through an operator: affines by input index (backward) or output index (forward), and its own change."""

    labels: Labels
    rewrite: Rewrite | None = None


Carrier = Callable[[GraphReader, ir.Node, Labels], Sequence[Passage]]


def require(condition: bool, reason: Reason, node: ir.Node, detail: str = "") -> None:
    """Refuse with ``reason`` unless ``condition`` holds."""
    if not condition:
        raise Refusal(reason, name_of(node), detail=detail)


def _through(affine: Affine) -> list[Passage]:
    return [Passage({0: affine})] if not affine.is_identity else [Passage({})]


def _first(node: ir.Node, labels: Labels) -> Affine:
    require(set(labels) == {0}, Reason.OPERATOR_STOPS, node, "only its first input and output carry data")
    return labels[0]


def _shape(reader: GraphReader, node: ir.Node, value: ir.Value | None) -> tuple[Dim, ...]:
    if value is None:
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node))
    return reader.require_shape(value, node)


# -- element by element ------------------------------------------------------------------------------------------
def identity(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """Identity; Dropout at inference; Cast between floating types."""
    if node.op_type == "Dropout":
        training = reader.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else False
        require(training is not None and not np.any(training), Reason.TRAINING_MODE, node)
        require(not any(output.uses() for output in node.outputs[1:]), Reason.OPERATOR_STOPS, node, "its mask is read")
    return _through(_first(node, labels))


def positively_homogeneous(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """f(s*x) = s*f(x) for s >= 0: Relu, LeakyRelu, PRelu, Abs."""
    affine = _first(node, labels)
    require(affine.has_no_shift, Reason.SHIFT_STOPS, node)
    require(affine.scale_is_nonnegative, Reason.SIGN_STOPS, node)
    return _through(affine)


# -- pooling -----------------------------------------------------------------------------------------------------
def maximum(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """max(s*x + t) = s*max(x) + t for s >= 0: MaxPool (its padding is -inf) and GlobalMaxPool, per channel."""
    affine = _first(node, labels)
    require(not any(output.uses() for output in node.outputs[1:]), Reason.OPERATOR_STOPS, node, "its Indices are read")
    require(affine.scale_is_nonnegative, Reason.SIGN_STOPS, node)
    require(affine.is_constant_on(range(2, affine.rank)), Reason.AXIS_STOPS, node, "it varies inside the window")
    return _through(affine)


def average(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """mean(s*x + t) = s*mean(x) + t per channel, while no zero padding is counted: AveragePool, GlobalAveragePool."""
    affine = _first(node, labels)
    require(affine.is_constant_on(range(2, affine.rank)), Reason.AXIS_STOPS, node, "it varies inside the window")
    counted = _counts_padding(node)
    require(affine.has_no_shift or not counted, Reason.ZERO_PADDING, node, "the average counts padded zeros")
    return _through(affine)


def _counts_padding(node: ir.Node) -> bool:
    """Whether zeros of the border enter the average, or the divisor is ambiguous between runtimes."""
    if node.op_type == "GlobalAveragePool":
        return False
    padded = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return bool((padded and attribute(node, "count_include_pad", 0)) or attribute(node, "ceil_mode", 0))


def reduce_mean(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Passage]:
    """mean over axes: exact for affines that are constant on them; the axes go or stay as 1 with ``keepdims``."""
    affine = _first(node, labels)
    rank = len(_shape(reader, node, node.inputs[0]))
    axes = _reduced_axes(reader, node, rank)
    keeps = bool(attribute(node, "keepdims", 1))
    if node.op_type == "ReduceMax":
        require(affine.scale_is_nonnegative, Reason.SIGN_STOPS, node)
    if not forward:
        return _through(affine if keeps else affine.map(lambda array: np.expand_dims(array, axes)))
    require(affine.is_constant_on(axes), Reason.AXIS_STOPS, node, "it varies along a reduced axis")
    return _through(affine if keeps else affine.map(lambda array: np.squeeze(array, axes)))


def _reduced_axes(reader: GraphReader, node: ir.Node, rank: int) -> tuple[int, ...]:
    axes = _axes(reader, node)
    if axes is None or not len(axes):
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))


def _axes(reader: GraphReader, node: ir.Node) -> tuple[int, ...] | None:
    """Axes as the second input (newer opsets) or as an attribute; None where neither is given."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return tuple(int(axis) for axis in reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS))
    found = attribute(node, "axes")
    return None if found is None else tuple(int(axis) for axis in found)


# -- layout ------------------------------------------------------------------------------------------------------
def transpose(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Passage]:
    """The arrays are transposed like the tensor (backward: by the inverse permutation)."""
    affine = _first(node, labels)
    permutation = attribute(node, "perm") or range(affine.rank)[::-1]
    order = list(permutation) if forward else [int(axis) for axis in np.argsort(permutation)]
    return _through(affine.map(lambda array: array.transpose(order)))


def reshape(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Passage]:
    """Reshape, Flatten, Squeeze, Unsqueeze: the arrays follow where the axes along which they vary can be traced."""
    affine = _first(node, labels)
    before, after = _shape(reader, node, node.inputs[0]), _known_target(reader, node)
    source, target = (before, after) if forward else (after, before)
    scale, shift = reshaped(affine.scale, source, target), reshaped(affine.shift, source, target)
    if scale is None or shift is None:
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=f"{list(before)} to {list(after)} cannot be traced")
    return _through(Affine(scale, shift))


def _known_target(reader: GraphReader, node: ir.Node) -> tuple[Dim, ...]:
    """The output shape as inferred, with unknown sizes filled in from a constant target of Reshape."""
    shape = reader.shape(node.outputs[0])
    target = reader.constant(node.inputs[1]) if node.op_type == "Reshape" and len(node.inputs) > 1 else None
    if target is None:
        return _shape(reader, node, node.outputs[0])
    sizes: list[Dim] = [int(size) if size > 0 else None for size in target]
    if shape is None:
        return tuple(sizes)
    return tuple(known if known is not None else size for known, size in zip(shape, sizes, strict=True))


# -- joining and parting -----------------------------------------------------------------------------------------
def concat_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """Every input takes its own part of the arrays along the axis."""
    affine = _first(node, labels)
    axis = int(attribute(node, "axis")) % affine.rank
    if affine.is_constant_on([axis]):
        return [Passage(dict.fromkeys(range(len(node.inputs)), affine))]
    parts = _parts([_size(reader, node, value, axis) for value in node.inputs], affine, axis)
    return [Passage({index: part for index, part in enumerate(parts) if not part.is_identity})]


def concat_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """The parts are joined; an input without one has scale 1 and shift 0."""
    rank = next(iter(labels.values())).rank
    axis = int(attribute(node, "axis")) % rank
    sizes = [_size(reader, node, value, axis) for value in node.inputs]
    whole = [labels.get(index, Affine.identity(rank)) for index in range(len(node.inputs))]
    return _through(
        Affine(
            _joined([part.scale for part in whole], sizes, axis),
            _joined([part.shift for part in whole], sizes, axis),
        )
    )


def _joined(arrays: Sequence[Array], sizes: Sequence[int], axis: int) -> Array:
    common = np.broadcast_shapes(*(_without(array.shape, axis) for array in arrays))
    spread = [
        np.broadcast_to(array, (*common[:axis], size, *common[axis + 1 :]))
        for array, size in zip(arrays, sizes, strict=True)
    ]
    return compact(np.concatenate(spread, axis=axis))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _size(reader: GraphReader, node: ir.Node, value: ir.Value | None, axis: int) -> int:
    size = _shape(reader, node, value)[axis]
    if not isinstance(size, int):
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), detail=f"size {size} along axis {axis}")
    return size


def _parts(sizes: Sequence[int], affine: Affine, axis: int) -> list[Affine]:
    def cut(start: int, stop: int) -> Affine:
        return affine.map(lambda array: array if array.shape[axis] == 1 else array.take(range(start, stop), axis=axis))

    ends = np.cumsum(sizes)
    return [cut(int(end) - size, int(end)) for size, end in zip(sizes, ends, strict=True)]


def split_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """The input takes the joined arrays of all outputs; an output without demand has scale 1 and shift 0."""
    return concat_like(reader, node, labels, node.outputs)


def concat_like(reader: GraphReader, node: ir.Node, labels: Labels, parts: Sequence[ir.Value]) -> list[Passage]:
    """One affine made of those of ``parts`` along the node's axis."""
    rank = next(iter(labels.values())).rank
    axis = int(attribute(node, "axis", 0)) % rank
    sizes = [_size(reader, node, value, axis) for value in parts]
    whole = [labels.get(index, Affine.identity(rank)) for index in range(len(parts))]
    scales, shifts = [part.scale for part in whole], [part.shift for part in whole]
    return _through(Affine(_joined(scales, sizes, axis), _joined(shifts, sizes, axis)))


def split_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """Every output lacks its own part."""
    affine = _first(node, labels)
    axis = int(attribute(node, "axis", 0)) % affine.rank
    parts = _parts([_size(reader, node, value, axis) for value in node.outputs], affine, axis)
    return [Passage({index: part for index, part in enumerate(parts) if not part.is_identity})]


# -- sums --------------------------------------------------------------------------------------------------------
def add_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """s*(u + v) + t: the scale to every addend, the shift to exactly one; either may be the one."""
    affine = _first(node, labels)
    signs = [-1.0 if node.op_type == "Sub" and index == 1 else 1.0 for index in range(len(node.inputs))]
    if len(set(node.inputs)) == 1 and len(node.inputs) > 1:
        total = sum(signs)
        require(total != 0 or affine.has_no_shift, Reason.SHIFT_STOPS, node, "it subtracts a value from itself")
        shift = affine.shift / total if total else affine.shift
        return [Passage(dict.fromkeys(range(len(node.inputs)), Affine(affine.scale, shift)))]
    takers = range(len(node.inputs)) if not affine.has_no_shift else range(1)
    passages, refusal = [], None
    for taker in takers:
        try:
            passages.append(_sum_passage(reader, node, affine, signs, taker))
        except Refusal as error:
            refusal = error
    if not passages and refusal is not None:
        raise refusal
    return passages


def _sum_passage(reader: GraphReader, node: ir.Node, affine: Affine, signs: Sequence[float], taker: int) -> Passage:
    labels = {}
    for index, value in enumerate(node.inputs):
        shift = affine.shift * signs[index] if index == taker else np.zeros_like(affine.shift)
        part = on_operand(reader, node, Affine(affine.scale, compact(shift)), value)
        if not part.is_identity:
            labels[index] = part
    return Passage(labels)


def on_operand(reader: GraphReader, node: ir.Node, affine: Affine, operand: ir.Value | None) -> Affine:
    """An affine of an elementwise result, on one of its operands; it may not vary where the operand is broadcast."""
    shape = _shape(reader, node, operand)
    result = reader.shape(node.outputs[0])
    extra = affine.rank - len(shape)
    for axis in affine.varying_axes:
        own = shape[axis - extra] if axis >= extra else 1
        whole = result[axis] if result is not None else None
        size = max(affine.scale.shape[axis], affine.shift.shape[axis])
        fits = own == size or (own == whole and own is not None)
        require(fits, Reason.AXIS_STOPS, node, f"an operand of size {own} is broadcast along axis {axis}")
    return affine.map(lambda array: array.reshape(array.shape[extra:]))


def add_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Passage]:
    """u + v lacks a scale only where every addend lacks the same one; shifts add up."""
    rank = len(_shape(reader, node, node.outputs[0]))
    whole = [_raised(labels.get(index), rank) for index in range(len(node.inputs))]
    for other in whole[1:]:
        same = np.array_equal(whole[0].scale, other.scale)
        require(same, Reason.SUM_NEEDS_ALL, node, "the addends would carry different scales")
    if not whole[0].has_no_scale:
        for value in node.inputs:
            on_operand(reader, node, whole[0].scale_only, value)
    signs = [-1.0 if node.op_type == "Sub" and index == 1 else 1.0 for index in range(len(whole))]
    total = sum((sign * part.shift for sign, part in zip(signs, whole, strict=True)), np.zeros((1,) * rank))
    return _through(Affine(whole[0].scale, compact(total)))


def _raised(affine: Affine | None, rank: int) -> Affine:
    return Affine.identity(rank) if affine is None else Affine.of(affine.scale, affine.shift, rank)


Tables = dict[str, Carrier]


def _towards(carrier: Callable[..., Sequence[Passage]], *, forward: bool) -> Carrier:
    return lambda reader, node, labels: carrier(reader, node, labels, forward=forward)


_BOTH: Tables = {
    "Identity": identity,
    "Dropout": identity,
    "Relu": positively_homogeneous,
    "LeakyRelu": positively_homogeneous,
    "MaxPool": maximum,
    "GlobalMaxPool": maximum,
    "AveragePool": average,
    "GlobalAveragePool": average,
}
_LAYOUT = {
    "ReduceMean": reduce_mean,
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": reshape,
    "Squeeze": reshape,
    "Unsqueeze": reshape,
}
BACKWARD: Tables = {
    **_BOTH,
    **{name: _towards(carrier, forward=False) for name, carrier in _LAYOUT.items()},
    "Concat": concat_backward,
    "Split": split_backward,
    "Add": add_backward,
    "Sum": add_backward,
    "Sub": add_backward,
}
FORWARD: Tables = {
    **_BOTH,
    **{name: _towards(carrier, forward=True) for name, carrier in _LAYOUT.items()},
    "Concat": concat_forward,
    "Split": split_forward,
    "Add": add_forward,
    "Sum": add_forward,
    "Sub": add_forward,
}
