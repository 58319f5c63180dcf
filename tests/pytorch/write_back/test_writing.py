"""What must stay of a module that was folded, and what people do with it afterwards."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normfold.errors import SourceError, UsageError
from normfold.pytorch.fold_module import Folded, fold_module
from tests.pytorch.nets import drawn


def pair(bias: bool = False) -> nn.Sequential:
    module = drawn(nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4), nn.ReLU()))
    assert isinstance(module, nn.Sequential)
    return module


IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def folded() -> Folded[nn.Sequential]:
    return fold_module(pair(), (IMAGE,))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_memory_format_attributes_and_flags_of_parameters_stay() -> None:
    module = pair().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's own stub lacks it
    module[0].weight.no_decay = True
    module[0].weight.requires_grad_(False)
    weight = fold_module(module, (IMAGE.to(memory_format=torch.channels_last),)).module[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert weight.no_decay and not weight.requires_grad


def test_an_activation_in_place_does_not_write_into_the_arguments() -> None:
    module = drawn(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3)))
    with torch.no_grad():
        for name in ("0.running_mean", "0.bias", "0.weight"):
            module.state_dict()[name].fill_(float(name == "0.weight"))
    image = IMAGE.clone()
    folded = fold_module(module, (image,))
    assert folded.removed == ("0",)
    close(folded.module(image), module(IMAGE.clone()))
    assert torch.equal(image, IMAGE)


def test_a_hook_that_sees_another_value_is_noted() -> None:
    module = pair()
    module[0].register_forward_hook(lambda part, args, out: None)
    notes = fold_module(module, (IMAGE,)).notes
    assert "a hook on 0 (Conv2d) sees another value than before" in notes


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_dict_of_the_other_kind_is_an_error(folded: Folded[nn.Sequential], strict: bool) -> None:
    with pytest.raises(RuntimeError, match=r"size mismatch for 1\.weight"):
        pair().load_state_dict(folded.module.state_dict(), strict=strict)


def test_a_state_dict_is_converted() -> None:
    module = pair()
    folded = fold_module(module, (IMAGE,))
    later = drawn(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), seed=7)
    folded.module.load_state_dict(folded.convert(later.state_dict()))
    close(folded.module(IMAGE), later(IMAGE))
    with pytest.raises(UsageError, match="expected a state dict of the module before its fold"):
        folded.convert({})


def scripted(module: nn.Module) -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its own deprecation
        made: Callable[..., Any] = torch.jit.script(module)
    return made


def jit_traced(module: nn.Module) -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Callable[..., Any] = torch.jit.trace(module, (IMAGE,))  # type: ignore[no-untyped-call]  # no types
    return made


AFTER: dict[str, Callable[[nn.Module], Callable[..., Any]]] = {
    "torch.jit.script": scripted,
    "torch.jit.trace": jit_traced,
    "torch.export": lambda module: torch.export.export(module, (IMAGE,)).module(),
    "torch.compile": lambda module: torch.compile(module, backend="eager"),
    ".to": lambda module: module.to(torch.float64).to(torch.float32),
    "folded again": lambda module: fold_module(module, (IMAGE,)).module,
}


@pytest.mark.parametrize("name", AFTER)
def test_what_people_do_next_works(name: str) -> None:
    module = pair()
    after = AFTER[name](fold_module(module, (IMAGE,)).module)
    with torch.no_grad():
        close(after(IMAGE), module(IMAGE))


def test_what_has_no_modules_or_no_values_is_refused() -> None:
    program = torch.export.export(pair(), (IMAGE,))
    with pytest.raises(UsageError, match="ExportedProgram, whose forward"):
        fold_module(program, (IMAGE,))  # type: ignore[type-var]  # what a hurried user passes
    with pytest.raises(UsageError, match="on the meta device"):
        fold_module(pair().to("meta"), (IMAGE,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SourceError, match="TorchScript"):
            fold_module(torch.jit.script(pair()), (IMAGE,))


def test_names_of_modules_are_taken_and_unknown_ones_refused() -> None:
    assert fold_module(pair(), (IMAGE,), skip=["1"]).removed == ()
    assert fold_module(pair(), (IMAGE,), only=["1"]).removed == ("1",)
    for option in ("skip", "only"):
        with pytest.raises(UsageError, match=f"{option}: expected a rule"):
            fold_module(pair(), (IMAGE,), **{option: ["nonsense"]})  # type: ignore[arg-type]  # one of two names


@pytest.mark.parametrize("strict", [True, False])
def test_weights_from_before_the_fold_are_refused_and_none_is_loaded(strict: bool) -> None:
    module, x = drawn(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))), torch.ones(1, 3, 5, 5)
    folded = fold_module(module, (x,)).module
    expected = folded(x)
    for error in (UsageError, RuntimeError):
        with pytest.raises(error, match=r"1.weight is of a norm that it no longer has; make them with Folded.convert"):
            folded.load_state_dict(module.state_dict(), strict=strict)
    torch.testing.assert_close(folded(x), expected)
    folded.load_state_dict(copy.deepcopy(folded).state_dict())
