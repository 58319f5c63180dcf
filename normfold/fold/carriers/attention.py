"""Carriers of attention as one operator, and of linear maps that only one number passes: rotary embeddings, spectra.

Source: https://onnx.ai/onnx/operators/onnx__Attention.html (opset 23 and later), and for those of ONNX Runtime
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason, Refusal
from normfold.fold.rule import (
    Labels,
    Propagation,
    data_label,
    one_scale,
    propagate,
    require,
    require_attributes_fit,
    require_constant_on,
    require_no_shift,
    require_varies_on,
    size_of,
)
from normfold.graph.display_names import name_of
from normfold.graph.editor import Rewrite, require_fits
from normfold.graph.reader import GraphReader, attribute, is_read
from normfold.operators.table import is_standard

_QUERY, _KEY, _VALUE = range(3)
_PRESENT_KEY, _PRESENT_VALUE, _SCORES = 1, 2, 3  # outputs


@dataclass(frozen=True)
class _Form:
    """How an operator lists its inputs: where a mask, a cache of keys or of values, and a bias of all three may be."""

    heads: str
    masks: tuple[int, ...]
    past_key: int
    past_value: int
    bias: int | None = None


_FORMS = {
    "Attention": _Form("q_num_heads", (3, 6), 4, 5),
    "GroupQueryAttention": _Form("num_heads", (5, 10, 11), 3, 4),
    "MultiHeadAttention": _Form("num_heads", (4, 5), 6, 7, 3),
}


def attention_backward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Ask V for s and t that are the same for all tokens: s * softmax(..) V + t = softmax(..) (s*V + t)."""
    affine = data_label(node, labels)
    _require_mean(reader, node, affine)
    biases = _biases(reader, node)
    if not biases:
        return [Propagation({_VALUE: affine})]
    scale, shift = _vectors(node, affine, biases[_VALUE].size)
    biases[_VALUE] = scale * biases[_VALUE] + shift
    return [Propagation({_VALUE: affine.scale_only}, _with_biases(reader, node, biases))]


def attention_forward(reader: GraphReader, node: ir.Node, labels: Labels) -> list[Propagation]:
    """Put a number of query or key into ``scale``; a shift of all keys is dead, the result lacks what values lack.

    Where queries, keys and values have biases, those take the shifts.
    """
    require(set(labels) <= {_QUERY, _KEY, _VALUE}, Reason.OPERATOR_STOPS, node, "its mask or past carries no data")
    lacked, biases = dict(labels), _biases(reader, node)
    for index in labels if biases else ():
        scale, shift = _vectors(node, labels[index], biases[index].size)
        require(bool(scale.all()), Reason.SIGN_STOPS, node, "a bias cannot be divided by a scale of 0")
        biases[index] = (biases[index] + shift) / scale
        lacked[index] = labels[index].scale_only
    factor = math.prod((_number(node, index, lacked[index]) for index in {_QUERY, _KEY} & set(labels)), start=1.0)
    changed = {} if factor == 1 else {"scale": _own_scale(reader, node) * factor}
    require_attributes_fit(reader, node, changed)
    rewrite = replace(_with_biases(reader, node, biases), attributes=changed)
    if _VALUE not in labels:
        return [Propagation({}, rewrite)]
    _require_mean(reader, node, lacked[_VALUE])
    return [Propagation(propagate(lacked[_VALUE])[0].labels, rewrite if changed or rewrite.inputs else None)]


def _number(node: ir.Node, index: int, affine: Affine) -> float:
    """Return the number that queries or keys lack; a shift of all keys adds one number to whole rows of scores."""
    if index == _KEY:
        _require_alone(node, _FORMS[node.op_type].past_key, _PRESENT_KEY)
        cancels = affine.is_constant_on([-2]) and not attribute(node, "softcap", 0.0)
        affine = affine.scale_only if cancels else affine
    number = one_scale(affine, node, "the factor of its scores")
    require(number > 0, Reason.SIGN_STOPS, node, f"the factor of its scores would be {number:g} times as large")
    require(not _is_read(node, _SCORES), Reason.OPERATOR_STOPS, node, "its scores are read")
    return number


def _biases(reader: GraphReader, node: ir.Node) -> list[Array]:
    """Return the biases of queries, keys and values; empty where the operator has none."""
    packed = not all(_given(node, index) for index in (_QUERY, _KEY, _VALUE))
    require(not packed, Reason.OPERATOR_STOPS, node, "its queries, keys and values are one value")
    index = _FORMS[node.op_type].bias
    if index is None or not _given(node, index):
        return []
    whole = np.asarray(reader.require_constant(node, index, Reason.DYNAMIC_PARAMETERS)).reshape(-1)
    queries, values = (size_of(reader, node, node.inputs[each], -1) for each in (_QUERY, _VALUE))
    return np.split(whole, [queries, whole.size - values])


def _vectors(node: ir.Node, affine: Affine, size: int) -> tuple[Array, Array]:
    require_varies_on(affine, [affine.rank - 1], node, "its biases vary")
    return affine.vectors(affine.rank - 1, size)


def _with_biases(reader: GraphReader, node: ir.Node, biases: list[Array]) -> Rewrite:
    index = _FORMS[node.op_type].bias
    if not biases or index is None:
        return Rewrite(node)
    value = node.inputs[index]
    dtype = reader.dtype(value)
    return Rewrite(node, inputs={index: require_fits(np.concatenate(biases), dtype, node)})


def _require_mean(reader: GraphReader, node: ir.Node, affine: Affine) -> None:
    """Every result is a mean of values that take the same affine; a mask may leave none of them."""
    form = _FORMS[node.op_type]
    _require_alone(node, form.past_value, _PRESENT_VALUE)
    require_constant_on(affine, [-2], node, "averaged")
    masked = any(_given(node, index) for index in form.masks)
    require(affine.has_no_shift or not masked, Reason.SHIFT_STOPS, node, "a mask may leave no value at all")
    own, result = reader.require_shape(node.inputs[_VALUE], node), reader.require_shape(node.outputs[0], node)
    detail = f"its values have {len(own)} dimensions, and its results {len(result)}"
    require(len(own) == len(result), Reason.AXIS_STOPS, node, detail)
    for axis in affine.varying_axes:
        same = own[axis] is not None and own[axis] == result[axis]
        require(same, Reason.AXIS_STOPS, node, f"it varies along axis {axis}, where several queries share a value")


def _require_alone(node: ir.Node, past: int, present: int) -> None:
    """Refuse a cache: a past that is put in front of the value, or a result that is kept for the future."""
    alone = not _given(node, past) and not _is_read(node, present)
    require(alone, Reason.OPERATOR_STOPS, node, "a cache holds what it was before")


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _is_read(node: ir.Node, index: int) -> bool:
    return index < len(node.outputs) and is_read(node.outputs[index])


def _own_scale(reader: GraphReader, node: ir.Node) -> float:
    """Return the factor of the scores: 1/sqrt(head size) where none is given, or 0 of ONNX Runtime's operators."""
    given = attribute(node, "scale")
    if given is not None and (given or is_standard(node)):
        return float(given)
    shape = reader.require_shape(node.inputs[_QUERY], node)
    heads = 1 if len(shape) == 4 else int(attribute(node, _FORMS[node.op_type].heads, 0))
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
    rank = len(reader.require_shape(node.outputs[0] if forward else node.inputs[0], node))
    return propagate(affine.map(lambda array: array.reshape((1,) * rank)))
