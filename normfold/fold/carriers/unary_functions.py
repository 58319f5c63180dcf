"""Carriers that are functions of one number: powers, Exp and Log, which turn a shift into a scale, odd functions.

What they cost in digits is bounded: ``exp(x + t)`` rounds its argument, ``log(x) + log(s)`` a sum.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason
from normfold.fold.rule import (
    Labels,
    Propagation,
    data_label,
    how_many,
    one_scale,
    propagate,
    require,
    require_attributes_fit,
    require_no_shift,
)
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute

_ALPHA_OF_QUICK_GELU = 1.702

_EXPONENTS = {"Sqrt": 0.5, "Reciprocal": -1.0}

_LARGEST_EXPONENT = 8.0  # of what becomes a factor: beyond it float32 would lose more than three bits
_WIDE = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


def exponential(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """exp(x + t) = e^t * exp(x); backward s * exp(x) = exp(x + log(s)) for s > 0.

    Forward t >= 0 only: exp(x) may not overflow where exp(x + t) did not.
    """
    affine = data_label(node, labels)
    if forward:
        require(affine.has_no_scale, Reason.OPERATOR_STOPS, node, "Exp passes a shift only")
        require(bool((affine.shift >= 0).all()), Reason.SHIFT_STOPS, node, "without its shift it overflows earlier")
        return propagate(_of_scale(np.exp(_well_scaled(reader, node, affine.shift))))
    require_no_shift(affine, node)
    return propagate(_of_shift(_well_scaled(reader, node, _logarithm(node, affine.scale))))


def logarithm(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """log(s*x) = log(x) + log(s) for s > 0; backward log(x) + t = log(e^t * x).

    Backward t >= 0 only: e^t * x may not vanish where x did not.
    """
    affine = data_label(node, labels)
    if forward:
        require_no_shift(affine, node)
        return propagate(_of_shift(_well_scaled(reader, node, _logarithm(node, affine.scale))))
    require(affine.has_no_scale, Reason.OPERATOR_STOPS, node, "Log gives a shift only")
    require(bool((affine.shift >= 0).all()), Reason.SHIFT_STOPS, node, "its argument would vanish earlier")
    return propagate(_of_scale(np.exp(_well_scaled(reader, node, affine.shift))))


def _logarithm(node: ir.Node, scale: Array) -> Array:
    require(bool((scale > 0).all()), Reason.SIGN_STOPS, node, f"{node.op_type} passes positive scales only")
    return np.asarray(np.log(scale))


def _well_scaled(reader: GraphReader, node: ir.Node, exponent: Array) -> Array:
    """Exponents that neither cost digits nor leave the range of the type."""
    largest = float(np.abs(exponent).max(initial=0.0))
    small = largest <= _LARGEST_EXPONENT and reader.dtype(node.outputs[0]) in _WIDE
    require(small, Reason.OPERATOR_STOPS, node, f"a factor of e^{largest:.3g} would cost digits of its type")
    return exponent


def _of_scale(scale: Array) -> Affine:
    return Affine.of(scale, 0.0, scale.ndim)


def _of_shift(shift: Array) -> Affine:
    return Affine.of(1.0, shift, shift.ndim)


def odd(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """f(-x) = -f(x): Tanh, Erf, Sin and others like them pass a sign, which may vary by channel."""
    affine = data_label(node, labels)
    signs = affine.has_no_shift and bool((np.abs(affine.scale) == 1).all())
    require(signs, Reason.OPERATOR_STOPS, node)
    return propagate(affine)


def even(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """f(-x) = f(x): Cos and Cosh do not see a sign."""
    odd(reader, node, labels)
    return [Propagation()]


def power(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """(s*x)^p = s^p * x^p for s > 0; backward s * x^p = (s^(1/p) * x)^p."""
    affine = data_label(node, labels)
    exponent = _EXPONENTS.get(node.op_type) or _exponent(reader, node)
    return propagate(raised_to(node, affine, exponent if forward else 1.0 / exponent))


def raised_to(node: ir.Node, affine: Affine, exponent: float) -> Affine:
    """Raise a scale to a power: positive, or of any sign but 0 where the exponent is 1 or -1."""
    require_no_shift(affine, node)
    signed = exponent in (1.0, -1.0)
    allowed = bool(affine.scale.all()) if signed else bool((affine.scale > 0).all())
    stops = how_many(affine.scale == 0 if signed else affine.scale <= 0)
    require(allowed, Reason.SIGN_STOPS, node, f"a power of {exponent:g} does not pass {stops} scales")
    return Affine(affine.scale**exponent, affine.shift)


def _exponent(reader: GraphReader, node: ir.Node) -> float:
    exponent = reader.require_constant(node, 1, Reason.OPERATOR_STOPS)
    require(exponent.size == 1, Reason.OPERATOR_STOPS, node, "it has several exponents")
    grows = exponent.ndim > 0 and exponent.ndim > len(reader.require_shape(node.inputs[0], node))
    require(not grows, Reason.OPERATOR_STOPS, node, "its exponent has more dimensions")
    number = float(exponent.reshape(()))
    require(number != 0, Reason.OPERATOR_STOPS, node, "its exponent is 0")
    return number


def quick_gelu(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """Pass one s: x*sigmoid(a*x) of s*x is s * (x*sigmoid(s*a*x)), so that alpha takes it in as well."""
    affine = data_label(node, labels)
    scale = one_scale(affine, node, "its alpha")
    require(scale != 0, Reason.SIGN_STOPS, node, "the scale is 0")
    own = float(attribute(node, "alpha", _ALPHA_OF_QUICK_GELU))
    changed = {"alpha": own * scale if forward else own / scale}
    require_attributes_fit(reader, node, changed)
    return [Propagation({0: affine}, Rewrite(node, attributes=changed))]
