"""Every claim about ONNX Runtime, tested on the installed version: groups executed as one, and kernels by type."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from normfold.targets.table import ONNXRUNTIME, target_named
from tests.onnx_text import parse
from tests.targets.onnxruntime_groups import ONNXRUNTIME_GROUPS, Group

RELEASE = tuple(int(part) for part in ort.__version__.split(".")[:2])
_LAYOUT = {"Reshape"}
# Each operator with a kernel that the table claims, as one node, and the operator set that it needs.
KERNELS = {
    "LayerNormalization": ("y = LayerNormalization(x, g, b)", 17),
    "SimplifiedLayerNormalization": ("y = LayerNormalization(x, g)", 17),
    "RMSNormalization": ("y = RMSNormalization(x, g)", 23),
    "LpNormalization": ("y = LpNormalization<axis = -1, p = 2>(x)", 22),
    "InstanceNormalization": ("y = InstanceNormalization(x, h, k)", 22),
    "Gelu": ("y = Gelu(x)", 20),
    "HardSigmoid": ("y = HardSigmoid(x)", 22),
}
_TYPES = {"FLOAT": "float", "DOUBLE": "double", "FLOAT16": "float16"}


def optimized(model: onnx.ModelProto, folder: Path) -> list[str]:
    """The operators of what ONNX Runtime makes of a model."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


@pytest.mark.parametrize("group", ONNXRUNTIME_GROUPS, ids=lambda group: group.name)
def test_a_group_becomes_one_operator(group: Group, tmp_path: Path) -> None:
    if group.since > RELEASE:
        pytest.skip(f"since {group.since}")
    model = parse(group.example, opset=group.opset)
    assert len(model.graph.node) > 1
    assert set(optimized(model, tmp_path)) - _LAYOUT == {group.operator}


@pytest.mark.parametrize("operator", sorted(KERNELS))
@pytest.mark.parametrize("dtype", sorted(_TYPES))
def test_a_kernel_is_there_for_each_type_that_the_table_names(operator: str, dtype: str) -> None:
    text, opset = KERNELS[operator]
    if not target_named("onnxruntime").has(operator, dtype):
        return
    kind = _TYPES[dtype]
    weights = f"{kind}[4] g, {kind}[4] b, {kind}[3] h, {kind}[3] k"
    model = parse(f"({kind}[2,3,4] x) => ({kind}[2,3,4] y) <{weights}> {{ {text} }}", opset=opset, ir_version=10)
    model.graph.node[0].op_type = operator  # the checker knows no SimplifiedLayerNormalization
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_every_operator_of_the_table_is_tested() -> None:
    assert set(KERNELS) == set(ONNXRUNTIME.operators)
