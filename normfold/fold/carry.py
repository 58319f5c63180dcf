"""Which operators an affine passes, backward and forward: two tables, one line for each operator.

Backward: the output of ``op(u...)`` shall become ``A(op(u...))``; find affines on the inputs that make it so. Each
answer is a list of alternatives, the preferred first. Forward: the operator reads ``x`` where ``A(x)`` was meant; find
what its output then lacks. What is not in a table stops every affine. https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from normfold.fold.carriers import elementwise, joints, layout_operators, products, sums, windows
from normfold.fold.carriers.passage import Carrier, Tables, both_ways

_EITHER: dict[str, tuple[Carrier, Carrier]] = {
    "Identity": (elementwise.identity, elementwise.identity),
    "Dropout": (elementwise.identity, elementwise.identity),
    "Cast": (elementwise.cast, elementwise.cast),
    "Relu": (elementwise.positively_homogeneous, elementwise.positively_homogeneous),
    "LeakyRelu": (elementwise.positively_homogeneous, elementwise.positively_homogeneous),
    "PRelu": (elementwise.positively_homogeneous, elementwise.positively_homogeneous),
    "Abs": (elementwise.positively_homogeneous, elementwise.positively_homogeneous),
    "Clip": both_ways(elementwise.clip),
    "MaxPool": (windows.maximum, windows.maximum),
    "GlobalMaxPool": (windows.maximum, windows.maximum),
    "AveragePool": (windows.average, windows.average),
    "GlobalAveragePool": (windows.average, windows.average),
    "Resize": (windows.resize, windows.resize),
    "Upsample": (windows.resize, windows.resize),
    "Pad": both_ways(windows.pad),
    "ReduceMean": both_ways(windows.reduction),
    "ReduceMax": both_ways(windows.reduction),
    "ReduceMin": both_ways(windows.reduction),
    "ReduceSum": both_ways(windows.reduction),
    "Transpose": both_ways(layout_operators.transpose),
    "Reshape": both_ways(layout_operators.reshape),
    "Flatten": both_ways(layout_operators.reshape),
    "Squeeze": both_ways(layout_operators.reshape),
    "Unsqueeze": both_ways(layout_operators.reshape),
    "Expand": both_ways(layout_operators.expand),
    "Tile": both_ways(layout_operators.expand),
    "Slice": both_ways(layout_operators.part),
    "Gather": both_ways(layout_operators.part),
    "DepthToSpace": both_ways(layout_operators.depth_to_space),
    "SpaceToDepth": both_ways(layout_operators.space_to_depth),
    "Concat": (joints.concat_backward, joints.concat_forward),
    "Split": (joints.split_backward, joints.split_forward),
    "Add": (sums.add_backward, sums.add_forward),
    "Sum": (sums.add_backward, sums.add_forward),
    "Sub": (sums.add_backward, sums.add_forward),
    "Mul": (products.product_backward, products.product_forward),
    "Div": (products.product_backward, products.product_forward),
    "MatMul": (products.matmul_backward, products.matmul_forward),
}
BACKWARD: Tables = {operator: backward for operator, (backward, _) in _EITHER.items()}
FORWARD: Tables = {
    **{operator: forward for operator, (_, forward) in _EITHER.items()},
    "Shape": elementwise.only_shape,
    "Size": elementwise.only_shape,
}
