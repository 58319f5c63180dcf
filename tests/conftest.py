"""What all tests share: the command line, also where normfold is not installed, and small models in ONNX text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Tests replace functions of this process, which a worker would not see; those of the isolation switch it on again.
os.environ["NORMFOLD_ISOLATION"] = "off"

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session", autouse=True)
def commands_are_importable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The folder cli/ installs as normfold_cli; without an installation a link of that name does the same."""
    if find_spec("normfold_cli") is not None:
        return
    folder = tmp_path_factory.mktemp("installed")
    (folder / "normfold_cli").symlink_to(ROOT / "cli")
    sys.path.append(str(folder))


@pytest.fixture(scope="session")
def command(commands_are_importable: None) -> Command:
    """Run `normfold ARGUMENTS` in a process of its own."""

    def run(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        paths = [str(ROOT), *filter(None, sys.path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NORMFOLD_ISOLATION": "", **changes}
        program = [sys.executable, "-c", "import normfold_cli; normfold_cli.main()"]
        texts = [str(argument) for argument in arguments]
        return subprocess.run([*program, *texts], capture_output=True, text=True, env=environment, check=False)

    return run


@pytest.fixture
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that no other test has written to."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def run(commands_are_importable: None, cache_home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, stdout, stderr."""
    import normfold_cli

    def call(*arguments: object) -> tuple[int, str, str]:
        code = int(normfold_cli.run([str(argument) for argument in arguments]))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
