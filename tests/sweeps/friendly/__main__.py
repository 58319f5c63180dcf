"""Walk the promises to a new user, and say of each: ok or not.

    python -m tests.sweeps.friendly [WORD ...] [--quick]

Words choose the promises that have one in their name. ``--quick`` leaves out what takes more than some seconds. The
command ends with 1 where one is not kept.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.sweeps.friendly.walk import PROMISES, QUICK, holds


def main() -> None:
    """Walk the promises that the command line chooses, all where it chooses none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    failed = 0
    for promise in QUICK if chosen.quick else PROMISES:
        if chosen.words and not any(word in promise.__name__ for word in chosen.words):
            continue
        start = time.perf_counter()
        is_kept = holds(promise)
        failed += not is_kept
        seconds, sentence = time.perf_counter() - start, (promise.__doc__ or "").splitlines()[0]
        print(f"{'ok    ' if is_kept else 'NOT OK'} {seconds:5.1f} s  {sentence}", flush=True)  # noqa: T201  # its result
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
