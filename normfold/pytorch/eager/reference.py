"""Feeds for a module that is called eagerly, and the comparison of what two ways of running it give.

The other way may be off by a few times the module's own rounding noise, which is measured against the module in
float64, where it can be had, and with arguments that move by one unit in the last place. The given arguments come
first; the others are derived from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from normfold.pytorch.eager.arrays import array_of, as_real
from normfold.pytorch.eager.call import Call
from normfold.pytorch.eager.copies import copied, state_of
from normfold.pytorch.eager.outputs import tensors_of
from normfold.verify.numeric.distance import AllowedError, distance, pooled
from normfold.verify.numeric.rounding_noise import BEYOND, BEYOND_COARSE, FACTOR, Tolerance
from normfold.verify.result import Comparison, Distance, Stage

NOISE_SAMPLES = 2  # of moved arguments
UNDECIDED = 0.5  # of the places of an integer output: with more than these, rounding decides the output
_HALF = (torch.float16, torch.bfloat16)
LARGEST_COPY = 2**30  # bytes of weights up to which a float64 copy is made

ARGUMENT = "argument "  # begins the name of a tensor that was given
REDRAWN = ("values of the same mean and spread", "the given values with signs and places changed")

EagerRun = Callable[[Call], list[torch.Tensor]]


def eager_run(module: Callable[..., Any], *, with_arguments: bool = False) -> EagerRun:
    """Return a function that calls a module, without gradients, and gives its tensors.

    ``with_arguments`` adds the tensors of the arguments as they are after the call. Until a first call has shown that
    forward() changes nothing of the module, and for good where it does, each call runs on a copy of its own.
    """
    changes_nothing: list[bool] = []

    def run(call: Call) -> list[torch.Tensor]:
        with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # of modules that draw random values
            # A clone, so that a forward() that writes into its arguments does not change the next run's.
            args, kwargs = pytree.tree_map(_cloned, (call.args, dict(call.kwargs)))
            if not isinstance(module, torch.nn.Module) or changes_nothing == [True]:
                outputs = tensors_of(module(*args, **kwargs))
            else:
                own = copied(module)
                before = state_of(own)
                outputs = tensors_of(own(*args, **kwargs))
                changes_nothing[:] = changes_nothing or [state_of(own) == before]
            given = tensors_of((args, kwargs)) if with_arguments else []
            return [as_real(tensor.detach().cpu()) for tensor in (*outputs, *given)]

    return run


def _cloned(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf


def double_run(module: Callable[..., Any], *, with_arguments: bool = False) -> EagerRun | None:
    """Run the same module in float64; None where it is no nn.Module, too large, or cannot be copied."""
    if not isinstance(module, torch.nn.Module) or isinstance(module, torch.jit.ScriptModule):
        return None
    if sum(tensor.nbytes for tensor in module.parameters()) > LARGEST_COPY:
        return None
    wide = copied(module, with_parameters=True).double()
    run = eager_run(wide, with_arguments=with_arguments)
    return lambda call: run(Call(*pytree.tree_map(_widened, (call.args, dict(call.kwargs)))))


def _widened(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf


# -- feeds --------------------------------------------------------------------------------------------------------


def feeds(call: Call, program: torch.export.ExportedProgram | None = None, seed: int = 0) -> Iterator[tuple[str, Call]]:
    """Named calls: the module's own arguments, two drawn like them, and one larger in every dynamic dimension."""
    generator = torch.Generator().manual_seed(seed)
    yield "the given arguments", call
    for name, draw in zip(REDRAWN, (_redrawn, _shuffled), strict=True):
        yield name, _mapped(call, partial(draw, generator=generator))
    larger = _enlarged(call, program) if program is not None else None
    if larger is not None:
        yield "the given values in larger dynamic dimensions", larger


def _mapped(call: Call, function: Callable[[torch.Tensor], torch.Tensor]) -> Call:
    args, kwargs = pytree.tree_map(
        lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, (call.args, dict(call.kwargs))
    )
    return Call(args, kwargs)


