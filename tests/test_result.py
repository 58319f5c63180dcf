"""What a Python user meets: names, one line for a result, arrays as inputs, reports in one call."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import normfold
from normfold.errors import NormfoldError
from normfold.files import source
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
    wrong: Any
    for names, wrong in ("z", {"z": x}), ("0", {0: x}):
        with pytest.raises(normfold.UsageError, match=f"expected the inputs x in the given arrays, got {names};"):
            normfold.verify(conv_bn(), conv_bn(), inputs=wrong)


class Tensor:
    """What has the methods of torch's tensors; no other process can be sent it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.open = array, lambda: None

    def detach(self) -> Tensor:
        return self

    cpu = detach

    def numpy(self) -> np.ndarray:
        if self.array.dtype == object:
            raise TypeError("no such type in numpy")
        return self.array


def test_an_array_is_whatever_numpy_makes_one_of(tmp_path: Path) -> None:
    x = np.ones((1, 3, 8, 8), np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    with np.load(tmp_path / "x.npz") as opened:
        forms: list[Any] = [{"x": x.tolist()}, {"x": Tensor(x)}, opened, {"x": ort.OrtValue.ortvalue_from_numpy(x)}]
        assert all(normfold.verify(conv_bn(), conv_bn(), inputs=form) for form in forms)
    with pytest.raises(normfold.UsageError, match="inputs: expected an array for x, got Tensor: no such type"):
        normfold.verify(conv_bn(), conv_bn(), inputs={"x": Tensor(np.array([None]))})


def test_a_result_can_be_hashed_and_its_error_sent_to_another_process() -> None:
    result = normfold.optimize(conv_bn())
    assert len({result, result, normfold.inspect(conv_bn())}) == 2
    error = pickle.loads(pickle.dumps(normfold.NotProven(result)))  # a pool of processes breaks on one that is not
    assert str(error) == str(normfold.NotProven(result))
    assert len(error.result.folds) == 1


def test_a_deep_result_whose_weights_stay_in_the_file_is_sent_to_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_MAPPED_FILE", 1)
    model = conv_bn()
    for index in range(300):
        model.graph.node.append(onnx.helper.make_node("Sin", [f"y{index}" if index else "y"], [f"y{index + 1}"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "large"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["large", "flat"], ["z"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "flat"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, [4096]))
    onnx.save(model, tmp_path / "net.onnx")
    result = normfold.optimize(tmp_path / "net.onnx", verify=False)
    sent = pickle.loads(pickle.dumps(result))
    assert sent.save(tmp_path / "out.onnx").read_bytes() == result.save(tmp_path / "same.onnx").read_bytes()
    assert repr(sent) == repr(result)


def test_a_result_is_saved_wherever_the_script_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    onnx.save(conv_bn(), "net.onnx")
    Path("net.onnx").chmod(0o600)
    result = normfold.optimize("net.onnx")
    monkeypatch.chdir(tmp_path)
    assert normfold.verify(result.save("net.onnx"), result)  # another file than the one of that name over there
    assert Path("net.onnx").stat().st_mode & 0o777 == 0o600
    Path("here", "net.onnx").unlink()
    assert result.save("again.onnx").exists()


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
    assert normfold.diff(RESIDUAL, normfold.optimize(RESIDUAL)) == normfold.diff(RESIDUAL, output)
    assert {change.section for change in normfold.diff(RESIDUAL, output)} >= {"norms", "operators", "weights"}
    measured = normfold.bench(RESIDUAL, output, rounds=2, warmup=1)
    assert len(measured.ratios) == 2
