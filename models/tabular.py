"""A network for tables: categories and numbers, with norms before and behind its Linear layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Tabular(nn.Module):
    """Categories [N, 2] (int64, below 20) and numbers [N, 12] of very different units -> logits [N, 2]; 3 BatchNorms.

    The first norm stands on an input of the network and passes a Concat; the others stand between Relu and Linear,
    so that they can only go forward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.numbers = nn.BatchNorm1d(12)
        self.layers = nn.Sequential(
            nn.Linear(20, 64),
            nn.ReLU(),
            nn.BatchNorm1d(64),
            nn.Dropout(0.2),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.BatchNorm1d(32),
            nn.Linear(32, 2),
        )

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat((self.embedding(categories).flatten(1), self.numbers(numbers)), 1))
        return logits
