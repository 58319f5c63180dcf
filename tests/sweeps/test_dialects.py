"""Each dialect of the sweep is folded, proven, equal, and finished after one run."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from tests.sweeps.dialects import NAMES, fault_of, write


@pytest.mark.parametrize("name", NAMES)
def test_a_dialect_is_right(name: str, tmp_path: Path) -> None:
    try:
        onnxruntime.InferenceSession(write(name, tmp_path))
    except Exception as error:  # noqa: BLE001  # whatever an older onnx or runtime says of what it does not know
        pytest.skip(f"this ONNX Runtime does not load it: {error}"[:200])
    assert fault_of(name, tmp_path) == ""
