"""Store equal weights once: those of several layers, of both branches of an If, of two tools that wrote copies."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import onnx_ir as ir

from normfold.graph.editor import UniqueNames

_SMALL = 1024  # bytes: what is smaller stays, so that each operator has a bias of its own
_SAMPLE = 64  # elements that are compared before the whole weight is read


def share_equal_weights(model: ir.Model) -> None:
    """Let the readers of equal initializers read one of them, in place; the others are unused afterwards.

    Where both lie in bodies, the one that stays moves to the main graph.
    """
    for group in _candidates(model):
        kept: dict[bytes, ir.Value] = {}
        for value in group:
            stored = kept.setdefault(_digest(value), value)
            if stored is value:
                continue
            if stored.graph is not model.graph:
                _move(model, stored)
            value.replace_all_uses_with(stored)


def _candidates(model: ir.Model) -> list[list[ir.Value]]:
    """Return groups of initializers of one type and shape that begin equal; those of the main graph come first."""
    groups: dict[tuple[object, ...], list[ir.Value]] = defaultdict(list)
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            stored = value.const_value
            if stored is None or stored.nbytes < _SMALL or stored.dtype is ir.DataType.STRING:
                continue
            if value.uses() and not value.is_graph_input() and not value.is_graph_output():
                groups[stored.dtype, tuple(stored.shape.numpy())].append(value)
    begins: dict[tuple[object, ...], list[ir.Value]] = defaultdict(list)
    for key, group in groups.items():
        for value in group if len(group) > 1 else ():
            assert value.const_value is not None  # as seen above
            begins[(*key, value.const_value.numpy().ravel()[:_SAMPLE].tobytes())].append(value)
    return [group for group in begins.values() if len(group) > 1]


def _digest(value: ir.Value) -> bytes:
    assert value.const_value is not None  # _candidates() saw it
    return hashlib.sha256(value.const_value.tobytes()).digest()


def _move(model: ir.Model, value: ir.Value) -> None:
    """Make an initializer of a body one of the main graph, which every body sees."""
    assert isinstance(value.graph, ir.Graph)
    value.graph.initializers.pop(value.name or "")
    value.name = UniqueNames(model).new(value.name or "weight")
    model.graph.register_initializer(value)
