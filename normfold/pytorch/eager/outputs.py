"""The tensors that a module returns, by name: keys of dicts, fields of tuples and dataclasses, places in lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree


def named_leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a nest holds that is no container itself, with its path: "logits", "features.0", "1"."""
    if isinstance(tree, Mapping):
        parts = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        parts = list(zip(tree._fields, tree, strict=True))
    elif is_dataclass(tree) and not isinstance(tree, type):
        parts = [(each.name, getattr(tree, each.name)) for each in fields(tree)]
    elif isinstance(tree, (tuple, list)):
        parts = [(str(index), value) for index, value in enumerate(tree)]
    elif isinstance(tree, torch.Tensor) or pytree.tree_leaves(tree) == [tree]:
        yield path, tree
        return
    else:
        parts = [(str(index), value) for index, value in enumerate(pytree.tree_leaves(tree))]
    for name, value in parts:
        yield from named_leaves(value, f"{path}.{name}" if path else name)


def tensors_of(tree: Any) -> list[torch.Tensor]:
    """Return the tensors of any nest of tuples, lists, dicts and registered classes."""
    return [leaf for _, leaf in named_leaves(tree) if isinstance(leaf, torch.Tensor)]


class TensorOutputs:
    """Make a call of a module return its tensors as a tuple, which is all that a graph can return.

    ``names`` and ``left_out`` are known after a call: the names of the tensors, "" where they are places only, and
    the names of what is no tensor. The hooks of the user, which come first, see what forward() returns.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.names: list[str] = []
        self.left_out: list[str] = []
        module.register_forward_hook(self._keep_tensors)

    def _keep_tensors(self, module: torch.nn.Module, args: Any, output: Any) -> tuple[torch.Tensor, ...]:
        leaves = list(named_leaves(output))
        kept = [(path, leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]
        self.names = [path if not path.replace(".", "").isdigit() else "" for path, _ in kept]
        self.left_out = [path for path, leaf in leaves if not isinstance(leaf, torch.Tensor) and leaf is not None]
        return tuple(leaf for _, leaf in kept)
