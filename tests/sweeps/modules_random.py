"""Random modules with branches in forward().

    python -m tests.sweeps.modules_random [--count 200] [--first 0] [--seconds S]

Each module is a random program over convolutions, norms (modules and functions), activations and shared blocks, with
flags, an optional argument, a way that depends on a size, an attribute or a configuration, methods, tied parts, and
weights that are read elsewhere. It is folded with one call, and then called in every other way. The folded module must
give what the original gives or refuse; buffers, arguments and state must be bit for bit what they were. Prints the
numbers of every seed that is wrong, how many modules were folded at all, how many norms went and how many calls were
refused. Exit code 1 for a wrong one.
"""

from __future__ import annotations

import argparse
import copy
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import normfold
from normfold.errors import NormfoldError, SourceError
from tests.pytorch.nets import drawn

CHANNELS = 4
RELATIVE = 5e-4  # of the largest value, in float32
Ways = dict[str, Any]


class Block(nn.Module):
    """A convolution with an optional norm and activation; ``order`` says what comes first."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, dice.choice((1, 3)), padding="same", bias=dice.random() < 0.5)
        self.bn: nn.Module = nn.BatchNorm2d(CHANNELS) if dice.random() < 0.9 else nn.Identity()
        acts = (nn.ReLU(), nn.ReLU(inplace=True), nn.Identity(), nn.SiLU(), nn.LeakyReLU(0.1), nn.Dropout(0.2))
        self.act = dice.choice(acts)
        self.norm_first = dice.random() < 0.25
        self.by_function = dice.random() < 0.15

    def norm(self, x: Tensor) -> Tensor:
        bn = self.bn
        if self.by_function and isinstance(bn, nn.BatchNorm2d):
            return nn.functional.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0.1, bn.eps)
        y: Tensor = bn(x)
        return y

    def linear(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.act(self.norm(x))) if self.norm_first else self.act(self.norm(self.linear(x)))
        return y


class RandomModule(nn.Module):
    """Runs a random list of steps over its blocks; some steps depend on how it is called."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        dice = random.Random(seed)
        self.blocks = nn.ModuleList(Block(dice) for _ in range(dice.randint(1, 4)))
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.conv = nn.Conv2d(CHANNELS, CHANNELS, 1)
        if dice.random() < 0.2:
            self.blocks[-1].conv = self.blocks[0].conv  # one module under two names
        if dice.random() < 0.15:
            self.conv.weight = nn.Parameter(self.conv.weight.detach().clone())
            self.extra = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False)
            self.extra.weight = self.conv.weight  # a tied weight
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.counts = dice.random() < 0.2
        self.mode, self.config = "plain", {"mode": "plain"}
        self.steps = [self._step(dice) for _ in range(dice.randint(3, 6))]
        self.ending = dice.choice(("map", "pool", "two", "dict", "view", "integer"))

    def _step(self, dice: random.Random) -> tuple[str, str, int, int]:
        kinds = (
            ("block", 12), ("conv", 3), ("norm", 3), ("residual", 3), ("linear", 1), ("relu", 1), ("scale", 1),
            ("sum", 1), ("inplace", 1), ("weight", 1),
        )  # fmt: skip
        ways = (("always", 16), ("flag", 2), ("not flag", 1), ("given", 1), ("wide", 1), ("mode", 1), ("config", 1))
        kind = dice.choices([name for name, _ in kinds], [weight for _, weight in kinds])[0]
        way = dice.choices([name for name, _ in ways], [weight for _, weight in ways])[0]
        return kind, way, dice.randrange(len(self.blocks)), dice.randrange(len(self.blocks))

    def _takes(self, way: str, x: Tensor, flag: bool, more: Tensor | None) -> bool:
        ways = {
            "always": True, "flag": flag, "not flag": not flag, "given": more is not None, "wide": x.shape[-1] > 12,
            "mode": self.mode == "other", "config": self.config["mode"] == "other",
        }  # fmt: skip
        return bool(ways[way])

    def _run(self, kind: str, x: Tensor, block: nn.Module, other: nn.Module) -> Tensor:
        if kind == "block":
            return torch.as_tensor(block(x))
        if kind == "residual":
            return torch.as_tensor(block(x) + x)
        if kind == "sum":
            return torch.as_tensor(block(x) + other(x))
        if kind == "linear":
            return torch.as_tensor(block.linear(x))  # type: ignore[operator]  # a method of Block
        if kind == "inplace":
            return (x * 1.0).add_(x)
        simple: dict[str, Any] = {
            "conv": self.conv,
            "norm": self.norm,
            "relu": torch.relu,
            "scale": lambda value: value * 2.0,
            "weight": lambda value: value + block.get_parameter("conv.weight").mean(),
        }
        return torch.as_tensor(simple[kind](x))

    def features(self, x: Tensor, flag: bool = False, more: Tensor | None = None) -> Tensor:
        """Run all steps."""
        for kind, way, first, second in self.steps:
            if self._takes(way, x, flag, more):
                x = self._run(kind, x, self.blocks[first], self.blocks[second])
        return x

    def forward(self, x: Tensor, flag: bool = False, more: Tensor | None = None) -> Any:
        if self.counts:
            self.calls.add_(1)
        y = self.features(x, flag, more)
        if more is not None:
            y = y + more
        endings: dict[str, Any] = {
            "map": lambda: y, "pool": lambda: y.mean((2, 3)), "two": lambda: (y, y.amax((2, 3))),
            "dict": lambda: {"y": y, "n": 3, "none": None}, "view": lambda: (y, y[:, :2]),
            "integer": lambda: (y, y.argmax(1)),
        }  # fmt: skip
        return endings[self.ending]()


