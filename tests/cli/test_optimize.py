"""The commands: exit codes, what goes to stdout and what to stderr, and that no user sees a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from normfold.findings.rules import RULE_NAMES
from normfold.native.ort_session import OptimizationLevel
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import OrtRunner
from normfold.runtime.time_limit import Watch
from normfold.verify import Equivalence, Verification
from tests.conftest import Command, Run
from tests.nets import conv_bn, nothing
from tests.onnx_text import parse
from tests.sweeps.hostile.cases import model as model_of
from tests.sweeps.hostile.cases import norm, parameters


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(conv_bn(), path)
    return path


def test_the_proof_takes_the_threads_it_is_given(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    opened = OrtRunner.__init__

    def counted(
        self: OrtRunner,
        loaded: LoadedModel,
        level: OptimizationLevel,
        threads: int,
        watch: Watch,
        libraries: Sequence[str],
    ) -> None:
        asked.append(threads)
        opened(self, loaded, level, threads, watch, libraries)

    monkeypatch.setattr(OrtRunner, "__init__", counted)
    assert run("optimize", model, "--threads", 2)[0] == 0
    assert set(asked) == {2}


def test_optimize_writes_next_to_the_model_and_says_so(run: Run, model: Path) -> None:
    code, out, err = run("optimize", model)
    assert (code, err) == (0, "")
    assert "1 of 1 norm removed (1 folded, 0 fused, 0 kept)" in out
    assert "verification: proven equal to the original at 1 place" in out
    written = model.with_name("net.opt.onnx")
    assert f"written: {written}" in out
    assert [node.op_type for node in onnx.load(written).graph.node] == ["Conv"]


def test_nothing_to_do_is_done(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    onnx.save(nothing(), path)
    code, out, _ = run("optimize", path)
    assert code == 0
    assert "an unchanged copy" in out
    assert path.read_bytes() == (tmp_path / "n.opt.onnx").read_bytes()


def test_quiet_and_json(run: Run, model: Path) -> None:
    assert run("optimize", model, "--quiet") == (0, "", "")
    code, out, err = run("optimize", model, "--json")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert report["found"] == report["folded"] == 1
    assert report["verification"]["verdict"] == "equivalent"


def test_in_place(run: Run, model: Path) -> None:
    assert run("optimize", model, "-o", model)[0] == 2
    assert run("optimize", model, "--in-place", "-o", "other.onnx")[0] == 2
    assert run("optimize", model, "--in-place")[0] == 0
    assert [node.op_type for node in onnx.load(model).graph.node] == ["Conv"]


def test_no_verify_is_said(run: Run, model: Path) -> None:
    code, out, _ = run("optimize", model, "--no-verify")
    assert code == 0
    assert "verification was switched off" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--skip", "nonsense"], "the rules are batchnorm"),
        (["--only", "nonsense"], "the rules are batchnorm"),
        (["--only", "y"], "the rules are batchnorm"),
        (["--no-such-option"], "No such option"),
        (["-o", "no/such/folder/out.onnx"], "does not exist"),
        (["--rtol", "many"], "not a valid float"),
        (["--inputs", "none.npz"], "none.npz"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, model: Path, arguments: list[str], words: str) -> None:
    code, out, err = run("optimize", model, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not model.with_name("net.opt.onnx").exists()


def test_skip_and_only(run: Run, model: Path) -> None:
    for arguments in (["--skip", "batchnorm"], ["--skip", "y"], ["--only", "affine"]):
        report = json.loads(run("optimize", model, "--json", *arguments)[1])
        assert report["kept"] == 1, arguments
        assert report["findings"][0]["obstacles"][0]["code"] == "NF123"
    for rule in RULE_NAMES:
        assert run("inspect", model, "--skip", rule)[0] == 0


@pytest.mark.parametrize("name", ["none.onnx", "."])
def test_an_unreadable_input_ends_with_3(run: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("optimize", "inspect"):
        code, out, err = run(command, name)
        assert (code, out) == (3, "")
        assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("verdict", "expected"), [(Equivalence.DIFFERENT, 1), (Equivalence.INCONCLUSIVE, 4)])
def test_without_a_proof_nothing_is_written(
    run: Run, model: Path, verdict: Equivalence, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_proof(*arguments: Any) -> Verification:
        return Verification(verdict, notes=("for a test",))

    monkeypatch.setattr("normfold.pipeline.prove", no_proof)
    code, out, err = run("optimize", model, "--strict", "--json")
    assert code == expected
    assert json.loads(out)["verification"]["verdict"] == verdict.value
    assert json.loads(out)["output"] is None
    assert len(err.splitlines()) == 1
    assert not model.with_name("net.opt.onnx").exists()
    assert run("optimize", model, "--strict")[1].rstrip().endswith("nothing written")


def test_a_failing_fold_is_undone_and_the_copy_is_written(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def different(*arguments: Any) -> Verification:
        return Verification(Equivalence.DIFFERENT, failing_folds=("y",))

    monkeypatch.setattr("normfold.pipeline.prove", different)
    code, out, _ = run("optimize", model, "--json")
    report = json.loads(out)
    assert (code, report["folded"], report["kept"]) == (0, 0, 1)
    assert report["findings"][0]["obstacles"][0]["code"] == "NF124"
    written = onnx.load(model.with_name("net.opt.onnx"))
    assert [node.op_type for node in written.graph.node] == ["Conv", "BatchNormalization"]


def test_a_defect_of_ours_is_one_line(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("normfold.candidate.rewrite", broken)
    code, out, err = run("optimize", model)
    assert (code, out) == (70, "")
    assert len(err.splitlines()) == 1
    assert "internal error" in err


def test_ctrl_c_writes_nothing_and_ends_with_130(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("normfold.candidate.rewrite", interrupted)
    code, out, err = run("optimize", model)
    assert (code, out) == (130, "")
    assert "interrupted" in err
    assert not model.with_name("net.opt.onnx").exists()


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
def test_a_real_signal_too(model: Path) -> None:
    """The whole way, while the pre-clean waits for a process that never answers."""
    program = f"""
