"""What zeros hide: behind a Relu a channel that never is positive is zero, and shows nothing of the weights there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normfold.verify.compare import is_floating, largest
from normfold.verify.held import Held
from normfold.verify.run import Value
from normfold.verify.survey import channel_axes

MIRRORED = "with the other sign where a channel never is positive"

_STOPS_NEGATIVE = frozenset({"Relu", "Clip", "HardSigmoid", "HardSwish", "ThresholdedRelu"})


def with_something_positive(held: Held, values: Mapping[str, Value]) -> dict[str, np.ndarray]:
    """Those of ``values`` that have such channels and that a Relu or the like reads, with the other sign there."""
    found = {}
    for name, value in values.items():
        readers = {held.graph.node[index].op_type for index in held.readers.get(name, ())}
        mirrored = _mirrored(value) if readers & _STOPS_NEGATIVE else None
        if mirrored is not None:
            found[name] = mirrored
    return found


def _mirrored(value: Value) -> np.ndarray | None:
    if not isinstance(value, np.ndarray) or not is_floating(value) or not value.size:
        return None
    with np.errstate(all="ignore"):
        negative = value <= 0 if value.ndim < 2 else np.zeros((1,) * value.ndim, bool)
        for axis in channel_axes(value):
            negative = negative | (largest(value, axis) <= 0)
        negative = negative & (value < 0) if negative.any() else negative
        return np.where(negative, -value, value) if negative.any() else None
