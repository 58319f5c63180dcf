"""A folder in which commands and scripts run as those of a user do, and how they ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SECONDS = 120


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def is_one_line(self) -> bool:
        """Whether it refused as it should: one line on stderr, nothing on stdout."""
        return not self.out and len(self.err.splitlines()) == 1 and self.err.startswith("normfold: ")


class Place:
    """A folder with the models of the repository, in which commands and scripts run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "packages").mkdir()
        (folder / "packages" / "normfold_cli").symlink_to(ROOT / "cli")
        (folder / "home").mkdir()
        paths = os.pathsep.join([str(ROOT), str(folder / "packages")])
        left_out = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "NORMFOLD_ISOLATION")
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        caches = {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder / "home"), "TMPDIR": str(folder)}
        self.environment = {**kept, **caches, "PYTHONPATH": paths}

    def normfold(self, *arguments: object) -> Ended:
        """Run a command whose output goes into a pipe."""
        return self.module("normfold", *arguments)

    def module(self, name: str, *arguments: object) -> Ended:
        """Run a module of Python."""
        return self.run([sys.executable, "-m", name, *map(str, arguments)])

    def script(self, text: str) -> Ended:
        """Run a script as people write it: without a main guard, in the folder of the models."""
        (self.folder / "script.py").write_text(textwrap.dedent(text))
        return self.run([sys.executable, "script.py"])

    def in_terminal(self, columns: int, *arguments: object) -> list[str]:
        """Return the lines that a terminal of this width shows, without colours and progress."""
        command = " ".join(["stty cols", f"{columns};", sys.executable, "-m normfold", *map(str, arguments)])
        shown = self.run(["script", "-qec", f"{command} 2>/dev/null", "/dev/null"], TERM="xterm-256color").out
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "").splitlines()

    def run(self, program: list[str], **variables: str) -> Ended:
        """Run a program in this folder."""
        done = subprocess.run(
            program,
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def passes(self, *tests: str) -> bool:
        """Return whether these tests of the repository pass."""
        quiet = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        return subprocess.run(quiet, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
