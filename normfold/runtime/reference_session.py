"""Running a model in onnx's reference evaluator: slow, but it knows operators and types that ONNX Runtime does not.

It has faults of its own, but a proof compares two models that it ran the same way.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from normfold.files.limits import MOST_COMPUTED
from normfold.files.protos.tensors import is_external
from normfold.graph.evaluators import Quota, TooLargeError
from normfold.native.ort_session import first_line
from normfold.operators.walk import every_node
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value

LARGEST_BYTES = 64 * 2**20
"""Weights of a model that is small enough for it."""

LONGEST = 4.0
"""Seconds of the processor for one run: what takes longer would take many minutes for a whole proof."""


def is_small_enough(model: LoadedModel) -> bool:
    """Whether a model may be run this way."""
    return model.weight_bytes <= LARGEST_BYTES


class ReferenceRunner(Runner):
    """A loaded model in the reference evaluator.

    It has no levels of optimization, and computes each operator as its specification says.
    """

    def __init__(self, loaded: LoadedModel, seconds: float = LONGEST) -> None:
        self._seconds = min(seconds, LONGEST)
        self._quota = Quota(MOST_COMPUTED)  # of one run that succeeds, or of all before that fail
        model = _whole(loaded)
        try:
            evaluator = _counting(self._quota)
            self._evaluator: ReferenceEvaluator | None = evaluator(model, new_ops=_new_operators(model))
        except Exception as error:  # it raises whatever an operator's constructor raises
            raise ModelRunError(
                FailureKind.KERNEL, f"nor has onnx's reference evaluator: {first_line(error)}"
            ) from error
        shapes = {v.name: v.type.tensor_type.shape.dim for v in model.graph.output}
        self.output_shapes = {name: [d.dim_value or d.dim_param for d in dims] for name, dims in shapes.items()}

    def close(self) -> None:
        """Free the model."""
        self._evaluator = None

    def run(self, feed: Mapping[str, Value], outputs: Sequence[str]) -> list[Value]:
        """Return the values of ``outputs`` for one feed; ModelRunError when an operator fails or all take too long."""
        if self._evaluator is None:
            raise ValueError("expected an open model, got a closed one; open a new ReferenceRunner")
        try:
            with np.errstate(all="ignore"), _interrupted_after(self._seconds):
                values = self._evaluator.run(list(outputs), dict(feed))
        except OutOfTimeError as error:
            raise ModelRunError(FailureKind.TIME, f"more than {self._seconds:g} s") from error
        except TooLargeError as error:
            raise ModelRunError(FailureKind.MEMORY, "onnx's reference evaluator keeps every value") from error
        except Exception as error:  # it raises whatever an operator raises
            raise ModelRunError(FailureKind.RUN, f"in onnx's reference evaluator: {first_line(error)}") from error
        self._quota.left = MOST_COMPUTED
        return [_plain(value) for value in values]


def _counting(quota: Quota) -> type[ReferenceEvaluator]:
    """Return an evaluator that takes the elements that its operators make from ``quota``, in bodies too."""

    class Counting(ReferenceEvaluator):
        def _log(self, level: int, pattern: str, *named: Any) -> None:
            """See what the evaluator says of each result: " + name: value"."""
            if not pattern.startswith(" + "):
                return
            values = named[-1] if isinstance(named[-1], list) else named[-1:]
            if not quota.take(sum(map(np.size, values))):
                raise TooLargeError

    return Counting


class OutOfTimeError(BaseException):
    """Raised inside an operator, which must not take it for a fault of its own."""


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in this thread after ``seconds``, in the middle of an operator.

    The evaluator is Python: a Loop may have 2^31 turns, and a MaxPool of a photograph takes minutes.
    """
    over, lock = threading.Event(), threading.Lock()
    thread = ctypes.c_ulong(threading.get_ident())
    ends = time.process_time() + seconds

    def interrupt() -> None:
        while time.process_time() < ends:  # on a busy machine a run takes longer
            if over.wait(seconds / 8):
                return
        with lock:
            if not over.is_set():
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTimeError))

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            over.set()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)  # one that has not been raised yet


class BatchNormalization(OpRun):
    """Compute inference in every version: before 14 onnx mixes in the statistics of the batch."""

    def _run(self, x, scale, bias, mean, variance, **attributes):  # type: ignore[no-untyped-def]  # as OpRun calls it
        epsilon = attributes.get("epsilon")
        shape = (1, -1, *(1,) * (x.ndim - 2))
        deviation = np.sqrt(variance + (1e-5 if epsilon is None else epsilon))
        factor, shift = scale / deviation, bias - mean * scale / deviation
        return ((x * factor.reshape(shape) + shift.reshape(shape)).astype(x.dtype),)


def _new_operators(model: onnx.ModelProto) -> list[type[OpRun]]:
    """Operators that take the place of onnx's own; none where a BatchNormalization is in training."""
    norms = [node for node in every_node(model) if node.op_type == "BatchNormalization"]
    in_training = any(a.name == "training_mode" and a.i for node in norms for a in node.attribute)
    has_more = any(len(list(filter(None, node.output))) > 1 for node in norms)
    return [BatchNormalization] if norms and not in_training and not has_more else []


def _plain(value: Any) -> Value:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if value is None else np.asarray(value)


def _whole(loaded: LoadedModel) -> onnx.ModelProto:
    """Return the model with all its weights inside."""
    model = onnx.ModelProto()
    model.CopyFrom(loaded.skeleton)
    for tensor in filter(is_external, model.graph.initializer):
        tensor.CopyFrom(numpy_helper.from_array(loaded.array_of(tensor), tensor.name))
    return model
