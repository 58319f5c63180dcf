"""The cache: an unchanged model is not looked into again, a changed one always, and a broken cache costs only time."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from normfold.ci.cache import SETTLED, Digests, cache_folder, digest_of
from normfold.ci.check_many import Task, check_models
from normfold.files.temporary import replace_text
from normfold.options import InspectArguments
from tests.ci.nets import save, shipped, stays
from tests.conftest import Command, Run
from tests.nets import conv_bn
from tests.test_architecture import heavy_modules


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were looked into."""
    from normfold.ci.check_many import inspect_one

    seen: list[str] = []

    def spy(path: str, original: str, **options: Any) -> dict[str, object]:
        seen.append(Path(path).name)
        return inspect_one(path, original, **options)

    monkeypatch.setattr("normfold.ci.check_many.inspect_one", spy)
    return seen


def test_what_did_not_change_is_not_looked_into_again(run: Run, tmp_path: Path, looks: list[str]) -> None:
    for name in ("a", "b"):
        save(stays(), tmp_path / f"{name}.onnx")
    save(conv_bn(), tmp_path / "c.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"none")
    rows: list[tuple[list[str], list[str]]] = [
        ([], ["a.onnx", "bad.onnx", "b.onnx", "c.onnx"]),
        ([], ["bad.onnx"]),
        (["--max-kept", "0", "--allow", "NF001"], ["bad.onnx"]),
        (["--assume-eval"], ["a.onnx", "bad.onnx", "b.onnx", "c.onnx"]),
        (["--no-cache"], ["a.onnx", "bad.onnx", "b.onnx", "c.onnx"]),
    ]
    outs = []
    for arguments, expected in rows:
        looks.clear()
        outs.append(run("check", tmp_path, "-j1", *arguments))
        assert sorted(looks) == sorted(expected), arguments
    assert outs[0] == outs[1] == outs[4]
    (tmp_path / "bad.onnx").unlink()
    looks.clear()
    os.replace(tmp_path / "a.onnx", tmp_path / "z.onnx")
    save(shipped(), tmp_path / "c.onnx")
    code, out, _ = run("check", tmp_path, "-j1")
    assert (code, looks) == (0, ["c.onnx"])
    assert f"{tmp_path / 'z.onnx'}: nothing to fold or fuse" in out


def test_another_normfold_looks_again(
    tmp_path: Path, cache_home: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [Task(save(stays(), tmp_path / "net.onnx"))]
    check_models(tasks, InspectArguments(), 1, cache=cache_home)
    monkeypatch.setattr("normfold.__version__", "99")
    check_models(tasks, InspectArguments(), 1, cache=cache_home)
    assert looks == ["net.onnx"] * 2


def test_a_model_that_changes_while_it_is_looked_into_is_not_remembered(
    tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from normfold.ci.check_many import inspect_one

    path = save(stays(), tmp_path / "net.onnx")

    def change_under_way(*arguments: Any, **options: Any) -> dict[str, Any]:
        outcome = inspect_one(*arguments, **options)
        save(stays(1), path)
        return outcome

    monkeypatch.setattr("normfold.ci.check_many.inspect_one", change_under_way)
    check_models([Task(path)], InspectArguments(), 1, cache=cache_home)
    assert list(cache_home.rglob("checks/*")) == []


def test_the_oldest_entries_go(tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normfold.ci.cache.ENTRIES", 3)
    folder = cache_home / "checks"
    for index in range(3):
        os.utime(save(stays(), folder / f"{index}.json"), (index, index))
    check_models([Task(save(stays(), tmp_path / "net.onnx"))], InspectArguments(), 1, cache=cache_home)
    left = {file.name for file in folder.iterdir()}
    assert left & {"0.json", "1.json", "2.json"} == {"2.json"}
    assert len(left) == 2


def test_originals_and_data_files_count(tmp_path: Path, cache_home: Path, looks: list[str]) -> None:
    model, original = tmp_path / "net.onnx", tmp_path / "raw.onnx"
    onnx.save(shipped(), model, save_as_external_data=True, location="net.data", size_threshold=0)
    onnx.save(conv_bn(), original, save_as_external_data=True, location="raw.data", size_threshold=0)
    tasks = [Task(model, original)]

    def verdict() -> tuple[bool, int]:
        looks.clear()
        (checked,) = check_models(tasks, InspectArguments(), 1, cache=cache_home)
        return bool(checked.report.verification), len(looks)

    assert verdict() == (True, 1)
    assert verdict() == (True, 0)
    for file in (tmp_path / "raw.data", tmp_path / "net.data"):
        content = file.read_bytes()
        file.write_bytes(content[:3] + bytes([content[3] ^ 0x80]) + content[4:])  # the sign of the first weight
        assert verdict() == (False, 1)
        assert verdict() == (False, 0)
        file.write_bytes(content)
        assert verdict() == (True, 1)


def test_a_broken_cache_is_as_none(run: Run, tmp_path: Path, cache_home: Path, looks: list[str]) -> None:
    save(stays(), tmp_path / "net.onnx")
    assert run("check", tmp_path)[0] == 0
    for content in ("", "[]", "{}", '{"report": 1', '{"report": {}, "external": []}', "[" * 100_000):
        looks.clear()
        for file in cache_home.rglob("*.json"):
            file.write_text(content)
        assert run("check", tmp_path)[0] == 0, content
        assert looks == ["net.onnx"], content
    for file in cache_home.rglob("*.json"):
        file.unlink()
    assert run("check", tmp_path)[0] == 0
    entry = next(cache_home.rglob("checks/*.json"))
    whole = json.loads(entry.read_text())
    broken: tuple[list[Any], list[Any]] = (
        [5, None, [{}], ["\0"], ["\ud800"], ["w" * 5000]],
        [5, [], {"\0": ""}, {"\ud800": ""}, {"w" * 5000: ""}],
    )
    lies: tuple[dict[str, Any], ...] = (
        *({"external": each} for each in broken[0]),
        *({"data": each} for each in broken[1]),
        *({"report": {**whole["report"], field: ["a"]}} for field in whole["report"]),
    )
    for lie in lies:
        entry.write_text(json.dumps({**whole, **lie}))
        assert run("check", tmp_path)[0] == 0, lie
    entry.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(entry)
        assert run("check", tmp_path)[0] == 0
        entry.unlink()
        entry.symlink_to(entry.name)
        assert run("check", tmp_path)[0] == 0
        entry.unlink()
    (cache_home / "normfold" / "checks").rmdir()
    (cache_home / "normfold" / "checks").write_text("in the way")
    assert run("check", tmp_path)[0] == 0


def test_the_index_of_digests_trusts_only_files_that_have_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    times = file.stat()

    def digest(seconds_later: float) -> str:
        monkeypatch.setattr("time.time_ns", lambda: int(times.st_ctime_ns + seconds_later * 1e9))
        digests = Digests(tmp_path / "cache")
        found = digests.of(file)
        digests.save()
        return found

    digest(SETTLED / 1e9 / 2)
    assert not (tmp_path / "cache" / "digests.json").exists()
    first = digest(SETTLED / 1e9 * 2)
    assert first == digest_of(file)
    reads: list[Path] = []
    monkeypatch.setattr("normfold.ci.cache.digest_of", lambda path: reads.append(path) or "read")  # type: ignore[func-returns-value]  # append gives None
    assert (digest(5), reads) == (first, [])
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # the same size and time of change, as `cp -p` leaves it
    assert digest(5) == "read"
    assert Digests(None).of(tmp_path / "none") == ""


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "normfold"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative is to be ignored")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "normfold"


def test_a_second_run_loads_nothing_heavy(run: Run, tmp_path: Path, command: Command) -> None:
    save(stays(), tmp_path / "net.onnx")
    report = tmp_path / "r.sarif"
    arguments = ["check", str(tmp_path), "--update-lock", "--lock", str(tmp_path / "l.lock"), "--report", str(report)]
    code = f"import normfold_cli\nnormfold_cli.run({arguments!r})"
    assert "onnx_ir" in heavy_modules(code, command)
    assert heavy_modules(code, command) == {"rich"}


def test_a_replaced_file_is_whole_or_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def fail(*arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="full"):
        replace_text(file, "new")
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])
