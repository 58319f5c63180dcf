"""What a Python user meets: names, one line for a result, arrays as inputs, reports in one call."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import normfold
from normfold.errors import NormfoldError
from tests.conftest import ROOT
from tests.nets import conv_bn

RESIDUAL = ROOT / "models" / "residual.onnx"


def test_dir_and_all_name_what_is_public() -> None:
    of_torch = {"export", "fold_module"} if find_spec("torch") else set()
    assert {"optimize", "inspect", "verify", "check", "diff", "bench", "testing", *of_torch} <= set(dir(normfold))
    assert not [name for name in dir(normfold) if name.startswith("_") and name != "__version__"]
    assert all(getattr(normfold, name) is not None for name in dir(normfold))


def test_every_error_is_of_one_family() -> None:
    errors = [getattr(normfold, name) for name in normfold.__all__ if name.endswith("Error")]
    assert len(errors) >= 6
    assert all(issubclass(error, NormfoldError) for error in (*errors, normfold.NotProven))


def test_a_result_is_one_line_and_a_table() -> None:
    result = normfold.optimize(RESIDUAL)
    assert repr(result) == f"<Result of {RESIDUAL}: 9 of 9 norms removed (9 folded, 0 fused, 0 kept)>"
    inspection = normfold.inspect(ROOT / "models" / "transformer.onnx")
    assert repr(inspection).startswith("<Inspection of ")
    assert len(repr(inspection)) < 300
    page = inspection._repr_html_()
    assert page.count("<tr>") == 4
    assert "NF122" in page
    assert "proven equal" in result._repr_html_()


def test_names_in_a_notebook_are_text() -> None:
    model = conv_bn()
    model.graph.name = "<script>alert(1)</script>"
    assert "<script>" not in normfold.inspect(model)._repr_html_()


@pytest.mark.parametrize("suffix", ["html", "json", "md", "txt", "sarif", "xml"])
def test_a_result_saves_its_report(tmp_path: Path, suffix: str) -> None:
    path = normfold.inspect(conv_bn()).save_report(tmp_path / f"report.{suffix}")
    assert path.stat().st_size > 100
    with pytest.raises(normfold.UsageError, match="names no form"):
        normfold.inspect(conv_bn()).save_report(tmp_path / "report.pdf")


def test_inputs_are_arrays_or_paths(tmp_path: Path) -> None:
    x = np.ones((1, 3, 8, 8), np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    file = tmp_path / "x.npz"
    several: list[Any] = [{"x": x}, [{"x": x}, {"x": -x}], file, [file, {"x": x}], str(file)]
    for inputs in several:
        result = normfold.optimize(conv_bn(), inputs=inputs)
        assert result.verification
        assert len(result.folds) == 1
    with pytest.raises(normfold.UsageError, match="expected the inputs x in the given arrays, got z"):
        normfold.verify(conv_bn(), conv_bn(), inputs={"z": x})


def test_verify_takes_a_result() -> None:
    result = normfold.optimize(RESIDUAL)
    assert normfold.verify(RESIDUAL, result)
    normfold.testing.assert_equivalent(RESIDUAL, result)
    wrong = onnx.load(RESIDUAL)
    weight = onnx.numpy_helper.to_array(wrong.graph.initializer[0])
    wrong.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight * 1.5, wrong.graph.initializer[0].name))
    with pytest.raises(AssertionError, match=r"(?s)different: .*worst"):
        normfold.testing.assert_equivalent(RESIDUAL, wrong)


def test_check_diff_and_bench_are_functions(tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    normfold.optimize(RESIDUAL, output)
    stages: list[str] = []
    before, after = normfold.check([RESIDUAL, output], jobs=1, on_stage=stages.append)
    assert [len(report.problems) for report in sorted((before, after), key=lambda report: report.model)] in (
        [0, 9],
        [9, 0],
    )
    assert len(stages) == 2
    assert not any(report.problems for report in normfold.check(RESIDUAL, jobs=1, max_foldable=9))
    assert {change.section for change in normfold.diff(RESIDUAL, output)} >= {"norms", "operators", "weights"}
    measured = normfold.bench(RESIDUAL, output, rounds=2, warmup=1)
    assert len(measured.ratios) == 2
