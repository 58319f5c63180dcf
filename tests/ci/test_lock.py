"""The lock file: a regression fails and is named everywhere, an update accepts it, a diff of it reads well."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest

from normfold.ci.cache import digest_of
from normfold.findings.reason import Reason
from tests.ci.nets import save, shipped, stays
from tests.conftest import Run
from tests.nets import conv_bn


@pytest.fixture
def shop(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty shipped models and their lock."""
    monkeypatch.chdir(tmp_path)
    content = shipped().SerializeToString()
    for index in range(19):
        path = tmp_path / "ship" / f"{index:02}.onnx"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    save(stays(), tmp_path / "ship" / "stays.onnx")
    assert run("check", "ship", "--update-lock", "-j1")[0] == 0
    return tmp_path


def check(run: Run, *more: object) -> tuple[int, str, str]:
    return run("check", "ship", "--lock", "normfold.lock", "-j1", *more)


def test_one_regression_of_twenty_is_named_everywhere_and_an_update_accepts_it(run: Run, shop: Path) -> None:
    assert check(run)[0] == 0
    save(stays(1), shop / "ship" / "07.onnx")
    outputs = ["--report", "r.sarif", "--report", "r.xml", "--report", "-", "--format", "github"]
    code, out, _ = check(run, *outputs)
    annotations = "".join(line for line in out.splitlines() if line.startswith("::error"))
    reason = Reason.OPERATOR_STOPS
    (failed,) = [
        result
        for result in json.loads((shop / "r.sarif").read_text())["runs"][0]["results"]
        if result["level"] == "error"
    ]
    (case,) = ElementTree.parse(shop / "r.xml").findall(".//testcase[failure]")
    assert code == 1
    assert failed["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "ship/07.onnx"
    assert "FAIL ship/07.onnx" in out and "20 models: 1 failed" in out
    for text in (out, json.dumps(failed), ElementTree.tostring(case, "unicode"), annotations):
        assert all(word in text for word in ("ship/07.onnx", "bn", reason.code, reason.remedy)), text
    assert run("check", "ship", "--update-lock")[0] == 0
    assert check(run)[0] == 0


def test_only_what_is_worse_than_the_lock_fails(run: Run, shop: Path) -> None:
    lock = shop / "normfold.lock"
    content = json.loads(lock.read_text())
    entry = content["models"]["ship/stays.onnx"]
    assert entry["norms"] == {"bn": "BatchNormalization kept NF110"}
    rows = {
        "BatchNormalization kept NF110": (0, ""),
        "BatchNormalization kept NF111": (0, "in the lock: BatchNormalization kept NF111"),
        "BatchNormalization foldable": (1, "in the lock: BatchNormalization foldable"),
        None: (1, "the lock has no such norm"),
    }
    for state, (expected, words) in rows.items():
        entry["norms"] = {} if state is None else {"bn": state}
        lock.write_text(json.dumps(content))
        code, out, _ = check(run)
        assert (code, words in out) == (expected, True), (state, out)
    entry["norms"] = {"old name": "BatchNormalization kept NF110"}
    lock.write_text(json.dumps(content))
    assert check(run)[0] == 0
    entry["norms"] |= {"bn": "BatchNormalization kept NF110"}
    lock.write_text(json.dumps(content))
    assert "1 norms and affines of the lock are gone" in check(run)[1]


def test_a_foldable_norm_is_a_regression_and_one_that_the_lock_knows_is_none(run: Run, shop: Path) -> None:
    save(conv_bn(), shop / "ship" / "03.onnx")
    code, out, _ = check(run)
    assert check(run, "--max-foldable", "0")[1].count("NF001 BatchNormalization y") == 1, "once, by limit or lock"
    assert (code, "NF001" in out, "operators since the lock: BatchNormalization 0 -> 1" in out) == (1, True, True)
    assert check(run, "--allow", "NF001:y")[0] == 0
    assert "1 changed" in run("check", "ship/03.onnx", "--update-lock")[1]
    assert check(run)[0] == 0
    code, out, _ = check(run, "--max-foldable", "0")
    assert (code, out.count("NF001 BatchNormalization y")) == (1, 1)


def test_models_come_go_and_move(run: Run, shop: Path) -> None:
    save(stays(2), shop / "ship" / "new.onnx")
    code, out, _ = check(run)
    assert (code, "not in normfold.lock" in out) == (0, True), "a new model with nothing to fold is no fault"
    save(conv_bn(), shop / "ship" / "new.onnx")
    code, out, _ = check(run)
    assert (code, "the lock has no such model" in out) == (1, True)
    (shop / "ship" / "new.onnx").unlink()
    (shop / "ship" / "stays.onnx").rename(shop / "ship" / "moved.onnx")
    (shop / "ship" / "05.onnx").unlink()
    code, out, _ = check(run)
    assert (code, "normfold.lock: ship/05.onnx is gone" in out) == (0, True)
    assert "19 models; 1 added, 0 changed, 2 removed" in run("check", "ship", "--update-lock")[1]


def test_an_update_writes_the_same_bytes_and_reads_line_by_line(run: Run, shop: Path) -> None:
    lock = shop / "normfold.lock"
    before = lock.read_bytes()
    run("check", "ship/stays.onnx", "ship/00.onnx", "--update-lock", "--no-cache", "-j1")
    assert lock.read_bytes() == before
    lines = before.decode().splitlines()
    assert '    "bn": "BatchNormalization kept NF110"' in lines
    names = list(json.loads(before)["models"])
    assert names == sorted(names) and len(names) == 20
    digest = json.loads(before)["models"]["ship/stays.onnx"]["sha256"]
    assert digest == digest_of(shop / "ship" / "stays.onnx")
    assert str(shop) not in before.decode()


def test_names_that_are_no_text_for_a_file_are_kept_apart(run: Run, tmp_path: Path) -> None:
    model = stays()
    model.graph.node[1].name = "a\x1b[2J\n" + "x" * 100_000
    save(model, tmp_path / "net.onnx")
    assert run("check", tmp_path / "net.onnx", "--lock", tmp_path / "l.lock", "--update-lock")[0] == 0
    text = (tmp_path / "l.lock").read_text()
    assert len(text) < 2000 and text.isascii() and "\x1b" not in text
    assert run("check", tmp_path / "net.onnx", "--lock", tmp_path / "l.lock")[0] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("# a readme", "is no lock file"),
        ("<<<<<<< HEAD\n{}", "is no lock file"),
        ("[" * 100_000, "is no lock file"),
        ('{"normfold-lock": 99}', "has version 99"),
        ('{"normfold-lock": 1, "models": {"a": {"size": 3}}, "options": {}}', "is no lock file"),
        ('{"normfold-lock": 1, "models": {}, "options": {"target": "coreml"}}', "written with options"),
    ],
)
def test_a_wrong_lock_ends_with_2_and_is_not_overwritten(
    run: Run, tmp_path: Path, content: str | None, words: str
) -> None:
    save(shipped(), tmp_path / "net.onnx")
    lock = tmp_path / "normfold.lock"
    if content is not None:
        lock.write_text(content)
    code, out, err = run("check", tmp_path, "--lock", lock)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err
    if content is not None and "options" not in words:
        assert run("check", tmp_path, "--lock", lock, "--update-lock")[0] == 2
        assert lock.read_text() == content


