"""Parameters that the next operator cancels: the bias of a Conv before InstanceNormalization.

InstanceNormalization subtracts the mean of each channel, and with it whatever was added to the whole channel.
(A shift by an operator of its own is an affine, and the forward search finds that it is dead.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineIndex
from normfold.graph.editor import Editor, stamp
from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader, name_of

_RULE = "dead"
_BIASED = ("Conv", "ConvTranspose")


@dataclass(frozen=True, eq=False)
class DeadBias:
    """A convolution ``node`` whose bias the ``norm`` behind it subtracts again."""

    direction = "forward"
    nodes = ()
    plan = None

    node: ir.Node
    norm: ir.Node

    @property
    def name(self) -> str:
        """Return the name of the convolution."""
        return name_of(self.node)

    @property
    def into(self) -> tuple[str, ...]:
        """Return the name of the norm."""
        return (name_of(self.norm),)

    @property
    def sites(self) -> tuple[str, ...]:
        """Return the result of the norm, which stays the same."""
        return (self.norm.outputs[0].name or "",)

    def finding(self, path: str) -> Finding:
        """Return what a report says of the bias."""
        return Finding(self.name, self.node.op_type, self.sites[0], path, "a bias that is subtracted again")

    def apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Take the bias input away."""
        self.node.replace_input_with(2, None)
        self.node.resize_inputs(2)
        stamp(self.node, _RULE, self.name)
        editor.rename(self.node.outputs[0])
        return ()


def dead_biases(reader: GraphReader, affines: AffineIndex) -> Iterator[DeadBias]:
    """Yield the convolutions whose constant bias has no effect."""
    for node in list(reader.graph):
        if node.op_type != "InstanceNormalization" or not is_standard(node) or node.inputs[0] is None:
            continue
        before = node.inputs[0].producer()
        if before is None or before.op_type not in _BIASED or not reader.holds(before) or before in affines.left:
            continue
        has_bias = len(before.inputs) > 2 and reader.is_constant(before.inputs[2])
        if has_bias and len(node.inputs[0].uses()) == 1 and not node.inputs[0].is_graph_output():
            yield DeadBias(before, node)
