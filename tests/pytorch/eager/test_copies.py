"""Copies that keep what copy.deepcopy and the classes' own copies lose."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, fx, nn

from normfold.pytorch.eager.call import Call
from normfold.pytorch.eager.copies import copied, state_of
from normfold.pytorch.eager.reference import eager_run
from normfold.pytorch.fold_module import fold_module
from tests.pytorch.nets import drawn


class Counter(nn.Module):
    """Counts its calls in a buffer, remembers its input, and holds a lock and a plain list of its modules."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.steps = [self.conv, self.bn]
        self.lock = threading.Lock()
        self.last: Tensor | None = None
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x
        for step in self.steps:
            x = step(x)
        return x


def test_parameters_are_shared_and_all_else_is_new() -> None:
    module = drawn(Counter())
    copy = copied(module)
    assert type(copy) is type(module) and isinstance(copy, Counter)
    assert copy.conv.weight is module.get_parameter("conv.weight")
    assert copy.steps == [copy.conv, copy.bn]
    copy(torch.randn(1, 3, 5, 5))
    assert float(copy.calls) == 1 and float(module.get_buffer("calls")) == 0
    own = copied(module, with_parameters=True)
    assert own.get_parameter("conv.weight") is not module.get_parameter("conv.weight")


def test_training_flags_of_a_graph_module_survive() -> None:
    """Its own copy comes back in training mode."""
    module = fx.symbolic_trace(drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())))
    module.eval()
    copy = copied(module)
    assert not any(part.training for part in copy.modules())
    folded = fold_module(module, (torch.randn(2, 3, 6, 6),))
    assert folded.removed == ("1",) and not folded.module.training


def test_buffers_that_share_memory_still_do() -> None:
    module = nn.Module()
    module.register_buffer("whole", torch.arange(6.0))
    module.register_buffer("part", module.get_buffer("whole")[2:4])
    copy = copied(module)
    copy.get_buffer("whole").zero_()
    assert copy.get_buffer("part").tolist() == [0.0, 0.0]
    assert module.get_buffer("part").tolist() == [2.0, 3.0]


def test_what_a_call_changes_is_seen_and_not_done_to_the_module() -> None:
    module = drawn(Counter())
    before = state_of(module)
    run = eager_run(module)
    for _ in range(3):
        run(Call((torch.randn(1, 3, 5, 5),)))
    assert state_of(module) == before


def test_folding_leaves_the_module_as_it_was() -> None:
    module = drawn(Counter())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    folded = fold_module(module, (torch.randn(2, 3, 6, 6),))
    assert folded.removed == ("bn",)
    folded.module(torch.randn(2, 3, 6, 6))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert isinstance(module, Counter) and module.last is None


def test_weights_that_were_made_in_inference_mode_are_taken() -> None:
    with torch.inference_mode():
        module = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
        folded = fold_module(module, (torch.randn(2, 3, 6, 6),))
        x = torch.randn(2, 3, 6, 6)
        torch.testing.assert_close(folded.module(x), module(x), rtol=1e-4, atol=1e-4)
    assert folded.removed == ("1",)
