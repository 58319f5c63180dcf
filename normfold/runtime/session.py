"""Run a model: what every runtime answers, and ONNX Runtime, with one level, bounded time and one kind of failure."""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from normfold.errors import UsageError
from normfold.native.ort_session import OptimizationLevel, SessionError, SessionOptions, first_line, open_session
from normfold.operators.walk import every_node
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.random_operators import draws
from normfold.runtime.time_limit import Watch

Value = Any
"""A numpy array, or a list of them (sequence), or None (empty optional)."""


class FailureKind(Enum):
    """Why a model did not run."""

    LOAD = "ONNX Runtime does not load it"
    KERNEL = "ONNX Runtime has no CPU kernel for it"
    RUN = "it fails while it runs"
    TIME = "it takes too long"
    MEMORY = "it takes more memory than there is"


class ModelRunError(Exception):
    """A model did not load or run. ``kind`` says how; ``detail`` is the runtime's first line."""

    def __init__(self, failure: FailureKind, detail: str) -> None:
        super().__init__(f"{failure.value}: {detail}")
        self.kind, self.detail = failure, detail


_OTHER_WHEN_PACKED = frozenset({"MatMulNBits"})
"""Operators that compute in other types from packed weights: there the copies are what a user gets at every level."""

_MOST_PACKED = 2**29
"""Bytes of weights of which the runtime may hold packed copies in memory."""


class Runner(ABC):
    """A loaded model that is ready to run. Close it by ``with`` to give its memory back before the next one opens.

    ``output_shapes`` are those that the runtime knows before it runs, with names or None for sizes that are free.
    """

    output_shapes: Mapping[str, Sequence[int | str | None]]

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Free the model."""

    @abstractmethod
    def run(self, feed: Mapping[str, Value], outputs: Sequence[str]) -> list[Value]:
        """Return the values of ``outputs`` for one feed; ModelRunError when the runtime refuses, fails or is slow."""


class OrtRunner(Runner):
    """A session of ONNX Runtime over a loaded model."""

    def __init__(
        self,
        model: LoadedModel,
        level: OptimizationLevel = OptimizationLevel.DISABLE_ALL,
        threads: int = 1,
        watch: Watch | None = None,
        libraries: Sequence[str] = (),
    ) -> None:
        self._watch = watch or Watch()
        # The runtime may read the arrays in place, so they live as long as the session.
        self._arrays: list[np.ndarray] | None = list(model.given.values())
        # Most sessions without optimizations run once or twice: packed copies of weights do not pay.
        is_unpacked = level is OptimizationLevel.DISABLE_ALL or model.weight_bytes > _MOST_PACKED
        is_unpacked &= _OTHER_WHEN_PACKED.isdisjoint(model.operators)
        settings = {"session.disable_prepacking": "1"} if is_unpacked else {}
        opened = partial(
            _opened,
            model.skeleton.SerializeToString(),
            SessionOptions(level, threads, settings, [_checked(each) for each in libraries], keeps_memory=False),
            folder=model.folder,
            weights=dict(zip(model.given, map(_to_runtime, self._arrays), strict=True)),
        )
        self._session: ort.InferenceSession | None = opened()
        # A seed says what the first run of a session draws, so each run of such a model has a session of its own.
        self._again = opened if draws(model) else None
        self._output_types = {v.name: v.type for v in self._session.get_outputs()}
        self.output_shapes = {v.name: v.shape for v in self._session.get_outputs()}

    def close(self) -> None:
        """Free the session."""
        self._session = self._arrays = self._again = None

    def run(self, feed: Mapping[str, Value], outputs: Sequence[str]) -> list[Value]:
        """Return the values of ``outputs`` for one feed; ModelRunError when the session refuses, fails or is slow."""
        if self._session is None:
            raise ValueError("expected an open session, got a closed one; open a new OrtRunner")
        if not outputs:  # the runtime takes an empty list for "all"
            return []
        session, self._session = self._session, self._session if self._again is None else self._again()
        with self._watch.run() as limited:
            try:
                return _run(session, feed, outputs, self._output_types, limited.options)
            except Exception as error:  # the runtime's error classes share no public base
                if limited.is_out_of_time:
                    raise ModelRunError(FailureKind.TIME, f"more than {self._watch.seconds:g} s") from error
                raise ModelRunError(_run_trouble(error), first_line(error)) from error


def _run(
    session: ort.InferenceSession,
    feed: Mapping[str, Value],
    outputs: Sequence[str],
    types: Mapping[str, str],
    options: ort.RunOptions,
) -> list[Value]:
    if all(map(_is_numbers, feed.values())) and all(_holds_numbers(types[name]) for name in outputs):
        # Tensors of numbers go in and out without a copy, bfloat16 included.
        given = {name: _to_runtime(array) for name, array in feed.items()}
        return [_from_runtime(v) for v in session.run_with_ort_values(list(outputs), given, options)]
    values: list[Value] = session.run(list(outputs), dict(feed), options)
    return values


def _is_numbers(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind not in "OUS"


def _holds_numbers(kind: str) -> bool:
    return kind.startswith("tensor(") and kind != "tensor(string)"


def _to_runtime(array: np.ndarray) -> ort.OrtValue:
    if array.dtype.kind != "V":
        return ort.OrtValue.ortvalue_from_numpy(array)
    element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)  # bfloat16 or an 8-bit float, unknown to numpy itself
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(f"u{array.dtype.itemsize}"), element)


def _from_runtime(value: ort.OrtValue) -> np.ndarray:
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.element_type()))
    if kind.kind != "V":
        return np.asarray(value.numpy())
    size = value.tensor_size_in_bytes()
    model = (ctypes.c_char * size).from_address(value.data_ptr()) if size else b""
    return np.frombuffer(model, dtype=kind).reshape(value.shape()).copy()


def _opened(*arguments: Any, **options: Any) -> ort.InferenceSession:
    try:
        return open_session(*arguments, **options)
    except SessionError as error:
        raise ModelRunError(_load_trouble(str(error.__cause__)), str(error)) from error


def _checked(library: str) -> str:
    if not os.path.isfile(library):
        raise UsageError(f"expected a library of operators, got {library}; there is no such file", "custom_ops")
    return library


def _load_trouble(text: str) -> FailureKind:
    missing = "NOT_IMPLEMENTED" in text or "is not a registered function/op" in text or "Could not find an impl" in text
    return FailureKind.KERNEL if missing else FailureKind.LOAD


def _run_trouble(error: Exception) -> FailureKind:
    text = str(error)
    if "bad_alloc" in text or "bad allocation" in text or "Failed to allocate memory" in text:
        return FailureKind.MEMORY
    return FailureKind.KERNEL if "NOT_IMPLEMENTED" in text else FailureKind.RUN


def unsafe_reason(model: LoadedModel) -> str:
    """Why a model must not be given to ONNX Runtime, else "". Checked before any session opens."""
    for node in every_node(model.skeleton) if "BatchNormalization" in model.operators else ():
        if node.op_type == "BatchNormalization" and _leaves_outputs_out(node):
            name = node.name or node.output[0]
            return f"BatchNormalization {name} has training_mode=1 and unnamed outputs, which crashes ONNX Runtime"
    return ""


def _leaves_outputs_out(node: onnx.NodeProto) -> bool:
    """Return whether an output has an empty name, which crashes the process, or training lacks outputs."""
    training = any(found.name == "training_mode" and found.i for found in node.attribute)
    return not all(node.output) or (training and len(node.output) < 3)
