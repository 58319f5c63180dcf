"""Where an affine ends: two tables, one line for each operator that takes it into its constants.

Backward: the operator's output shall become ``A(output)``. Forward: the operator reads ``x`` where ``A(x)`` was meant.
All arithmetic is float64 on the stored values. A shift that has no bias to go to becomes one Add behind the operator
(``Rewrite.shift_after``). Operators as in https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import onnx_ir as ir

from normfold.fold.absorbers import convolutions, einsum, matrices, norms, quantized, recurrent
from normfold.fold.absorbers import embeddings as tables
from normfold.fold.absorbers import invariant as blind
from normfold.fold.absorbers import ml_models as classic
from normfold.fold.absorbers.common import Absorber, Tables
from normfold.fold.carriers import gemm
from normfold.graph.reader import GraphReader

BACKWARD: Tables = {
    "Conv": convolutions.conv_backward,
    "ConvTranspose": convolutions.conv_transpose_backward,
    "Gemm": matrices.gemm_backward,
    "MatMul": matrices.matmul_backward,
    "Einsum": einsum.einsum_backward,
    "Gather": tables.gather_backward,
    "GatherND": tables.gather_nd_backward,
    "LayerNormalization": norms.layer_norm_backward,
    "RMSNormalization": norms.rms_norm_backward,
    "InstanceNormalization": norms.instance_norm_backward,
    "GroupNormalization": norms.group_norm_backward,
    "BatchNormalization": norms.batch_norm_backward,
    "Selu": blind.selu_backward,
    "DequantizeLinear": quantized.dequantizer_backward,
}
FORWARD: Tables = {
    "Conv": convolutions.conv_forward,
    "ConvTranspose": convolutions.conv_transpose_forward,
    "Gemm": matrices.gemm_forward,
    "MatMul": matrices.matmul_forward,
    "Einsum": einsum.einsum_forward,
    "LSTM": recurrent.recurrent_forward,
    "GRU": recurrent.recurrent_forward,
    "RNN": recurrent.recurrent_forward,
    "LayerNormalization": norms.layer_norm_forward,
    "RMSNormalization": norms.rms_norm_forward,
    "InstanceNormalization": norms.instance_norm_forward,
    "GroupNormalization": norms.group_norm_forward,
    "BatchNormalization": norms.batch_norm_forward,
    "Softmax": blind.softmax_forward,
    "LogSoftmax": blind.softmax_forward,
    "ArgMax": blind.order_forward,
    "ArgMin": blind.order_forward,
    "Hardmax": blind.first_of_largest_forward,
    "LpNormalization": blind.direction_forward,
    "Sign": blind.sign_forward,
    "MeanVarianceNormalization": blind.mean_variance_forward,
    "HardSigmoid": blind.hard_sigmoid_forward,
}
CLASSIC_BACKWARD: Tables = {
    "LinearRegressor": classic.linear_regressor_backward,
    "TreeEnsembleRegressor": classic.tree_regressor_backward,
}
CLASSIC_FORWARD: Tables = {
    "LinearRegressor": classic.linear_model_forward,
    "LinearClassifier": classic.linear_model_forward,
    "SVMRegressor": classic.linear_machine_forward,
    "Normalizer": blind.direction_forward,
}
_QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# These are linear only beside a constant; between two variables they are carriers. The numbers are the inputs asked.
_BESIDE_A_CONSTANT = {"MatMul": (0, 1), "Einsum": (0, 1), "Gather": (0,), "GatherND": (0,)}


def absorber_for(table: Tables, reader: GraphReader, node: ir.Node) -> Absorber | None:
    """The rule that lets ``node`` take an affine, or None where it can only pass it on."""
    if node.domain == "ai.onnx.ml":
        return (CLASSIC_FORWARD if table is FORWARD else CLASSIC_BACKWARD).get(node.op_type)
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in _QUANTIZED and quantized.dequantizer_of(reader, node) is not None:
        return quantized.quantized_backward if table is BACKWARD else quantized.quantized_forward
    asked = _BESIDE_A_CONSTANT.get(node.op_type)
    if asked is not None and not any(reader.is_constant(value) for value in node.inputs[: len(asked)]):
        return None
    if node.op_type == "Gemm" and not gemm.is_linear(reader, node):
        return None  # with a variable C, or two variable factors, it is a carrier
    if node.op_type == "Einsum" and len(node.inputs) != 2:
        return None  # of one operand, or of more than two, it is a carrier
    return table.get(node.op_type)
