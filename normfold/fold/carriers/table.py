"""Which operators an affine passes, backward and forward: two tables, one line for each operator.

Backward: the output of ``op(u...)`` shall become ``A(op(u...))``; find affines on the inputs that make it so. Each
answer is a list of alternatives, the preferred first. Forward: the operator reads ``x`` where ``A(x)`` was meant; find
what its output then lacks. What is not in a table stops every affine. https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import onnx_ir as ir

from normfold.fold.carriers import (
    attention,
    concat_split,
    elementwise,
    gemm,
    indexing,
    layout_operators,
    products,
    sums,
    unary_functions,
    where_max_min,
    windows,
)
from normfold.fold.rule import Carrier, CarrierTable, both_ways
from normfold.operators.table import ML_DOMAIN, RESHAPES, RUNTIME_DOMAIN, of_domain, qualified_name

_EITHER: dict[str, tuple[Carrier, Carrier]] = {
    "Dropout": (elementwise.dropout, elementwise.dropout),
    "Cast": (elementwise.cast, elementwise.cast),
    "Relu": (elementwise.positively_homogeneous, elementwise.positively_homogeneous),
    "LeakyRelu": (elementwise.leaky, elementwise.leaky),
    "PRelu": (elementwise.leaky, elementwise.leaky),
    "Abs": both_ways(elementwise.absolute),
    "Clip": both_ways(elementwise.clip),
    "ThresholdedRelu": both_ways(elementwise.threshold),
    "Shrink": both_ways(elementwise.threshold),
    "Celu": both_ways(elementwise.threshold),
    "LRN": both_ways(elementwise.local_response),
    "Trilu": (elementwise.triangle, elementwise.triangle),
    "CumSum": (elementwise.running_sum, elementwise.running_sum),
    "Sqrt": both_ways(unary_functions.power),
    "Reciprocal": both_ways(unary_functions.power),
    "Pow": both_ways(unary_functions.power),
    "Exp": both_ways(unary_functions.exponential),
    "Log": both_ways(unary_functions.logarithm),
    "Where": both_ways(where_max_min.choice),
    "Max": both_ways(where_max_min.choice),
    "Min": both_ways(where_max_min.choice),
    "MaxPool": (windows.maximum, windows.maximum),
    "GlobalMaxPool": (windows.maximum, windows.maximum),
    "AveragePool": (windows.average, windows.average),
    "GlobalAveragePool": (windows.average, windows.average),
    "Crop": (windows.average, windows.average),  # of a window of one
    "Resize": (windows.resize, windows.resize),
    "Upsample": (windows.resize, windows.resize),
    "Pad": both_ways(windows.pad),
    "ReduceMean": both_ways(windows.reduction),
    "ReduceMax": both_ways(windows.reduction),
    "ReduceMin": both_ways(windows.reduction),
    "ReduceSum": both_ways(windows.reduction),
    "ReduceL1": both_ways(windows.reduction),
    "ReduceL2": both_ways(windows.reduction),
    "ReduceSumSquare": both_ways(windows.reduction),
    "ReduceLogSumExp": both_ways(windows.reduction),
    "LpPool": both_ways(windows.lp_average),
    "GlobalLpPool": both_ways(windows.lp_average),
    "GridSample": (windows.sampled, windows.sampled),
    "RoiAlign": (windows.sampled, windows.sampled),
    "Transpose": both_ways(layout_operators.transpose),
    "Reshape": both_ways(layout_operators.reshape),
    "Flatten": both_ways(layout_operators.reshape),
    "Squeeze": both_ways(layout_operators.reshape),
    "Unsqueeze": both_ways(layout_operators.reshape),
    "Expand": both_ways(layout_operators.expand),
    "Tile": both_ways(layout_operators.expand),
    "Slice": both_ways(layout_operators.part),
    "Gather": both_ways(layout_operators.part),
    "GatherElements": (indexing.by_element, indexing.by_element),
    "GatherND": both_ways(indexing.by_position),
    "ReverseSequence": (indexing.reversed_sequence, indexing.reversed_sequence),
    "TopK": (indexing.largest, indexing.largest),
    "ScatterElements": both_ways(indexing.scatter),
    "ScatterND": both_ways(indexing.scatter),
    "Compress": both_ways(indexing.compress),
    "MaxUnpool": (indexing.unpooled, indexing.unpooled),
    "DepthToSpace": both_ways(layout_operators.depth_to_space),
    "SpaceToDepth": both_ways(layout_operators.space_to_depth),
    "Concat": (concat_split.concat_backward, concat_split.concat_forward),
    "Split": (concat_split.split_backward, concat_split.split_forward),
    "Add": (sums.add_backward, sums.add_forward),
    "Sum": (sums.add_backward, sums.add_forward),
    "Sub": (sums.add_backward, sums.add_forward),
    "Mul": (products.product_backward, products.product_forward),
    "Div": (products.product_backward, products.product_forward),
    "Mean": (sums.mean_backward, sums.mean_forward),
    "Gemm": (gemm.backward, gemm.forward),
    "MatMul": (products.matmul_backward, products.matmul_forward),
    "Einsum": both_ways(products.einsum),
    "Attention": (attention.attention_backward, attention.attention_forward),
    "RotaryEmbedding": (attention.rotary, attention.rotary),
    "DFT": both_ways(attention.one_number),
    "STFT": both_ways(attention.one_number),
    "Col2Im": both_ways(attention.one_number),
    **of_domain(ML_DOMAIN, {"ArrayFeatureExtractor": both_ways(layout_operators.features)}),
    **of_domain(
        RUNTIME_DOMAIN,
        {
            "GroupQueryAttention": (attention.attention_backward, attention.attention_forward),
            "MultiHeadAttention": (attention.attention_backward, attention.attention_forward),
            "FusedMatMul": both_ways(products.fused_matmul),
            "QuickGelu": both_ways(unary_functions.quick_gelu),
            "RotaryEmbedding": (attention.rotary, attention.rotary),
        },
    ),
}
# What passes one number for all elements of a value whose rank is not known.
ANY_RANK = RESHAPES | {"Dropout", "Cast", "Relu", "LeakyRelu", "Abs", "Slice"}
_ODD = ("Tanh", "Erf", "Sin", "Sinh", "Asin", "Asinh", "Tan", "Atan", "Atanh", "Softsign", "Round")
BACKWARD: CarrierTable = {
    **{operator: backward for operator, (backward, _) in _EITHER.items()},
    **dict.fromkeys(_ODD, unary_functions.odd),
}
FORWARD: CarrierTable = {
    **{operator: forward for operator, (_, forward) in _EITHER.items()},
    **dict.fromkeys(_ODD, unary_functions.odd),
    "Cos": unary_functions.even,
    "Cosh": unary_functions.even,
    "Shape": elementwise.only_shape,
    "Size": elementwise.only_shape,
}


def carrier_for(table: CarrierTable, node: ir.Node) -> Carrier | None:
    """How an affine passes ``node``, by BACKWARD or FORWARD; None where it does not."""
    return table.get(qualified_name(node))
