"""Which nodes are constant affines, and which of them stand in a row.

A node is a constant affine when, at inference, its first output is ``scale * x + shift`` with constant arrays:
BatchNormalization with frozen statistics, Mul, Add, Sub, Div by a constant on either side, Neg, a Conv that only
multiplies each channel by a number, and the operators whose numbers are attributes: Scaler, Affine, Scale, ImageScaler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array, aligned
from normfold.findings.reason import Reason, Refusal
from normfold.graph.display_names import display_name, name_of
from normfold.graph.reader import FLOATS, Dim, GraphReader, attribute, has_parameters, input_at
from normfold.graph.training import is_training
from normfold.operators.table import ML_DOMAIN, qualified_name

_DEFAULT_EPSILON = float(np.float32(1e-5))  # as runtimes hold it


@dataclass(frozen=True, eq=False)
class AffineNode:
    """A constant affine node: it reads ``entry`` at input ``index`` and makes ``affine(entry)``."""

    node: ir.Node
    index: int
    affine: Affine

    @property
    def input(self) -> ir.Value:
        """Return the value that it reads."""
        entry = self.node.inputs[self.index]
        assert entry is not None, "an affine's variable operand is always present"
        return entry

    @property
    def indices(self) -> tuple[int, ...]:
        """Every input at which it reads its entry: ``x + x`` does so twice."""
        return tuple(index for index, value in enumerate(self.node.inputs) if value is self.input)

    @property
    def output(self) -> ir.Value:
        """Return the value that it makes."""
        return self.node.outputs[0]


@dataclass(frozen=True, eq=False)
class AffineChain:
    """Constant affines in a row, each the only reader of the one before; together they are one affine."""

    members: tuple[AffineNode, ...]

    @property
    def input(self) -> ir.Value:
        """Return the value that it reads."""
        return self.members[0].input

    @property
    def output(self) -> ir.Value:
        """Return the value that it makes."""
        return self.members[-1].output

    @cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Return the operators, in order."""
        return tuple(affine_node.node for affine_node in self.members)

    @cached_property
    def affine(self) -> Affine:
        """Return the affine that all of them are together."""
        total = self.members[0].affine
        for affine_node in self.members[1:]:
            total = total.then(affine_node.affine)
        return total

    @cached_property
    def has_batchnorm(self) -> bool:
        """Return whether one of them is a BatchNormalization."""
        return any(node.op_type == "BatchNormalization" for node in self.nodes)


# -- BatchNormalization ------------------------------------------------------------------------------------------
def _batchnorm(reader: GraphReader, node: ir.Node) -> AffineNode:
    """``y = gamma * (x - mean) / sqrt(var + eps) + beta`` along axis 1.

    Source: https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    """
    if is_training(node):
        more = [output.name for output in node.outputs[1:] if output.name]
        detail = "training_mode is 1" if attribute(node, "training_mode", 0) else f"it also gives out {', '.join(more)}"
        raise Refusal(Reason.TRAINING_MODE, name_of(node), detail=detail)
    gamma, beta, mean, variance = (parameter_of(reader, node, index).reshape(-1) for index in range(1, 5))
    spread = variance + epsilon_of(node)
    if not (spread > 0).all():
        channel = int(np.argmax(~(spread > 0)))
        raise Refusal(Reason.BAD_VARIANCE, name_of(node), detail=f"channel {channel}: {spread[channel]:.3g}")
    scale = gamma / np.sqrt(spread)
    form = form_of_parameters(reader, node, len(scale))
    return AffineNode(node, 0, Affine.of(scale.reshape(form), (beta - scale * mean).reshape(form), len(form)))


def form_of_parameters(reader: GraphReader, node: ir.Node, count: int) -> tuple[int, ...]:
    """Return the shape in which ``count`` parameters of a BatchNormalization broadcast to its input.

    Before opset 9 ``spatial=0`` gives every position of a sample parameters of its own.
    """
    shape = reader.require_shape(_operand(node, 0), node)
    rank = len(shape)
    if rank < 2:
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=f"the value has {rank} dimension and no channel axis")
    if not attribute(node, "spatial", 1):
        sizes = [size for size in shape[1:] if isinstance(size, int)]
        if len(sizes) != rank - 1 or prod(sizes) != count:
            detail = f"spatial=0 with {count} parameters for a value of {list(shape)}"
            raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=detail)
        return (1, *sizes)
    if isinstance(shape[1], int) and count != shape[1]:
        raise Refusal(Reason.PARAMETERS_MISFIT, name_of(node), detail=f"{count} parameters for {shape[1]} channels")
    return (1, count, *[1] * (rank - 2))


