"""The short version of the sweep: folders that cannot be written, no HOME, full disks, kills, races and mutants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps.hostile.surroundings import disks, failing_environments

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")


def test_a_run_does_what_it_always_does_in_surroundings_that_fail(tmp_path: Path) -> None:
    faults = dict(failing_environments(tmp_path, ["optimize"]))
    assert len(faults) >= 5
    assert {name: fault for name, fault in faults.items() if fault} == {}


def test_a_full_disk_ends_with_one_line_and_nothing_lost() -> None:
    faults = dict(disks([64]))
    assert faults == {"64 kB inline": "", "64 kB external": ""}


@pytest.mark.parametrize("sweep", ["kills", "races", "mutants"])
def test_a_short_sweep_finds_no_fault(sweep: str) -> None:
    pytest.importorskip("torch", reason="the models of the sweep are made by torch, which is an extra")
    command = [sys.executable, "-m", "tests.sweeps.hostile", sweep, "-n", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"{sweep}: 2 runs, 0 faults" in done.stdout, done.stdout + done.stderr
