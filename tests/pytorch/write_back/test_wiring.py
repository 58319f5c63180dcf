"""Parallel branches of one input, merged in a module: what is left of it, by which means, and what stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from normfold.findings.reason import Reason
from normfold.pytorch.fold_module import fold_module
from normfold.pytorch.write_back.writing import Zero
from tests.pytorch.nets import drawn, image
from tests.pytorch.test_fold_module import equal, same_state


def conv_bn(width: int = 4, size: int | tuple[int, int] = 3, groups: int = 1) -> nn.Sequential:
    """A convolution of stride 1 that keeps the size, without bias, and its norm."""
    size = size if isinstance(size, tuple) else (size, size)
    pads = size[0] // 2, size[1] // 2
    return nn.Sequential(nn.Conv2d(width, width, size, padding=pads, groups=groups, bias=False), nn.BatchNorm2d(width))


class Block(nn.Module):
    """Branches, a way to add them, and what comes after."""

    def __init__(
        self, total: Callable[[nn.ModuleList, Tensor], Tensor], *branches: nn.Module, after: nn.Module
    ) -> None:
        super().__init__()
        self.total, self.branches, self.after = total, nn.ModuleList(branches), after

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.total(self.branches, x))
        return out


def added(branches: nn.ModuleList, x: Tensor) -> Tensor:
    total: Tensor = branches[0](x)
    for branch in branches[1:]:
        total = total + branch(x)
    return total


def added_in_place(branches: nn.ModuleList, x: Tensor) -> Tensor:
    """As the first MobileOne does: what starts the sum may be the branch that goes."""
    total: Tensor = 0 + branches[0](x)
    for branch in branches[1:]:
        total += branch(x)
    return total


def added_and_shortcut(branches: nn.ModuleList, x: Tensor) -> Tensor:
    return added(branches, x) + x


def added_then_relu(branches: nn.ModuleList, x: Tensor) -> Tensor:
    return functional.relu(added(branches, x))


def shortcut_then_relu(branches: nn.ModuleList, x: Tensor) -> Tensor:
    return functional.relu(added_and_shortcut(branches, x))


def less_shortcut(branches: nn.ModuleList, x: Tensor) -> Tensor:
    return functional.silu(added(branches, x) - x)


def norm_behind_shortcut(branches: nn.ModuleList, x: Tensor) -> Tensor:
    """QARepVGG."""
    return functional.silu(branches[1](branches[0](x) + x))


def less_the_second(branches: nn.ModuleList, x: Tensor) -> Tensor:
    out: Tensor = functional.relu(branches[0](x) - branches[1](x))
    return out


def less_the_first(branches: nn.ModuleList, x: Tensor) -> Tensor:
    out: Tensor = functional.relu(branches[1](x) - branches[0](x))
    return out


def scaled(branches: nn.ModuleList, x: Tensor) -> Tensor:
    """RepMixer: the layer scale stands in forward()."""
    out: Tensor = x + 0.5 * (branches[0](x) - branches[1](x))
    return out


def with_another_input(branches: nn.ModuleList, x: Tensor) -> Tensor:
    return functional.relu(added(branches, x) + x.sigmoid())


def in_network(*block: nn.Module) -> nn.Module:
    """The block is not the module itself, whose class must stay."""
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), *block)


BN, ACT = nn.BatchNorm2d, nn.ReLU


@dataclass(frozen=True)
class Row:
    """How the branches are added, the branches, and what becomes of the block."""

    name: str
    total: Callable[[nn.ModuleList, Tensor], Tensor]
    branches: Callable[[], tuple[nn.Module, ...]]
    after: Callable[[], nn.Module] = ACT
    zeros: int = 0
    rebuilt: bool = False
    norms: int = 0
    reason: Reason | None = None


ROWS = (
    Row("RepVGG", added, lambda: (conv_bn(), conv_bn(size=1), BN(4)), rebuilt=True),
    Row("MobileOne", added_in_place, lambda: (conv_bn(size=1), conv_bn(), conv_bn(), BN(4)), rebuilt=True),
    Row("depthwise", added, lambda: (conv_bn(groups=4), BN(4)), nn.Sigmoid, rebuilt=True),
    Row("with a shortcut", added_and_shortcut, lambda: (conv_bn(), conv_bn(size=1)), rebuilt=True),
    Row("a norm behind the sum", added_and_shortcut, lambda: (conv_bn(), conv_bn()), lambda: BN(4), rebuilt=True),
    Row("RepMixer", scaled, lambda: (conv_bn(groups=4), BN(4)), nn.Identity, rebuilt=True),
    Row("relu in forward", added_then_relu, lambda: (conv_bn(), conv_bn(size=1), BN(4)), nn.Identity, zeros=2),
    Row("the largest comes last", added_then_relu, lambda: (BN(4), conv_bn(size=1), conv_bn()), nn.Identity, zeros=2),
    Row("dropout is not lost", added, lambda: (conv_bn(), BN(4)), nn.Dropout, zeros=1),
    Row("difference", less_the_second, lambda: (conv_bn(), BN(4)), nn.Identity, zeros=1),
    Row("another input", with_another_input, lambda: (conv_bn(), conv_bn(size=1)), nn.Identity, zeros=1),
    Row(
        "the window grows",
        added_then_relu,
        lambda: (conv_bn(size=(3, 1)), conv_bn(size=(1, 3)), conv_bn(size=1), conv_bn(size=1), conv_bn(size=1)),
        nn.Identity,
        zeros=4,
    ),
    Row("the identity is no module", shortcut_then_relu, lambda: (conv_bn(), BN(4)), nn.Identity, zeros=1),
    Row("a shortcut is subtracted", less_shortcut, lambda: (conv_bn(groups=2), BN(4)), nn.Identity, zeros=1),
    Row("a norm behind a shortcut", norm_behind_shortcut, lambda: (conv_bn(), BN(4)), nn.Identity),
    Row(
        "the largest is subtracted", less_the_first, lambda: (conv_bn(), BN(4)), nn.Identity, norms=1,
        reason=Reason.IN_FORWARD,
    ),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_branches_become_one_or_stay_with_their_reason(row: Row) -> None:
    module = drawn(in_network(Block(row.total, *row.branches(), after=row.after())))
    args = image(2, 3, 6, 6)()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    folded = fold_module(module, args)
    equal(folded.module(*args), module(*args))
    same_state(module.state_dict(), before)
    parts = list(folded.module.modules())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in parts) == row.norms
    assert sum(isinstance(part, Zero) for part in parts) == row.zeros
    assert folded.rebuilt == (("2",) if row.rebuilt else ())
    assert (row.reason is not None) <= (row.reason in {o.reason for v in folded.kept for o in v.obstacles})
    after = {key for key, value in folded.module.state_dict().items() if value.numel()}  # without the marks
    assert after == (before.keys() - set(folded.removed_keys)) | set(folded.added)


def test_what_is_left_of_a_block_keeps_its_names_and_hooks() -> None:
    block = Block(added, conv_bn(size=1), conv_bn(), after=ACT())
    module = drawn(in_network(block))
    calls: list[str] = []
    block.register_forward_hook(lambda part, args, out: calls.append("block"))
    block.branches[1].register_forward_hook(lambda part, args, out: calls.append("branch"))
    folded = fold_module(module, image(1, 3, 6, 6)())
    calls.clear()
    folded.module(*image(1, 3, 6, 6)())
    assert calls == ["branch", "block"]
    assert folded.removed == ("2.branches.0", "2.branches.1.1")
    assert [key for key, value in folded.module.state_dict().items() if key.startswith("2.") and value.numel()] == [
        "2.branches.1.0.weight",
        "2.branches.1.0.bias",
    ]


class FromNothing(nn.Module):
    """Adds up its branches from a number, 0 in MobileOne; the modules that run lie in a list."""

    def __init__(self, start: float = 0) -> None:
        super().__init__()
        self.branches, self.act, self.start = nn.ModuleList([conv_bn(size=1)]), nn.ReLU(), start

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor | float = self.start
        for branch in self.branches:
            total += branch(x)
        out: Tensor = self.act(total)
        return out


def test_a_block_that_adds_nothing_stays_what_it_is() -> None:
    module, args = drawn(in_network(FromNothing())), image(1, 3, 6, 6)()
    folded = fold_module(module, args)
    equal(folded.module(*args), module(*args))
    assert folded.removed == ("2.branches.0.1",) and not folded.rebuilt


def test_what_is_left_of_a_block_may_lie_in_a_list() -> None:
    module, args = drawn(in_network(FromNothing(2.0))), image(1, 3, 6, 6)()
    folded = fold_module(module, args)
    equal(folded.module(*args), module(*args))
    assert folded.removed == ("2", "2.branches.0.1")
    assert isinstance(folded.module.get_submodule("2.branches.0.0"), nn.Conv2d)


class Heads(nn.Module):
    """Two classifiers of one token, added: products as a Gemm or as a MatMul, by the rank of x."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.first, self.second = nn.Linear(6, 5, bias=bias), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x) if x.dim() == 2 else self.norm(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.first(x) + self.second(x)
        return out


@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_branches_become_one(bias: bool, shape: tuple[int, ...]) -> None:
    module, args = drawn(Heads(bias)), image(*shape)()
    folded = fold_module(module, args)
    equal(folded.module(*args), module(*args))
    assert folded.removed == ("norm", "second")
    assert isinstance(folded.module.second, Zero)


class Residual(nn.Module):
    """x + Linear(x), which is one Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.linear(x)
        return out


def test_a_shortcut_around_a_linear_goes_into_it() -> None:
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), Residual(), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 2))
    args = image(3, 4)()
    folded = fold_module(drawn(module), args)
    equal(folded.module(*args), module(*args))
    assert folded.rebuilt == ("2",) and folded.removed == ("4",)
    assert torch.equal(folded.module.state_dict()["2.linear.bias"], module.state_dict()["2.linear.bias"])
