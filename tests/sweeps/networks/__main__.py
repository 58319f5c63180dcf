"""Whole networks of public libraries: python -m tests.sweeps.networks [--list] [--seconds 240] [--no-timing] [NAME...]

NAME is one of the catalogue (``timm.resnet18``), a library (``timm``), any other network of timm (``timm.resnet50``)
or one of the project (``models.residual``); without a name all of the catalogue. Each network has a process of its own.
A line says how many BatchNorms the module had, how many are left in the file and in the folded module, how many calls
were compared, the processor time of a call of the folded module relative to the original's, and why norms are left.
Exit code 1 where something is wrong, or the module keeps a norm that the file does not. What is not installed is
skipped, with its name.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib import import_module

import torch

from models.registry import NETWORKS, build
from tests.sweeps.networks.both_roads import examined
from tests.sweeps.networks.catalogue import CATALOGUE, Network


def made(name: str) -> Network:
    """Build the network of a name; weights that are drawn are the same in every run."""
    torch.manual_seed(0)
    if name in CATALOGUE:
        return CATALOGUE[name]()
    library, _, rest = name.partition(".")
    if library == "models":
        return Network(*build(rest))
    if library != "timm":
        raise SystemExit(f"expected a network of --list, timm.NAME or models.NAME, got {name}")
    timm = import_module("timm")
    module = timm.create_model(rest)
    size = module.default_cfg.get("input_size", (3, 224, 224))[-1]
    return Network(module, (torch.randn(1, 3, size, size),))


def chosen(names: list[str]) -> Iterator[str]:
    """Yield the networks that names stand for."""
    for name in names or CATALOGUE:
        inside = [each for each in CATALOGUE if each.startswith(f"{name}.")]
        yield from inside or ([f"models.{each}" for each in NETWORKS] if name == "models" else [name])


def run_one(name: str, timing: bool) -> None:
    """Put one network through both roads in this process, and print the result as JSON."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    declare_operators_of_torchvision()
    try:
        result = examined(made(name), timing=timing).as_dict()
    except ModuleNotFoundError as error:
        result = {"skipped": f"{error.name} is not installed"}
    except Exception as error:  # noqa: BLE001  # the sweep reports it
        result = {"wrong": [f"{type(error).__name__}: {str(error)[:300]}"]}
    sys.stdout.write(f"\n{json.dumps(result)}\n")


def declare_operators_of_torchvision() -> None:
    """Let torchvision be imported where its compiled part is for another build of torch."""
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def run_apart(name: str, seconds: float, timing: bool) -> dict[str, object]:
    """Put one network through both roads in a process of its own."""
    command = [sys.executable, "-m", "tests.sweeps.networks", "--one", name, *([] if timing else ["--no-timing"])]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"wrong": [f"over {seconds:.0f} s"]}
    try:
        return dict(json.loads(ended.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        return {"wrong": [f"ended with {ended.returncode}: {ended.stderr.strip()[-300:]}"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--seconds", type=float, default=240.0, help="a network may take")
    parser.add_argument("--no-timing", action="store_true", help="leave out the eager time")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.list:
        sys.stdout.write("\n".join(CATALOGUE) + "\n")
        return 0
    if options.one:
        run_one(options.names[0], not options.no_timing)
        return 0
    counts: Counter[str] = Counter()
    for name in chosen(options.names):
        begin = time.perf_counter()
        result = run_apart(name, options.seconds, not options.no_timing)
        way = next((key for key in ("skipped", "wrong", "differs") if result.get(key)), "right")
        counts[way] += 1
        sys.stdout.write(f"{way:8} {name:36} {time.perf_counter() - begin:4.0f} s  {_figures(result)}\n")
        sys.stdout.flush()
    sys.stdout.write(", ".join(f"{number} {way}" for way, number in sorted(counts.items())) + "\n")
    return int(counts["wrong"] + counts["differs"] > 0)


def _figures(result: dict[str, object]) -> str:
    if "skipped" in result:
        return str(result["skipped"])
    lines = [f"\n         {line}" for key in ("wrong", "differs", "refused") for line in result.get(key, ())]  # type: ignore[attr-defined]  # a list
    if "norms" not in result:
        return "".join(lines)
    norms = " ".join(f"{number:4}" for number in result["norms"])  # type: ignore[attr-defined]  # the same
    return f"{norms}  {result['calls']:2} calls  eager {result['eager']:.2f}  {result['reasons']}{''.join(lines)}"


if __name__ == "__main__":
    sys.exit(main())
