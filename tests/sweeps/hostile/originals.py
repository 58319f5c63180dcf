"""The small models that are mutated: files, or the reference networks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx

from models.export import export_raw
from models.registry import NETWORKS, build
from tests.sweeps.hostile.cases import model, norm, parameters


def originals(places: Sequence[str]) -> list[onnx.ModelProto]:
    """Return small models to mutate: files, or those below folders; else the reference networks and one of text."""
    if places:
        paths = [path for each in map(Path, places) for path in ([each] if each.is_file() else each.rglob("*.onnx"))]
        small = sorted(path for path in paths if path.stat().st_size < 4 * 2**20)
        return list(filter(None, map(_read_original, small)))
    found = [model(norm("x"), parameters())] * 2
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            module, inputs = build(name)
            path = Path(folder, f"{name}.onnx")
            export_raw(module, inputs, NETWORKS[name], path)
            found.append(onnx.load(path))
    return [_inferred(each) for each in found if each.ByteSize() < 4 * 2**20]


def _read_original(path: Path) -> onnx.ModelProto | None:
    try:
        return _inferred(onnx.load(path))
    except Exception:  # noqa: BLE001  # a file that is no model, or has lost its data
        return None


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the types of its values, by which a change finds what it can change."""
    return onnx.shape_inference.infer_shapes(model)
