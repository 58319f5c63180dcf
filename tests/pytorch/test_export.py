"""From a module, a program or an archive to a file that equals the module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

import normfold
from models.registry import NETWORKS, build
from normfold.candidate import Candidate, CandidateBuilder
from normfold.errors import SourceError, UsageError
from normfold.native.ort_session import OptimizationLevel
from normfold.options import Options
from normfold.pipeline import optimize_with
from normfold.pytorch.eager import reference
from normfold.pytorch.eager.call import Call
from normfold.pytorch.export import _against, _with_eager_module, export
from normfold.pytorch.fold_module import fold_module
from normfold.pytorch.trace.exporter_cleanup import clean_up
from normfold.pytorch.trace.exporters import Tracing, trace
from normfold.result import NotProven
from normfold.runtime.loaded_model import load
from normfold.runtime.session import OrtRunner
from normfold.verify.result import Equivalence, Stage, Verification
from tests.pytorch import nets
from tests.pytorch.nets import drawn, image

BATCH_NORMS = {"residual": 9, "mobilenet_like": 14, "repvgg_like": 13, "levit_like": 17, "tabular": 3}


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_reference_network_becomes_a_file_that_equals_it(name: str, tmp_path: Path) -> None:
    module, inputs = build(name)
    path = tmp_path / "model.onnx"
    result = export(module, inputs, path)
    assert result.output == path
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert sum(verdict.finding.operator == "BatchNormalization" for verdict in result.changes) >= BATCH_NORMS.get(
        name, 0
    )
    assert result.verification is not None and result.verification.verdict is Equivalence.EQUIVALENT
    (eager,) = (row for row in result.verification.outputs if row.stage == Stage.EAGER)
    assert eager.passed and not eager.noise_dominated
    if name in BATCH_NORMS:
        folded = normfold.fold_module(module, inputs)
        assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in folded.module.modules())


def test_each_form_of_the_same_network_takes_the_same_road() -> None:
    module, inputs = build("residual")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.export.export(module, inputs)
        onnx_program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, optimize=False)
    results = [
        normfold.optimize(module, args=inputs),
        normfold.optimize(program),
        normfold.optimize(onnx_program),
    ]
    for result in results:
        norms = [verdict for verdict in result.changes if verdict.finding.is_norm]
        assert len(norms) == 9
        assert result.verification is not None
        assert Stage.EAGER in {row.stage for row in result.verification.outputs}
    inspection = normfold.inspect(module, args=inputs)
    assert len(inspection.changes) == len(results[0].changes)


def test_provenance_survives() -> None:
    module, inputs = build("residual")
    result = export(module, inputs)
    scopes = [node.metadata_props.get("pkg.torch.onnx.name_scopes", "") for node in result.ir_model.graph]
    assert any("'blocks.1.first.0'" in scope for scope in scopes)


def test_dynamic_shapes_stay_open_and_are_tried() -> None:
    module, _ = build("tabular")
    batch = torch.export.Dim("batch")
    result = export(module, NETWORKS["tabular"].inputs(4), dynamic_shapes=({0: batch}, {0: batch}))
    assert [str(value.shape[0]) for value in result.ir_model.graph.inputs if value.shape] == ["batch", "batch"]
    assert result.verification is not None
    traced = trace(module, NETWORKS["tabular"].inputs(4), how=Tracing(({0: batch}, {0: batch})))
    calls = dict(reference.feeds(traced.call, traced.program))
    larger = calls["the given values in larger dynamic dimensions"]
    assert [tuple(tensor.shape) for tensor in larger.args] == [(5, 2), (5, 12)]


def test_keyword_nested_and_dict_arguments(tmp_path: Path) -> None:
    module = drawn(nets.Nested())
    pair = (torch.randn(3, 4), torch.randn(3, 3))
    result = export(module, (pair,), tmp_path / "m.onnx", kwargs={"more": {"x": torch.randn(3)}})
    assert len(result.ir_model.graph.inputs) == 3
    assert result.verification is not None
    rows = [row for row in result.verification.outputs if row.stage == Stage.EAGER]
    assert len(rows) == 3 and all(row.passed for row in rows)


def test_a_requested_opset_is_kept() -> None:
    module, inputs = build("residual")
    assert export(module, inputs, opset=18).ir_model.graph.opset_imports[""] == 18


def test_training_mode_is_refused_or_switched_and_restored() -> None:
    module, inputs = build("residual")
    module.train()
    with pytest.raises(UsageError, match="is in training mode"):
        export(module, inputs)
    result = export(module, inputs, eval=True)
    assert len(result.changes) == 9
    assert all(part.training for part in module.modules())


class ByValue(nn.Module):
    """forward() branches on a value: torch.export cannot follow, the TorchScript exporter takes the branch it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.bn(y) if float(x.abs().sum()) >= 0 else y  # type: ignore[no-any-return]  # modules return Any


