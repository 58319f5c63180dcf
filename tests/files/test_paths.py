"""Nothing of the user's is lost: each path of a run, and the files next to it, byte for byte as they were."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import onnx
import pytest

import normfold
from normfold.errors import SourceError, UsageError
from normfold.files.paths import check_paths, check_readable, is_named_in
from tests.conftest import Run
from tests.nets import conv_bn

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and pipes are those of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with its data, a copy that refers to the same data, inputs, and links to all of it."""
    onnx.save(conv_bn(), tmp_path / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    (tmp_path / "net_v1.onnx").write_bytes((tmp_path / "net.onnx").read_bytes())
    np.savez(tmp_path / "feed.npz", x=np.ones((1, 3, 8, 8), np.float32))
    (tmp_path / "link.onnx").symlink_to("net.onnx")
    os.link(tmp_path / "net.onnx", tmp_path / "hard.onnx")
    (tmp_path / "link.json").symlink_to("feed.npz")
    (tmp_path / "notes.txt").write_text("mine")
    os.mkfifo(tmp_path / "pipe.onnx")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, pipes by their kind."""
    files = {file.name: file for file in folder.iterdir()}
    return {name: file.read_bytes() if file.is_file() else b"special" for name, file in sorted(files.items())}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("net.onnx -o net.onnx", "is the input"),
        ("net.onnx -o ./net.onnx", "is the input"),
        ("net.onnx -o link.onnx", "is the input"),
        ("link.onnx -o net.onnx", "is the input"),
        ("net.onnx -o hard.onnx", "is the input"),
        ("net.onnx -o net.onnx.data", "is read by this run"),
        ("net_v1.onnx -o net.onnx.data", "is read by this run"),
        ("net.onnx -o feed.npz --inputs feed.npz", "is read by this run"),
        ("net.onnx -o link.json --inputs feed.npz", "is read by this run"),
        ("net.onnx -o out.onnx --report link.json --inputs feed.npz", "is read by this run"),
        ("net.onnx -o out.json --report out.json", "one file"),
        ("net.onnx -o out.onnx --report a.json --report a.json", "one file"),
        ("net.onnx -o out.onnx --report net.onnx.data", "looks like a model"),
        ("net.onnx -o out.onnx --report net.onnx --format json", "looks like a model"),
        ("net.onnx -o pipe.onnx", "a named pipe"),
        ("net.onnx -o /dev/null", "a device"),
        ("net.onnx -o out.onnx --report /dev/null --format json", "a device"),
        ("net.onnx -o -", "standard output is for reports"),
        ("net.onnx -o .", "got the folder"),
        ("net.onnx -o no/such/out.onnx", "does not exist"),
        ("net.onnx -o out.onnx --report no/such/out.json", "does not exist"),
        (f"net.onnx -o {'x' * 300}.onnx", "cannot be written"),
        ("pipe.onnx", "a named pipe"),
        ("-", "standard input is not read"),
        ("/dev/zero", "a device"),
        ("net.onnx -o out.onnx --inputs pipe.onnx", "a named pipe"),
    ],
)
def test_a_path_that_would_cost_a_file_is_refused_before_the_work(
    run: Run, folder: Path, arguments: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = contents(folder)
    code, out, err = run("optimize", *arguments.split())
    assert code in (2, 3)
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1
    assert contents(folder) == before
    assert stat.S_ISFIFO((folder / "pipe.onnx").stat().st_mode)


@pytest.mark.parametrize("arguments", ["net.onnx --in-place", "hard.onnx --in-place", "feed.onnx -o net.onnx"])
def test_the_data_of_another_model_stays(
    run: Run, folder: Path, arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "hard.onnx").unlink()
    onnx.save(conv_bn(), folder / "hard.onnx")
    onnx.save(conv_bn(), folder / "feed.onnx")
    before = contents(folder)
    assert run("optimize", *arguments.split())[0] == 0
    after = contents(folder)
    for name in ("net_v1.onnx", "net.onnx.data", "feed.npz", "notes.txt"):
        assert after[name] == before[name], name
    onnx.load(folder / "net_v1.onnx")


def test_the_data_of_a_replaced_model_goes_where_no_other_model_names_it(folder: Path) -> None:
    for name in ("net_v1.onnx", "hard.onnx", "link.onnx", "pipe.onnx"):
        (folder / name).unlink()
    normfold.optimize(folder / "net.onnx", folder / "net.onnx", in_place=True)
    data = {file.name for file in folder.iterdir() if file.suffix == ".data"}
    model = onnx.load(folder / "net.onnx")
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert len(data) == 1
    assert data != {"net.onnx.data"}


def test_a_report_that_cannot_be_written_leaves_no_model(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise normfold.WriteError("the report cannot be written: no space left on device")

    monkeypatch.setattr("normfold.report.formats.write_report", full)
    before = contents(folder)
    code, _, err = run("optimize", folder / "net.onnx", "--report", folder / "report.json")
    assert code == 2
    assert "no space left" in err
    assert contents(folder) == before


def test_check_refuses_pipes_and_reports_that_are_its_models(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = contents(folder)
    code, out, _ = run("check", ".", "--no-cache")
    assert code == 3
    assert "pipe.onnx is a named pipe" in out
    assert run("check", "net.onnx", "--update-lock", "--lock", "net_v1.onnx", "net_v1.onnx")[0] == 2
    assert run("check", "net.onnx", "--update-lock", "--lock", "a.json", "--report", "a.json")[0] == 2
    assert contents(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="read-only"):
        check_paths([], [tmp_path / "out.onnx"])
    tmp_path.chmod(0o700)


def test_paths_as_functions(tmp_path: Path) -> None:
    check_paths([tmp_path / "a"], [tmp_path / "b", "c"])
    check_paths([tmp_path / "a"], [tmp_path / "a"], may_replace=tmp_path / "a")
    with pytest.raises(UsageError, match="is read by this run"):
        check_paths([tmp_path / "a"], [tmp_path / "x" / ".." / "a"])
    with pytest.raises(SourceError, match="a device"):
        check_readable("/dev/null")
    check_readable(tmp_path / "missing")


def test_a_name_across_two_blocks_is_found(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"x" * (2**22 - 3) + b"net.onnx.data" + b"y" * 10)
    assert is_named_in("net.onnx.data", [file])
    assert not is_named_in("other.data", [file])
    assert is_named_in("other.data", [tmp_path / "missing"]), "what cannot be read may name it"
