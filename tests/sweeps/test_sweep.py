"""A sample of the cases of the onnx package goes one of three ways; `python -m tests.sweeps.sweep` runs all of them."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from tests.nets import conv_bn, nothing
from tests.sweeps.stored_outputs import breaks_stored_outputs, write_node_cases
from tests.sweeps.sweep import Worker, optimize_one, sweep

NORMS = re.compile("norm|lp_|gemm_default|conv_with|if_opt|loop1|scan9|training_mode")
EVERY = 45  # of the other cases


def test_a_sample_of_the_node_cases(tmp_path: Path) -> None:
    write_node_cases(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    norms = [name for name in names if NORMS.search(name)]
    others = [name for name in names if not NORMS.search(name)]
    chosen = [str(tmp_path / name / "model.onnx") for name in (*norms[::5], *others[::EVERY])]
    assert len(chosen) > 60
    outcomes = list(sweep(chosen, jobs=1, seconds=120))
    assert [outcome for outcome in outcomes if outcome.is_defect] == []
    assert {outcome.way for outcome in outcomes} >= {"optimized and proven", "left as it is"}


def test_the_three_ways(tmp_path: Path) -> None:
    for name, model in (("fold", conv_bn()), ("leave", nothing())):
        onnx.save(model, tmp_path / f"{name}.onnx")
    (tmp_path / "refuse.onnx").write_bytes(b"no model")
    output = str(tmp_path / "out")
    ways = [optimize_one(str(tmp_path / f"{name}.onnx"), output)[0] for name in ("fold", "leave", "refuse")]
    assert ways == ["optimized and proven", "left as it is", "refused"]


def test_stored_outputs_that_a_result_does_not_give_are_seen(tmp_path: Path) -> None:
    write_node_cases(tmp_path)
    relu, wrong = tmp_path / "test_relu" / "model.onnx", tmp_path / "test_abs" / "model.onnx"
    assert breaks_stored_outputs(relu, relu) == ""
    assert breaks_stored_outputs(relu, wrong) == "test_data_set_0"


def test_a_crash_and_a_hang_are_defects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep must see them, or it proves nothing."""
    worker = Worker(seconds=0.01)
    try:
        assert worker.run(str(tmp_path / "none.onnx")).way == "hang"
        worker._process.kill()
        worker._process.join()
        worker.seconds = 60.0
        outcome = worker.run(str(tmp_path / "none.onnx"))
        assert (outcome.way, outcome.is_defect) == ("crash", True)
    finally:
        worker.stop()
