"""What each graph input is for: followed to the operators that read it, so that made-up values are legal ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from normfold.verify.held import Held, every_node, inner_nodes


class Role(Enum):
    """What the value of an input means to the operators behind it."""

    DATA = "data"
    INDEX = "index"
    MASK = "mask"
    ADDITIVE_MASK = "additive mask"
    POSITION = "position"
    LENGTH = "length"
    SHAPE = "shape"
    SIZE = "size"
    SCALE = "scale"
    COUNT = "count"
    DEPTH = "depth"
    CEILING = "ceiling"
    ZERO = "zero"


@dataclass(frozen=True)
class Use:
    """The role of an input, with the exclusive upper bound of its values (None: unbounded) and words to choose from."""

    role: Role = Role.DATA
    limit: int | None = None
    words: tuple[str, ...] = ()
    # Sizes that the operators behind the input demand, by axis.
    dims: Mapping[int, int] = field(default_factory=dict)


_SAME_VALUE = {
    "Identity", "Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Expand", "Slice",
    "Tile", "Split", "Concat",
}  # fmt: skip
_SAME_AXES = {"Identity", "Cast", "CastLike", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Dropout", "Clip", "Neg", "Abs"}
_SAME_SIZES = {"Add", "Sub", "Mul", "Div"}
_INDEXED = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "Scatter": 1, "ScatterND": 1}

# Operator and input position -> role. What is not here is data.
_ROLES: dict[tuple[str, int], Role] = {
    ("Reshape", 1): Role.SHAPE,
    ("Expand", 1): Role.SIZE,
    ("ConstantOfShape", 0): Role.SIZE,
    ("Tile", 1): Role.COUNT,
    ("Resize", 3): Role.SIZE,
    ("Resize", 2): Role.SCALE,
    ("Upsample", 1): Role.SCALE,
    ("TopK", 1): Role.COUNT,
    ("OneHot", 0): Role.INDEX,
    ("OneHot", 1): Role.DEPTH,
    ("Range", 0): Role.ZERO,
    ("Range", 1): Role.SIZE,
    ("Range", 2): Role.COUNT,
    ("Loop", 0): Role.SIZE,
    ("Pad", 1): Role.ZERO,
    ("Slice", 1): Role.ZERO,
    ("Slice", 2): Role.SIZE,
    ("Slice", 3): Role.ZERO,
    ("Slice", 4): Role.COUNT,
    ("Unsqueeze", 1): Role.ZERO,
    ("CumSum", 1): Role.ZERO,
    ("LSTM", 4): Role.LENGTH,
    ("GRU", 4): Role.LENGTH,
    ("RNN", 4): Role.LENGTH,
    ("ReverseSequence", 1): Role.LENGTH,
    ("SequenceAt", 1): Role.ZERO,
    ("Where", 0): Role.MASK,
    **{(search, 0): Role.INDEX for search in ("BeamSearch", "GreedySearch", "Sampling")},
    **{(search, 1): Role.CEILING for search in ("BeamSearch", "GreedySearch", "Sampling")},
    **{("BeamSearch", i): Role.COUNT for i in (2, 3, 4)},
    **{("BeamSearch", i): Role.SCALE for i in (5, 6)},
    **{(search, 2): Role.COUNT for search in ("GreedySearch", "Sampling")},
    **{(search, 3): Role.SCALE for search in ("GreedySearch", "Sampling")},
}

# Of several roles the strictest decides.
_PRIORITY = (
    Role.SHAPE, Role.SCALE, Role.COUNT, Role.CEILING, Role.SIZE, Role.DEPTH, Role.LENGTH, Role.ZERO, Role.INDEX,
    Role.POSITION, Role.ADDITIVE_MASK, Role.MASK, Role.DATA,
)  # fmt: skip


@dataclass(frozen=True)
class _Graph:
    """Who reads what, which constants are small enough to look at, and which sizes are known. ``inner`` are the readers
    of values in bodies and functions."""

    held: Held
    inner: Mapping[str, list[tuple[onnx.NodeProto, int]]]
    tensors: Mapping[str, onnx.TensorProto]
    values: Mapping[str, onnx.ValueInfoProto]

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a small constant."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL or math.prod(tensor.dims) > 64:
            return None
        return numpy_helper.to_array(tensor)

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """The sizes of a value, as far as they are known."""
        if name in self.tensors:
            return tuple(self.tensors[name].dims)
        if name not in self.values or not self.values[name].type.tensor_type.HasField("shape"):
            return None
        dims = self.values[name].type.tensor_type.shape.dim
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)

    def readers(self, name: str) -> Iterator[tuple[onnx.NodeProto, int]]:
        """The operators that read a value, with the place of it among their inputs; bodies and functions too."""
        for number in self.held.readers.get(name, ()):
            node = self.held.graph.node[number]
            yield from ((node, index) for index, each in enumerate(node.input) if each == name)
        yield from self.inner.get(name, ())


def _read(held: Held) -> _Graph:
    inner: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    tensors = dict(held.initializers)
    for node in every_node(held.skeleton) if "Constant" in held.operators else ():
        if node.op_type == "Constant":
            tensors.update((node.output[0], a.t) for a in node.attribute if a.name == "value" and a.t.data_type)
    for node in inner_nodes(held.skeleton):
        for index, name in enumerate(node.input):
            inner.setdefault(name, []).append((node, index))
    return _Graph(held, inner, tensors, {value.name: value for value in (*held.graph.value_info, *held.graph.input)})


def uses(held: Held) -> dict[str, Use]:
    """The use of every input that must be fed."""
    graph = _read(held)
    return {value.name: _use(value, graph) for value in held.inputs}


def _use(value: onnx.ValueInfoProto, graph: _Graph) -> Use:
    found: list[tuple[Role, int | None]] = []
    words: list[str] = []
    seen = {value.name}
    stack = [(value.name, 0)]
    while stack:
        name, offset = stack.pop()
        for node, index in graph.readers(name):
            found += _role_at(node, index, offset, graph)
            words += _words(node)
            shift = _passes(node, index, graph)
            if shift is not None and len(seen) < 200:
                for output in node.output:
                    if output and output not in seen:
                        seen.add(output)
                        stack.append((output, offset + shift))
    role, limit = _decide(value, found)
    return Use(role, limit, tuple(dict.fromkeys(words)), _demanded(value, graph))


def _passes(node: onnx.NodeProto, index: int, graph: _Graph) -> int | None:
    """What an operator adds to the value on its way through; None when the value ends there."""
    if node.op_type in _SAME_VALUE and (index == 0 or node.op_type == "Concat"):
        return 0
    if node.op_type in ("Add", "Sub") and len(node.input) == 2:
        other = graph.constant(node.input[1 - index])
        if other is not None and other.dtype.kind in "iu" and other.size == 1 and not (node.op_type == "Sub" and index):
            amount = int(other.reshape(-1)[0])
            return amount if node.op_type == "Add" else -amount
    return None


def _role_at(node: onnx.NodeProto, index: int, offset: int, graph: _Graph) -> Iterable[tuple[Role, int | None]]:
    operator = node.op_type
    if operator in _INDEXED and index == _INDEXED[operator]:
        yield Role.INDEX, _table_size(node, offset, graph)
    elif operator == "OneHot" and index == 0:
        depth = graph.constant(node.input[1])
        yield Role.INDEX, int(depth.reshape(-1)[0]) if depth is not None else None
    elif (operator, index) in _ROLES:
        yield _ROLES[operator, index], next((a.i for a in node.attribute if a.name == "vocab_size" and a.i > 0), None)
    elif operator == "Sub" and index == 1 and _is_one(graph.constant(node.input[0])):
        yield Role.MASK, 2


def _is_one(array: np.ndarray | None) -> bool:
    return array is not None and array.size == 1 and float(array.reshape(-1)[0]) == 1.0


def _table_size(node: onnx.NodeProto, offset: int, graph: _Graph) -> int | None:
    """How many rows an index may name: the table's size on the indexed axis."""
    shape = graph.shape(node.input[0])
    if not shape:
        return 1
    if node.op_type in ("GatherND", "ScatterND"):
        sizes = list(shape)
    else:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        sizes = [shape[axis]] if -len(shape) <= axis < len(shape) else [None]
    known = [size for size in sizes if size is not None]
    return max(min(known) - offset, 1) if known and len(known) == len(sizes) else 1


