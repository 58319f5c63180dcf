"""`normfold check`: what it takes for a model, what it accepts, how it ends, and that it writes nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

import normfold
from normfold.ci.check_many import Task, check_models
from normfold.ci.limits import Allowance, Limits, apply_limits
from normfold.ci.paths import models_of, originals_of
from normfold.ci.report_data import from_data, to_data
from normfold.errors import CrashError, UsageError
from normfold.findings.reason import Reason
from normfold.options import InspectArguments
from tests.ci.nets import save, shipped, stays
from tests.conftest import ROOT, Run
from tests.nets import conv_bn


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_foldable_norm_fails_and_is_named_with_its_remedy(run: Run, tmp_path: Path) -> None:
    path = save(conv_bn(), tmp_path / "net.onnx")
    before = tree(tmp_path)
    code, out, err = run("check", path)
    assert (code, err) == (1, "")
    assert f"FAIL {path}: 1 of 1 norm can be removed (1 folded, 0 fused, 0 kept)" in out
    assert "NF001 BatchNormalization y into the Conv before it (c) [batchnorm]" in out
    assert out.count(f"Remedy: {Reason.FOLDABLE_LEFT.remedy}") == 1
    assert "1 model: 1 failed" in out
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["levit_like", "residual", "transformer"])
def test_what_normfold_wrote_has_none_left(run: Run, tmp_path: Path, name: str) -> None:
    normfold.optimize(ROOT / "models" / f"{name}.onnx", tmp_path / "net.onnx", verify=False)
    code, out, _ = run("check", tmp_path)
    assert (code, "ok   " in out, " can be " in out) == (0, True, False), out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], 1),
        (["--max-foldable", "1"], 0),
        (["--max-foldable", "1", "--max-kept", "1"], 0),
        (["--max-foldable", "1", "--max-kept", "0"], 1),
        (["--allow", "NF001"], 0),
        (["--allow", "nf001:y"], 0),
        (["--allow", "NF001:other"], 1),
        (["--allow", "NF001:*", "--max-kept", "0"], 1),
        (["--allow", "NF001", "--allow", "NF110:bn", "--max-kept", "0"], 0),
        (["--allow", "NF101"], 1),
        (["--skip", "batchnorm"], 0),
        (["--allow", "NF999"], 2),
        (["--allow", "all"], 2),
        (["--max-kept", "-1"], 2),
        (["--target", "toaster"], 2),
    ],
)
def test_limits_and_allowances(run: Run, tmp_path: Path, arguments: list[str], expected: int) -> None:
    save(conv_bn(), tmp_path / "folds.onnx")
    save(stays(), tmp_path / "stays.onnx")
    code, out, err = run("check", tmp_path, "--jobs", 1, *arguments)
    assert code == expected, out + err
    assert (out == "") == (code == 2)


def test_json_and_quiet(run: Run, tmp_path: Path) -> None:
    save(conv_bn(), tmp_path / "net.onnx")
    assert run("check", tmp_path, "--quiet") == (1, "", "")
    code, out, err = run("check", tmp_path, "--json")
    content = json.loads(out)
    assert (code, err) == (1, "")
    problem = content["reports"][0]["problems"][0]
    assert (problem["code"], problem["finding"]["name"]) == ("NF001", "y")
    assert problem["remedy"] == Reason.FOLDABLE_LEFT.remedy


def test_a_page_has_pictures_of_every_norm(run: Run, tmp_path: Path) -> None:
    save(stays(), tmp_path / "net.onnx")
    for _ in ("first", "from the cache"):
        assert run("check", tmp_path, "--report", tmp_path / "norms.html")[0] == 0
        page = (tmp_path / "norms.html").read_text()
        assert re.search(r'\["BatchNormalization", ?"bn", ?"finding"', page), "the box of the norm"
        (tmp_path / "norms.html").unlink()
    assert run("check", tmp_path)[0] == 0


def test_verbose_lists_every_norm(run: Run, tmp_path: Path) -> None:
    save(stays(), tmp_path / "net.onnx")
    assert "NF110" not in run("check", tmp_path)[1]
    assert "NF110" in run("check", tmp_path, "--verbose")[1]


def test_a_file_that_is_no_model_ends_with_3_and_the_rest_is_checked(run: Run, tmp_path: Path) -> None:
    save(conv_bn(), tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    save(shipped(), tmp_path / "c.onnx")
    code, out, _ = run("check", tmp_path, "--jobs", 1)
    assert code == 3
    assert "3 models: 2 failed" in out
    assert "NF004" in out and "git lfs pull" in out
    assert "NF001" in out
    assert run("check", tmp_path / "none.onnx")[0] == 3


def test_processes_in_parallel_give_the_same(tmp_path: Path) -> None:
    save(conv_bn(), tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"no model")
    tasks = [Task(path) for path in models_of([str(tmp_path)])]
    ended: list[Task] = []
    together = check_models(tasks, InspectArguments(), 2, ended.append)
    assert together == check_models(tasks, InspectArguments(), 1)
    assert set(ended) == set(tasks)
    assert [checked.report.model for checked in together] == [str(task.model) for task in tasks]


def test_a_script_without_a_main_guard_may_check(tmp_path: Path) -> None:
    """As people write it: the processes of ``multiprocessing`` would run the script again."""
    for name in ("a", "b"):
        save(conv_bn(), tmp_path / f"{name}.onnx")
    script = tmp_path / "script.py"
    script.write_text("import normfold\nprint([len(report.problems) for report in normfold.check('.')])\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1, 1]\n", "")


def test_a_process_that_dies_is_named_and_takes_no_other_model_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [Task(save(conv_bn(), tmp_path / f"{name}.onnx")) for name in ("a", "deadly", "c")]

    def parallel(
        name: str, look: Callable[..., Any], tasks: Sequence[tuple[str, str]], jobs: int
    ) -> Iterator[tuple[int, Any]]:
        for index, task in enumerate(tasks):
            yield index, CrashError("checking ended its process") if "deadly" in task[0] else look(*task)

    monkeypatch.setattr("normfold.native.isolated.call_in_parallel", parallel)
    ended: list[Task] = []
    reports = [checked.report for checked in check_models(tasks, InspectArguments(), 2, ended.append)]
    assert ended == tasks, "each once"
    assert [[problem.reason for problem in report.problems] for report in reports] == [[], [Reason.UNREADABLE], []]
    assert "ended its process" in reports[1].problems[0].message
    assert all(reports[index].verdicts for index in (0, 2))


def test_verify_against(run: Run, tmp_path: Path) -> None:
    raw, ship = tmp_path / "raw", tmp_path / "ship"
    save(conv_bn(1), raw / "net.onnx")
    save(shipped(1), ship / "net.opt.onnx")
    code, out, _ = run("check", ship, "--verify-against", raw)
    assert (code, "equivalent to the original" in out) == (0, True)
    save(shipped(2), ship / "net.opt.onnx")
    code, out, _ = run("check", ship, "--verify-against", raw / "net.onnx")
    assert (code, "NF002" in out) == (1, True)
    assert run("check", ship, "--verify-against", tmp_path / "none.onnx")[0] == 3
    save(shipped(2), ship / "other.onnx")
    assert run("check", ship, "--verify-against", raw)[0] == 2
    assert run("check", ship, "--verify-against", raw / "net.onnx")[0] == 2


def test_an_inconclusive_comparison_ends_with_4(run: Run, tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> n (float[1, 3] x) => (float[1, 3] y) { y = RandomNormalLike (x) }'
    )
    path = save(model, tmp_path / "net.onnx")
    code, out, _ = run("check", path, "--verify-against", path)
    assert (code, "NF003" in out) == (4, True), out


def test_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/x.onnx", "a.onnx", "b/c/y.onnx", ".hidden/z.onnx", "b/readme.md", "odd[1].onnx"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "folder.onnx").mkdir()

    def names(*paths: str) -> list[str]:
        return [path.as_posix() for path in models_of(paths)]

    assert names(".") == ["a.onnx", "b/c/y.onnx", "b/x.onnx", "odd[1].onnx"]
    assert names("b", "b/x.onnx", "b/../b/x.onnx")[:2] == ["b/../b/x.onnx", "b/c/y.onnx"]
    assert names("b/x.onnx", str(tmp_path / "b" / "x.onnx")) == ["b/x.onnx"]
    assert names("*.onnx", "**/y.onnx") == ["a.onnx", "b/c/y.onnx", "odd[1].onnx"]
    assert names("odd[1].onnx", "b/readme.md", "none") == ["b/readme.md", "none", "odd[1].onnx"]
    for nothing in ("folder.onnx", "*.pt"):
        with pytest.raises(UsageError):
            models_of([nothing])


def test_originals_are_found_by_name(tmp_path: Path) -> None:
    raw = save(conv_bn(), tmp_path / "raw" / "deep" / "net.onnx")
    model = tmp_path / "net.opt.onnx"
    assert originals_of([model], str(tmp_path / "raw")) == {model: raw}
    assert originals_of([model], None) == {}
    save(conv_bn(), tmp_path / "raw" / "net.onnx")
    with pytest.raises(UsageError, match="2 files"):
        originals_of([model], str(tmp_path / "raw"))


def test_a_report_survives_being_stored(tmp_path: Path) -> None:
    path = save(conv_bn(), tmp_path / "net.onnx")
    (checked,) = check_models([Task(path, path)], InspectArguments(), 1)
    report = checked.report
    assert report.verification and report.verdicts
    assert from_data(json.loads(json.dumps(to_data(report)))) == report
    inspection = normfold.inspect(ROOT / "models" / "levit_like.onnx").report(pictures=True)
    inspection = replace(inspection, latency=(1.5, 1.25))
    assert any(before.boxes and before.arrows for before, _ in inspection.drawings)
    assert from_data(json.loads(json.dumps(to_data(inspection)))) == inspection


def test_an_allowance_covers_a_node_by_name_or_pattern(tmp_path: Path) -> None:
    path = save(stays(), tmp_path / "net.onnx")
    (checked,) = check_models([Task(path)], InspectArguments(), 1)
    report = checked.report
    finding = report.verdicts[0].finding
    for text, covers in (("NF110", True), ("NF110:bn", True), ("NF110:b?", True), ("NF110:c", False), ("NF1", None)):
        if covers is None:
            with pytest.raises(UsageError, match="NF1"):
                Allowance.of(text)
        else:
            assert Allowance.of(text).covers(Reason.OPERATOR_STOPS, finding) is covers
    assert len(apply_limits(report, Limits(max_kept=0)).problems) == 1
    assert apply_limits(report, Limits(max_kept=0, allowed=(Allowance.of("NF110"),))).problems == ()
