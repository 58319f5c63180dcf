"""``skip`` and ``only`` with paths of modules, which stand for every operator that runs inside of them."""

from __future__ import annotations

import onnx_ir as ir
import torch

from normfold.findings.rules import RULE_NAMES, check_names
from normfold.pytorch.trace.exporter_cleanup import path_of


def selected(
    model: ir.Model, module: torch.nn.Module | None, skip: frozenset[str], only: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return ``skip`` and ``only`` in names of rules and nodes of ``model``, an export of ``module``.

    A path of a module in ``skip`` becomes its nodes; in ``only`` the nodes outside of it are skipped.
    UsageError for a name that is no rule, node or module.
    """
    nodes = {node.name or "": path_of(node) for node in model.graph.all_nodes()}
    paths = (
        frozenset(path for path, _ in module.named_modules(remove_duplicate=False))
        if module is not None
        else frozenset()
    )
    known = paths | set(nodes)
    check_names(skip, known)
    check_names(only, known, option="only")
    left = frozenset(name for name, path in nodes.items() if any(_is_inside(path, name, each) for each in skip))
    wanted = only - set(RULE_NAMES)
    if wanted:
        left |= {name for name, path in nodes.items() if not any(_is_inside(path, name, each) for each in wanted)}
    return (skip & set(RULE_NAMES)) | left, only & set(RULE_NAMES)


def _is_inside(path: str, name: str, wanted: str) -> bool:
    return name == wanted or path == wanted or path.startswith(f"{wanted}.")
