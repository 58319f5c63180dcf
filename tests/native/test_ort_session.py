"""Every session of ONNX Runtime is opened in one place, with one kind of error."""

from __future__ import annotations

from pathlib import Path

import pytest

import normfold
from normfold.native.ort_session import OptimizationLevel, SessionError, SessionOptions, open_session
from tests.nets import conv_bn


def test_no_other_file_opens_a_session() -> None:
    root = Path(normfold.__file__).parent
    found = {file.name for file in root.rglob("*.py") if "InferenceSession(" in file.read_text(encoding="utf-8")}
    assert found == {"ort_session.py"}


@pytest.mark.parametrize("level", OptimizationLevel)
def test_a_model_opens_at_each_level(level: OptimizationLevel) -> None:
    session = open_session(conv_bn().SerializeToString(), SessionOptions(level))
    assert session.get_session_options().graph_optimization_level.name in (
        "ORT_DISABLE_ALL",
        "ORT_ENABLE_BASIC",
        "ORT_ENABLE_EXTENDED",
        "ORT_ENABLE_ALL",
    )


@pytest.mark.parametrize("model", [b"no model", "/no/such/file.onnx"])
def test_what_the_runtime_rejects_is_one_line(model: bytes | str) -> None:
    with pytest.raises(SessionError) as error:
        open_session(model)
    assert str(error.value)
    assert "\n" not in str(error.value)


def test_the_rewritten_model_is_written(tmp_path: Path) -> None:
    path = tmp_path / "optimized.onnx"
    wanted = SessionOptions(OptimizationLevel.EXTENDED, optimized=str(path))
    open_session(conv_bn().SerializeToString(), wanted)
    assert path.stat().st_size > 0
