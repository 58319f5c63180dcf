"""The names that a caller knows operators and values by, where folds have changed these or written others.

A name stands for one content, so a value that folds change gets another one; reports speak of the first.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

_OWN_NAME = "normfold.name"


def name_of(node: ir.Node) -> str:
    """Return the node's own name, else the name that its first output has, or had before folds renamed it."""
    if node.name:
        return node.name
    remembered = node.meta.get(_OWN_NAME)
    return remembered or next((output.name for output in node.outputs if output.name), None) or node.op_type


def remember_display_names(graphs: Iterable[ir.Graph | ir.Function]) -> None:
    """Keep the present names of nodes and values, so that ``name_of`` and ``display_name`` return them after folds."""
    for graph in graphs:
        for node in graph:
            if not node.name:
                node.meta[_OWN_NAME] = name_of(node)
            for value in node.outputs:
                if value.name:
                    value.meta[_OWN_NAME] = value.name


def copy_display_name(old: ir.Value, new: ir.Value) -> None:
    """Let ``display_name`` give ``new``, which takes the place of ``old``, its name."""
    set_display_name(new, display_name(old))


def set_display_name(value: ir.Value, name: str) -> None:
    """Let ``display_name`` give ``value`` this name, which is not the one it has in the graph."""
    value.meta[_OWN_NAME] = name


def copy_node_name(old: ir.Node, new: ir.Node) -> None:
    """Give ``new``, which takes the place of ``old``, its name, also where it is only a remembered one."""
    new.name = old.name
    if not old.name:
        new.meta[_OWN_NAME] = name_of(old)


def display_name(value: ir.Value | None) -> str:
    """Return the name that the caller knows a value by: the one it had before folds changed its content."""
    if value is None:
        return ""
    if value.is_graph_output():  # outputs keep their names
        return value.name or ""
    remembered: str | None = value.meta.get(_OWN_NAME)
    if remembered:
        return remembered
    producer = value.producer()  # a value that folds made is shown as the operator that makes it
    return value.name or "" if producer is None else name_of(producer)
