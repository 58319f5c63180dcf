"""Export the published norms with tf2onnx: python -m tests.sweeps.norms.with_keras keras|tf_keras FOLDER [NAME ...].

Needs tensorflow, tf2onnx, and keras (version 3) or tf_keras (version 2).
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import tensorflow as tf
import tf2onnx

from tests.sweeps.norms.formulas import CHANNELS, GROUPS
from tests.sweeps.norms.published import Weights, network, save_all, shapes_of


class Operations:
    """The operations of ``published`` in TensorFlow, or in those of Keras 3 where it has its own."""

    channel = 3
    space = (1, 2)
    kernel_inputs = (0, 1, 2)
    kernel_space = (0, 1)
    kernel_scale = (CHANNELS,)

    def __init__(self, keras: Any) -> None:
        self.keras, self.layers = keras, layers_of(keras)
        self.ops = keras.ops if hasattr(keras, "ops") else None
        self.weights = Weights()
        self.variables: list[Any] = []
        self.made: list[Any] = []
        self.second: Any = None
        self.at = [0, 0]

    def run(self, name: str, x: Any, second: Any = None) -> Any:
        self.second, self.at = second, [0, 0]
        return network(self, name, x)

    def weight(self, shape: tuple[int, ...], near: float, spread: float) -> Any:
        self.at[0] += 1
        if self.at[0] > len(self.variables):
            self.variables.append(tf.Variable(self.weights.draw(shape, near, spread)))
        return self.variables[self.at[0] - 1]

    def layer(self, made: Any, x: Any) -> Any:
        """Apply a layer of Keras's own, with trained weights; the same one in every run."""
        self.at[1] += 1
        if self.at[1] > len(self.made):
            made.build(x.shape)
            for variable in made.weights:
                name = getattr(variable, "path", variable.name)
                near = 1.0 if "gamma" in name or "scale" in name or "variance" in name else 0.0
                variable.assign(self.weights.draw(tuple(variable.shape), near, 0.3))
            self.made.append(made)
        return self.made[self.at[1] - 1](x)

    def dense(self, x: Any, width: int) -> Any:
        return self.layer(self.keras.layers.Dense(width), x)

    def conv(self, x: Any, width: int) -> Any:
        return self.layer(self.keras.layers.Conv2D(width, 3, padding="same"), x)

    def kernel(self) -> Any:
        return self.weight((3, 3, CHANNELS, CHANNELS), 0.0, 0.2)

    def convolved(self, x: Any, kernel: Any) -> Any:
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    def input_rows(self, power: Any) -> Any:
        return tf.reshape(power, (CHANNELS, CHANNELS))

    def neighbours(self, x: Any, size: int) -> Any:
        padded = tf.pad(x, [[0, 0], [0, 0], [0, 0], [size // 2, size // 2]])
        return sum((padded[..., i : i + CHANNELS] for i in range(1, size)), padded[..., :CHANNELS]) / size

    def rank(self, x: Any) -> int:
        return len(x.shape)

    def mean(self, x: Any, axes: tuple[int, ...]) -> Any:
        return self.ops.mean(x, axes, keepdims=True) if self.ops else tf.reduce_mean(x, axes, keepdims=True)

    def sum(self, x: Any, axes: tuple[int, ...]) -> Any:
        return tf.reduce_sum(x, axes, keepdims=True)

    def var(self, x: Any, axes: tuple[int, ...]) -> Any:
        return self.ops.var(x, axes, keepdims=True) if self.ops else tf.nn.moments(x, axes, keepdims=True)[1]

    def deviation(self, x: Any, axes: tuple[int, ...]) -> Any:
        count = CHANNELS
        return tf.sqrt(tf.math.reduce_variance(x, axes, keepdims=True) * (count / (count - 1)))

    def length(self, x: Any, axes: tuple[int, ...]) -> Any:
        return (
            tf.norm(x, axis=axes[0] if len(axes) == 1 else axes, keepdims=True)
            if len(axes) < 3
            else tf.sqrt(tf.reduce_sum(tf.square(x), axes, keepdims=True))
        )

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return tf.reshape(x, shape)

    def broadcast(self, x: Any, like: Any) -> Any:
        return tf.broadcast_to(x, tf.shape(like))

    def moved(self, x: Any, order: tuple[int, ...]) -> Any:
        return tf.transpose(x, order)

    def swap(self, x: Any) -> Any:
        return tf.linalg.matrix_transpose(x)

    def part(self, x: Any, width: int) -> Any:
        return x[..., :width]

    def halves(self, x: Any) -> Any:
        return tf.split(x, 2, axis=3)

    def joined(self, parts: tuple[Any, ...], axis: int) -> Any:
        return tf.concat(parts, axis)

    def softmax(self, x: Any) -> Any:
        return tf.nn.softmax(x)

    def power(self, x: Any, exponent: float) -> Any:
        return tf.pow(x, exponent)

    def constant(self, numbers: list[list[float]]) -> Any:
        return tf.constant(numbers)

    def cumulated(self, x: Any, axis: int) -> Any:
        return tf.cumsum(x, axis)

    def least(self, x: Any, axes: tuple[int, ...]) -> Any:
        return tf.reduce_min(x, axes, keepdims=True)

    def largest(self, x: Any, axes: tuple[int, ...]) -> Any:
        return tf.reduce_max(x, axes, keepdims=True)

    def blurred(self, x: Any) -> Any:
        return tf.nn.avg_pool2d(x, 3, 1, "SAME")

    magnitude = staticmethod(tf.abs)
    square = staticmethod(tf.square)
    maximum = staticmethod(tf.maximum)
    sqrt = staticmethod(tf.sqrt)
    rsqrt = staticmethod(tf.math.rsqrt)
    tanh = staticmethod(tf.tanh)
    sigmoid = staticmethod(tf.sigmoid)
    erf = staticmethod(tf.math.erf)
    exp = staticmethod(tf.exp)
    relu = staticmethod(tf.nn.relu)
    matmul = staticmethod(tf.matmul)


def layers_of(keras: Any) -> dict[str, Any]:
    """Return the norms that Keras has layers for."""
    layers = keras.layers

    def own(make: Any) -> Any:
        return lambda f, x: f.layer(make(), x)

    found = {
        "LayerNorm": own(layers.LayerNormalization),
        "LayerNorm without affine": own(lambda: layers.LayerNormalization(center=False, scale=False)),
        "LayerNorm over 2 axes": own(lambda: layers.LayerNormalization(axis=(1, 2))),
        "LayerNorm over 3 axes": own(lambda: layers.LayerNormalization(axis=(1, 2, 3))),
        "LayerNorm over channels": own(lambda: layers.LayerNormalization(epsilon=1e-6)),
        "BatchNorm": own(layers.BatchNormalization),
        "BatchNorm before Relu and Conv": lambda f, x: f.relu(f.layer(layers.BatchNormalization(), x)),
        "BatchNorm of the batch at run time": lambda f, x: _training(f, layers.BatchNormalization(), x),
        "GroupNorm": own(lambda: layers.GroupNormalization(GROUPS)),
        "GroupNorm of one group": own(lambda: layers.GroupNormalization(1)),
        "InstanceNorm": own(lambda: layers.GroupNormalization(-1)),
        "cosine attention": None,
        "ScaleNorm": lambda f, x: f.layer(layers.UnitNormalization(), x) * f.weight((1,), 3.0, 0.0),
        "per-image standardization": lambda f, x: tf.image.per_image_standardization(x),
        "LRN": lambda f, x: tf.nn.local_response_normalization(x, 2, 1.0, 0.02, 0.75),
    }
    if hasattr(layers, "RMSNormalization"):
        found["RMSNorm"] = own(layers.RMSNormalization)
    return {name: layer for name, layer in found.items() if layer is not None}


def _training(f: Any, layer: Any, x: Any) -> Any:
    f.layer(layer, x)
    return f.made[f.at[1] - 1](x, training=True)


def main() -> int:
    library, folder, *names = sys.argv[1:]
    keras = importlib.import_module(library)

    def export(name: str, path: str) -> None:
        operations = Operations(keras)
        shapes = shapes_of(name, 3)
        operations.run(name, *(tf.random.normal((3, *shape)) for shape in shapes))
        labels = ["x", "second"]
        signature = [
            tf.TensorSpec((None, *shape), tf.float32, name=label) for label, shape in zip(labels, shapes, strict=False)
        ]
        function = tf.function(lambda *inputs: operations.run(name, *inputs), input_signature=signature)
        tf2onnx.convert.from_function(function, input_signature=signature, opset=17, output_path=path)

    return save_all(folder, names, export)


if __name__ == "__main__":
    main()