def parameter_of(reader: GraphReader, node: ir.Node, index: int) -> Array:
    """Return a parameter of a BatchNormalization."""
    return np.asarray(reader.require_constant(node, index, Reason.DYNAMIC_PARAMETERS))


def epsilon_of(node: ir.Node) -> float:
    """Return the epsilon of a BatchNormalization as runtimes hold it, in float32."""
    return float(attribute(node, "epsilon", _DEFAULT_EPSILON))


def _operand(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        raise Refusal(Reason.DYNAMIC_PARAMETERS, name_of(node), detail=f"input {index} is missing")
    return value


# -- arithmetic with a constant ----------------------------------------------------------------------------------
def _arithmetic(reader: GraphReader, node: ir.Node) -> AffineNode:
    """Mul, Add, Sub, Div with one constant operand, on either side where that is affine."""
    if node.op_type == "Add" and node.inputs[0] is node.inputs[1]:
        return _sum(reader, node)
    constants = [reader.constant(value) for value in node.inputs]
    index = 0 if constants[1] is not None else 1
    array = constants[1 - index]
    if array is None:
        raise _not_constant(reader, node)
    entry = _operand(node, index)
    shape = reader.shape(entry) if array.ndim == 0 else reader.require_shape(entry, node)
    _require_no_broadcast(node, array, shape or ())
    scale, shift = _AS_AFFINE[node.op_type](np.asarray(array), index)
    return AffineNode(node, index, Affine.of(scale, shift, len(shape or ())))


def _not_constant(reader: GraphReader, node: ir.Node) -> Refusal:
    for value in node.inputs:
        if reader.overridable(value):
            named = display_name(value)
            return Refusal(Reason.OVERRIDABLE_INITIALIZER, name_of(node), named, f"initializer {named}")
    return Refusal(Reason.DYNAMIC_PARAMETERS, name_of(node), detail="no operand is constant")


def _require_no_broadcast(node: ir.Node, array: Array, shape: tuple[object, ...]) -> None:
    """Refuse a constant that does not fit into the value: a new leading dimension, a size but 1 or the value's own."""
    lead = max(0, array.ndim - len(shape))
    pairs = zip(reversed(array.shape[lead:]), reversed(shape), strict=False)
    wrong = [own for size, own in pairs if size not in (1, own)]
    if not lead and not wrong:
        return
    unknown = not lead and not any(isinstance(own, int) for own in wrong)
    reason = Reason.UNKNOWN_SHAPE if unknown else Reason.BROADCASTS_UP
    raise Refusal(reason, name_of(node), detail=f"constant {list(array.shape)} on value {list(shape)}")


def _divide(constant: Array, index: int) -> tuple[Array, Array]:
    if index == 1:
        raise Refusal(Reason.OPERATOR_STOPS, detail="a constant divided by the value is not affine")
    return 1.0 / constant, np.zeros(())


_AS_AFFINE: dict[str, Callable[[Array, int], tuple[Array, Array]]] = {
    "Mul": lambda constant, index: (constant, np.zeros(())),
    "Add": lambda constant, index: (np.ones(()), constant),
    "Sub": lambda constant, index: (np.ones(()), -constant) if index == 0 else (-np.ones(()), constant),
    "Div": _divide,
}


def _sum(reader: GraphReader, node: ir.Node) -> AffineNode:
    """Sum or Mean of one value, any number of times, and constants; so ``Add(x, x)`` as well."""
    constants = [reader.constant(value) for value in node.inputs]
    count = 1.0 / len(node.inputs) if node.op_type == "Mean" else 1.0
    index = next(index for index, array in enumerate(constants) if array is None)
    shape = reader.require_shape(_operand(node, index), node)
    for array in constants:
        if array is not None:
            _require_no_broadcast(node, array, shape)
    shift = sum((aligned(array, len(shape)) for array in constants if array is not None), np.zeros(()))
    times = sum(array is None for array in constants)
    return AffineNode(node, index, Affine.of(times * count, shift * count, len(shape)))


def _is_sum_of_one(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a sum has one variable, added to a constant or to itself."""
    variables = [value for value in node.inputs if not reader.is_constant(value)]
    return len(set(variables)) == 1 and None not in variables and len(node.inputs) > 1


def _negate(reader: GraphReader, node: ir.Node) -> AffineNode:
    entry = _operand(node, 0)
    return AffineNode(node, 0, Affine.of(-1.0, 0.0, len(reader.shape(entry) or ())))


def _is_channel_scale(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a Conv has a kernel of one element for each channel, and gives as many elements as it gets."""
    is_grouped = not has_parameters(node) and attribute(node, "group", 1) > 1
    weight = reader.weight(node.inputs[1]) if is_grouped else None
    bias = input_at(node, 2)
    if weight is None or (bias is not None and not reader.is_constant(bias)):
        return False
    channels, *kernel = weight.shape
    is_one_each = attribute(node, "group", 1) == channels and all(size == 1 for size in kernel)
    return is_one_each and set(attribute(node, "strides", ())) <= {1} and not any(attribute(node, "pads", ()))


def _channel_scale(reader: GraphReader, node: ir.Node) -> AffineNode:
    """Depthwise Conv with kernels of one element.

    Source: https://onnx.ai/onnx/operators/onnx__Conv.html
    """
    weight = np.asarray(reader.require_constant(node, 1, Reason.DYNAMIC_PARAMETERS))
    form = (1, len(weight), *[1] * (weight.ndim - 2))
    bias = np.zeros(()) if input_at(node, 2) is None else parameter_of(reader, node, 2).reshape(form)
    return AffineNode(node, 0, Affine.of(weight.reshape(form), bias, weight.ndim))


def _scaler(reader: GraphReader, node: ir.Node) -> AffineNode:
    """``y = (x - offset) * scale`` by feature, in the operators of machine learning (ai.onnx.ml).

    Source: https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html
    """
    scale, offset = _numbers(node, "scale", 1.0), _numbers(node, "offset", 0.0)
    return AffineNode(node, 0, Affine.of(scale, -offset * scale, len(_shape_of_floats(reader, node))))


def _scalar_affine(reader: GraphReader, node: ir.Node) -> AffineNode:
    """``y = alpha * x + beta`` and ``y = scale * x``, Affine and Scale of the first converters.

    ONNX Runtime still computes them.

    Source: https://github.com/onnx/onnx/blob/v1.4.1/docs/Operators.md#experimental-affine
    """
    rank = len(_shape_of_floats(reader, node))
    factor = _numbers(node, "scale" if node.op_type == "Scale" else "alpha", 1.0)
    return AffineNode(node, 0, Affine.of(factor, _numbers(node, "beta", 0.0), rank))


def _image_scaler(reader: GraphReader, node: ir.Node) -> AffineNode:
    """``y = scale * x + bias`` with a bias for each channel of [N, C, H, W], from the first converters as well.

    Source: https://github.com/onnx/onnx/blob/v1.4.1/docs/Operators.md#experimental-imagescaler
    """
    shape, bias = _shape_of_floats(reader, node), _numbers(node, "bias", 0.0)
    if len(shape) != 4 or shape[1] != bias.size:
        raise Refusal(Reason.AXIS_STOPS, name_of(node), detail=f"{bias.size} biases for a value of {list(shape)}")
    return AffineNode(node, 0, Affine.of(_numbers(node, "scale", 1.0), bias.reshape(1, -1, 1, 1), 4))


def _numbers(node: ir.Node, name: str, absent: float) -> Array:
    """Return the numbers of an attribute as a vector."""
    return np.asarray(attribute(node, name, absent), np.float64).reshape(-1)


def _shape_of_floats(reader: GraphReader, node: ir.Node) -> tuple[Dim, ...]:
    """Return the shape of an input for which there is a kernel only in float32."""
    entry = _operand(node, 0)
    if reader.dtype(entry) is not ir.DataType.FLOAT:
        raise Refusal(Reason.NOT_FLOATING, name_of(node), display_name(entry), f"its input is {reader.dtype(entry)}")
    return tuple(reader.require_shape(entry, node))


_AFFINES: dict[str, Callable[[GraphReader, ir.Node], AffineNode]] = {
    "BatchNormalization": _batchnorm,
    "Mul": _arithmetic,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Div": _arithmetic,
    "Sum": _sum,
    "Mean": _sum,
    "Neg": _negate,
    "Conv": _channel_scale,
    f"{ML_DOMAIN}.Scaler": _scaler,
    "Affine": _scalar_affine,
    "Scale": _scalar_affine,
    "ImageScaler": _image_scaler,
}
_BY_ATTRIBUTES = frozenset({"BatchNormalization", "Scaler", "Affine", "Scale", "ImageScaler"})  # whatever they read


# -- the questions others ask ------------------------------------------------------------------------------------
def is_candidate(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a node is a norm with constant parameters or an arithmetic operator that meets a constant.

    Candidates are what a report speaks of; ``affine_node_of`` says whether one really is an affine, or why not.
    """
    if qualified_name(node) not in _AFFINES:
        return False
    if node.op_type in _BY_ATTRIBUTES:
        return True
    dtype = next((found for value in node.outputs if (found := reader.dtype(value)) is not None), None)
    dtype = dtype or next(
        (found for value in node.inputs if value is not None and (found := reader.dtype(value))), None
    )
    if dtype not in FLOATS or all(reader.is_constant(value) for value in node.inputs):
        return False
    if node.op_type in ("Sum", "Mean") or (node.op_type == "Add" and node.inputs[0] is node.inputs[1]):
        return _is_sum_of_one(reader, node)
    if node.op_type == "Conv":
        return _is_channel_scale(reader, node)
    return node.op_type == "Neg" or (
        any(reader.is_constant(value) or reader.overridable(value) for value in node.inputs if value is not None)
        and not (node.op_type == "Div" and reader.is_constant(node.inputs[0]))
    )


def affine_node_of(reader: GraphReader, node: ir.Node) -> AffineNode:
    """Return the affine that a candidate is, or a Refusal."""
    with np.errstate(all="ignore"):
        affine_node = _AFFINES[qualified_name(node)](reader, node)
    if not affine_node.affine.is_finite:
        raise Refusal(Reason.OUT_OF_RANGE, name_of(node), detail="its scale or shift is not finite")
    return affine_node


@dataclass
class Effort:
    """How many operators all searches in a graph may still visit, so that their time grows with its operators."""

    left: int

    @staticmethod
    def of(reader: GraphReader) -> Effort:
        """Return five times as many as any network needed that was seen, which is 2 an operator."""
        return Effort(100_000 + 10 * len(reader.graph))


class AffineIndex:
    """The constant affines of one graph, but for the nodes that are ``left`` with a reason. Follows every change."""

    def __init__(self, reader: GraphReader, left: Mapping[ir.Node, Reason] | None = None) -> None:
        self.reader = reader
        self.left = left or {}
        self.effort = Effort.of(reader)

    def at(self, node: ir.Node | None) -> AffineNode | None:
        """Return the affine at ``node``, or None when it is none, is refused, or was asked to be left."""
        if node is None or node in self.left or not is_candidate(self.reader, node):
            return None
        try:
            return affine_node_of(self.reader, node)
        except Refusal:
            return None

    def chain_through(self, affine_node: AffineNode) -> AffineChain:
        """Return the longest chain that contains ``affine_node``."""
        return AffineChain((*self.chain_ending_at(affine_node).members, *self._after(affine_node)))

    def chain_ending_at(self, affine_node: AffineNode) -> AffineChain:
        """Return the longest chain that ends in ``affine_node``."""
        return AffineChain((*reversed(list(self._before(affine_node))), affine_node))

    def chain_starting_at(self, affine_node: AffineNode) -> AffineChain:
        """Return the longest chain that starts with ``affine_node``."""
        return AffineChain((affine_node, *self._after(affine_node)))

    def _before(self, affine_node: AffineNode) -> Iterator[AffineNode]:
        while (earlier := self.at(affine_node.input.producer())) is not None and self._only_reader(affine_node.input):
            yield earlier
            affine_node = earlier

    def _after(self, affine_node: AffineNode) -> Iterator[AffineNode]:
        while self._only_reader(affine_node.output):
            later = self.at(next(iter(affine_node.output.uses()))[0])
            if later is None:
                return
            yield later
            affine_node = later

    def _only_reader(self, value: ir.Value) -> bool:
        readers = {node for node, _ in value.uses()}
        return len(readers) == 1 and not value.is_graph_output() and self.reader.holds(next(iter(readers)))
