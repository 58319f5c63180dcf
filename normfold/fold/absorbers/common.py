"""What absorbers share: reading weights and biases, and the check that what is written fits its type."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.algebra.weight import Weight
from normfold.findings.reason import Reason
from normfold.fold.rule import Labels, require, require_varies_on
from normfold.graph.editor import Rewrite, require_fits, require_no_faint_rows, require_rows_fit
from normfold.graph.reader import GraphReader

Absorber = Callable[[GraphReader, ir.Node, Labels], Rewrite]
AbsorberTable = dict[str, Absorber]

ROUNDS_ITS_INPUT = "ONNX Runtime rounds the input of such a product to 8 bits, and without the shift to coarser steps"


def weight_of(reader: GraphReader, node: ir.Node, index: int) -> Weight:
    """Return the constant weight at ``index``; Refusal where it is computed at run time."""
    return reader.require_weight(node, index, Reason.DYNAMIC_WEIGHT)


def bias_of(reader: GraphReader, node: ir.Node, index: int) -> Array | None:
    """Return the constant bias at ``index``; None where there is none."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    return np.asarray(reader.require_constant(node, index, Reason.DYNAMIC_WEIGHT))


def single_label(node: ir.Node, labels: Labels, index: int = 0) -> Affine:
    """Return the one affine that there is, of input ``index``; Refusal where weight or bias have one."""
    require(set(labels) == {index}, Reason.DYNAMIC_WEIGHT, node, "its weight or bias would carry the affine")
    return labels[index]


def channels(node: ir.Node, affine: Affine, size: int) -> tuple[Array, Array]:
    """Scale and shift along axis 1, of the operator's own channel count."""
    require_varies_on(affine, [1], node, "the channels are")
    for array in (affine.scale, affine.shift):
        require(array.shape[1] in (1, size), Reason.AXIS_STOPS, node, f"{array.shape[1]} values for {size} channels")
    return affine.vectors(1, size)


def fitted(
    reader: GraphReader,
    node: ir.Node,
    index: int,
    changed: Mapping[int, Array | Weight],
    rows: Callable[[Weight], Array] = Weight.largest,
    shift: Array | None = None,
) -> Mapping[int, Array | Weight]:
    """Return ``changed`` as it is, once every array is known to fit the type of the weight at ``index``.

    ``rows`` gives the largest magnitudes of the new weight by the channels that were scaled, none of which may lose
    its digits; ``shift`` is what is added to these channels, where they are those of the output.
    """
    weight = node.inputs[index]
    if reader.is_quantized(weight):
        return changed  # its scale has other limits
    dtype = reader.dtype(weight)
    for array in changed.values():
        if isinstance(array, Weight):
            before = reader.weight(weight)
            largest, before_it = rows(array), rows(array if before is None else before)
            require_rows_fit(largest, dtype, node, before_it, shift)
            if shift is not None:
                require_no_faint_rows(largest, node, before_it, shift)
        else:
            require_fits(array, dtype, node)
    return changed


def require_room_for_squares(reader: GraphReader, node: ir.Node, scale: float) -> None:
    """Refuse to take a factor below 1 from the float16 input of a norm: some hardware squares in float16.

    Algebra says that the factor is dead, and it is how exporters keep the squares of large values below 65504.
    """
    value = node.inputs[0]
    half = value is not None and reader.dtype(value) is ir.DataType.FLOAT16
    detail = f"without the factor {scale:.3g} before it the squares of its float16 input may overflow"
    require(not half or scale >= 1, Reason.OUT_OF_RANGE, node, detail)


def along(*axes: int) -> Callable[[Weight], Array]:
    """Return the largest magnitudes of a weight for each index of ``axes``."""
    return lambda weight: weight.largest(axes)
