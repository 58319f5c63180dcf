"""What all tests share: this checkout under the names of an installation, and the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

collect_ignore = [] if find_spec("torch") else ["pytorch", "cli/test_export.py", "test_models.py"]  # it is an extra

# Tests replace functions of this process, which a worker would not see; those of the isolation switch it on again.
os.environ["NORMFOLD_ISOLATION"] = "off"

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Run = Callable[..., tuple[int, str, str]]


def pytest_configure(config: pytest.Config) -> None:
    """Test this checkout, in this process and in those it starts, even where another one is installed."""
    folder = Path(tempfile.mkdtemp(prefix="normfold-tests-"))
    (folder / "normfold_cli").symlink_to(ROOT / "cli")  # the name that the folder cli/ is installed by
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    sys.path[:0] = here = [str(ROOT), str(folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join([*here, *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture(scope="session")
def command() -> Command:
    """Run `normfold ARGUMENTS` in a process of its own."""

    def run(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NORMFOLD_ISOLATION": "", **changes}
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
def run(cache_home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, stdout, stderr."""
    import normfold_cli

    def call(*arguments: object) -> tuple[int, str, str]:
        code = int(normfold_cli.run([str(argument) for argument in arguments]))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
