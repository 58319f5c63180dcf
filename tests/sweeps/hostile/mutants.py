"""Mutants of real models through the command line, each in a fork; what is accepted is compared."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.sweeps.hostile.judge import differs
from tests.sweeps.hostile.mutations import mutated
from tests.sweeps.hostile.originals import originals
from tests.sweeps.hostile.runs import Ended, forked, say


def mutants(places: Sequence[str], count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each mutant by its number with what is wrong with the run on it. Each runs in a fork of this process."""
    import normfold_cli  # noqa: F401  # loaded once, for all forks
    from normfold import pipeline  # noqa: F401
    from normfold.verify import proof  # noqa: F401

    models = originals(places)
    codes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "m.onnx"), Path(folder, "out.onnx")
        for number in range(count):
            if time.monotonic() > ends:
                break
            dice = random.Random(f"{seed}:{number}")
            path.write_bytes(mutated(dice.choice(models), dice))
            output.unlink(missing_ok=True)
            ended = forked(lambda: _optimized(path, output))
            codes[str(ended.code)] += 1
            yield f"{seed}:{number}", _fault_of(ended, path, output)
    say(f"codes {dict(sorted(codes.items()))}")


def _optimized(path: Path, output: Path) -> int:
    import normfold_cli

    return int(normfold_cli.run(["optimize", str(path), "-o", str(output), "-q"]))


def _said_to_differ(path: Path, output: Path) -> int:
    sys.stdout.write(differs(path, output))
    return 0


def _fault_of(ended: Ended, path: Path, output: Path) -> str:
    if fault := ended.fault():
        return fault
    if ended.code:
        return f"code {ended.code} left an output" if output.exists() else ""
    return forked(lambda: _said_to_differ(path, output)).out  # ONNX Runtime may die of a mutant
