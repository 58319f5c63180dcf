"""Changes of the graph are written back to modules: norms that users wrote, and weights with two readers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from normfold.errors import UsageError
from normfold.findings.reason import Reason
from normfold.pytorch.fold_module import fold_module
from tests.pytorch.nets import FrozenNorm, InForward, behind_conv, drawn, image
from tests.pytorch.test_fold_module import equal


class DetectronNorm(FrozenNorm):
    """FrozenBatchNorm2d of detectron2: one way with gradients, another one without."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            return super().forward(x)
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False)


class BatchRenorm(nn.Module):
    """Batch Renormalization at inference: channels last, with statistics of its own."""

    running_mean: Tensor
    running_std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(channels) + 0.5), nn.Parameter(torch.randn(channels))
        self.register_buffer("running_mean", torch.randn(channels))
        self.register_buffer("running_std", torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = (x.transpose(1, -1) - self.running_mean) / self.running_std
        return (self.weight * x + self.bias).transpose(1, -1)


class Transposing(BatchRenorm):
    """Its transposes do not come to nothing, so it must not become Identity."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).transpose(2, 3)


class GhostNorm(nn.BatchNorm2d):
    """Statistics for each of two parts of a batch; those of the first serve at inference."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("running_mean", torch.randn(2 * channels))
        self.register_buffer("running_var", torch.rand(2 * channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        mean, variance = self.running_mean[: self.num_features], self.running_var[: self.num_features]
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, False, 0.1, self.eps)


class GhostParts(nn.Module):
    """TabNet's: the parts of a batch, one after another, through one norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.bn(part) for part in x.chunk(2)])


class SwitchableNorm(nn.Module):
    """The weights of its three statistics are frozen on those of the batch, whose others weigh nothing."""

    means: Tensor
    variances: Tensor
    share: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.rand(channels, 1, 1) + 0.5),
            nn.Parameter(torch.randn(channels, 1, 1)),
        )
        self.register_buffer("means", torch.randn(channels, 1, 1))
        self.register_buffer("variances", torch.rand(channels, 1, 1) + 0.5)
        self.register_buffer("share", torch.tensor([0.0, 0.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.means * self.share[2], self.variances * self.share[2]
        return (x - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias


class OneOfThree(nn.Module):
    """Switchable BatchNorm: one for each width, chosen by a number."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms, self.width = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(3)), 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norms[self.width](x)
        return out


KINDS: dict[str, tuple[Callable[[int], nn.Module], tuple[str, ...]]] = {
    "detectron": (DetectronNorm, ("1",)),
    "batch renormalization": (BatchRenorm, ("1",)),
    "with a transpose": (Transposing, ()),
    "ghost": (GhostNorm, ("1",)),
    "ghost in parts": (GhostParts, ("1.bn",)),
    "switchable, frozen": (SwitchableNorm, ("1",)),
    "one of three": (OneOfThree, ("1.norms.1",)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_norm_that_is_affine_at_inference_goes(kind: str) -> None:
    make, removed = KINDS[kind]
    module, args = drawn(behind_conv(make(4))), image(2, 3, 7, 6)()
    folded = fold_module(module, args)
    assert folded.removed == removed
    equal(folded.module(*args), module(*args))


def test_a_weight_that_forward_hands_over_takes_a_scale_and_a_shift() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.shift = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4))
            self.bn = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.bn(functional.conv2d(x, self.kernel, self.shift))
            return out

    module, args = drawn(Functional()), image(1, 3, 6, 6)()
    folded = fold_module(module, args)
    assert folded.removed == ("bn",)
    equal(folded.module(*args), module(*args))


def test_a_weight_that_forward_hands_over_is_guarded_too() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.shift = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.randn(4))
            self.bn, self.without_norm = nn.BatchNorm2d(4), False

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = functional.conv2d(x, self.kernel, self.shift)
            if not self.without_norm:
                out = self.bn(out)
            return out

    module, args = drawn(Functional()), image(1, 3, 6, 6)()
    folded = fold_module(module, args)
    assert folded.removed == ("bn",)
    equal(folded.module(*args), module(*args))
    vars(folded.module)["without_norm"] = True
    with pytest.raises(UsageError, match="here it returns the output of Functional"):
        folded.module(*args)


class NormRelu(nn.BatchNorm2d):
    """A norm whose own forward() does more."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Statistics(nn.Module):
    """A function of torch, with statistics and nothing else."""

    mean: Tensor
    variance: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("mean", torch.randn(4))
        self.register_buffer("variance", torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(self.conv(x), self.mean, self.variance).relu()


class ScaledTwice(nn.Module):
    """Two products with parameters lie between the convolution and its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.scales = nn.ParameterList([torch.rand(1, 4, 1, 1) + 0.5 for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x) * self.scales[0] * self.scales[1])
        return out


class Autocast(nn.Module):
    """A part in bfloat16, which cannot count the numbers of the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y = self.bn(self.conv(x))
        out: Tensor = y.float().relu()
        return out


@pytest.mark.parametrize("make", [lambda: behind_conv(NormRelu(4)), InForward, Statistics, ScaledTwice, Autocast])
def test_what_forward_goes_on_running_does_nothing(make: Callable[[], nn.Module]) -> None:
    module, args = drawn(make()), image(2, 3, 7, 6)()
    folded = fold_module(module, args)
    assert folded.folds and not folded.kept
    bound = 0.05 if make is Autocast else 1e-4
    with torch.no_grad():
        torch.testing.assert_close(folded.module(*args), module(*args), rtol=bound, atol=bound)


def test_the_same_norm_behind_two_convolutions_goes_into_both() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn, self.a, self.b = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.bn(self.a(x)).relu() + self.bn(self.b(x)).sigmoid()
            return out

    module, args = drawn(Shared()), image(1, 3, 6, 6)()
    folded = fold_module(module, args)
    assert folded.removed == ("bn",)
    equal(folded.module(*args), module(*args))


def test_a_refused_branch_of_a_sum_says_so() -> None:
    """What is left is subtracted; the file would have merged it, so the norm tells why it stays."""

    class Subtracted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            x = x.relu()
            return functional.relu(self.bn(x) - self.conv(x))

    folded = fold_module(drawn(Subtracted()), image(1, 3, 6, 6)())
    (kept,) = folded.kept
    assert kept.obstacles[0].reason is Reason.IN_FORWARD
    assert "Subtracted.forward() adds" in kept.obstacles[0].detail


class HeadsNextToLayout(nn.Module):
    """A block whose own forward() transposes values of three and of four axes, and scales by 1/sqrt(d)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 8)
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[0]
        rows = self.norm(x.flatten(2)).transpose(1, 2)
        heads: Tensor = self.qkv(rows).reshape(count, -1, 6, 4).transpose(1, 2)
        query, key, value = heads.chunk(3, 1)
        weights = torch.softmax((query * 0.5) @ key.transpose(2, 3), -1)
        mixed: Tensor = weights @ value
        return mixed.transpose(1, 2).flatten(2).transpose(1, 2).reshape(x.shape)


