"""How the time to plan and fold grows with the network: python -m tests.sweeps.planning [blocks...]

Each block has ten operators: two convolutions, a norm and a scale that fold, a norm in front of a Relu that is kept, a
residual sum, and one norm of the stream that everybody reads. Prints a line for each size; the last column is flat when
the time is linear. Exit code 1 when the largest size takes more than twice as long for each operator as the smallest.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from normfold.findings.verdict import Outcome
from normfold.fold.cleanup.tidy import tidy
from normfold.fold.engine import fold_affines

CHANNELS = 4


def network(blocks: int) -> onnx.ModelProto:
    """A residual network of ``blocks`` blocks."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights = {
        "w": rng.standard_normal((CHANNELS, CHANNELS, 1, 1)),
        "w3": rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) / 3,
        "k": rng.uniform(0.5, 2, (CHANNELS, 1, 1)),
        "gamma": rng.uniform(0.5, 2, CHANNELS),
        "beta": rng.standard_normal(CHANNELS),
        "mean": rng.standard_normal(CHANNELS),
        "var": rng.uniform(0.5, 2, CHANNELS),
    }
    norm = ["gamma", "beta", "mean", "var"]
    stream = "x"
    for i in range(blocks):
        nodes += [
            helper.make_node("BatchNormalization", [stream, *norm], [f"kept{i}"], f"kept{i}"),
            helper.make_node("Relu", [f"kept{i}"], [f"r{i}"], f"r{i}"),
            helper.make_node("Conv", [f"r{i}", "w"], [f"c{i}"], f"c{i}"),
            helper.make_node("BatchNormalization", [f"c{i}", *norm], [f"n{i}"], f"n{i}"),
            helper.make_node("Relu", [f"n{i}"], [f"q{i}"], f"q{i}"),
            helper.make_node("Mul", [f"q{i}", "k"], [f"m{i}"], f"m{i}"),
            helper.make_node("Conv", [f"m{i}", "w3"], [f"d{i}"], f"d{i}", pads=[1, 1, 1, 1]),
            helper.make_node("Conv", [f"r{i}", "w"], [f"e{i}"], f"e{i}"),
            helper.make_node("Add", [f"d{i}", f"e{i}"], [f"t{i}"], f"t{i}"),
            helper.make_node("Add", [stream, f"t{i}"], [f"s{i}"], f"s{i}"),
        ]
        stream = f"s{i}"
    shape: list[str | int | None] = ["N", CHANNELS, 8, 8]
    infos = [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape) for node in nodes]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(stream, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
        value_info=infos,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def measure(blocks: int) -> float:
    """Print a line; returns the microseconds for each operator."""
    model = ir.from_proto(network(blocks))
    operators = len(list(model.graph))
    start = time.perf_counter()
    verdicts = fold_affines(model)
    tidy(model)
    seconds = time.perf_counter() - start
    folded = sum(verdict.outcome is Outcome.FOLDED for verdict in verdicts)
    each = 1e6 * seconds / operators
    sys.stdout.write(
        f"{blocks:>7,} blocks {operators:>8,} operators {folded:>7,} folded {len(verdicts) - folded:>7,} kept"
        f" {seconds:8.2f} s {each:8.1f} us for each operator\n"
    )
    sys.stdout.flush()
    return each


if __name__ == "__main__":
    sizes = [int(text) for text in sys.argv[1:]] or [1_000, 3_000, 10_000]
    times = [measure(size) for size in sizes]
    sys.exit(1 if times[-1] > 2 * times[0] else 0)
