"""Export the published norms with jax2onnx: python -m tests.sweeps.norms.with_jax FOLDER [NAME ...].

Needs jax, flax and jax2onnx.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import onnx
from flax import linen, nnx
from jax2onnx import to_onnx

from tests.sweeps.norms.formulas import CHANNELS, GROUPS
from tests.sweeps.norms.published import Weights, network, save_all, shapes_of


class Operations:
    """The operations of ``published`` in JAX, with the layers of Flax."""

    channel = 3
    space = (1, 2)
    kernel_inputs = (0, 1, 2)
    kernel_space = (0, 1)
    kernel_scale = (CHANNELS,)

    def __init__(self, name: str) -> None:
        self.name, self.layers = name, LAYERS
        self.weights = Weights()
        self.arrays: list[Any] = []
        self.made: list[Any] = []
        self.second: Any = None
        self.at = [0, 0]

    def __call__(self, x: Any, second: Any = None) -> Any:
        self.second, self.at = second, [0, 0]
        return network(self, self.name, x)

    def weight(self, shape: tuple[int, ...], near: float, spread: float) -> Any:
        self.at[0] += 1
        if self.at[0] > len(self.arrays):
            self.arrays.append(nnx.Param(jnp.asarray(self.weights.draw(shape, near, spread))))
        return self.arrays[self.at[0] - 1][...]

    def layer(self, make: Any) -> Any:
        """Return a layer of Flax's own, with trained weights; the same one in every run."""
        self.at[1] += 1
        if self.at[1] > len(self.made):
            made = make(nnx.Rngs(0))
            for key, near in (("kernel", 0.0), ("bias", 0.0), ("scale", 1.0), ("mean", 0.0), ("var", 1.0)):
                variable = getattr(made, key, None)
                if isinstance(variable, nnx.Variable) and variable[...] is not None:
                    variable[...] = jnp.asarray(self.weights.draw(variable[...].shape, near, 0.3))
            self.made.append(made)
        return self.made[self.at[1] - 1]

    def dense(self, x: Any, width: int) -> Any:
        return self.layer(lambda rngs: nnx.Linear(CHANNELS, width, rngs=rngs))(x)

    def conv(self, x: Any, width: int) -> Any:
        return self.layer(lambda rngs: nnx.Conv(CHANNELS, width, (3, 3), rngs=rngs))(x)

    def kernel(self) -> Any:
        return self.weight((3, 3, CHANNELS, CHANNELS), 0.0, 0.2)

    def convolved(self, x: Any, kernel: Any) -> Any:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def input_rows(self, power: Any) -> Any:
        return power.reshape(CHANNELS, CHANNELS)

    def neighbours(self, x: Any, size: int) -> Any:
        padded = jnp.concatenate([x[..., : size // 2] * 0.0, x, x[..., : size // 2] * 0.0], axis=3)
        parts = [jax.lax.slice_in_dim(padded, i, i + CHANNELS, axis=3) for i in range(size)]
        return sum(parts[1:], parts[0]) / size

    def rank(self, x: Any) -> int:
        return int(x.ndim)

    def mean(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.mean(x, axes, keepdims=True)

    def sum(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.sum(x, axes, keepdims=True)

    def var(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.var(x, axes, keepdims=True)

    def deviation(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.std(x, axes, ddof=1, keepdims=True)

    def length(self, x: Any, axes: tuple[int, ...]) -> Any:
        if len(axes) == 1:
            return jnp.linalg.norm(x, axis=axes[0], keepdims=True)
        return jnp.sqrt(jnp.sum(jnp.square(x), axes, keepdims=True))

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return jnp.reshape(x, (x.shape[0], *shape[1:]) if shape[0] == -1 and len(shape) > 1 else shape)

    def broadcast(self, x: Any, like: Any) -> Any:
        return jnp.broadcast_to(x, like.shape)

    def moved(self, x: Any, order: tuple[int, ...]) -> Any:
        return jnp.transpose(x, order)

    def swap(self, x: Any) -> Any:
        return jnp.swapaxes(x, -1, -2)

    def part(self, x: Any, width: int) -> Any:
        return x[..., :width]

    def halves(self, x: Any) -> Any:
        return jnp.split(x, 2, axis=3)

    def joined(self, parts: tuple[Any, ...], axis: int) -> Any:
        return jnp.concatenate(parts, axis)

    def softmax(self, x: Any) -> Any:
        return jax.nn.softmax(x)

    def power(self, x: Any, exponent: float) -> Any:
        return jnp.power(x, exponent)

    def constant(self, numbers: list[list[float]]) -> Any:
        return jnp.asarray(numbers)

    def cumulated(self, x: Any, axis: int) -> Any:
        return jnp.cumsum(x, axis=axis)

    def least(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.min(x, axes, keepdims=True)

    def largest(self, x: Any, axes: tuple[int, ...]) -> Any:
        return jnp.max(x, axes, keepdims=True)

    def blurred(self, x: Any) -> Any:
        return linen.avg_pool(x, window_shape=(3, 3), strides=(1, 1), padding="SAME", count_include_pad=False)

    magnitude = staticmethod(jnp.abs)
    square = staticmethod(jnp.square)
    maximum = staticmethod(jnp.maximum)
    sqrt = staticmethod(jnp.sqrt)
    rsqrt = staticmethod(jax.lax.rsqrt)
    tanh = staticmethod(jnp.tanh)
    sigmoid = staticmethod(jax.nn.sigmoid)
    erf = staticmethod(jax.lax.erf)
    exp = staticmethod(jnp.exp)
    relu = staticmethod(jax.nn.relu)
    matmul = staticmethod(jnp.matmul)


def _own(make: Any) -> Any:
    return lambda f, x: f.layer(make)(x)


def _batch_norm(rngs: Any) -> Any:
    return nnx.BatchNorm(CHANNELS, use_running_average=True, rngs=rngs)


LAYERS: dict[str, Any] = {
    "LayerNorm": _own(lambda rngs: nnx.LayerNorm(CHANNELS, rngs=rngs)),
    "LayerNorm without affine": _own(
        lambda rngs: nnx.LayerNorm(CHANNELS, use_bias=False, use_scale=False, use_fast_variance=False, rngs=rngs)
    ),
    "LayerNorm over channels": _own(lambda rngs: nnx.LayerNorm(CHANNELS, use_fast_variance=False, rngs=rngs)),
    "RMSNorm": _own(lambda rngs: nnx.RMSNorm(CHANNELS, rngs=rngs)),
    "BatchNorm": _own(_batch_norm),
    "BatchNorm before Relu and Conv": lambda f, x: f.relu(f.layer(_batch_norm)(x)),
    "InstanceNorm": _own(lambda rngs: nnx.InstanceNorm(CHANNELS, rngs=rngs)),
    "GroupNorm": _own(lambda rngs: nnx.GroupNorm(CHANNELS, GROUPS, rngs=rngs)),
    "GroupNorm of one group": _own(lambda rngs: nnx.GroupNorm(CHANNELS, 1, rngs=rngs)),
}


def main() -> int:
    folder, *names = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")

    def export(name: str, path: str) -> None:
        module = Operations(name)
        shapes = shapes_of(name, 3)
        module(*(jnp.ones((3, *shape)) for shape in shapes))
        onnx.save(to_onnx(module, [("B", *shape) for shape in shapes], opset=21), path)

    return save_all(folder, names, export)


if __name__ == "__main__":
    main()
