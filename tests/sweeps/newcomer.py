"""Go a newcomer's three ways, each from nothing to a result, with the commands of README, and time them.

    python -m tests.sweeps.newcomer [file|git|torch ...] [--python python3.12]

Each way has a new folder with what is committed here, and a new environment. What is printed: the commands after the
environment was made, and their seconds. The command ends with 1 where one fails, is not in README, or where a way takes
more than four commands or two minutes. Nothing else should run at the time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WAYS = {
    "file": (
        "pip install .",
        "normfold inspect models/levit_like.onnx",
        "normfold optimize models/levit_like.onnx -o levit.onnx --report levit.html",
    ),
    "git": (
        "pip install .",
        "normfold check models --update-lock",
        "normfold check models --lock normfold.lock --report norms.sarif --report norms.xml",
    ),
    "torch": (
        "pip install '.[torch]'",
        'normfold export models.tabular:Tabular --input "4x2:int64<20" --input 4x12 -o tabular.onnx',
    ),
}
MOST_COMMANDS, MOST_SECONDS = 4, 120


def go(way: str, python: str) -> bool:
    """Go one way, and return whether it is as short as promised."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    unknown = [command for command in WAYS[way] if command.replace("'", "") not in readme.replace("'", "")]
    with tempfile.TemporaryDirectory(prefix="normfold-newcomer-") as folder:
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), folder], check=True)
        subprocess.run([python, "-m", "venv", f"{folder}/.new"], check=True)
        path = os.pathsep.join([f"{folder}/.new/bin", os.environ["PATH"]])
        start, failed = time.perf_counter(), ""
        for command in WAYS[way]:
            done = subprocess.run(
                command,
                shell=True,
                cwd=folder,
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            print(f"  {time.perf_counter() - start:6.1f} s  {command}", flush=True)  # noqa: T201  # a sweep's result
            failed += done.stderr[-300:] if done.returncode else ""
    seconds = time.perf_counter() - start
    is_kept = not failed and not unknown and len(WAYS[way]) <= MOST_COMMANDS and seconds <= MOST_SECONDS
    said = f"{'ok' if is_kept else 'NOT OK'} {way}: {len(WAYS[way])} commands, {seconds:.0f} s"
    print(said, failed, *unknown, flush=True)  # noqa: T201  # a sweep's result is what it prints
    return is_kept


def main() -> None:
    """Go the ways that the command line names, all where it names none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], metavar="WAY")
    parser.add_argument("--python", default=sys.executable)
    chosen = parser.parse_args()
    is_kept = [go(way, chosen.python) for way in chosen.ways or WAYS]
    sys.exit(not all(is_kept))


if __name__ == "__main__":
    main()
