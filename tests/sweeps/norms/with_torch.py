"""Export the published norms with PyTorch: python -m tests.sweeps.norms.with_torch ROAD FOLDER [NAME ...].

ROAD is torchscript or dynamo. Needs torch, onnx and onnxscript.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tests.sweeps.norms.formulas import CHANNELS, GROUPS, SIDE, TOKENS
from tests.sweeps.norms.published import Weights, network, save_all, shapes_of


class Operations(nn.Module):
    """The operations of ``published`` in PyTorch; weights are made in the first run and found again afterwards."""

    channel = 1
    space = (2, 3)
    kernel_inputs = (1, 2, 3)
    kernel_space = (2, 3)
    kernel_scale = (CHANNELS, 1, 1, 1)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.layers = name, LAYERS
        self.made = nn.ModuleList()
        self.parameters_made = nn.ParameterList()
        self.weights = Weights()
        self.second: Any = None
        self.at = [0, 0]

    def forward(self, x: torch.Tensor, second: torch.Tensor | None = None) -> Any:
        self.second, self.at = second, [0, 0]
        return network(self, self.name, x)

    def weight(self, shape: tuple[int, ...], near: float, spread: float) -> Any:
        self.at[0] += 1
        if self.at[0] > len(self.parameters_made):
            array = self.weights.draw(shape, near, spread)
            self.parameters_made.append(nn.Parameter(torch.from_numpy(array), requires_grad=False))
        return self.parameters_made[self.at[0] - 1]

    def layer(self, made: nn.Module) -> Any:
        """Return a layer of PyTorch's own, with trained weights; the same one in every run."""
        self.at[1] += 1
        if self.at[1] > len(self.made):
            for key, value in made.state_dict().items():
                near = 1.0 if "var" in key or (key.endswith("weight") and value.ndim == 1) else 0.0
                if value.is_floating_point():
                    value.copy_(torch.from_numpy(self.weights.draw(tuple(value.shape), near, 0.3)))
            self.made.append(made.eval().requires_grad_(requires_grad=False))
        return self.made[self.at[1] - 1]

    def dense(self, x: torch.Tensor, width: int) -> Any:
        return self.layer(nn.Linear(x.shape[-1], width))(x)

    def conv(self, x: torch.Tensor, width: int) -> Any:
        return self.layer(nn.Conv2d(x.shape[1], width, 3, padding=1))(x)

    def kernel(self) -> Any:
        return self.weight((CHANNELS, CHANNELS, 3, 3), 0.0, 0.2)

    def convolved(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, kernel, padding=1)

    def input_rows(self, power: torch.Tensor) -> torch.Tensor:
        return power.reshape(CHANNELS, CHANNELS).transpose(0, 1)

    def neighbours(self, x: torch.Tensor, size: int) -> Any:
        padded = functional.pad(x, (0, 0, 0, 0, size // 2, size // 2))
        return sum((padded[:, i : i + CHANNELS] for i in range(1, size)), padded[:, :CHANNELS]) / size

    def rank(self, x: torch.Tensor) -> int:
        return x.dim()

    def mean(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return x.mean(axes, keepdim=True)

    def sum(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return x.sum(axes, keepdim=True)

    def var(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return x.var(axes, unbiased=False, keepdim=True)

    def deviation(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return x.std(axes, keepdim=True)

    def length(self, x: torch.Tensor, axes: tuple[int, ...]) -> Any:
        return x.norm(p=2, dim=axes, keepdim=True)

    def maximum(self, x: torch.Tensor, low: Any) -> torch.Tensor:
        return torch.maximum(x, low) if isinstance(low, torch.Tensor) else x.clamp(min=low)

    def reshape(self, x: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return x.reshape(shape)

    def broadcast(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return x.expand_as(like)

    def moved(self, x: torch.Tensor, order: tuple[int, ...]) -> torch.Tensor:
        return x.permute(order)

    def swap(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(-1, -2)

    def part(self, x: torch.Tensor, width: int) -> torch.Tensor:
        return x[..., :width]

    def halves(self, x: torch.Tensor) -> Any:
        return torch.split(x, CHANNELS // 2, dim=1)

    def joined(self, parts: tuple[torch.Tensor, ...], axis: int) -> torch.Tensor:
        return torch.cat(parts, dim=axis)

    def softmax(self, x: torch.Tensor) -> torch.Tensor:
        return x.softmax(-1)

    def power(self, x: torch.Tensor, exponent: float) -> torch.Tensor:
        return x.pow(exponent)

    def constant(self, numbers: list[list[float]]) -> torch.Tensor:
        return torch.tensor(numbers)

    def cumulated(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        return x.cumsum(axis)

    def least(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return x.amin(axes, keepdim=True)

    def largest(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return x.amax(axes, keepdim=True)

    def blurred(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    magnitude = staticmethod(torch.abs)
    square = staticmethod(torch.square)
    sqrt = staticmethod(torch.sqrt)
    rsqrt = staticmethod(torch.rsqrt)
    tanh = staticmethod(torch.tanh)
    sigmoid = staticmethod(torch.sigmoid)
    erf = staticmethod(torch.erf)
    exp = staticmethod(torch.exp)
    relu = staticmethod(torch.relu)
    matmul = staticmethod(torch.matmul)


def _own(make: Any) -> Any:
    return lambda f, x: f.layer(make())(x)


LAYERS: dict[str, Any] = {
    "LayerNorm": _own(lambda: nn.LayerNorm(CHANNELS)),
    "LayerNorm without affine": _own(lambda: nn.LayerNorm(CHANNELS, elementwise_affine=False)),
    "LayerNorm over 2 axes": _own(lambda: nn.LayerNorm((TOKENS, CHANNELS))),
    "LayerNorm over 3 axes": _own(lambda: nn.LayerNorm((CHANNELS, SIDE, SIDE))),
    "RMSNorm": _own(lambda: nn.RMSNorm(CHANNELS)),
    "BatchNorm": _own(lambda: nn.BatchNorm2d(CHANNELS)),
    "BatchNorm before Relu and Conv": lambda f, x: f.relu(f.layer(nn.BatchNorm2d(CHANNELS))(x)),
    "BatchNorm of the batch at run time": _own(lambda: nn.BatchNorm2d(CHANNELS, track_running_stats=False)),
    "InstanceNorm": _own(lambda: nn.InstanceNorm2d(CHANNELS, affine=True)),
    "GroupNorm": _own(lambda: nn.GroupNorm(GROUPS, CHANNELS)),
    "GroupNorm of one group": _own(lambda: nn.GroupNorm(1, CHANNELS)),
    "LRN": _own(lambda: nn.LocalResponseNorm(5)),
    "ScaleNorm": lambda f, x: functional.normalize(x, dim=-1) * f.weight((1,), 3.0, 0.0),
    "RMSNorm over channels": lambda f, x: functional.normalize(x, dim=1) * 4.0 * f.weight((CHANNELS, 1, 1), 1.0, 0.3),
}


def main() -> int:
    road, folder, *names = sys.argv[1:]
    warnings.simplefilter("ignore")

    def export(name: str, path: str) -> None:
        module = Operations(name).eval()
        inputs = tuple(torch.randn(3, *shape) for shape in shapes_of(name, 1))
        with torch.no_grad():
            module(*inputs)
        labels = ["x", "second"][: len(inputs)]
        if road == "dynamo":
            shapes = tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in inputs)
            torch.onnx.export(
                module, inputs, path, dynamo=True, input_names=labels, dynamic_shapes=shapes, verbose=False
            )
        else:
            axes = {label: {0: "batch"} for label in labels}
            torch.onnx.export(
                module, inputs, path, dynamo=False, input_names=labels, dynamic_axes=axes, opset_version=17
            )

    return save_all(folder, names, export)


if __name__ == "__main__":
    main()