def test_the_lock_knows_its_options(run: Run, tmp_path: Path) -> None:
    save(conv_bn(), tmp_path / "net.onnx")
    lock = tmp_path / "normfold.lock"
    assert run("check", tmp_path, "--lock", lock, "--update-lock", "--skip", "batchnorm", "--target", "coreml")[0] == 0
    assert json.loads(lock.read_text())["options"] == {"skip": ["batchnorm"], "target": "coreml"}
    assert run("check", tmp_path, "--lock", lock, "--target", "coreml", "--skip", "batchnorm")[0] == 0
    assert run("check", tmp_path, "--lock", lock)[0] == 2


def test_with_an_unreadable_model_the_lock_stays(run: Run, shop: Path) -> None:
    before = (shop / "normfold.lock").read_bytes()
    (shop / "ship" / "00.onnx").write_bytes(b"none")
    code, out, _ = run("check", "ship", "--update-lock", "-j1")
    assert (code, "not written" in out) == (3, True)
    assert (shop / "normfold.lock").read_bytes() == before
    assert sorted(file.name for file in shop.iterdir()) == ["normfold.lock", "ship"]


def test_data_files_belong_to_the_contents(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(stays(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    lock = tmp_path / "normfold.lock"
    arguments = ("check", path, "--lock", lock, "--update-lock")
    assert "1 added" in run(*arguments)[1]
    assert "0 changed" in run(*arguments)[1]
    data = bytearray((tmp_path / "net.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "net.data").write_bytes(data)
    assert "1 changed" in run(*arguments)[1]
