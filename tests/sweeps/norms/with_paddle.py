"""Export the published norms with paddle2onnx: python -m tests.sweeps.norms.with_paddle FOLDER [NAME ...].

Needs paddlepaddle and paddle2onnx.
"""

from __future__ import annotations

import sys
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional
from paddle.static import InputSpec

from tests.sweeps.norms import formulas, published
from tests.sweeps.norms.formulas import CHANNELS, GROUPS, SIDE, TOKENS
from tests.sweeps.norms.published import Weights, network, save_all, shapes_of


class Operations(nn.Layer):  # type: ignore[misc]  # Paddle has no types
    """The operations of ``published`` in Paddle; weights are made in the first run and found again afterwards."""

    channel = 1
    space = (2, 3)
    kernel_inputs = (1, 2, 3)
    kernel_space = (2, 3)
    kernel_scale = (CHANNELS, 1, 1, 1)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.norm, self.layers = name, LAYERS
        self.made = nn.LayerList()
        self.arrays = nn.ParameterList()
        self.weights = Weights()
        self.at = [0, 0]
        self.further: list[Any] = []

    def forward(self, x: Any, second: Any = None) -> Any:
        self.at, self.further = [0, 0], [second]
        return network(self, self.norm, x)

    @property
    def second(self) -> Any:
        """Return the second input; a list, for Paddle makes a buffer of a tensor that is an attribute."""
        return self.further[0]

    def weight(self, shape: tuple[int, ...], near: float, spread: float) -> Any:
        self.at[0] += 1
        if self.at[0] > len(self.arrays):
            made = paddle.create_parameter(list(shape), "float32")
            made.set_value(self.weights.draw(shape, near, spread))
            self.arrays.append(made)
        return self.arrays[self.at[0] - 1]

    def layer(self, made: Any) -> Any:
        """Return a layer of Paddle's own, with trained weights; the same one in every run."""
        self.at[1] += 1
        if self.at[1] > len(self.made):
            made = made()
            for key, value in made.state_dict().items():
                is_near_1 = "variance" in key or (key.endswith(("weight", "scale")) and value.ndim == 1)
                value.set_value(self.weights.draw(tuple(value.shape), float(is_near_1), 0.3))
            made.eval()
            self.made.append(made)
        return self.made[self.at[1] - 1]

    def dense(self, x: Any, width: int) -> Any:
        return self.layer(lambda: nn.Linear(CHANNELS, width))(x)

    def conv(self, x: Any, width: int) -> Any:
        return self.layer(lambda: nn.Conv2D(CHANNELS, width, 3, padding=1))(x)

    def kernel(self) -> Any:
        return self.weight((CHANNELS, CHANNELS, 3, 3), 0.0, 0.2)

    def convolved(self, x: Any, kernel: Any) -> Any:
        return functional.conv2d(x, kernel, padding=1)

    def input_rows(self, power: Any) -> Any:
        return power.reshape((CHANNELS, CHANNELS)).transpose((1, 0))

    def neighbours(self, x: Any, size: int) -> Any:
        padded = paddle.concat([x[:, : size // 2] * 0.0, x, x[:, : size // 2] * 0.0], axis=1)
        return sum((padded[:, i : i + CHANNELS] for i in range(1, size)), padded[:, :CHANNELS]) / size

    def rank(self, x: Any) -> int:
        return len(x.shape)

    def mean(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.mean(list(axes), keepdim=True)

    def sum(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.sum(list(axes), keepdim=True)

    def var(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.var(list(axes), unbiased=False, keepdim=True)

    def deviation(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.std(list(axes), keepdim=True)

    def length(self, x: Any, axes: tuple[int, ...]) -> Any:
        return (
            paddle.linalg.norm(x, 2, axes[0], keepdim=True)
            if len(axes) == 1
            else (x * x).sum(list(axes), keepdim=True).sqrt()
        )

    def maximum(self, x: Any, low: Any) -> Any:
        return x.clip(min=low) if isinstance(low, float) else paddle.maximum(x, low)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return x.reshape(list(shape))

    def broadcast(self, x: Any, like: Any) -> Any:
        return paddle.broadcast_to(x, like.shape)

    def moved(self, x: Any, order: tuple[int, ...]) -> Any:
        return x.transpose(list(order))

    def swap(self, x: Any) -> Any:
        return x.transpose((0, 2, 1))

    def part(self, x: Any, width: int) -> Any:
        return x[:, :, :width]

    def halves(self, x: Any) -> Any:
        return paddle.split(x, 2, axis=1)

    def joined(self, parts: tuple[Any, ...], axis: int) -> Any:
        return paddle.concat(list(parts), axis)

    def softmax(self, x: Any) -> Any:
        return functional.softmax(x)

    def power(self, x: Any, exponent: float) -> Any:
        return paddle.pow(x, exponent)

    def constant(self, numbers: list[list[float]]) -> Any:
        return paddle.to_tensor(numbers)

    def cumulated(self, x: Any, axis: int) -> Any:
        return paddle.cumsum(x, axis)

    def least(self, x: Any, axes: tuple[int, ...]) -> Any:
        return paddle.min(x, list(axes), keepdim=True)

    def largest(self, x: Any, axes: tuple[int, ...]) -> Any:
        return paddle.max(x, list(axes), keepdim=True)

    def blurred(self, x: Any) -> Any:
        return functional.avg_pool2d(x, 3, 1, 1, exclusive=True)

    magnitude = staticmethod(paddle.abs)
    square = staticmethod(paddle.square)
    sqrt = staticmethod(paddle.sqrt)
    rsqrt = staticmethod(paddle.rsqrt)
    tanh = staticmethod(paddle.tanh)
    sigmoid = staticmethod(functional.sigmoid)
    erf = staticmethod(paddle.erf)
    exp = staticmethod(paddle.exp)
    relu = staticmethod(functional.relu)
    matmul = staticmethod(paddle.matmul)


def _own(make: Any) -> Any:
    return lambda f, x: f.layer(make)(x)


LAYERS: dict[str, Any] = {
    "LayerNorm": _own(lambda: nn.LayerNorm(CHANNELS)),
    "LayerNorm over 2 axes": _own(lambda: nn.LayerNorm([TOKENS, CHANNELS])),
    "LayerNorm over 3 axes": _own(lambda: nn.LayerNorm([CHANNELS, SIDE, SIDE])),
    "BatchNorm": _own(lambda: nn.BatchNorm2D(CHANNELS)),
    "BatchNorm before Relu and Conv": lambda f, x: f.relu(f.layer(lambda: nn.BatchNorm2D(CHANNELS))(x)),
    "InstanceNorm": _own(lambda: nn.InstanceNorm2D(CHANNELS)),
    "GroupNorm": _own(lambda: nn.GroupNorm(GROUPS, CHANNELS)),
    "GroupNorm of one group": _own(lambda: nn.GroupNorm(1, CHANNELS)),
    "LRN": _own(lambda: nn.LocalResponseNorm(5)),
    "ScaleNorm": lambda f, x: functional.normalize(x, axis=-1) * f.weight((1,), 3.0, 0.0),
}


def main() -> int:
    folder, *names = sys.argv[1:]
    paddle.jit.ignore_module([formulas, published])  # its functions are run, not rewritten

    def export(name: str, path: str) -> None:
        module = Operations(name)
        module.eval()
        shapes = shapes_of(name, 1)
        module(*(paddle.randn([3, *shape]) for shape in shapes))
        spec = [
            InputSpec([None, *shape], "float32", label) for label, shape in zip(["x", "second"], shapes, strict=False)
        ]
        paddle.onnx.export(module, path.removesuffix(".onnx"), input_spec=spec, opset_version=17)

    return save_all(folder, names, export)


if __name__ == "__main__":
    main()
