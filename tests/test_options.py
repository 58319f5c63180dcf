"""Options are declared once, and checked in one place for Python and the command line."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import normfold
from normfold.ci.functions import BenchArguments, DiffArguments
from normfold.errors import UsageError
from normfold.option_declaration import declared_options
from normfold.options import CheckArguments, ExportArguments, OptimizeArguments, Options, ProofOptions
from normfold.verify import VerifyArguments
from tests.conftest import Run
from tests.nets import conv_bn

DECLARED = (OptimizeArguments, ExportArguments, CheckArguments, VerifyArguments, BenchArguments, DiffArguments)
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
    assert err.startswith(f"normfold: --{name}: expected")
    assert len(err.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    in_python: Any = float(value) if name in ("rtol", "atol") else value
    with pytest.raises(UsageError, match=f"^{name}: expected .*, got"):
        normfold.optimize(conv_bn(), **{name: in_python})


@pytest.mark.parametrize("value", ["1", 1.5, float("nan")])
def test_a_number_of_another_kind_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="seed: expected int, got"):
        ProofOptions(seed=value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("verify", None, "bool"),  # nothing was proven
        ("verify", "no", "bool"),  # and this was taken for True
        ("feeds", 2.0, "int"),
        ("seed", None, "int"),
        ("rtol", "1e-3", "float | None"),
        ("skip", 3, "Collection[str]"),
        ("only", [3], "Collection[str]"),
        ("input_specs", {"x": "1x3"}, "Collection[str]"),
        ("inputs", 3, "str | PathLike[str] | Mapping[str, Any] | Collection"),
        ("on_stage", 3, "Callable[[str], None] | None"),
        ("opset", 13.0, "str | int | None"),
        ("opset", np.array([13, 14]), "str | int | None"),
        ("seed", int, "int"),
        ("rtol", np.zeros(2), "float | None"),
        ("skip", np.array(3), "Collection[str]"),
    ],
)
def test_a_value_of_another_type_is_refused_before_the_work(name: str, value: Any, expected: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: expected {re.escape(expected)}.*, got "):
        normfold.optimize(conv_bn(), **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verify", np.bool_(True)),
        ("measure", 0),
        ("seed", np.int64(3)),
        ("rtol", np.float32(1e-3)),
        ("atol", 0),
        ("skip", {"batchnorm"}),
        ("skip", (name for name in ("batchnorm",))),
        ("inputs", [Path("a.npz"), {"x": np.zeros(3)}]),
        ("output", Path("a.onnx")),
        ("opset", 17),
        ("opset", "17"),
        ("on_stage", print),
    ],
)
def test_values_of_numpy_and_collections_of_any_kind_fit(name: str, value: Any) -> None:
    OptimizeArguments(**{name: value})


@pytest.mark.parametrize(
    "call",
    [
        lambda: normfold.check(None),  # type: ignore[arg-type]  # as everywhere here: what a user may pass
        lambda: normfold.check([3]),  # type: ignore[list-item]
        lambda: normfold.bench(None),  # type: ignore[arg-type]
        lambda: normfold.optimize_many([3], "out"),  # type: ignore[list-item]
        lambda: normfold.optimize_many(["a.onnx"], None),  # type: ignore[arg-type]
        lambda: normfold.inspect(conv_bn()).save_report(3),  # type: ignore[arg-type]
        lambda: normfold.optimize(conv_bn()).save(None),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_path_is_an_error_of_normfold(call: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match=r"expected .*(path|PathLike).*, got (int|None)"):
        call()


def test_one_path_is_one_model(tmp_path: Path) -> None:
    """A str was taken for its letters."""
    onnx.save(conv_bn(), tmp_path / "net.onnx")
    assert [outcome.changes for outcome in normfold.optimize_many(str(tmp_path / "net.onnx"), tmp_path / "out")] == [1]


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


def test_help_in_python_is_about_the_option_and_on_the_command_line_about_no_option(run: Run) -> None:
    listed = normfold.optimize.__doc__ or ""
    assert "verify: Prove that" in listed and "onnxsim: Fold constants" in listed
    assert "Repeatable" not in listed, "that is a word of the command line"
    assert "piece_bytes" not in listed and "weight_bytes" not in listed and "reports:" not in listed
    _, out, _ = run("optimize", "--help")
    assert "Write without proof" in out and "Leave out the constant folding" in out and "Prove that" not in out


@pytest.mark.parametrize("declared", DECLARED)
def test_every_option_has_a_help_that_is_a_sentence(declared: type) -> None:
    for entry, option in declared_options(declared):
        is_switched_off = entry.default is True and option.flag != ""
        assert bool(option.off_help) is is_switched_off, entry.name
        for help in filter(None, (option.help, option.off_help)):
            assert help[0].isupper(), entry.name
            assert re.sub(r" \[default: .*\]$", "", help).endswith("."), entry.name


def test_every_option_is_read_somewhere() -> None:
    """A field that nothing reads is an option without an effect. Keyword arguments that are passed on count as read."""
    root = Path(__file__).parents[1]
    sources = [path for room in ("normfold", "cli") for path in (root / room).rglob("*.py")]
    read = {
        node.attr
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    names = {entry.name for declared in DECLARED for entry, _ in declared_options(declared)}
    assert names <= read, f"declared in options.py and read nowhere: {sorted(names - read)}"


def test_options_go_to_other_processes() -> None:
    options = OptimizeArguments(skip="a", threads=2)
    assert pickle.loads(pickle.dumps(options)) == options


def test_a_wrong_value_is_shown_in_one_short_line() -> None:
    for value, text in (np.zeros((9, 9)), "ndarray"), ([np.zeros((9, 9))], "list with ndarray"), (None, "None"):
        with pytest.raises(UsageError, match=f"^inputs: expected .*, got {text}$"):
            ProofOptions(inputs=value)  # type: ignore[arg-type]  # that is the test


def test_a_missing_argument_is_one_of_the_function() -> None:
    with pytest.raises(TypeError, match=r"^verify\(\) missing a required argument: 'b'$"):
        normfold.verify(conv_bn())  # type: ignore[call-arg]  # that is the test
    with pytest.raises(TypeError, match=r"^inspect\(\) too many positional arguments$"):
        normfold.inspect(conv_bn(), 1)  # type: ignore[call-arg, arg-type]  # that is the test
