"""Forms over any axes: LayerNormalization, RMSNormalization and its spelling, and the MVN operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.fuse.forms.writer import (
    PASS,
    SMALL,
    Form,
    Place,
    Writer,
    fits,
    has_constant_affine,
    has_no_beta,
    static_sizes,
    varies_within,
)
from normfold.fuse.recognize.candidates import Norm
from normfold.fuse.recognize.norm_operators import MVN_EPSILON
from normfold.fuse.recognize.polynomial import Kind, Parameter
from normfold.fuse.recognize.views import count_of
from normfold.graph.editor import trimmed

_LARGE_SCALE = 1 << 14  # elements


# -- over the last axes: LayerNormalization, RMSNormalization -----------------------------------------------------
def _holds_over_axes(place: Place, norm: Norm, operator: str) -> bool:
    axes = place.axes
    return (
        axes is not None
        and place.working_type(norm, operator) is not None
        and static_sizes(place, axes) is not None
        and varies_within(norm, axes)
    )


def holds_layernorm(place: Place, norm: Norm) -> bool:
    return fits(norm, Kind.VARIANCE) and _holds_over_axes(place, norm, "LayerNormalization")


def holds_rmsnorm(place: Place, norm: Norm) -> bool:
    """A length without epsilon is two operators, which Transposes are no gain for."""
    is_cheap = _permutation(place) is not None and not norm.spread.eps
    is_fit = fits(norm, Kind.SQUARE) and has_no_beta(norm) and not is_cheap
    return is_fit and _holds_over_axes(place, norm, "RMSNormalization")


def _permutation(place: Place) -> list[int] | None:
    """How to bring the norm's axes to the end; None where they are there."""
    axes = place.axes or ()
    if axes == tuple(range(place.rank - len(axes), place.rank)):
        return None
    return [axis for axis in range(place.rank) if axis not in axes] + list(axes)


def cost_over_axes(operator: str) -> Callable[[Place, Norm], float]:
    def cost(place: Place, norm: Norm) -> float:
        dtype = place.working_type(norm, operator)
        assert dtype is not None, "asked by holds()"
        spread_out = 2 if _is_spread_out(place, norm) else 0
        return PASS * ((1 if _permutation(place) is None else 3) + spread_out) + place.casts(norm, dtype)

    return cost


def _is_spread_out(place: Place, norm: Norm) -> bool:
    """Whether a per-channel scale would have to be repeated for every position, to be a weight much larger."""
    count = count_of([place.sizes[axis] for axis in place.axes or ()]) or 0
    own = max(norm.gamma.size, norm.beta.size)
    return count > _LARGE_SCALE and 1 < own <= count // 4


def write_over_axes(operator: str) -> Callable[[Writer, Norm], ir.Value]:
    def write(writer: Writer, norm: Norm) -> ir.Value:
        place = writer.place
        axes, order = place.axes or (), _permutation(place)
        sizes = tuple(int(place.sizes[axis]) for axis in axes)
        value = writer.entry()
        shape = place.sizes if order is None else tuple(place.sizes[axis] for axis in order)
        if order is not None:
            value = writer.emit("Transpose", [value], {"perm": order}, shape=shape)
        scale = _operand(writer, norm.gamma, norm.gamma_parameter, place, "scale")
        inputs: list[ir.Value | None] = [value, scale]
        if not has_no_beta(norm):
            inputs.append(_operand(writer, norm.beta, norm.beta_parameter, place, "bias"))
        attributes: dict[str, object] = {"axis": -len(sizes), "epsilon": norm.spread.eps}
        value = writer.emit(operator, inputs, attributes, shape=shape)
        if order is not None:
            back = [int(axis) for axis in np.argsort(order)]
            value = writer.emit("Transpose", [value], {"perm": back})
        return writer.finish(value)

    return write


def _operand(writer: Writer, array: Array, parameter: Parameter | None, place: Place, hint: str) -> ir.Value:
    """Scale or bias with exactly the shape of the axes: one that broadcasts runs at half speed."""
    axes = place.axes or ()
    sizes = tuple(int(place.sizes[axis]) for axis in axes)
    own = array.reshape([array.shape[axis] for axis in axes])
    if parameter is not None:
        return writer.parameter(parameter, sizes, own)
    return writer.vector(np.ascontiguousarray(np.broadcast_to(own, sizes)), hint)


