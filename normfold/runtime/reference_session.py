"""Running a model in onnx's reference evaluator: slow, but it knows operators and types that ONNX Runtime does not.

It has faults of its own, but a proof compares two models that it ran alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value, first_line
from normfold.runtime.weight_store import is_external

LARGEST_BYTES = 64 * 2**20
"""Weights of a model that is small enough for it."""


def is_small_enough(model: LoadedModel) -> bool:
    """Whether a model may be run this way."""
    return model.weight_bytes <= LARGEST_BYTES


class ReferenceRunner(Runner):
    """A held model in the reference evaluator. It has no levels of optimization, and computes each operator as its
    specification says."""

    def __init__(self, loaded: LoadedModel, seconds: float = 300.0) -> None:
        self._seconds = seconds
        model = _whole(loaded)
        try:
            self._evaluator: ReferenceEvaluator | None = ReferenceEvaluator(model)
        except Exception as error:  # it raises whatever an operator's constructor raises
            raise ModelRunError(
                FailureKind.KERNEL, f"nor has onnx's reference evaluator: {first_line(error)}"
            ) from error
        self._bounded = _Bounded(self._evaluator.rt_nodes_)
        self._evaluator.rt_nodes_ = self._bounded
        shapes = {v.name: v.type.tensor_type.shape.dim for v in model.graph.output}
        self.output_shapes = {name: [d.dim_value or d.dim_param for d in dims] for name, dims in shapes.items()}

    def close(self) -> None:
        """Free the model."""
        self._evaluator = None

    def run(self, feed: Mapping[str, Value], outputs: Sequence[str]) -> list[Value]:
        """The values of ``outputs`` for one feed; CannotRun when an operator fails or all take too long."""
        if self._evaluator is None:
            raise ValueError("expected an open model, got a closed one; open a new ReferenceRunner")
        self._bounded.end = time.monotonic() + self._seconds
        try:
            with np.errstate(all="ignore"):
                values = self._evaluator.run(list(outputs), dict(feed))
        except OutOfTimeError as error:
            raise ModelRunError(FailureKind.TIME, f"more than {self._seconds:g} s") from error
        except Exception as error:  # it raises whatever an operator raises
            raise ModelRunError(FailureKind.RUN, f"in onnx's reference evaluator: {first_line(error)}") from error
        return [_plain(value) for value in values]


class OutOfTimeError(Exception):
    """Raised between two operators."""


class _Bounded(list[Any]):
    """The operators of a model, which come one after another until time is up."""

    end = math.inf

    def __iter__(self) -> Iterator[Any]:
        for node in super().__iter__():
            if time.monotonic() > self.end:
                raise OutOfTimeError
            yield node


def _plain(value: Any) -> Value:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if value is None else np.asarray(value)


def _whole(loaded: LoadedModel) -> onnx.ModelProto:
    """The model with all its weights inside."""
    model = onnx.ModelProto()
    model.CopyFrom(loaded.skeleton)
    for tensor in filter(is_external, model.graph.initializer):
        tensor.CopyFrom(numpy_helper.from_array(loaded.array_of(tensor), tensor.name))
    return model
