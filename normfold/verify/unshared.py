"""The same model with a constant of its own for each reader: what two readers lose by rounding is not the same.

An exporter gives equal tensors one name: the bias of a convolution and the running mean behind it, where a channel is
dead. Moved together they cancel, and the model looks calmer than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import onnx

from normfold.verify.held import Held
from normfold.verify.weights import Weights

_LARGEST = 2**16
"""Elements of a constant that is copied: norms and biases, not tables."""


def unshared(held: Held) -> Held:
    """A copy in which small initializers, Constants and Identities of either have one reader each."""
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(held.skeleton)
    graph = skeleton.graph
    tensors = {t.name: t for t in graph.initializer if math.prod(t.dims) <= _LARGEST}
    tensors.update(_constants(graph))
    source = {name: name for name in tensors}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
    makers = {name: held.given.maker(name) for name in held.given}
    known = {t.name for t in graph.initializer}
    uses = dict.fromkeys(tensors, 0)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in source or node.op_type == "Identity":
                continue
            original = source[name]
            uses[original] += 1
            if uses[original] == 1 and original in known:
                node.input[index] = original
                continue
            own = f"{original}\u207a{uses[original]}"
            node.input[index] = own
            copy = graph.initializer.add()
            copy.CopyFrom(tensors[original])
            copy.name = own
            if original in makers:
                makers[own] = makers[original]
    return replace(held, skeleton=skeleton, given=Weights(makers))


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None and math.prod(value.dims) <= _LARGEST:
            yield node.output[0], value
