"""How the time of a whole `optimize`, proof included, grows with the operators.

    python -m tests.sweeps.growth [KIND...] [--sizes 1000 10000 100000] [--seconds 300]

Each kind is a family of models in which one habit is repeated: rows of one operator, chains of constants, branches,
joints, norms of many operators. Prints a line for each model with the microseconds of the processor for each operator,
by stage; they are flat where the time is linear. Exit code 1 when a kind takes more than three times as long for each
operator at its largest size as at its smallest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4
Nodes = list[onnx.NodeProto]
Kind = Callable[[int], tuple[Nodes, list[str]]]
KINDS: dict[str, Kind] = {}


def kind(make: Kind) -> Kind:
    """Register a kind under the name of its function."""
    KINDS[make.__name__.removeprefix("_")] = make
    return make


def _row(count: int, *patterns: tuple[str, ...], start: str = "x") -> Nodes:
    """Return ``count`` operators in a row; each pattern has an operator and its further inputs."""
    nodes = []
    value = start
    for i in range(count):
        op_type, *more = patterns[i % len(patterns)]
        nodes.append(helper.make_node(op_type, [value, *more], [f"{start}_{i}"], f"{start}_n{i}"))
        value = f"{start}_{i}"
    return nodes


def _ended(nodes: Nodes) -> tuple[Nodes, list[str]]:
    return nodes, [nodes[-1].output[0]]


@kind
def _relu(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("Relu",)))


@kind
def _identity(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("Identity",)))


@kind
def _mul(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("Mul", "one")))


@kind
def _mul_add(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("Mul", "k"), ("Add", "b")))


@kind
def _batchnorm(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("BatchNormalization", "gamma", "beta", "mean", "var")))


@kind
def _mul_relu(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("Mul", "k"), ("Relu",)))


@kind
def _mul_sigmoid(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("Mul", "k"), ("Sigmoid",)))


@kind
def _transpose(count: int) -> tuple[Nodes, list[str]]:
    return _ended(_row(count, ("Transpose",), ("Sigmoid",)))


@kind
def _conv_batchnorm_relu(count: int) -> tuple[Nodes, list[str]]:
    norm = "BatchNormalization", "gamma", "beta", "mean", "var"
    return _ended(_row(count, ("Conv", "w"), norm, ("Relu",)))


@kind
def _batchnorm_behind_relus(count: int) -> tuple[Nodes, list[str]]:
    """One norm that has to go through a long row until a convolution takes it."""
    norm = helper.make_node("BatchNormalization", ["x", "gamma", "beta0", "zero", "var"], ["n"], "norm")
    row = _row(count - 2, ("Relu",), start="n")
    return [norm, *row, helper.make_node("Conv", [row[-1].output[0], "w"], ["y"], "last")], ["y"]


@kind
def _norms_behind_relus(count: int) -> tuple[Nodes, list[str]]:
    """Many norms in one row of Relus: each could go far."""
    norm = "BatchNormalization", "gamma", "beta0", "zero", "var"
    return _ended(_row(count, *[("Relu",)] * 9, norm))


@kind
def _constants(count: int) -> tuple[Nodes, list[str]]:
    """A long chain of operators on constants."""
    row = _row(count - 1, ("Mul", "one"), ("Add", "b"), start="k")
    return [*row, helper.make_node("Mul", ["x", row[-1].output[0]], ["y"], "last")], ["y"]


@kind
def _residuals(count: int) -> tuple[Nodes, list[str]]:
    nodes, stream = [], "x"
    for i in range(count // 4):
        nodes += [
            helper.make_node("Conv", [stream, "w"], [f"c{i}"], f"c{i}"),
            helper.make_node("BatchNormalization", [f"c{i}", "gamma", "beta", "mean", "var"], [f"n{i}"], f"n{i}"),
            helper.make_node("Relu", [f"n{i}"], [f"r{i}"], f"r{i}"),
            helper.make_node("Add", [stream, f"r{i}"], [f"s{i}"], f"s{i}"),
        ]
        stream = f"s{i}"
    return nodes, [stream]


@kind
def _blocks(count: int) -> tuple[Nodes, list[str]]:
    """Each block has two convolutions, a norm and a scale that fold, a norm that stays, and a sum that all read."""
    nodes, stream = [], "x"
    norm = ["gamma", "beta", "mean", "var"]
    for i in range(count // 10):
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
    return nodes, [stream]


@kind
def _layernorms(count: int) -> tuple[Nodes, list[str]]:
    """LayerNorm in nine operators, one behind the other."""
    nodes, stream = [], "x"
    for i in range(count // 9):
        nodes += [
            helper.make_node("ReduceMean", [stream], [f"m{i}"], f"m{i}", axes=[-1]),
            helper.make_node("Sub", [stream, f"m{i}"], [f"d{i}"], f"d{i}"),
            helper.make_node("Mul", [f"d{i}", f"d{i}"], [f"q{i}"], f"q{i}"),
            helper.make_node("ReduceMean", [f"q{i}"], [f"v{i}"], f"v{i}", axes=[-1]),
            helper.make_node("Add", [f"v{i}", "eps"], [f"e{i}"], f"e{i}"),
            helper.make_node("Sqrt", [f"e{i}"], [f"t{i}"], f"t{i}"),
            helper.make_node("Div", [f"d{i}", f"t{i}"], [f"z{i}"], f"z{i}"),
            helper.make_node("Mul", [f"z{i}", "row"], [f"g{i}"], f"g{i}"),
            helper.make_node("Add", [f"g{i}", "row"], [f"s{i}"], f"s{i}"),
        ]
        stream = f"s{i}"
    return nodes, [stream]


@kind
def _branches(count: int) -> tuple[Nodes, list[str]]:
    """One value with thousands of readers, each a convolution and a norm, and an output for each."""
    nodes = []
    for i in range(count // 2):
        nodes.append(helper.make_node("Conv", ["x", "w"], [f"c{i}"], f"c{i}"))
        nodes.append(helper.make_node("BatchNormalization", [f"c{i}", "gamma", "beta", "mean", "var"], [f"n{i}"]))
    return nodes, [node.output[0] for node in nodes[1::2]]


@kind
def _outputs(count: int) -> tuple[Nodes, list[str]]:
    """One value that an operator makes, with thousands of readers and an output for each."""
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"], "first")]
    nodes += [helper.make_node("Relu", ["s"], [f"o{i}"], f"n{i}") for i in range(count - 1)]
    return nodes, [node.output[0] for node in nodes[1:]]


@kind
def _joined(count: int) -> tuple[Nodes, list[str]]:
    """Thousands of scaled branches that one Concat joins, behind which a norm stands."""
    nodes = [helper.make_node("Mul", ["x", "k"], [f"c{i}"], f"c{i}") for i in range(count - 2)]
    nodes.append(helper.make_node("Concat", [node.output[0] for node in nodes], ["joined"], "joined", axis=0))
    return [*nodes, helper.make_node("BatchNormalization", ["joined", "gamma", "beta", "mean", "var"], ["y"])], ["y"]


@kind
def _own_weights(count: int) -> tuple[Nodes, list[str]]:
    """Every convolution and norm has weights of its own."""
    nodes, value = [], "x"
    for i in range(count // 7):
        names = []
        for name in ("w", "gamma", "beta", "mean", "var"):
            names.append(f"{name}{i}")
            tensor = numpy_helper.from_array(_WEIGHTS[name].astype(np.float32))
            nodes.append(helper.make_node("Constant", [], [names[-1]], value=tensor))
        nodes.append(helper.make_node("Conv", [value, names[0]], [f"c{i}"], f"c{i}"))
        nodes.append(helper.make_node("BatchNormalization", [f"c{i}", *names[1:]], [f"n{i}"], f"n{i}"))
        value = f"n{i}"
    return nodes, [value]


_RNG = np.random.default_rng(0)
_WEIGHTS = {
    "w": np.linalg.qr(_RNG.standard_normal((CHANNELS, CHANNELS)))[0].reshape(CHANNELS, CHANNELS, 1, 1),
    "w3": _RNG.standard_normal((CHANNELS, CHANNELS, 3, 3)) / 18,
    "one": np.ones(()),
    "eps": np.full((), 1e-5),
    "k": np.array([0.5, 2, 1, 1]).reshape(CHANNELS, 1, 1),
    "b": np.zeros((CHANNELS, 1, 1)),
    "row": np.ones(8),
    "gamma": np.ones(CHANNELS),
    "beta": np.array([0.1, -0.1, 0, 0]),
    "beta0": np.zeros(CHANNELS),
    "zero": np.zeros(CHANNELS),
    "mean": np.array([0.1, -0.1, 0.2, 0]),
    "var": np.array([1, 0.9, 1.1, 1]),
}


def model(name: str, count: int) -> onnx.ModelProto:
    """Return the model of a kind with about ``count`` operators."""
    nodes, outputs = KINDS[name](count)
    shape: list[str | int | None] = ["N", CHANNELS, 8, 8]
    made = {value for node in nodes for value in node.output}
    used = {value for node in nodes for value in node.input} - made
    out = None if name == "joined" else shape
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, out) for output in outputs],
        [numpy_helper.from_array(array.astype(np.float32), key) for key, array in _WEIGHTS.items() if key in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _optimize(path: str, answers: Any) -> None:
    """Optimize a file in this process; send how it ended, and the seconds of the processor, by stage and in all."""
    import normfold

    os.environ["NORMFOLD_ISOLATION"] = "off"  # so that this process is all that works
    stages = [("import", 0.0)]
    try:
        result = normfold.optimize(path, on_stage=lambda stage: stages.append((stage, time.process_time())))
        text = f"{len(result.changes)} changes"
    except normfold.NormfoldError as error:
        text = f"{error}"[:60]
    seconds: dict[str, float] = {}
    for (stage, start), (_, end) in pairwise([*stages, ("", time.process_time())]):
        seconds[stage] = seconds.get(stage, 0.0) + end - start
    answers.put((text, seconds, time.process_time()))


def measure(name: str, count: int, limit: float) -> float:
    """Print a line; returns the microseconds for each operator, infinity where the time ran out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.onnx")
        proto = model(name, count)
        operators = len(proto.graph.node)
        path.write_bytes(proto.SerializeToString())
        del proto
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        process = context.Process(target=_optimize, args=(str(path), answers))
        process.start()
        try:
            text, seconds, total = answers.get(timeout=limit)
        except Empty:
            text, seconds, total = f"more than {limit:g} s", {}, float("inf")
        process.kill()
        process.join()
    stages = "  ".join(f"{stage} {1e6 * spent / operators:.0f}" for stage, spent in seconds.items())
    each: float = 1e6 * total / operators
    sys.stdout.write(f"{name:24} {operators:>9,} operators {total:7.1f} s {each:8.0f} us: {stages}  ({text})\n")
    sys.stdout.flush()
    return each


def main() -> int:
    """Measure the kinds of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1_000, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=300.0)
    given = parser.parse_args()
    steep = []
    for name in given.kinds or KINDS:
        times = [measure(name, size, given.seconds) for size in given.sizes]
        if times[-1] > 3 * times[0]:
            steep.append(name)
    sys.stdout.write(f"steep: {', '.join(steep) or 'none'}\n")
    return 1 if steep else 0


if __name__ == "__main__":
    sys.exit(main())
