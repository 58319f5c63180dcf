"""Walk the promises to a new user as a user does, in a terminal, a pipe and a script, and say of each: ok or not.

    python -m tests.sweeps.friendly [WORD ...] [--quick]

Each promise is a function whose first line of documentation is what is printed; words choose those that have one in
their name. ``--quick`` leaves out what takes more than some seconds. The command ends with 1 where one is not kept.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COUNTS = re.compile(r"\(\d+ folded, \d+ fused, \d+ kept\)")
SECONDS = 120


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def is_one_line(self) -> bool:
        """Whether it refused as it should: one line on stderr, nothing on stdout."""
        return not self.out and len(self.err.splitlines()) == 1 and self.err.startswith("normfold: ")


class Place:
    """A folder with the models of the repository, in which commands and scripts run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "packages").mkdir()
        (folder / "packages" / "normfold_cli").symlink_to(ROOT / "cli")
        (folder / "home").mkdir()
        paths = os.pathsep.join([str(ROOT), str(folder / "packages")])
        left_out = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "NORMFOLD_ISOLATION")
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        caches = {"XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder / "home"), "TMPDIR": str(folder)}
        self.environment = {**kept, **caches, "PYTHONPATH": paths}

    def normfold(self, *arguments: object) -> Ended:
        """Run a command whose output goes into a pipe."""
        return self._run([sys.executable, "-m", "normfold", *map(str, arguments)])

    def script(self, text: str) -> Ended:
        """Run a script as people write it: without a main guard, in the folder of the models."""
        (self.folder / "script.py").write_text(textwrap.dedent(text))
        return self._run([sys.executable, "script.py"])

    def in_terminal(self, columns: int, *arguments: object) -> list[str]:
        """Return the lines that a terminal of this width shows, without colours and progress."""
        command = " ".join(["stty cols", f"{columns};", sys.executable, "-m normfold", *map(str, arguments)])
        shown = self._run(["script", "-qec", f"{command} 2>/dev/null", "/dev/null"], TERM="xterm-256color").out
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "").splitlines()

    def _run(self, program: list[str], **variables: str) -> Ended:
        done = subprocess.run(
            program,
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        return Ended(done.returncode, done.stdout, done.stderr)


# -- no surprises -------------------------------------------------------------------------------------------------


def a_dash_is_no_file(place: Place) -> bool:
    """``-o -`` and ``-`` as MODEL are refused in one line, and no file ``-`` appears."""
    ends = place.normfold("optimize", "models/residual.onnx", "-o", "-"), place.normfold("inspect", "-")
    return all(end.is_one_line and end.code in (2, 3) for end in ends) and not (place.folder / "-").exists()


def pipes_and_devices_are_refused(place: Place) -> bool:
    """Named pipes and devices are refused before they are opened, in a folder given to ``check`` too."""
    (place.folder / "odd").mkdir()
    os.mkfifo(place.folder / "odd" / "pipe.onnx")
    ends = place.normfold("inspect", "odd/pipe.onnx"), place.normfold("optimize", "/dev/zero", "-o", "x.onnx")
    checked = place.normfold("check", "odd")
    return all(end.is_one_line and end.code == 3 for end in ends) and checked.code == 3 and "NF004" in checked.out


def an_internal_error_ends_with_70(place: Place) -> bool:
    """An internal error ends with 70, in one line."""
    end = place.script(
        """
        import normfold_cli, normfold.pipeline
        def broken(*arguments, **options):
            raise ValueError("a defect")
        normfold.pipeline.optimize = broken
        normfold_cli.main(["optimize", "models/residual.onnx"])
        """
    )
    return end.code == 70 and end.is_one_line


def odd_arguments_are_one_line(place: Place) -> bool:
    """A name too long, a negative seed, an unknown command, option, rule or code: one line, exit code 2, a way out."""
    wrong = (
        ["optimize", "models/residual.onnx", "-o", f"{'a' * 300}.onnx"],
        ["optimize", "models/residual.onnx", "--seed", "-1"],
        ["optimise", "models/residual.onnx"],
        ["optimize", "models/residual.onnx", "--targt", "onnx"],
        ["optimize", "models/residual.onnx", "--skip", "batchnrm"],
        ["explain", "NF17"],
    )
    ends = [place.normfold(*arguments) for arguments in wrong]
    hints = all("did you mean" in end.err.lower() for end in ends[2:])
    return all(end.is_one_line and end.code == 2 for end in ends) and hints


def json_is_alone_on_stdout(place: Place) -> bool:
    """``--json`` has stdout for itself, and no warning of a library frames our lines on stderr."""
    ends = [place.normfold(*words, "--json") for words in (["inspect", "models/residual.onnx"], ["check", "models"])]
    return all(end.out.startswith("{") and end.out.rstrip().endswith("}") and not end.err for end in ends)


def nothing_is_left_behind(place: Place) -> bool:
    """A run leaves its output and nothing else: no telemetry, no temporary file, nothing in the home of the user."""
    before = {path for path in place.folder.rglob("*") if "cache" not in path.parts}
    place.normfold("optimize", "models/residual.onnx")
    after = {path for path in place.folder.rglob("*") if "cache" not in path.parts}
    return after - before <= {place.folder / "models" / "residual.opt.onnx"}


# -- words at the terminal ----------------------------------------------------------------------------------------


def the_first_line_has_the_counts(place: Place) -> bool:
    """The first line of every command says what became of the norms, and the counts in the same words."""
    for model in ("residual", "levit_like", "transformer"):
        path, output = f"models/{model}.onnx", f"{model}.onnx"
        lines = [
            place.normfold(*words).out.splitlines()[0]
            for words in (["optimize", path, "-o", output], ["inspect", path], ["check", path])
        ]
        counts = {match[0] for match in map(COUNTS.search, lines) if match}
        if len(counts) != 1 or not all(re.search(r"\d+ of \d+ norms ", line) for line in lines):
            return False
    diff = place.normfold("diff", "models/residual.onnx", "residual.onnx").out
    proof = place.normfold("verify", "models/residual.onnx", "residual.onnx").out
    return "9 of 9 norms removed" in diff.splitlines()[0] and "proven equal to the original at" in proof


def check_is_short(place: Place) -> bool:
    """``check`` has a line a model and one a norm, and each remedy once at the end."""
    lines = place.normfold("check", "models/residual.onnx", "models/transformer.onnx").out.splitlines()
    problems = [line for line in lines if line.startswith("  NF001 ")]
    return len(problems) == 16 and len(lines) == 2 + len(problems) + 2 and sum("Remedy" in line for line in lines) == 1


def a_terminal_is_used_well(place: Place) -> bool:
    """At 80 and 120 columns nothing is wider than the terminal, no line ends in blanks, and the width is used."""
    model = "models/levit_like.onnx"
    commands = (["inspect"], ["optimize", "-o", "out.onnx"], ["check"], ["verify", "out.onnx"], ["diff", "out.onnx"])
    for columns in (80, 120):
        for words in (*commands, ["bench", "out.onnx", "--rounds", "1"]):
            lines = place.in_terminal(columns, words[0], model, *words[1:])
            if len(lines) < 4 or any(len(line) > columns or line != line.rstrip() for line in lines[1:]):
                return False
            if columns == 120 and max(map(len, lines)) <= 80:
                return False
    return True


def a_pipe_gets_whole_lines(place: Place) -> bool:
    """In a pipe nothing is wrapped, padded or coloured: a line for each norm."""
    out = place.normfold("inspect", "models/levit_like.onnx").out
    folded = [line for line in out.splitlines() if line.startswith("  folded ")]
    return len(folded) == 22 and all(line.endswith("]") for line in folded) and "\x1b" not in out


def help_is_in_groups(place: Place) -> bool:
    """Help has groups, examples, exit codes and short summaries; ``-V`` and ``explain RULE`` answer."""
    texts = place.normfold("optimize", "--help").out, place.normfold("--help").out
    has_groups = all(word in texts[0] for word in ("What to fold:", "Proof:", "Examples:", "Exit codes:"))
    answers = place.normfold("-V").out.startswith("normfold, version"), place.normfold("explain", "batchnorm").out
    return has_groups and all(len(line) <= 86 for line in texts[1].splitlines()) and all(answers)


def several_models_at_once(place: Place) -> bool:
    """Several models with ``--output-dir``: one summary, one exit code; patterns in ``--skip``."""
    many = place.normfold("optimize", "models/residual.onnx", "models/transformer.onnx", "--output-dir", "many")
    skipped = place.normfold("inspect", "models/residual.onnx", "--skip", "/blocks/*").out
    written = sorted(path.name for path in (place.folder / "many").iterdir())
    right = many.code == 0 and many.out.rstrip().endswith("2 models: 2 written, 0 failed")
    return right and written == ["residual.onnx", "transformer.onnx"] and "(1 folded, 0 fused, 8 kept)" in skipped


def other_inputs_are_no_difference(place: Place) -> bool:
    """Models with other inputs cannot be compared: exit code 4, and the names that do not fit."""
    end = place.normfold("verify", "models/residual.onnx", "models/transformer.onnx")
    return end.code == 4 and end.out.startswith("inconclusive: expected the inputs ")


# -- Python -------------------------------------------------------------------------------------------------------


def python_as_people_write_it(place: Place) -> bool:
    """``inputs=`` takes a mapping, several, or paths; results verify, print in a line and show in a notebook."""
    end = place.script(
        """
        import numpy as np, normfold
        path = "models/residual.onnx"
        x = {"image": np.random.rand(1, 3, 32, 32).astype("float32")}
        np.savez("x.npz", **x)
        result = normfold.optimize(path, inputs=x)
        for form in ([x, x], "x.npz", ["x.npz"]):
            assert normfold.verify(path, result, inputs=form)
        assert len(repr(result)) < 200 and "\\n" not in repr(result)
        assert result._repr_html_().startswith("<p>")
        assert result.save_report("x.html").exists()
        assert not {"optimize", "check", "diff", "bench", "testing"} - set(dir(normfold))
        assert normfold.optimize(path, skip="batchnorm").folds == ()
        assert not normfold.diff(path, path) and len(normfold.check("models")) == 3
        assert normfold.bench(path, rounds=2).timings
        meta = {entry.key: entry.value for entry in result.model.metadata_props}
        assert len(meta["normfold.original"]) == 64 and meta["normfold.version"] == normfold.__version__
        try:
            normfold.testing.assert_equivalent(path, "models/transformer.onnx")
        except AssertionError as error:
            assert "expected the inputs" in str(error)
        try:
            normfold.optimize(path, skp="batchnorm")
        except TypeError as error:
            assert "did you mean skip?" in str(error)
        """
    )
    return (end.code, end.out, end.err) == (0, "", "")


def progress_everywhere(place: Place) -> bool:
    """``on_stage`` is called by every function that takes long."""
    end = place.script(
        """
        import normfold
        path, seen = "models/residual.onnx", []
        result = normfold.optimize(path, on_stage=seen.append)
        calls = [
            lambda: normfold.inspect(path, on_stage=seen.append),
            lambda: normfold.verify(path, result, on_stage=seen.append),
            lambda: normfold.check("models", on_stage=seen.append),
            lambda: normfold.diff(path, path, on_stage=seen.append),
            lambda: normfold.bench(path, rounds=1, on_stage=seen.append),
            lambda: normfold.optimize_many([path], "many", on_stage=seen.append),
        ]
        for call in calls:
            before = len(seen)
            call()
            assert len(seen) > before, call
        """
    )
    return (end.code, end.err) == (0, "")


# -- continuous integration ---------------------------------------------------------------------------------------


def a_lock_takes_a_new_optimal_model(place: Place) -> bool:
    """A lock does not turn a new, optimal model red, and annotations are no more than ten of a kind."""
    place.normfold("check", "models", "--update-lock", "--lock", "models/normfold.lock")
    place.normfold("optimize", "models/residual.onnx", "-o", "models/new.onnx")
    passed = place.normfold("check", "models", "--lock", "models/normfold.lock")
    loud = place.normfold("check", "models", "--report", "-", "--format", "github", "-q").out.splitlines()
    (place.folder / "models" / "new.onnx").unlink()
    return passed.code == 0 and sum(line.startswith("::error") for line in loud) == 11  # ten, and how many more


def an_original_that_is_missing_is_said(place: Place) -> bool:
    """Remedies do not contradict the message: a git LFS pointer, a missing original."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (place.folder / "lfs.onnx").write_text(pointer)
    lfs = place.normfold("inspect", "lfs.onnx")
    missing = place.normfold("check", "models/residual.onnx", "--verify-against", "models/nosuch.onnx")
    return (
        lfs.code == 3
        and "git lfs pull" in lfs.err
        and missing.code in (2, 3)
        and "nosuch.onnx" in (missing.out + missing.err)
    )


# -- the walk -----------------------------------------------------------------------------------------------------

Promise = Callable[[Place], bool]
PROMISES: tuple[Promise, ...] = (
    a_dash_is_no_file,
    pipes_and_devices_are_refused,
    an_internal_error_ends_with_70,
    odd_arguments_are_one_line,
    json_is_alone_on_stdout,
    nothing_is_left_behind,
    the_first_line_has_the_counts,
    check_is_short,
    a_terminal_is_used_well,
    a_pipe_gets_whole_lines,
    help_is_in_groups,
    several_models_at_once,
    other_inputs_are_no_difference,
    python_as_people_write_it,
    progress_everywhere,
    a_lock_takes_a_new_optimal_model,
    an_original_that_is_missing_is_said,
)
QUICK = (a_dash_is_no_file, check_is_short, a_pipe_gets_whole_lines, other_inputs_are_no_difference)


def holds(promise: Promise) -> bool:
    """Return whether a promise is kept, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="normfold-friendly-") as folder:
        return promise(Place(Path(folder)))


def main() -> None:
    """Walk the promises that the command line chooses, all where it chooses none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    failed = 0
    for promise in QUICK if chosen.quick else PROMISES:
        if chosen.words and not any(word in promise.__name__ for word in chosen.words):
            continue
        start = time.perf_counter()
        is_kept = holds(promise)
        failed += not is_kept
        seconds, sentence = time.perf_counter() - start, (promise.__doc__ or "").splitlines()[0]
        print(f"{'ok    ' if is_kept else 'NOT OK'} {seconds:5.1f} s  {sentence}", flush=True)  # noqa: T201  # its result
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