import sys, os, signal, threading
import normfold_cli, normfold.pipeline, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
def slow(*a): os.kill(os.getpid(), {int(signal.SIGINT)}); time.sleep(30)
normfold.pipeline.prove = slow
normfold_cli.main(["optimize", {str(model)!r}])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in model.parent.iterdir()) == ["net.onnx"]


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT to send on Windows")
def test_ctrl_c_while_the_command_line_is_imported_shows_no_traceback(tmp_path: Path) -> None:
    program = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(30)"
    (tmp_path / "normfold_cli.py").write_text(program)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", "normfold", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_inspect_names_each_affine_with_its_obstacles(run: Run, tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 3] x) => (float[1, 3] y) { r = Sigmoid (x) m = Mul (r, k) y = Sigmoid (m) }
    """
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3, 4], np.float32), "k"))
    onnx.save(model, tmp_path / "m.onnx")
    code, out, _ = run("inspect", tmp_path / "m.onnx")
    assert code == 0
    assert "NF110" in out
    assert "remedy:" in out
    report = json.loads(run("inspect", tmp_path / "m.onnx", "--json")[1])
    assert report["command"] == "inspect"
    assert [row["outcome"] for row in report["findings"]] == ["kept"]
    assert report["findings"][0]["obstacles"]
    assert list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]


def test_explain(run: Run) -> None:
    assert "training mode" in run("explain", "nf101")[1]
    assert run("explain")[1].count("\n") > 30
    assert "\n" not in run("explain", "NF115")[1].split("\n\n")[2]  # a pipe gets whole lines
    code, _, err = run("explain", "NF888")
    assert (code, len(err) < 150) == (2, True)
    assert err.endswith("`normfold explain` lists them (see normfold explain --help)\n")


def test_help_tells_the_exit_codes_once_and_each_command_says_where(run: Run) -> None:
    import normfold_cli
    from normfold_cli.exits import MEANING

    code, out, _ = run("--help")
    words = " ".join(out.split())
    assert code == 0
    assert all(f"{int(exit_code)} {meaning}" in words for exit_code, meaning in MEANING.items())
    for name in normfold_cli.COMMANDS:
        assert "Exit codes: see normfold --help" in run(name, "--help")[1], name


@pytest.mark.parametrize("isolation", ["", "off"])
def test_a_closed_pipe_is_silent(isolation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMFOLD_ISOLATION", isolation)
    program = "import time, normfold_cli; time.sleep(0.2); normfold_cli.main()"  # by then the reader is gone
    line = f"'{sys.executable}' -c \"{program}\" explain | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_names_with_escapes_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    model = conv_bn()
    evil = "bn\x1b[2J[bold red]\n\r\u202e" + "x" * 100_000
    model.graph.node[1].name = evil
    onnx.save(model, tmp_path / "m.onnx")
    code, out, _ = run("inspect", tmp_path / "m.onnx")
    assert code == 0
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert len(out) < 5000
    assert "bn\\x1b[2J[bold" in out
    report = json.loads(run("inspect", tmp_path / "m.onnx", "--json")[1])
    assert report["findings"][0]["name"] == evil


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--target", "toaster"], "the targets are"), (["--opset", "many"], "expected auto, keep or a number")],
)
def test_unknown_targets_and_operator_sets_are_usage_errors(
    run: Run, model: Path, arguments: list[str], words: str
) -> None:
    code, out, err = run("optimize", model, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_data_is_shared_where_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    path, target = tmp_path / "m.onnx", tmp_path / "out.onnx"
    proto = model_of(norm("x"), parameters(64), shape=("N", 64))
    kept = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(kept, "kept"))
    proto.graph.node.insert(0, onnx.helper.make_node("MatMul", ["x", "kept"], ["k"]))
    proto.graph.node.insert(1, onnx.helper.make_node("Relu", ["k"], ["r"]))
    proto.graph.node[2].input[0] = "r"
    onnx.save(proto, path, save_as_external_data=True, location="m.onnx.data", size_threshold=1024)
    (tmp_path / "other").mkdir()
    code, _, err = run("optimize", path, "--share-data", "-o", tmp_path / "other" / "out.onnx")
    assert code == 2 and "the data to share lies" in err
    assert run("optimize", path, "--share-data", "-o", target)[0] == 0
    assert (tmp_path / "out.onnx.data").stat().st_size == 64 * 64 * 4
    written = onnx.load(target, load_external_data=False).graph.initializer
    (stays,) = (tensor for tensor in written if tensor.name == "kept")
    assert [entry.value for entry in stays.external_data if entry.key == "location"] == ["m.onnx.data"]
    assert run("verify", path, target)[0] == 0


def test_a_command_ends_at_its_time_limit(command: Command, model: Path) -> None:
    done = command("optimize", model, "--timeout", 0.01)
    assert done.returncode == 4 and "time limit" in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in model.parent.iterdir()] == [model.name]
    assert command("optimize", model, "--timeout", 0).returncode == 2


def test_bytes_in_a_text_attribute_are_no_warning(command: Command, tmp_path: Path) -> None:
    """A tokenizer keeps its own model in an attribute, and no bytes of it are text."""
    model = parse("(float[1,4] x) => (float[1,4] y) { y = Relu(x) }")
    model.graph.node[0].domain = "ai.onnx.contrib"
    model.graph.node[0].attribute.add(name="model", type=onnx.AttributeProto.STRING, s=b"\xff\xfe")
    model.opset_import.add(domain="ai.onnx.contrib", version=1)
    onnx.save(model, tmp_path / "m.onnx")
    done = command("inspect", tmp_path / "m.onnx")
    assert (done.returncode, done.stderr) == (0, "")
