"""The short version of the sweep over surroundings: folders that cannot be written, no HOME, and full disks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.sweeps.hostile.surroundings import disks, failing_environments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")


def test_a_run_does_what_it_always_does_in_surroundings_that_fail(tmp_path: Path) -> None:
    faults = dict(failing_environments(tmp_path, ["optimize"]))
    assert len(faults) >= 5
    assert {name: fault for name, fault in faults.items() if fault} == {}


def test_a_full_disk_ends_with_one_line_and_nothing_lost() -> None:
    faults = dict(disks([64]))
    assert faults == {"64 kB inline": "", "64 kB external": ""}
