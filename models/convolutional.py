"""Image networks whose norms stand next to convolutions: residual, inverted residual, re-parameterizable, U-shaped."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Conv without bias, then BatchNorm: [N, inputs, H, W] -> [N, outputs, H/stride, W/stride]."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is a strided 1x1 convolution where the shape changes (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(inputs, outputs, 3, stride)
        self.second = conv_bn(outputs, outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut: nn.Module = conv_bn(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Residual(nn.Module):
    """A small ResNet: image [N, 3, 32, 32] -> logits [N, 10]; 9 BatchNorms, all behind convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 16), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.Sequential(ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 48, 2))
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


class InvertedResidual(nn.Module):
    """Expand, filter each channel alone, project without activation (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.has_shortcut = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *conv_bn(inputs, hidden, 1),
            nn.ReLU6(),
            *conv_bn(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(),
            *conv_bn(hidden, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.has_shortcut else out


class MobileNetLike(nn.Module):
    """A small MobileNetV2: image [N, 3, 32, 32] -> logits [N, 10]; 14 BatchNorms, some behind depthwise convs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(3, 8, 3, 2), nn.ReLU6())
        self.blocks = nn.Sequential(
            InvertedResidual(8, 12, 2, 4),
            InvertedResidual(12, 12, 1, 4),
            InvertedResidual(12, 16, 2, 4),
            InvertedResidual(16, 16, 1, 4),
        )
        self.last = nn.Sequential(*conv_bn(16, 64, 1), nn.ReLU6())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.last(self.blocks(self.stem(x))).mean((2, 3)))
        return logits


class RepVggBlock(nn.Module):
    """Three parallel linear branches of one input: 3x3, 1x1 and, where the shape allows, BatchNorm alone."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.wide = conv_bn(inputs, outputs, 3, stride)
        self.narrow = conv_bn(inputs, outputs, 1, stride)
        self.identity = nn.BatchNorm2d(inputs) if stride == 1 and inputs == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        total = self.wide(x) + self.narrow(x)
        return torch.relu(total if self.identity is None else total + self.identity(x))


class RepVggLike(nn.Module):
    """A small RepVGG in training form (Ding et al. 2021): image [N, 3, 32, 32] -> logits [N, 10]; 13 BatchNorms."""

    def __init__(self) -> None:
        super().__init__()
        shapes = ((3, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1))
        self.blocks = nn.Sequential(*(RepVggBlock(*shape) for shape in shapes))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return logits


def conv_gn(inputs: int, outputs: int) -> nn.Sequential:
    """Conv, GroupNorm in four groups, SiLU: [N, inputs, H, W] -> [N, outputs, H, W]."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.GroupNorm(4, outputs), nn.SiLU())


class UNet(nn.Module):
    """A small U-Net with GroupNorm (Ronneberger et al. 2015): image [N, 3, 32, 32] -> mask [N, 1, 32, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = conv_gn(3, 16), conv_gn(16, 32)
        self.bottom = conv_gn(32, 32)
        self.raise2, self.raise1 = nn.ConvTranspose2d(32, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.up2, self.up1 = conv_gn(64, 32), conv_gn(32, 16)
        self.mask = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(x)
        coarse = self.down2(nn.functional.max_pool2d(fine, 2))
        bottom = self.bottom(nn.functional.max_pool2d(coarse, 2))
        coarse = self.up2(torch.cat((self.raise2(bottom), coarse), 1))
        mask: Tensor = self.mask(self.up1(torch.cat((self.raise1(coarse), fine), 1)))
        return mask
