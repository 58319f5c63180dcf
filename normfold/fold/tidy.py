"""What folds leave behind: dead operators and initializers, Identity, and pairs of Transposes that undo each other."""

from __future__ import annotations

from collections.abc import Container

import onnx_ir as ir
from onnx_ir.passes.common import IdentityEliminationPass, RemoveUnusedNodesPass

from normfold.graph import attribute, graphs_of


def tidy(model: ir.Model) -> None:
    """Remove, in place, what nobody reads any more. Names of inputs and outputs stay."""
    for _, graph in graphs_of(model):
        _cancel_transposes(graph)
    IdentityEliminationPass()(model)
    RemoveUnusedNodesPass()(model)
    if model.ir_version < 4:
        _drop_listed_initializers(model.graph)


def _drop_listed_initializers(graph: ir.Graph) -> None:
    """Before IR version 4 every initializer is an input too, and no caller feeds it: a dead one goes all the same."""
    for value in [value for value in graph.inputs if value.is_initializer()]:
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)
            graph.initializers.pop(value.name or "")


def remove_dead_operators(model: ir.Model) -> None:
    """Remove, in place, operators whose results nobody reads, so that they do not count as readers themselves."""
    for node in dead_operators(model):
        if node.graph is not None:
            node.graph.remove(node, safe=True)


def dead_operators(model: ir.Model) -> list[ir.Node]:
    """Operators whose results nobody reads but dead ones, readers first; those of subgraphs before those outside."""
    dead: dict[ir.Node, None] = {}
    for _, graph in reversed(list(graphs_of(model))):
        for node in reversed(list(graph)):
            if not any(output.is_graph_output() or _is_read(output, dead) for output in node.outputs):
                dead[node] = None
    return list(dead)


def _is_read(value: ir.Value, dead: Container[ir.Node]) -> bool:
    return any(reader not in dead for reader, _ in value.uses())


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