def _words(node: onnx.NodeProto) -> list[str]:
    """Strings that an operator knows: half of made-up words should be among them."""
    names = ("cats_strings", "keys_strings", "classlabels_strings", "stopwords", "pool_strings", "string_vocabulary")
    return [s.decode("utf-8", "replace") for a in node.attribute if a.name in names for s in a.strings[:50]]


def _decide(value: onnx.ValueInfoProto, found: list[tuple[Role, int | None]]) -> tuple[Role, int | None]:
    """Of all roles the strictest, with the smallest bound; names only help where the graph says nothing."""
    name = value.name.lower()
    elem = value.type.tensor_type.elem_type
    limits = [limit for role, limit in found if role is Role.INDEX and limit is not None]
    limit = min(limits) if limits else None
    roles = {role for role, _ in found}
    floating = elem in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    if floating:
        if "mask" in name:
            return Role.ADDITIVE_MASK, None
        return (Role.SCALE, None) if Role.SCALE in roles else (Role.DATA, None)
    if elem == TensorProto.BOOL:
        return Role.MASK, 2
    if "position" in name and (not roles or Role.INDEX in roles):
        return Role.POSITION, limit
    if "mask" in name and Role.INDEX not in roles:
        return Role.MASK, 2
    if "length" in name and not roles:
        return Role.LENGTH, None
    role = next((role for role in _PRIORITY if role in roles), Role.DATA)
    return role, limit


