"""Pairs of files that only some inputs tell apart, one of each kind, each with another spelling that is equal.

    python -m tests.sweeps.wrong_pairs [--only NAME] [--seed 0] [--verbose]

``verify`` has nothing but the files. An entry of ``pairs/*.onnxtxt`` is a line ``# name``, with ``: opset 18`` where it
is needed, and a model; then ``# wrong:`` and ``# equal:``, each with another model below it, or with
``these words => others`` of the first, or with ``weight[3,:] = number``. The command prints what was missed or called
different by mistake, and ends with 1 when there is any.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.verify import Equivalence, verify
from tests.onnx_text import fill
from tests.sweeps.data_faults.trio import Trio

ENTRY = re.compile(
    r"# (?P<name>[^:\n]*)(?:: opset (?P<opset>\d+))?\n(?P<text>[^#]*)# wrong:(?P<wrong>[^#]*)# equal:(?P<equal>[^#]*)$"
)
WEIGHT = re.compile(r" (\w+)\[([\d:,]+)\] = ([\d.e-]+)\s*")
PAIRS = {
    found["name"]: found
    for file in sorted(Path(__file__).with_name("pairs").glob("*.onnxtxt"))
    for entry in file.read_text().split("\n\n")
    if (found := ENTRY.match(entry))
}


def read(name: str) -> Trio:
    """Return the models of an entry."""
    entry = PAIRS[name]
    opset = int(entry["opset"] or 17)
    return Trio(*(_model(entry["text"], change, opset) for change in ("", entry["equal"], entry["wrong"])))


def _model(text: str, change: str, opset: int) -> onnx.ModelProto:
    weight = WEIGHT.fullmatch(change)
    if " => " in change and not change.startswith("\n"):
        old, new = change.strip().split(" => ")
        text = " ".join(text.split()).replace(old, new)
    elif change and weight is None:
        text = change
    header = f'<ir_version: 9, opset_import: ["": {opset}, "ai.onnx.ml": 3]> g '
    model = onnx.parser.parse_model(header + text)
    fill(model.graph, np.random.default_rng(0), {})
    if weight is not None:
        _set(model.graph, *weight.groups())
    onnx.checker.check_model(model)
    return model


def _set(graph: onnx.GraphProto, name: str, where: str, number: str) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array[tuple(slice(None) if axis == ":" else int(axis) for axis in where.split(","))] = float(number)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)
    logging.getLogger("normfold").setLevel(logging.ERROR)  # verify says there what differs
    bad = 0
    start = time.process_time()
    chosen = [name for name in PAIRS if options.only in name]
    for name in chosen:
        trio = read(name)
        for candidate, expected in ((trio.right, Equivalence.EQUIVALENT), (trio.wrong, Equivalence.DIFFERENT)):
            found = verify(trio.original, candidate, seed=options.seed)
            if found.verdict is not expected:
                bad += 1
                sys.stdout.write(f"{name}: expected {expected.value}, got {found.verdict.value}\n")
                sys.stdout.write(f"{found}\n" if options.verbose else "")
    seconds = (time.process_time() - start) / max(len(chosen), 1)
    sys.stdout.write(f"{bad} of {2 * len(chosen)} missed or falsely called different, {seconds:.2f} s a pair\n")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
