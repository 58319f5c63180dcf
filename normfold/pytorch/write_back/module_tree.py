"""The module tree as an exported graph speaks of it: which modules a node ran in, and who owns a tensor."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise

import onnx_ir as ir
import torch

from normfold.pytorch.trace.exporter_cleanup import NAME_SCOPES

Slot = tuple[torch.nn.Module, str]


class Modules:
    """The module tree by scope: which module a node ran in, and who owns a tensor."""

    def __init__(self, root: torch.nn.Module) -> None:
        self.root = root
        self.tensors: dict[str, torch.Tensor] = dict(root.named_parameters(remove_duplicate=False))
        self.tensors.update(root.named_buffers(remove_duplicate=False))
        self._owners: dict[int, list[Slot]] = {}
        self._around: dict[str, tuple[torch.nn.Module, ...]] = {}
        for module in root.modules():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self._owners.setdefault(id(tensor), []).append((module, name))

    def around(self, node: ir.Node) -> tuple[torch.nn.Module, ...]:
        """Return the modules that ``node`` ran in, outermost first; the root alone where the exporter did not say."""
        scopes = node.metadata_props.get(NAME_SCOPES, "[]")
        if scopes not in self._around:
            self._around[scopes] = (self.root, *self._named(scopes))
        return self._around[scopes]

    def _named(self, scopes: str) -> Iterator[torch.nn.Module]:
        try:
            paths = ast.literal_eval(scopes)
        except (ValueError, SyntaxError):
            return
        for path in filter(None, paths[:-1]):  # the root is not always among them
            try:
                yield self.root.get_submodule(path)
            except AttributeError:
                continue  # a scope that is no module, such as one of a decomposition

    def owners(self, leaf: str) -> list[Slot]:
        """Return every place that holds the parameter ``leaf``."""
        return self._owners.get(id(self.tensors.get(leaf)), [])

    def slot(self, leaf: str, node: ir.Node) -> Slot | None:
        """Return the parameter ``leaf`` as ``node`` reads it: its own module's, else the only owner's, else None."""
        owners = self.owners(leaf)
        module = self.around(node)[-1]
        own = [slot for slot in owners if slot[0] is module]
        candidates = own or owners
        return candidates[0] if len(candidates) == 1 else None

    def tensor(self, slot: Slot) -> torch.Tensor | None:
        """Return the tensor in a slot, None for an empty one."""
        module, name = slot
        return module._parameters.get(name, module._buffers.get(name))


def overlap(path: str, other: str) -> bool:
    """Tell whether one path is the other, or contains it."""
    return f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.")


def parts_left(
    gone: Collection[torch.nn.Module], nodes: Iterable[ir.Node], modules: Modules
) -> dict[torch.nn.Module, tuple[str, ...]]:
    """Return the paths of the parts that still do something of modules that go otherwise, in the order they run."""
    found: dict[torch.nn.Module, dict[str, None]] = {}
    for node in nodes:
        for module, part in pairwise(modules.around(node)):
            if module in gone:
                paths = (path for path, inner in module.named_modules() if inner is part)
                found.setdefault(module, {}).update(dict.fromkeys(paths))
    return {module: tuple(paths) for module, paths in found.items()}
