"""Where an affine ends: two tables, one line for each operator that takes it into its constants.

Backward: the operator's output shall become ``A(output)``. Forward: the operator reads ``x`` where ``A(x)`` was meant.
All arithmetic is float64 on the stored values. A shift that has no bias to go to becomes one Add behind the operator
(``Rewrite.shift_after``). Operators as in https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import onnx_ir as ir

from normfold.fold.absorbers import (
    convolutions,
    embeddings,
    invariant,
    matrices,
    ml_models,
    norms,
    quantized,
    recurrent,
    runtime_operators,
    runtime_products,
)
from normfold.fold.absorbers.common import Absorber, AbsorberTable
from normfold.fold.carriers import gemm
from normfold.fold.carriers import table as carry
from normfold.fold.carriers.integer_products import is_product_of_scales
from normfold.graph.reader import GraphReader
from normfold.operators.table import ML_DOMAIN, RUNTIME_DOMAIN, of_domain, qualified_name

BACKWARD: AbsorberTable = {
    "Conv": convolutions.conv_backward,
    "ConvTranspose": convolutions.conv_transpose_backward,
    "DeformConv": convolutions.conv_backward,
    "Gemm": matrices.gemm_backward,
    "MatMul": matrices.matmul_backward,
    "Einsum": matrices.einsum_backward,
    "Gather": embeddings.gather_backward,
    "GatherND": embeddings.gather_nd_backward,
    "LayerNormalization": norms.last_axes_backward,
    "RMSNormalization": norms.last_axes_backward,
    "SimplifiedLayerNormalization": norms.last_axes_backward,
    "InstanceNormalization": norms.instance_norm_backward,
    "GroupNormalization": norms.group_norm_backward,
    "BatchNormalization": norms.batch_norm_backward,
    "Selu": invariant.selu_backward,
    "Mul": quantized.scales_backward,
    "DequantizeLinear": quantized.dequantized_backward,
    **of_domain(
        ML_DOMAIN,
        {
            "LinearRegressor": ml_models.linear_regressor_backward,
            "TreeEnsembleRegressor": ml_models.tree_regressor_backward,
        },
    ),
    **of_domain(
        RUNTIME_DOMAIN,
        {
            **dict.fromkeys(runtime_products.PRODUCTS, runtime_products.product_backward),
            "DequantizeLinear": quantized.dequantized_backward,
            "EmbedLayerNormalization": norms.last_axes_backward,
            "FusedConv": runtime_operators.fused_conv_backward,
            "FusedGemm": runtime_operators.fused_gemm_backward,
            "FusedMatMul": runtime_operators.fused_matmul_backward,
            "GatherBlockQuantized": embeddings.gather_quantized_backward,
            "SkipLayerNormalization": norms.last_axes_backward,
            "SkipSimplifiedLayerNormalization": norms.last_axes_backward,
        },
    ),
}
FORWARD: AbsorberTable = {
    "Conv": convolutions.conv_forward,
    "ConvTranspose": convolutions.conv_transpose_forward,
    "DeformConv": convolutions.conv_forward,
    "Gemm": matrices.gemm_forward,
    "MatMul": matrices.matmul_forward,
    "Einsum": matrices.einsum_forward,
    "LSTM": recurrent.recurrent_forward,
    "GRU": recurrent.recurrent_forward,
    "RNN": recurrent.recurrent_forward,
    "LayerNormalization": norms.layer_norm_forward,
    "RMSNormalization": norms.rms_norm_forward,
    "SimplifiedLayerNormalization": norms.rms_norm_forward,
    "InstanceNormalization": norms.instance_norm_forward,
    "GroupNormalization": norms.group_norm_forward,
    "BatchNormalization": norms.batch_norm_forward,
    "Softmax": invariant.softmax_forward,
    "LogSoftmax": invariant.softmax_forward,
    "ArgMax": invariant.order_forward,
    "ArgMin": invariant.order_forward,
    "Hardmax": invariant.first_of_largest_forward,
    "LpNormalization": invariant.direction_forward,
    "Sign": invariant.sign_forward,
    "MeanVarianceNormalization": invariant.mean_variance_forward,
    "HardSigmoid": invariant.hard_sigmoid_forward,
    **of_domain(
        ML_DOMAIN,
        {
            "LinearRegressor": ml_models.linear_model_forward,
            "LinearClassifier": ml_models.linear_model_forward,
            "SVMRegressor": ml_models.linear_machine_forward,
            "Normalizer": invariant.direction_forward,
        },
    ),
    **of_domain(
        RUNTIME_DOMAIN,
        {
            "Attention": runtime_operators.attention_forward,
            "BiasGelu": runtime_operators.biased_forward,
            "FastGelu": runtime_operators.biased_forward,
            "FusedConv": convolutions.conv_forward,
            "FusedGemm": matrices.gemm_forward,
            "FusedMatMul": runtime_operators.fused_matmul_forward,
            "MatMulNBits": runtime_products.blocks_forward,
        },
    ),
}
# These are linear only with a constant among so many operands; between two variables they are carriers.
_OPERANDS = {"MatMul": 2, "Einsum": 2, "Gather": 1, "GatherND": 1}


def absorber_for(table: AbsorberTable, reader: GraphReader, node: ir.Node) -> Absorber | None:
    """Return the rule that lets ``node`` take an affine, or None where it can only pass it on."""
    name = qualified_name(node)
    operands = node.inputs[: _OPERANDS.get(name, 0)]
    if operands and not any(map(reader.is_constant, operands)):
        return None
    if name == f"{RUNTIME_DOMAIN}.FusedMatMul" and not reader.is_constant(node.inputs[1]):
        return None
    if name == "Mul" and not is_product_of_scales(reader, node):
        return None
    if name == "Gemm" and not gemm.is_linear(reader, node):
        return None  # with a variable C, or two variable factors, it is a carrier
    if name == "Einsum" and len(node.inputs) != 2:
        return None  # of one operand, or of more than two, it is a carrier
    return table.get(name)


def takes_part(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether an affine passes ``node`` or ends there, in either direction."""
    carriers = (carry.carrier_for(table, node) for table in (carry.BACKWARD, carry.FORWARD))
    absorbers = (absorber_for(table, reader, node) for table in (BACKWARD, FORWARD))
    return any(each is not None for each in (*carriers, *absorbers))
