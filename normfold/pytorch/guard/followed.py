"""Follow calls of a folded module and the original: which modules give other values, and what reads these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from normfold.pytorch.eager.call import Call
from normfold.pytorch.eager.copies import copied
from normfold.pytorch.eager.outputs import tensors_of
from normfold.pytorch.eager.reference import REDRAWN
from normfold.pytorch.eager.variants import SIZES
from normfold.pytorch.guard.recorder import Edges, Recorder, Tags, merge

SAMPLES = 251  # of a value that are compared
SAME = {torch.float64: 1e-6, torch.float32: 1e-4}  # of the largest sample
SAME_ELSE = 3e-2

LIKE_THE_FIRST = SIZES | set(REDRAWN)

_USER_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_NOT_OF_THE_USER = ("torch.", "normfold.")


@dataclass(frozen=True)
class Followed:
    """What calls of a folded module have shown.

    ``differing``: the paths of modules whose output differs; ``steps``: those of modules that do something else than
    before, each with the first path of that module; ``edges``: what reads differing values; ``blind``: the calls that
    take a way of their own and show nothing of it; ``notes``: these, and what hooks of the user see of it.
    """

    differing: Tags
    steps: dict[str, str]
    edges: Edges
    blind: frozenset[str]
    notes: tuple[str, ...]


def follow(
    original: torch.nn.Module,
    folded: torch.nn.Module,
    steps: Sequence[str],
    calls: Sequence[tuple[str, Call]],
    shows: Callable[[str, str], bool],
) -> Followed:
    """Run the folded module on every call, and both on those that are not only of other values or sizes.

    ``steps`` are the paths of the modules that changed. ``shows(call, path)`` tells whether the outputs of a call
    would be others if the module at the path had not changed.
    """
    if not steps:
        return Followed(frozenset(), {}, {}, frozenset(), ())
    inner = tuple(path for path in steps if _has(original, path) and _has(folded, path))
    watched = tuple(path for path, part in original.named_modules() if path in inner or has_hooks_of_the_user(part))
    differing: set[str] = set()
    for call in [call for name, call in calls if name not in LIKE_THE_FIRST]:
        before, after = _values(original, watched, call), _values(folded, watched, call)
        differing.update(path for path in watched if not _are_same(before.get(path, []), after.get(path, [])))
    first = {id(part): path for path, part in reversed(list(original.named_modules(remove_duplicate=False)))}
    alone = {
        path: first[id(original.get_submodule(path))]
        for path in inner
        if not any(other.startswith(f"{path}.") for other in inner)
    }
    changed = frozenset(alone.values()) & differing
    edges: Edges = {}
    blind: dict[str, str] = {}
    for name, call in [(name, call) for name, call in calls if name not in REDRAWN]:
        recorder = _recorded(folded, changed, alone, call)
        tested = sorted({path for edge, paths in recorder.involved.items() if edge not in edges for path in paths})
        hidden = next((path for path in tested if edges and not shows(name, path)), None)
        if hidden is None:
            merge(edges, recorder.edges)
        else:
            blind[name] = f"with {name} the module takes another way, where its values hide {hidden}: it is not covered"
    notes = [
        f"a hook on {path} ({type(original.get_submodule(path)).__name__}) sees another value than before"
        for path in watched
        if path in differing and has_hooks_of_the_user(original.get_submodule(path))
    ]
    return Followed(changed, alone, edges, frozenset(blind), (*notes, *blind.values()))


def _has(module: torch.nn.Module, path: str) -> bool:
    with suppress(AttributeError):
        module.get_submodule(path)
        return True
    return False


def has_hooks_of_the_user(module: torch.nn.Module) -> bool:
    """Tell whether its calls run hooks of others than torch, as weight_norm and observers, and a recorder."""
    hooks = [hook for name in _USER_HOOKS for hook in getattr(module, name, {}).values()]
    return not all(str(getattr(hook, "__module__", "")).startswith(_NOT_OF_THE_USER) for hook in hooks)


def _recorded(module: torch.nn.Module, differing: Tags, steps: Mapping[str, str], call: Call) -> Recorder:
    with _running(module, call) as (own, args, kwargs):
        recorder = Recorder(differing, None, type(module).__name__)
        recorder.watch(own, steps)
        with recorder:
            output = own(*args, **kwargs)
        recorder.stop()
        recorder.returned(output)
    return recorder


@contextmanager
def _running(module: torch.nn.Module, call: Call) -> Iterator[tuple[torch.nn.Module, Any, Any]]:
    """Give a copy of the module and of its arguments, for a run without gradients."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        args, kwargs = pytree.tree_map(
            lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, (call.args, dict(call.kwargs))
        )
        yield copied(module), args, kwargs


# -- values ---------------------------------------------------------------------------------------------------------


def _values(module: torch.nn.Module, paths: Sequence[str], call: Call) -> dict[str, list[torch.Tensor]]:
    """Return samples of what each module reads and gives, at each of its calls."""
    found: dict[str, list[torch.Tensor]] = {}
    with _running(module, call) as (own, args, kwargs):
        for path in paths:
            own.get_submodule(path).register_forward_hook(_sampler(found.setdefault(path, [])))
        own(*args, **kwargs)
    return found


def _sampler(into: list[torch.Tensor]) -> Callable[..., None]:
    def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
        into.extend(_sample(tensor) for tensor in tensors_of(output))

    return hook


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1)
    step = max(flat.numel() // SAMPLES, 1) | 1  # odd, so that it meets every channel
    return flat[::step].clone()


def _are_same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(_is_same(a, b) for a, b in zip(one, other, strict=True))


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point():
        return one.shape == other.shape and bool((one == other).all())
    if not one.numel():
        return True
    a, b = one.double().nan_to_num(), other.double().nan_to_num()
    return float((a - b).abs().max()) <= SAME.get(one.dtype, SAME_ELSE) * float(a.abs().max())


# -- writes in place ------------------------------------------------------------------------------------------------


def written_behind(module: torch.nn.Module, paths: Sequence[str], call: Call) -> set[str]:
    """Return those of the modules whose output is written into before the call ends."""
    given: list[tuple[str, torch.Tensor, int]] = []

    def watcher(path: str) -> Callable[..., None]:
        def hook(part: torch.nn.Module, args: Any, output: Any) -> None:
            given.extend((path, tensor, tensor._version) for tensor in tensors_of(output))

        return hook

    with _running(module, call) as (own, args, kwargs):
        for path in paths:
            own.get_submodule(path).register_forward_hook(watcher(path))
        with suppress(Exception):  # one that does not run is found out in the comparison
            own(*args, **kwargs)
    return {path for path, tensor, version in given if tensor._version != version}