def test_transposes_of_unlike_ranks_in_one_module() -> None:
    module = HeadsNextToLayout().eval()
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(fold_module(module, (x,)).module(x), module(x), atol=1e-5)


class Scaled(nn.Module):
    """Adds a branch times a number, as LoRA layers and scaled residuals do."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.inner, self.outer = nn.Linear(4, 6), nn.Linear(4, 2, bias=False), nn.Linear(2, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.outer(self.inner(x)) * 2.0
        return y


def test_a_norm_behind_a_branch_times_a_number_goes_into_both_branches() -> None:
    module = drawn(nn.Sequential(Scaled(), nn.BatchNorm1d(6), nn.ReLU()))
    folded = fold_module(module, (torch.randn(5, 4),))
    assert folded.removed == ("1",)
    x = torch.randn(3, 4)
    torch.testing.assert_close(folded.module(x), module(x), rtol=1e-4, atol=1e-4)


class OwnBias(nn.Module):
    """Adds a parameter of its own to what a linear operator gives, as graph convolutions do."""

    def __init__(self, linear: Callable[[OwnBias, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight, self.shift = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(6))
        self.conv, self.run = nn.Conv1d(4, 6, 1, bias=False), linear

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x) + self.shift


PLACES = torch.tensor([0, 1, 1, 0, 2])
LINEAR: dict[str, Callable[[OwnBias, Tensor], Tensor]] = {
    "a product": lambda own, x: x @ own.weight,
    "einsum": lambda own, x: torch.einsum("ni,io->no", x, own.weight),
    "a convolution and an index": lambda own, x: own.conv(x[..., None])[..., 0],
    "a weighted mean": lambda own, x: torch.softmax(x @ x.T, -1) @ own.conv(x[..., None])[..., 0],
    "index_add": lambda own, x: torch.zeros(3, 6).index_add(0, PLACES, x @ own.weight),
    "scatter_add": lambda own, x: torch.zeros(3, 6).scatter_add(0, PLACES[:, None].expand(-1, 6), x @ own.weight),
}


@pytest.mark.parametrize("linear", LINEAR.values(), ids=LINEAR)
def test_a_norm_goes_into_a_weight_and_the_parameter_that_forward_adds(
    linear: Callable[[OwnBias, Tensor], Tensor],
) -> None:
    module = drawn(nn.Sequential(OwnBias(linear), nn.BatchNorm1d(6), nn.ReLU()))
    folded, x = fold_module(module, (torch.randn(5, 4),)), torch.randn(5, 4)
    assert folded.removed == ("1",)
    equal(folded.module(x), module(x))


def test_a_parameter_that_forward_adds_stays_where_no_norm_goes() -> None:
    module = nn.Sequential(OwnBias(LINEAR["a convolution and an index"]), nn.ReLU()).eval()
    folded = fold_module(module, (torch.randn(5, 4),))
    (kept,) = folded.kept
    assert kept.obstacles[0].reason is Reason.IN_FORWARD and not folded.folds


class Residual(nn.Module):
    """A block whose parts have the names that parts of the root have."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), act

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y + x


