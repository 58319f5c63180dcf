"""Models for checks: one that folds, one whose norm stays, and the same ones as a user would ship them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import normfold
from tests.nets import conv_bn

STAYS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y) {
    a = Sigmoid (x)
    [bn] b = BatchNormalization (a, gamma, beta, mean, variance)
    y = Sigmoid (b)
}
"""


def stays(seed: int = 0) -> onnx.ModelProto:
    """A BatchNormalization between two Sigmoids: it can go nowhere."""
    model = onnx.parser.parse_model(STAYS)
    random = np.random.default_rng(seed)
    for name in ("gamma", "beta", "mean", "variance"):
        array = random.uniform(0.5, 2.0, 3).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.checker.check_model(model)
    return model


def shipped(seed: int = 0) -> onnx.ModelProto:
    """What normfold makes of Conv and BatchNormalization."""
    return normfold.optimize(conv_bn(seed), verify=False).model


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write ``model`` to ``path``, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
