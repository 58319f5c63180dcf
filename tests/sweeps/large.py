"""A model larger than the memory: folded and proven within an address space that is limited, mapped files aside.

    python -m tests.sweeps.large [--gigabytes 40] [--limit 8] [--proof-memory 4] [--folder DIR]

The data file is sparse: a weight is zero but for one row of each 64, so that it takes little of the disk. Every layer
has a MatMul and the operators of a LayerNorm, which becomes one operator; in one of 64 layers a scale goes into the
weight. Prints the seconds and what the report says, of the parts too.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 4096
LAYER = WIDTH * WIDTH * 4


def write(folder: Path, gigabytes: float) -> Path:
    """Write a model of this size, and its sparse data; returns the path of the model."""
    layers = max(1, int(gigabytes * 2**30 / LAYER))
    rng = np.random.default_rng(0)
    row = (rng.standard_normal(WIDTH) / 8).astype(np.float32)
    nodes, weights, value = [], [], "x"
    with open(folder / "m.data", "wb") as data:
        for i in range(layers):
            for place in range(0, WIDTH, 64):
                data.seek(i * LAYER + place * WIDTH * 4)
                data.write(np.roll(row, place + i).tobytes())
            weight = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT, dims=[WIDTH, WIDTH])
            weight.data_location = TensorProto.EXTERNAL
            for key, text in (("location", "m.data"), ("offset", i * LAYER), ("length", LAYER)):
                weight.external_data.add(key=key, value=str(text))
            weights.append(weight)
            nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"a{i}"], f"matmul{i}"))
            nodes += (
                _norm(f"a{i}", f"n{i}") if i % 64 else [helper.make_node("Mul", [f"a{i}", "k"], [f"n{i}"], f"k{i}")]
            )
            nodes.append(helper.make_node("Tanh", [f"n{i}"], [f"t{i}"], f"tanh{i}"))
            value = f"t{i}"
        data.truncate(layers * LAYER)
    small = {"k": rng.uniform(0.5, 2, WIDTH), "g": rng.uniform(0.5, 2, WIDTH), "b": rng.standard_normal(WIDTH)}
    weights += [numpy_helper.from_array(array.astype(np.float32), name) for name, array in small.items()]
    weights.append(numpy_helper.from_array(np.array(1e-5, np.float32), "eps"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x", value)]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], weights)
    path = folder / "m.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    return path


def _norm(value: str, out: str) -> list[onnx.NodeProto]:
    """LayerNorm in nine operators."""
    steps = [
        ("ReduceMean", [value], "m"),
        ("Sub", [value, f"{out}m"], "d"),
        ("Mul", [f"{out}d", f"{out}d"], "q"),
        ("ReduceMean", [f"{out}q"], "v"),
        ("Add", [f"{out}v", "eps"], "e"),
        ("Sqrt", [f"{out}e"], "s"),
        ("Div", [f"{out}d", f"{out}s"], "z"),
        ("Mul", [f"{out}z", "g"], "h"),
    ]
    axes: dict[str, Any] = {"ReduceMean": {"axes": [-1]}}
    nodes = [
        helper.make_node(op_type, inputs, [out + name], out + name, **axes.get(op_type, {}))
        for op_type, inputs, name in steps
    ]
    return [*nodes, helper.make_node("Add", [f"{out}h", "b"], [out], out)]


def main() -> int:
    """Write the model, optimize it in a process with limits, and print figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--gigabytes", type=float, default=40.0)
    parser.add_argument("--limit", type=float, default=8.0, help="gigabytes of memory that is not mapped from files")
    parser.add_argument("--proof-memory", type=float, default=4.0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        path = write(Path(name), given.gigabytes)
        start = time.perf_counter()
        command = ["optimize", path, "-o", Path(name, "out.onnx"), "--share-data", "--feeds", 1]
        command += ["--proof-memory", given.proof_memory]
        bound = int(given.limit * 2**30)
        done = subprocess.run(
            [sys.executable, "-m", "normfold", *map(str, command)],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (bound, bound)),  # no threads
            capture_output=True,
            text=True,
            check=False,
        )
        seconds, data = time.perf_counter() - start, Path(name, "m.data").stat()
        on_disk = f"{data.st_size / 2**30:.1f} GB, of which {data.st_blocks / 2**21:.2f} on the disk"
        sys.stdout.write(f"{on_disk}; code {done.returncode}, {seconds:.0f} s, within {given.limit:g} GB\n")
        sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
