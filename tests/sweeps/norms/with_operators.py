"""Write the published norms by operators: python -m tests.sweeps.norms.with_operators LIBRARY FOLDER [NAME ...].

LIBRARY is onnxscript (its graph builder, operator set 23) or skl2onnx (its algebra, operator set 18).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tests.sweeps.norms.formulas import CHANNELS, GROUPS, SIDE, TOKENS
from tests.sweeps.norms.published import Weights, network, save_all, shapes_of


@dataclass(frozen=True, eq=False)
class Term:
    """A value of the graph, and its rank; arithmetic writes operators."""

    f: Any
    value: Any
    rank: int

    def _with(self, operator: str, other: Any, *, is_right: bool = False) -> Any:
        operands = (other, self) if is_right else (self, other)
        return self.f.op(operator, *operands)

    def __add__(self, other: Any) -> Any:
        return self._with("Add", other)

    def __radd__(self, other: Any) -> Any:
        return self._with("Add", other, is_right=True)

    def __sub__(self, other: Any) -> Any:
        return self._with("Sub", other)

    def __rsub__(self, other: Any) -> Any:
        return self._with("Sub", other, is_right=True)

    def __mul__(self, other: Any) -> Any:
        return self._with("Mul", other)

    def __rmul__(self, other: Any) -> Any:
        return self._with("Mul", other, is_right=True)

    def __truediv__(self, other: Any) -> Any:
        return self._with("Div", other)

    def __getitem__(self, index: int) -> Any:
        return self.f.op("Gather", self, np.array([index]), axis=0)


class Operations:
    """The operations of ``published`` in operators of the standard."""

    channel = 1
    space = (2, 3)
    kernel_inputs = (1, 2, 3)
    kernel_space = (2, 3)
    kernel_scale = (CHANNELS, 1, 1, 1)

    def __init__(self, write: Callable[..., Any], second: Any, second_rank: int) -> None:
        self.write, self.layers, self.weights = write, LAYERS, Weights()
        self.second = None if second is None else Term(self, second, second_rank)

    def op(self, operator: str, *inputs: Any, rank: int | None = None, **attributes: Any) -> Term:
        values = [
            each.value if isinstance(each, Term) else np.asarray(each, np.float32 if isinstance(each, float) else None)
            for each in inputs
        ]
        ranks = [each.rank if isinstance(each, Term) else np.ndim(each) for each in inputs]
        return Term(self, self.write(operator, values, attributes), max(ranks) if rank is None else rank)

    def weight(self, shape: tuple[int, ...], near: float, spread: float) -> Term:
        return Term(self, self.weights.draw(shape, near, spread), len(shape))

    def dense(self, x: Term, width: int) -> Any:
        return self.op("MatMul", x, self.weight((CHANNELS, width), 0.0, 0.3)) + self.weight((width,), 0.0, 0.3)

    def conv(self, x: Term, width: int) -> Term:
        kernel, bias = self.weight((width, CHANNELS, 3, 3), 0.0, 0.2), self.weight((width,), 0.0, 0.3)
        return self.op("Conv", x, kernel, bias, pads=[1, 1, 1, 1])

    def kernel(self) -> Term:
        return self.weight((CHANNELS, CHANNELS, 3, 3), 0.0, 0.2)

    def convolved(self, x: Term, kernel: Term) -> Term:
        return self.op("Conv", x, kernel, pads=[1, 1, 1, 1])

    def input_rows(self, power: Term) -> Term:
        return self.op("Transpose", self.reshape(power, (CHANNELS, CHANNELS)), perm=[1, 0])

    def rank(self, x: Term) -> int:
        return x.rank

    def mean(self, x: Term, axes: tuple[int, ...]) -> Term:
        return self.op("ReduceMean", x, np.array(axes), keepdims=1)

    def sum(self, x: Term, axes: tuple[int, ...]) -> Term:
        return self.op("ReduceSum", x, np.array(axes), keepdims=1)

    def var(self, x: Term, axes: tuple[int, ...]) -> Term:
        return self.mean(self.square(x - self.mean(x, axes)), axes)

    def deviation(self, x: Term, axes: tuple[int, ...]) -> Term:
        return self.sqrt(
            self.op("ReduceSumSquare", x - self.mean(x, axes), np.array(axes), keepdims=1) / (CHANNELS - 1.0)
        )

    def length(self, x: Term, axes: tuple[int, ...]) -> Term:
        return self.op("ReduceL2", x, np.array(axes), keepdims=1)

    def square(self, x: Term) -> Term:
        return self.op("Mul", x, x)

    def rsqrt(self, x: Term) -> Term:
        return self.op("Reciprocal", self.op("Sqrt", x))

    def sqrt(self, x: Term) -> Term:
        return self.op("Sqrt", x)

    def maximum(self, x: Term, low: Any) -> Term:
        return self.op("Max", x, low)

    def reshape(self, x: Term, shape: tuple[int, ...]) -> Term:
        return self.op("Reshape", x, np.array(shape), rank=len(shape))

    def broadcast(self, x: Term, like: Term) -> Term:
        return self.op("Expand", x, self.op("Shape", like))

    def moved(self, x: Term, order: tuple[int, ...]) -> Term:
        return self.op("Transpose", x, perm=list(order))

    def swap(self, x: Term) -> Term:
        return self.op("Transpose", x, perm=[0, 2, 1])

    def part(self, x: Term, width: int, start: int = 0, axis: int = 2) -> Term:
        return self.op("Slice", x, np.array([start]), np.array([start + width]), np.array([axis]))

    def halves(self, x: Term) -> list[Term]:
        return [self.part(x, CHANNELS // 2, start, 1) for start in (0, CHANNELS // 2)]

    def joined(self, parts: list[Term], axis: int) -> Term:
        return self.op("Concat", *parts, axis=axis)

    def softmax(self, x: Term) -> Term:
        return self.op("Softmax", x, axis=-1)

    def constant(self, numbers: list[list[float]]) -> Term:
        return Term(self, np.array(numbers, np.float32), 2)

    def cumulated(self, x: Term, axis: int) -> Term:
        return self.op("CumSum", x, np.array(axis))

    def least(self, x: Term, axes: tuple[int, ...]) -> Term:
        return self.op("ReduceMin", x, np.array(axes), keepdims=1)

    def largest(self, x: Term, axes: tuple[int, ...]) -> Term:
        return self.op("ReduceMax", x, np.array(axes), keepdims=1)

    def blurred(self, x: Term) -> Term:
        return self.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def magnitude(self, x: Term) -> Term:
        return self.op("Abs", x)

    def tanh(self, x: Term) -> Term:
        return self.op("Tanh", x)

    def sigmoid(self, x: Term) -> Term:
        return self.op("Sigmoid", x)

    def erf(self, x: Term) -> Term:
        return self.op("Erf", x)

    def exp(self, x: Term) -> Term:
        return self.op("Exp", x)

    def relu(self, x: Term) -> Term:
        return self.op("Relu", x)

    def power(self, x: Term, exponent: float) -> Term:
        return self.op("Pow", x, exponent)

    def matmul(self, x: Term, y: Term) -> Term:
        return self.op("MatMul", x, y)


def _own(operator: str, parameters: Sequence[tuple[tuple[int, ...], float]], **attributes: Any) -> Any:
    return lambda f, x: f.op(
        operator, x, *(f.weight(shape, near, 0.3) for shape, near in parameters), rank=x.rank, **attributes
    )


_PAIR = [((CHANNELS,), 1.0), ((CHANNELS,), 0.0)]
LAYERS: dict[str, Any] = {
    "LayerNorm": _own("LayerNormalization", _PAIR),
    "LayerNorm over 2 axes": _own(
        "LayerNormalization", [((TOKENS, CHANNELS), 1.0), ((TOKENS, CHANNELS), 0.0)], axis=-2
    ),
    "LayerNorm over 3 axes": _own(
        "LayerNormalization", [((CHANNELS, SIDE, SIDE), 1.0), ((CHANNELS, SIDE, SIDE), 0.0)], axis=1
    ),
    "BatchNorm": _own("BatchNormalization", [*_PAIR, ((CHANNELS,), 0.0), ((CHANNELS,), 1.0)]),
    "InstanceNorm": _own("InstanceNormalization", _PAIR),
    "mean variance normalization": _own("MeanVarianceNormalization", []),
    "LRN": _own("LRN", [], size=5),
    "GroupNorm": lambda f, x: _own("GroupNormalization", _PAIR, num_groups=GROUPS)(f, x),
    "RMSNorm": lambda f, x: _own("RMSNormalization", [((CHANNELS,), 1.0)])(f, x),
}
# RMSNormalization came after operator set 18; of the others skl2onnx expects other outputs than there are
_NOT_IN_SKL2ONNX = ("GroupNorm", "RMSNorm", "LayerNorm", "LayerNorm over 2 axes", "LayerNorm over 3 axes", "BatchNorm")


def with_onnxscript(name: str) -> Any:
    builder_of = importlib.import_module("onnxscript").GraphBuilder
    ir = importlib.import_module("onnx_ir")
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 23}, name="norm")
    builder = builder_of(graph)
    shapes = shapes_of(name, 1)
    inputs = [
        builder.input(label, dtype=ir.DataType.FLOAT, shape=ir.Shape(["batch", *shape]))
        for label, shape in zip(["x", "second"], shapes, strict=False)
    ]

    def write(operator: str, values: list[Any], attributes: dict[str, Any]) -> Any:
        made = [
            builder.initializer(ir.tensor(each), name=f"w{len(graph.initializers)}")
            if isinstance(each, np.ndarray)
            else each
            for each in values
        ]
        return getattr(builder.op, operator)(*made, **attributes)

    f = Operations(write, inputs[1] if len(inputs) > 1 else None, len(shapes[-1]) + 1)
    builder.add_output(network(f, name, Term(f, inputs[0], len(shapes[0]) + 1)).value, "y")
    return onnx.ModelProto.FromString(ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString())


def with_skl2onnx(name: str) -> Any:
    operators = importlib.import_module("skl2onnx.algebra.onnx_ops")
    types = importlib.import_module("skl2onnx.common.data_types")
    shapes = shapes_of(name, 1)

    def write(operator: str, values: list[Any], attributes: dict[str, Any]) -> Any:
        return getattr(operators, f"Onnx{operator}")(*values, op_version=18, **attributes)

    f = Operations(write, "second" if len(shapes) > 1 else None, len(shapes[-1]) + 1)
    f.layers = {key: layer for key, layer in LAYERS.items() if key not in _NOT_IN_SKL2ONNX}
    made = network(f, name, Term(f, "x", len(shapes[0]) + 1)).value
    inputs = [
        (label, types.FloatTensorType([None, *shape])) for label, shape in zip(["x", "second"], shapes, strict=False)
    ]
    return made.to_onnx(inputs, target_opset=18)


def main() -> int:
    library, folder, *names = sys.argv[1:]
    make = {"onnxscript": with_onnxscript, "skl2onnx": with_skl2onnx}[library]
    return save_all(folder, names, lambda name, path: onnx.save(make(name), path))


if __name__ == "__main__":
    main()
