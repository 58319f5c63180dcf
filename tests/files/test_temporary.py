"""Temporary files go on every way out; what a killed run left is found by the next one, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from normfold.files.temporary import TemporaryFolder, leftovers_next_to, temporary_next_to
from tests.conftest import ROOT

PROGRAM = f"""
import os, sys
from pathlib import Path
sys.path[:0] = {[str(ROOT), *sys.path]!r}
from normfold.files.temporary import TemporaryFolder, temporary_next_to
with temporary_next_to(Path(sys.argv[1])) as file, TemporaryFolder() as folder:
    file.write_bytes(b"half")
    os.kill(os.getpid(), {int(signal.SIGKILL)})
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_they_are_gone_at_the_end(tmp_path: Path, temporary: Path) -> None:
    made: list[Path] = []

    def fail() -> None:
        with temporary_next_to(tmp_path / "m.onnx") as file, TemporaryFolder() as folder:
            made.extend((file, folder))
            assert file.is_file() and folder.is_dir()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not any(path.exists() for path in made)


def test_one_that_was_renamed_stays(tmp_path: Path) -> None:
    with temporary_next_to(tmp_path / "m.onnx") as file:
        os.replace(file, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").is_file()


def test_those_of_a_living_process_are_no_leftovers(tmp_path: Path, temporary: Path) -> None:
    with temporary_next_to(tmp_path / "m.onnx") as file, TemporaryFolder() as folder:
        assert leftovers_next_to(tmp_path / "m.onnx") == []
        TemporaryFolder().close()
        assert file.exists() and folder.exists()


def test_those_of_a_killed_process_are(tmp_path: Path, temporary: Path) -> None:
    target = tmp_path / "m.onnx"
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = leftovers_next_to(target)
    assert left.read_bytes() == b"half"
    assert leftovers_next_to(tmp_path / "other.onnx") == []
    assert len(list(temporary.iterdir())) == 1
    TemporaryFolder().close()
    assert not list(temporary.iterdir())
