"""The mode that a module is called in: flags come back, and autocast is off where types must stay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from normfold.errors import UsageError
from normfold.pytorch.eager.call import evaluation, without_autocast


def test_flags_come_back_as_they_were() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with pytest.raises(UsageError, match=r"call module\.eval"), evaluation(module):
        pass
    with evaluation(module, switch=True):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False]


def test_autocast_is_off_inside_and_on_again_after() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        with without_autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
