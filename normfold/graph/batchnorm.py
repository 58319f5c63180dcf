"""What a BatchNormalization says of itself."""

from __future__ import annotations

import onnx_ir as ir

from normfold.graph.reader import attribute


def is_training(node: ir.Node) -> bool:
    """Return whether a BatchNormalization normalizes with the statistics of the batch.

    From opset 14 on ``training_mode`` says so; before that, more than one output does.
    """
    return bool(attribute(node, "training_mode", 0)) or any(output.name for output in node.outputs[1:])
