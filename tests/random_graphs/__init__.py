"""Random small networks out of the operators that folds pass, end in, start from and stop at.

Everything is drawn by hypothesis, so a failure shrinks to a few operators. Shapes are kept with a batch of unknown size
(``BATCH``, and 2 where an operator needs to know it); the values of weights come from a drawn seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.random_graphs import carriers, linear
from tests.random_graphs.net import BATCH, Net, Shape, Unfit

OPERATORS: tuple[tuple[Callable[[Net], None], int], ...] = (
    (linear.batchnorm, 6),
    (linear.arithmetic, 8),
    (linear.conv, 5),
    (linear.parallel, 2),
    (linear.conv_transpose, 2),
    (linear.matmul, 4),
    (linear.gemm, 2),
    (linear.norm, 2),
    (carriers.elementwise, 4),
    (carriers.pool, 2),
    (carriers.reduce, 2),
    (carriers.layout, 4),
    (carriers.concat, 2),
    (carriers.split, 2),
    (carriers.part, 2),
    (carriers.spread, 2),
    (carriers.join, 5),
    (carriers.product, 1),
    (carriers.branch, 1),
    (carriers.choose, 2),
    (carriers.power, 1),
    (carriers.function, 2),
    (carriers.along_axis, 2),
    (carriers.average_of, 1),
    (carriers.einsum, 1),
    (carriers.order, 2),
    (linear.quantized, 1),
    (carriers.called, 1),
)
_WEIGHTED = [operator for operator, weight in OPERATORS for _ in range(weight)]
_INPUTS: tuple[Shape, ...] = (
    (BATCH, 4, 4, 4),
    (BATCH, 3, 5),
    (BATCH, 4, 6),
    (BATCH, 6),
    (BATCH, 2, 3, 4),
    (2, 4, 3, 3),
)


@st.composite
def networks(draw: st.DrawFn, most: int = 12) -> onnx.ModelProto:
    """A checked model of up to ``most`` operators, with shapes inferred."""
    dtype = draw(st.sampled_from([TensorProto.FLOAT] * 4 + [TensorProto.FLOAT16]))
    opset = draw(st.sampled_from([17, 17, 13, 18, 21, 23]))
    net = Net(draw, np.random.default_rng(draw(st.integers(0, 10**6))), dtype, opset)
    inputs = [draw(st.sampled_from(_INPUTS))]
    inputs += [inputs[0]] if draw(st.booleans()) else []
    for index, shape in enumerate(inputs):
        net.values[f"x{index}"] = shape
    for operator in draw(st.lists(st.sampled_from(_WEIGHTED), min_size=1, max_size=most)):
        try:
            operator(net)
        except Unfit:
            continue
    return finished(net, inputs)


def finished(net: Net, inputs: Sequence[Shape]) -> onnx.ModelProto:
    """The model whose outputs are what no operator reads, and now and then one value that an operator does read."""
    read = {name for node in net.nodes for name in node.input} | {
        name for node in net.nodes for attribute in node.attribute for inner in attribute.g.node for name in inner.input
    }
    made = [name for node in net.nodes for name in node.output if name in net.values]
    outputs = [name for name in made if name not in read]
    inner = [name for name in made if name in read]
    if inner and net.number(0, 3) == 0:
        outputs.append(net.draw(st.sampled_from(inner)))
    if not outputs:
        net.nodes.append(helper.make_node("Relu", ["x0"], ["y"]))
        net.values["y"] = inputs[0]
        outputs = ["y"]

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, net.dtype, list(net.values[name]))

    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    graph = helper.make_graph(
        net.nodes,
        "random",
        [*(info(f"x{index}") for index in range(len(inputs))), *([flag] if "flag" in read else [])],
        [info(name) for name in outputs],
        net.weights,
    )
    imports = [helper.make_opsetid("", net.opset), *([helper.make_opsetid("local", 1)] if net.functions else [])]
    model = helper.make_model(graph, opset_imports=imports, functions=net.functions, ir_version=8)
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
