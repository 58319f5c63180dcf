"""What the command line says about a network -> the network, its weights and arguments for its forward()."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from normfold.errors import SourceError, UsageError
from normfold.files.torch_bridge import SUFFIXES
from normfold.pytorch.trace.files import load_model, load_weights

Network = torch.nn.Module | torch.export.ExportedProgram

_SIZE = r"(?:\d+|[A-Za-wyz_][A-Za-wyz_0-9]*)"  # a name has no x, which parts the sizes
_SPEC = re.compile(rf"(?P<shape>scalar|{_SIZE}(?:x{_SIZE})*)(:(?P<type>\w+))?(<(?P<high>\d+))?")
_RANGE = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<low>\d+)\.\.(?P<high>\d+)")
_SIZE_OF_DYNAMIC = 2  # torch.export takes sizes of 0 and 1 for constants


def network(spec: str, weights: Path | None = None, *, trust_pickle: bool = False) -> Network:
    """Build or read the network that ``spec`` names: ``package.module:factory``, or the path of an archive.

    UsageError for a spec that is neither, or does not give an nn.Module; SourceError for weights that do not fit.
    """
    if Path(spec).suffix.lower() in SUFFIXES:
        if weights is not None:
            raise UsageError(f"{spec} is an archive with its own weights; leave out --weights")
        return load_model(spec, trust_pickle=trust_pickle)
    module = _made(spec)
    if weights is not None:
        _fill(module, weights, trust_pickle)
    return module


def _made(spec: str) -> torch.nn.Module:
    path, colon, name = spec.partition(":")
    if not colon or not path or not name:
        raise UsageError(f"expected PACKAGE.MODULE:FACTORY or a .pt2 or .pt archive, got {spec!r}")
    made = _factory(path, name)
    try:
        module = made if isinstance(made, torch.nn.Module) else made()
    except Exception as error:  # it is the user's code, which may raise anything
        raise UsageError(f"{spec} raised {type(error).__name__}: {error}; it must take no arguments") from error
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"expected {spec} to give an nn.Module, got {type(module).__name__}")
    return module


def _factory(path: str, name: str) -> Callable[[], Any]:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: the user's code lies in the current folder
    try:
        found: Any = import_module(path)
    except ImportError as error:
        raise UsageError(f"cannot import {path}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{path} has no {name}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(
            f"expected {path}:{name} to be a function, a class or an nn.Module, got {type(found).__name__}"
        )
    return found  # type: ignore[no-any-return]  # callable is all that is known of it


def _fill(module: torch.nn.Module, weights: Path, trust_pickle: bool) -> None:
    state = load_weights(weights, trust_pickle=trust_pickle)
    if state and all(key.startswith("module.") for key in state):  # of DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise SourceError(f"{weights}: the weights do not fit the network: {lines[:400]}") from error


def arguments(specs: Sequence[str], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Tensors for ``1x3x224x224``, ``1x16:int64`` (below 2), ``1x16:int64<100``, ``scalar``; UsageError for others.

    A size may be the name of a dynamic dimension, as in "Nx3x224x224"; the tensor has size 2 there, or the least
    that a range allows: "N=4..64" stands among the specs and is no tensor.
    Floats are normal, of mean 0 and variance 1; integers from 0 to below the bound; bools by chance.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes, ranges = _without_ranges(specs)
    return tuple(_argument(spec, ranges, generator) for spec in shapes)


def dynamic_shapes(specs: Sequence[str], made: Network) -> tuple[dict[int, torch.export.Dim], ...] | None:
    """Return the named sizes of the specs as torch.export takes them; None where there are none.

    UsageError where ``made`` is an ExportedProgram, whose dimensions are settled.
    """
    shapes, ranges = _without_ranges(specs)
    names = [_parsed(spec)[1] for spec in shapes]
    if not any(isinstance(size, str) for sizes in names for size in sizes):
        return None
    if isinstance(made, torch.export.ExportedProgram):
        raise UsageError("--input names a dynamic dimension, but the dimensions of an exported archive are settled")
    dims = {size: _dimension(size, ranges) for sizes in names for size in sizes if isinstance(size, str)}
    return tuple({axis: dims[size] for axis, size in enumerate(sizes) if isinstance(size, str)} for sizes in names)


def _without_ranges(specs: Sequence[str]) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Part the shapes from the ranges; UsageError for a range that is empty or of a name that no shape has."""
    matches = {spec: _RANGE.fullmatch(spec) for spec in specs}
    shapes = [spec for spec in specs if matches[spec] is None]
    named = {size for spec in shapes for size in _parsed(spec)[1] if isinstance(size, str)}
    ranges: dict[str, tuple[int, int]] = {}
    for spec, match in matches.items():
        if match is None:
            continue
        low, high = int(match["low"]), int(match["high"])
        if match["name"] not in named:
            raise UsageError(f"--input {spec}: no other --input has a dimension {match['name']}")
        if high < max(low + 1, _SIZE_OF_DYNAMIC):
            raise UsageError(f"--input {spec}: expected a range of several sizes such as N=1..64")
        ranges[match["name"]] = low, high
    return shapes, ranges


def _dimension(name: str, ranges: Mapping[str, tuple[int, int]]) -> torch.export.Dim:
    low, high = ranges.get(name, (None, None))
    return torch.export.Dim(name, min=low, max=high)


def _parsed(spec: str) -> tuple[re.Match[str], tuple[int | str, ...]]:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UsageError(f"expected an input such as 1x3x224x224, Nx3x8x8, 1x16:int64<100 or scalar, got {spec!r}")
    sizes = () if match["shape"] == "scalar" else match["shape"].split("x")
    return match, tuple(int(size) if size.isdecimal() else size for size in sizes)


def _argument(spec: str, ranges: Mapping[str, tuple[int, int]], generator: torch.Generator) -> torch.Tensor:
    match, sizes = _parsed(spec)
    shape = tuple(
        max(_SIZE_OF_DYNAMIC, ranges.get(size, (0, 0))[0]) if isinstance(size, str) else size for size in sizes
    )
    dtype = getattr(torch, match["type"] or "float32", None)
    if not isinstance(dtype, torch.dtype) or dtype.is_complex:
        raise UsageError(f"{spec}: expected a type such as float32, float16, int64 or bool, got {match['type']!r}")
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, int(match["high"] or 2), shape, generator=generator).to(dtype)


def default_output(spec: str) -> Path:
    """FACTORY.opt.onnx in the current folder, or ARCHIVE.opt.onnx in the folder of the archive."""
    if Path(spec).suffix.lower() in SUFFIXES:
        return Path(spec).with_suffix(".opt.onnx")
    return Path(f"{spec.rpartition(':')[2].rpartition('.')[2]}.opt.onnx")
