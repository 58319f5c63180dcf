"""The bytes of all constants that a model stores."""

from __future__ import annotations

import onnx_ir as ir

from normfold.graph.reader import graphs_of, is_read, stored_bytes, stored_values

FREE = 4096
"""Bytes that a model may always grow by: a copy of a bias is no matter."""


def weight_bytes(model: ir.Model, *, unused: bool = True) -> int:
    """Return the bytes of all stored constants of a model, those of Constant nodes, subgraphs and functions too.

    Without ``unused``, those that nothing reads are not counted.
    """
    return sum(
        stored_bytes(value)
        for _, graph in graphs_of(model)
        for value in stored_values(graph)
        if unused or is_read(value)
    )
