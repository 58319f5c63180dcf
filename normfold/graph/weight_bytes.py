"""The bytes of all constants that a model stores."""

from __future__ import annotations

import onnx_ir as ir

from normfold.graph.reader import graphs_of, is_read

FREE = 4096
"""Bytes that a model may always grow by: a copy of a bias is no matter."""


def weight_bytes(model: ir.Model, *, unused: bool = True) -> int:
    """Return the bytes of all stored constants of a model, those of Constant nodes, subgraphs and functions too.

    Without ``unused``, those that nothing reads are not counted.
    """
    return sum(
        stored_bytes(value)
        for _, graph in graphs_of(model)
        for value in (
            *(graph.initializers.values() if isinstance(graph, ir.Graph) else ()),
            *(node.outputs[0] for node in graph if node.op_type == "Constant"),
        )
        if unused or is_read(value)
    )


def stored_bytes(value: ir.Value) -> int:
    """Return the bytes of a constant that is an initializer or made by a Constant node; 0 for other values."""
    if value.const_value is not None:
        return value.const_value.nbytes
    node = value.producer()
    tensor = None if node is None or node.op_type != "Constant" else node.attributes.get("value")
    return 0 if tensor is None or tensor.is_ref() else int(tensor.value.nbytes)  # as_tensor() checks a protocol