def test_what_torch_export_cannot_trace_falls_back_and_says_so() -> None:
    module = drawn(ByValue())
    result = export(module, image(1, 3, 6, 6)())
    assert len(result.changes) == 1
    assert any("TorchScript exporter" in note and "torch.export" in note for note in result.notes)
    with pytest.raises(SourceError, match=r"torch\.export"):  # the TorchScript exporter would not check the sizes
        export(module, image(2, 3, 6, 6)(), dynamic_shapes=({0: torch.export.Dim("n")},))


class Hopeless(nn.Module):
    """No exporter can export it."""

    def forward(self, x: Tensor) -> Any:
        raise LookupError("no such thing")


def test_what_no_exporter_can_export_is_refused_in_one_line() -> None:
    with pytest.raises(SourceError, match=r"neither exporter.*no such thing") as caught:
        export(Hopeless().eval(), image(1, 3)())
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="expected args"):
        export(nn.ReLU().eval())
    with pytest.raises(UsageError, match="expected args as a tensor or a tuple"):
        export(nn.ReLU().eval(), "x")


def test_the_comparison_with_the_module_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that gets one channel wrong: the proof of the folds cannot see it, the module itself can."""
    original = clean_up

    def spoiled(model: ir.Model) -> None:
        original(model)
        value = model.graph.initializers["blocks.0.first.0.weight"]
        assert value.const_value is not None
        array = np.array(value.const_value.numpy())
        array[2] *= 1.01
        value.const_value = ir.tensor(array)

    monkeypatch.setattr("normfold.pytorch.trace.exporters.clean_up", spoiled)
    module, inputs = build("residual")
    with pytest.raises(NotProven, match="different") as caught:
        export(module, inputs, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    verification = caught.value.result.verification
    assert verification is not None
    failing = {row.stage for row in verification.failures}
    assert failing == {Stage.EAGER}
    assert any("torch's exporter makes the difference" in note for note in verification.notes)


def test_a_fold_gone_wrong_differs_from_an_exporter_gone_wrong() -> None:
    module, inputs = build("residual")
    traced = trace(module, inputs)
    original = ir.to_proto(traced.model)
    result = optimize_with(traced.model, Options())
    assert result.verification is not None
    model = onnx.ModelProto.FromString(result.model.SerializeToString())
    value = next(value for value in model.graph.initializer if value.name.endswith("_folded"))
    value.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(value) * np.float32(1.02), value.name))
    verification = _with_eager_module(traced, Options(), original, model, result.verification)
    assert verification.verdict is Equivalence.DIFFERENT
    assert any("so a fold or the runtime makes the difference" in note for note in verification.notes)


@pytest.mark.parametrize("place", [0, -1])
def test_a_fold_that_only_the_arguments_of_the_user_show_to_be_wrong_is_undone(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof on made-up inputs finds nothing here, the module does, and the rest stays folded."""
    module, inputs = build("residual")
    folds = [verdict.finding.name for verdict in export(module, inputs).changes]
    original = CandidateBuilder._rewritten

    def spoiled(self: CandidateBuilder, *arguments: Any) -> Candidate:
        candidate = original(self, *arguments)
        for verdict in candidate.changes:
            if verdict.finding.name == folds[place]:
                node = next(node for node in candidate.model.graph if node.name in verdict.into)
                weight = node.inputs[1]
                assert weight is not None and weight.const_value is not None
                weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.05), name=weight.name)
        return candidate

    monkeypatch.setattr(CandidateBuilder, "_rewritten", spoiled)
    monkeypatch.setattr("normfold.pipeline._proof", lambda *_: Verification(Equivalence.EQUIVALENT))
    result = export(module, inputs)
    assert result.verification
    assert [verdict.finding.name for verdict in result.changes] == [name for name in folds if name != folds[place]]


