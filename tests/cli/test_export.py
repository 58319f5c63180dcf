"""normfold export and the archives of torch on the command line; and what is said where torch is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch

import normfold
from models.registry import NETWORKS, build
from normfold.errors import UsageError
from normfold.pytorch.trace.loading import arguments
from tests.conftest import ROOT

Run = Callable[..., int]


@pytest.fixture
def run() -> Run:
    """The command line in this process, because torch takes seconds to import."""
    from normfold_cli import run

    return lambda *arguments: int(run([str(argument) for argument in arguments]))


def test_a_factory_with_weights_becomes_a_file(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    weights, output = tmp_path / "weights.pt", tmp_path / "out.onnx"
    torch.save(build("tabular", seed=3)[0].state_dict(), weights)
    inputs = ("--input", "4x2:int64<20", "--input", "4x12")
    arguments = ("export", "models.tabular:Tabular", "--weights", weights, *inputs, "-o", output)
    assert run(*arguments, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "Tabular"
    assert [value.type.tensor_type.elem_type for value in onnx.load(output).graph.input] == [7, 1]
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(output).graph.node}


def test_a_named_size_is_a_dynamic_dimension(tmp_path: Path, run: Run) -> None:
    output = tmp_path / "out.onnx"
    inputs = ("--input", "batchx2:int64<20", "--input", "batchx12")
    assert run("export", "models.tabular:Tabular", *inputs, "-o", output) == 0
    shapes = [value.type.tensor_type.shape.dim for value in onnx.load(output).graph.input]
    assert [[each.dim_param or each.dim_value for each in shape] for shape in shapes] == [["batch", 2], ["batch", 12]]


@pytest.mark.parametrize(("bounds", "size"), [("batch=3..9", 3), ("batch=1..2", 2)])
def test_a_dynamic_dimension_may_have_a_range(tmp_path: Path, run: Run, bounds: str, size: int) -> None:
    output = tmp_path / "out.onnx"
    inputs = ("--input", "batchx2:int64<20", "--input", "batchx12", "--input", bounds)
    assert run("export", "models.tabular:Tabular", *inputs, "-o", output) == 0
    shapes = [value.type.tensor_type.shape.dim for value in onnx.load(output).graph.input]
    assert [[each.dim_param or each.dim_value for each in shape] for shape in shapes] == [["batch", 2], ["batch", 12]]
    assert {tensor.shape[0] for tensor in arguments(inputs[1::2])} == {size}


@pytest.mark.parametrize(
    ("bounds", "message"), [("rows=1..4", "no other --input has"), ("batch=4..4", "several sizes")]
)
def test_a_range_that_makes_no_sense_is_a_usage_error(
    run: Run, capsys: pytest.CaptureFixture[str], bounds: str, message: str
) -> None:
    assert run("export", "models.tabular:Tabular", "--input", "batchx2:int64<20", "--input", bounds) == 2
    assert message in capsys.readouterr().err


def test_the_sizes_of_an_archive_are_settled(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Twice(), (torch.ones(2, 3),)), path)
    assert run("export", path, "--input", "Nx3") == 2
    assert "dimensions of an exported archive are settled" in capsys.readouterr().err


def test_an_archive_is_optimized_and_inspected(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    module, inputs = build("residual")
    path = tmp_path / "net.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        torch.export.save(torch.export.export(module, inputs), path)
    assert run("inspect", path) == 0
    assert "9 of 9 norms can be removed" in capsys.readouterr().out
    assert run("optimize", path) == 0
    assert "eager module" not in capsys.readouterr().err
    assert (tmp_path / "net.opt.onnx").is_file()
    content = path.read_bytes()
    assert run("optimize", path, "--in-place") == 2
    with pytest.raises(UsageError, match="choose another path"):
        normfold.optimize(path, path)
    assert path.read_bytes() == content


def test_a_script_is_exported(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module, inputs = build("residual")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its own deprecation
        torch.jit.trace(module, inputs).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call]  # no types
    monkeypatch.chdir(tmp_path)
    assert run("export", "net.pt", "--input", "1x3x32x32", "-q") == 0
    assert (tmp_path / "net.opt.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("export", "nothing"), 2),
        (("export", "models.tabular:Nothing", "--input", "1"), 2),
        (("export", "models.convolutional:Residual"), 2),
        (("export", "models.convolutional:Residual", "--input", "1,3"), 2),
        (("export", "models.convolutional:Residual", "--input", "1x5x8x8"), 3),
        (("export", "models.convolutional:Residual", "--weights", "nowhere.pt", "--input", "1x3x32x32"), 3),
        (("optimize", "nowhere.pt2"), 3),
        (("inspect", ROOT / "README.md"), 3),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    arguments: tuple[object, ...],
    code: int,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


WITHOUT_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
import normfold_cli
sys.exit(int(normfold_cli.run(sys.argv[1:])))
"""


@pytest.mark.parametrize("arguments", [("optimize", "net.pt2"), ("inspect", "net.pt2"), ("export", "a.b:C")])
def test_without_torch_the_command_names_the_extra(arguments: tuple[str, ...], tmp_path: Path) -> None:
    program = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr == "normfold: PyTorch models need torch; pip install 'normfold[torch]'\n"


def test_the_reference_networks_all_have_a_command_line() -> None:
    """Their arguments can be written as --input texts."""
    from normfold.pytorch.trace.loading import arguments

    texts = {"torch.int64": "int64<20", "torch.float32": "float32"}
    for network in NETWORKS.values():
        inputs = network.inputs(2)
        made = arguments([f"{'x'.join(map(str, x.shape))}:{texts[str(x.dtype)]}" for x in inputs])
        assert [(x.shape, x.dtype) for x in made] == [(x.shape, x.dtype) for x in inputs]
