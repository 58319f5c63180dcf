"""Kills and races: whatever happens, a model is the old or the new one, whole, and a rerun works."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.sweeps.hostile.folder import large_model, leftovers
from tests.sweeps.hostile.judge import differs
from tests.sweeps.hostile.runs import PROGRAM


def kills(count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each kill with what is wrong afterwards: the model must be the old or the new one, and a rerun works."""
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        for number in range(count):
            if time.monotonic() > ends:
                return
            dice = random.Random(f"{seed}:{number}")
            external, in_place = dice.random() < 0.5, dice.random() < 0.5
            place = Path(folder, "run")
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            path = large_model(place, external)
            target = path if in_place else place / "out.onnx"
            shutil.rmtree(template, ignore_errors=True)
            shutil.copytree(place, template)
            how = dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            arguments = [
                "optimize",
                str(path),
                "-q",
                "--no-verify",
                *(["--in-place"] if in_place else ["-o", str(target)]),
            ]
            name = f"{number} {how.name} {'external' if external else 'inline'} {'in place' if in_place else 'apart'}"
            yield name, _killed(arguments, how, dice.uniform(0.2, 3.0), target, template / "m.onnx")


def _killed(arguments: list[str], how: signal.Signals, after: float, target: Path, original: Path) -> str:
    environment = {**os.environ, "NORMFOLD_ISOLATION": ""}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    time.sleep(after)
    process.send_signal(how)
    process.wait()
    time.sleep(0.05)
    if how is not signal.SIGKILL and (left := leftovers(target.parent)):
        return f"left {left}"
    if target.exists() and (fault := differs(original, target)):
        return fault
    if target == original.parent.parent / "run" / "m.onnx" and not target.exists():
        return "the model is gone"
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if again.returncode:
        return f"the rerun ended with {again.returncode}: {again.stderr[-200:]}"
    if fault := differs(original, target):
        return fault
    left = leftovers(target.parent)
    return f"after the rerun {left} is left" if left else ""


def races(count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each race of two runs on one output with what is wrong afterwards."""
    for number in range(count):
        if time.monotonic() > ends:
            return
        external = number % 2 == 0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = large_model(folder, external)
            target = folder / "out.onnx"
            command = [sys.executable, "-c", PROGRAM, "optimize", str(path), "-q", "--no-verify", "-o", str(target)]
            environment = {**os.environ, "NORMFOLD_ISOLATION": ""}
            running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
            errors = [process.communicate()[1] for process in running]
            codes = [process.returncode for process in running]
            fault = differs(path, target) if 0 in codes else f"codes {codes} {errors}"
            left = leftovers(folder)
            yield f"{number}", fault or (f"left {left}" if left else "")
