"""Options are declared once, and checked in one place for Python and the command line."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import onnx
import pytest

import normfold
from normfold.errors import UsageError
from normfold.options import OptimizeArguments, Options, ProofOptions, declared_options
from tests.conftest import Run
from tests.nets import conv_bn

WRONG: list[tuple[str, Any]] = [
    ("rtol", -1.0),
    ("rtol", "inf"),
    ("atol", "nan"),
    ("opset", 99),
    ("opset", 0),
    ("opset", "many"),
    ("seed", -1),
    ("seed", 2**40),
    ("threads", -3),
    ("threads", 100_000),
    ("feeds", 0),
    ("feeds", -2),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_out_of_range_is_a_usage_error_and_nothing_is_written(
    run: Run, tmp_path: Path, name: str, value: Any
) -> None:
    onnx.save(conv_bn(), tmp_path / "net.onnx")
    code, out, err = run("optimize", tmp_path / "net.onnx", f"--{name}", value)
    assert (code, out) == (2, "")
    assert err.startswith(f"normfold: {name}: expected")
    assert len(err.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    in_python: Any = float(value) if name in ("rtol", "atol") else value
    with pytest.raises(UsageError, match=f"^{name}: expected .*, got"):
        normfold.optimize(conv_bn(), **{name: in_python})


@pytest.mark.parametrize("value", ["1", 1.5, float("nan")])
def test_a_number_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="seed: expected a whole number"):
        ProofOptions(seed=value)


def test_one_name_is_one_name() -> None:
    assert Options(skip="batchnorm").skip == ("batchnorm",)
    assert Options(inputs=Path("a.npz")).given_inputs == (Path("a.npz"),)
    assert Options(inputs={"x": 1}).given_inputs == ({"x": 1},)


def test_what_is_recorded_changes_the_result_and_is_no_default() -> None:
    assert OptimizeArguments("out.onnx", trust_pickle=True, on_stage=print).recorded() == {}
    chosen = OptimizeArguments(skip=("b", "a"), rtol=1e-3, inputs=Path("a.npz"), opset=17)
    assert chosen.recorded() == {"skip": ["a", "b"], "rtol": 1e-3, "inputs": ["a.npz"], "opset": 17}


def test_the_functions_show_their_options() -> None:
    for function in (normfold.optimize, normfold.inspect, normfold.verify):
        parameters = inspect.signature(function).parameters
        assert {"on_stage", "target", "rtol"} & set(parameters)
        assert "Options:" in (function.__doc__ or "")
    assert inspect.signature(normfold.optimize).parameters["rtol"].annotation == float | None
    assert list(inspect.signature(normfold.optimize).parameters)[:2] == ["model", "output"]


def test_every_option_has_a_help_that_is_a_sentence() -> None:
    for entry, option in declared_options(OptimizeArguments):
        assert option.help[0].isupper(), entry.name
        assert option.help.rstrip("]").endswith((".", "habit")), entry.name


def test_options_go_to_other_processes() -> None:
    options = OptimizeArguments(skip="a", threads=2)
    assert pickle.loads(pickle.dumps(options)) == options
