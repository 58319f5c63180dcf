"""Folds in place: what folds, what is refused and why; and what of the module must stay as it was."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import normfold
from models.registry import build
from normfold.errors import SourceError, UsageError
from normfold.findings.reason import Reason
from normfold.pytorch.fold_module import Folded, fold_module
from tests.pytorch import nets
from tests.pytorch.nets import drawn, image


@dataclass(frozen=True)
class Row:
    """A module, a batch, the modules that go, the biases that come, and the reasons of the norms that stay."""

    name: str
    make: Callable[[], nn.Module]
    args: Callable[[], tuple[Tensor, ...]]
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    kept: tuple[Reason, ...] = ()


def conv_bn(conv: nn.Module, bn: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(copy.deepcopy(conv), copy.deepcopy(bn))


BN2 = nn.BatchNorm2d(4)
ROWS = (
    Row("conv", conv_bn(nn.Conv2d(3, 4, 3), BN2), image(2, 3, 6, 6), ("1",)),
    Row("conv without bias", conv_bn(nn.Conv2d(3, 4, 3, bias=False), BN2), image(2, 3, 6, 6), ("1",), ("0.bias",)),
    Row("conv 1-d", conv_bn(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), image(2, 3, 9), ("1",)),
    Row("conv 3-d", conv_bn(nn.Conv3d(2, 4, 3, groups=2), nn.BatchNorm3d(4)), image(2, 2, 5, 5, 5), ("1",)),
    Row(
        "conv 3-d without bias",
        conv_bn(nn.Conv3d(2, 4, 3, bias=False), nn.BatchNorm3d(4)),
        image(2, 2, 5, 5, 5),
        ("1",),
        ("0.bias",),
    ),
    Row("depthwise", conv_bn(nn.Conv2d(4, 4, 3, groups=4, bias=False), BN2), image(1, 4, 6, 6), ("1",), ("0.bias",)),
    Row("transposed", conv_bn(nn.ConvTranspose2d(3, 4, 3, 2, bias=False), BN2), image(1, 3, 4, 4), ("1",), ("0.bias",)),
    Row("transposed, groups", conv_bn(nn.ConvTranspose2d(6, 4, 3, groups=2), BN2), image(2, 6, 4, 4), ("1",)),
    Row(
        "transposed, groups, no bias",
        conv_bn(nn.ConvTranspose1d(6, 4, 3, groups=2, bias=False), nn.BatchNorm1d(4)),
        image(2, 6, 5),
        ("1",),
        ("0.bias",),
    ),
    Row("linear", conv_bn(nn.Linear(6, 4), nn.BatchNorm1d(4)), image(3, 6), ("1",)),
    Row(
        "linear without bias", conv_bn(nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4)), image(3, 6), ("1",), ("0.bias",)
    ),
    Row("square linear", conv_bn(nn.Linear(4, 4), nn.BatchNorm1d(4)), image(3, 4), ("1",)),
    Row("linear, norm on another axis", lambda: nets.Transposed(True), image(2, 5, 6), ("bn",)),
    Row("the same without bias", lambda: nets.Transposed(False), image(2, 5, 6), ("bn",), ("linear.bias",)),
    Row(
        "linear on [N, C, L], the wrong axis",
        conv_bn(nn.Linear(6, 6), nn.BatchNorm1d(4)),
        image(2, 4, 6),
        kept=(Reason.AXIS_STOPS,),
    ),
    Row("forward", conv_bn(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), image(2, 3, 6, 6), ("0",)),
    Row("forward into a transposed", conv_bn(BN2, nn.ConvTranspose2d(4, 6, 1, groups=2)), image(1, 4, 3, 3), ("0",)),
    Row(
        "forward into a linear",
        conv_bn(nn.BatchNorm1d(6), nn.Linear(6, 4, bias=False)),
        image(3, 6),
        ("0",),
        ("1.bias",),
    ),
    Row(
        "forward through zero padding",
        conv_bn(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)),
        image(2, 3, 6, 6),
        kept=(Reason.ZERO_PADDING,),
    ),
    Row("affine=False", conv_bn(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), image(1, 3, 6, 6), ("1",)),
    Row(
        "no running statistics",
        conv_bn(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        image(2, 3, 6, 6),
        kept=(Reason.DYNAMIC_PARAMETERS,),
    ),
    Row("SyncBatchNorm", conv_bn(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)), image(2, 3, 6, 6), ("1",)),
    Row("frozen norm", lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nets.FrozenNorm(4)), image(2, 3, 6, 6), ("1",)),
    Row(
        "InstanceNorm with running statistics",
        conv_bn(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        image(2, 3, 6, 6),
        ("1",),
    ),
    Row(
        "dropout between", lambda: nn.Sequential(nn.Linear(6, 4), nn.Dropout(), nn.BatchNorm1d(4)), image(3, 6), ("2",)
    ),
    Row("two norms behind one conv", nets.TwoNorms, image(2, 3, 6, 6), ("a",)),
    Row("a block called twice", nets.BlockTwice, image(2, 4, 5, 5), ("block.1",), ("block.0.bias",)),
    Row("a norm that two convolutions share", nets.NormShared, image(2, 3, 6, 6), ("bn",), ("other.bias",)),
    Row("tied weights", nets.Tied, image(3, 6), ("bn",)),
    Row(
        "signs of a weight",
        lambda: nn.Sequential(nets.Signs(3, 4, 3), nn.BatchNorm2d(4)),
        image(1, 3, 6, 6),
        kept=(Reason.COMPUTED_PARAMETER,),
    ),
    Row("a weight that forward() computes", nets.Scaled, image(1, 3, 6, 6), kept=(Reason.COMPUTED_PARAMETER,)),
    Row(
        "norm with its activation",
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nets.NormActivation(4)),
        image(1, 3, 6, 6),
        ("1",),
    ),
    Row(
        "before a norm that only wider layers could take",
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1)
        ),
        image(2, 3, 8, 8),
        ("1",),
        kept=(Reason.NO_PLACE,),
    ),
    Row("a norm alone", lambda: nn.BatchNorm2d(3), image(1, 3, 4, 4), kept=(Reason.GRAPH_INPUT,)),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_norm_folds_or_stays_with_its_reason(row: Row) -> None:
    module, args = drawn(row.make()), row.args()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    folded = fold_module(module, args)
    assert folded.removed == row.removed
    assert folded.added == row.added
    reasons = {obstacle.reason for verdict in folded.kept for obstacle in verdict.obstacles}
    assert set(row.kept) <= reasons, [str(obstacle) for verdict in folded.kept for obstacle in verdict.obstacles]
    assert all(compared.passed for compared in folded.comparisons)
    equal(folded.module(*args), module(*args))
    same_state(module.state_dict(), before)
    if not row.removed and not row.added:
        same_state(folded.module.state_dict(), before)


def equal(obtained: Any, expected: Any) -> None:
    """Equal within the rounding of a weight: 1e-5 of the largest value, far below any fold gone wrong."""
    for new, old in zip(nets.leaves(obtained), nets.leaves(expected), strict=True):
        torch.testing.assert_close(new, old, rtol=0.0, atol=1e-5 * float(old.detach().abs().max()))


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_module_called_twice_takes_one_of_two_norms_or_none() -> None:
    """Behind each call stands another norm, so its weight cannot serve both."""
    module, args = drawn(nets.CalledTwice()), image(2, 4, 5, 5)()
    folded = fold_module(module, args)
    assert folded.removed == ()
    assert {o.reason for v in folded.kept for o in v.obstacles} == {Reason.SHARED_PARAMETER}
    equal(folded.module(*args), module(*args))


def test_a_norm_that_forward_looks_into_is_left_and_named() -> None:
    module, args = drawn(nets.LooksInside()), image(2, 3, 5, 5)()
    folded = fold_module(module, args)
    assert folded.removed == ("after",)
    (kept,) = (verdict for verdict in folded.kept if verdict.finding.is_norm)
    assert kept.obstacles[0].reason is Reason.NOT_CONFIRMED
    assert "num_features" in kept.obstacles[0].detail
    equal(folded.module(*args), module(*args))


def test_tied_weights_are_untied_where_one_changes() -> None:
    module, args = drawn(nets.Tied()), image(3, 6)()
    assert isinstance(module, nets.Tied)
    folded = fold_module(module, args).module
    assert isinstance(folded, nets.Tied)
    assert folded.second.weight is module.second.weight
    assert folded.first.weight is not module.first.weight
    assert module.first.weight is module.second.weight


def test_keywords_nests_and_modules_that_are_never_called() -> None:
    module = drawn(nets.Nested())
    args, kwargs = ((torch.randn(3, 4), torch.randn(3, 3)),), {"more": {"x": torch.randn(3)}}
    folded = fold_module(module, args, kwargs)
    assert folded.removed == ("bn",)
    equal(folded.module(*args, **kwargs), module(*args, **kwargs))


def test_unchanged_tensors_are_shared_and_changed_ones_are_not() -> None:
    module, args = build("residual")
    folded = fold_module(module, args).module
    old, new = dict(module.named_parameters()), dict(folded.named_parameters())
    assert new["head.weight"] is old["head.weight"]
    assert new["stem.0.weight"] is not old["stem.0.weight"]
    assert type(folded) is type(module)


def test_inplace_changes_the_module_itself() -> None:
    module, args = build("levit_like")
    before = module(*args)
    folded = fold_module(module, args, inplace=True)
    assert folded.module is module
    assert not any(isinstance(part, nn.BatchNorm1d) for part in module.modules())
    equal(module(*args), before)


def test_hooks_flags_names_and_gradients_stay() -> None:
    module = drawn(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout()))
    assert isinstance(module, nn.Sequential)
    seen: list[str] = []
    module[1].register_forward_hook(lambda part, args, out: seen.append(type(part).__name__))
    module[0].requires_grad_(False)
    folded = fold_module(module, image(1, 3, 6, 6)()).module
    seen.clear()
    folded(*image(1, 3, 6, 6)())
    assert seen == ["Identity"]
    assert [name for name, _ in folded.named_children()] == ["0", "1", "2"]
    assert not folded[0].weight.requires_grad and not folded[0].bias.requires_grad
    assert not any(part.training for part in folded.modules())


def test_the_state_dict_loads_but_for_the_keys_that_are_named() -> None:
    module, args = build("levit_like")
    folded = fold_module(module, args)
    gone = {key for key in module.state_dict() if any(key.startswith(f"{path}.") for path in folded.removed)}
    assert set(folded.removed_keys) == gone
    full = {key for key, value in folded.module.state_dict().items() if value.numel()}
    assert full == (module.state_dict().keys() - gone) | set(folded.added)
    fresh = copy.deepcopy(folded.module)
    fresh.load_state_dict(folded.module.state_dict())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_type_of_the_weights_stays(dtype: torch.dtype) -> None:
    module = drawn(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)))
    module = module.to(dtype)
    args = (image(1, 3, 6, 6)()[0].to(dtype),)
    folded = fold_module(module, args)
    assert folded.removed == ("1",)
    assert {parameter.dtype for parameter in folded.module.parameters()} == {dtype}
    unit = torch.finfo(dtype).eps
    expected = module(*args).double()
    torch.testing.assert_close(
        folded.module(*args).double(), expected, rtol=0.0, atol=16 * unit * float(expected.detach().abs().max())
    )


def test_training_mode_is_refused_or_switched_and_restored() -> None:
    module = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()))
    assert isinstance(module, nn.Sequential)
    module[2].train()
    args = image(1, 3, 6, 6)()
    with pytest.raises(UsageError, match="2 \\(Dropout\\) is in training mode"):
        fold_module(module, args)
    folded = fold_module(module, args, eval=True)
    assert folded.removed == ("1",)
    assert module[2].training and not any(part.training for part in folded.module.modules())


def test_a_module_that_cannot_be_traced_is_refused() -> None:
    class Untraceable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if float(x.sum()) > 0 else x - 1

    with pytest.raises(SourceError, match="fold_module needs a module that"):
        fold_module(Untraceable().eval(), image(3, 3)())
    with pytest.raises(UsageError, match="expected args"):
        fold_module(nn.ReLU().eval(), None)  # type: ignore[arg-type]  # what a hurried user passes


def test_skip_leaves_a_norm_by_rule_or_name() -> None:
    module, args = build("residual")
    assert fold_module(module, args, skip=["batchnorm"]).removed == ()
    first = fold_module(module, args).folds[0].finding.name
    assert len(fold_module(module, args, skip=[first]).removed) == 8


def test_a_wrong_fold_is_seen_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The eager comparison can fail: one channel of one folded weight is off by one per cent."""
    from normfold.pytorch.write_back import writing

    original = writing._set_weight
    module, args = build("residual")
    victim = module.get_parameter("blocks.1.first.0.weight").shape

    def spoiled(part: nn.Module, slot: Any, array: Any) -> None:
        if array.shape == tuple(victim):
            array = array.copy()
            array[3] *= 1.01
        original(part, slot, array)

    monkeypatch.setattr(writing, "_set_weight", spoiled)
    folded = fold_module(module, args)
    assert len(folded.removed) == 8
    assert "blocks.1.first.1" not in folded.removed
    assert [v.obstacles[0].reason for v in folded.kept] == [Reason.NOT_CONFIRMED]
    equal(folded.module(*args), module(*args))


