"""Training and inference: what a BatchNormalization and a Dropout say, and which operators pass their values on."""

from __future__ import annotations

import onnx_ir as ir

from normfold.graph.reader import FLOATS, GraphReader, attribute
from normfold.operators.table import is_standard


def is_training(node: ir.Node) -> bool:
    """Return whether a BatchNormalization normalizes with the statistics of the batch.

    From opset 14 on ``training_mode`` says so; before that, more than one output does.
    """
    return bool(attribute(node, "training_mode", 0)) or any(output.name for output in node.outputs[1:])


def drops_nothing(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a Dropout is known to be one of inference: ``training_mode`` is absent, or constant and false."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    training = reader.constant(node.inputs[2])
    return training is not None and not training.any()


def is_float_cast(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a Cast or CastLike goes from a floating type to a floating type."""
    before, after = node.inputs[0], node.outputs[0]
    target = ir.DataType(int(attribute(node, "to"))) if "to" in node.attributes else reader.dtype(after)
    return before is not None and reader.dtype(before) in FLOATS and target in FLOATS


def passes_values(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether the first output has the values of the first input, but for rounding."""
    if not is_standard(node):
        return False
    if node.op_type == "Dropout":
        return drops_nothing(reader, node)
    return node.op_type == "Identity" or (node.op_type in ("Cast", "CastLike") and is_float_cast(reader, node))
