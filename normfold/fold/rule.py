"""Define what carriers answer: the affines that their inputs or outputs get, and their own change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason, Refusal
from normfold.graph.display_names import display_name, name_of
from normfold.graph.editor import Rewrite, float_range, require_fits
from normfold.graph.reader import GraphReader, attribute

Labels = Mapping[int, Affine]


@dataclass(frozen=True)
class Propagation:
    """One way through an operator: affines by input index (backward) or output index (forward), and its own change.

    Where an affine loses its effect further on, ``changed_values`` differ until then, and ``sinks`` do not.
    """

    labels: Labels = field(default_factory=dict)
    rewrite: Rewrite | None = None
    changed_values: tuple[ir.Value, ...] = ()
    sinks: tuple[ir.Value, ...] = ()


Carrier = Callable[[GraphReader, ir.Node, Labels], Sequence[Propagation]]
CarrierTable = dict[str, Carrier]


def alternatives(inputs: Iterable[int], answer: Callable[[int], Propagation]) -> list[Propagation]:
    """Return the answer for each of some inputs that does not refuse; raise the first refusal where all do."""
    found: list[Propagation] = []
    refusals: list[Refusal] = []
    for index in inputs:
        try:
            found.append(answer(index))
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals and not found:
        raise refusals[0]
    return found


def require(condition: bool, reason: Reason, node: ir.Node, detail: str = "") -> None:
    """Refuse with ``reason`` unless ``condition`` holds; without a ``detail`` the operator is named."""
    if not condition:
        raise Refusal(reason, name_of(node), detail=detail or node.op_type)


def require_no_shift(affine: Affine, node: ir.Node, detail: str = "") -> None:
    """Refuse a shift, and say how many numbers of it there are."""
    if not affine.has_no_shift:
        detail = detail or f"{node.op_type} passes a scale only"
        raise Refusal(Reason.SHIFT_STOPS, name_of(node), detail=f"{detail}; {how_many(affine.shift != 0)} have one")


def require_constant_on(affine: Affine, axes: Iterable[int], node: ir.Node, what: str) -> None:
    """Refuse what varies along axes that the operator mixes, and name them; ``what`` says what becomes of them."""
    mixed = {axis % affine.rank for axis in axes}
    varies = [axis for axis in affine.varying_axes if axis in mixed]
    if varies:
        are = "is" if len(varies) == 1 else "are"
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=f"it varies along {_axes(varies)}, which {are} {what}")


def require_varies_on(affine: Affine, axes: Iterable[int], node: ir.Node, what: str) -> None:
    """Refuse what varies along other axes than ``axes``, which are ``what``; name both."""
    own = {axis % affine.rank for axis in axes}
    others = [axis for axis in affine.varying_axes if axis not in own]
    if others:
        detail = f"it varies along {_axes(others)}, and {what} only along {_axes(sorted(own))}"
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=detail)


def _axes(axes: Sequence[int]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {list(axes)}"


def at_rank_of(reader: GraphReader, value: ir.Value, affine: Affine) -> Affine:
    """Return ``affine``, one of rank 0 raised to the rank of ``value`` where that is known."""
    shape = reader.shape(value)
    return affine if affine.rank or not shape else affine.map(lambda array: array.reshape((1,) * len(shape)))


def one_scale(affine: Affine, node: ir.Node, what: str) -> float:
    """Return the scale, where it is one number as ``what`` is, and there is no shift; or a Refusal."""
    require_no_shift(affine, node)
    detail = f"{what} is one number, and the scale varies along {_axes(affine.varying_axes)}"
    require(affine.scale.size == 1, Reason.AXIS_STOPS, node, detail)
    return float(affine.scale.reshape(()))


def require_no_sign(affine: Affine, node: ir.Node) -> None:
    """Refuse negative scales, and say how many there are."""
    if not affine.scale_is_nonnegative:
        detail = f"{node.op_type}; {how_many(affine.scale < 0)} are negative"
        raise Refusal(Reason.SIGN_STOPS, name_of(node), detail=detail)


def how_many(which: npt.NDArray[np.bool_]) -> str:
    """``3 of 64``, for details."""
    return f"{int(which.sum())} of {which.size}"


def propagate(affine: Affine) -> list[Propagation]:
    """Return the one way through an operator that passes ``affine`` as it is."""
    return [Propagation({0: affine})] if not affine.is_identity else [Propagation({})]


def data_label(node: ir.Node, labels: Labels) -> Affine:
    """Return the affine of the first input or output, which alone carries data; Refusal where another has one."""
    require(set(labels) == {0}, Reason.OPERATOR_STOPS, node, "only its first input and output carry data")
    return labels[0]


def applied(reader: GraphReader, node: ir.Node, index: int, affine: Affine) -> Array:
    """Return constant input ``index`` after ``affine``; an infinity, such as that of a mask, must stay itself."""
    value = node.inputs[index]
    array = reader.constant(value)
    if value is None or array is None:
        raise Refusal(Reason.DYNAMIC_PARAMETERS, name_of(node), detail=f"input {index} is no constant")
    with np.errstate(invalid="ignore"):
        folded = affine.apply(array)
    infinite = np.broadcast_to(np.isinf(array), folded.shape)
    stays = np.array_equal(folded[infinite], np.broadcast_to(array, folded.shape)[infinite])
    require(stays, Reason.SIGN_STOPS, node, "an infinite constant would change")
    require_fits(np.where(infinite, 0.0, folded), reader.dtype(value), node)
    return folded


def require_attributes_fit(reader: GraphReader, node: ir.Node, changed: Mapping[str, float]) -> None:
    """Attributes are float32: in a float64 model they may not be rounded, and nowhere may they overflow or vanish."""
    dtypes = {reader.dtype(value) for value in (*node.inputs[:1], *node.outputs[:1]) if value is not None}
    for name, number in changed.items():
        require_fits(np.asarray(number), ir.DataType.FLOAT, node)
        lost = 0 < abs(number) < float_range(ir.DataType.FLOAT, node).smallest
        require(not lost, Reason.OUT_OF_RANGE, node, f"attribute {name} would be {number:.3g}")
        exact = ir.DataType.DOUBLE not in dtypes or float(np.float32(number)) == number
        require(exact, Reason.OUT_OF_RANGE, node, f"attribute {name} is float32, in a float64 model")


def axes_of(reader: GraphReader, node: ir.Node) -> tuple[int, ...] | None:
    """Axes as the second input (newer opsets) or as an attribute; None where neither is given."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        return tuple(int(axis) for axis in reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS))
    found = attribute(node, "axes")
    return None if found is None else tuple(int(axis) for axis in found)


def size_of(reader: GraphReader, node: ir.Node, value: ir.Value | None, axis: int) -> int:
    """Return the known size of ``value`` along ``axis``, or a Refusal."""
    size = reader.require_shape(value, node)[axis]
    if not isinstance(size, int):
        detail = f"{display_name(value)} is of size {size} along axis {axis}"
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), detail=detail)
    return size


def both_ways(carrier: Callable[..., Sequence[Propagation]]) -> tuple[Carrier, Carrier]:
    """Return the backward and the forward half of a carrier that takes ``forward`` as a keyword."""
    return (
        lambda reader, node, labels: carrier(reader, node, labels, forward=False),
        lambda reader, node, labels: carrier(reader, node, labels, forward=True),
    )
