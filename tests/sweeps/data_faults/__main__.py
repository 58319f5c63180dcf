"""Sensitivity to data: plant faults that only some inputs show, and see whether the proof makes such inputs.

    python -m tests.sweeps.data_faults [--each 20] [--pairs 5] [--seed 0] [--verbose]

A fault is a fold that is wrong by its centre, its type, a limit, a branch that is seldom taken, one row of a table or
an integer input; ``prove`` compares it with the original at its site. A pair is two files that differ in the same ways;
``verify`` has nothing but the files. With every faulty model comes a right one, which must not be called different.
The command prints a table and ends with 1 when a fault was missed or a right model was called different.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from normfold.verify import Equivalence, Site, prove, verify
from tests.sweeps.data_faults.in_folds import FAULTS
from tests.sweeps.data_faults.in_pairs import PAIRS


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=21)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)
    logging.getLogger("normfold").setLevel(logging.ERROR)  # verify says there what differs
    bad = 0
    kinds = [(make, True, options.each) for make in FAULTS] + [(make, False, options.pairs) for make in PAIRS]
    for make, is_fold, count in kinds:
        if options.only and options.only != make.__name__:
            continue
        counts: Counter[str] = Counter()
        start = time.monotonic()
        for number in range(count):
            trio = make(np.random.default_rng([options.seed, number]))
            for candidate, expected in ((trio.right, Equivalence.EQUIVALENT), (trio.wrong, Equivalence.DIFFERENT)):
                sites = [Site(trio.site, "fold")]
                found = prove(trio.original, candidate, sites) if is_fold else verify(trio.original, candidate)
                is_right = found.verdict is expected
                kind = "right models" if expected is Equivalence.EQUIVALENT else "found"
                counts[kind if is_right else f"not {kind}"] += 1
                if not is_right and options.verbose:
                    sys.stdout.write(f"{make.__name__} {number}: expected {expected.value}\n{found}\n")
        seconds = (time.monotonic() - start) / max(count, 1) / 2
        missed, alarms = counts["not found"], counts["not right models"]
        bad += missed + alarms
        sys.stdout.write(
            f"{make.__name__:22} {counts['found']} of {count} found, {alarms} false alarms, {seconds:.2f} s each\n"
        )
    sys.stdout.write(f"{bad} missed or falsely called different\n")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
