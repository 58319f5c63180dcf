"""What torch's exporter leaves behind and no weight takes part in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest
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


@pytest.mark.parametrize("channels", [8, 1030])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
def test_a_convolution_without_a_bias_gets_none(kind: type[nn.Conv2d], channels: int) -> None:
    """For conv3d the exporter's zeros are of the shape [M, 2], which no runtime takes."""
    module = nn.Sequential(kind(1, channels, 1, bias=False), nn.ReLU()).eval()
    (conv, _) = export(module, (torch.randn(1, 1, *[2] * {nn.Conv1d: 1, nn.Conv2d: 2}.get(kind, 3)),)).model.graph.node
    assert len(conv.input) == 2


class Within(nn.Module):
    """Runs all of its parts within a context, in which torch.export loses what module they are."""

    def __init__(self, context: Callable[[], AbstractContextManager[object]]) -> None:
        super().__init__()
        self.conv, self.bn, self.context = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), context

    def forward(self, x: Tensor) -> Tensor:
        with self.context():
            out: Tensor = self.bn(self.conv(x)).relu()
        return out


@pytest.mark.parametrize(
    "context", [partial(torch.autocast, "cpu", torch.bfloat16), torch.no_grad], ids=["autocast", "no_grad"]
)
def test_modules_within_a_context_are_found(context: Callable[[], AbstractContextManager[object]]) -> None:
    folded = fold_module(drawn(Within(context)), (torch.randn(2, 3, 8, 8),))
    assert folded.removed == ("bn",) and folded.added == ("conv.bias",)
    assert [verdict.finding.name for verdict in folded.folds] == ["bn"]
