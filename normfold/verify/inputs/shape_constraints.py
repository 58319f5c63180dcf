"""What the operators behind an input demand: sizes of its axes, or, where it names sizes itself, what it should say."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from normfold.operators.table import operator_of
from normfold.operators.walk import attribute_value, every_node, inner_nodes, subgraphs
from normfold.runtime.loaded_model import LoadedModel

RequiredValues = tuple[int | str, ...]
"""The numbers that an input should hold; a name stands for the size of that dimension."""

_SAME_SIZES = {"Add", "Sub", "Mul", "Div"}


@dataclass(frozen=True)
class Reading:
    """Who reads what, which constants are small enough to look at, and which sizes are known.

    ``readers`` are the operators that read each value, with the place of it among their inputs; those of bodies and
    functions too, and what a branch makes is read by an Identity that makes the output of its If.
    """

    readers: Mapping[str, list[tuple[onnx.NodeProto, int]]]
    tensors: Mapping[str, onnx.TensorProto]
    values: Mapping[str, onnx.ValueInfoProto]

    def constant(self, name: str) -> np.ndarray | None:
        """Return the value of a small constant."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL or math.prod(tensor.dims) > 64:
            return None
        return numpy_helper.to_array(tensor)

    def shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """Return the sizes of a value, numbers or names, as far as they are known."""
        if name in self.tensors:
            return tuple(self.tensors[name].dims)
        if name not in self.values or not self.values[name].type.tensor_type.HasField("shape"):
            return None
        dims = self.values[name].type.tensor_type.shape.dim
        return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)


def read(model: LoadedModel) -> Reading:
    """Everything that roles and demands are read from."""
    readers = defaultdict[str, list[tuple[onnx.NodeProto, int]]](list)
    tensors = dict(model.initializers)
    for node in every_node(model.skeleton) if "Constant" in model.operators else ():
        if node.op_type == "Constant":
            tensors.update((node.output[0], a.t) for a in node.attribute if a.name == "value" and a.t.data_type)
    for node in (*model.graph.node, *inner_nodes(model.skeleton)):
        for index, name in enumerate(node.input):
            readers[name].append((node, index))
    for node in every_node(model.skeleton) if "If" in model.operators else ():
        for body in subgraphs(node) if node.op_type == "If" else ():
            for made, output in zip(body.output, node.output, strict=False):
                passes = helper.make_node("Identity", [made.name], [output])
                readers[made.name].append((passes, 0))
    values = {value.name: value for value in (*model.graph.value_info, *model.graph.input)}
    return Reading(readers, tensors, values)


def sizes_behind(name: str, rank: int, graph: Reading) -> dict[int, int]:
    """Sizes of axes that linear operators directly behind a value demand through their weights."""
    found: dict[int, int] = {}
    if not rank:
        return found
    seen, stack = {name}, [name]
    while stack:
        for node, index in graph.readers.get(stack.pop(), ()):
            for axis, size in _size_at(node, index, rank, graph):
                found.setdefault(axis % rank, size)
            same = operator_of(node).keeps_shape and index == 0
            if same or node.op_type in _SAME_SIZES:
                fresh = [name for name in node.output[:1] if name and name not in seen]
                seen.update(fresh)
                stack.extend(fresh)
    return found


def _size_at(node: onnx.NodeProto, index: int, rank: int, graph: Reading) -> Iterable[tuple[int, int]]:
    operator = node.op_type
    if operator in _SAME_SIZES:
        other = graph.shape(node.input[1 - index]) if len(node.input) == 2 else None
        if other and len(other) <= rank:
            yield from ((axis - len(other), n) for axis, n in enumerate(other) if isinstance(n, int) and n > 1)
        return
    if operator == "GroupQueryAttention" and index in (3, 4):
        yield from _cache_sizes(node, graph.shape(node.input[0]))
    second = graph.shape(node.input[1]) if index == 0 and len(node.input) > 1 else None
    if not second:
        return
    weight = [size if isinstance(size, int) else None for size in second]
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


def _cache_sizes(node: onnx.NodeProto, query: tuple[int | str | None, ...] | None) -> Iterator[tuple[int, int]]:
    """Yield the sizes of a cache of keys or values: that of a head, of which queries may hold those of keys and values.

    One that slides holds a window.
    """
    numbers = {a.name: a.i for a in node.attribute}
    heads = numbers.get("num_heads", 0) + (0 if node.input[1] else 2 * numbers.get("kv_num_heads", 0))
    if heads and query and isinstance(query[-1], int):
        yield -1, query[-1] // heads
    if numbers.get("sliding_window_cache", 0):
        yield -2, numbers.get("local_window_size", 1)


def goal(node: onnx.NodeProto, index: int, count: int, graph: Reading) -> RequiredValues:
    """Return what ``count`` numbers an input should hold that names sizes at this place of an operator.

    It is empty where any will do.
    """
    data = graph.shape(node.input[0]) if node.input else None
    place = node.op_type, index
    if place == ("Reshape", 1):
        return _free_once(sizes_behind(node.output[0], count, graph), count)
    if place == ("Expand", 1):
        return tuple(3 if size == 1 else 1 for size in _last(data, count))
    if place == ("ConstantOfShape", 0):
        behind = sizes_behind(node.output[0], count, graph)
        return tuple(behind.get(axis, 4) for axis in range(count))
    if place == ("Resize", 3) and data is not None and len(data) == count:
        behind = sizes_behind(node.output[0], count, graph)
        return tuple(behind.get(axis, size or 1) if axis < 2 else 12 for axis, size in enumerate(data))
    if place == ("OneHot", 1) and data is not None:
        axis = attribute_value(node, "axis", -1) % (len(data) + 1)
        behind = sizes_behind(node.output[0], len(data) + 1, graph)
        return (behind[axis],) * count if axis in behind else ()
    if place == ("Split", 1) and data is not None:
        size = data[attribute_value(node, "axis", 0)]
        return (size // count,) * (count - 1) + (size - size // count * (count - 1),) if isinstance(size, int) else ()
    if place in (("Squeeze", 1), ("Unsqueeze", 1)):
        ones = [axis for axis, size in enumerate(data or ()) if size == 1]
        return tuple(ones[:count]) if node.op_type == "Squeeze" and len(ones) >= count else ()
    return ()


def _free_once(behind: Mapping[int, int], count: int) -> RequiredValues:
    """Return the sizes demanded, -1 in one place, the last that is free, and before it the sizes that are there."""
    free = [axis for axis in range(count) if axis not in behind]
    if not behind or not free:
        return ()
    return tuple(behind.get(axis, -1 if axis == free[-1] else 0) for axis in range(count))


def _last(shape: tuple[int | str | None, ...] | None, count: int) -> RequiredValues:
    """Return the last ``count`` sizes; in front of them ones."""
    known = tuple(0 if size is None else size for size in shape or (0,) * count)
    return (1,) * (count - len(known)) + known[-count:]
