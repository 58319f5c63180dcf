"""Networks whose norms stand next to matrix products: a LeViT-like hybrid and two small transformers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.convolutional import conv_bn


class LinearNorm(nn.Module):
    """Linear without bias, then BatchNorm1d through flatten and reshape_as: [N, L, inputs] -> [N, L, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.bn = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        normalized: Tensor = self.bn(x.flatten(0, 1)).reshape_as(x)
        return normalized


class NormLinear(nn.Module):
    """BatchNorm1d, then Linear: [N, inputs] -> [N, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(inputs)
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.bn(x))
        return logits


class LevitAttention(nn.Module):
    """Attention with a learned bias for each pair of positions, keys narrower than values (Graham et al. 2021)."""

    def __init__(self, width: int, positions: int, heads: int = 2, key: int = 8) -> None:
        super().__init__()
        self.heads, self.key, self.value = heads, key, 2 * key
        self.qkv = LinearNorm(width, heads * (2 * key + self.value))
        self.position = nn.Parameter(torch.rand(heads, positions, positions) - 0.5)
        self.project = nn.Sequential(nn.Hardswish(), LinearNorm(heads * self.value, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(x).view(batch, length, self.heads, -1).split([self.key, self.key, self.value], 3)
        query, key, value = parts[0].permute(0, 2, 1, 3), parts[1].permute(0, 2, 3, 1), parts[2].permute(0, 2, 1, 3)
        weight = (query @ key * self.key**-0.5 + self.position).softmax(-1)
        out: Tensor = self.project((weight @ value).transpose(1, 2).reshape(batch, length, self.heads * self.value))
        return out


class LevitBlock(nn.Module):
    """Attention and a two-layer perceptron, each with a shortcut: [N, L, width] -> the same."""

    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        self.attention = LevitAttention(width, positions)
        self.perceptron = nn.Sequential(LinearNorm(width, 2 * width), nn.Hardswish(), LinearNorm(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        out: Tensor = x + self.perceptron(x)
        return out


class LevitLike(nn.Module):
    """A small LeViT: image [N, 3, 32, 32] -> logits [N, 10]; 17 BatchNorms, two before a Linear, 12 behind one."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *conv_bn(3, 8, 3, 2), nn.Hardswish(), *conv_bn(8, 16, 3, 2), nn.Hardswish(), *conv_bn(16, width, 3, 2)
        )
        self.blocks = nn.Sequential(*(LevitBlock(width, 16) for _ in range(3)))
        self.head, self.distilled = NormLinear(width, 10), NormLinear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(1)
        return (self.head(x) + self.distilled(x)) / 2  # type: ignore[no-any-return]  # modules return Any


class RootMeanSquareNorm(nn.Module):
    """``weight * x / sqrt(mean(x^2) + eps)`` over the last axis, written out (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class TransformerBlock(nn.Module):
    """Norm before attention, norm before the perceptron (Xiong et al. 2020): [N, L, width] -> the same."""

    def __init__(self, width: int, heads: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = norm(width), norm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0], qkv[1], qkv[2]
        weight = (query @ key.transpose(2, 3) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.project((weight @ value).transpose(1, 2).reshape(batch, length, width))
        out: Tensor = x + self.perceptron(self.norm2(x))
        return out


class Transformer(nn.Module):
    """A small encoder: token ids [N, 16] -> logits [N, 16, vocabulary]; two norms a block and one at the end."""

    def __init__(self, norm: Callable[[int], nn.Module], width: int = 48, vocabulary: int = 64) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(16, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, 4, norm) for _ in range(2)))
        self.norm, self.head = norm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.token(ids) + self.position.weight
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits
