"""The README is true: its commands run, its Python runs, its tables are those of the program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text()
CONSOLE = [line[2:] for block in re.findall(r"```console\n(.*?)```", README, re.S) for line in block.splitlines()]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a user has around: the models of the repository, and a place to write."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    return tmp_path


@pytest.mark.parametrize("line", CONSOLE)
def test_each_command_runs(line: str, checkout: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    program, *arguments = shlex.split(line)
    assert program == "normfold"
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("code", PYTHON)
def test_each_python_block_runs(code: str, checkout: Path) -> None:
    program = f"import sys; sys.path[:0] = {[str(ROOT), *sys.path]!r}\n{code}"
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_is_something_to_run() -> None:
    assert len(CONSOLE) >= 3
    assert len(PYTHON) >= 1


def test_the_exit_codes_are_those_of_the_program(commands_are_importable: None) -> None:
    from normfold_cli.exits import MEANING

    table = [f"| {int(code)} | {meaning} |" for code, meaning in MEANING.items()]
    assert "\n".join(table) in README


def test_every_option_of_the_table_exists(command: Command) -> None:
    text = command("optimize", "--help").stdout
    table = README.split("| option |")[1].split("\n\n")[0]
    options = set(re.findall(r"--[a-z][a-z-]+", table))
    assert len(options) > 8
    assert {option for option in options if option not in text} == set()


def test_every_module_that_the_picture_names_exists() -> None:
    picture = README.split("## How it is built")[1]
    files = re.findall(r"\b([a-z_]+\.py)\b", picture)
    assert [file for file in files if not list(ROOT.rglob(file))] == []
    assert [
        room for room in re.findall(r"^        ([a-z]+)/", picture, re.M) if not (ROOT / "normfold" / room).is_dir()
    ] == []


def test_make_demo_names_a_model_of_the_repository() -> None:
    paths = re.findall(r"models/\w+\.onnx", (ROOT / "Makefile").read_text())
    assert paths
    assert all((ROOT / path).is_file() for path in paths)
