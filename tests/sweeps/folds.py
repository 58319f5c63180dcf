"""Random networks without end: python -m tests.sweeps.folds [seconds] [seed] [most operators].

Prints each network that folds wrongly, as ONNX text, and at the end how many were tried. Exit code 1 when one failed.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter

import onnx
from hypothesis import HealthCheck, Phase, given, seed, settings

from normfold.findings.verdict import Outcome
from tests.fold.rows import fold
from tests.fold.test_engine import assert_stays_the_same
from tests.onnx_text import text_of
from tests.random_graphs import networks


def sweep(seconds: float, first_seed: int, most: int) -> int:
    """Try networks for ``seconds``; the number of those that failed."""
    counts: Counter[str] = Counter()
    end, number = time.monotonic() + seconds, first_seed

    def attempt(model: onnx.ModelProto) -> None:
        if time.monotonic() > end:
            return
        counts["networks"] += 1
        try:
            assert_stays_the_same(model)
            counts["folds"] += len(fold(model).sites(Outcome.FOLDED))
        except Exception:  # noqa: BLE001  # whatever goes wrong is the finding
            counts["failed"] += 1
            sys.stdout.write(f"--- seed {number}\n{text_of(model)}\n{traceback.format_exc(limit=-3)}\n")

    while time.monotonic() < end:
        options = settings(
            max_examples=200,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(options(given(networks(most))(attempt)))()
        number += 1
    sys.stdout.write(f"{dict(counts)}, seeds {first_seed} to {number - 1}\n")
    return counts["failed"]


if __name__ == "__main__":
    arguments = [float(text) for text in sys.argv[1:]]
    budget, begin, size = [*arguments, *(300.0, 0.0, 14.0)[len(arguments) :]]
    sys.exit(1 if sweep(budget, int(begin), int(size)) else 0)
