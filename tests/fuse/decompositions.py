"""Generates norms in every decomposition: the product of how mean, variance, root, scale and shift can be written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float64]
EPS = 1e-3
# Every norm reduces 8 elements, so that 1/n is exact in every type.
NORMS = ("layernorm", "layernorm2", "channels_first", "instancenorm", "rmsnorm")
SHAPES = {
    "layernorm": (2, 3, 8),
    "layernorm2": (2, 3, 2, 4),
    "channels_first": (2, 8, 3, 5),
    "instancenorm": (2, 6, 2, 4),
    "rmsnorm": (2, 3, 8),
}
AXES = {
    "layernorm": (-1,),
    "layernorm2": (-2, -1),
    "channels_first": (1,),
    "instancenorm": (2, 3),
    "rmsnorm": (-1,),
}
CHOICES = {
    "mean": ("mean", "sum/n", "sum*1/n"),
    "square": ("pow", "mul", "sumsquare", "l2"),
    "variance": ("centred", "raw"),
    "root": ("sqrt div", "sqrt reciprocal", "sqrt one over", "pow -0.5", "pow 0.5 div", "reciprocal sqrt", "exp log"),
    "apply": ("plain", "swapped", "tensorflow", "negated", "shared", "duplicated"),
    "affine": ("both", "none", "gamma", "beta", "identity"),
    "eps": ("right", "left", "vector"),
    "axes": ("negative", "positive", "reversed"),
    "casts": ("none", "half", "half, affine inside"),
}


@dataclass(frozen=True)
class Decomposition:
    """One way to write a norm."""

    norm: str = "layernorm"
    opset: int = 17
    mean: str = "mean"
    square: str = "pow"
    variance: str = "centred"
    root: str = "sqrt div"
    apply: str = "plain"
    affine: str = "both"
    eps: str = "right"
    axes: str = "negative"
    casts: str = "none"

    @property
    def makes_sense(self) -> bool:
        """RMSNorm has no mean; TensorFlow's decomposition multiplies by the inverse root."""
        if self.norm == "rmsnorm":
            return (
                self.apply in ("plain", "swapped")
                and self.variance == "centred"
                and self.affine in ("both", "none", "identity")
            )
        divides = self.root in ("sqrt div", "pow 0.5 div")
        return not (self.apply == "tensorflow" and (divides or self.affine not in ("both",)))

    def __str__(self) -> str:
        return ", ".join(f"{each.name}={getattr(self, each.name)}" for each in fields(self))


def pairwise(norm: str, opset: int, count: int, seed: int) -> list[Decomposition]:
    """``count`` different decompositions drawn from the whole product."""
    every = list(product(norm, opset))
    order = np.random.default_rng(seed).permutation(len(every))
    return [every[index] for index in order[:count]]


def product(norm: str, opset: int) -> Iterator[Decomposition]:
    """Every decomposition of a norm at an operator set."""
    for values in itertools.product(*CHOICES.values()):
        decomposition = Decomposition(norm, opset, **dict(zip(CHOICES, values, strict=True)))
        if decomposition.makes_sense:
            yield decomposition


@dataclass
class Build:
    """A model under construction."""

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [out], name=f"n{len(self.nodes)}", **attributes))
        return out

    def constant(self, array: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(array).astype(dtype), name))
        return name

    def reduce(self, operator: str, value: str, axes: tuple[int, ...], **attributes: Any) -> str:
        since = 13 if operator == "ReduceSum" else 18
        if self.opset >= since:
            return self.op(operator, value, self.constant(axes, np.int64), **attributes)
        return self.op(operator, value, axes=list(axes), **attributes)


