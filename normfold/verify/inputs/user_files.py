"""Inputs of the user: .npz, .npy, directories of test_data_set .pb, and ``NAME=1x3x224x224:dtype:low..high``."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.errors import UsageError
from normfold.files.paths import check_readable
from normfold.files.untrusted import check_archive
from normfold.options import Input
from normfold.runtime.loaded_model import LoadedModel
from normfold.verify.numeric.distance import is_floating


@dataclass(frozen=True)
class InputSpec:
    """Shape, type and inclusive bounds of an input; what is None or empty comes from the graph."""

    name: str
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    bounds: tuple[float, float] | None = None

    def draw(self, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
        """Values within the bounds; of a float without bounds, signed normal ones."""
        kind = np.dtype(self.dtype) if self.dtype else dtype
        if self.bounds is None:
            random_values = rng.standard_normal(shape) if kind.kind == "f" else rng.integers(0, 2, shape)
        elif kind.kind == "f":
            random_values = rng.uniform(*self.bounds, shape)
        else:
            random_values = rng.integers(int(self.bounds[0]), int(self.bounds[1]) + 1, shape)
        return np.asarray(random_values).astype(kind)


_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_SPEC = re.compile(
    rf"(?P<shape>scalar|\d+(?:x\d+)*)?(?::(?P<dtype>[a-z]+\d*))?(?::(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER}))?"
)
_FORM = "NAME=1x3x224x224[:dtype][:low..high]"
_SPECS, _INPUTS = "input_specs", "inputs"  # the options that errors are about


def parse_spec(text: str) -> InputSpec:
    """``NAME=1x3x224x224[:dtype][:low..high]``; the shape may be left out, ``scalar`` is rank 0. Else UsageError."""
    name, equals, rest = text.rpartition("=")
    match = _SPEC.fullmatch(rest)
    if not equals or not name or match is None or not rest:
        raise UsageError(f"expected {_FORM}, got {text!r}; for example x=1x3x224x224:float32:-1..1", _SPECS)
    dtype = match["dtype"] or ""
    try:
        np.dtype(dtype or "float32")
    except TypeError as error:
        raise UsageError(f"expected a type like float32 or int64 in {_FORM}, got {dtype!r}", _SPECS) from error
    shape = None
    if match["shape"]:
        shape = () if match["shape"] == "scalar" else tuple(int(n) for n in match["shape"].split("x"))
    bounds = (float(match["low"]), float(match["high"])) if match["low"] is not None else None
    if bounds is not None and bounds[0] > bounds[1]:
        raise UsageError(f"expected low <= high in {_FORM}, got {text!r}", _SPECS)
    return InputSpec(name, shape, dtype, bounds)


@dataclass(frozen=True)
class Given:
    """One feed of the user: inputs by name, and the stored outputs with them, if any."""

    text: str
    values: dict[str, Any]
    expected: dict[str, Any] | None = None


def load_inputs(given: Input, model: LoadedModel) -> Given:
    """Read one feed for the model.

    A mapping or ``.npz`` (arrays by input name), ``.npy`` (the only input), or a directory with ``input_0.pb`` ... and
    perhaps ``output_0.pb`` ... UsageError says what was expected.
    """
    names = [value.name for value in model.inputs]
    expected = None
    if isinstance(given, Mapping):
        text = source = "the given arrays"
        values = dict(given)
    else:
        text, source = Path(given).name, str(given)
        values, expected = _read_inputs(Path(given), names, model)
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if missing or unknown:
        raise UsageError(
            f"expected the inputs {', '.join(names)} in {source}, got {', '.join(map(str, values)) or 'none'}; "
            "name the arrays like the inputs",
            _INPUTS,
        )
    for value in model.inputs:
        fitting = _as_declared(values[value.name], value, source)
        if fitting is not values[value.name]:
            text += f" ({value.name} from {values[value.name].dtype})"
            values[value.name] = fitting
    return Given(text, values, expected)


def _read_inputs(source: Path, names: list[str], model: LoadedModel) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the inputs that a file or folder holds, and the stored outputs, if any."""
    check_readable(source)
    if not source.exists():
        raise UsageError(f"there is no {source}", _INPUTS)
    if source.is_dir():
        outputs = _protos(source, "output", list(model.output_names))
        return _protos(source, "input", names), outputs or None
    if source.suffix == ".npz":
        return _arrays(source), None
    if source.suffix != ".npy":
        raise UsageError(f"expected an .npz file, an .npy file or a folder of .pb files, got {source}", _INPUTS)
    if len(names) != 1:
        raise UsageError(f"expected a model with one input for {source.name}, got inputs {', '.join(names)}; use .npz")
    return dict(zip(names, _arrays(source).values(), strict=True)), None