class OneActivation(nn.Module):
    """One activation for all blocks, one of which runs twice under two names."""

    def __init__(self) -> None:
        super().__init__()
        act = nn.ReLU(inplace=True)
        self.conv, self.bn, self.act = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), act
        self.blocks = nn.Sequential(Residual(act), Residual(nn.ReLU()), Residual(act))
        self.again = self.blocks[0]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.again(self.blocks(self.act(self.bn(self.conv(x)))))
        return y


def test_norms_behind_a_shared_activation_are_found() -> None:
    """As soon as a module is shared, torch.export names parts of any other one without what contains it."""
    module, args = drawn(OneActivation()), image(2, 3, 8, 8)()
    folded = fold_module(module, args)
    assert folded.removed == ("bn", "blocks.0.bn", "blocks.1.bn", "blocks.2.bn", "again.bn")
    with torch.no_grad():
        equal(folded.module(*args), module(*args))


class Siamese(nn.Module):
    """One branch for three images, one of them shifted by a constant, with weights that are too large for a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3))
        self.branch.append(nn.BatchNorm2d(24))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = (self.branch(x) - self.branch(x.flip(3))).abs() + self.branch(x + 1.0)
        return out


def test_a_branch_for_several_inputs_takes_its_norms_once() -> None:
    module, args = drawn(Siamese()), image(2, 3, 8, 8)()
    folded = fold_module(module, args)
    assert folded.removed == ("branch.1", "branch.4")
    with torch.no_grad():
        equal(folded.module(*args), module(*args))
