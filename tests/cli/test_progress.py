"""What a terminal shows while a command works, and that nothing of it reaches a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import normfold
from tests.ci.nets import save, shipped
from tests.conftest import Command, Run
from tests.nets import conv_bn


def test_without_a_terminal_there_is_no_colour_no_bar_and_nothing_on_stderr(command: Command, tmp_path: Path) -> None:
    path = save(conv_bn(), tmp_path / "net.onnx")
    done = command("check", path, COLUMNS="40")
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) > 80, "lines are not wrapped where there is no terminal"


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo terminals on Windows")
@pytest.mark.parametrize(
    ("arguments", "variables", "has_bar", "has_colour"),
    [
        ([], {}, True, True),
        ([], {"NO_COLOR": "1"}, True, False),
        ([], {"TERM": "dumb"}, False, False),
        (["--quiet"], {}, False, False),
        (["--json"], {}, True, False),
    ],
)
def test_on_a_terminal_a_bar_shows_after_a_while(
    tmp_path: Path,
    arguments: list[str],
    variables: dict[str, str],
    has_bar: bool,
    has_colour: bool,
) -> None:
    """stdout and stderr are two pseudo terminals, so that what goes where can be distinguished."""
    path = save(shipped(), tmp_path / "net.onnx")
    program = f"""
import sys, time
import normfold_cli, normfold_cli.progress, normfold.ci.check_many
normfold_cli.progress.PATIENCE = 0.0
inspect_one = normfold.ci.check_many.inspect_one
def slow(*arguments, **options):
    outcome = inspect_one(*arguments, **options)
    time.sleep(0.3)
    return outcome
normfold.ci.check_many.inspect_one = slow
normfold_cli.main({["check", str(path), "--no-cache", *arguments]!r})
"""
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    code, out, err = in_terminals([sys.executable, "-c", program], {**environment, "TERM": "xterm", **variables})
    assert code == 0, err
    assert ("checking" in err) is has_bar, err
    assert ("\x1b[1m" in out or "\x1b[32m" in out) is has_colour, out
    assert out.startswith("{") is ("--json" in arguments)


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo terminals on Windows")
def test_optimize_shows_its_stages(tmp_path: Path) -> None:
    path = save(conv_bn(), tmp_path / "net.onnx")
    program = f"""
import sys, time
import normfold_cli, normfold_cli.progress, normfold.pipeline
normfold_cli.progress.PATIENCE = 0.0
prove = normfold.pipeline.prove
def slow(*arguments):
    time.sleep(0.5)
    return prove(*arguments)
normfold.pipeline.prove = slow
normfold_cli.main({["optimize", str(path)]!r})
"""
    code, out, err = in_terminals([sys.executable, "-c", program], {**os.environ, "TERM": "xterm"})
    assert code == 0, err
    assert "optimizing: verify" in err
    assert "optimizing" not in out


def test_every_stage_is_announced_in_order(tmp_path: Path) -> None:
    stages: list[str] = []
    normfold.optimize(conv_bn(), tmp_path / "out.onnx", on_stage=stages.append)
    assert stages == ["read", "simplify", "guard", "fold", "verify", "write"]


def test_optimize_verbose_names_each_norm(run: Run, tmp_path: Path) -> None:
    path = save(conv_bn(), tmp_path / "net.onnx")
    rows = [run("optimize", path, *more)[1].splitlines() for more in ([], ["--verbose"])]
    assert [any("BatchNormalization y" in line and "batchnorm" in line for line in lines) for lines in rows] == [
        False,
        True,
    ]


def in_terminals(program: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run ``program`` with a pseudo terminal for stdout and another for stderr: exit code and what either saw."""
    import pty
    from threading import Thread

    seen: dict[int, bytes] = {}

    def drain(master: int) -> None:
        seen[master] = b""
        try:
            while block := os.read(master, 65536):
                seen[master] += block
        except OSError:  # how Linux says that the other end is closed
            return

    ends = [pty.openpty() for _ in range(2)]
    readers = [Thread(target=drain, args=(master,)) for master, _ in ends]
    process = subprocess.Popen(program, stdout=ends[0][1], stderr=ends[1][1], stdin=subprocess.DEVNULL, env=environment)
    for (_, slave), reader in zip(ends, readers, strict=True):
        os.close(slave)
        reader.start()
    code = process.wait()
    for (master, _), reader in zip(ends, readers, strict=True):
        reader.join()
        os.close(master)
    out, err = (seen[master].decode() for master, _ in ends)
    return code, out, err
