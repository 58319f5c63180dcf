"""What folds leave behind: dead operators and initializers, Identity, and operators that one does the work of."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from itertools import groupby

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveUnusedFunctionsPass, RemoveUnusedNodesPass

from normfold.constants.fold_in_runtime import evaluate_by_runtime
from normfold.constants.materialize import materialize_constants
from normfold.fold.cleanup.axis_moves import move_axes_once
from normfold.fold.cleanup.concats import join_once
from normfold.fold.cleanup.equal_weights import share_equal_weights
from normfold.fold.cleanup.lists import take_out_of_lists
from normfold.fold.cleanup.no_ops import value_passed
from normfold.fold.cleanup.reshapes import reshape_once
from normfold.fold.cleanup.slices import slice_once
from normfold.fold.cleanup.zero_states import drop_zero_states
from normfold.fold.graph_rules.common_subexpressions import compute_once
from normfold.graph.editor import Editor, UniqueNames, bypass
from normfold.graph.reader import GraphReader, graphs_of, is_in
from normfold.operators.table import is_standard

_INITIALIZERS_ALONE = 4  # the IR version from which an initializer is no input of the graph


def tidy(model: ir.Model, *, constants: bool = True) -> None:
    """Remove, in place, what is unused now; with ``constants`` write what is made of constants as one.

    Names of inputs and outputs stay.
    """
    if constants:
        materialize_constants(model)
    _clean(model, _CLEANUPS)
    share_equal_weights(model)
    RemoveUnusedNodesPass()(model)
    RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]  # onnx_ir declares no type for its __init__
    if model.ir_version >= _INITIALIZERS_ALONE:
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _drop_dead_weights(model)
    if model.ir_version < _INITIALIZERS_ALONE:
        _drop_listed_initializers(model.graph)


def _drop_dead_weights(model: ir.Model) -> None:
    """Remove initializers of the bodies of If, Loop and Scan that are unused; the pass above leaves them there."""
    for path, graph in graphs_of(model):
        if not path or not isinstance(graph, ir.Graph):
            continue
        for name, value in list(graph.initializers.items()):
            if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
                graph.initializers.pop(name)


def _drop_listed_initializers(graph: ir.Graph) -> None:
    """Before IR version 4 every initializer is an input too, and no caller feeds it: a dead one goes all the same."""
    for value in [value for value in graph.inputs if value.is_initializer()]:
        if not value.uses() and not value.is_graph_output():
            graph.inputs.remove(value)
            graph.initializers.pop(value.name or "")


def clear_the_way(model: ir.Model, *, constants: bool = True, merge: bool = True) -> None:
    """Remove, in place, what would hide a fold: lists, inverse Transposes, inner Identities, unused operators.

    With ``constants`` the runtime evaluates what is made of constants; with ``merge`` duplicates become one operator.
    """
    if constants:
        evaluate_by_runtime(model)
    _clean(model, (take_out_of_lists, move_axes_once, _skip_no_ops, *([compute_once] if merge else [])))
    for graph, nodes in groupby(dead_operators(model), lambda node: node.graph):
        if graph is not None:
            graph.remove(nodes, safe=True)


def _skip_no_ops(editor: Editor) -> None:
    """Let the readers of an operator that does nothing read its input; one that makes an output becomes an Identity."""
    for node in list(editor.reader.graph):
        value = value_passed(editor.reader, node)
        if value is not None:
            bypass(node, value)


def skip_identities(model: ir.Model) -> None:
    """Let the readers of every Identity of the main graph read its input, before anything is asked about the model."""
    for node in [node for node in model.graph if node.op_type == "Identity" and is_standard(node)]:
        if node.inputs[0] is not None and not node.outputs[0].is_graph_output():
            bypass(node, node.inputs[0])


def _rename_instead_of_identities(editor: Editor) -> None:
    """Remove an Identity that only names an output: its input takes the name, if it is made here and is no output.

    onnx_ir's own pass also renames what is an output already, or belongs to the graph outside.
    """
    graph = editor.reader.graph
    for node in list(graph):
        if node.op_type != "Identity" or not is_standard(node) or not node.outputs[0].is_graph_output():
            continue
        value, output = node.inputs[0], node.outputs[0]
        producer = None if value is None else value.producer()
        if value is None or producer is None or not is_in(graph, producer) or value.is_graph_output():
            continue
        output.replace_all_uses_with(value, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        value.name, value.shape, value.type = output.name, output.shape, output.type


_CLEANUPS = (
    take_out_of_lists,
    move_axes_once,
    reshape_once,
    _skip_no_ops,
    compute_once,
    join_once,
    slice_once,
    drop_zero_states,
    _rename_instead_of_identities,
)


def _clean(model: ir.Model, cleanups: Sequence[Callable[[Editor], None]]) -> None:
    """Apply each cleanup to each graph, with what is known of the graph by then."""
    names = UniqueNames(model)
    for path, graph in graphs_of(model):
        for cleanup in cleanups:
            cleanup(Editor(GraphReader(model, graph, path), names))


def dead_operators(model: ir.Model) -> list[ir.Node]:
    """Operators whose results only dead ones read, readers first; those of subgraphs before those outside."""
    dead: dict[ir.Node, None] = {}
    for _, graph in reversed(list(graphs_of(model))):
        for node in reversed(list(graph)):
            if not any(output.is_graph_output() or _is_read(output, dead) for output in node.outputs):
                dead[node] = None
    return list(dead)


def _is_read(value: ir.Value, dead: Container[ir.Node]) -> bool:
    return any(reader not in dead for reader, _ in value.uses())
