"""No file of torch runs code while normfold reads it, unless the user trusts it; harmless ones load."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest
import torch
from safetensors.torch import save_file

import normfold
from models.registry import NETWORKS, build
from normfold.errors import SourceError, UsageError
from normfold.files import untrusted
from normfold.pytorch.trace import files, loading


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def exported(folder: Path) -> Path:
    """A harmless archive with a dynamic batch."""
    module, _ = build("tabular")
    dynamic = ({0: torch.export.Dim("batch")},) * 2
    path = folder / "tabular.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, NETWORKS["tabular"].inputs(4), dynamic_shapes=dynamic)
        torch.export.save(program, path)
    return path


def changed(path: Path, edit: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive with some members changed."""
    target = path.with_name(f"changed_{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for member in old.namelist():
            new.writestr(member, edit(member, old.read(member)))
    return target


def with_pickle(path: Path, marker: Path) -> Path:
    buffer = io.BytesIO()
    torch.save((Payload(marker),), buffer)
    return changed(
        path, lambda name, content: buffer.getvalue() if name.endswith("sample_inputs/model.pt") else content
    )


def with_expression(path: Path, marker: Path) -> Path:
    code = f"__import__('pathlib').Path({str(marker)!r}).touch() or Symbol('s1', positive=True, integer=True)"

    def edit(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        tree = json.loads(content)
        for value in tree["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code
        return json.dumps(tree).encode()

    return changed(path, edit)


def with_function(path: Path, marker: Path) -> Path:
    def edit(name: str, content: bytes) -> bytes:
        return content.replace(b"torch.ops.aten.relu.default", b"torch.os.path.exists")

    return changed(path, edit)


def with_guard(path: Path, marker: Path) -> Path:
    def edit(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        tree = json.loads(content)
        tree["guards_code"] = [f"__import__('pathlib').Path({str(marker)!r}).touch() is None"]
        return json.dumps(tree).encode()

    return changed(path, edit)


def pickled_weights(path: Path, marker: Path) -> Path:
    target = path.with_suffix(".pt")
    torch.save({"weight": Payload(marker)}, target)
    return target


def bare_pickle(path: Path, marker: Path) -> Path:
    target = path.with_suffix(".pth")
    target.write_bytes(pickle.dumps(Payload(marker), protocol=2))
    return target


MALICIOUS = (with_pickle, with_expression, with_function, pickled_weights, bare_pickle)


@pytest.mark.parametrize("make", MALICIOUS, ids=lambda make: make.__name__)
def test_no_command_runs_what_is_in_a_file(
    make: Callable[[Path, Path], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from normfold_cli import run

    marker = tmp_path / "was here"
    file = make(exported(tmp_path), marker)
    for arguments in (
        ("optimize", file),
        ("inspect", file),
        ("export", file, "--input", "2x3"),
        ("export", "torch.nn:Identity", "--weights", file, "--input", "2x3"),
    ):
        assert run([str(argument) for argument in arguments]) == 3
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert not marker.exists()


@pytest.mark.parametrize("make", [with_pickle, with_expression])
def test_the_same_file_runs_once_the_user_trusts_it(make: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    """So the test above can fail."""
    marker = tmp_path / "was here"
    file = make(exported(tmp_path), marker)
    with pytest.raises(SourceError, match=r"trust-pickle|expected an archive"):
        files.load_exported(file)
    assert not marker.exists()
    with suppress(SourceError):  # what is left of the archive may be no program
        files.load_exported(file, trust_pickle=True)
    assert marker.exists()


def test_guards_of_an_archive_are_not_compiled(tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    result = normfold.optimize(with_guard(exported(tmp_path), marker))
    assert len(result.changes) == 3
    assert not marker.exists()


def test_trusted_weights_load(tmp_path: Path) -> None:
    module, _ = build("tabular")
    path = tmp_path / "module.pt"
    torch.save(module, path)
    with pytest.raises(SourceError, match="may run any code"):
        files.load_weights(path)
    assert files.load_weights(path, trust_pickle=True).keys() == module.state_dict().keys()


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("Symbol('s19', positive=True, integer=True)", True),
        ("FloorDiv(Symbol('s0', integer=True), 2) + 3*(Symbol('s1')**2 - 1)", True),
        ("Max(1, Symbol('u0')) >= 2", True),
        ("Symbol('__import__(1)')", False),
        ("().__class__", False),
        ("Symbol('s0').func", False),
        ("lambdify('x', 'x')", False),
        ("[x for x in (1, 2)]", False),
        ("(lambda: 1)()", False),
        ("Symbol('s0')[0]", False),
        ("f'{1}'", False),
        ("1 +", False),
    ],
)
def test_only_arithmetic_on_symbols_is_a_harmless_expression(text: str, harmless: bool) -> None:
    assert files.is_harmless_expression(text) is harmless


# -- weights and networks -----------------------------------------------------------------------------------------


def test_weights_load_from_each_kind_of_file(tmp_path: Path) -> None:
    module, _ = build("tabular")
    expected = module.state_dict()
    save_file(expected, tmp_path / "a.safetensors")
    torch.save(expected, tmp_path / "b.pt")
    torch.save({"epoch": 3, "state_dict": expected}, tmp_path / "c.pth")
    torch.save({f"module.{key}": value for key, value in expected.items()}, tmp_path / "d.pt")
    for name in ("a.safetensors", "b.pt", "c.pth", "d.pt"):
        filled = loading.network("models.tabular:Tabular", tmp_path / name)
        assert isinstance(filled, torch.nn.Module)
        assert all(torch.equal(value, expected[key]) for key, value in filled.state_dict().items())


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "MOST_UNPACKED", 2**16)
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/models/model.json", bytes(2**20))
    with pytest.raises(SourceError, match="unpack to 1 MB"):
        files.load_model(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "torch cannot load it"), (b"not a pickle", "may run any code|torch cannot load it")],
)
def test_broken_weights_are_refused_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says):
        files.load_weights(path)
    with pytest.raises(SourceError, match="cannot be read"):
        files.load_weights(tmp_path / "missing.pt")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(build("tabular")[0].state_dict(), tmp_path / "weights.pt")
    with pytest.raises(SourceError, match="do not fit the network"):
        loading.network("models.convolutional:Residual", tmp_path / "weights.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(SourceError, match="expected a state dict of tensors, got list"):
        files.load_weights(tmp_path / "list.pt")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("models.tabular", "expected PACKAGE.MODULE:FACTORY"),
        ("models.nothing:Tabular", "cannot import models.nothing"),
        ("models.tabular:Nothing", "has no Nothing"),
        ("models.attention:LinearNorm", "must take no arguments"),
        ("models.registry:NEGATIVE_GAMMAS", "to be a function"),
        ("builtins:dict", "to give an nn.Module, got dict"),
    ],
)
def test_a_network_that_cannot_be_made_is_refused(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        loading.network(spec)


def test_inputs_have_the_shape_and_type_of_their_text() -> None:
    image, ids, flag, mask = loading.arguments(["2x3x4", "5:int64<7", "scalar:float16", "2x2:bool"])
    assert image.shape == (2, 3, 4) and image.dtype == torch.float32 and (image < 0).any()
    assert ids.shape == (5,) and ids.dtype == torch.int64 and int(ids.min()) >= 0 and int(ids.max()) < 7
    assert flag.shape == () and flag.dtype == torch.float16
    assert mask.dtype == torch.bool
    for text in ("3,4", "x3", "3x4:Tensor", "2:complex64"):
        with pytest.raises(UsageError):
            loading.arguments([text])


def test_what_holds_no_network_says_how_to_go_on(tmp_path: Path) -> None:
    module, inputs = build("residual")
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(SourceError, match=r"package\.module:factory --weights weights"):
        normfold.optimize(tmp_path / "weights.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit announces its own deprecation
        torch.jit.trace(module, inputs).save(str(tmp_path / "script.pt"))  # type: ignore[no-untyped-call]  # no types
    with pytest.raises(SourceError, match="--input"):
        normfold.optimize(tmp_path / "script.pt")
    assert len(normfold.optimize(tmp_path / "script.pt", args=inputs).changes) == 9


def test_a_script_that_writes_files_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(WritesFiles())
    path = tmp_path / "script.pt"
    scripted.save(str(path))  # type: ignore[no-untyped-call]  # no types
    with pytest.raises(SourceError, match="can write files"):
        files.load_script(path)
    assert isinstance(files.load_script(path, trust_pickle=True), torch.nn.Module)


class WritesFiles(torch.nn.Module):
    """forward() creates a file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("written", True, 4)


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
def test_no_command_runs_what_is_in_any_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
