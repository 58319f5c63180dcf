"""What a channel hides: one that never is positive is zero behind a Relu, and shows nothing of the weights there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import Value
from normfold.verify.numeric.channels import channel_axes
from normfold.verify.numeric.distance import is_floating, largest

SIGN_FLIPPED = "with the other sign where a channel hides what is behind"

_SHOWS_ABOVE = {
    **dict.fromkeys(("Relu", "Clip", "HardSigmoid", "HardSwish", "ThresholdedRelu"), 0.0),
    **dict.fromkeys(("Sigmoid", "Gelu", "Swish", "Mish", "QuickGelu"), -8.0),
}
"""What is never above such a number comes out as nothing, or next to nothing."""

_SHOWS_BELOW_ZERO = "PRelu"
"""What is never below zero shows nothing of the slopes."""


def sign_flipped_values(model: LoadedModel, values: Mapping[str, Value]) -> dict[str, np.ndarray]:
    """Those of ``values`` with channels that show nothing to whoever reads them, with the other sign there."""
    found = {}
    for name, value in values.items():
        readers = {model.graph.node[index].op_type for index in model.readers.get(name, ())}
        above = [_SHOWS_ABOVE[reader] for reader in readers if reader in _SHOWS_ABOVE]
        if not isinstance(value, np.ndarray) or not is_floating(value) or not value.size:
            continue
        sign_flipped = _sign_flipped(value, 1, max(above)) if above else None
        if sign_flipped is None and _SHOWS_BELOW_ZERO in readers:
            sign_flipped = _sign_flipped(value, -1, 0.0)
        if sign_flipped is not None:
            found[name] = sign_flipped
    return found


def _sign_flipped(value: np.ndarray, sign: int, bound: float) -> np.ndarray | None:
    """With the other sign in channels that nowhere are above the bound after a change by ``sign``."""
    with np.errstate(all="ignore"):
        signed = value if sign > 0 else -value
        hidden = signed <= bound if value.ndim < 2 else np.zeros((1,) * value.ndim, bool)
        for axis in channel_axes(value):
            hidden = hidden | (largest(signed, axis) <= bound)
        hidden = hidden & (signed < 0) if hidden.any() else hidden
        return np.where(hidden, -value, value) if hidden.any() else None
