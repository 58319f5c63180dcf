"""Hostile files, mutants, kills, races and full disks: no traceback, no death by a signal, nothing wrong, nothing lost.

    python -m tests.sweeps.hostile files [NAME...]           # each case through the command line
    python -m tests.sweeps.hostile mutants [PLACE...] [-n 1000]  # by bytes and by structure, of the reference networks
    python -m tests.sweeps.hostile kills [-n 100]            # SIGKILL and SIGTERM at random moments
    python -m tests.sweeps.hostile races [-n 20]             # two runs on one output at once
    python -m tests.sweeps.hostile disks                     # writes that fail for want of space
    python -m tests.sweeps.hostile surroundings [-n 20]      # TMPDIR, caches, HOME; files that change

``--seconds`` ends a sweep early. What is accepted is compared in ONNX Runtime by code that shares nothing with the
project. Figures go to stdout, each failure with what would make it again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

from tests.sweeps.hostile.files import files
from tests.sweeps.hostile.kills import kills, races
from tests.sweeps.hostile.mutants import mutants
from tests.sweeps.hostile.runs import say
from tests.sweeps.hostile.surroundings import disks, surroundings


def main() -> int:
    """Run a sweep and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", choices=["files", "mutants", "kills", "races", "disks", "surroundings"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("-n", "--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    chosen = parser.parse_args()
    ends = time.monotonic() + chosen.seconds
    sweeps: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
        "files": lambda: files(chosen.names),
        "mutants": lambda: mutants(chosen.names, chosen.count, chosen.seed, ends),
        "kills": lambda: kills(chosen.count, chosen.seed, ends),
        "races": lambda: races(chosen.count, chosen.seed, ends),
        "disks": disks,
        "surroundings": lambda: surroundings(chosen.count, chosen.seed, ends),
    }
    done = failed = 0
    for name, fault in sweeps[chosen.sweep]():
        done += 1
        if fault:
            failed += 1
            say(f"FAULT {name}: {fault}")
    say(f"{chosen.sweep}: {done} runs, {failed} faults")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
