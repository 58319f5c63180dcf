"""Collect the values that the nodes of a folded graph need in parameters, and find out whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from normfold.findings.reason import Reason
from normfold.pytorch.write_back.module_tree import Slot
from normfold.pytorch.write_back.provenance import static

SlotArrays = dict[Slot, npt.NDArray[Any]]


@dataclass(frozen=True)
class WriteBackProblem:
    """Folds that cannot be written back onto the module, by the names of their findings, and why."""

    folds: frozenset[str]
    reason: Reason
    node: str
    detail: str = ""


@dataclass
class Changes:
    """What to write onto the modules.

    ``weights``: new values by parameter. ``windows``: the other attributes that change of a convolution whose kernel
    grows, by their names. ``gone``: modules that become Identity. ``left``: for a module that becomes a Sequential,
    the paths of the children that it keeps. ``dropped``: the children that it loses. ``zeros``: modules that give
    zero from now on. ``shared``: those of ``gone`` whose input others read too. ``fresh``: those of ``shared`` that
    give a copy, because something behind them writes in place.
    """

    weights: dict[Slot, npt.NDArray[Any]] = field(default_factory=dict)
    windows: dict[torch.nn.Module, dict[str, Any]] = field(default_factory=dict)
    gone: set[torch.nn.Module] = field(default_factory=set)
    left: dict[torch.nn.Module, tuple[str, ...]] = field(default_factory=dict)
    dropped: set[torch.nn.Module] = field(default_factory=set)
    zeros: set[torch.nn.Module] = field(default_factory=set)
    shared: set[torch.nn.Module] = field(default_factory=set)
    fresh: frozenset[torch.nn.Module] = frozenset()

    def without(self, module: torch.nn.Module) -> Changes:
        """Return the changes of the other modules."""
        kept: dict[str, Any] = {"weights": {slot: new for slot, new in self.weights.items() if slot[0] is not module}}
        for name in ("windows", "left"):
            kept[name] = {each: value for each, value in getattr(self, name).items() if each is not module}
        for name in ("gone", "dropped", "zeros", "shared"):
            kept[name] = getattr(self, name) - {module}
        return replace(self, **kept)

    @property
    def steps(self) -> set[torch.nn.Module]:
        """The modules that do something else than before."""
        owners = {owner for owner, _ in self.weights}
        return owners | set(self.windows) | self.gone | set(self.left) | self.dropped | self.zeros


class WeightRequests:
    """The value that each node needs in each parameter; None for the present one."""

    def __init__(self) -> None:
        self._requested: dict[tuple[int, str], list[tuple[ir.Node | None, npt.NDArray[Any] | None]]] = {}
        self._slots: dict[tuple[int, str], Slot] = {}

    def add(self, slot: Slot, node: ir.Node | None, array: npt.NDArray[Any] | None) -> None:
        """Record that ``node`` (None: an output) needs ``array`` in ``slot``, None for what it holds."""
        key = (id(slot[0]), slot[1])
        self._slots[key] = slot
        self._requested.setdefault(key, []).append((node, array))

    def agreed(
        self, calls: Callable[[torch.nn.Module], Collection[ir.Node]]
    ) -> tuple[SlotArrays, list[tuple[Slot, list[ir.Node]]]]:
        """Return the values that every use of a parameter agrees on, and the nodes that request different ones.

        A bias that a module does not have yet must be requested by each of its ``calls``, or by none.
        """
        weights: SlotArrays = {}
        disagreements = []
        for key, requests in self._requested.items():
            slot, nodes = self._slots[key], [node for node, _ in requests if node is not None]
            wanted = [array for _, array in requests if array is not None]
            if not wanted:
                continue
            same = len(wanted) == len(requests) and all(np.array_equal(array, wanted[0]) for array in wanted)
            if same and (_exists(slot) or set(calls(slot[0])) <= set(nodes)):
                weights[slot] = wanted[0]
            else:
                disagreements.append((slot, nodes))
        return weights, disagreements


def _exists(slot: Slot) -> bool:
    module, name = slot
    return module._parameters.get(name, module._buffers.get(name)) is not None


def window(weight: ir.Value | None, attributes: Mapping[str, ir.Attr]) -> dict[str, tuple[int, ...]]:
    """Everything that tells where a convolution looks, with the defaults of ONNX filled in."""
    sizes = (static(weight.shape if weight is not None else None) or ())[2:]
    ones, zeros = (1,) * len(sizes), (0,) * 2 * len(sizes)
    named = {"strides": ones, "dilations": ones, "pads": zeros}
    found = {name: tuple(attributes[name].as_ints()) if name in attributes else own for name, own in named.items()}
    group = attributes["group"].as_int() if "group" in attributes else 1
    return {**found, "sizes": sizes, "group": (group,)}


def without_identity(
    weight: npt.NDArray[Any], where: Mapping[str, tuple[int, ...]], times: int
) -> npt.NDArray[np.float64] | None:
    """Subtract ``times`` the identity from a convolution's weight; None where its window cannot hold that."""
    outputs, inputs = weight.shape[:2]
    sizes = where["sizes"]
    places = [divmod(pad, step) for pad, step in zip(where["pads"], where["dilations"], strict=False)]
    fits = all(not rest and place < size for (place, rest), size in zip(places, sizes, strict=True))
    if not fits or outputs != inputs * where["group"][0] or set(where["strides"]) != {1}:
        return None
    less = weight.astype(np.float64)
    channels = np.arange(outputs)
    less[(channels, channels % inputs, *(place for place, _ in places))] -= times
    return less


def numbers_in(value: ir.Value) -> int:
    """How many numbers a constant of a known shape holds."""
    return prod(static(value.shape) or ())


def array_of(value: ir.Value) -> npt.NDArray[Any]:
    """Return the constant in ``value`` as a numpy array of its own type."""
    assert value.const_value is not None
    return value.const_value.numpy()
