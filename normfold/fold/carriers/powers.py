"""Carriers that raise to a power: Sqrt, Reciprocal, Pow by a constant, the square of a value. Only a scale passes."""

from __future__ import annotations

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Reason
from normfold.fold.rule import Labels, Propagation, data_label, how_many, propagate, require, require_no_shift, shape_of
from normfold.graph.reader import GraphReader

_EXPONENTS = {"Sqrt": 0.5, "Reciprocal": -1.0}


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
    grows = exponent.ndim > 0 and exponent.ndim > len(shape_of(reader, node, node.inputs[0]))
    require(not grows, Reason.OPERATOR_STOPS, node, "its exponent has more dimensions")
    number = float(exponent.reshape(()))
    require(number != 0, Reason.OPERATOR_STOPS, node, "its exponent is 0")
    return number
