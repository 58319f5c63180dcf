"""Carriers of attention as one operator, and of linear maps that only one number passes: rotary embeddings, spectra.

Source: https://onnx.ai/onnx/operators/onnx__Attention.html (opset 23 and later)
"""

from __future__ import annotations

import math

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Reason, Refusal
from normfold.fold.rule import (
    Labels,
    Propagation,
    data_label,
    is_read,
    propagate,
    require,
    require_attributes_fit,
    require_constant_on,
    require_no_shift,
    shape_of,
)
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute, name_of

_QUERY, _KEY, _VALUE, _MASK, _PAST_KEY, _PAST_VALUE, _LENGTHS = range(7)
_SCORES = 3  # the output that tells them


def attention_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Ask V for s and t that are the same for all tokens: s * softmax(..) V + t = softmax(..) (s*V + t)."""
    affine = data_label(node, labels)
    _require_mean(reader, node, affine)
    return [Propagation({_VALUE: affine})]


def attention_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Put a number of query or key into ``scale``; a shift of all keys is dead, the result lacks what values lack."""
    require(set(labels) <= {_QUERY, _KEY, _VALUE}, Reason.OPERATOR_STOPS, node, "its mask or past carries no data")
    scale = 1.0
    for index in {_QUERY, _KEY} & set(labels):
        affine = labels[index]
        if index == _KEY:
            _require_alone(node, _PAST_KEY, 1)
            cancels = affine.is_constant_on([-2]) and not attribute(node, "softcap", 0.0)
            affine = affine.scale_only if cancels else affine
        require_no_shift(affine, node)
        number = affine.scale.size == 1 and bool((affine.scale > 0).all())
        require(number, Reason.AXIS_STOPS, node, "its scale takes one positive number")
        require(not _is_read(node, _SCORES), Reason.OPERATOR_STOPS, node, "its scores are read")
        scale *= float(affine.scale.reshape(()))
    changed = {} if scale == 1 else {"scale": _own_scale(reader, node) * scale}
    require_attributes_fit(reader, node, changed)
    rewrite = Rewrite(node, attributes=changed)
    if _VALUE not in labels:
        return [Propagation({}, rewrite)]
    _require_mean(reader, node, labels[_VALUE])
    return [Propagation(propagate(labels[_VALUE])[0].labels, rewrite if changed else None)]


def _require_mean(reader: GraphReader, node: ir.Node, affine: Affine) -> None:
    """Every result is a mean of values that take the same affine; a mask may leave none of them."""
    _require_alone(node, _PAST_VALUE, 2)
    require_constant_on(affine, [-2], node, "averaged")
    masked = any(_given(node, index) for index in (_MASK, _LENGTHS))
    require(affine.has_no_shift or not masked, Reason.SHIFT_STOPS, node, "a mask may leave no value at all")
    own, result = shape_of(reader, node, node.inputs[_VALUE]), shape_of(reader, node, node.outputs[0])
    for axis in affine.varying_axes:
        same = own[axis] is not None and own[axis] == result[axis]
        require(same, Reason.AXIS_STOPS, node, "several queries share a value")


def _require_alone(node: ir.Node, past: int, present: int) -> None:
    """Refuse a cache: a past that is put in front of the value, or a result that is kept for the future."""
    alone = not _given(node, past) and not _is_read(node, present)
    require(alone, Reason.OPERATOR_STOPS, node, "a cache holds what it was before")


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _is_read(node: ir.Node, index: int) -> bool:
    return index < len(node.outputs) and is_read(node.outputs[index])


def _own_scale(reader: GraphReader, node: ir.Node) -> float:
    """Return the factor of the scores: 1/sqrt(head size) where none is given."""
    given = attribute(node, "scale")
    if given is not None:
        return float(given)
    shape = shape_of(reader, node, node.inputs[_QUERY])
    heads = 1 if len(shape) == 4 else int(attribute(node, "q_num_heads", 0))
    size = shape[-1]
    if not isinstance(size, int) or heads < 1:
        raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), detail="the size of a head")
    return 1.0 / math.sqrt(size / heads)


def rotary(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """RotaryEmbedding turns pairs of features: a scale that is the same for all of them passes."""
    affine = data_label(node, labels)
    require_no_shift(affine, node)
    require_constant_on(affine, [-1], node, "turned")
    return propagate(affine)


def one_number(reader: GraphReader, node: ir.Node, labels: Labels, *, forward: bool) -> list[Propagation]:
    """DFT, STFT and Col2Im add up elements: one scale for all of them passes."""
    affine = data_label(node, labels)
    require_no_shift(affine, node)
    detail = f"it adds up elements whose scales vary along axes {list(affine.varying_axes)}"
    require(affine.scale.size == 1, Reason.AXIS_STOPS, node, detail)
    rank = len(shape_of(reader, node, node.outputs[0] if forward else node.inputs[0]))
    return propagate(affine.map(lambda array: array.reshape((1,) * rank)))