def test_public_names() -> None:
    assert normfold.fold_module is fold_module
    assert normfold.Folded is Folded


# -- what users do with a folded module -------------------------------------------------------------------------------


def aot_inductor(module: nn.Module, x: Tensor) -> Tensor:
    if shutil.which("g++") is None:
        pytest.skip("AOTInductor needs a C++ compiler")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "module.pt2")
        program = torch.export.export(module, (x,))
        loaded = torch._inductor.aoti_load_package(torch._inductor.aoti_compile_and_package(program, package_path=path))
        given: Tensor = loaded(x)
        return given


AFTERWARDS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "forward": lambda module, x: module.forward(x),
    "deepcopy": lambda module, x: copy.deepcopy(module)(x),
    "float64": lambda module, x: copy.deepcopy(module).double()(x.double()).float(),
    "channels_last": lambda module, x: module.to(memory_format=torch.channels_last)(x),  # type: ignore[call-overload]  # torch's
    "torch.jit.script": lambda module, x: torch.jit.script(module)(x),
    "after torch.jit.script": lambda module, x: (torch.jit.script(module), module(x[:1]), module(x))[-1],
    "torch.jit.trace": lambda module, x: torch.jit.trace(module, x)(x),  # type: ignore[no-untyped-call]  # torch's
    "torch.export": lambda module, x: torch.export.export(module, (x,)).module()(x),
    "torch.compile": lambda module, x: torch.compile(module, backend="eager")(x),
    "torch.func": lambda module, x: torch.func.functional_call(module, dict(module.named_parameters()), (x,)),
    "folded again": lambda module, x: fold_module(module, (x,)).module(x),
    "AOTInductor": aot_inductor,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("way", AFTERWARDS.values(), ids=AFTERWARDS)
def test_what_users_do_with_a_folded_module(way: Callable[[nn.Module, Tensor], Tensor]) -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    module, (x,) = drawn(nn.Sequential(block, copy.deepcopy(block))), image(2, 3, 8, 8)()
    folded = fold_module(module, (x,)).module
    with torch.no_grad():
        torch.testing.assert_close(way(folded, x), module(x), rtol=1e-4, atol=1e-4)
