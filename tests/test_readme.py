"""The README is true: its commands run, its Python runs, its tables are those of the program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from normfold.findings.explanations import reasons_table
from normfold.fold.absorbers import table as absorb
from normfold.fold.carriers import table as carry
from normfold.option_declaration import declared_options
from normfold.options import BenchOptions, CheckArguments, OptimizeArguments
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "normfold" / "REFERENCE.md").read_text()
PROOF = (ROOT / "normfold" / "verify" / "PROOF.md").read_text()
DOCUMENTS = README + REFERENCE + PROOF
CONSOLE = re.findall(r"```console\n(.*?)```", DOCUMENTS, re.S)
PYTHON = re.findall(r"```python\n(.*?)```", DOCUMENTS, re.S)


def option_tables() -> str:
    """Return the options of the command line by group, as the reference has them."""
    groups: dict[str, dict[str, str]] = {}
    for options in (OptimizeArguments, CheckArguments, BenchOptions):
        for entry, option in declared_options(options):
            if option.flag != "":
                flag = f"--{option.flag or entry.name.replace('_', '-')}"
                flag = f"--no-{flag[2:]}" if entry.default is True else flag
                text = f"`{flag} {option.metavar}".rstrip().replace("|", "\\|") + "`"
                default = "" if isinstance(entry.default, (bool, tuple, type(None))) else f" [default: {entry.default}]"
                help = option.off_help if entry.default is True else option.help + default
                groups.setdefault(option.group, {})[text] = help
    tables = (
        "\n".join(
            [f"**{group}**", "", "| option | what it does |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]
        )
        for group, rows in groups.items()
    )
    return "\n\n".join(tables)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a user has around: the models of the repository, and a place to write."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    return tmp_path


def skip_without_torch(block: str) -> None:
    """Skip what is about PyTorch where that extra is not installed."""
    if find_spec("torch") is None and re.search("torch|models.registry|normfold export", block):
        pytest.skip("torch is an extra")


@pytest.mark.parametrize("block", CONSOLE)
def test_each_command_runs(
    block: str,
    checkout: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lines of a block, one after the other in one place; "ends with 1" in the comment is the exit code."""
    import normfold_cli

    skip_without_torch(block)
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("XDG_CACHE_HOME", str(checkout / "cache"))
    for line in block.splitlines():
        prompt, program, *arguments = shlex.split(line, comments=True)
        assert (prompt, program) == ("$", "normfold")
        expected = re.search(r"# ends with (\d+)", line)
        code = int(normfold_cli.run(arguments))
        captured = capfd.readouterr()
        assert code == int(expected[1] if expected else 0), (line, captured)
        assert captured.out and not captured.err


@pytest.mark.parametrize("code", PYTHON)
def test_each_python_block_runs(code: str, checkout: Path) -> None:
    """As a script; a block that begins with the name of a test file runs in pytest."""
    skip_without_torch(code)
    file = checkout / "script.py"
    program = [sys.executable, str(file)]
    name = re.match(r"# (test_\w+\.py)\n", code)
    if name:
        file = checkout / name[1]
        program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    file.write_text(code)
    done = subprocess.run(program, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_something_to_run() -> None:
    assert len("".join(CONSOLE).splitlines()) >= 12
    assert len(PYTHON) >= 4
    assert DOCUMENTS.count("    normfold ") == 0, "a command in an indented block is not run; make it a console block"


def test_the_reasons_are_those_of_the_program() -> None:
    """Where this fails: `normfold explain --markdown` prints the table."""
    assert reasons_table() in REFERENCE


def test_the_options_are_those_of_the_program() -> None:
    """Nothing else stands there either: a table was in it twice."""
    tables = REFERENCE.split("## Options")[1].split("**What to fold**")[1].split("\nOf `optimize` alone")[0]
    assert f"**What to fold**{tables}".strip() == option_tables(), "`python -m tests.test_readme` prints the tables"


def test_the_first_screen_says_why() -> None:
    """What, how much, how: before the first picture, without the words of the algebra."""
    screen = README.split("<img")[0]
    assert "affine" not in screen.split("## Three ways in")[0]
    assert all(tool in screen for tool in ("onnxsim", "onnxslim", "ONNX Runtime", "onnxscript"))
    assert len(screen.splitlines()) < 75


def test_every_operator_of_the_table_of_what_is_folded_has_a_rule() -> None:
    table = README.split("| what | becomes |")[1].split("\n\n")[0]
    operators = set(re.findall(r"`([A-Z]\w+)`", table))
    rules = (*absorb.BACKWARD, *absorb.FORWARD, *carry.BACKWARD, *carry.FORWARD, "Neg")
    known = {rule.rpartition(".")[2] for rule in rules}
    assert len(operators) > 20
    assert operators - known == set()


def test_every_command_has_a_line() -> None:
    import normfold_cli

    table = README.split("| command | what it does |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)", table, re.M)) == sorted(normfold_cli.COMMANDS)


def test_the_exit_codes_are_those_of_the_program() -> None:
    from normfold_cli.exits import MEANING

    table = [f"| {int(code)} | {meaning} |" for code, meaning in MEANING.items()]
    assert "\n".join(table) in REFERENCE


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


def test_what_it_shows_and_links_to_is_there_and_small() -> None:
    pictures = re.findall(r'<img src="([^"]+)"', README)
    links = re.findall(r"\]\((?!http|#)([^)#]+)", README)
    others = {ROOT / "normfold": REFERENCE, ROOT / "normfold" / "verify": PROOF}
    for folder, text in others.items():
        assert [path for path in re.findall(r"\]\((?!http|#)([^)#]+)", text) if not (folder / path).is_file()] == []
    assert len(pictures) == 1
    assert links
    assert [path for path in (*pictures, *links) if not (ROOT / path).is_file()] == []
    assert all((ROOT / path).stat().st_size < 150_000 for path in pictures)


if __name__ == "__main__":
    sys.stdout.write(option_tables() + "\n")
