"""The layers: a module imports only from those above it, torch stays in the torch files, help imports nothing heavy."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

# From the ground up: a module imports only from its own line and from those above it. A line is a room, an inner room,
# or a file of a room whose files belong to different heights; the longest name that fits counts.
LAYERS = (
    "errors",
    "lazy_imports",
    "_version",
    "option_types",
    "option_declaration",
    "options",
    "algebra",
    "findings",
    "targets",
    "native",
    "operators",
    "files.protos",
    "files",
    "graph",
    "runtime",
    "constants",
    "fold.rule",
    "fold.einsum_equation",
    "fold.reshape_axes",
    "fold.affines",
    "fold.cancellation",
    "fold.gelu",
    "fold.attention_blocks",
    "fold.carriers",
    "fold.absorbers",
    "fold.search",
    "fold.graph_rules",
    "fold.cleanup",
    "fold.tracker",
    "fold.engine",
    "fuse.opset",
    "fuse.function_shapes",
    "fuse.recognize",
    "fuse.forms",
    "fuse.choose",
    "fuse.engine",
    "fuse.center",
    "fuse.activations",
    "verify.result",
    "verify.interface",
    "verify.zero_sizes",
    "verify.missing_operators",
    "verify.numeric",
    "verify.inputs",
    "verify.question",
    "verify.record",
    "verify.state",
    "verify.checks",
    "verify.regions",
    "verify.sites",
    "verify.proof",
    "verify.rollback",
    "verify",
    "timing",
    "testing",
    "report",
    "rewrite",
    "fusion_guard",
    "provenance",
    "result",
    "stage_clock",
    "candidate",
    "pipeline",
    "many",
    "pytorch.eager",
    "pytorch.trace",
    "pytorch.write_back",
    "pytorch.guard",
    "pytorch",
    "ci",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, name in enumerate(LAYERS)}
HEAVY = ("torch", "onnxruntime", "onnx_ir", "onnx", "onnxsim", "rich", "numpy")
FILES = sorted((*(ROOT / "normfold").rglob("*.py"), *(ROOT / "cli").rglob("*.py")))


def imports(source: str) -> Iterator[str]:
    """Every module that a source file imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if module_exists(name) else node.module for name in names}


def module_exists(name: str) -> bool:
    """Whether a dotted name is a module of this project, and not something in one."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def layer_of(module: str) -> str:
    """Return the line of LAYERS that a module belongs to, given without ``normfold.``; empty where it has none."""
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((name for name in names if name in LEVEL), "")


def module_of(file: Path) -> str:
    """Return the dotted name of a source file, without ``normfold.``."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts[1:] if parts[0] == "normfold" else parts)


def faults(module: str, source: str) -> list[str]:
    """Return the imports of ``source`` that reach from ``module`` to a room below it, or out of the torch files."""
    found = []
    for name in imports(source):
        inner = layer_of(name.removeprefix("normfold."))
        below = name.startswith("normfold.") and LEVEL[inner] > LEVEL[layer_of(module)]
        upward = name.startswith("normfold_cli") and layer_of(module) != "cli"
        if below or upward or (name.split(".")[0] == "torch" and module.split(".")[0] != "pytorch"):
            found.append(name)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_from_the_layers_above_it(file: Path) -> None:
    module = module_of(file)
    if module in ("", "fold", "fuse"):
        return  # what a package gives to its users may come from anywhere inside it
    assert layer_of(module), f"{module} has no layer; give it one in LAYERS"
    assert faults(module, file.read_text()) == []


def test_the_guard_can_fail() -> None:
    assert faults("findings.reason", "from normfold.pipeline import optimize") == ["normfold.pipeline"]
    assert faults("files.write", "import normfold_cli.exits") == ["normfold_cli.exits"]
    assert faults("fold.rule", "from normfold.fold.engine import fold") == ["normfold.fold.engine"]
    assert faults("fold.engine", "import torch") == ["torch"]
    assert faults("pytorch.export", "import torch") == []


def test_the_packages_that_are_installed_are_those_of_the_tree() -> None:
    listed = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S)
    assert listed is not None
    folders = {file.parent.relative_to(ROOT) for file in FILES if file.parts[-2] != "cli"}
    assert set(re.findall(r'"(.*?)"', listed[1])) == {"normfold_cli", *(".".join(folder.parts) for folder in folders)}


def heavy_modules(code: str, command: Command) -> set[str]:
    """The heavy packages that are loaded after ``code`` ran in a fresh interpreter."""
    program = f"import sys\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(HEAVY) & set(done.stderr.split())


