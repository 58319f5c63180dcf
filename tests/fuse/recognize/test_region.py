"""Norms that onnx expands into functions are recognized back: every *_expanded case of onnx.backend.test."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

from normfold.constants.simplify import apply_facts, simplify
from normfold.findings.rules import Selection
from normfold.fold.cleanup.tidy import tidy
from normfold.fuse.engine import fuse_norms
from tests.onnx_text import run_in_ort

NORMS = {
    "layer_normalization": "LayerNormalization",
    "rms_normalization": "RMSNormalization",
    "group_normalization": "InstanceNormalization",
    "mvn": "MeanVarianceNormalization",
}
# What may stand next to the norm: the Reshapes of a GroupNorm, its affine, and Casts from float to float.
TARGETS = {"mvn": "directml"}  # ONNX Runtime's own kernel on CPU leaves out the epsilon
NEXT_TO = {"group_normalization": {"Reshape", "BatchNormalization", "Cast"}}


@cache
def cases() -> dict[str, list[TestCase]]:
    """The expanded cases of each norm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some reference cases overflow on purpose
        every = [case for case in collect_testcases(None) if "_expanded" in case.name]
    return {norm: [case for case in every if norm in case.name] for norm in NORMS}


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_an_expanded_norm_is_recognized_back(norm: str) -> None:
    assert cases()[norm]
    for case in cases()[norm]:
        assert case.model is not None
        assert case.data_sets is not None
        model = ir.from_proto(case.model)
        apply_facts(model, simplify(case.model))
        fuse_norms(model, Selection(target=TARGETS.get(norm, "onnxruntime"), new_batchnorm=True))
        tidy(model)
        result = ir.to_proto(model)
        onnx.checker.check_model(result)
        operators = [node.op_type for node in result.graph.node if node.op_type not in NEXT_TO.get(norm, ())]
        assert operators == [NORMS[norm]], f"{case.name}: {[node.op_type for node in result.graph.node]}"
        inputs, outputs = case.data_sets[0]
        feeds = {value.name: array for value, array in zip(case.model.graph.input, inputs, strict=True)}
        names = [value.name for value in case.model.graph.output]
        got = run_in_ort(result, feeds, names)
        for name, expected in zip(names, outputs, strict=True):
            np.testing.assert_allclose(got[name], expected, rtol=2e-3, atol=1e-5, err_msg=f"{case.name}: {name}")
