"""Sensitivity: plant faults in folded models, and see whether each is found and attributed to the right fold.

    python -m tests.sweeps.faults MODEL.onnx... [--each 3] [--seed 0] [--public] [--verbose]

For each model, ``--each`` faults of every kind that fits. The right fold is the one whose verdict says that it
went into the operator that was broken. Where several folds have no value of their own left between them, they share a
site and are named together ("shared"); the rollback then tells them apart by building without each. With ``--public``
nothing says where the sites are: so ``normfold verify`` judges, which has nothing but the models. The command prints a
table and ends with 1 when a fault was missed or a fold was named at a site that is not the right one's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import normfold
from normfold.verify import Equivalence, ProofOptions, Site, Verification, prove

WAYS = ("right", "shared", "other", "missed")
SHIFT = 0.05
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Fault:
    """A broken copy of a model: what was done, to which operator, and the folds that went into that operator."""

    kind: str
    node: str
    model: onnx.ModelProto
    owners: frozenset[str]


@dataclass(frozen=True)
class Target:
    """An operator that took a fold over, its weight, and where its output channels lie in the weight.

    ``untouched`` are channels whose weights no fold changed, such as the values next to the queries that were scaled.
    """

    node: onnx.NodeProto
    weight_name: str
    weight: np.ndarray
    axis: int
    owners: frozenset[str]
    variance: np.ndarray | None = None
    untouched: frozenset[int] = frozenset()

    @property
    def group(self) -> int:
        return next((a.i for a in self.node.attribute if a.name == "group"), 1)

    def channels(self) -> np.ndarray:
        """Output channels that a fold changed and whose weights are not all zero."""
        others = tuple(i for i in range(self.weight.ndim) if i != self.axis)
        alive = np.flatnonzero(np.abs(self.weight).max(axis=others))
        return np.setdiff1d(alive, list(self.untouched))


def targets(result: normfold.Result) -> list[Target]:
    """Operators with a weight that folds went into."""
    model = result.model
    initializers = {t.name: t for t in model.graph.initializer}
    variances = _variances(result.source.proto)
    known = _vectors(result.source.proto)
    found = []
    for node in model.graph.node:
        folds = [v for v in result.changes if node.name and node.name in v.into]
        side = next((i for i in (1, 0) if len(node.input) > i and node.input[i] in initializers), None)
        if node.op_type not in LINEAR or not folds or side is None:
            continue
        weight = numpy_helper.to_array(initializers[node.input[side]])
        if weight.dtype.kind != "f" or weight.ndim < 2:
            continue
        # A bias behind a MatMul is part of the same linear operator.
        behind = [n.name for n in model.graph.node if n.op_type == "Add" and node.output[0] in n.input and n.name]
        owners = frozenset(v.finding.name for v in result.changes if {node.name, *behind} & set(v.into))
        variance = next((variances[v.finding.name] for v in folds if v.finding.name in variances), None)
        axis = _output_axis(node, side, weight.ndim)
        same = frozenset(i for i, vector in enumerate(_along(weight, axis)) if vector in known)
        found.append(Target(node, node.input[side], weight, axis, owners, variance, same))
    return found


def _vectors(model: onnx.ModelProto) -> set[bytes]:
    """The weights of every channel of the model, on either of the axes that may be the channels'."""
    arrays = [numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) > 1]
    floating = [array for array in arrays if array.dtype.kind == "f"]
    return {vector for array in floating for axis in {0, 1, array.ndim - 1} for vector in _along(array, axis)}


def _along(weight: np.ndarray, axis: int) -> list[bytes]:
    return [channel.tobytes() for channel in np.moveaxis(weight, axis, 0)]


