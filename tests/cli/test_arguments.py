"""What all commands share: one manner of error line, suggestions, help at 80 columns, no files besides the results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.conftest import ROOT, Command, Run
from tests.nets import conv_bn


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("optimise net.onnx", 2, "did you mean optimize?"),
        ("optimize net.onnx --skp affine", 2, "Did you mean"),
        ("optimize net.onnx --skip batchnrm", 2, "did you mean batchnorm?"),
        ("optimize net.onnx --rtol", 2, "requires an argument (see normfold optimize --help)"),
        ("optimize net.onnx --output=", 2, "an argument is empty; is a variable of the shell not set?"),
        ("optimize net.onnx --target tensort", 2, "--target: expected a target, got 'tensort'; did you mean tensorrt?"),
        ("optimize net.onnx --max-growth -1", 2, "--max-growth: expected a finite number from 0 to 1000, got -1.0"),
        ("optimize net.onnx --input x", 2, "--input: expected NAME=1x3x224x224"),
        ("optimize net.onnx --inputs none.npz", 2, "--inputs: there is no none.npz"),
        ("optimize net.onnx --report - --format htm", 2, "--format: expected a format of report, got 'htm'; did you"),
        ("check net.onnx --allow NF9", 2, "--allow: expected NF1xx or NF1xx:NODE, got 'NF9'"),
        ("optimize", 2, "Missing argument 'MODEL...'"),
        ("optimize net.onnx net.onnx", 2, "need --output-dir or --in-place"),
        ("optimize net.onnx --in-place --output-dir out", 2, "exclude each other"),
        ("optimize none.onnx", 3, "none.onnx cannot be read: No such file or directory"),
        ("explain NF1003", 2, "did you mean NF103?"),
        ("explain bachnorm", 2, "did you mean batchnorm?"),
    ],
)
def test_an_error_is_one_line_of_one_form(
    run: Run, tmp_path: Path, line: str, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(conv_bn(), "net.onnx")
    got, out, err = run(*line.split())
    assert (got, out, len(err.splitlines())) == (code, "", 1), err
    assert err.startswith("normfold: ")
    assert words in err


@pytest.mark.parametrize("line", [["optimize", "net.onnx", "-o", ""], ["check", ""], ["check", "m", "--lock", ""]])
def test_an_empty_argument_is_refused_and_means_no_default(run: Run, line: list[str]) -> None:
    """A variable of the shell that is not set: the model was written to the default path, or the folder checked."""
    code, out, err = run(*line)
    assert (code, out) == (2, "")
    assert "an argument is empty" in err


PROGRAM = [sys.executable, "-c", "import sys, normfold_cli; normfold_cli.main(sys.argv[1:])"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize(
    ("line", "code"),
    [("--help", 0), ("explain", 0), ("inspect net.onnx", 0), ("check net.onnx", 1), ("check net.onnx --json", 1)],
)
def test_what_stdout_refuses_is_said_in_one_line_and_a_reader_that_goes_is_no_matter(
    tmp_path: Path, line: str, code: int
) -> None:
    """It was an internal error, "nothing was written" although the model was, and `head` made of any exit code 0."""
    onnx.save(conv_bn(), tmp_path / "net.onnx")

    def ended(stdout: Any) -> subprocess.CompletedProcess[str]:
        settings: dict[str, Any] = {"env": {**os.environ, "NORMFOLD_ISOLATION": ""}, "cwd": tmp_path}
        command = [*PROGRAM, *line.split()]
        return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, **settings)

    with open("/dev/full", "w") as full:
        done = ended(full)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "stdout or a temporary file cannot be written: No space left" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = ended(writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes descriptors")
@pytest.mark.parametrize(
    ("line", "code"),
    [("--help >&-", 0), ("bogus 2>&-", 2), ("bogus <&- >&- 2>&-", 2), ("bogus 2>/dev/full", 2), ("explain NF1 >&-", 2)],
)
def test_the_exit_code_does_not_hang_on_streams_that_are_closed_or_full(line: str, code: int) -> None:
    """It was a traceback with 1, or 120."""
    environment = {**os.environ, "NORMFOLD_ISOLATION": ""}
    shell = ["sh", "-c", f'"$@" {line}', "sh", *PROGRAM]
    done = subprocess.run(shell, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def test_a_name_that_the_encoding_of_stdout_does_not_have_is_written_in_escapes(
    command: Command, tmp_path: Path
) -> None:
    """A pipe of Windows has one byte a letter: it was an internal error."""
    path = tmp_path / "模型 ü.onnx"
    onnx.save(conv_bn(), path)
    done = command("inspect", path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\u6a21\\u578b \\xfc.onnx: 1 of 1 norms can be" in done.stdout.replace("norm can", "norms can")


def test_help_is_readable_at_80_columns(run: Run) -> None:
    import normfold_cli

    commands = run("--help")[1]
    assert [line.split()[0] for line in commands.split("Commands:")[1].splitlines()[1:9]] == list(normfold_cli.COMMANDS)
    assert "..." not in commands.split("Commands:")[1].split("Exit codes")[0]
    for name in normfold_cli.COMMANDS:
        text = run(name, "--help")[1]
        assert "Examples:" in text, name
        assert "Exit codes: see normfold --help." in text, name  # twelve lines that were in each
        assert text.index("  -h, --help") < text.index("  --timeout") < text.index("Examples:"), name
        assert max(map(len, text.split("Exit codes")[0].splitlines())) <= 80, name


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_and_python_m(command: Command, flag: str) -> None:
    import normfold

    done = subprocess.run(
        [sys.executable, "-m", "normfold", flag],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )
    assert done.stdout == command(flag).stdout == f"normfold, version {normfold.__version__}\n"


def test_rules_are_explained_like_codes(run: Run) -> None:
    assert "carry a BatchNormalization" in run("explain", "BatchNorm")[1]
    assert "--skip order" in run("explain", "order")[1]
    listed = run("explain")[1]
    codes = re.findall(r"^NF\d+", listed, re.M)
    assert codes == sorted(codes) and len(codes) > 60
    assert re.search("^layernorm +write a decomposed LayerNorm", listed, re.M)


def test_a_pattern_names_nodes(run: Run, tmp_path: Path) -> None:
    out = run("inspect", ROOT / "models" / "residual.onnx", "--skip", "/blocks/*")[1]
    assert "1 of 9 norms can be removed (1 folded, 0 fused, 8 kept)" in out
    assert run("inspect", ROOT / "models" / "residual.onnx", "--skip", "/nothing/*")[0] == 2


def test_several_models_have_one_summary_and_one_exit_code(run: Run, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.onnx", "b.onnx", "broken.onnx")]
    for path in paths:
        onnx.save(conv_bn(), path)
    (tmp_path / "out").mkdir()
    code, out, err = run("optimize", *paths, "--output-dir", tmp_path / "out", "--report", tmp_path / "all.json")
    assert (code, err) == (0, "")
    assert out.rstrip().endswith("3 models: 3 written, 0 failed")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.onnx", "b.onnx", "broken.onnx"]
    (tmp_path / "out" / "b.onnx").unlink()
    code, out, err = run("optimize", *paths, "--output-dir", tmp_path / "out", "--report", tmp_path / "all.json")
    assert out.rstrip().endswith("3 models: 1 written, 2 as an earlier run wrote them, 0 failed")
    reports = json.loads((tmp_path / "all.json").read_text())["reports"]
    assert [each["command"] for each in reports] == ["inspect", "optimize", "inspect"]
    assert {(each["model"], each["output"]) for each in reports} == {
        (str(path), str(tmp_path / "out" / path.name)) for path in paths
    }
    assert all("an earlier run has proven and written it" in each["notes"][-1] for each in reports[::2])
    paths[2].write_bytes(b"no model")
    code, out, err = run("optimize", *paths, "--in-place")
    assert (code, len(err.splitlines())) == (3, 1)
    assert out.rstrip().endswith("3 models: 2 written, 1 failed")
    assert paths[2].read_bytes() == b"no model"
    assert run("optimize", paths[0], tmp_path / "out" / "a.onnx", "--output-dir", tmp_path)[0] == 2, "one name twice"


def test_nothing_is_written_but_what_was_asked_for(command: Command, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would write into TMPDIR and the user's cache."""
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    for folder in folders.values():
        folder.mkdir()
    program = (
        f"import sys; sys.path[:0] = {[str(ROOT), *filter(None, sys.path)]!r}; import normfold, onnxruntime;"
        f"normfold.optimize({str(ROOT / 'models' / 'residual.onnx')!r})"
    )
    environment = {name: str(folder) for name, folder in folders.items()}
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, **environment})
    assert [file for folder in folders.values() for file in folder.rglob("*")] == []