def image(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ways_to_call(seed: int) -> Iterator[tuple[str, Ways]]:
    """Yield calls, each with the method, the attributes that are set before, and its arguments."""
    x = image(2, CHANNELS, 8, 8, seed=seed)
    yield "given", {"args": (x,)}
    yield "fresh", {"args": (image(2, CHANNELS, 8, 8, seed=seed + 1),)}
    yield "flag", {"args": (x,), "kwargs": {"flag": True}}
    yield "positional flag", {"args": (x, True)}
    yield "optional", {"args": (x,), "kwargs": {"more": image(2, CHANNELS, 8, 8, seed=seed + 2)}}
    yield "both", {"args": (x, True, image(2, CHANNELS, 8, 8, seed=seed + 3))}
    yield "batch 1", {"args": (x[:1],)}
    yield "batch 3", {"args": (image(3, CHANNELS, 8, 8, seed=seed + 4),)}
    yield "odd", {"args": (image(2, CHANNELS, 7, 9, seed=seed + 5),)}
    yield "wide", {"args": (image(2, CHANNELS, 6, 20, seed=seed + 6),)}
    yield "wide flag", {"args": (image(1, CHANNELS, 6, 20, seed=seed + 7), True)}
    yield "mode", {"args": (x,), "mode": "other"}
    yield "config", {"args": (x,), "config": "other"}
    yield "features", {"args": (x,), "method": "features"}
    yield "features flag", {"args": (x, True), "method": "features"}
    yield "block", {"args": (x,), "part": "blocks.0"}
    yield "linear", {"args": (x,), "part": "blocks.0", "method": "linear"}
    yield "conv", {"args": (x,), "part": "conv"}
    yield "given again", {"args": (x,)}


def called(module: RandomModule, way: Ways) -> tuple[Any, Any]:
    """Return what a call gives, and its arguments afterwards."""
    args, kwargs = copy.deepcopy((way["args"], way.get("kwargs", {})))
    module.mode, module.config["mode"] = way.get("mode", "plain"), way.get("config", "plain")
    part: Any = module.get_submodule(way.get("part", ""))
    method = getattr(part, way["method"]) if "method" in way else part
    try:
        with torch.no_grad():
            return method(*args, **kwargs), (args, kwargs)
    finally:
        module.mode, module.config["mode"] = "plain", "plain"


def distance(one: Any, other: Any) -> float:
    """Return the largest difference relative to the largest value; infinite for other shapes or counts."""
    leaves = [
        [leaf for leaf in torch.utils._pytree.tree_leaves(each) if isinstance(leaf, Tensor)] for each in (one, other)
    ]
    if [(leaf.shape, leaf.dtype) for leaf in leaves[0]] != [(leaf.shape, leaf.dtype) for leaf in leaves[1]]:
        return float("inf")
    worst = 0.0
    for a, b in zip(*leaves, strict=True):
        if a.is_floating_point():
            worst = max(worst, float((a - b).abs().max() / a.abs().max().clamp_min(1e-6)))
        elif a.numel() and float((a != b).double().mean()) > 0.1:  # ties of argmax
            worst = float("inf")
    return worst


def norms_that_run(module: nn.Module, args: tuple[Tensor, ...]) -> int:
    """Return how many BatchNorms a call of a copy of the module runs."""
    ran: set[nn.Module] = set()
    own = copy.deepcopy(module)
    for part in own.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_hook(lambda norm, *_: ran.add(norm))
    with torch.no_grad():
        own(*copy.deepcopy(args))
    return len(ran)


def examined(seed: int, counts: Counter[str]) -> list[str]:
    """Fold one module, call it in every way, and return what is wrong."""
    torch.manual_seed(seed)
    module = drawn(RandomModule(seed))
    assert isinstance(module, RandomModule)
    reference = copy.deepcopy(module)
    before = copy.deepcopy(module.state_dict())
    args = (image(2, CHANNELS, 8, 8, seed=seed),)
    norms = norms_that_run(reference, args)
    counts["modules"] += 1
    counts["norms that the given call runs"] += norms
    try:
        folded = normfold.fold_module(module, args)
    except SourceError as error:
        counts[f"not traced: {str(error)[:60]}"] += 1
        return []
    wrong = [f"state {key}" for key, value in module.state_dict().items() if not torch.equal(value, before[key])]
    counts["of these gone"] += norms - norms_that_run(folded.module, args)
    counts["modules with such a norm"] += norms > 0
    counts["modules folded"] += bool(folded.folds)
    for name, way in ways_to_call(seed):
        counts["calls"] += 1
        expected, given = called(reference, way)
        try:
            obtained, after = called(folded.module, way)
        except (NormfoldError, AttributeError):  # a block that became a Sequential lacks its methods
            counts["calls refused"] += 1
            counts[f"refused: {name}"] += 1
            if name in ("given", "fresh", "given again", "batch 1", "batch 3", "odd"):
                wrong.append(f"{name}: refused")
            continue
        off = distance(expected, obtained)
        if off > RELATIVE:
            wrong.append(f"{name}: off by {off:.2e}")
        if distance(given, after) > 0:
            wrong.append(f"{name}: its arguments differ afterwards")
        if not torch.equal(torch.as_tensor(reference.calls), torch.as_tensor(folded.module.calls)):
            reference.calls.copy_(torch.as_tensor(folded.module.calls))  # a refused call has counted, too
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so many seconds")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    failing, begin = 0, time.monotonic()
    for seed in range(options.first, options.first + options.count):
        if time.monotonic() - begin > options.seconds:
            break
        wrong = examined(seed, counts)
        failing += bool(wrong)
        for line in wrong:
            print(f"seed {seed}: {line}", flush=True)  # noqa: T201  # a sweep's result is what it prints
    lines = [
        f"{failing} wrong of {counts['modules']}",
        *(f"{number:7} {name}" for name, number in sorted(counts.items())),
    ]
    print("\n".join(lines))  # noqa: T201  # the same
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
