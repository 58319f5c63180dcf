"""What folds leave behind: dead operators and initializers, Identity, and pairs of Transposes that undo each other."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import IdentityEliminationPass, RemoveUnusedNodesPass

from normfold.graph import attribute, graphs_of


def tidy(model: ir.Model) -> None:
    """Remove, in place, what nobody reads any more. Names of inputs and outputs stay."""
    for _, graph in graphs_of(model):
        _cancel_transposes(graph)
    IdentityEliminationPass()(model)
    RemoveUnusedNodesPass()(model)


def remove_dead_operators(model: ir.Model) -> None:
    """Remove, in place, operators whose results nobody reads, so that they do not count as readers themselves."""
    for _, graph in list(graphs_of(model)):
        for node in reversed(list(graph)):
            if not any(output.uses() or output.is_graph_output() for output in node.outputs):
                graph.remove(node, safe=True)


def _cancel_transposes(graph: ir.Graph | ir.Function) -> None:
    """Transpose(Transpose(x)) that ends where it began reads x itself."""
    for node in list(graph):
        value = node.inputs[0] if node.op_type == "Transpose" and node.inputs else None
        before = None if value is None else value.producer()
        if before is None or before.op_type != "Transpose" or before.graph is not node.graph:
            continue
        first, second, entry = attribute(before, "perm"), attribute(node, "perm"), before.inputs[0]
        if not first or not second or entry is None or [first[axis] for axis in second] != list(range(len(first))):
            continue
        if not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(entry)