def model_of(decomposition: Decomposition) -> onnx.ModelProto:
    """The model: input x, output y; the norm and nothing else."""
    build = Build(decomposition.opset)
    shape, axes = SHAPES[decomposition.norm], AXES[decomposition.norm]
    rank = len(shape)
    if decomposition.axes != "negative" and decomposition.opset >= 11:
        axes = tuple(axis % rank for axis in axes)
        axes = axes[::-1] if decomposition.axes == "reversed" else axes
    if decomposition.opset < 11:
        axes = tuple(sorted(axis % rank for axis in axes))
    is_half = decomposition.casts != "none"
    data = build.op("Cast", "x", to=TensorProto.FLOAT) if is_half else "x"
    inside = not is_half or decomposition.casts == "half, affine inside"
    normed = _normed(build, decomposition, data, axes, shape, affine=inside)
    if is_half:
        normed = build.op("Cast", normed, to=TensorProto.FLOAT16)
        if not inside:
            normed = _affine(build, decomposition, normed, shape, np.float16)
    build.op("Identity", normed, out="y")
    kind = TensorProto.FLOAT16 if is_half else TensorProto.FLOAT
    value = helper.make_tensor_value_info
    graph = helper.make_graph(build.nodes, "g", [value("x", kind, shape)], [value("y", kind, shape)], build.tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", decomposition.opset)], ir_version=8)
    if decomposition.opset >= 21:
        model.ir_version = 10 if decomposition.opset < 23 else 11
    onnx.checker.check_model(model)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _mean(build: Build, decomposition: Decomposition, value: str, axes: tuple[int, ...], count: int) -> str:
    if decomposition.mean == "mean":
        return build.reduce("ReduceMean", value, axes, keepdims=1)
    total = build.reduce("ReduceSum", value, axes)
    return _over(build, decomposition, total, count)


def _over(build: Build, decomposition: Decomposition, total: str, count: int) -> str:
    if decomposition.mean == "sum*1/n":
        return build.op("Mul", build.constant(1.0 / count), total)
    return build.op("Div", total, build.constant(float(count)))


def _mean_square(build: Build, decomposition: Decomposition, value: str, axes: tuple[int, ...], count: int) -> str:
    if decomposition.square == "sumsquare":
        return _over(build, decomposition, build.reduce("ReduceSumSquare", value, axes, keepdims=1), count)
    if decomposition.square == "l2":
        length = build.reduce("ReduceL2", value, axes)
        return _over(build, decomposition, build.op("Pow", length, build.constant(2.0)), count)
    square = (
        build.op("Mul", value, value) if decomposition.square == "mul" else build.op("Pow", value, build.constant(2.0))
    )
    return _mean(build, decomposition, square, axes, count)


def _normed(
    build: Build, decomposition: Decomposition, x: str, axes: tuple[int, ...], shape: tuple[int, ...], *, affine: bool
) -> str:
    count = int(np.prod([shape[axis] for axis in axes]))
    if decomposition.norm == "rmsnorm":
        root, divides = _root(build, decomposition, _mean_square(build, decomposition, x, axes, count), axes)
        value = _times(build, decomposition, x, root, divides)
        return _affine(build, decomposition, value, shape) if affine else value
    mean = _mean(build, decomposition, x, axes, count)
    order = (mean, x) if decomposition.apply == "negated" else (x, mean)
    centred = build.op("Sub", *order)
    if decomposition.variance == "raw":
        below = build.op("Mul", mean, mean)
        variance = build.op("Sub", _mean_square(build, decomposition, x, axes, count), below)
    else:
        again = build.op("Sub", *order) if decomposition.apply == "duplicated" else centred
        variance = _mean_square(build, decomposition, again, axes, count)
    root, divides = _root(build, decomposition, variance, axes)
    if decomposition.apply == "tensorflow" and affine:
        return _tensorflow(build, decomposition, x, mean, root, shape)
    value = _times(build, decomposition, centred, root, divides)
    return _affine(build, decomposition, value, shape) if affine else value


def _root(build: Build, decomposition: Decomposition, variance: str, axes: tuple[int, ...]) -> tuple[str, bool]:
    """The standard deviation or its inverse, and whether to divide by it."""
    vector = [1] * (len(SHAPES[decomposition.norm]) - 1) + [1]
    eps = build.constant(np.full(vector, EPS) if decomposition.eps == "vector" else EPS)
    inside = build.op("Add", eps, variance) if decomposition.eps == "left" else build.op("Add", variance, eps)
    if decomposition.root == "pow -0.5":
        return build.op("Pow", inside, build.constant(-0.5)), False
    if decomposition.root == "exp log":
        return build.op("Exp", build.op("Mul", build.op("Log", inside), build.constant(-0.5))), False
    if decomposition.root == "pow 0.5 div":
        return build.op("Pow", inside, build.constant(0.5)), True
    if decomposition.root == "reciprocal sqrt":
        return build.op("Sqrt", build.op("Reciprocal", inside)), False
    deviation = build.op("Sqrt", inside)
    if decomposition.root == "sqrt reciprocal":
        return build.op("Reciprocal", deviation), False
    if decomposition.root == "sqrt one over":
        return build.op("Div", build.constant(1.0), deviation), False
    return deviation, True


def _times(build: Build, decomposition: Decomposition, value: str, root: str, divides: bool) -> str:
    if divides:
        return build.op("Div", value, root)
    return build.op("Mul", root, value) if decomposition.apply == "swapped" else build.op("Mul", value, root)


def parameters(decomposition: Decomposition) -> tuple[Array, Array]:
    """gamma and beta, shaped for the norm."""
    shape = SHAPES[decomposition.norm]
    rng = np.random.default_rng(3)
    form = {
        "layernorm": shape[-1:],
        "layernorm2": shape[-2:],
        "channels_first": (shape[1], 1, 1),
        "instancenorm": (1, shape[1], 1, 1),
        "rmsnorm": (1, 1, *shape[-1:]),
    }[decomposition.norm]
    return rng.uniform(0.5, 1.5, form) * rng.choice((-1, 1), form), rng.normal(size=form)


def _affine(
    build: Build, decomposition: Decomposition, value: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32
) -> str:
    gamma, beta = parameters(decomposition)
    if decomposition.affine in ("both", "gamma", "identity"):
        scale = build.constant(gamma, dtype)
        if decomposition.affine == "identity":
            scale = build.op("Identity", scale)
        value = build.op("Mul", scale, value) if decomposition.apply == "swapped" else build.op("Mul", value, scale)
    if decomposition.norm != "rmsnorm" and decomposition.affine in ("both", "beta"):
        value = build.op("Add", value, build.constant(beta, dtype))
    return value


def _tensorflow(
    build: Build, decomposition: Decomposition, x: str, mean: str, root: str, shape: tuple[int, ...]
) -> str:
    """x * (gamma * r) + (beta - mean * gamma * r)."""
    gamma, beta = parameters(decomposition)
    scale = build.op("Mul", root, build.constant(gamma))
    shift = build.op("Sub", build.constant(beta), build.op("Mul", mean, scale))
    return build.op("Add", build.op("Mul", x, scale), shift)


def data_for(decomposition: Decomposition, kind: str) -> dict[str, npt.NDArray[np.float64]]:
    """Normal data, data far from 0, and data with a small variance."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=SHAPES[decomposition.norm])
    return {"x": {"normal": x, "mean 1e3": x + 1e3, "variance 1e-6": x * 1e-3}[kind]}
