"""A command runs in a child: whatever ends it, the user gets one line and a code, and no temporary file stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import os, signal, sys, time
from contextlib import suppress
sys.path[:0] = {paths!r}
from pathlib import Path
from normfold.files.temporary import temporary_next_to
from normfold.native import isolated
from normfold.native.ledger import MADE_UP_RUN, stage
from normfold_cli.supervise import limit_time, supervised

def command():
    with temporary_next_to(Path(sys.argv[1])) as file:
        print("ready", flush=True)
        with stage("the test"):
            {body}
    return 0

sys.exit(supervised(command, lambda line: print(line, file=sys.stderr)))
"""


def run(folder: Path, body: str, send: int = 0) -> tuple[int, str]:
    """Run a command with this body; its exit code and stderr. ``send`` is a signal that it gets once it is ready."""
    program = PROGRAM.format(paths=[str(ROOT), *filter(None, sys.path)], body=body)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder / "m.onnx")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NORMFOLD_ISOLATION": ""},
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    if send:
        process.send_signal(send)
    with process:
        err = process.stderr.read()
    return process.returncode, err


def test_the_code_of_the_command_is_that_of_the_program(tmp_path: Path) -> None:
    assert run(tmp_path, "return 7") == (7, "")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGKILL])
def test_a_death_is_one_line_and_leaves_nothing(number: int, tmp_path: Path) -> None:
    code, err = run(tmp_path, f"os.write(2, b'terminate called\\n'); os.kill(os.getpid(), {number})")
    assert code == 70
    assert err.count("\n") == 1 and f"died during the test ({signal.Signals(number).name}" in err
    assert not list(tmp_path.iterdir())


def test_a_death_on_an_input_that_was_made_up_is_no_fault_of_ours(tmp_path: Path) -> None:
    die = f"os.kill(os.getpid(), {int(signal.SIGFPE)})"
    code, err = run(tmp_path, f"with stage(MADE_UP_RUN): {die}")
    assert code == 4 and "pass others with --inputs" in err and err.count("\n") == 1
    code, err = run(tmp_path, f"with suppress(OSError), stage(MADE_UP_RUN): raise OSError\n            {die}")
    assert code == 70 and "died during the test" in err, "that input was refused, and something else died"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_command_cleans_up(number: int, tmp_path: Path) -> None:
    code, _ = run(tmp_path, "time.sleep(60)", send=number)
    assert code in (128 + number, 1)  # Ctrl-C is an error of this command; the program makes 130 of it
    assert not list(tmp_path.iterdir())


def test_an_interrupt_that_a_library_makes_another_error_of_is_one(tmp_path: Path) -> None:
    """Ctrl-C inside an import of a native library came out as an ImportError, and so as an internal error."""
    program = f"""
import os, signal, sys; sys.path[:0] = {[str(ROOT), *filter(None, sys.path)]!r}
import normfold_cli, normfold.pipeline
def optimize(*arguments, **options):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed")
normfold.pipeline.optimize = optimize
normfold_cli.main(["optimize", {str(ROOT / "models" / "residual.onnx")!r}, "-o", "out.onnx"])
"""
    environment = {**os.environ, "NORMFOLD_ISOLATION": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "normfold: interrupted; nothing was written\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_parent_takes_its_child_along(tmp_path: Path) -> None:
    note = tmp_path / "m.onnx.pid"
    body = f"Path({str(note)!r}).write_text(str(os.getpid())); os.kill(os.getppid(), 9); time.sleep(60)"
    assert run(tmp_path, body)[0] == -signal.SIGKILL
    time.sleep(0.2)
    assert (
        not Path("/proc", note.read_text(), "fd").exists() or "Z" in Path("/proc", note.read_text(), "stat").read_text()
    )


def test_native_code_has_a_limit_where_the_user_gives_none(tmp_path: Path) -> None:
    body = "isolated.call('the test', time.sleep, 60, seconds=0.2)"
    code, err = run(tmp_path, body)
    assert code == 4 and "the time limit was reached during the test" in err


def test_the_time_limit_ends_native_code_too(tmp_path: Path) -> None:
    body = "limit_time(0.2); signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); time.sleep(60)"
    code, err = run(tmp_path, body)
    assert code == 4 and "the time limit was reached during the test" in err
    assert not list(tmp_path.iterdir())


def test_what_native_code_prints_stays_off_both_streams(tmp_path: Path) -> None:
    """onnx's checker, for one, writes warnings to stdout from C++, where --json has nothing else."""
    body = "os.write(1, b'native'); os.write(2, b'native'); print('the report ü'); print('a note', file=sys.stderr)"
    program = PROGRAM.format(paths=[str(ROOT), *filter(None, sys.path)], body=body)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.onnx")],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "NORMFOLD_ISOLATION": "", "PYTHONIOENCODING": "utf-8"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\nthe report ü\n", "a note\n")
