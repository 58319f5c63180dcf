"""Follow the values of a folded module that differ from the original's through one call of forward().

Between a changed weight and the module that was removed, a value differs from the original's. It is right only as long
as the same operations use it. Each operation that reads one is an ``Edge``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakIdKeyDictionary

from normfold.errors import UsageError

Edge = tuple[Any, ...]
Tags = frozenset[str]

_CLEAN: Tags = frozenset()
_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "truediv", "rsub", "pow", "floordiv"})
_READS = frozenset({"item", "tolist", "__bool__", "__float__", "__int__", "numpy"})
WAY_OUT = "use the original module for it, fold with this call as the example, or take the risk with guard=False"


class Recorder(TorchFunctionMode):
    """Follow the values that differ from the original's through one call; ``allowed`` None collects the edges."""

    def __init__(self, differing: Tags, allowed: frozenset[Edge] | None, name: str) -> None:
        super().__init__()
        self.differing, self.allowed, self.name = differing, allowed, name
        self.edges: set[Edge] = set()
        self._tags = WeakIdKeyDictionary()
        self._depth = 0  # inside of modules that the folds changed
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and note where it reads a differing value."""
        result = func(*args, **(kwargs or {}))
        if not self._depth and not torch.compiler.is_compiling():
            self._note(func, args, kwargs or {}, result)
        return result

    def watch(self, module: torch.nn.Module, paths: Mapping[str, str]) -> None:
        """Take the changed modules below ``module`` as one step each. ``paths``: by path, their name in the edges."""
        for path, name in paths.items():
            part = module.get_submodule(path)
            before = part.register_forward_pre_hook(self._entering(name), with_kwargs=True)
            after = part.register_forward_hook(self._leaving(name), always_call=True)
            self._handles += [before, after]

    def stop(self) -> None:
        """Take away what ``watch`` added."""
        for handle in self._handles:
            handle.remove()

    def returned(self, output: Any) -> None:
        """Note which differing values the call itself gives away."""
        tags = [self._tags_of(leaf) for leaf in pytree.tree_leaves(output)]
        if any(tags):
            self._add(("return", tuple(map(_sorted, tags))), tags, "it returns")

    def _entering(self, name: str) -> Any:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            tags = [self._tags_of(leaf) for leaf in pytree.tree_leaves((args, kwargs))]
            if not self._depth and any(tags):
                self._add(("module", name, tuple(map(_sorted, tags))), tags, f"{name} reads")
            self._depth += 1

        return hook

    def _leaving(self, name: str) -> Any:
        def hook(module: torch.nn.Module, args: Any, output: Any) -> None:
            self._depth -= 1
            tags = frozenset({name}) if name in self.differing else _CLEAN
            for leaf in pytree.tree_leaves(output):
                if isinstance(leaf, torch.Tensor):
                    self._tags[leaf] = tags

        return hook

    def _tags_of(self, leaf: Any) -> Tags:
        return self._tags[leaf] if isinstance(leaf, torch.Tensor) and leaf in self._tags else _CLEAN

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        leaves = pytree.tree_leaves((args, kwargs))
        tags = [self._tags_of(leaf) for leaf in leaves]
        if not any(tags):
            return
        name = _name_of(func)
        short = name.rpartition(".")[2].strip("_")
        outputs = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if short == "setitem" or (short.startswith("i") and short[1:] in _ARITHMETIC) or name.endswith("_"):
            outputs += [leaf for leaf in leaves[:1] if isinstance(leaf, torch.Tensor)]
        if not outputs and short not in _READS and name.rpartition(".")[2] not in _READS:
            return  # a shape or a type
        tensors = tuple(_sorted(tag) for tag, leaf in zip(tags, leaves, strict=True) if isinstance(leaf, torch.Tensor))
        numbers = tuple(leaf for leaf in leaves if isinstance(leaf, float) or _matters(leaf, short))
        self._add((name, tensors, numbers), tags, f"{name} reads")
        union = frozenset().union(*tags)
        for output in outputs:
            self._tags[output] = union

    def _add(self, edge: Edge, tags: Iterable[Tags], what: str) -> None:
        if self.allowed is None:
            self.edges.add(edge)
        elif edge not in self.allowed:
            names = ", ".join(sorted(frozenset().union(*tags)))
            raise UsageError(
                f"{self.name} was folded for other calls than this one: here {what} the output of {names}, whose "
                f"weights hold a folded norm; {WAY_OUT}"
            )


def _sorted(tags: Tags) -> tuple[str, ...]:
    return tuple(sorted(tags))


def _matters(leaf: Any, operation: str) -> bool:
    """Tell whether a number decides what an operation does to a value; sizes and axes do not."""
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return operation in _ARITHMETIC or operation[1:] in _ARITHMETIC
    return isinstance(leaf, (bool, str))


def _name_of(func: Any) -> str:
    return str(resolve_name(func) or getattr(func, "__name__", func))
