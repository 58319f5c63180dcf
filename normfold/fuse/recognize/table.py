"""What each operator makes of polynomials: one small rule an operator, one table.

A rule returns what its outputs are (``region.Tracked``), or that they look like a moment but are none
(``region.NearMiss``), or None: the operator is not part of the region. Operators as in https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Mapping

from normfold.fuse.recognize.arithmetic import (
    binary,
    capped,
    cast,
    clip,
    dropout,
    exponential,
    logarithm,
    power,
    rooted,
    same,
    unary,
)
from normfold.fuse.recognize.conditions import both, comparison, extreme, where
from normfold.fuse.recognize.layout import expand, relayout, transpose
from normfold.fuse.recognize.norm_operators import NORM_OPERATORS, batchnorm, norm
from normfold.fuse.recognize.polynomial import Poly
from normfold.fuse.recognize.reductions import LINEAR, REDUCERS, moment_rule, size, weighted_sum
from normfold.fuse.recognize.region import NormRule
from normfold.operators.table import COMPARISONS

RULES: Mapping[str, NormRule] = {
    "Identity": same,
    "Dropout": dropout,
    "Cast": cast,
    "CastLike": cast,
    "Neg": unary(lambda poly: poly.scaled(-1.0)),
    "Sqrt": rooted(Poly.square_root),
    "Reciprocal": rooted(Poly.inverse),
    "Pow": power,
    "Log": logarithm,
    "Exp": exponential,
    "Clip": clip,
    "Max": clip,
    "Min": capped,
    "Abs": unary(Poly.magnitude),
    "Relu": unary(lambda poly: poly if poly.is_never_negative() else None),
    "Add": binary,
    "Sum": binary,
    "Sub": binary,
    "Mul": binary,
    "Div": binary,
    **{operator: moment_rule(reducer.moment) for operator, reducer in REDUCERS.items()},
    **dict.fromkeys(LINEAR, weighted_sum),
    "Size": size,
    "Reshape": relayout,
    "Flatten": relayout,
    "Squeeze": relayout,
    "Unsqueeze": relayout,
    "Transpose": transpose,
    "Expand": expand,
    "ReduceMin": extreme,
    "ReduceMax": extreme,
    **dict.fromkeys(COMPARISONS, comparison),
    "And": both,
    "Where": where,
    "BatchNormalization": batchnorm,
    **dict.fromkeys(NORM_OPERATORS, norm),
}