def test_without_proof_it_says_so() -> None:
    module, inputs = build("residual")
    result = export(module, inputs, verify=False)
    assert result.verification is None
    assert any("not proven" in note for note in result.notes)


# -- the parts ----------------------------------------------------------------------------------------------------


def test_derived_calls_keep_shapes_types_and_ranges() -> None:
    ids = torch.tensor([[3, 1, 4], [1, 5, 9]])
    mask = torch.tensor([True, False])
    call = Call((torch.randn(2, 50) * 3 + 7, ids), {"mask": mask, "flag": 3})
    names, calls = zip(*reference.feeds(call), strict=True)
    assert names[0] == "the given arguments" and len(calls) == 3
    for derived in calls[1:]:
        floats, integers = derived.args
        assert floats.shape == (2, 50) and floats.dtype == torch.float32
        assert sorted(integers.reshape(-1).tolist()) == [1, 1, 3, 4, 5, 9]
        assert derived.kwargs["flag"] == 3 and int(derived.kwargs["mask"].sum()) == 1
    redrawn = calls[1].args[0]
    assert 5 < float(redrawn.mean()) < 9
    assert (calls[2].args[0] < 0).any()


def test_a_comparison_knows_rounding_from_error() -> None:
    module, (x,) = build("residual")
    calls = [("given", Call((x,)))]

    def off_by(factor: float) -> reference.EagerRun:
        return lambda call: [(module(*call.args) * factor).detach()]

    ((right,), _) = reference.compare(module, off_by(1.0 + 2.0**-22), iter(calls))
    assert right.passed and right.margin < 1
    ((wrong,), _) = reference.compare(module, off_by(1.001), iter(calls))
    assert not wrong.passed and "atol=" in wrong.needed_tolerance
    ((allowed,), _) = reference.compare(module, off_by(1.001), iter(calls), rtol=0.01)
    assert allowed.passed
    with pytest.raises(ValueError, match="expected 1 output tensors, got 0"):
        reference.compare(module, lambda call: [], iter(calls))


