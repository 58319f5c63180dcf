"""What a user meets at the terminal: no surprises, and words."""

from __future__ import annotations

import os
import re

from tests.sweeps.friendly.place import Place

COUNTS = re.compile(r"\(\d+ folded, \d+ fused, \d+ kept\)")

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


def ctrl_c_is_quiet(place: Place) -> bool:
    """Ctrl-C, while libraries are imported too, ends with 130 and no traceback, and no file is there."""
    end = place.script(
        """
        import pathlib, signal, subprocess, sys, time
        for wait in (0, 0.1, 0.2, 0.4, 0.6, 0.8):
            command = [sys.executable, "-m", "normfold", "optimize", "models/levit_like.onnx", "-o", "out.onnx"]
            run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            works = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children")
            while not works.read_text():
                time.sleep(0.01)
            time.sleep(wait)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate()
            assert run.returncode == 130 and "Traceback" not in err and "internal" not in err, (wait, err)
        """
    )
    return (end.code, end.out, end.err) == (0, "", "") and not list(place.folder.glob("*.onnx"))


def an_export_is_quiet(place: Place) -> bool:
    """``export --json`` has stdout for itself, and torch says nothing around our lines."""
    words = ["models.tabular:Tabular", "--input", "4x2:int64<20", "--input", "4x12", "-o", "tabular.onnx", "--json"]
    end = place.normfold("export", *words)
    return end.code == 0 and end.out.startswith("{") and end.out.rstrip().endswith("}") and not end.err


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


def a_run_says_what_it_did(place: Place) -> bool:
    """A run says operators by type, the places of the proof, its largest error and limit, and where a norm went."""
    out = place.normfold("optimize", "models/residual.onnx", "-o", "out.onnx", "--verbose").out
    proof = r"proven equal to the original at \d+ places, worst error \S+ of the value's range \(limit \S+\)"
    return all(re.search(said, out) for said in (proof, "into the Conv before it", "BatchNormalization 9 -> 0"))


def both_obstacles_are_named(place: Place) -> bool:
    """A norm that could go neither way has both obstacles, with what stands in each way."""
    out = place.normfold("inspect", "models/levit_like.onnx", "--verbose").out
    return (out.count("backward: NF108"), out.count("forward: NF111")) == (3, 3)


def native_messages_stay_off_stdout(place: Place) -> bool:
    """What native code prints reaches neither stream; what kills it is one line."""
    end = place.script(
        """
        import os, normfold_cli, normfold.pipeline
        def dies(*arguments, **options):
            os.write(1, b"native words")
            os.abort()
        normfold.pipeline.optimize = dies
        normfold_cli.main(["optimize", "models/residual.onnx", "--json"])
        """
    )
    return end.code == 70 and end.is_one_line and place.passes("tests/cli/test_supervise.py")
