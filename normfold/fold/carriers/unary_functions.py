"""Carriers that are functions of one number: Exp and Log turn a shift into a scale and back, odd ones keep a sign.

What they cost in digits is bounded: ``exp(x + t)`` rounds its argument, ``log(x) + log(s)`` a sum.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason
from normfold.fold.rule import Labels, Propagation, data_label, propagate, require, require_no_shift
from normfold.graph.reader import GraphReader

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
