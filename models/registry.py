"""The reference networks by name, each seeded, with the statistics that training would have left, in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models import attention, convolutional, tabular

Inputs = tuple[Tensor, ...]
NEGATIVE_GAMMAS = 0.1  # trained networks have some, and a fold that assumes a sign must fail on ours


@dataclass(frozen=True)
class Network:
    """How to make a network and a batch for it; ``has_dynamic_batch`` says whether its export leaves N open."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]
    input_names: tuple[str, ...] = ("image",)
    output_name: str = "logits"
    has_dynamic_batch: bool = True


def centred(*shape: int) -> Tensor:
    """Values of mean 0 and variance 1 and both signs. Uniform, because its bits are the same on every processor."""
    return (torch.rand(*shape) - 0.5) * 12**0.5


def _image(batch: int) -> Inputs:
    return (centred(batch, 3, 32, 32),)


def _tokens(batch: int) -> Inputs:
    return (torch.randint(0, 64, (batch, 16)),)


def _row(batch: int) -> Inputs:
    units, offsets = torch.logspace(-2, 3, 12), torch.linspace(-3, 50, 12)
    return torch.randint(0, 20, (batch, 2)), centred(batch, 12) * units + offsets


def _transformer(norm: Callable[[int], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: attention.Transformer(norm)


NETWORKS: dict[str, Network] = {
    "residual": Network(convolutional.Residual, _image),
    "mobilenet_like": Network(convolutional.MobileNetLike, _image),
    "repvgg_like": Network(convolutional.RepVggLike, _image),
    "levit_like": Network(attention.LevitLike, _image, has_dynamic_batch=False),
    "transformer": Network(_transformer(nn.LayerNorm), _tokens, ("ids",)),
    "rms_transformer": Network(_transformer(attention.RootMeanSquareNorm), _tokens, ("ids",)),
    "unet": Network(convolutional.UNet, _image, output_name="mask"),
    "tabular": Network(tabular.Tabular, _row, ("categories", "numbers")),
}


def build(name: str, seed: int = 0) -> tuple[nn.Module, Inputs]:
    """The network ``name`` in eval mode and float32, and a batch of one for it.

    The same bits for the same seed. The global random state is left as it was. KeyError for an unknown name.
    """
    network = NETWORKS[name]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = network.make()
        _set_affine_parameters(module)
        _calibrate(module, network)
        return module.eval(), network.inputs(1)


@torch.no_grad()
def _set_affine_parameters(module: nn.Module) -> None:
    """Give every norm a gamma in +-[0.5, 1.5] and a beta in [-0.3, 0.3]; every table entry variance 1."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            part.weight.copy_(centred(*part.weight.shape))
        elif isinstance(part, (_BatchNorm, nn.LayerNorm, nn.GroupNorm, attention.RootMeanSquareNorm)):
            gamma = part.weight
            sign = torch.where(torch.rand(gamma.shape) < NEGATIVE_GAMMAS, -1.0, 1.0)
            gamma.copy_((torch.rand(gamma.shape) + 0.5) * sign)
            if not isinstance(part, attention.RootMeanSquareNorm):
                part.bias.copy_((torch.rand(gamma.shape) - 0.5) * 0.6)


@torch.no_grad()
def _calibrate(module: nn.Module, network: Network) -> None:
    """Let every BatchNorm average the statistics of four batches, as training does.

    In float64 and rounded once, so that the order in which a processor adds does not reach the stored bits.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    if not norms:
        return
    module.double().train()
    for norm in norms:
        norm.momentum = None  # a plain average
    for _ in range(4):
        module(*(x.double() if x.is_floating_point() else x for x in network.inputs(32)))
    for norm in norms:
        norm.momentum = 0.1
    module.float()
