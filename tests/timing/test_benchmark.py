"""`normfold bench`: what is measured and how it is summed up. No test asserts a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from normfold.options import BenchOptions
from normfold.timing.benchmark import Benchmark, Timing, benchmark, interval, quartiles
from tests.ci.nets import save, shipped
from tests.conftest import Run
from tests.nets import conv_bn


def test_two_models_are_timed_in_the_same_rounds(tmp_path: Path) -> None:
    models = [str(save(conv_bn(), tmp_path / "a.onnx")), str(save(shipped(), tmp_path / "b.onnx"))]
    rounds: list[int] = []
    measured = benchmark(models, BenchOptions(rounds=4, warmup=1), lambda: rounds.append(1))
    assert [timing.model for timing in measured.timings] == models
    assert len(rounds) == len(measured.ratios) == 4
    for timing in measured.timings:
        assert len(timing.seconds) == 4
        assert min(timing.seconds) > 0
        assert timing.load > 0
        assert timing.memory > 10_000_000  # ONNX Runtime alone takes more; bytes, not kB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux counts the parent's memory to the child")
def test_the_memory_is_that_of_the_model_alone(tmp_path: Path) -> None:
    path = str(save(conv_bn(), tmp_path / "a.onnx"))
    ballast = np.ones(50_000_000)  # 400 MB that this process holds and the timed one does not
    (timing,) = benchmark([path], BenchOptions(rounds=1, warmup=1)).timings
    assert timing.memory < ballast.nbytes


def test_the_command_with_one_model_and_inputs_of_the_user(run: Run, tmp_path: Path) -> None:
    path = save(conv_bn(), tmp_path / "a.onnx")
    np.savez(tmp_path / "in.npz", x=np.ones((1, 3, 8, 8), np.float32))
    code, out, err = run("bench", path, "--rounds", 1, "--inputs", tmp_path / "in.npz")
    assert (code, err) == (0, "")
    assert "1 round, 1 thread, inputs: in.npz" in out
    assert "ms a run" in out and "ms to load" in out and "MB of memory" in out
    assert "speed of A" not in out


def test_json(run: Run, tmp_path: Path) -> None:
    path = save(conv_bn(), tmp_path / "a.onnx")
    code, out, err = run("bench", path, path, "--rounds", 3, "--warmup", 0, "--json")
    content = json.loads(out)
    assert (code, err, len(content["models"])) == (0, "", 2)
    low, high = content["speedup"]["quartiles"]
    assert 0 < low <= content["speedup"]["median"] <= high


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        (["none.onnx"], 3, "cannot be read"),
        (["a.onnx", "other.onnx"], 4, "; no input fits both models"),
        (["a.onnx", "words.onnx"], 4, "words.onnx: expected the input x as "),
        (["a.onnx", "renamed.onnx"], 4, "renamed.onnx: expected the inputs x, got z; rename them"),
        (["a.onnx", "--inputs", "in.npz"], 2, "in.npz"),
        (["a.onnx", "--input", "z=1x3"], 2, "the inputs are x"),
        (["words.onnx"], 4, "no plain tensors"),
    ],
)
def test_what_cannot_be_timed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save(conv_bn(), tmp_path / "a.onnx")
    for name, kind in (("other", "float[2, 3, 8, 8] x"), ("words", "string[2] x"), ("renamed", "float[1, 3, 8, 8] z")):
        text = f'<ir_version: 8, opset_import: ["" : 17]> n ({kind}) => (y) {{ y = Identity ({kind[-1]}) }}'
        save(onnx.parser.parse_model(text), tmp_path / f"{name}.onnx")
    code, out, err = run("bench", *arguments)
    assert (code, out, len(err.splitlines())) == (expected, "", 1)
    assert words in err


def test_a_file_that_only_runs_as_it_is_read(run: Run, tmp_path: Path) -> None:
    """An old operator set is read as a newer one, and the runtime that is timed takes the file itself."""
    model = onnx.parser.parse_model(
        '<ir_version: 3, opset_import: ["" : 1]> old (float[2] x) => (float[2] y) { y = Neg (x) }'
    )
    path = save(model, tmp_path / "old.onnx")
    code, _, err = run("bench", path, "--rounds", 1)
    assert code == 4
    assert "ONNX Runtime: " in err and "run normfold optimize on it first" in err


def test_the_summary_is_that_of_the_rounds() -> None:
    a = Timing("a", (2.0, 4.0, 6.0, 8.0, 10.0), 0.1, 1)
    b = Timing("b", (1.0, 1.0, 2.0, 2.0, 5.0), 0.1, 1)
    assert Benchmark((a, b), "", 1).ratios == (2.0, 4.0, 3.0, 4.0, 2.0)
    assert Benchmark((a,), "", 1).ratios == ()
    assert quartiles(a.seconds) == (4.0, 6.0, 8.0)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    """Of skewed samples too: 95 of 100 intervals hold the true median, give or take."""
    random = np.random.default_rng(0)
    true, hits = float(np.exp(0.0)), 0
    for _ in range(1000):
        low, high = interval(list(random.lognormal(0.0, 1.0, 31)))
        hits += low <= true <= high
    assert 940 <= hits <= 990
    assert interval([3.0]) == (3.0, 3.0)
