"""A network and what normfold makes of it."""

from __future__ import annotations

import onnx
import pytest

import normfold
from tests.verify.nets import conv_bn_pair


@pytest.fixture(scope="module")
def pair() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A network, and what normfold makes of it."""
    raw, _ = conv_bn_pair(channels=16)
    return raw, normfold.optimize(raw).model
