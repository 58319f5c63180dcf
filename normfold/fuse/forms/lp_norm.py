"""Forms that divide by a length: LpNormalization, and its spelling where the length is bounded from below.

``x / max(|x|, c)`` is no LpNormalization: below the bound it is ``x / c``, where the operator gives a vector of length
1 (https://onnx.ai/onnx/operators/onnx__LpNormalization.html). So it stays ReduceL2, Max and Div, and nothing more.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.fuse.forms.writer import PASS, SMALL, Place, Writer, cost_plain, has_no_beta
from normfold.fuse.recognize.candidates import Norm
from normfold.fuse.recognize.polynomial import Kind
from normfold.fuse.recognize.views import count_of
from normfold.graph.editor import trimmed

_ORDER = {Kind.SQUARE: 2, Kind.MAGNITUDE: 1}
_SLOW_AXIS = 4.5 * PASS  # what LpNormalization loses along an axis that is not the last, where the target says so


def _scale(place: Place, norm: Norm) -> Array | None:
    """The norm is this times ``x / |x|``; None where it varies with a size that is not known."""
    root = 1.0 / _ORDER[norm.spread.kind]
    if norm.n2 == -2 * root:
        return norm.gamma
    count = count_of([place.sizes[axis] for axis in place.axes or ()])
    return None if norm.n2 or count is None else norm.gamma * float(count) ** root


def _is_length(norm: Norm) -> bool:
    is_plain = not norm.spread.eps and not norm.spread.outer and norm.gamma_parameter is None
    return norm.spread.kind in _ORDER and is_plain and has_no_beta(norm)


def _is_one(scale: Array | None) -> bool:
    return scale is not None and bool((np.abs(scale - 1) < 1e-12).all())


# -- LpNormalization ----------------------------------------------------------------------------------------------
def holds_lpnorm(place: Place, norm: Norm) -> bool:
    return (
        _is_length(norm)
        and not norm.spread.floor
        and place.axes is not None
        and len(place.axes) == 1
        and place.working_type(norm, "LpNormalization") is not None
        and _is_one(_scale(place, norm))
    )


def cost_lpnorm(place: Place, norm: Norm) -> float:
    """Along any axis but the last its kernel takes 1.7 times as long as ReduceL2 and Div (ONNX Runtime 1.31, CPU)."""
    is_slow = place.target.slow_lengths and place.axes != (place.rank - 1,)
    return cost_plain("LpNormalization")(place, norm) + (_SLOW_AXIS if is_slow else 0.0)


def write_lpnorm(writer: Writer, norm: Norm) -> ir.Value:
    axes = writer.place.axes or ()
    attributes: dict[str, object] = {"axis": axes[0] - writer.place.rank, "p": _ORDER[norm.spread.kind]}
    return writer.finish(writer.emit("LpNormalization", [writer.entry()], attributes))


# -- bounded from below -------------------------------------------------------------------------------------------
def holds_bounded(place: Place, norm: Norm) -> bool:
    types = place.types(norm)
    return (
        _is_length(norm)
        and norm.spread.floor > 0
        and norm.n2 == 0
        and place.axes is not None
        and place.opset >= 8  # Max broadcasts
        and types is not None
        and types[0] is types[1]
        and types[0] in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
        and _scale(place, norm) is not None
    )


def cost_bounded(place: Place, norm: Norm) -> float:
    scale = 0.0 if _is_one(_scale(place, norm)) else PASS
    return place.reduction(f"ReduceL{_ORDER[norm.spread.kind]}") + SMALL + PASS + scale


def write_bounded(writer: Writer, norm: Norm) -> ir.Value:
    """ReduceL2 (ReduceL1), Max, Div, and a Mul where there is a scale."""
    place = writer.place
    types, scale = place.types(norm), _scale(place, norm)
    count = count_of([place.sizes[axis] for axis in place.axes or ()])
    assert types is not None and scale is not None and count is not None, "asked by holds()"
    dtype, order, root = types[0], _ORDER[norm.spread.kind], place.region.root
    length = writer.reduce(f"ReduceL{order}", root, dtype)
    low = writer.editor.constant(
        np.asarray(norm.spread.floor * float(count) ** (1 / order)), dtype, f"{writer.hint}_low"
    )
    length = writer.emit("Max", [length, low], None, place.reduced, dtype)
    value = writer.emit("Div", [root, length], dtype=dtype)
    if _is_one(scale):
        return value
    factor = writer.editor.constant(trimmed(scale), dtype, f"{writer.hint}_scale")
    return writer.emit("Mul", [value, factor], dtype=dtype)


def name_bounded(place: Place, norm: Norm) -> str:
    return f"ReduceL{_ORDER[norm.spread.kind]}-Max-Div"
