"""A shift through zero padding: the convolution before emits one more channel, constant 1, that carries it.

``Conv1 -> Relu -> s*x + t -> Conv2`` with padding: inside the border the shift adds ``sum over c of W2[:, c] * t[c]``
at every kernel offset, and outside nothing. A channel that is 1 inside and padded with 0 outside, weighted with just
that sum, is the same, for any padding. Conv1 makes it with zero weights and bias 1.

It costs one channel. Runtimes compute convolutions in blocks of 8 or 16 channels, and 65 channels were measured 1.4
times slower than 64 and a BatchNormalization, so it is done unasked only where the count fills no blocks anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason, Refusal
from normfold.fold.absorbers.common import bias_of, channels, fitted, weight_of
from normfold.fold.affines import AffineChain
from normfold.fold.cancellation import offset_in_spreads, require_no_cancellation
from normfold.fold.carriers.elementwise import bounds_of
from normfold.fold.rule import require
from normfold.fold.search.plan import FoldPlan
from normfold.graph.display_names import display_name, name_of
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader, attribute, has_one_reader, is_read
from normfold.operators.table import is_standard, operator_of

_BLOCK = 8


def plan_extra_channel(reader: GraphReader, chain: AffineChain, *, always: bool) -> FoldPlan:
    """Fold ``chain`` into the convolutions behind it with one more channel from the one before; or refuse."""
    require_no_cancellation(reader, chain.input, offset_in_spreads(reader, chain, chain.affine), chain.nodes[-1])
    between = list(_until_conv(reader, chain))
    producer = between[-1].producer()
    assert producer is not None, "_until_conv() ends at a Conv's output"
    for node in (producer, *reader.readers(chain.output)):
        require(
            not any(map(reader.is_quantized, node.inputs)), Reason.QUANTIZED, node, "its weight is stored as integers"
        )
    weight, bias = np.asarray(weight_of(reader, producer, 1)), bias_of(reader, producer, 2)
    count = weight.shape[0]
    full_blocks = count % _BLOCK == 0 and not always
    require(not full_blocks, Reason.ZERO_PADDING, producer, f"{count} channels fill whole blocks, one more would cost")
    emits = Rewrite(
        producer,
        inputs={
            1: np.concatenate([weight, np.zeros((1, *weight.shape[1:]))]),
            2: np.append(np.zeros(count) if bias is None else bias, 1.0),
        },
    )
    takes = tuple(_takes_channel(reader, node, chain.affine) for node in reader.readers(chain.output))
    nothing = Affine.identity(chain.affine.rank)
    return FoldPlan(
        chain,
        "forward",
        nothing,
        takes,
        changed_values=(*between, chain.output),
        companions=(emits,),
        widened=tuple(between),
    )


def _until_conv(reader: GraphReader, chain: AffineChain) -> Iterator[ir.Value]:
    """Yield the values from the chain's input back to the output of a Conv; nothing else may read any of them."""
    value, reading = chain.input, chain.nodes[0]
    while True:
        alone = has_one_reader(value)
        require(alone, Reason.SEVERAL_READERS, reading, f"others read {display_name(value)}")
        node = value.producer()
        if node is None or not reader.holds(node) or not is_standard(node):
            raise Refusal(Reason.ZERO_PADDING, name_of(reading), display_name(value), "no convolution before it")
        yield value
        if node.op_type == "Conv":
            require(int(attribute(node, "group", 1)) == 1, Reason.ZERO_PADDING, node, "it has groups")
            return
        operator = operator_of(node)
        keeps = operator.keeps_one and operator.by_channel and not any(map(is_read, node.outputs[1:]))
        require(keeps, Reason.ZERO_PADDING, node, f"{node.op_type} before it")
        require(node.op_type != "Clip" or _clip_keeps_one(reader, node), Reason.ZERO_PADDING, node, "it clips 1")
        entry = node.inputs[0]
        assert entry is not None, "a required input"
        value, reading = entry, node


def _clip_keeps_one(reader: GraphReader, node: ir.Node) -> bool:
    bounds = bounds_of(reader, node)
    return bounds.get("min", 1.0) <= 1.0 <= bounds.get("max", 1.0)


def _takes_channel(reader: GraphReader, node: ir.Node, affine: Affine) -> Rewrite:
    """Return the Conv behind: its weight scaled, and one more input channel that weighs the constant with the shift."""
    plain = node.op_type == "Conv" and is_standard(node) and int(attribute(node, "group", 1)) == 1
    require(plain, Reason.ZERO_PADDING, node, f"{node.op_type} is no convolution without groups")
    weight = np.asarray(weight_of(reader, node, 1))
    scale, shift = channels(node, affine, weight.shape[1])
    form = (1, -1, *[1] * (weight.ndim - 2))
    extra: Array = (weight * shift.reshape(form)).sum(axis=1, keepdims=True)
    wider = np.concatenate([weight * scale.reshape(form), extra], axis=1)
    return Rewrite(node, inputs=fitted(reader, node, 1, {1: wider}))
