"""Run the suite on the oldest and on the newest versions that pyproject.toml allows.

    python -m tests.sweeps.versions [--set oldest|newest] [--python python3.10] [--keep FOLDER] [PYTEST_ARGUMENTS]

Each set has an environment of its own. The oldest are the lower bounds of the dependencies, the newest what pip finds;
the tools of the tests are those that pip chooses, and the tests of torch, an extra, are left out. The command ends with
1 where a suite failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_TEST_TOOLS = ("hypothesis", "jsonschema", "pytest", "pytest-xdist", "selenium", "setuptools>=77", "xmlschema")


def lower_bounds(text: str) -> list[str]:
    """Return ``name==version`` for each ``name>=version`` of the dependencies in the text of pyproject.toml."""
    listed = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M)
    return [] if listed is None else [f"{name}=={low}" for name, low in re.findall(r'"([\w-]+)>=([\d.]+)"', listed[1])]


def new_environment(python: str, packages: list[str], folder: Path) -> Path:
    """Make an environment in ``folder`` with ``packages`` and this project, and return its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    inner = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    pip = [str(inner), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *packages, "--editable", str(ROOT)], check=True)
    return inner


def run(python: str, packages: list[str], folder: Path, arguments: list[str]) -> bool:
    """Make an environment with ``packages``, and return whether the suite passes in it."""
    inner = new_environment(python, [*packages, *_TEST_TOOLS], folder)
    print(f"{python}, {', '.join(packages)}", flush=True)  # noqa: T201  # a sweep's result is what it prints
    return subprocess.run([str(inner), "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode == 0


def main() -> None:
    """Run the suites that the command line names, both where it names none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=["oldest", "newest"], default=[])
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--keep", type=Path, help="folder for the environments")
    chosen, arguments = parser.parse_known_args()
    bounds = lower_bounds((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sets = {"oldest": bounds, "newest": [bound.partition("==")[0] for bound in bounds]}
    failed = []
    with tempfile.TemporaryDirectory(prefix="normfold-versions-") as temporary:
        for python in chosen.python or [sys.executable]:
            for name in chosen.set or sets:
                folder = (chosen.keep or Path(temporary)) / f"{Path(python).name}-{name}"
                if not run(python, sets[name], folder, arguments):
                    failed.append(f"{name} on {python}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