def _redrawn(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw normal values of the same mean and spread; integers and bools only change places, so that ids stay valid."""
    if not tensor.is_floating_point() or tensor.numel() < 2:
        return _permuted(tensor, generator)
    wide = tensor.detach().double().cpu()
    drawn = torch.randn(wide.shape, generator=generator, dtype=torch.float64) * wide.std() + wide.mean()
    return drawn.to(tensor)


def _shuffled(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    moved = _permuted(tensor, generator)
    if not tensor.is_floating_point():
        return moved
    signs = torch.where(torch.rand(tensor.shape, generator=generator) < 0.5, -1.0, 1.0)
    return moved * signs.to(moved)


def _permuted(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    return tensor.detach().reshape(-1)[order].reshape(tensor.shape)


def _enlarged(call: Call, program: torch.export.ExportedProgram) -> Call | None:
    """Every dimension that torch.export calls ``s0`` one larger, or smaller; None when nothing is dynamic."""
    names = set(program.graph_signature.user_inputs)
    holders = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    given, structure = pytree.tree_flatten((call.args, dict(call.kwargs)))
    if len(holders) != len(given):
        return None
    sizes: dict[Any, int] = {}
    for holder, leaf in zip(holders, given, strict=True):
        for dim, size in zip(getattr(holder, "shape", ()), getattr(leaf, "shape", ()), strict=False):
            if isinstance(dim, torch.SymInt) and dim.node.expr.is_Symbol:
                sizes[dim.node.expr] = _other_size(int(size), program.range_constraints.get(dim.node.expr))
    if not sizes:
        return None
    grown = [_grown(leaf, getattr(holder, "shape", ()), sizes) for holder, leaf in zip(holders, given, strict=True)]
    args, kwargs = pytree.tree_unflatten(grown, structure)
    return Call(args, kwargs)


def _other_size(size: int, allowed: Any) -> int:
    """Return the next size within the range that torch.export has for a dimension."""
    return size + 1 if allowed is None or size + 1 <= allowed.upper else size - 1


def _grown(leaf: Any, shape: Sequence[Any], sizes: dict[Any, int]) -> Any:
    for axis, dim in enumerate(shape):
        if isinstance(leaf, torch.Tensor) and isinstance(dim, torch.SymInt):
            size = int(dim.node.expr.subs(sizes))
            leaf = leaf.index_select(axis, torch.arange(size, device=leaf.device) % leaf.shape[axis])
    return leaf


# -- comparison ---------------------------------------------------------------------------------------------------


class Noise(NamedTuple):
    """The rounding noise of a tensor, of its shape, and the type of half precision within float32 that it came by."""

    values: np.ndarray = np.zeros(())
    half: str = ""


@dataclass(frozen=True, eq=False)
class Expected:
    """What the reference gives for one call: its tensors, and behind them those of the ``arguments`` after it."""

    feed: str
    call: Call
    outputs: list[torch.Tensor]
    arguments: int
    measure: Callable[[Call, list[torch.Tensor]], list[Noise]]

    @cached_property
    def noises(self) -> list[Noise]:
        """The rounding noise of each tensor. It takes several runs, so that it is measured on demand."""
        return self.measure(self.call, self.outputs)

    def name_of(self, place: int, names: Sequence[str]) -> str:
        """Name a tensor: ``names`` are those of the first outputs."""
        results = len(self.outputs) - self.arguments
        if place >= results:
            return f"{ARGUMENT}{place - results}"
        return names[place] if place < len(names) else f"output {place}"


def expectations(
    reference: Callable[..., Any],
    calls: Iterable[tuple[str, Call]],
    more: Iterable[tuple[str, Call]] = (),
    *,
    with_arguments: bool = False,
) -> tuple[list[Expected], tuple[str, ...]]:
    """Run the reference on every call, and return what it gave with notes on the calls that it does not take."""
    own = eager_run(reference, with_arguments=with_arguments)
    wide = cache(partial(double_run, reference, with_arguments=with_arguments))

    def expected(feed: str, call: Call, outputs: list[torch.Tensor]) -> Expected:
        given = len(tensors_of((call.args, dict(call.kwargs)))) if with_arguments else 0
        return Expected(feed, call, outputs, given, lambda call, outputs: _noises(own, wide(), call, outputs))

    found: list[Expected] = []
    notes: list[str] = []
    for index, (feed, call) in enumerate(calls):
        try:
            outputs = own(call)
        except Exception as error:  # the user's forward() may refuse a made-up feed with anything
            if index == 0:
                raise
            notes.append(f"the module does not take {feed} ({type(error).__name__})")
            continue
        found.append(expected(feed, call, outputs))
    found += [expected(feed, call, given) for feed, call in more if (given := _run_or_none(own, call)) is not None]
    return found, tuple(notes)


def against(
    expected: Iterable[Expected],
    candidate: EagerRun,
    names: Sequence[str] = (),
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> tuple[Comparison, ...]:
    """Run the candidate on every call, and return a comparison for each output, that of its worst call.

    What differs by more than the floor is compared once more with the noise of that very call. A comparison is
    ``noise_dominated`` where the module's own rounding noise hides everything on every call.
    ValueError when the numbers of output tensors differ.
    """
    found: dict[str, Comparison] = {}
    is_explicit = rtol is not None or atol is not None
    for each in expected:
        obtained = candidate(each.call)
        if len(each.outputs) != len(obtained):
            raise ValueError(f"expected {len(each.outputs)} output tensors, got {len(obtained)}")
        for place, (old, new) in enumerate(zip(each.outputs, obtained, strict=True)):
            name = each.name_of(place, names)
            comparison = _compare(name, each.feed, old, new, Noise(), rtol, atol)
            if not comparison.passed and not (comparison.note or (is_explicit and old.is_floating_point())):
                comparison = _compare(name, each.feed, old, new, each.noises[place], rtol, atol)
            found[name] = max(found.get(name, comparison), comparison, key=_badness)
    return tuple(found.values())


def compare(
    reference: Callable[..., Any],
    candidate: EagerRun,
    calls: Iterable[tuple[str, Call]],
    names: Sequence[str] = (),
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Run both on every call: a comparison for each output, its worst call, and notes on calls that were left out.

    A derived call that ``reference`` itself cannot take is left out; what it raises on the first one, and whatever the
    candidate raises, is raised. ValueError when the numbers of output tensors differ.
    """
    expected, notes = expectations(reference, calls)
    return against(expected, candidate, names, rtol=rtol, atol=atol), notes


def _badness(comparison: Comparison) -> tuple[bool, bool, float]:
    """Failures first; of those that pass, one that is drowned in noise only where there is no other."""
    return not comparison.passed, not comparison.noise_dominated, comparison.margin


def _noises(own: EagerRun, wide: EagerRun | None, call: Call, expected: list[torch.Tensor]) -> list[Noise]:
    """Measure the rounding noise of each output, element by element: 1 for an integer that rounding decides.

    It is the difference from a run in float64, and from runs whose arguments, and whatever is computed in half
    precision, move by one unit in the last place, because cancellation shows there.
    """
    generator = torch.Generator().manual_seed(1)
    others = [_run_or_none(wide, call)]
    with _PerturbedHalf(generator) as half:
        others += [
            _run_or_none(own, _mapped(call, lambda leaf: _perturbed(leaf, generator))) for _ in range(NOISE_SAMPLES)
        ]
    noises = [np.zeros(tensor.shape) for tensor in expected]
    for other in others:
        if other is None or [tensor.shape for tensor in other] != [tensor.shape for tensor in expected]:
            continue
        for place, (old, new) in enumerate(zip(expected, other, strict=True)):
            with np.errstate(all="ignore"):
                if not old.is_floating_point():
                    noises[place] = np.maximum(noises[place], array_of(old) != array_of(new))  # rounding decides these
                    continue
                gap = np.nan_to_num(np.abs(array_of(old) - array_of(new.double())), nan=0.0, posinf=0.0)
            noises[place] = np.maximum(noises[place], gap)
    return [Noise(noise, half.met) for noise in noises]


class _PerturbedHalf(TorchFunctionMode):
    """Move each new value in a type of half precision: within float32, by torch.autocast or a part of that type."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator, self.met = generator, ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and move its result in place, unless it is memory of an argument."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype in _HALF:
            given = {each.untyped_storage().data_ptr() for each in tensors_of((args, kwargs))}
            if result.untyped_storage().data_ptr() not in given:
                result.copy_(_perturbed(result, self.generator))
                self.met = str(result.dtype).removeprefix("torch.")
        return result


def _perturbed(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every float one unit in its last place up or down."""
    if not tensor.is_floating_point():
        return tensor
    signs = torch.where(torch.rand(tensor.shape, generator=generator) < 0.5, -1.0, 1.0).to(tensor)
    return tensor.detach() * (1 + signs * torch.finfo(tensor.dtype).eps)


def _run_or_none(run: EagerRun | None, call: Call) -> list[torch.Tensor] | None:
    if run is None:
        return None
    try:
        return run(call)
    except Exception:  # noqa: BLE001  # a module that names its types itself may not run in float64
        return None


def _compare(
    name: str,
    feed: str,
    expected: torch.Tensor,
    obtained: torch.Tensor,
    noise: Noise,
    rtol: float | None,
    atol: float | None,
) -> Comparison:
    dtype = str(_narrower(expected.dtype, obtained.dtype)).removeprefix("torch.")
    old, new = array_of(expected), array_of(obtained)
    is_noisy = bool(noise.values.any())
    if is_noisy and not expected.is_floating_point():
        new = np.where(noise.values > 0, old, new)
    if rtol is None and atol is None:
        measured = FACTOR * pooled(noise.values) if is_noisy else 0.0
        allowed = AllowedError(floor=Tolerance.EAGER.of(dtype), noise=measured)
    else:
        allowed = AllowedError(rtol=rtol, atol=atol)
    found = distance(old, new, allowed)
    passed = found.margin <= 1.0
    found = replace(
        found, tolerance=_tolerance(found, allowed), needed_tolerance="" if passed else found.needed_tolerance
    )
    if expected.is_floating_point():
        is_hidden = not allowed.is_explicit and found.tolerance > BEYOND_COARSE.get(noise.half or dtype, BEYOND)
    else:
        is_hidden = is_noisy and float(noise.values.mean()) > UNDECIDED
    return Comparison(name, Stage.EAGER, passed, feed, noise_dominated=passed and is_hidden, **vars(found))


def _narrower(one: torch.dtype, other: torch.dtype) -> torch.dtype:
    """Return the type that keeps fewer digits: ONNX Runtime may run a float64 file in float32 only."""
    is_less = one.is_floating_point and other.is_floating_point and torch.finfo(one).eps < torch.finfo(other).eps
    return other if is_less else one


def _tolerance(found: Distance, allowed: AllowedError) -> float:
    """Return the tolerance at the worst element, relative to the scale there."""
    return found.relative / found.margin if 0.0 < found.margin < float("inf") else allowed.floor
