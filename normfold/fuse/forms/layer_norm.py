"""Forms over any axes: LayerNormalization, RMSNormalization and its decomposition, and the MVN operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array, squeeze_leading
from normfold.fuse.forms.writer import (
    PASS,
    SMALL,
    Form,
    NormContext,
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

_LARGE_SCALE = 1 << 14  # elements
_ITEM_BYTES = 4  # of float32, in which most norms compute


# -- over the last axes: LayerNormalization, RMSNormalization -----------------------------------------------------
def _holds_over_axes(context: NormContext, norm: Norm, operator: str) -> bool:
    axes = context.axes
    return (
        axes is not None
        and context.working_type(norm, operator) is not None
        and static_sizes(context, axes) is not None
        and varies_within(norm, axes)
        and grown_bytes(context, norm) <= context.spare
    )


def grown_bytes(context: NormContext, norm: Norm) -> int:
    """Return the bytes by which constant scale and bias grow, written with exactly the shape of the axes."""
    count = count_of([context.sizes[axis] for axis in context.axes or ()]) or 0
    new = 0 if norm.gamma_parameter is not None else count - norm.gamma.size
    if norm.beta_parameter is None and not has_no_beta(norm):
        new += count - norm.beta.size
    return new * _ITEM_BYTES


def holds_layernorm(context: NormContext, norm: Norm) -> bool:
    """Say whether LayerNormalization computes this norm, if need be between Transposes."""
    return fits(norm, Kind.VARIANCE) and _holds_over_axes(context, norm, "LayerNormalization")


def holds_rmsnorm(context: NormContext, norm: Norm) -> bool:
    """Say whether RMSNormalization does; a length without epsilon is two operators, no gain behind Transposes."""
    is_cheap = _permutation(context) is not None and not norm.denominator.eps
    is_fit = fits(norm, Kind.SQUARE) and has_no_beta(norm) and not is_cheap and not holds_division(context, norm)
    return is_fit and _holds_over_axes(context, norm, "RMSNormalization")


def _permutation(context: NormContext) -> list[int] | None:
    """Return the order that brings the norm's axes to the end; None where they are there."""
    axes = context.axes or ()
    if axes == tuple(range(context.rank - len(axes), context.rank)):
        return None
    return [axis for axis in range(context.rank) if axis not in axes] + list(axes)


def cost_over_axes(operator: str) -> Callable[[NormContext, Norm], float]:
    """Return the cost of ``operator``, with the Transposes that it needs."""

    def cost(context: NormContext, norm: Norm) -> float:
        """Count the passes."""
        dtype = context.working_type(norm, operator)
        assert dtype is not None, "asked by holds()"
        spread_out = 2 if _is_spread_out(context, norm) else 0
        return PASS * ((1 if _permutation(context) is None else 3) + spread_out) + context.casts(norm, dtype)

    return cost


def _is_spread_out(context: NormContext, norm: Norm) -> bool:
    """Say whether a per-channel scale would have to be repeated for every position, as a much larger weight."""
    count = count_of([context.sizes[axis] for axis in context.axes or ()]) or 0
    own = max(norm.gamma.size, norm.beta.size)
    return count > _LARGE_SCALE and 1 < own <= count // 4


def write_over_axes(operator: str) -> Callable[[Writer, Norm], ir.Value]:
    """Return the function that writes ``operator``, if need be between Transposes."""

    def write(writer: Writer, norm: Norm) -> ir.Value:
        """Write the operator."""
        context = writer.context
        axes, order = context.axes or (), _permutation(context)
        sizes = tuple(int(context.sizes[axis]) for axis in axes)
        value = writer.entry()
        shape = context.sizes if order is None else tuple(context.sizes[axis] for axis in order)
        if order is not None:
            value = writer.emit("Transpose", [value], {"perm": order}, shape=shape)
        scale = _operand(writer, norm.gamma, norm.gamma_parameter, context, "scale")
        inputs: list[ir.Value | None] = [value, scale]
        if not has_no_beta(norm):
            inputs.append(_operand(writer, norm.beta, norm.beta_parameter, context, "bias"))
        attributes: dict[str, object] = {"axis": -len(sizes), "epsilon": norm.denominator.eps}
        value = writer.emit(operator, inputs, attributes, shape=shape)
        if order is not None:
            back = [int(axis) for axis in np.argsort(order)]
            value = writer.emit("Transpose", [value], {"perm": back})
        return writer.finish(value)

    return write


def _operand(writer: Writer, array: Array, parameter: Parameter | None, context: NormContext, hint: str) -> ir.Value:
    """Return scale or bias with exactly the shape of the axes: one that broadcasts runs at half speed."""
    axes = context.axes or ()
    sizes = tuple(int(context.sizes[axis]) for axis in axes)
    own = array.reshape([array.shape[axis] for axis in axes])
    if parameter is not None:
        return writer.parameter(parameter, sizes, own)
    return writer.vector(np.ascontiguousarray(np.broadcast_to(own, sizes)), hint)


