"""Modules by both roads: python -m tests.sweeps.modules [--only-modules] NAME...

NAME is models:residual, timm:repvgg_a0, torchvision:resnet18, or FILE.py:DICT[:KEY], a dictionary of functions that
give a module and its arguments. Prints for each how many BatchNorms it had, how many are left in the file and in the
folded module, the verdicts, and the reasons of those that are left. Exit code 1 where a road fails or counts differ.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import normfold
from models.registry import NETWORKS, build
from normfold.result import NotProven

Made = tuple[nn.Module, tuple[Any, ...]]


def drawn(module: nn.Module) -> nn.Module:
    """Statistics that training could have left; in eval mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if not isinstance(part, nn.modules.batchnorm._NormBase) or part.running_mean is None:
                continue
            shape = part.running_mean.shape
            part.running_mean.copy_(torch.randn(shape, generator=generator) * 0.1)
            if part.running_var is not None:
                part.running_var.copy_(torch.rand(shape, generator=generator) + 0.5)
            if part.weight is not None and part.bias is not None:
                signs = torch.where(torch.rand(shape, generator=generator) < 0.1, -1.0, 1.0)
                part.weight.copy_((torch.rand(shape, generator=generator) + 0.5) * signs)
                part.bias.copy_(torch.randn(shape, generator=generator) * 0.1)
    return module.eval()


def made_by_timm(name: str) -> Made:
    timm = importlib.import_module("timm")
    module = timm.create_model(name, pretrained=False)
    size = module.default_cfg.get("input_size", (3, 224, 224))[-1]
    size = size if module.default_cfg.get("fixed_input_size") else min(size, 224)
    return drawn(module), (torch.randn(1, 3, size, size),)


def made_by_torchvision(name: str) -> Made:
    models = importlib.import_module("torchvision.models")
    return drawn(models.get_model(name, weights=None)), (torch.randn(1, 3, 224, 224),)


def named(name: str) -> Iterator[tuple[str, Callable[[], Made]]]:
    """What a name on the command line stands for."""
    kind, _, rest = name.partition(":")
    if kind == "models":
        yield from ((each, lambda each=each: build(each)) for each in ([rest] if rest else NETWORKS))
    elif kind == "timm":
        yield rest, lambda: made_by_timm(rest)
    elif kind == "torchvision":
        yield rest, lambda: made_by_torchvision(rest)
    else:
        attribute, _, key = rest.partition(":")
        sys.path.insert(0, str(Path(kind).parent))
        made = getattr(importlib.import_module(Path(kind).stem), attribute)
        yield from ((each, _drawn(made[each])) for each in ([key] if key else made))


def _drawn(make: Callable[[], Made]) -> Callable[[], Made]:
    def made() -> Made:
        module, args = make()
        return drawn(module), tuple(args)

    return made


def norms_in(module: nn.Module) -> int:
    """How many BatchNorms a module holds."""
    return sum(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def by_file(module: nn.Module, args: tuple[Any, ...]) -> tuple[int, str]:
    """The BatchNorms left in the file, and the verdict of its proof."""
    try:
        result = normfold.export(module, args)
    except NotProven as error:
        result = error.result
    left = sum(node.op_type == "BatchNormalization" for node in result.model.graph.node)
    return left, str(result.verification.verdict.value) if result.verification is not None else "-"


def by_module(module: nn.Module, args: tuple[Any, ...]) -> tuple[int, str, str]:
    """The BatchNorms left in the folded module, the verdict of its proof, and why they are left."""
    folded = normfold.fold_module(module, args)
    reasons = Counter(o.reason.code for v in folded.kept if v.finding.is_norm for o in v.obstacles[:1])
    verdict = "equal" if all(compared.passed for compared in folded.comparisons) else "DIFFERENT"
    undecided = sum(compared.noise_dominated for compared in folded.comparisons)
    return norms_in(folded.module), verdict + f" ({undecided} undecided)" * bool(undecided), str(dict(reasons))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--only-modules", action="store_true", help="leave out the file")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    failed = False
    for name, make in (pair for each in options.names for pair in named(each)):
        start = time.perf_counter()
        torch.manual_seed(0)
        try:
            module, args = make()
            had, (left, proof) = norms_in(module), (-1, "-") if options.only_modules else by_file(module, args)
            stay, verdict, reasons = by_module(module, args)
        except Exception as error:  # noqa: BLE001  # a sweep goes on, whatever one network does
            sys.stdout.write(f"{name:28} {type(error).__name__}: {str(error)[:200]}\n")
            failed = True
            continue
        failed = failed or verdict == "DIFFERENT" or (left != stay and not options.only_modules)
        seconds = time.perf_counter() - start
        sys.stdout.write(f"{name:28} {had:4} {left:4} {stay:4}  {proof:12} {verdict:10} {seconds:5.0f} s {reasons}\n")
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
