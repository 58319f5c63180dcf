"""Specificity: fold models, prove each with several seeds, and count false alarms.

    python -m tests.sweeps.proofs MODEL.onnx... [--seeds 5] [--half]

``--half`` casts the weights to float16 first. For each model: the largest error over what was allowed (above 1 is an
alarm). The command ends with 1 when there was a false alarm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

import normfold
from normfold.verify import Equivalence, ProofOptions, prove
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


@dataclass
class Tally:
    """How many proofs, and of those how many said "different" or "inconclusive"."""

    proofs: int = 0
    alarms: int = 0
    undecided: int = 0


def sweep(path: Path, options: argparse.Namespace, room: Path, tally: Tally) -> str:
    """Fold one model, prove it with every seed, and say how near to an alarm that came."""
    result = normfold.optimize(in_float16(onnx.load(path)) if options.half else path, verify=False)
    original, folded = result.source.path or result.source.proto, result.save(room / "folded.onnx")
    worst = 0.0
    for seed in range(options.seeds):
        proof = prove(original, folded, sites_of(result), ProofOptions(seed=seed))
        worst = max([worst, *(c.margin for c in (*proof.sites, *proof.outputs) if not c.noise_dominated)])
        tally.proofs += 1
        tally.alarms += proof.verdict is Equivalence.DIFFERENT
        tally.undecided += proof.verdict is Equivalence.INCONCLUSIVE
        if not proof:
            sys.stdout.write(f"{path.name}, seed {seed}: {proof}\n")
    return f"{path.name}: {len(result.changes)} folds, {len(proof.sites)} sites, largest error {worst:.2f} of allowed\n"


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
