"""Small modules with what folds in place stumble over, each with a batch for it. Statistics are drawn, not defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every norm statistics, gammas of both signs and betas; in eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> Tensor:
        return (torch.rand(tensor.shape, generator=generator) * (high - low) + low).to(tensor)

    with torch.no_grad():
        for part in module.modules():
            if not isinstance(part, (_NormBase, FrozenNorm)):
                continue
            if part.running_mean is not None and part.running_var is not None:
                part.running_mean.copy_(uniform(part.running_mean, -1, 1))
                part.running_var.copy_(uniform(part.running_var, 0.2, 2))
            if part.weight is not None and part.bias is not None:
                part.weight.copy_(uniform(part.weight, -1.5, 1.5))
                part.bias.copy_(uniform(part.bias, -1, 1))
    return module.eval()


class FrozenNorm(nn.Module):
    """FrozenBatchNorm2d as torchvision and detectron write it: buffers only, the affine computed in forward()."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.reshape(1, -1, 1, 1), self.bias.reshape(1, -1, 1, 1)
        variance, mean = self.running_var.reshape(1, -1, 1, 1), self.running_mean.reshape(1, -1, 1, 1)
        scale = weight * (variance + 1e-5).rsqrt()
        return x * scale + (bias - mean * scale)


class TwoNorms(nn.Module):
    """One convolution, two norms behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.a(y).relu(), self.b(y).tanh()


class CalledTwice(nn.Module):
    """One convolution called twice, with another norm behind each call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.conv(self.a(self.conv(x)).relu()))
        return out


class NormShared(nn.Module):
    """Two convolutions with one norm between them and their sum; they could be merged, but have no module for it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.bn = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.one(x)) + self.bn(self.other(x))
        return out


class BlockTwice(nn.Module):
    """A convolution with its norm, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(self.block(x))
        return out


class Tied(nn.Module):
    """Two Linears of one weight; a norm stands behind the first only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn, self.second = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.bn(self.first(x)).relu())
        return out


class InForward(nn.Module):
    """The affine of a norm written into forward(), and a functional BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.gamma = nn.Parameter(torch.tensor([0.5, -1.0, 2.0, 1.5]).reshape(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        bn = self.bn
        y = nn.functional.batch_norm(self.conv(x), bn.running_mean, bn.running_var, bn.weight, bn.bias)
        return y * self.gamma


class LooksInside(nn.Module):
    """forward() asks the norm for its width, which Identity does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.last = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
        self.after = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.last(self.bn(self.conv(x)).relu() / self.bn.num_features))
        return out


class NormActivation(nn.BatchNorm2d):
    """A norm that is also its activation, as timm has it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.1, self.eps
        )
        out: Tensor = self.act(self.drop(x))
        return out


class Nested(nn.Module):
    """Keyword, tuple and dict in, dict out; and a module that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn, self.b = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(3, 5)
        self.unused = nn.BatchNorm1d(7)

    def forward(self, pair: tuple[Tensor, Tensor], *, more: dict[str, Tensor], scale: float = 2.0) -> dict[str, Any]:
        y = self.bn(self.a(pair[0]))
        return {"sum": y + self.b(pair[1]) * scale, "rest": (more["x"] + 1, y)}


class Transposed(nn.Module):
    """Linear on [N, L, C], its norm on [N, C, L]."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.linear, self.bn = nn.Linear(6, 8, bias=bias), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.linear(x).transpose(1, 2)).transpose(1, 2)
        return out


class ScaledConv(nn.Conv2d):
    """Its weight is computed from another one in forward(), as equalized learning rates have it."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size)
        self.weight_orig = self.weight
        del self.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._conv_forward(x, self.weight_orig * 0.5, self.bias)
        return out


class Signs(nn.Conv2d):
    """A network of one bit."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._conv_forward(x, self.weight.sign() * 0.1, self.bias)
        return out


class Scaled(nn.Sequential):
    """Such a convolution and its norm."""

    def __init__(self) -> None:
        super().__init__(ScaledConv(3, 4, 3), nn.BatchNorm2d(4))


def image(*shape: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(*shape, generator=torch.Generator().manual_seed(1)),)


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a nest of tuples and dicts."""
    if isinstance(tree, Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    return [leaf for part in parts for leaf in leaves(part)]


def behind_conv(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm)
