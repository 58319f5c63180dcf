"""What torch's exporter leaves behind and no weight takes part in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normfold.pytorch.export import export
from normfold.pytorch.fold_module import fold_module
from tests.pytorch.nets import drawn


class Squeezed(nn.Module):
    """Squeezes an axis that has another size than 1, which torch leaves as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.bn(self.conv(x).squeeze(1)), x.squeeze(-1)


def test_a_squeeze_of_another_size_than_one_is_none() -> None:
    module, x = drawn(Squeezed()), torch.randn(2, 3, 8, 8)
    result = export(module, (x,))
    assert result.verification
    assert {node.op_type for node in result.model.graph.node} <= {"Conv", "Identity"}
    assert fold_module(module, (x,)).removed == ("bn",)
