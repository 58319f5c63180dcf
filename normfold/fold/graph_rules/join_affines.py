"""Affines on several operands of one operator become one affine behind it: ``x*s + z*s`` is ``(x + z)*s``.

How they come together is what the forward carriers say of the operator; it is done where fewer operators are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Refusal
from normfold.fold.affines import AffineChain, AffineIndex
from normfold.fold.cancellation import offset_in_spreads, require_no_cancellation
from normfold.fold.carriers import table as carry
from normfold.fold.graph_rules.change import GraphChange
from normfold.fold.search.remainder import nodes_for, operators_at
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, Rewrite, require_fits, stamp
from normfold.graph.reader import GraphReader
from normfold.operators.table import is_standard

_RULE = "merge"
_JOINTS = ("Add", "Sub", "Sum", "Mean", "Max", "Min", "Where", "Concat", "Mul", "Div", "ScatterND", "ScatterElements")
_UNLIKE = ("Concat", "ScatterND", "ScatterElements")  # their operands may have other shapes than the result
_WIDE = (ir.DataType.FLOAT, ir.DataType.DOUBLE)  # narrower types overflow where a small scale comes later


@dataclass(frozen=True, eq=False)
class _Together:
    """``chains``, each on an operand of ``node`` of its own, and the affine behind it that does for all of them."""

    node: ir.Node
    chains: tuple[AffineChain, ...]
    affine: Affine
    rewrite: Rewrite | None

    def change(self) -> GraphChange:
        """Return what the engine asks for."""
        return GraphChange(name_of(self.node), self._apply, self._affines, sites=(self.node.outputs[0].name or "",))

    @property
    def _affines(self) -> tuple[ir.Node, ...]:
        return tuple(node for chain in self.chains for node in chain.nodes)

    def _apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Take the chains away and write the affine behind the node."""
        node, origin = self.node, ", ".join(map(name_of, self._affines))
        if self.rewrite is not None:
            editor.rewrite(self.rewrite, _RULE, origin)
        for chain in self.chains:
            for index, value in enumerate(node.inputs):
                if value is chain.output:
                    node.replace_input_with(index, chain.input)
            editor.remove(chain.nodes)
        out = node.outputs[0]
        written = nodes_for(editor, self.chains[0], out, self.affine)
        anchor = node
        for each in written:
            editor.insert_after(anchor, each)
            stamp(each, _RULE, origin)
            anchor = each
        if written:
            editor.take_over(out, written[-1].outputs[0], written[0])
        return written


def affines_together(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Every operator whose affines can come together now."""
    for node in list(reader.graph):
        if reader.holds(node) and node.op_type in _JOINTS and is_standard(node):
            found = _together_at(reader, affines, node)
            if found is not None:
                yield found.change()


def _together_at(reader: GraphReader, affines: AffineIndex, node: ir.Node) -> _Together | None:
    out = node.outputs[0]
    if node in affines.left or sum(not reader.is_constant(value) for value in node.inputs) < 2:
        return None
    if affines.at(node) is not None or reader.dtype(out) not in _WIDE:
        return None
    chains = dict(_chains_upstream(reader, affines, node))
    if len(chains) < 2:
        return None
    if node.op_type == "Concat" and len(chains) < len(node.inputs):
        return None  # it would compute on channels that had no affine
    try:
        (propagation, *_) = carry.FORWARD[node.op_type](
            reader, node, {index: chain.affine for index, chain in chains.items()}
        )
        affine = propagation.labels.get(0, Affine.identity(len(reader.shape(out) or ())))
        for array in (affine.scale, affine.shift):
            require_fits(array, reader.dtype(out), node)
        for chain in chains.values():
            require_no_cancellation(reader, chain.input, offset_in_spreads(reader, chain, chain.affine), node)
    except Refusal:
        return None
    before = sum(len(chain.nodes) for chain in chains.values())
    after = operators_at(reader, out, affine, any(chain.has_batchnorm for chain in chains.values()))
    return _Together(node, tuple(chains.values()), affine, propagation.rewrite) if len(after) < before else None


def _chains_upstream(reader: GraphReader, affines: AffineIndex, node: ir.Node) -> Iterator[tuple[int, AffineChain]]:
    """Return the runs on operands of ``node`` that nothing else reads and that are of its output's shape."""
    shape = reader.shape(node.outputs[0])
    for index, value in enumerate(node.inputs):
        producer = None if value is None else value.producer()
        if value is None or producer is None or not reader.holds(producer) or value.is_graph_output():
            continue
        affine_node = affines.at(producer) if len(value.uses()) == 1 else None
        if affine_node is not None and (node.op_type in _UNLIKE or reader.shape(value) == shape):
            yield index, affines.chain_ending_at(affine_node)
