"""A written model says what made it and what was undone; check and a second run take that over."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import pytest

import normfold
from normfold.files.source import read
from normfold.provenance import recorded_undone
from normfold.verify import Equivalence, Verification
from tests.conftest import ROOT, Run
from tests.nets import conv_bn

MODELS = ("levit_like", "residual", "transformer")


def metadata_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_the_metadata_name_version_options_and_original(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(conv_bn(), path)
    assert run("optimize", path, "--skip", "order", "--inputs", tmp_path)[0] == 2
    assert run("optimize", path, "--skip", "order", "--seed", 3)[0] == 0
    written = metadata_of(tmp_path / "net.opt.onnx")
    assert written["normfold.version"] == normfold.__version__
    assert json.loads(written["normfold.options"]) == {"skip": ["order"], "seed": 3}
    assert written["normfold.original"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "normfold.undone" not in written


@pytest.mark.parametrize("own", [False, True])
def test_what_was_undone_is_written_and_the_gate_takes_it(
    run: Run, tmp_path: Path, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def different(*arguments: Any) -> Verification:
        return Verification(Equivalence.DIFFERENT, failing_folds=("y",))

    path, output = tmp_path / "net.onnx", tmp_path / "net.opt.onnx"
    onnx.save(conv_bn(), path)
    assert run("check", path, "--no-cache")[0] == 1
    with monkeypatch.context() as patch:
        patch.setattr("normfold.pipeline.prove", different)
        code, out, _ = run("optimize", path, *(["--rtol", "1e-12"] if own else []))
    reason = "NF133" if own else "NF124"
    assert (code, reason in out, "written: " in out) == (0, True, True)
    assert [node.op_type for node in onnx.load(output).graph.node] == ["Conv", "BatchNormalization"]
    code, out, _ = run("check", output, "--no-cache", "--json")
    report = json.loads(out)["reports"][0]
    assert (code, report["kept"], report["problems"]) == (0, 1, [])
    assert report["findings"][0]["obstacles"][0]["code"] == reason
    code, out, _ = run("optimize", output, "-o", tmp_path / "again.onnx")
    assert (code, "an unchanged copy" in out) == (0, True)
    assert (tmp_path / "again.onnx").read_bytes() == output.read_bytes()


def test_a_real_tolerance_of_the_users_own_says_so(run: Run, tmp_path: Path) -> None:
    onnx.save(conv_bn(), tmp_path / "net.onnx")
    code, out, _ = run("optimize", tmp_path / "net.onnx", "--rtol", "1e-15", "--atol", "0")
    assert (code, "NF133" in out, "leave --rtol and --atol out" in out) == (0, True, True), out


LONG = f'{{"findings": [["{"a" * 2**22}", "NF110"]], "without onnxsim": false}}'


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"findings": 1}', '{"findings": [["a", "NF999"]]}', "[" * 100_000, LONG]
)
def test_metadata_that_normfold_did_not_write_mean_nothing(text: str) -> None:
    model = conv_bn()
    model.metadata_props.add(key="normfold.undone", value=text)
    assert not recorded_undone(read(model))
    assert len(normfold.optimize(model, verify=False).folds) == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chosen", [(), ("--fold-norm-scale", "--extra-channel"), ("--target", "tensorrt")])
def test_optimize_check_verify_and_optimize_again_agree(
    run: Run, tmp_path: Path, name: str, chosen: tuple[str, ...]
) -> None:
    original, output = ROOT / "models" / f"{name}.onnx", tmp_path / "out.onnx"
    assert run("optimize", original, "-o", output, *chosen)[0] == 0
    assert run("check", output, "--no-cache", *chosen)[0] == 0
    assert run("verify", original, output)[0] == 0
    assert "an unchanged copy" in run("optimize", output, "-o", tmp_path / "again.onnx", *chosen)[1]
