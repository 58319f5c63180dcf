"""Parameters that the next operator cancels: the bias of a Conv before InstanceNormalization.

InstanceNormalization subtracts the mean of each channel, and with it whatever was added to the whole channel.
(A shift by an operator of its own is an affine, and the forward search finds that it is dead.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import onnx_ir as ir

from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineIndex
from normfold.fold.graph_rules.change import GraphChange
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, stamp
from normfold.graph.reader import GraphReader, has_one_reader
from normfold.operators.table import is_standard

_RULE = "dead"
_BIASED = ("Conv", "ConvTranspose")


def dead_biases(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Yield the convolutions whose constant bias has no effect."""
    for node in list(reader.graph):
        if node.op_type != "InstanceNormalization" or not is_standard(node) or node.inputs[0] is None:
            continue
        before = node.inputs[0].producer()
        if before is None or before.op_type not in _BIASED or not reader.holds(before) or before in affines.left:
            continue
        has_bias = len(before.inputs) > 2 and reader.is_constant(before.inputs[2])
        if has_bias and has_one_reader(node.inputs[0]):
            yield _change(reader, before, node)


def _change(reader: GraphReader, biased: ir.Node, norm: ir.Node) -> GraphChange:
    name, site = name_of(biased), norm.outputs[0].name or ""
    finding = Finding(name, biased.op_type, site, reader.path, "a bias that is subtracted again")
    return GraphChange(name, partial(_drop_bias, biased), into=(name_of(norm),), sites=(site,), finding=finding)


def _drop_bias(node: ir.Node, editor: Editor) -> Sequence[ir.Node]:
    node.replace_input_with(2, None)
    node.resize_inputs(2)
    stamp(node, _RULE, name_of(node))
    editor.rename(node.outputs[0])
    return ()