def test_a_program_that_imports_normfold_keeps_its_own_sympy() -> None:
    program = "import normfold, sys\nassert 'sympy' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_command_line_loads_sympy_only_where_it_is_used() -> None:
    program = (
        "import normfold, sys\nfrom normfold.lazy_imports import load_on_use\n"
        "load_on_use('sympy', user='onnx_ir._symbolic_shapes')\n"
        "[getattr(module, '__file__', None) for module in list(sys.modules.values())]\n"
        "import onnx\nfrom onnx import TensorProto, helper\n"
        "x = helper.make_tensor_value_info('x', TensorProto.FLOAT, ['N', 3])\n"
        "y = helper.make_tensor_value_info('y', TensorProto.FLOAT, ['N', 3])\n"
        "graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', [x], [y])\n"
        "normfold.optimize(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8))\n"
        "[getattr(module, '__warningregistry__', None) for module in list(sys.modules.values())]\n"
        "assert 'sympy.core' not in sys.modules\nimport sympy\nassert sympy.Integer(3) + 1 == 4\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_help_imports_nothing_heavy(command: Command) -> None:
    assert heavy_modules("import normfold_cli\nnormfold_cli.run(['--help'])", command) == set()
    for name in ("optimize", "inspect", "check", "diff", "bench", "explain", "export"):
        assert heavy_modules(f"import normfold_cli\nnormfold_cli.run(['{name}', '--help'])", command) == set()


def test_the_import_guard_can_fail(command: Command) -> None:
    assert "numpy" in heavy_modules("import numpy", command)


def test_the_picture_of_the_readme_equals_the_layers() -> None:
    """What the picture shows stands in the order of LAYERS, and no room is missing."""
    picture = (ROOT / "README.md").read_text().split("\n    normfold/")[1].split("\n\n")[0]
    shown: list[str] = []
    for line in picture.splitlines()[1:]:
        inner = re.match(r" {8}(\w+)/ +(\w+(?:, \w+)*(?: -> \w+(?:, \w+)*)+)$", line)
        names = [f"{inner[1]}.{name}" for name in re.split(", | -> ", inner[2])] if inner else []
        shown += names or re.findall(r"\b(\w+)(?:/|\.py)", line)
    shown = [name for name in shown if name in LEVEL]  # a line may also name a file to start with
    assert [LEVEL[name] for name in shown] == sorted(LEVEL[name] for name in shown)
    rooms = {name for name in LAYERS if (ROOT / "normfold").joinpath(*name.split(".")).is_dir()}
    assert rooms - {*shown, *(name.split(".")[0] for name in shown)} == set()


def test_every_file_of_data_is_installed() -> None:
    listed = re.search(r"^normfold = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S | re.M)
    assert listed is not None
    patterns = re.findall(r'"(.*?)"', listed[1])
    data = [path for path in (ROOT / "normfold").rglob("*.*") if path.suffix not in (".py", ".pyc", ".md")]
    relative = [path.relative_to(ROOT / "normfold") for path in data]
    assert [path for path in relative if not any(path.match(pattern) for pattern in patterns)] == []


# Tests of what is no module of the program; a test of any other name lies where its module lies.
ABOUT_THE_TREE = {
    "bench/test_bench",
    "test_action",
    "test_architecture",
    "test_docstrings",
    "test_examples",
    "test_models",
    "test_packaging",
    "test_readme",
    "fold/test_patterns",
    "test_tables",
    "test_words",
}


def test_the_tests_mirror_the_source() -> None:
    """No file is named after an occasion: its rows belong to the room that they test."""
    folder = ROOT / "tests"
    names = {file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("test_*.py")}
    tested = {name: name.replace("test_", "") for name in names - ABOUT_THE_TREE}
    homes = [ROOT / "normfold", ROOT, folder]
    lost = {name for name, path in tested.items() if not any((home / f"{path}.py").is_file() for home in homes)}
    assert lost == set()


def test_a_checkout_tests_itself() -> None:
    """Also in the processes that tests start, and where another checkout is installed."""
    code = "import normfold, normfold_cli; print(normfold.__file__, normfold_cli.__file__, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [Path(line).resolve().parent for line in done.stdout.splitlines()] == [ROOT / "normfold", ROOT / "cli"]


def test_help_in_python_needs_no_torch() -> None:
    """Where torch was not installed, help(normfold) was one line that asked for it."""
    program = "import sys; sys.modules['torch'] = None; import normfold; help(normfold)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.search(r"optimize\(\s*model", done.stdout)  # Python 3.13 writes a line for each argument
    assert "fold_module" not in done.stdout.split("DATA")[0]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The top of the package only hands out what others hold, so that it does not count."""
    sources = {module_of(file): file.read_text() for file in FILES if module_of(file)}
    graph = {name: {each.removeprefix("normfold.") for each in imports(source)} for name, source in sources.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError
