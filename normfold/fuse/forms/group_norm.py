"""Forms over channels or groups of channels: InstanceNormalization, alone or between Reshapes, GroupNormalization."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array, compact
from normfold.fuse.forms.writer import (
    LAYOUT,
    PASS,
    NormContext,
    Writer,
    fits,
    has_constant_affine,
    has_no_beta,
    varies_within,
)
from normfold.fuse.recognize.candidates import Norm
from normfold.fuse.recognize.polynomial import Kind, Parameter
from normfold.fuse.recognize.views import Sizes, count_of

_LARGEST_RANK = 5  # of an input of InstanceNormalization that every runtime's kernel takes


def holds_instancenorm(context: NormContext, norm: Norm) -> bool:
    """Say whether InstanceNormalization computes this norm of the root as it is."""
    return (
        fits(norm, Kind.VARIANCE)
        and 3 <= context.rank <= _LARGEST_RANK
        and context.groups is not None
        and context.groups == context.sizes[1]
        and context.working_type(norm, "InstanceNormalization") is not None
        and varies_within(norm, (1,))
        and not _is_layernorm_rather(context, norm)
    )


def _is_layernorm_rather(context: NormContext, norm: Norm) -> bool:
    """Say whether it is [N, T, C] over C without an affine along T, which is called LayerNorm."""
    return context.rank == 3 and varies_within(norm, ()) and isinstance(context.sizes[2], int)


def write_instancenorm(writer: Writer, norm: Norm) -> ir.Value:
    """Write one InstanceNormalization."""
    scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "scale")
    bias = _per_channel(writer, norm.beta, norm.beta_parameter, "bias")
    value = writer.emit("InstanceNormalization", [writer.entry(), scale, bias], {"epsilon": norm.denominator.eps})
    return writer.finish(value)


def _per_channel(
    writer: Writer, array: Array, parameter: Parameter | None, hint: str, form: tuple[int, ...] = ()
) -> ir.Value:
    """Return one number a channel, as a vector or in another ``form``."""
    size = int(writer.context.sizes[1])
    form = form or (size,)
    whole = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (size,))).reshape(form)
    return writer.vector(whole, hint) if parameter is None else writer.parameter(parameter, form, whole)


def _holds_groups(context: NormContext, norm: Norm, operator: str) -> bool:
    return (
        fits(norm, Kind.VARIANCE)
        and context.groups is not None
        and isinstance(context.sizes[1], int)
        and context.working_type(norm, operator) is not None
        and varies_within(norm, (1,))
    )


def holds_groupnorm(context: NormContext, norm: Norm) -> bool:
    """Say whether GroupNormalization computes this norm."""
    is_static = not context.target.static_groupnorm or count_of(context.sizes[1:]) is not None
    return is_static and context.rank >= 3 and _holds_groups(context, norm, "GroupNormalization")


def write_groupnorm(writer: Writer, norm: Norm) -> ir.Value:
    """Write one GroupNormalization."""
    scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "scale")
    bias = _per_channel(writer, norm.beta, norm.beta_parameter, "bias")
    attributes: dict[str, object] = {"epsilon": norm.denominator.eps, "num_groups": writer.context.groups}
    return writer.finish(writer.emit("GroupNormalization", [writer.entry(), scale, bias], attributes))


def holds_reshaped(context: NormContext, norm: Norm) -> bool:
    """Say whether InstanceNormalization between Reshapes computes this norm."""
    is_instancenorm = context.rank >= 3 and context.groups == context.sizes[1]
    return not is_instancenorm and _holds_groups(context, norm, "InstanceNormalization")


def _group_affine(context: NormContext, norm: Norm) -> tuple[Array, Array] | None:
    """Return scale and shift as one number a group; None where they vary inside a group."""
    groups, channels = context.groups or 1, int(context.sizes[1])
    if not has_constant_affine(norm):
        return None
    result = []
    for array in (norm.gamma, norm.beta):
        whole = compact(np.broadcast_to(array.reshape(-1), (channels,)).reshape(groups, -1))
        if whole.shape[1] > 1:
            return None
        result.append(np.broadcast_to(whole.reshape(-1), (groups,)))
    return result[0], result[1]


def _affine_operators(context: NormContext, norm: Norm, dtype: ir.DataType | None) -> tuple[str, ...]:
    """Name the operators that write the scale and shift behind a GroupNorm's Reshape."""
    if _group_affine(context, norm) is not None:
        return ()
    if has_no_beta(norm):
        return ("Mul",)
    if norm.gamma_parameter is None and (norm.gamma == 1).all():
        return ("Add",)
    fast = dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    return ("BatchNormalization",) if context.target.batchnorm_affine and fast else ("Mul", "Add")


def cost_reshaped(context: NormContext, norm: Norm) -> float:
    """Count the passes of InstanceNormalization between Reshapes and of its affine."""
    dtype = context.working_type(norm, "InstanceNormalization")
    casts = context.casts(norm, dtype) if dtype else 0.0
    shape = 0.0 if _shape_back(context) else LAYOUT
    return PASS * (1 + len(_affine_operators(context, norm, dtype))) + 2 * LAYOUT + shape + casts


def _shape_back(context: NormContext) -> list[int] | None:
    """Return the target of the Reshape back to the root's shape; None where it is known only at run time."""
    unknown = [axis for axis, size in enumerate(context.sizes) if axis and not isinstance(size, int)]
    if len(unknown) > 1:
        return None
    return [0, *(size if isinstance(size, int) else -1 for size in context.sizes[1:])]


def write_reshaped(writer: Writer, norm: Norm) -> ir.Value:
    """Write Reshape, InstanceNormalization, Reshape, and one operator for scale and shift."""
    context = writer.context
    groups = context.groups or 1
    own = _group_affine(context, norm)
    scale, bias = own if own is not None else (np.ones(groups), np.zeros(groups))
    entry = writer.entry()
    length = count_of(context.sizes[1:])
    view: Sizes = (context.sizes[0], groups, "?" if length is None else length // groups)
    value = writer.emit("Reshape", [entry, writer.integers([0, groups, -1], "groups")], shape=view)
    inputs: list[ir.Value | None] = [value, writer.vector(scale, "scale"), writer.vector(bias, "bias")]
    value = writer.emit("InstanceNormalization", inputs, {"epsilon": norm.denominator.eps}, shape=view)
    back = _shape_back(context)
    if back is None:
        shape = writer.emit("Shape", [entry], shape=(context.rank,), dtype=ir.DataType.INT64)
    else:
        shape = writer.integers(back, "shape")
    value = writer.emit("Reshape", [value, shape])
    return writer.finish(_write_affine(writer, norm, value))


def _write_affine(writer: Writer, norm: Norm, value: ir.Value) -> ir.Value:
    size = int(writer.context.sizes[1])
    form = (size, *(1,) * (writer.context.rank - 2))
    for operator in _affine_operators(writer.context, norm, writer.dtype):
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


def name_reshaped(context: NormContext, norm: Norm) -> str:
    """Name the operators that are written."""
    affine = _affine_operators(context, norm, context.working_type(norm, "InstanceNormalization"))
    return "-".join(("Reshape", "InstanceNormalization", "Reshape", *affine))