def all_inputs(given: Sequence[Input], model: LoadedModel) -> Iterator[Given]:
    """Return the feed of each path or mapping; of a folder with several test_data_set folders each of those."""
    for entry in given:
        sets: list[Input] = []
        if not isinstance(entry, Mapping) and Path(entry).is_dir():
            sets = [*sorted(Path(entry).glob("test_data_set_*"), key=_number)]
        yield from (load_inputs(each, model) for each in sets or [entry])


def _number(path: Path) -> tuple[int, str]:
    digits = path.stem.rpartition("_")[2]
    return (int(digits) if digits.isdigit() else 0, path.stem)


def _as_declared(array: Any, value: onnx.ValueInfoProto, source: str) -> Any:
    """Return the array in the type that the model declares, where only the width differs.

    UsageError where more does.
    """
    kind = value.type.tensor_type
    if not isinstance(array, np.ndarray) or not value.type.HasField("tensor_type"):
        return array
    if kind.HasField("shape"):
        check_shape(f"{value.name} in {Path(source).name}", array.shape, value)
    wanted = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type or onnx.TensorProto.FLOAT))
    if array.dtype == wanted or "O" in (array.dtype.kind, wanted.kind):
        return array
    fits = (is_floating(array) and is_floating(np.empty(0, wanted))) or (
        {array.dtype.kind, wanted.kind} <= set("iu") and np.array_equal(array, array.astype(wanted))
    )
    if not fits:
        raise UsageError(f"expected {value.name} in {source} as {wanted}, got {array.dtype}; convert it with astype")
    return array.astype(wanted)


def check_shape(name: str, shape: Sequence[int], value: onnx.ValueInfoProto) -> None:
    """UsageError where a shape is not one that the model declares for an input."""
    dims = value.type.tensor_type.shape.dim
    fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    if len(shape) != len(dims) or any(n is not None and n != size for n, size in zip(fixed, shape, strict=True)):
        wanted = "x".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims)
        raise UsageError(f"expected {name} of shape {wanted or 'scalar'}, got {'x'.join(map(str, shape)) or 'scalar'}")


def _arrays(source: Path) -> dict[str, Any]:
    """Return the arrays of an .npz by name, or the one of an .npy; pickled objects stay closed."""
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                check_archive(archive)
        with open(source, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else {"": loaded}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"expected arrays of numbers or strings in {source}, got: {error}", _INPUTS) from error


def _protos(folder: Path, stem: str, names: Sequence[str]) -> dict[str, Any]:
    values = {}
    files = sorted(folder.glob(f"{stem}_*.pb"), key=lambda p: int(p.stem.rpartition("_")[2]))
    if len(files) > len(names):
        raise UsageError(f"expected at most {len(names)} {stem}_*.pb in {folder}, got {len(files)}")
    for name, file in zip(names, files, strict=False):
        values[name] = _load_proto(file)
    return values


def _load_proto(file: Path) -> Any:
    """Return a tensor or a sequence of tensors; the file does not say which, so the tensor is tried first."""
    data = file.read_bytes()
    try:
        tensor = onnx.load_tensor_from_string(data)
        if tensor.data_type:
            return numpy_helper.to_array(tensor)
    except Exception:  # noqa: BLE001  # protobuf has an error class of its own for each backend
        pass
    try:
        sequence = onnx.SequenceProto.FromString(data)
        return numpy_helper.to_list(sequence)
    except Exception as error:  # the same
        raise UsageError(
            f"expected a serialized TensorProto or SequenceProto in {file}, got {len(data)} bytes"
        ) from error
