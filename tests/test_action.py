"""The GitHub Action, the pre-commit hook and the shell's completion."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.ci.nets import save, shipped
from tests.conftest import ROOT, Run
from tests.nets import conv_bn

ACTION = (ROOT / "action.yml").read_text()


@pytest.fixture
def on_the_path(tmp_path: Path) -> dict[str, str]:
    """An environment in which `normfold` is a command."""
    program = tmp_path / "bin" / "normfold"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport normfold_cli\nnormfold_cli.main()\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


def script_of(step: str) -> str:
    """The shell script of a step of action.yml."""
    block = ACTION.split(f"- name: {step}\n")[1].split("\n    - ")[0]
    return textwrap.dedent(block.split("run: |\n")[1])


@pytest.mark.parametrize(("is_good", "expected"), [(True, 0), (False, 1)])
def test_the_action_checks_annotates_and_sums_up(
    tmp_path: Path, on_the_path: dict[str, str], is_good: bool, expected: int
) -> None:
    save(shipped(), tmp_path / "models" / "a.onnx")
    if not is_good:
        save(conv_bn(), tmp_path / "models" / "b.onnx")
    summary = tmp_path / "summary.md"
    inputs = {"PATHS": "models/*.onnx", "LOCK": "", "ARGUMENTS": "--max-kept 3 -j1", "SARIF": "norms.sarif"}
    outputs = tmp_path / "outputs"
    runner = {"RUNNER_TEMP": str(tmp_path), "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs)}
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script_of("Check the models")],
        cwd=tmp_path,
        env={**on_the_path, **inputs, **runner},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    assert outputs.read_text() == f"exit-code={expected}\n"
    assert ("::error file=models/b.onnx" in done.stdout) is not is_good
    assert summary.read_text().startswith("## normfold")
    results = json.loads((tmp_path / "norms.sarif").read_text())["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == ([] if is_good else ["NF001"])


def test_a_use_that_fails_does_not_show_the_report_of_an_earlier_one(
    tmp_path: Path, on_the_path: dict[str, str]
) -> None:
    """With a lock that is not there the summary and code scanning got what another step of the job had found."""
    for name in ("normfold.md", "norms.sarif"):
        (tmp_path / name).write_text("of another step")
    inputs = {"PATHS": ".", "LOCK": "no.lock", "ARGUMENTS": "", "SARIF": "norms.sarif", "RUNNER_TEMP": str(tmp_path)}
    files = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "outputs")}
    script = ["bash", "-e", "-o", "pipefail", "-c", script_of("Check the models")]
    done = subprocess.run(script, cwd=tmp_path, env={**on_the_path, **inputs, **files}, check=False)
    assert (done.returncode, (tmp_path / "outputs").read_text()) == (2, "exit-code=2\n")
    assert not (tmp_path / "summary").exists() and not (tmp_path / "norms.sarif").exists()


@pytest.mark.parametrize(
    "paths", ["my models", "my models/a b.onnx", "my models/a b.onnx\nmy models/c.onnx\n", "*/*.onnx"]
)
def test_paths_of_the_action_may_have_blanks(tmp_path: Path, on_the_path: dict[str, str], paths: str) -> None:
    for name in ("a b.onnx", "c.onnx"):
        save(shipped(), tmp_path / "my models" / name)
    inputs = {"PATHS": paths, "LOCK": "", "ARGUMENTS": "-j1", "SARIF": "norms.sarif", "RUNNER_TEMP": str(tmp_path)}
    files = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "outputs")}
    script = ["bash", "-e", "-o", "pipefail", "-c", script_of("Check the models")]
    done = subprocess.run(
        script, cwd=tmp_path, env={**on_the_path, **inputs, **files}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my models/a b&#46;onnx" in (tmp_path / "summary").read_text()


def test_other_actions_are_pinned_by_commit() -> None:
    used = re.findall(r"uses: (\S+)@(\S+)", ACTION + (ROOT / "README.md").read_text())
    assert len(used) >= 4
    loose = [name for name, version in used if not re.fullmatch(r"[0-9a-f]{40}", version)]
    assert [name for name in loose if "normfold" not in name] == []


def test_every_input_of_the_action_is_used_and_every_one_used_is_there() -> None:
    declared = set(re.findall(r"^  ([a-z-]+):$", ACTION.split("inputs:\n")[1].split("outputs:")[0], re.M))
    used = set(re.findall(r"inputs\.([a-z-]+)", ACTION))
    assert declared == used and len(used) >= 5
    readme = (ROOT / "README.md").read_text()
    given = re.findall(r"normfold@\S+.*\n +with:\n((?: +\S+: .*\n)+)", readme)
    assert given and set(re.findall(r"([a-z-]+):", given[0])) <= declared
    assert "${{" not in script_of("Check the models")


def test_the_pre_commit_hook_runs_on_the_files_it_is_given(run: Run, tmp_path: Path) -> None:
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text()
    fields = dict(re.findall(r"^[ -] (\w+): (.*?)(?: #.*)?$", hook, re.M))
    program, *arguments = fields["entry"].split()
    assert program == "normfold"
    assert re.search(fields["files"], "a/b.onnx") and not re.search(fields["files"], "a/b.onnx.data")
    assert run(*arguments, save(shipped(), tmp_path / "a.onnx"))[0] == 0
    assert run(*arguments, save(conv_bn(), tmp_path / "b.onnx"))[0] == 1
    readme = (ROOT / "README.md").read_text()
    assert f"- id: {fields['id']}" in readme
    wanted = re.findall(r"args: \[(.*)\]", readme)[0].replace('"', "").split(", ")
    assert run(*arguments, *wanted, tmp_path / "b.onnx")[0] == 0


def test_completion_knows_commands_and_options(on_the_path: dict[str, str]) -> None:
    def complete(words: str) -> list[str]:
        variables = {"_NORMFOLD_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(
            ["normfold"], env={**on_the_path, **variables}, capture_output=True, text=True, check=False
        )
        return done.stdout.splitlines()

    assert complete("normfold che") == ["plain,check"]
    assert "plain,--max-foldable" in complete("normfold check --max")
    assert complete("normfold check mod") == ["file,mod"]
