"""Replace each If whose condition is constant by the branch that it takes, so that no fold stops at its border."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

from normfold.graph.editor import UniqueNames
from normfold.graph.reader import GraphReader, attributes_of, bodies_of, graphs_of
from normfold.operators.table import is_standard


def take_known_branches(model: ir.Model) -> bool:
    """Move the operators and weights of the branches that are always taken to the graph around them, in place.

    Returns whether there was one.
    """
    changed = False
    while (found := next(_known(model), None)) is not None:
        _unwrap(model, *found)
        changed = True
    return changed


def _known(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Graph]]:
    """Yield each If with the one branch that it can take. In a function there is no room for the branch's weights."""
    for path, graph in graphs_of(model):
        if not isinstance(graph, ir.Graph):
            continue
        reader = GraphReader(model, graph, path)
        for node in graph:
            if node.op_type != "If" or not is_standard(node) or node.inputs[0] is None:
                continue
            condition = reader.constant(node.inputs[0])
            if condition is not None and condition.size == 1:
                attribute = node.attributes["then_branch" if condition.item() else "else_branch"]
                yield from ((node, body) for body in bodies_of(attribute))


def _unwrap(model: ir.Model, node: ir.Node, branch: ir.Graph) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)  # _known() asked
    _make_names_unique(model, branch)
    for other in (body for attribute in attributes_of(node) for body in bodies_of(attribute)):
        if other is not branch:
            _discard(other)
    outputs, nodes = list(branch.outputs), list(branch)
    branch.outputs.clear()
    branch.remove(nodes)
    for name, weight in list(branch.initializers.items()):
        branch.initializers.pop(name)
        graph.register_initializer(weight)
    graph.insert_before(node, nodes)
    for old, value in zip(node.outputs, outputs, strict=True):
        named = ir.node("Identity", [value])  # goes with its kind, unless it gives an output its name
        named.outputs[0].name, named.outputs[0].type, named.outputs[0].shape = old.name, old.type, old.shape
        old.name = None
        graph.insert_before(node, named)
        old.replace_all_uses_with(named.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _discard(body: ir.Graph) -> None:
    """Take all operators out of a body that is never executed, so that they read nothing of the graphs around it."""
    body.outputs.clear()
    for node in list(body):
        for attribute in attributes_of(node):
            for inner in bodies_of(attribute):
                _discard(inner)
    body.remove(list(body), safe=True)


def _make_names_unique(model: ir.Model, branch: ir.Graph) -> None:
    """Rename what another body calls by the same name; such a body would hide what moves out."""
    taken = Counter(value.name for _, graph in graphs_of(model) for node in graph for value in node.outputs)
    taken.update(name for graph in (model.graph, *model.graph.subgraphs()) for name in graph.initializers)
    names = UniqueNames(model)
    for value in [*branch.initializers.values(), *(value for node in branch for value in node.outputs)]:
        if value.name and taken[value.name] > 1:
            value.name = names.new(value.name)