def name_over_axes(operator: str) -> Callable[[NormContext, Norm], str]:
    """Return the function that names what is written."""
    return lambda context, norm: operator if _permutation(context) is None else f"Transpose-{operator}-Transpose"


# -- RMSNorm below opset 23 ---------------------------------------------------------------------------------------
def holds_division(context: NormContext, norm: Norm) -> bool:
    """Say whether an RMSNorm may be written as a division by the root, for runtimes that fuse that."""
    types, target = context.types(norm), context.target
    is_spelled = context.opset < 23 or target.spells_rmsnorm or not target.operators.get("RMSNormalization")
    return (
        target.rmsnorm_below_23
        and is_spelled
        and fits(norm, Kind.SQUARE)
        and has_no_beta(norm)
        and norm.gamma_parameter is None
        and context.axes is not None
        and types is not None
        and _permutation(context) is None
        and not context.order
    )


def _division_type(context: NormContext, norm: Norm) -> ir.DataType:
    """Return the type that the decomposition computes in: float16 squares overflow, so float at least."""
    types = context.types(norm)
    assert types is not None, "asked by holds()"
    return ir.DataType.DOUBLE if ir.DataType.DOUBLE in types else ir.DataType.FLOAT


def cost_division(context: NormContext, norm: Norm) -> float:
    """Count the passes of the division form."""
    has_eps, has_gamma = norm.denominator.eps != 0, not (norm.gamma == 1).all()
    casts = context.casts(norm, _division_type(context, norm))
    return PASS * (3 + has_gamma) + SMALL * (1 + has_eps) + casts


def decomposition_division(context: NormContext, norm: Norm) -> tuple[str, ...]:
    """List the operators that are written, for a comparison with those that are there."""
    dtype, types = _division_type(context, norm), context.types(norm) or ()
    casts = ("Cast",) * sum(kind is not dtype for kind in types)
    add = ("Add",) if norm.denominator.eps else ()
    scale = () if (norm.gamma == 1).all() else ("Mul",)
    return ("Pow", "ReduceMean", *add, "Sqrt", "Div", *scale, *casts)


def write_division(writer: Writer, norm: Norm) -> ir.Value:
    """Write Pow, ReduceMean, Add, Sqrt, Div, Mul: what ONNX Runtime fuses."""
    context = writer.context
    dtype, types = _division_type(context, norm), context.types(norm)
    assert types is not None, "asked by holds()"
    value = context.region.root
    if types[0] is not dtype:
        value = writer.emit("Cast", [value], {"to": int(dtype)}, dtype=dtype)
    reduced = context.reduced
    number = writer.editor.constant(np.asarray(2.0), dtype, f"{writer.hint}_two")
    square = writer.emit("Pow", [value, number], dtype=dtype)
    mean = writer.reduce("ReduceMean", square, dtype)
    if norm.denominator.eps:
        epsilon = writer.editor.constant(np.asarray(norm.denominator.eps), dtype, f"{writer.hint}_epsilon")
        mean = writer.emit("Add", [mean, epsilon], None, reduced, dtype)
    root = writer.emit("Sqrt", [mean], None, reduced, dtype)
    value = writer.emit("Div", [value, root], dtype=dtype)
    if not (norm.gamma == 1).all():
        gamma = writer.editor.constant(squeeze_leading(norm.gamma), dtype, f"{writer.hint}_scale")
        value = writer.emit("Mul", [value, gamma], dtype=dtype)
    if types[1] is not dtype:
        value = writer.emit("Cast", [value], {"to": int(types[1])}, dtype=types[1])
    return value


# -- MeanVarianceNormalization ------------------------------------------------------------------------------------
def holds_mvn(context: NormContext, norm: Norm) -> bool:
    """Say whether MeanVarianceNormalization computes this norm; its epsilon is outside the root."""
    return (
        norm.is_centred
        and not norm.denominator.eps
        and not norm.denominator.lower_bound
        and abs(norm.denominator.outer_eps - MVN_EPSILON) < 1e-3 * MVN_EPSILON
        and norm.n_half_powers == 0
        and context.axes is not None
        and has_constant_affine(norm)
        and not norm.beta.any()
        and bool((norm.gamma == 1).all())
        and context.working_type(norm, "MeanVarianceNormalization") is not None
    )


def write_mvn(writer: Writer, norm: Norm) -> ir.Value:
    """Write one MeanVarianceNormalization."""
    axes = list(writer.context.axes or ())
    return writer.finish(writer.emit("MeanVarianceNormalization", [writer.entry()], {"axes": axes}))


def gives_statistics(context: NormContext, form: Form, norm: Norm) -> bool:
    """Say whether the form can give its mean and inverse deviation too, which are always float32."""
    is_plain = form.operator == "LayerNormalization" and _permutation(context) is None and not context.order
    return is_plain and context.working_type(norm, form.operator) is ir.DataType.FLOAT
