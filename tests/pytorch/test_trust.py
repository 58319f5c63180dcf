"""Every command that takes a file, given a file that creates another one when it is unpickled or run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
import torch

from tests.pytorch.test_files import Payload, exported, with_pickle

Make = Callable[[Path, Path], bytes]


def bare(folder: Path, marker: Path) -> bytes:
    return pickle.dumps(Payload(marker))


def saved(folder: Path, marker: Path) -> bytes:
    torch.save({"weight": Payload(marker)}, folder / "made")
    return (folder / "made").read_bytes()


def saved_as_before(folder: Path, marker: Path) -> bytes:
    """The format of torch before 1.6: pickles one behind another."""
    torch.save({"weight": Payload(marker)}, folder / "made", _use_new_zipfile_serialization=False)
    return (folder / "made").read_bytes()


def scripted(member: str) -> Make:
    """A TorchScript archive with a pickle that is not its own."""

    def make(folder: Path, marker: Path) -> bytes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit announces its own deprecation
            torch.jit.trace(torch.nn.ReLU(), torch.ones(1)).save(str(folder / "made"))  # type: ignore[no-untyped-call]
        with zipfile.ZipFile(folder / "made") as old, zipfile.ZipFile(folder / "evil", "w") as new:
            for name in old.namelist():
                content = pickle.dumps(Payload(marker), protocol=2)
                new.writestr(name, content if name.endswith(member) else old.read(name))
        return (folder / "evil").read_bytes()

    return make


def archived(folder: Path, marker: Path) -> bytes:
    return with_pickle(exported(folder), marker).read_bytes()


def numpy_array(folder: Path, marker: Path) -> bytes:
    np.save(folder / "made.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
    return (folder / "made.npy").read_bytes()


CONTENTS: dict[str, Make] = {
    "pickle": bare,
    "torch.save": saved,
    "torch.save of old": saved_as_before,
    "TorchScript data": scripted("data.pkl"),
    "TorchScript constants": scripted("constants.pkl"),
    "torch.export": archived,
    "numpy": numpy_array,
}
SUFFIXES = (".pt", ".pth", ".pt2", ".ckpt", ".safetensors", ".onnx", ".npz", ".npy")


def commands(evil: str, fine: str) -> list[tuple[str, ...]]:
    return [
        ("optimize", evil, "-o", "out.onnx"),
        ("inspect", evil),
        ("verify", evil, fine),
        ("verify", fine, evil),
        ("verify", evil),
        ("check", evil, "--jobs", "1", "--no-cache"),
        ("check", fine, "--lock", evil, "--jobs", "1", "--no-cache"),
        ("check", fine, "--verify-against", evil, "--jobs", "1", "--no-cache"),
        ("diff", evil, fine),
        ("bench", evil, "--rounds", "1"),
        ("export", evil, "--input", "1"),
        ("export", "torch.nn:ReLU", "--weights", evil, "--input", "1"),
        ("optimize", fine, "--inputs", evil, "-o", "out.onnx"),
        ("verify", fine, fine, "--inputs", evil),
    ]


@pytest.mark.parametrize("kind", CONTENTS)
def test_no_command_runs_what_is_in_any_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands_are_importable: None
) -> None:
    from normfold_cli import run

    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    marker = tmp_path / "marker"
    content = CONTENTS[kind](tmp_path, marker)
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) {y = Relu(x)}'
        ),
        "fine.onnx",
    )
    for suffix in SUFFIXES:
        Path(f"evil{suffix}").write_bytes(content)
        for arguments in commands(f"evil{suffix}", "fine.onnx"):
            run(list(arguments))
            assert not marker.exists(), arguments


@pytest.mark.parametrize("kind", ["pickle", "torch.save", "torch.save of old"])
def test_the_files_are_as_bad_as_they_should_be(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "evil.pt").write_bytes(CONTENTS[kind](tmp_path, marker))
    assert not marker.exists()
    if kind == "pickle":
        pickle.loads((tmp_path / "evil.pt").read_bytes())
    else:
        torch.load(tmp_path / "evil.pt", weights_only=False)
    assert marker.exists()
