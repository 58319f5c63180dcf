"""Whether a model gives the outputs that are stored with its inputs, in test_data_set folders next to its file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

DataSet = tuple[list[Any], list[Any]]


def write_node_cases(folder: Path) -> None:
    """Write every node case of the installed onnx package into ``folder``: its model, its inputs and its outputs."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow and divide by zero on purpose while they are made
        cases = collect_testcases(None)
    for case in cases:
        if case.model is None:
            continue
        own = folder / case.name
        own.mkdir()
        own.joinpath("model.onnx").write_bytes(case.model.SerializeToString())
        for number, (inputs, outputs) in enumerate(case.data_sets or ()):
            data = own / f"test_data_set_{number}"
            data.mkdir()
            _write(data, "input", inputs, case.model.graph.input)
            _write(data, "output", outputs, case.model.graph.output)


def _write(folder: Path, kind: str, values: Sequence[Any], infos: Sequence[onnx.ValueInfoProto]) -> None:
    for number, (value, info) in enumerate(zip(values, infos, strict=False)):
        folder.joinpath(f"{kind}_{number}.pb").write_bytes(_as_proto(value, info.type).SerializeToString())


def _as_proto(value: Any, kind: onnx.TypeProto) -> Any:
    if isinstance(value, onnx.TensorProto | onnx.SequenceProto | onnx.OptionalProto):
        return value
    if kind.HasField("optional_type"):
        return numpy_helper.from_optional(value)
    return numpy_helper.from_list(value) if kind.HasField("sequence_type") else numpy_helper.from_array(value)


def breaks_stored_outputs(original: Path, result: Path) -> str:
    """Return the data set whose outputs ``original`` gives in ONNX Runtime and ``result`` does not, or ""."""
    for folder in sorted(original.parent.glob("test_data_set_*")):
        inputs, outputs = _read(original, folder)
        if not _gives(original, inputs, outputs):
            continue
        if not _gives(result, inputs, outputs):
            return folder.name
    return ""


def _read(model: Path, folder: Path) -> DataSet:
    graph = onnx.load(model, load_external_data=False).graph
    stored = {initializer.name for initializer in graph.initializer}
    wanted = [value for value in graph.input if value.name not in stored]
    return list(_values(folder, "input", wanted)), list(_values(folder, "output", graph.output))


def _values(folder: Path, kind: str, infos: Sequence[onnx.ValueInfoProto]) -> Iterator[Any]:
    for number, info in enumerate(infos):
        path = folder / f"{kind}_{number}.pb"
        content = path.read_bytes() if path.exists() else b""
        if info.type.HasField("optional_type"):
            yield numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
        elif info.type.HasField("sequence_type"):
            yield numpy_helper.to_list(onnx.SequenceProto.FromString(content))
        else:
            yield numpy_helper.to_array(onnx.TensorProto.FromString(content))


def _gives(model: Path, inputs: Sequence[Any], outputs: Sequence[Any]) -> bool:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        given = session.run(None, dict(zip(names, inputs, strict=True)))
        return all(map(_are_close, given, outputs))
    except Exception:  # noqa: BLE001  # whatever the runtime says, it does not run
        return False


def _are_close(given: Any, stored: Any) -> bool:
    if isinstance(stored, list):
        return len(given) == len(stored) and all(map(_are_close, given, stored))
    if stored is None or given is None:
        return given is stored
    one, other = np.asarray(given), np.asarray(stored)
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool((one == other).all())
    return bool(np.allclose(one.astype(np.float64), other.astype(np.float64), rtol=1e-3, atol=1e-5, equal_nan=True))
