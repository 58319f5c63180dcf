"""`normfold diff`: every kind of change is named, and equal models have none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from normfold.ci.diff import Change, difference_between
from normfold.options import InspectArguments
from tests.ci.nets import save, shipped, stays
from tests.conftest import Run
from tests.nets import conv_bn

Edit = Callable[[onnx.ModelProto], None]


def set_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 18


def set_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 9


def set_dimension(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def add_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(onnx.helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, None))


def move_weight(model: onnx.ModelProto) -> None:
    array = numpy_helper.to_array(model.graph.initializer[1]).copy()
    array[1] += 0.5
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(array, "beta"))


def widen_weight(model: onnx.ModelProto) -> None:
    array = numpy_helper.to_array(model.graph.initializer[1])
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(array.astype(np.float64), "beta"))


def change_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Softplus"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (set_opset, {("opset", "ai.onnx", "17", "18")}),
        (set_ir, {("opset", "IR version", "8", "9")}),
        (set_dimension, {("interface", "input x", "float32[1,3,8,8]", "float32[batch,3,8,8]")}),
        (change_operator, {("operators", "Sigmoid", "2", "1"), ("operators", "Softplus", "", "1")}),
        (lambda model: None, set()),
    ],
)
def test_each_kind_of_change(tmp_path: Path, edit: Edit, expected: set[tuple[str, str, str, str]]) -> None:
    model = stays()
    before = save(model, tmp_path / "a.onnx")
    edit(model)
    after = save(model, tmp_path / "b.onnx")
    changes = difference_between(str(before), str(after), InspectArguments()).changes
    assert {(change.section, change.name, change.before, change.after) for change in changes} == expected
    back = difference_between(str(after), str(before), InspectArguments()).changes
    assert {(change.section, change.name, change.after, change.before) for change in back} == expected


def test_outputs_and_the_norms_that_they_hold(tmp_path: Path) -> None:
    model = stays()
    before = save(model, tmp_path / "a.onnx")
    add_output(model)
    changes = difference_between(str(before), str(save(model, tmp_path / "b.onnx")), InspectArguments()).changes
    assert [change for change in changes if change.section == "interface"] == [
        Change("interface", "output a", "", "float32[...]")
    ]


def test_a_weight_says_how_far_it_moved(tmp_path: Path) -> None:
    model = stays()
    before = save(model, tmp_path / "a.onnx")
    largest = numpy_helper.to_array(model.graph.initializer[1]).max()
    move_weight(model)
    (change,) = difference_between(str(before), str(save(model, tmp_path / "b.onnx")), InspectArguments()).changes
    assert change.after == f"1 of 3 values moved by up to 0.5, {0.5 / largest:.3g} of its largest"
    widen_weight(model)
    changes = difference_between(str(before), str(save(model, tmp_path / "c.onnx")), InspectArguments()).changes
    assert Change("weights", "beta", "float32[3]", "float64[3]") in changes


def test_what_a_fold_changes_and_how_the_command_ends(run: Run, tmp_path: Path) -> None:
    a, b = save(conv_bn(), tmp_path / "a.onnx"), save(shipped(), tmp_path / "b.onnx")
    code, out, err = run("diff", a, b)
    assert (code, err) == (0, "")
    for line in ("norms: 1 changed", "  y: BatchNormalization foldable -> none", "  BatchNormalization: 1 -> none"):
        assert line in out.splitlines()
    assert "  gamma: float32[4] -> none" in out
    assert run("diff", a, b, "--exit-code")[0] == 1
    assert run("diff", a, a, "--exit-code") == (0, run("diff", a, a)[1], "")
    assert "no difference" in run("diff", a, a)[1]
    assert run("diff", a, b, "--quiet") == (0, "", "")
    content = json.loads(run("diff", a, b, "--json")[1])
    assert {"section": "operators", "name": "BatchNormalization", "before": "1", "after": ""} in content["changes"]
    assert run("diff", a, tmp_path / "none.onnx")[0] == 3
    assert run("diff", a)[0] == 2


def test_long_lists_are_cut_and_names_do_no_harm(run: Run, tmp_path: Path) -> None:
    model = stays()
    for index in range(40):
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), f"\x1b[2J{index:02}"))
    a, b = save(stays(), tmp_path / "a.onnx"), save(model, tmp_path / "b.onnx")
    _, out, _ = run("diff", a, b)
    assert "  and 20 more; --verbose names all" in out
    assert "\x1b" not in out
    assert "39: none -> float32[2]" in run("diff", a, b, "--verbose")[1]
