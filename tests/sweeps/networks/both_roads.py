"""One network by both roads: its file and its folded module against the module, on every kind of call.

``examined`` returns the figures of one network, the calls that are refused, the norms that only the module keeps, and
what is wrong: a value that differs, an exception without a reason, or something of the caller's that was touched.
"""

from __future__ import annotations

import copy
import inspect
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import normfold
from normfold.errors import NormfoldError
from normfold.pytorch.eager.outputs import tensors_of
from normfold.result import NotProven
from normfold.verify.result import Equivalence
from tests.pytorch.nets import drawn
from tests.sweeps.networks.catalogue import Network

RELATIVE = 2e-3  # of the largest value of an output, in float32
REPEATS = 25
BATCHNORM = nn.modules.batchnorm._BatchNorm
Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class Examined:
    """What was found: ``norms`` in the module, in the file and in the folded module, and what is wrong."""

    norms: tuple[int, int, int] = (0, -1, -1)
    calls: int = 0
    eager: float = 0.0  # processor time of a call of the folded module, relative to the original's
    reasons: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # in one line, with a reason
    differs: list[str] = field(default_factory=list)  # norms that only the module keeps, and why
    wrong: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as data."""
        return asdict(self)


def examined(network: Network, *, timing: bool = True) -> Examined:
    """Put one network through both roads."""
    module = network.module.eval() if network.trained else drawn(network.module)
    found = Examined((sum(isinstance(part, BATCHNORM) for part in module.modules()), -1, -1))
    reference = copy.deepcopy(module)
    before, given = _state(module), copy.deepcopy((network.args, network.kwargs))
    in_file = _file(module, network, found)
    folded = _fold(module, network, found)
    if _state(module) != before or _differs(given, (network.args, network.kwargs)):
        found.wrong.append("the module or its arguments are no longer what they were")
    if folded is None:
        return found
    _compare_roads(in_file, folded, found)
    for name, call in calls(reference, network):
        _compare_call(reference, folded.module, name, call, found)
    if timing:
        found.eager = _ratio(module, folded.module, (network.args, network.kwargs))
    return found


# -- the roads ------------------------------------------------------------------------------------------------------


def _file(module: nn.Module, network: Network, found: Examined) -> normfold.Result | None:
    try:
        result = normfold.export(module, network.args, kwargs=network.kwargs)
    except NotProven as error:
        result = error.result
        found.wrong.append(f"file: {_line(error)}")
    except NormfoldError as error:
        found.refused.append(f"file: {_line(error)}")
        return None
    assert result.verification is not None
    if result.verification.verdict is not Equivalence.EQUIVALENT:
        found.refused.append(f"file: {result.verification.verdict.value}")
    left = sum(node.op_type == "BatchNormalization" for node in result.model.graph.node)
    found.norms = (found.norms[0], left, found.norms[2])
    for name, call in list(calls(module, network))[:2]:
        _compare_file(result, copy.deepcopy(module), name, call, found)
    return result


def _compare_file(result: normfold.Result, module: nn.Module, name: str, call: Call, found: Examined) -> None:
    session = ort.InferenceSession(result.model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = tensors_of(_run(module, call))
    tensors = [leaf for leaf in pytree.tree_leaves(call) if isinstance(leaf, Tensor)]
    names = [value.name for value in session.get_inputs()]
    if len(names) != len(tensors):
        found.refused.append(f"file: {len(names)} inputs for {len(tensors)} tensors")
        return
    obtained = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)})
    off = _distance(expected, [torch.from_numpy(np.asarray(value)) for value in obtained])
    if off > RELATIVE:
        found.wrong.append(f"file, {name}: off by {off:.2e}")


def _fold(module: nn.Module, network: Network, found: Examined) -> normfold.Folded[nn.Module] | None:
    try:
        folded = normfold.fold_module(module, network.args, network.kwargs)
    except NormfoldError as error:
        found.refused.append(f"module: {_line(error)}")
        return None
    found.wrong += [f"module: {each.value} differs" for each in folded.comparisons if not each.passed]
    found.reasons = dict(Counter(kept.obstacles[0].reason.code for kept in folded.kept if kept.finding.is_norm))
    return folded


def _compare_roads(result: normfold.Result | None, folded: normfold.Folded[nn.Module], found: Examined) -> None:
    """Count the norms that the module and the file keep, and name those that only one of them keeps."""
    kept = {verdict.finding.name for verdict in folded.kept if verdict.finding.is_norm}
    left = sum(isinstance(part, BATCHNORM) for part in folded.module.modules())
    found.norms = (*found.norms[:2], left)
    if result is None:
        return
    in_file = {verdict.finding.name for verdict in result.kept if verdict.finding.is_norm}
    batchnorms = {verdict.finding.name for verdict in folded.kept if verdict.finding.operator == "BatchNormalization"}
    for name in sorted((kept - in_file) & batchnorms):
        reason = next(v.obstacles[0] for v in folded.kept if v.finding.name == name)
        found.differs.append(f"only the module keeps {name}: {reason.reason.code} {reason.detail}")


# -- calls ------------------------------------------------------------------------------------------------------------


def calls(module: nn.Module, network: Network) -> Iterator[tuple[str, Call]]:
    """Yield the given call, and others: values, batches, sizes, flags and methods."""
    given: Call = (network.args, network.kwargs)
    numbers = count(1)

    def fresh(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        return torch.randn(leaf.shape, generator=torch.Generator().manual_seed(next(numbers))).to(leaf)

    yield "given", given
    yield "fresh", pytree.tree_map(fresh, given)
    yield "batch 1", _sized(given, 0, lambda size: 1)
    yield "batch + 1", _sized(given, 0, lambda size: size + 1)
    for name, axis, factor in (("taller", -2, 1.5), ("wider", -1, 1.5), ("odd", -1, 1.17)):
        yield name, _sized(given, axis, partial(_scaled, factor))
    for name, value in _flags(module, network).items():
        yield f"{name}={value}", (network.args, {**network.kwargs, name: value})
    yield "given again", given


def _scaled(factor: float, size: int) -> int:
    return int(size * factor)


def _sized(call: Call, axis: int, size: Callable[[int], int]) -> Call:
    def resized(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dim() < (1 if axis == 0 else 3):
            return leaf
        return leaf.index_select(axis, torch.arange(size(leaf.shape[axis])) % leaf.shape[axis])

    resized_call: Call = pytree.tree_map(resized, call)
    return resized_call


def _flags(module: nn.Module, network: Network) -> dict[str, bool]:
    """Return the boolean arguments of forward() by name, each with the other value."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())[len(network.args) :]
    except (TypeError, ValueError):
        return {}
    return {each.name: not each.default for each in parameters if isinstance(each.default, bool)}


