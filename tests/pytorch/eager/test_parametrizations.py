"""Weights that are computed at each call: removed first, exactly, and from no other module's tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from normfold.pytorch.export import export
from normfold.pytorch.fold_module import fold_module
from tests.pytorch.nets import drawn, image
from tests.pytorch.test_fold_module import equal, same_state


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def legacy(kind: str) -> Callable[[nn.Module], nn.Module]:
    def make(layer: nn.Module) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces its own deprecation
            made: nn.Module = getattr(nn.utils, kind)(layer)
        return made

    return make


def pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.3)  # type: ignore[no-untyped-call,no-any-return]  # no types


def halved(layer: nn.Module) -> nn.Module:
    return parametrize.register_parametrization(
        parametrize.register_parametrization(layer, "weight", Halved()), "bias", Halved()
    )


KINDS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "legacy weight_norm": legacy("weight_norm"),
    "legacy spectral_norm": legacy("spectral_norm"),
    "pruning": pruned,
    "weight and bias": halved,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inplace", [False, True])
def test_a_computed_weight_becomes_a_parameter_and_takes_the_norm(kind: str, inplace: bool) -> None:
    other = parametrizations.weight_norm(nn.Conv2d(4, 2, 1))
    module = nn.Sequential(KINDS[kind](nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4), nn.ReLU(), other)
    args = image(2, 3, 6, 6)()
    module(*args)  # the legacy hooks compute the weight in a call
    drawn(module)
    module[1].train()
    expected = module.eval()(*args)
    module[1].train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tensors = dict(module[0].named_parameters())
    folded = fold_module(module, args, inplace=inplace, eval=True)
    assert (folded.module is module) == inplace
    assert folded.removed == ("1",) and "0.weight" in folded.added
    assert any("0.weight was computed by" in note for note in folded.notes)
    assert folded.removed_keys and folded.removed_keys[0].startswith("0.")
    equal(folded.module.eval()(*args), expected)
    assert type(folded.module[0]) is nn.Conv2d and parametrize.is_parametrized(folded.module[3])
    assert all(torch.equal(tensor, before[f"0.{name}"]) for name, tensor in tensors.items()), "others may hold them"
    if not inplace:
        same_state(module.state_dict(), before)
        equal(module.eval()(*args), expected)
    folded.module.load_state_dict(folded.module.state_dict())


def test_a_weight_that_torch_cannot_export_the_making_of_is_a_constant_of_the_file() -> None:
    module = drawn(nn.Sequential(parametrizations.orthogonal(nn.Linear(6, 6)), nn.BatchNorm1d(6)))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    result = export(module, (torch.randn(4, 6, generator=torch.Generator().manual_seed(0)),))
    assert not result.kept and [node.op_type for node in result.ir_model.graph] == ["Gemm"]
    same_state(module.state_dict(), before)
