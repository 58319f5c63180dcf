"""Follow the values of a folded module that differ from the original's through one call of forward().

Between a changed weight and the module that was removed, a value differs from the original's. It is right only as long
as the same operations use it. Each operation that reads one is an ``Edge``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

from normfold.errors import UsageError
from normfold.pytorch.eager.outputs import tensors_of
from normfold.pytorch.eager.parametrizations import computed_weights

Edge = tuple[Any, ...]
Tags = frozenset[str]
Numbers = tuple[int | None, ...] | None
Edges = dict[Edge, Numbers]
"""Each edge with the whole numbers of its operation: None for one, or for all, that differ between the calls."""

_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "truediv", "rsub", "pow", "floordiv"})
_READS = frozenset({"item", "tolist", "__bool__", "__float__", "__int__", "numpy"})
_SIZES = frozenset({"view", "reshape", "expand", "repeat", "interpolate", "unflatten", "pad", "resize", "new_zeros"})
WAY_OUT = "use the original module for it, fold with this call as the example, or take the risk with guard=False"


class Seen(NamedTuple):
    """What is known of a tensor: whose outputs it was computed from, and how: a digest, or "" where nothing differs."""

    modules: Tags = frozenset()
    history: str = ""


_CLEAN = Seen()


class _Here(threading.local):
    """Whether this thread is the one that is followed: others may call the module meanwhile."""

    def __init__(self) -> None:
        self.active = False  # of the instance, as torch.compile asks for it


class Recorder(TorchFunctionMode):
    """Follow the values that differ from the original's through one call; ``allowed`` None collects the edges."""

    def __init__(self, differing: Tags, allowed: Edges | None, name: str) -> None:
        super().__init__()
        self.differing, self.allowed, self.name = differing, allowed, name
        self.edges: Edges = {}
        self.involved: dict[Edge, Tags] = {}  # the changed modules that each edge tells of
        self._seen = WeakIdKeyDictionary()
        self._written: dict[int, tuple[Any, Seen]] = {}  # memory that other tensors may look at, kept alive
        self._inside: list[Edge] = []  # the modules that the folds changed, and that run now
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._here = _Here()
        self._here.active = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note where it reads a differing value."""
        result = func(*args, **(kwargs or {}))
        if not torch.compiler.is_dynamo_compiling() and not self._inside:  # torch.cond compiles its branches
            self._note(func, args, kwargs or {}, result)
        return result

    def watch(self, module: torch.nn.Module, paths: Mapping[str, str]) -> None:
        """Take the changed modules below ``module`` as one step each. ``paths``: by path, their name in the edges."""
        for part, name in {module.get_submodule(path): name for path, name in paths.items()}.items():
            own = {} if any(computed_weights(part)) else {**part._parameters, **part._buffers}
            for key, weight in own.items():
                if weight is not None:  # to other code
                    self._seen[weight] = Seen(frozenset({name}), _digest(("weight", name, key)))
            if part is module:
                continue  # its own forward() is what is followed
            before = part.register_forward_pre_hook(self._entering(name), with_kwargs=True)
            # Before the hooks of the user, which must not compute with a value that differs.
            after = part.register_forward_hook(self._leaving(name), always_call=True, prepend=True, with_kwargs=True)
            self._handles += [before, after]
        for part in module.modules():
            if type(part).__module__ == "torch.ao.quantization.observer":  # it reads what there is
                before = part.register_forward_pre_hook(lambda *_: self._inside.append(("observer",)))
                after = part.register_forward_hook(lambda *_: self._inside.__delitem__(-1), always_call=True)
                self._handles += [before, after]

    def stop(self) -> None:
        """Take away what ``watch`` added."""
        for handle in self._handles:
            handle.remove()

    def returned(self, output: Any) -> None:
        """Note which differing values the call itself gives away."""
        seen = [self._of(leaf) for leaf in tensors_of(output)]
        if any(each.history for each in seen):
            self._add(("return", tuple(each.history for each in seen)), (), seen, "it returns")

    def _entering(self, name: str) -> Any:
        def hook(module: torch.nn.Module, *given: Any) -> None:
            if not self._here.active:
                return  # torch may call it for another thread after its end, and without the keywords
            seen = [self._of(leaf) for leaf in tensors_of(given)]
            edge = ("module", name, tuple(each.history for each in seen))
            self._inside.append(edge)
            if len(self._inside) == 1:  # what it reads must be what it was folded for, also where nothing differs
                self._add(edge, (), seen, f"{name} reads")

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(module: torch.nn.Module, *given: Any) -> Any:
            *read, output = given
            if not self._here.active:
                return output
            if any(output is leaf and self._of(leaf).history for leaf in tensors_of(read)):
                output = torch.ops.aten.alias(output)  # a norm that is gone gives what it read, which still differs
            edge = self._inside.pop()
            self._mark(tensors_of(output), frozenset({name} & self.differing), edge)
            return output

        return hook

    def _of(self, leaf: Any) -> Seen:
        if isinstance(leaf, torch.Tensor) and leaf in self._seen:
            seen: Seen = self._seen[leaf]
            return seen
        memory = _memory_of(leaf) if self._written else None
        return self._written[memory._cdata][1] if memory is not None and memory._cdata in self._written else _CLEAN

    def _mark(self, outputs: Iterable[Any], modules: Tags, edge: Edge) -> None:
        for place, output in enumerate(outputs):
            if isinstance(output, torch.Tensor):
                self._seen[output] = Seen(modules, _digest(edge, place, output.dim())) if modules else _CLEAN

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        leaves = pytree.tree_leaves((args, kwargs))
        seen = [self._of(leaf) for leaf in leaves]
        if not any(each.history for each in seen):
            return
        name = _name_of(func)
        short = name.rpartition(".")[2].strip("_")
        outputs = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        in_place = short in ("set", "setitem") or (short.startswith("i") and short[1:] in _ARITHMETIC)
        written = [] if kwargs.get("out") is None else tensors_of(kwargs["out"])
        if in_place or (name.endswith("_") and not name.endswith("__")):
            written += [leaf for leaf in leaves[:1] if isinstance(leaf, torch.Tensor)]
        outputs += written
        if not outputs and short not in _READS and name.rpartition(".")[2] not in _READS:
            return  # a shape or a type
        tensors = tuple(
            each.history
            for each, leaf in zip(seen, leaves, strict=True)
            if isinstance(leaf, torch.Tensor) and (each.history or not _is_size(leaf))
        )
        values = tuple(leaf for leaf in leaves if isinstance(leaf, (float, bool, str)))
        edge = (name, tensors, values)
        self._add(edge, () if short in _SIZES else tuple(_whole_numbers(leaves)), seen, f"{name} reads")
        self._mark(outputs, frozenset().union(*(each.modules for each in seen)), edge)
        for tensor in written:
            if (memory := _memory_of(tensor)) is not None:
                self._written[memory._cdata] = memory, self._seen[tensor]

    def _add(self, edge: Edge, numbers: Numbers, seen: Iterable[Seen], what: str) -> None:
        modules = frozenset().union(*(each.modules for each in seen))
        if self.allowed is None:
            merge(self.edges, {edge: numbers})
            self.involved[edge] = modules | ({edge[1]} if edge[0] == "module" else frozenset())
        elif edge not in self.allowed or not _agree(self.allowed[edge], numbers):
            names = ", ".join(sorted(name or self.name for name in modules))
            values = f"the output of {names}, whose weights hold a folded norm" if names else "values without its norm"
            raise UsageError(f"{self.name} was folded for other calls than this one: here {what} {values}; {WAY_OUT}")


def merge(edges: Edges, others: Mapping[Edge, Numbers]) -> None:
    """Add the edges of other calls in place; numbers that differ between calls are sizes, and decide nothing."""
    for edge, numbers in others.items():
        known = edges.setdefault(edge, numbers)
        if known is None or numbers is None or len(known) != len(numbers):
            edges[edge] = numbers if known == numbers else None
        else:
            edges[edge] = tuple(a if a == b else None for a, b in zip(known, numbers, strict=True))


def _agree(known: Numbers, numbers: Numbers) -> bool:
    if known is None or numbers is None:
        return True
    return len(known) == len(numbers) and all(a is None or a == b for a, b in zip(known, numbers, strict=True))


def _digest(edge: Edge, *place: int) -> str:
    """Return a name for a value by how it was computed, and its rank, the same in every process."""
    return blake2b(repr((edge, place)).encode(), digest_size=12).hexdigest()


def _memory_of(leaf: Any) -> Any:
    """Return the memory of a tensor; None for one that has none of its own, as within torch.vmap."""
    try:
        return leaf.untyped_storage() if isinstance(leaf, torch.Tensor) else None
    except (NotImplementedError, RuntimeError):
        return None


def _is_size(leaf: torch.Tensor) -> bool:
    """Tell whether it is a number that torch.jit.trace has made a tensor of."""
    return leaf.dim() == 0 and not leaf.is_floating_point()


def _whole_numbers(leaves: Iterable[Any]) -> Iterator[int | None]:
    """Yield axes, places and sizes; None for one that a tracer does not know."""
    for leaf in leaves:
        if isinstance(leaf, slice):
            yield from _whole_numbers((leaf.start, leaf.stop, leaf.step))
        elif isinstance(leaf, (int, torch.SymInt)) or (isinstance(leaf, torch.Tensor) and _is_size(leaf)):
            yield leaf if type(leaf) is int else None


def _name_of(func: Any) -> str:
    return str(resolve_name(func) or getattr(func, "__name__", func))