def _compare_call(reference: nn.Module, module: nn.Module, name: str, call: Call, found: Examined) -> None:
    own, other = copy.deepcopy(call), copy.deepcopy(call)
    try:
        expected = tensors_of(_run(reference, own))
    except Exception:  # noqa: BLE001  # the network does not take this call, and may say so with anything
        return
    found.calls += 1
    try:
        obtained = tensors_of(_run(module, other))
    except NormfoldError as error:
        found.refused.append(f"{name}: {_line(error)}")
        return
    except Exception as error:  # noqa: BLE001  # the sweep reports it
        found.wrong.append(f"{name}: {type(error).__name__}: {_line(error)}")
        return
    off = _distance(expected, obtained)
    if off > RELATIVE:
        found.wrong.append(f"{name}: off by {off:.2e}")
    if _differs(own, other):
        found.wrong.append(f"{name}: its arguments differ afterwards")
    buffers, others = dict(reference.named_buffers()), dict(module.named_buffers())
    if any(
        key in others and others[key].numel() and not _is_same(value, others[key])
        for key, value in buffers.items()
        if not key.endswith(("running_mean", "running_var"))
    ):
        found.wrong.append(f"{name}: a buffer differs afterwards")


def _run(module: nn.Module, call: Call) -> Any:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module(*call[0], **call[1])


# -- figures ----------------------------------------------------------------------------------------------------------


def _distance(expected: list[Tensor], obtained: list[Tensor]) -> float:
    """Return the largest difference relative to the largest value of the output; infinite for other shapes."""
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in obtained]:
        return float("inf")
    worst = 0.0
    for old, new in zip(expected, obtained, strict=True):
        if old.is_floating_point() and old.numel():
            worst = max(worst, float((old - new).abs().max() / old.abs().max().clamp_min(1e-6)))
    return worst


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())


def _differs(one: Any, other: Any) -> bool:
    return not all(_is_same(a, b) for a, b in zip(tensors_of(one), tensors_of(other), strict=True))


def _state(module: nn.Module) -> Any:
    return {
        **{
            key: value.clone().numpy().tobytes()
            for key, value in module.state_dict().items()
            if isinstance(value, Tensor)
        },
        **{f"{name}.training": part.training for name, part in module.named_modules()},
    }


def _ratio(module: nn.Module, other: nn.Module, call: Call) -> float:
    """Return the median ratio of processor times of interleaved calls."""
    ratios = []
    with torch.no_grad():
        for _ in range(REPEATS):
            seconds = []
            for each in (module, other):
                begin = time.process_time()
                each(*call[0], **call[1])
                seconds.append(time.process_time() - begin)
            ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios[2:])


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:240] + (" (more lines)" if len(lines) > 1 else "")
