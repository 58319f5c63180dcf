"""Forms over channels or groups of channels: InstanceNormalization, alone or between Reshapes, GroupNormalization."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array, compact
from normfold.fuse.forms.writer import (
    LAYOUT,
    PASS,
    Place,
    Writer,
    fits,
    has_constant_affine,
    has_no_beta,
    varies_within,
)
from normfold.fuse.recognize.candidates import Norm
from normfold.fuse.recognize.polynomial import Kind, Parameter
from normfold.fuse.recognize.views import Sizes, count_of


def holds_instancenorm(place: Place, norm: Norm) -> bool:
    return (
        fits(norm, Kind.VARIANCE)
        and 3 <= place.rank <= place.target.instancenorm_rank
        and place.groups is not None
        and place.groups == place.sizes[1]
        and place.working_type(norm, "InstanceNormalization") is not None
        and varies_within(norm, (1,))
        and not _is_layernorm_rather(place, norm)
    )


def _is_layernorm_rather(place: Place, norm: Norm) -> bool:
    """[N, T, C] over C without an affine along T: what is called LayerNorm."""
    return place.rank == 3 and varies_within(norm, ()) and isinstance(place.sizes[2], int)


def write_instancenorm(writer: Writer, norm: Norm) -> ir.Value:
    scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "scale")
    bias = _per_channel(writer, norm.beta, norm.beta_parameter, "bias")
    value = writer.emit("InstanceNormalization", [writer.entry(), scale, bias], {"epsilon": norm.spread.eps})
    return writer.finish(value)


def _per_channel(
    writer: Writer, array: Array, parameter: Parameter | None, hint: str, form: tuple[int, ...] = ()
) -> ir.Value:
    """One number a channel, as a vector or in another ``form``."""
    size = int(writer.place.sizes[1])
    form = form or (size,)
    whole = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (size,))).reshape(form)
    return writer.vector(whole, hint) if parameter is None else writer.parameter(parameter, form, whole)


def _holds_groups(place: Place, norm: Norm, operator: str) -> bool:
    return (
        fits(norm, Kind.VARIANCE)
        and place.groups is not None
        and isinstance(place.sizes[1], int)
        and place.working_type(norm, operator) is not None
        and varies_within(norm, (1,))
    )


def holds_groupnorm(place: Place, norm: Norm) -> bool:
    is_static = not place.target.static_groupnorm or count_of(place.sizes[1:]) is not None
    return is_static and place.rank >= 3 and _holds_groups(place, norm, "GroupNormalization")


def write_groupnorm(writer: Writer, norm: Norm) -> ir.Value:
    scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "scale")
    bias = _per_channel(writer, norm.beta, norm.beta_parameter, "bias")
    attributes: dict[str, object] = {"epsilon": norm.spread.eps, "num_groups": writer.place.groups}
    return writer.finish(writer.emit("GroupNormalization", [writer.entry(), scale, bias], attributes))


def holds_reshaped(place: Place, norm: Norm) -> bool:
    is_instancenorm = place.rank >= 3 and place.groups == place.sizes[1]
    return not is_instancenorm and _holds_groups(place, norm, "InstanceNormalization")


def _group_affine(place: Place, norm: Norm) -> tuple[Array, Array] | None:
    """Scale and shift as vectors of one number a group; None where they vary inside a group."""
    groups, channels = place.groups or 1, int(place.sizes[1])
    if not has_constant_affine(norm):
        return None
    result = []
    for array in (norm.gamma, norm.beta):
        whole = compact(np.broadcast_to(array.reshape(-1), (channels,)).reshape(groups, -1))
        if whole.shape[1] > 1:
            return None
        result.append(np.broadcast_to(whole.reshape(-1), (groups,)))
    return result[0], result[1]


def _affine_operators(place: Place, norm: Norm, dtype: ir.DataType | None) -> tuple[str, ...]:
    """What writes the scale and shift behind a GroupNorm's Reshape."""
    if _group_affine(place, norm) is not None:
        return ()
    if has_no_beta(norm):
        return ("Mul",)
    if norm.gamma_parameter is None and (norm.gamma == 1).all():
        return ("Add",)
    fast = dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    return ("BatchNormalization",) if place.target.batchnorm_affine and fast else ("Mul", "Add")


def cost_reshaped(place: Place, norm: Norm) -> float:
    dtype = place.working_type(norm, "InstanceNormalization")
    casts = place.casts(norm, dtype) if dtype else 0.0
    shape = 0.0 if _shape_back(place) else LAYOUT
    return PASS * (1 + len(_affine_operators(place, norm, dtype))) + 2 * LAYOUT + shape + casts


def _shape_back(place: Place) -> list[int] | None:
    """The target of the Reshape back to the root's shape; None where it is known only at run time."""
    unknown = [axis for axis, size in enumerate(place.sizes) if axis and not isinstance(size, int)]
    if len(unknown) > 1:
        return None
    return [0, *(size if isinstance(size, int) else -1 for size in place.sizes[1:])]


def write_reshaped(writer: Writer, norm: Norm) -> ir.Value:
    """Reshape, InstanceNormalization, Reshape, and one operator for scale and shift."""
    place = writer.place
    groups = place.groups or 1
    own = _group_affine(place, norm)
    scale, bias = own if own is not None else (np.ones(groups), np.zeros(groups))
    entry = writer.entry()
    length = count_of(place.sizes[1:])
    view: Sizes = (place.sizes[0], groups, "?" if length is None else length // groups)
    value = writer.emit("Reshape", [entry, writer.integers([0, groups, -1], "groups")], shape=view)
    inputs: list[ir.Value | None] = [value, writer.vector(scale, "scale"), writer.vector(bias, "bias")]
    value = writer.emit("InstanceNormalization", inputs, {"epsilon": norm.spread.eps}, shape=view)
    back = _shape_back(place)
    if back is None:
        shape = writer.emit("Shape", [entry], shape=(place.rank,), dtype=ir.DataType.INT64)
    else:
        shape = writer.integers(back, "shape")
    value = writer.emit("Reshape", [value, shape])
    return writer.finish(_write_affine(writer, norm, value))


def _write_affine(writer: Writer, norm: Norm, value: ir.Value) -> ir.Value:
    size = int(writer.place.sizes[1])
    form = (size, *(1,) * (writer.place.rank - 2))
    for operator in _affine_operators(writer.place, norm, writer.dtype):
        if operator == "BatchNormalization":
            scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "gamma")
            shift = _per_channel(writer, norm.beta, norm.beta_parameter, "beta")
            mean, variance = writer.vector(np.zeros(size), "mean"), writer.vector(np.ones(size), "var")
            value = writer.emit(operator, [value, scale, shift, mean, variance], {"epsilon": 0.0})
        elif operator == "Mul":
            value = writer.emit(
                operator, [value, _per_channel(writer, norm.gamma, norm.gamma_parameter, "gamma", form)]
            )
        else:
            value = writer.emit(operator, [value, _per_channel(writer, norm.beta, norm.beta_parameter, "beta", form)])
    return value


def name_reshaped(place: Place, norm: Norm) -> str:
    affine = _affine_operators(place, norm, place.working_type(norm, "InstanceNormalization"))
    return "-".join(("Reshape", "InstanceNormalization", "Reshape", *affine))
