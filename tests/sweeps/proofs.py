"""Specificity and cost: fold models, prove each with several seeds, and count false alarms.

    python -m tests.sweeps.proofs MODEL.onnx... [--seeds 5] [--half]

``--half`` casts the weights to float16 first. For each model: the largest error over what was allowed (above 1 is an
alarm), and the processor time of a proof, less its session loads, over one unoptimized run of the original for each
feed. The command ends with 1 when there was a false alarm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import normfold
from normfold.verify import ProofOptions, Verdict, prove
from normfold.verify.feeds import Feeder
from normfold.verify.held import hold
from normfold.verify.run import CannotRun, Runner
from tests.sweeps.faults import sites_of


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with weights, constants, inputs, outputs and Casts in float16 in place of float32."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    del graph.value_info[:]
    tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.name == "value")]
    for tensor in tensors:
        if tensor.data_type == TensorProto.FLOAT:
            array = np.clip(numpy_helper.to_array(tensor), -65504, 65504).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    return half


def one_run(model: Path | onnx.ModelProto, count: int) -> float:
    """Seconds of one unoptimized run of the original for each of the feeds: what a proof is compared with."""
    original = hold(model)
    feeder, names = Feeder.of(original), list(original.output_names)
    total = 0.0
    with Runner(original) as runner:
        sizes: dict[str, int] | None = None
        for index in range(count):
            for feed, used in feeder.proposals(index, sizes):
                try:
                    total += sorted(_seconds(partial(runner.run, feed.values, names)) for _ in range(3))[1]
                except CannotRun:
                    continue
                sizes = used
                break
    return total


def _seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


@contextmanager
def loads_timed(seconds: list[float]) -> Iterator[None]:
    """While it lasts, the processor time of every session load is appended to ``seconds``."""
    plain = Runner.__init__

    def timed(self: Runner, *arguments: Any, **options: Any) -> None:
        start = time.process_time()
        try:
            plain(self, *arguments, **options)
        finally:
            seconds.append(time.process_time() - start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "__init__", timed)
        yield


@dataclass
class Tally:
    """How many proofs, and of those how many said "different" or "inconclusive"."""

    proofs: int = 0
    alarms: int = 0
    undecided: int = 0


def sweep(path: Path, options: argparse.Namespace, room: Path, tally: Tally) -> str:
    """Fold one model, prove it with every seed, and say what that cost."""
    result = normfold.optimize(in_float16(onnx.load(path)) if options.half else path, verify=False)
    original, folded = result.source.path or result.source.proto, result.save(room / "folded.onnx")
    worst, loads, costs = 0.0, list[float](), list[tuple[float, int]]()
    for seed in range(options.seeds):
        loads.clear()
        start = time.process_time()
        with loads_timed(loads):
            proof = prove(original, folded, sites_of(result), ProofOptions(seed=seed))
        costs.append((time.process_time() - start - sum(loads), len(loads)))
        worst = max([worst, *(c.margin for c in (*proof.sites, *proof.outputs) if not c.chaotic)])
        tally.proofs += 1
        tally.alarms += proof.verdict is Verdict.DIFFERENT
        tally.undecided += proof.verdict is Verdict.INCONCLUSIVE
        if not proof:
            sys.stdout.write(f"{path.name}, seed {seed}: {proof}\n")
    (seconds, sessions), feeds = min(costs), max(len(proof.feeds), 1)
    try:
        run = one_run(original, feeds)
    except CannotRun as error:
        return f"{path.name}: {error}\n"
    return (
        f"{path.name}: {len(result.folds)} folds, {len(proof.sites)} sites, largest error {worst:.2f} of allowed, "
        f"proof {seconds:.2f} s and {sessions} loads, {feeds} runs {run:.2f} s: {seconds / run:.1f}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Fold, prove, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--half", action="store_true")
    options = parser.parse_args(arguments)
    tally = Tally()
    with tempfile.TemporaryDirectory() as room:
        for path in options.models:
            sys.stdout.write(sweep(path, options, Path(room), tally))
            sys.stdout.flush()
    sys.stdout.write(f"{tally.proofs} proofs, {tally.alarms} false alarms, {tally.undecided} undecided\n")
    return 1 if tally.alarms else 0


if __name__ == "__main__":
    sys.exit(main())
