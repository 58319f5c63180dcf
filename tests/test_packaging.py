"""What pip installs: the metadata, the documents, and nothing that reaches other packages."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytest.importorskip("setuptools", minversion="77", reason="the package is built with setuptools")
BUILD = "import sys, setuptools.build_meta as b; b.build_{kind}(sys.argv[1])"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel and a source distribution from a copy of what is committed."""
    folder = tmp_path_factory.mktemp("build")
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    for kind in ("wheel", "sdist"):
        command = [sys.executable, "-c", BUILD.format(kind=kind), str(folder)]
        subprocess.run(command, cwd=folder / "source", capture_output=True, check=True)
    return folder


def test_the_wheel_says_who_what_and_where(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        said = email.message_from_bytes(wheel.read(next(name for name in names if name.endswith("/METADATA"))))
    assert {name.split("/")[0] for name in names} == {"normfold", "normfold_cli", names[-1].split("/")[0]}
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Author"] and said["Keywords"] and said["Requires-Python"] == ">=3.10"
    assert len(said.get_all("Classifier", [])) > 8
    assert all("OWNER" not in value and "://" in value for value in said.get_all("Project-URL", ["OWNER"]))
    needed = ("licenses/LICENSE", "normfold/py.typed", "normfold/REFERENCE.md", "normfold/verify/PROOF.md", "page.js")
    assert [name for name in needed if not any(each.endswith(name) for each in names)] == []


def test_the_source_distribution_can_test_itself(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "LICENSE",
        "README.md",
        "tests/conftest.py",
        "models/residual.onnx",
        "tests/examples/notebook.ipynb",
        "Dockerfile",
    }
    assert needed - names == set()
    assert not any(name.startswith((".venv", ".git/")) for name in names)
