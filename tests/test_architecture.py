"""The layers: a module imports only from those above it, torch stays in the torch files, help imports nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

# From the top down. A name stands for a module or a package of normfold; "cli" for the folder.
LAYERS = (
    ("reason", "errors", "options"),
    ("record", "explain", "rules", "skeleton", "wire", "constants", "classic_shapes"),
    ("shapes", "named_shapes", "serial", "stream", "affine"),
    ("weight",),
    ("graph", "edit"),
    ("fold",),
    ("targets",),
    ("fuse",),
    ("verify",),
    ("report",),
    ("write",),
    ("rewrite", "inlining"),
    ("source", "simplify", "simplify_worker", "torch_door"),
    ("result",),
    ("pipeline",),
    ("pytorch", "gate"),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = ("torch", "onnxruntime", "onnx_ir", "onnx", "onnxsim", "rich", "numpy")
FILES = sorted((*(ROOT / "normfold").rglob("*.py"), *(ROOT / "cli").rglob("*.py")))


def imports(source: str) -> Iterator[str]:
    """Every module that a source file imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def layer_of(file: Path) -> str:
    """The room that a file belongs to."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return "cli" if parts[0] == "cli" else parts[1]


def faults(room: str, source: str) -> list[str]:
    """The imports of ``source`` that reach down from ``room``, or out of the torch files."""
    found = []
    for module in imports(source):
        parts = module.split(".")
        below = len(parts) > 1 and parts[0] == "normfold" and LEVEL.get(parts[1], -1) > LEVEL.get(room, -1)
        upward = parts[0] == "normfold_cli" and room != "cli"
        if below or upward or (parts[0] == "torch" and room != "pytorch"):
            found.append(module)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_from_the_layers_above_it(file: Path) -> None:
    room = layer_of(file)
    assert room == "__init__" or room in LEVEL, f"{room} has no layer; give it one in LAYERS"
    if room != "__init__":
        assert faults(room, file.read_text()) == []


def test_the_guard_can_fail() -> None:
    assert faults("reason", "from normfold.pipeline import optimize") == ["normfold.pipeline"]
    assert faults("write", "import normfold_cli.exits") == ["normfold_cli.exits"]
    assert faults("fold", "import torch") == ["torch"]
    assert faults("pytorch", "import torch") == []


def heavy_modules(code: str, command: Command) -> set[str]:
    """The heavy packages that are loaded after ``code`` ran in a fresh interpreter."""
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(HEAVY) & set(done.stderr.split())


def test_help_imports_nothing_heavy(command: Command) -> None:
    assert heavy_modules("import normfold_cli\nnormfold_cli.run(['--help'])", command) == set()
    for name in ("optimize", "inspect", "check", "diff", "bench", "explain", "export"):
        assert heavy_modules(f"import normfold_cli\nnormfold_cli.run(['{name}', '--help'])", command) == set()


def test_the_import_guard_can_fail(command: Command) -> None:
    assert "numpy" in heavy_modules("import numpy", command)
