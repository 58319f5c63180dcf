"""The examples work: the notebook is executed, and the image installs what is there.

Those that need Microsoft Olive or Optimum run with the real packages in `python -m tests.sweeps.ecosystem`.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

EXAMPLES = ROOT / "tests" / "examples"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell of a notebook and return its last value, which a notebook would show."""
    tree = ast.parse(source)
    last = tree.body.pop()
    exec(compile(tree, "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return exec(compile(ast.Module([last], []), "cell", "exec"), names)


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    shown = [run_cell(cell, names) for cell in cells]
    assert "17 of 17 norms can be removed" in shown[0]._repr_html_()
    assert "17 of 17 norms removed" in shown[1]._repr_html_()
    assert shown[3]
    assert shown[4] > 0
    assert (tmp_path / "levit.html").exists()


@pytest.mark.parametrize("name", ["olive_pass.py", "optimum_export.py"])
def test_an_example_for_another_package_says_what_it_needs(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    assert "pip install" in (ast.get_docstring(ast.parse(text)) or "")
    assert name in (ROOT / "README.md").read_text()
    assert name in (ROOT / "tests" / "sweeps" / "ecosystem.py").read_text()


def test_the_image_installs_this_repository_and_runs_the_command() -> None:
    steps = dict(re.findall(r"^([A-Z]+) (.*)$", (ROOT / "Dockerfile").read_text(), re.M))
    (command,) = json.loads(steps["ENTRYPOINT"])
    assert f"[project.scripts]\n{command} = " in (ROOT / "pyproject.toml").read_text()
    source, target = steps["COPY"].split()
    assert source == "."
    constraint = re.search(rf"--constraint {target}/(\S+) {target}$", steps["RUN"])
    assert constraint and (ROOT / constraint[1]).is_file()
    assert {".git", ".venv"} <= set((ROOT / ".dockerignore").read_text().split())