def _variances(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The running variance of each BatchNormalization that names its statistics as an initializer."""
    arrays = {t.name: t for t in model.graph.initializer}
    norms = [n for n in model.graph.node if n.op_type == "BatchNormalization" and n.input[4] in arrays]
    return {n.name or n.output[0]: numpy_helper.to_array(arrays[n.input[4]]) for n in norms}


def _output_axis(node: onnx.NodeProto, side: int, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        flipped = any(a.name == ("transB" if side else "transA") and a.i for a in node.attribute)
        return (0 if flipped else 1) if side else (1 if flipped else 0)
    return rank - 1 if side else rank - 2


# -- the kinds of faults: each gives a changed weight, or None where it does not fit -----------------------------------
def off_by_a_thousandth(target: Target, rng: np.random.Generator) -> np.ndarray | None:
    """One channel of one weight, 1e-3 relative."""
    return _scaled(target, rng, 1.001)


def sign(target: Target, rng: np.random.Generator) -> np.ndarray | None:
    """One channel with the other sign."""
    return _scaled(target, rng, -1.0)


def _scaled(target: Target, rng: np.random.Generator, factor: float) -> np.ndarray | None:
    channels = target.channels()
    if not channels.size:
        return None
    weight = np.moveaxis(target.weight.copy(), target.axis, 0)
    weight[rng.choice(channels)] *= factor
    return np.moveaxis(weight, 0, target.axis)


def swapped_channels(target: Target, rng: np.random.Generator) -> np.ndarray | None:
    """Two output channels in each other's place."""
    channels = target.channels()
    if channels.size < 2:
        return None
    one, two = rng.choice(channels, 2, replace=False)
    weight = np.moveaxis(target.weight.copy(), target.axis, 0)
    weight[[one, two]] = weight[[two, one]]
    return np.moveaxis(weight, 0, target.axis)


def wrong_epsilon(target: Target, rng: np.random.Generator) -> np.ndarray | None:
    """epsilon 1e-3 in place of 1e-5."""
    size = target.weight.shape[target.axis]
    if target.variance is None or target.variance.size != size:
        return None
    factor = np.sqrt((target.variance + 1e-5) / (target.variance + 1e-3))
    return target.weight * factor.reshape([-1 if i == target.axis else 1 for i in range(target.weight.ndim)])


def wrong_group(target: Target, rng: np.random.Generator) -> np.ndarray | None:
    """The weights of each group in the place of the next group's."""
    if target.group < 2:
        return None
    return np.roll(target.weight, target.weight.shape[0] // target.group, axis=0)


def transposed(target: Target, rng: np.random.Generator) -> np.ndarray | None:
    """A square weight transposed."""
    rows, columns = target.weight.shape[:2] if target.node.op_type.startswith("Conv") else target.weight.shape[-2:]
    if rows != columns or rows < 2:
        return None
    return (
        np.swapaxes(target.weight, 0, 1) if target.node.op_type.startswith("Conv") else target.weight.swapaxes(-1, -2)
    )


WEIGHT_FAULTS: tuple[Callable[[Target, np.random.Generator], np.ndarray | None], ...] = (
    off_by_a_thousandth,
    sign,
    swapped_channels,
    wrong_epsilon,
    wrong_group,
    transposed,
)


def dropped_bias(model: onnx.ModelProto, target: Target) -> onnx.ModelProto | None:
    """The bias set to zero; None where it is so small that nothing but rounding would change."""
    if len(target.node.input) < 3 or target.node.op_type == "MatMul":
        return None
    bias = next((t for t in model.graph.initializer if t.name == target.node.input[2]), None)
    sums = np.abs(target.weight.astype(np.float64)).sum(axis=tuple(range(1, target.weight.ndim)))
    if bias is None or np.abs(numpy_helper.to_array(bias)).max(initial=0) <= 1e-5 * sums.max():
        return None
    return with_initializer(model, bias.name, np.zeros_like(numpy_helper.to_array(bias)))


def shift_through_padding(model: onnx.ModelProto, target: Target) -> onnx.ModelProto | None:
    """The border padded with a shift, as if one had been moved through zero padding; None where the taps that reach the
    border are so weak that nothing but rounding would change (the layer scale of an untrained network)."""
    pads = next((list(a.ints) for a in target.node.attribute if a.name == "pads"), [])
    opset = next(o.version for o in model.opset_import if o.domain == "")
    if target.node.op_type != "Conv" or not any(pads) or opset < 11:
        return None
    taps = np.abs(target.weight.astype(np.float64)).reshape(*target.weight.shape[:2], -1)
    around = np.delete(taps, taps.shape[2] // 2, axis=2)
    if SHIFT * around.sum(axis=(1, 2)).max() < 1e-4 * taps.max():
        return None
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    index = next(i for i, n in enumerate(broken.graph.node) if n.name == target.node.name)
    node = broken.graph.node[index]
    half = len(pads) // 2
    amounts = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], dtype=np.int64)
    broken.graph.initializer.append(numpy_helper.from_array(amounts, "fault_pads"))
    broken.graph.initializer.append(numpy_helper.from_array(np.array(SHIFT, dtype=target.weight.dtype), "fault_shift"))
    pad = helper.make_node("Pad", [node.input[0], "fault_pads", "fault_shift"], ["fault_padded"])
    node.input[0] = "fault_padded"
    next(a for a in node.attribute if a.name == "pads").ints[:] = [0] * len(pads)
    broken.graph.node.insert(index, pad)
    return broken


def with_initializer(model: onnx.ModelProto, name: str, array: np.ndarray) -> onnx.ModelProto:
    """A copy of the model with another value of one initializer."""
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    tensor = next(t for t in broken.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return broken


def plant(result: normfold.Result, each: int, rng: np.random.Generator) -> Iterator[Fault]:
    """Up to ``each`` faults of every kind, in operators drawn at random."""
    model, places = result.model, targets(result)
    for weight_fault in WEIGHT_FAULTS:
        planted = 0
        for index in rng.permutation(len(places)):
            target = places[index]
            weight = weight_fault(target, rng)
            if planted == each or weight is None or np.array_equal(weight, target.weight):
                continue
            planted += 1
            broken = with_initializer(model, target.weight_name, weight.astype(target.weight.dtype))
            yield Fault(weight_fault.__name__, target.node.name, broken, target.owners)
    for graph_fault in (dropped_bias, shift_through_padding):
        planted = 0
        for index in rng.permutation(len(places)):
            changed = graph_fault(model, places[index]) if planted < each else None
            if changed is not None:
                planted += 1
                yield Fault(graph_fault.__name__, places[index].node.name, changed, places[index].owners)


def sites_of(result: normfold.Result) -> list[Site]:
    """Where the effect of each fold can be measured."""
    return [Site(value, v.finding.name, v.finding.graph) for v in result.changes for value in v.sites]


def judge(result: normfold.Result, fault: Fault, seed: int, sites: Sequence[Site] | None) -> tuple[str, Verification]:
    """``right``, ``shared``, ``missed``, or ``other`` when a fold was named at a site that is not broken."""
    verification = prove(result.source.proto, fault.model, sites, ProofOptions(seed=seed))
    if verification.verdict is not Equivalence.DIFFERENT:
        return "missed", verification
    named = set(verification.failing_folds)
    if named and named <= fault.owners:
        return "right", verification
    failing = [set(c.folds) for c in verification.sites if not c.passed]
    shared = failing and all(owners & fault.owners for owners in failing)
    return ("shared" if shared else "other"), verification


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--public", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)
    counts: Counter[tuple[str, str]] = Counter()
    for path in options.models:
        start = time.monotonic()
        result = normfold.optimize(path, verify=False)
        here: Counter[str] = Counter()
        sites = None if options.public else sites_of(result)
        clean = prove(result.source.proto, result.model, sites, ProofOptions(seed=options.seed))
        if not clean:
            counts["(no fault)", "other"] += 1
            sys.stdout.write(f"{path.name}: nothing was planted, yet: {clean}\n")
            continue
        for fault in plant(result, options.each, np.random.default_rng(options.seed)):
            how, verification = judge(result, fault, options.seed, sites)
            counts[fault.kind, how] += 1
            here[how] += 1
            if how in ("other", "missed"):
                sys.stdout.write(
                    f"  {how}: {fault.kind} in {fault.node}; expected {sorted(fault.owners)}, "
                    f"got {verification.verdict.value} {list(verification.failing_folds)}\n"
                )
                if options.verbose:
                    sys.stdout.write(f"{verification}\n")
        text = ", ".join(f"{n} {how}" for how, n in here.items()) or "no fold to break"
        sys.stdout.write(f"{path.name}: {text} ({time.monotonic() - start:.0f} s)\n")
        sys.stdout.flush()
    sys.stdout.write(f"{'kind':24} {'planted':>8} {' '.join(f'{how:>8}' for how in WAYS)}\n")
    for kind in sorted({kind for kind, _ in counts}):
        _row(kind, [counts[kind, how] for how in WAYS])
    total = [sum(n for (_, h), n in counts.items() if h == how) for how in WAYS]
    _row("all", total)
    return 0 if sum(total[:2]) == sum(total) else 1


def _row(kind: str, numbers: Sequence[int]) -> None:
    sys.stdout.write(f"{kind:24} {sum(numbers):8} {' '.join(f'{n:8}' for n in numbers)}\n")


if __name__ == "__main__":
    sys.exit(main())
