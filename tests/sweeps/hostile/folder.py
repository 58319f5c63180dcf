"""A folder with a model that takes a while, and what a run may leave in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tests.sweeps.hostile.cases import model, norm, parameters


def large_model(folder: Path, external: bool) -> Path:
    """Write a model of 16 MB that is folded."""
    size = 1024
    proto = model(norm("x"), parameters(size), shape=("N", size))
    extra = np.random.default_rng(1).standard_normal((3, size, size)).astype(np.float32)
    names = ["h0", "h1", "h2"]
    for index, name in enumerate(names):
        proto.graph.initializer.append(numpy_helper.from_array(extra[index], f"w{index}"))
        source = "x" if index == 0 else names[index - 1]
        proto.graph.node.insert(index, onnx.helper.make_node("MatMul", [source, f"w{index}"], [name]))
    proto.graph.node[3].input[0] = "h2"
    path = folder / "m.onnx"
    onnx.save(proto, path, save_as_external_data=external, location="m.onnx.data", size_threshold=1024)
    return path


def leftovers(folder: Path) -> list[str]:
    """Return files that belong to no model of the folder."""
    models = list(folder.glob("*.onnx"))
    wanted = {path.name for path in models}
    for path in models:
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            wanted |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return sorted(set(os.listdir(folder)) - wanted)


def emptied(folder: Path) -> Path:
    """Return a folder, which is new and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