def name_over_axes(operator: str) -> Callable[[Place, Norm], str]:
    return lambda place, norm: operator if _permutation(place) is None else f"Transpose-{operator}-Transpose"


# -- RMSNorm below opset 23 ---------------------------------------------------------------------------------------
def holds_division(place: Place, norm: Norm) -> bool:
    types = place.types(norm)
    return (
        place.target.rmsnorm_below_23
        and (place.opset < 23 or not place.target.operators.get("RMSNormalization"))
        and fits(norm, Kind.SQUARE)
        and has_no_beta(norm)
        and norm.gamma_parameter is None
        and place.axes is not None
        and types is not None
        and _permutation(place) is None
    )


def _division_type(place: Place, norm: Norm) -> ir.DataType:
    """float16 squares overflow, so the spelling computes in float."""
    types = place.types(norm)
    assert types is not None, "asked by holds()"
    return ir.DataType.DOUBLE if ir.DataType.DOUBLE in types else ir.DataType.FLOAT


def cost_division(place: Place, norm: Norm) -> float:
    has_eps, has_gamma = norm.spread.eps != 0, not (norm.gamma == 1).all()
    casts = place.casts(norm, _division_type(place, norm))
    return PASS * (3 + has_gamma) + SMALL * (1 + has_eps) + casts


def spelling_division(place: Place, norm: Norm) -> tuple[str, ...]:
    """The operators that are written, for a comparison with those that are there."""
    dtype, types = _division_type(place, norm), place.types(norm) or ()
    casts = ("Cast",) * sum(kind is not dtype for kind in types)
    add = ("Add",) if norm.spread.eps else ()
    scale = () if (norm.gamma == 1).all() else ("Mul",)
    return ("Pow", "ReduceMean", *add, "Sqrt", "Div", *scale, *casts)


def write_division(writer: Writer, norm: Norm) -> ir.Value:
    """Pow, ReduceMean, Add, Sqrt, Div, Mul: what ONNX Runtime fuses."""
    place = writer.place
    dtype, types = _division_type(place, norm), place.types(norm)
    assert types is not None, "asked by holds()"
    value = place.region.root
    if types[0] is not dtype:
        value = writer.emit("Cast", [value], {"to": int(dtype)}, dtype=dtype)
    reduced = place.reduced
    number = writer.editor.constant(np.asarray(2.0), dtype, f"{writer.hint}_two")
    square = writer.emit("Pow", [value, number], dtype=dtype)
    mean = writer.reduce("ReduceMean", square, dtype)
    if norm.spread.eps:
        epsilon = writer.editor.constant(np.asarray(norm.spread.eps), dtype, f"{writer.hint}_epsilon")
        mean = writer.emit("Add", [mean, epsilon], None, reduced, dtype)
    root = writer.emit("Sqrt", [mean], None, reduced, dtype)
    value = writer.emit("Div", [value, root], dtype=dtype)
    if not (norm.gamma == 1).all():
        gamma = writer.editor.constant(trimmed(norm.gamma), dtype, f"{writer.hint}_scale")
        value = writer.emit("Mul", [value, gamma], dtype=dtype)
    if types[1] is not dtype:
        value = writer.emit("Cast", [value], {"to": int(types[1])}, dtype=types[1])
    return value


# -- MeanVarianceNormalization ------------------------------------------------------------------------------------
def holds_mvn(place: Place, norm: Norm) -> bool:
    return (
        norm.is_centred
        and not norm.spread.eps
        and not norm.spread.floor
        and abs(norm.spread.outer - MVN_EPSILON) < 1e-3 * MVN_EPSILON
        and norm.n2 == 0
        and place.axes is not None
        and has_constant_affine(norm)
        and not norm.beta.any()
        and bool((norm.gamma == 1).all())
        and place.working_type(norm, "MeanVarianceNormalization") is not None
    )


def write_mvn(writer: Writer, norm: Norm) -> ir.Value:
    axes = list(writer.place.axes or ())
    return writer.finish(writer.emit("MeanVarianceNormalization", [writer.entry()], {"axes": axes}))


def gives_statistics(place: Place, form: Form, norm: Norm) -> bool:
    """Whether the form can give its mean and inverse deviation too, which are always float32."""
    is_plain = form.operator == "LayerNormalization" and _permutation(place) is None and not place.order
    return is_plain and place.working_type(norm, form.operator) is ir.DataType.FLOAT
