"""Fuse a large part of the product of all decompositions; count what is not fused to the fewest operators or differs.

    python -m tests.sweeps.norm_decompositions [--count 200] [--seed 0]

``count`` decompositions are drawn for each norm and operator set. It ends with 1 when one is at fault.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.fuse.decompositions import NORMS, model_of, pairwise, product
from tests.fuse.recognize.test_table import OPSETS, fused, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    done, faults = 0, Counter[str]()
    for norm in NORMS:
        for opset in OPSETS:
            for decomposition in pairwise(norm, opset, chosen.count, chosen.seed + opset):
                done += 1
                original = model_of(decomposition)
                try:
                    fault = wrong(decomposition, original, fused(original))
                except AssertionError as error:
                    fault = f"not fused: {error}"
                if fault:
                    faults[norm] += 1
                    print(f"{decomposition}: {fault}", flush=True)  # noqa: T201  # a sweep's result is what it prints
    every = sum(1 for norm in NORMS for opset in OPSETS for _ in product(norm, opset))
    print(f"{done} of {every} decompositions, {sum(faults.values())} at fault {dict(faults)}")  # noqa: T201  # as above
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
