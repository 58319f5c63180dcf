"""Small models for the tests of the shell, in ONNX text."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

CONV_BN = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
    c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
    y = BatchNormalization (c, gamma, beta, mean, variance)
}
"""

NOTHING = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3] x) => (float[1, 3] y) { y = Relu (x) }
"""


def conv_bn(seed: int = 0) -> onnx.ModelProto:
    """Conv 3x3 and BatchNormalization with random weights: one finding, and it folds."""
    model = onnx.parser.parse_model(CONV_BN)
    random = np.random.default_rng(seed)
    shapes = {"w": (4, 3, 3, 3), "gamma": (4,), "beta": (4,), "mean": (4,)}
    arrays = {name: random.normal(size=shape) for name, shape in shapes.items()}
    arrays["variance"] = random.uniform(0.5, 2.0, 4)
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    onnx.checker.check_model(model)
    return model


def nothing() -> onnx.ModelProto:
    """A model without any norm or affine."""
    return onnx.parser.parse_model(NOTHING)