def test_settling_leaves_weights_norms_and_values_alone() -> None:
    module, inputs = build("levit_like")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, optimize=False)
    assert program is not None
    before = operators(program.model)
    initializers = set(program.model.graph.initializers)
    settled = trace(module, inputs).model
    after = operators(settled)
    assert "SplitToSequence" in before and "SplitToSequence" not in after and after.count("Split") == 3
    assert "CastLike" not in after and len(after) < len(before)
    assert after.count("BatchNormalization") == before.count("BatchNormalization") == 17
    assert initializers <= set(settled.graph.initializers) | {"lifted_tensor_0"}
    assert all(node.name for node in settled.graph)
    assert len({node.name for node in settled.graph}) == len(after)
    with OrtRunner(load(ir.to_proto(settled)), OptimizationLevel.DISABLE_ALL) as runner:
        name = settled.graph.inputs[0].name or ""
        (got,) = runner.run({name: inputs[0].numpy()}, [settled.graph.outputs[0].name or ""])
    torch.testing.assert_close(torch.from_numpy(got), module(*inputs).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_proven_against_the_eager_module(dtype: torch.dtype) -> None:
    module, (image,) = build("residual")
    result = export(module.to(dtype), (image.to(dtype),))
    assert len(result.changes) == 9
    assert result.verification is not None and result.verification.verdict is Equivalence.EQUIVALENT
    (eager,) = (row for row in result.verification.outputs if row.stage == Stage.EAGER)
    assert eager.passed and not eager.noise_dominated and eager.dtype == str(dtype).removeprefix("torch.")


def test_half_precision_that_differs_is_seen() -> None:
    """The file of a module with another weight, next to the module."""
    module, (image,) = build("residual")
    inputs, weight = (image.to(torch.bfloat16),), module.to(torch.bfloat16).get_parameter("head.weight")
    with torch.no_grad():
        weight.mul_(2)
        traced = trace(module, inputs)
        result = optimize_with(traced.model, Options(verify=False))
        same, _ = _against(traced, result.model, Options())
        weight.div_(2)
        different, notes = _against(traced, result.model, Options())
    assert all(compared.passed for compared in same)
    assert not any(compared.passed for compared in different)
    assert any("float32" in note for note in notes)


@pytest.mark.parametrize("opset", [17, "20", "keep"])
def test_the_opset_is_that_which_was_asked_for_or_said(opset: int | str) -> None:
    """torch's exporter goes below 18 for some networks only."""
    module, inputs = build("residual")
    result = export(module, inputs, opset=opset, verify=False)
    written = result.model.opset_import[0].version
    note = f"torch's exporter wrote operator set {written}, and not {opset}"
    assert opset == "keep" or (written == int(opset)) != (note in result.notes)


def test_an_opset_is_a_number_or_a_habit() -> None:
    with pytest.raises(UsageError, match="auto, keep or a number"):
        export(nn.ReLU().eval(), torch.ones(1), opset="newest")


def test_what_torch_onnx_export_takes_is_taken_or_refused_in_one_line() -> None:
    module, args = nn.Conv2d(1, 1, 1).eval(), (torch.randn(1, 1, 2, 2),)
    same: dict[str, Any] = {
        "export_params": True, "do_constant_folding": True, "keep_initializers_as_inputs": False, "verbose": False,
        "training": torch.onnx.TrainingMode.EVAL,
    }  # fmt: skip
    assert export(module, args, **same).verification
    others: dict[str, Any] = {
        "export_params": False, "training": torch.onnx.TrainingMode.TRAINING, "custom_opsets": {"own": 1},
    }  # fmt: skip
    for name, value in others.items():
        with pytest.raises(UsageError, match=f"expected {name} left out or .*, which is not done here"):
            export(module, args, **{name: value})


def test_the_path_may_be_called_f_as_in_torch(tmp_path: Path) -> None:
    module, args = nn.Conv2d(1, 1, 1).eval(), (torch.randn(1, 1, 2, 2),)
    export(module, args, f=tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").exists()
    with pytest.raises(UsageError, match="expected path or f, got both"):
        export(module, args, tmp_path / "model.onnx", f=tmp_path / "other.onnx")


class Behind(nn.Module):
    """A convolution and its norm, and what is done with their value."""

    def __init__(self, tail: Callable[[torch.Tensor], object], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.conv, self.bn, self.tail = nn.Conv2d(2, 2, 1, dtype=dtype), nn.BatchNorm2d(2), tail

    def forward(self, x: torch.Tensor) -> object:
        return self.tail(self.bn(self.conv(x.to(self.conv.weight.dtype)).to(self.bn.weight.dtype)))


@pytest.mark.parametrize(
    "module",
    [
        Behind(lambda y: torch.complex(y, y + 1)),
        Behind(lambda y: y, torch.float16),
        Behind(lambda y: y).double(),
    ],
    ids=["complex numbers", "a part in half precision", "float64, which ONNX Runtime does not convolve in"],
)
def test_types_that_the_runtime_has_otherwise_are_proven(module: nn.Module) -> None:
    image = torch.randn(2, 2, 5, 5, dtype=next(module.bn.parameters()).dtype)  # type: ignore[union-attr]  # a module
    result = export(drawn(module), (image,))
    assert result.changes and result.verification
    assert result.verification.verdict is Equivalence.EQUIVALENT
    assert fold_module(module, (image,)).removed == ("bn",)


def test_a_module_without_tensors_to_return_is_refused_in_one_line() -> None:
    with pytest.raises(SourceError, match=r"returns tensors, got one whose forward\(\) returns none"):
        export(Behind(lambda y: 3).eval(), (torch.randn(2, 2, 5, 5),))
