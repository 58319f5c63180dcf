"""Judge an affine by what it does to the numbers: how many digits it costs where another operator adds its shift.

``s*(x - m)`` is exact in floating point where x is near m, and ``s*x + t`` with ``t = -s*m`` is not: both terms are
``|m| / spread`` times as large as their difference, and each is rounded. A fold forward replaces the first by the
second, in every type that the value has on its way. A fold backward loses nothing of this kind: the operator before
the affine has already rounded the value where it is large, and the folded one makes the small difference itself.

The spread of the data is that of a BatchNormalization in the chain; without one the chain is taken to standardize,
so that its output has mean 0 and deviation 1. Rounding: Higham, Accuracy and Stability of Numerical Algorithms, 1.7.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason, Refusal
from normfold.fold.affines import AffineChain, epsilon_of, form_of_parameters, parameter_of
from normfold.graph.display_names import name_of
from normfold.graph.reader import GraphReader

OFFSET = "normfold.offset"  # metadata of what stays where a scale went on: it does not show its spread any more
# How many spreads from zero the data may lie: float32 then keeps 14 of its 24 bits, float64 27 of its 53.
_FARTHEST = {
    ir.DataType.FLOAT16: 2.0**3,
    ir.DataType.BFLOAT16: 2.0**3,
    ir.DataType.FLOAT: 2.0**10,
    ir.DataType.DOUBLE: 2.0**26,
}


def offset_in_spreads(reader: GraphReader, chain: AffineChain, affine: Affine) -> Array:
    """Return how far from zero the data lies to which ``affine``, the last part of ``chain``, is applied.

    The unit is the spread of that data. Channels that say nothing of their spread are 0: those with a scale of 0, and
    those of a BatchNormalization with variance 0.
    """
    if affine.has_no_shift:
        return np.zeros(())
    centre, spread = _statistics(reader, chain)
    with np.errstate(all="ignore"):
        ratio = np.abs(centre - affine.shift) / spread
    known = max(float(node.metadata_props.get(OFFSET, 0.0)) for node in chain.nodes)
    return np.maximum(np.where((affine.scale != 0) & np.isfinite(ratio), ratio, 0.0), known)


def _statistics(reader: GraphReader, chain: AffineChain) -> tuple[Array, Array]:
    """Return mean and deviation of the output of ``chain``, with infinity for a deviation that is not known."""
    centre: Array = np.zeros(())
    spread: Array = np.ones(())
    for affine_node in chain.members:
        node, affine = affine_node.node, affine_node.affine
        if node.op_type == "BatchNormalization":
            parameters = [parameter_of(reader, node, index) for index in (1, 2, 4)]
            form = form_of_parameters(reader, node, parameters[0].size)
            gamma, beta, variance = (np.asarray(each, np.float64).reshape(form) for each in parameters)
            centre, spread = beta, np.where((variance > 0) & (gamma != 0), np.abs(gamma), np.inf)
        elif chain.has_batchnorm:
            centre, spread = affine.scale * centre + affine.shift, np.abs(affine.scale) * spread
    return centre, spread


def require_no_cancellation(reader: GraphReader, value: ir.Value, offset: Array, node: ir.Node) -> None:
    """Refuse to add at ``value`` a shift for data that is ``offset`` from zero: its type would lose the digits."""
    dtype = reader.dtype(value)
    limit = np.inf if dtype is None else _FARTHEST.get(dtype, np.inf)
    if (offset > limit).any():
        most = float(offset.max())
        detail = f"the data is up to {most:.3g} times its spread from zero, and {dtype} can add a shift up to {limit:g}"
        raise Refusal(Reason.CANCELLATION, name_of(node), detail=detail)


def require_same_rounding(reader: GraphReader, chain: AffineChain, affine: Affine) -> None:
    """Refuse to write ``chain`` as ``affine``, or what stays of it, where digits depend on what is rounded first.

    A product stays a product, and a chain that begins with a sum may become a sum alone, of a constant that its type
    holds: x - 2**24 - 1 is exact in float32 where x - (2**24 + 1) is not.
    """
    first = next((each.affine for each in chain.members if not each.affine.is_identity), None)
    is_sum = first is not None and first.has_no_scale and affine.has_no_scale
    if not (affine.has_no_shift or (is_sum and _is_kept(reader.dtype(chain.input), affine.shift))):
        require_no_cancellation(reader, chain.input, offset_in_spreads(reader, chain, chain.affine), chain.nodes[-1])


def _is_kept(dtype: ir.DataType | None, numbers: Array) -> bool:
    """Return whether a type holds numbers, but for what float64 rounded of them."""
    return dtype is None or np.allclose(numbers.astype(dtype.numpy()).astype(np.float64), numbers, 1e-12, 0.0)


def require_no_cancellation_after(reader: GraphReader, label: Affine, readers: Sequence[ir.Node]) -> None:
    """Refuse to compute x from ``label(x)`` = s*x + t where t is so large against s*x that the digits of x are gone.

    The spread of x is that of a BatchNormalization among its ``readers``; 1 where there is none.
    """
    spread: Array = np.ones(())
    norm = next((node for node in readers if node.op_type == "BatchNormalization"), None)
    if norm is not None:
        variance = parameter_of(reader, norm, 4)
        spread = np.sqrt(variance + epsilon_of(norm)).reshape(form_of_parameters(reader, norm, variance.size))
    value = readers[0].inputs[0]
    assert value is not None, "an affine's variable operand is always present"
    require_no_cancellation(reader, value, np.abs(label.shift / label.scale) / spread, readers[0])
