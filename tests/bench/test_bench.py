"""The benchmark: counts what is left in a file, measures errors, runs tools in processes, and draws."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest

from tests.bench import __main__ as bench
from tests.bench import models, render, tools
from tests.bench.census import Census, count
from tests.bench.timing import Timing, relative_error, time_files
from tests.onnx_text import parse

NORMS = (
    "(float[N,3,4] x) => (float[N,3,4] y) <float eps = {0.001}, float[3] g, float[3] b, float[3] m, float[3] var>"
    "{ n = BatchNormalization(x, g, b, m, var) mean = ReduceMean<axes=[-1]>(n) d = Sub(n, mean) p = Mul(d, d)"
    "v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }"
)


@pytest.fixture
def norms(tmp_path: Path) -> Path:
    path = tmp_path / "norms.onnx"
    onnx.save(parse(NORMS), path)
    return path


def test_a_census_counts_both_kinds_of_norms_and_no_constants(norms: Path) -> None:
    found = count(norms)
    assert (found.batchnorms, found.decomposed, found.operators) == (1, 1, 8)
    assert found.size == norms.stat().st_size


def test_a_fused_norm_is_no_decomposed_one(tmp_path: Path) -> None:
    path = tmp_path / "fused.onnx"
    onnx.save(
        parse("(float[N,4] x) => (float[N,4] y) <float[4] g, float[4] b> { y = LayerNormalization(x, g, b) }"), path
    )
    assert (count(path).decomposed, count(path).operators) == (0, 1)


@pytest.mark.parametrize(
    ("wanted", "got", "error"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [1.0, -3.0], 0.25),
        ([0.0], [0.5], 0.5),
        ([math.nan, 2.0], [math.nan, 1.0], 0.5),
    ],
)
def test_an_error_is_relative_to_the_largest_magnitude(wanted: list[float], got: list[float], error: float) -> None:
    assert relative_error(np.array(wanted), np.array(got)) == pytest.approx(error)


def test_another_shape_is_no_number() -> None:
    assert math.isnan(relative_error(np.zeros(3), np.zeros(4)))


def test_all_files_of_a_model_are_measured_in_the_same_rounds(norms: Path) -> None:
    measured = bench.measure(norms, ["normfold-unproven", "onnxruntime"], rounds=3)
    assert [entry.tool for entry in measured.entries] == ["original", "normfold-unproven", "onnxruntime"]
    assert not any(entry.fault for entry in measured.entries)
    assert len({len(entry.timing.seconds) for entry in measured.entries}) == 1
    ours = measured.entries[1]
    assert ours.census is not None
    assert (ours.census.batchnorms, ours.census.decomposed) == (1, 0)
    assert ours.run.peak > 2**20
    assert ours.timing.error < 1e-5
    text = render.table(measured)
    assert "| normfold-unproven | 1 + 0 |" in text
    assert "| onnxruntime | 1 |" in render.summary([measured])
    ElementTree.fromstring(render.chart([measured]))


def test_a_tool_that_fails_says_why_and_the_others_go_on(norms: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert tools.run_tool("normfold", broken, tmp_path / "out.onnx").error.startswith("normfold.errors.SourceError")
    entry = render.Entry("peer", tools.ToolRun(error="it crashed"))
    measured = render.Measured("m", (render.Entry("original", tools.ToolRun(), count(norms), Timing((1.0,))), entry))
    assert "| peer | it crashed |" in render.table(measured)
    assert "| peer | 0 |" in render.summary([measured])


def test_a_file_that_does_not_load_is_named_and_not_timed(norms: Path, tmp_path: Path) -> None:
    feed, broken = tmp_path / "feed.npz", tmp_path / "broken.onnx"
    np.savez(feed, x=np.ones((2, 3, 4), np.float32))
    broken.write_bytes(b"no model")
    good, bad = time_files([norms, broken], feed, 3)
    assert good.seconds and not good.fault
    assert bad.fault and not bad.seconds


def test_the_models_that_come_with_the_project_are_measured_where_none_is_named() -> None:
    assert {path.stem for path in models.bundled()} >= {"levit_like", "residual", "transformer"}


def test_without_rounds_nothing_is_run_and_kept_files_are_not_made_again(norms: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    bench.measure(norms, ["normfold-unproven"], rounds=0, keep=keep)
    kept = keep / "normfold-unproven" / norms.name
    onnx.save(parse("(float[N,3,4] x) => (float[N,3,4] y) { y = Relu(x) }"), kept)
    _, ours = bench.measure(norms, ["normfold-unproven"], rounds=0, keep=keep).entries
    assert ours.census is not None
    assert (ours.census.operators, ours.timing.seconds) == (1, ())


def test_the_shortfalls_name_each_model_in_which_another_file_is_better() -> None:
    def entry(tool: str, norms: int, operators: int, size: int, seconds: float) -> render.Entry:
        return render.Entry(tool, tools.ToolRun(), Census(norms, 0, operators, size), Timing((seconds,)))

    original, best = entry("original", 3, 9, 100, 1.0), entry("normfold", 0, 5, 100, 0.5)
    good = render.Measured("good", (original, best, entry("peer", 0, 4, 90, 0.6), entry("onnxruntime", 0, 3, 90, 0.5)))
    ours = entry("normfold", 1, 5, 106, 1.1)
    poor = render.Measured("poor", (original, ours, entry("peer", 0, 4, 100, 1.05)))
    assert render.shortfalls([good, poor]).splitlines() == [
        "Models in which another file is better than normfold's: 1 of 2",
        "- poor: +6.0% bytes; 0.91 times as fast (original 1.00); 1 norms (peer 0); 5 operators (peer 4); "
        "0.91 times as fast (peer 0.95)",
    ]
