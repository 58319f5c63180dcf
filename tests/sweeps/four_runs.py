"""Agreement: `optimize`, `check`, `verify` and `optimize` again say the same of a model.

    python -m tests.sweeps.four_runs MODEL.onnx... [--seconds 600]

What `optimize` writes must pass `check`, be equal for `verify`, and change no more when it is optimized again. Models
that end with an error are counted: a refusal is one line. The command prints what disagrees, and ends with 1 when
anything does, or with the models that are left when its time is up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import normfold


def disagreements(path: Path, folder: Path) -> Iterator[str]:
    """Yield what the runs on one model say against each other."""
    output = folder / "out.onnx"
    result = normfold.optimize(path, output)
    for report in normfold.check(output):
        yield from (f"check: {problem}" for problem in report.problems)
    if not result.is_copy and not (found := normfold.verify(path, output)):
        yield f"verify: {found.verdict.value}"
    again = normfold.optimize(output)
    yield from (f"optimize again: {change.finding.name}" for change in again.changes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args(arguments)
    counts: Counter[str] = Counter()
    latest = time.monotonic() + options.seconds
    for number, path in enumerate(options.models):
        if time.monotonic() > latest:
            sys.stdout.write(f"not run: {' '.join(map(str, options.models[number:]))}\n")
            break
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = list(disagreements(path, Path(folder)))
            except normfold.NormfoldError as error:
                counts[f"refused ({type(error).__name__})"] += 1
                found = [] if len(str(error).splitlines()) == 1 else [f"{type(error).__name__} of several lines"]
            else:
                counts["agree"] += not found
            counts["wrong"] += bool(found)
        sys.stdout.write(f"{path.name}: {'; '.join(found)}\n" if found else "")
        sys.stdout.flush()
    sys.stdout.write(f"{dict(counts)}\n")
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
