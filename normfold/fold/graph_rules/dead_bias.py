"""Parameters that the next operator cancels: the bias of a Conv before InstanceNormalization.

InstanceNormalization subtracts the mean of each channel, and with it whatever was added to the whole channel.
(A shift by an operator of its own is an affine, and the forward search finds that it is dead.)
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from normfold.findings.verdict import Finding
from normfold.graph.editor import stamp
from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader, name_of

RULE = "dead"
_BIASED = ("Conv", "ConvTranspose")


def dead_biases(reader: GraphReader) -> Iterator[tuple[ir.Node, Finding]]:
    """Convolutions whose constant bias nobody sees, each with what a report says of it."""
    for node in reader.graph:
        if node.op_type != "InstanceNormalization" or not is_standard(node) or node.inputs[0] is None:
            continue
        before = node.inputs[0].producer()
        if before is None or before.op_type not in _BIASED or not reader.holds(before):
            continue
        has_bias = len(before.inputs) > 2 and reader.is_constant(before.inputs[2])
        if has_bias and len(node.inputs[0].uses()) == 1 and not node.inputs[0].is_graph_output():
            site = node.outputs[0].name or ""
            yield before, Finding(name_of(before), before.op_type, site, reader.path, "a bias that is subtracted again")


def drop_bias(node: ir.Node) -> None:
    """Take the bias input away."""
    node.replace_input_with(2, None)
    node.resize_inputs(2)
    stamp(node, RULE, name_of(node))