def _demanded(value: onnx.ValueInfoProto, graph: _Graph) -> dict[int, int]:
    """Sizes of axes that linear operators directly behind the input demand through their weights."""
    shape = value.type.tensor_type.shape
    rank = len(shape.dim) if value.type.tensor_type.HasField("shape") else None
    if not rank:
        return {}
    found: dict[int, int] = {}
    seen, stack = {value.name}, [value.name]
    while stack:
        for node, index in graph.readers(stack.pop()):
            for axis, size in _size_at(node, index, rank, graph):
                found.setdefault(axis % rank, size)
            same = node.op_type in _SAME_AXES and index == 0
            if same or node.op_type in _SAME_SIZES or (node.op_type == "BatchNormalization" and index == 0):
                fresh = [name for name in node.output[:1] if name and name not in seen]
                seen.update(fresh)
                stack.extend(fresh)
    return found


def _size_at(node: onnx.NodeProto, index: int, rank: int, graph: _Graph) -> Iterable[tuple[int, int]]:
    operator = node.op_type
    others = [graph.shape(name) for name in node.input]
    if operator in _SAME_SIZES:
        other = others[1 - index] if len(others) == 2 else None
        if other and len(other) <= rank:
            yield from ((axis - len(other), n) for axis, n in enumerate(other) if n is not None and n > 1)
        return
    if index != 0 or len(others) < 2 or not others[1]:
        return
    weight = others[1]
    attributes = {a.name: a.i for a in node.attribute if a.type == onnx.AttributeProto.INT}
    axis, size = None, None
    if operator == "Conv" and rank > 1 and weight[1] is not None:
        axis, size = 1, weight[1] * attributes.get("group", 1)
    elif operator == "Gemm":
        axis, size = (0 if attributes.get("transA") else 1), weight[1 if attributes.get("transB") else 0]
    elif operator == "MatMul" and len(weight) > 1:
        axis, size = -1, weight[-2]
    elif operator in ("ConvTranspose", "BatchNormalization", "InstanceNormalization") and rank > 1:
        axis, size = 1, weight[0]
    elif operator in ("LayerNormalization", "LSTM", "GRU", "RNN"):
        axis, size = -1, weight[-1]
    if axis is not None and size is not None:
        yield axis, size
