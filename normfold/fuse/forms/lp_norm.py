"""Forms that divide by a length: LpNormalization, and a division by ReduceL2.

``x / max(|x|, c)`` is no LpNormalization: below the bound it is ``x / c``, where the operator gives a vector of length
1 (https://onnx.ai/onnx/operators/onnx__LpNormalization.html). Along an axis that is not the last, ReduceL2 and Div take
0.3 to 0.7 of the time of Pow, ReduceSum, Sqrt and Div, and of LpNormalization (ONNX Runtime 1.31, CPU).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array, squeeze_leading
from normfold.fuse.forms.writer import PASS, SMALL, NormContext, Writer, cost_plain, has_no_beta
from normfold.fuse.recognize.candidates import Norm
from normfold.fuse.recognize.polynomial import Kind
from normfold.fuse.recognize.views import count_of

_ORDER = {Kind.SQUARE: 2, Kind.MAGNITUDE: 1}
_SLOW_AXIS = 4.5 * PASS  # what LpNormalization loses along an axis that is not the last, where the target says so


def _scale(context: NormContext, norm: Norm) -> Array | None:
    """Return the factor of ``x / |x|`` in this norm; None where it varies with a size that is not known."""
    root = 1.0 / _ORDER[norm.denominator.kind]
    if norm.n_half_powers == -2 * root:
        return norm.gamma
    count = count_of([context.sizes[axis] for axis in context.axes or ()])
    return None if norm.n_half_powers or count is None else norm.gamma * float(count) ** root


def _is_length(norm: Norm) -> bool:
    is_plain = not norm.denominator.eps and not norm.denominator.outer_eps and norm.gamma_parameter is None
    return norm.denominator.kind in _ORDER and is_plain and has_no_beta(norm)


def _is_one(scale: Array | None) -> bool:
    return scale is not None and bool((np.abs(scale - 1) < 1e-12).all())


# -- LpNormalization ----------------------------------------------------------------------------------------------
def holds_lpnorm(context: NormContext, norm: Norm) -> bool:
    """Say whether LpNormalization computes this norm."""
    return (
        _is_length(norm)
        and not norm.denominator.lower_bound
        and context.axes is not None
        and len(context.axes) == 1
        and context.working_type(norm, "LpNormalization") is not None
        and _is_one(_scale(context, norm))
    )


def cost_lpnorm(context: NormContext, norm: Norm) -> float:
    """Return the cost: 1.7 times that of ReduceL2 and Div but along the last axis (ONNX Runtime 1.31, CPU)."""
    is_slow = context.target.slow_lengths and context.axes != (context.rank - 1,)
    return cost_plain("LpNormalization")(context, norm) + (_SLOW_AXIS if is_slow else 0.0)


def write_lpnorm(writer: Writer, norm: Norm) -> ir.Value:
    """Write one LpNormalization."""
    axes = writer.context.axes or ()
    attributes: dict[str, object] = {"axis": axes[0] - writer.context.rank, "p": _ORDER[norm.denominator.kind]}
    return writer.finish(writer.emit("LpNormalization", [writer.entry()], attributes))


# -- division by a length -----------------------------------------------------------------------------------------
def holds_length(context: NormContext, norm: Norm) -> bool:
    """Say whether it is a division by a length, which may be bounded from below."""
    types = context.types(norm)
    return (
        _is_length(norm)
        and not context.order
        and (norm.n_half_powers == 0 or not norm.denominator.lower_bound)
        and context.axes is not None
        and context.opset >= 8  # Max broadcasts
        and types is not None
        and types[0] is types[1]
        and types[0] in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
        and _scale(context, norm) is not None
    )


def cost_length(context: NormContext, norm: Norm) -> float:
    """Count the passes of ReduceL2, Max and Div."""
    scale = 0.0 if _is_one(_scale(context, norm)) else PASS
    bound = SMALL if norm.denominator.lower_bound else 0.0
    return context.reduction_cost(f"ReduceL{_ORDER[norm.denominator.kind]}") + bound + PASS + scale


def write_length(writer: Writer, norm: Norm) -> ir.Value:
    """Write ReduceL2 (ReduceL1), Max where it is bounded, Div, and a Mul where there is a scale."""
    context = writer.context
    types, scale = context.types(norm), _scale(context, norm)
    assert types is not None and scale is not None, "asked by holds()"
    dtype, order, root = types[0], _ORDER[norm.denominator.kind], context.region.root
    length = writer.reduce(f"ReduceL{order}", root, dtype)
    if norm.denominator.lower_bound:
        count = count_of([context.sizes[axis] for axis in context.axes or ()])
        bound = np.asarray(norm.denominator.lower_bound * float(count or 0) ** (1 / order))
        low = writer.editor.constant(bound, dtype, f"{writer.hint}_low")
        length = writer.emit("Max", [length, low], None, context.reduced, dtype)
    value = writer.emit("Div", [root, length], dtype=dtype)
    if _is_one(scale):
        return value
    factor = writer.editor.constant(squeeze_leading(scale), dtype, f"{writer.hint}_scale")
    return writer.emit("Mul", [value, factor], dtype=dtype)


def name_length(context: NormContext, norm: Norm) -> str:
    """Name the operators that are written."""
    bound = "-Max" if norm.denominator.lower_bound else ""
    return f"ReduceL{_ORDER[norm.denominator.kind]}{bound}-Div"
