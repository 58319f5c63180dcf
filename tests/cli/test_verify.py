"""`normfold verify`: exit codes, the table, JSON."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import normfold
from normfold.verify.result import Comparison, Equivalence, Stage, Verification, as_table
from tests.conftest import Run
from tests.onnx_text import parse
from tests.verify.nets import conv_bn_pair, edited


@pytest.fixture
def verify(run: Run) -> Run:
    """Run `normfold verify`."""
    return partial(run, "verify")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """a.onnx, the right b.onnx and the wrong c.onnx."""
    raw, folded = conv_bn_pair()
    onnx.save(raw, tmp_path / "a.onnx")
    onnx.save(folded, tmp_path / "b.onnx")
    onnx.save(edited(folded, "b2", lambda b: b + 0.5), tmp_path / "c.onnx")
    return tmp_path


def test_equal_models_are_done(verify: Run, models: Path) -> None:
    code, out, err = verify(models / "a.onnx", models / "b.onnx", "--seed", 3)
    assert (code, err) == (0, "")
    assert out.startswith("equivalent: proven equal to the original at 1 place, worst error ")
    assert "\n2 of 2 output comparisons pass\n" in out
    assert "seed 3; feeds: normal (N=1)" in out


def test_other_models_differ_and_the_worst_place_is_shown(verify: Run, models: Path) -> None:
    code, out, _ = verify(models / "a.onnx", models / "c.onnx")
    assert code == 1
    assert out.startswith("different:")
    assert "DIFFERS" in out
    assert "would have passed with atol=0.5" in out


def test_a_tolerance_of_ones_own_wins(verify: Run, models: Path) -> None:
    assert verify(models / "a.onnx", models / "c.onnx", "--atol", 0.6)[0] == 0


def test_undecided_ends_with_4(verify: Run, models: Path) -> None:
    np.savez(models / "x.npz", x=np.full((1, 3, 12, 12), np.nan, np.float32))
    code, out, _ = verify(models / "a.onnx", models / "b.onnx", "--inputs", models / "x.npz")
    assert code == 4
    assert "inconclusive" in out


def test_models_with_other_inputs_cannot_be_compared(verify: Run, models: Path) -> None:
    onnx.save(parse("(float[2] q) => (float[2] y) { y = Neg(q) }"), models / "other.onnx")
    code, out, _ = verify(models / "a.onnx", models / "other.onnx")
    assert code == 4
    assert out.startswith("inconclusive: expected the inputs x, got q; rename them\n")


def test_what_was_not_measured_has_no_figures(models: Path) -> None:
    """A candidate that did not run had a cosine of 1.000000, and "would have passed with nothing"."""
    failed = Comparison(
        value="y", stage=Stage.UNOPTIMIZED, passed=False, margin=np.inf, relative=np.inf, note="it fails"
    )
    passed = Comparison(value="z", stage=Stage.UNOPTIMIZED, passed=True, elements=0)
    lines = as_table(Verification(Equivalence.DIFFERENT, (failed, passed))).splitlines()
    assert lines[2].split() == ["DIFFERS", "y", "disable_all"]
    assert "1.000000" in lines[3]
    assert lines[4] == "y: it fails"


def test_a_narrow_table_leaves_columns_out(models: Path) -> None:
    proof = normfold.verify(str(models / "a.onnx"), str(models / "c.onnx"))
    wide, narrow = as_table(proof).splitlines(), as_table(proof, width=80).splitlines()
    heads = [next(line for line in lines if "allowed" in line) for lines in (wide, narrow)]
    assert ["cosine" in head for head in heads] == [True, False]
    assert len(heads[1]) <= 80 < len(heads[0])


def test_json_is_json_and_quiet_is_quiet(verify: Run, models: Path) -> None:
    code, out, _ = verify(models / "a.onnx", models / "c.onnx", "--json")
    content = json.loads(out)
    assert (code, content["verdict"], content["equivalent"]) == (1, "different", False)
    assert verify(models / "a.onnx", models / "c.onnx", "--quiet") == (1, "", "")


def test_stored_outputs_need_no_second_model(verify: Run, models: Path) -> None:
    folder = models / "test_data_set_0"
    folder.mkdir()
    onnx.save(parse("(float[2] x) => (float[2] y) { y = Neg(x) }"), models / "s.onnx")
    for name, numbers in (("input_0", [1, 2]), ("output_0", [-1, -2])):
        array = np.array(numbers, np.float32)
        (folder / f"{name}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())
    assert verify(models / "s.onnx", "--inputs", folder)[0] == 0
    (folder / "output_0.pb").write_bytes(numpy_helper.from_array(np.array([-1, 2], np.float32)).SerializeToString())
    assert verify(models / "s.onnx", "--inputs", folder)[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["a.onnx"], 2, "second model", id="nothing to compare with"),
        pytest.param(["a.onnx", "nosuch.onnx"], 3, "cannot be read", id="no such file"),
        pytest.param(["a.onnx", "b.onnx", "--input", "q=1x3"], 2, "expected the name of an input", id="no such input"),
        pytest.param(["a.onnx", "b.onnx", "--input", "x"], 2, "expected NAME=", id="a malformed input"),
        pytest.param(["a.onnx", "b.onnx", "--inputs", "a.onnx"], 2, "expected an .npz file", id="no data"),
    ],
)
def test_wrong_usage_is_one_line(
    verify: Run, models: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(models)
    ended, out, err = verify(*arguments)
    assert (ended, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_optimize_takes_the_shape_of_an_input(run: Run, models: Path) -> None:
    from normfold import optimize

    code, out, _ = run("optimize", models / "a.onnx", "--input", "x=2x3x12x12:-1..1", "--json")
    assert code == 0
    assert json.loads(out)["verification"]["seed"] == 0
    verification = optimize(models / "a.onnx", input_specs=["x=2x3x12x12:-1..1"]).verification
    assert verification is not None
    assert "N=" not in "".join(verification.feeds), "no free size is left to choose"
    code, _, err = run("optimize", models / "a.onnx", "--input", "q=1x3")
    assert code == 2
    assert "the inputs are x" in err
