"""What each graph input is for: followed to the operators that read it, so that made-up values are legal ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
import onnx
from onnx import TensorProto

from normfold.operators.walk import attribute_value
from normfold.runtime.loaded_model import LoadedModel
from normfold.verify.inputs.shape_constraints import Reading, RequiredValues, goal, read, sizes_behind


class InputRole(Enum):
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
    OFF = "off"


@dataclass(frozen=True)
class InputConstraints:
    """The role of an input, with the exclusive upper bound of its values and more.

    None is unbounded; there are the dimensions whose sizes bound it too, words to choose from, and the very numbers
    that it should hold, if any.
    """

    role: InputRole = InputRole.DATA
    limit: int | None = None
    bounded_by: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    goal: RequiredValues = ()
    # The exclusive upper bounds of the entries of the last axis, where each names a row of another axis of a table.
    columns: tuple[int, ...] = ()
    # Sizes that the operators behind the input demand, by axis.
    dims: Mapping[int, int] = field(default_factory=dict)

    def with_sizes(self, sizes: Mapping[str, int]) -> InputConstraints:
        """Return the same with the sizes of all dimensions known."""
        if not self.bounded_by and not self.goal:
            return self
        bounds = [sizes.get(name, 1) for name in self.bounded_by] + ([] if self.limit is None else [self.limit])
        goal = tuple(sizes.get(each, 1) if isinstance(each, str) else each for each in self.goal)
        return replace(self, limit=max(min(bounds), 1) if bounds else None, goal=goal)


_SAME_VALUE = {
    "Identity", "Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Expand", "Slice",
    "Tile", "Split", "Concat",
}  # fmt: skip
# Operator -> the inputs that hold indices, each with the input that they index.
_INDEXED: dict[str, dict[int, int]] = {
    **{name: {1: 0} for name in ("Gather", "GatherBlockQuantized", "GatherElements", "GatherND")},
    **{name: {1: 0} for name in ("Scatter", "ScatterElements", "ScatterND")},
    "EmbedLayerNormalization": {0: 2, 1: 4, 8: 3},
    "RoiAlign": {2: 0},
}

# Operator and input position -> role. What is not here is data.
_ROLES: dict[tuple[str, int], InputRole] = {
    ("Reshape", 1): InputRole.SHAPE,
    ("Expand", 1): InputRole.SIZE,
    ("ConstantOfShape", 0): InputRole.SIZE,
    ("Tile", 1): InputRole.COUNT,
    ("Resize", 3): InputRole.SIZE,
    ("Resize", 2): InputRole.SCALE,
    ("Upsample", 1): InputRole.SCALE,
    ("TopK", 1): InputRole.COUNT,
    ("OneHot", 1): InputRole.DEPTH,
    ("Range", 0): InputRole.ZERO,
    ("Range", 1): InputRole.SIZE,
    ("Range", 2): InputRole.COUNT,
    ("Loop", 0): InputRole.SIZE,
    ("Pad", 1): InputRole.ZERO,
    ("Slice", 1): InputRole.ZERO,
    ("Slice", 2): InputRole.SIZE,
    ("Slice", 3): InputRole.ZERO,
    ("Slice", 4): InputRole.COUNT,
    ("Unsqueeze", 1): InputRole.ZERO,
    ("CumSum", 1): InputRole.ZERO,
    ("Dropout", 1): InputRole.ZERO,
    ("Dropout", 2): InputRole.OFF,
    ("Split", 1): InputRole.SIZE,
    ("Squeeze", 1): InputRole.ZERO,
    ("ReduceSum", 1): InputRole.ZERO,
    ("ReduceMean", 1): InputRole.ZERO,
    ("ReduceMax", 1): InputRole.ZERO,
    ("LSTM", 4): InputRole.LENGTH,
    ("GRU", 4): InputRole.LENGTH,
    ("RNN", 4): InputRole.LENGTH,
    ("ReverseSequence", 1): InputRole.LENGTH,
    ("SequenceAt", 1): InputRole.ZERO,
    ("Where", 0): InputRole.MASK,
    **{(search, 0): InputRole.INDEX for search in ("BeamSearch", "GreedySearch", "Sampling")},
    **{(search, 1): InputRole.CEILING for search in ("BeamSearch", "GreedySearch", "Sampling")},
    **{("BeamSearch", i): InputRole.COUNT for i in (2, 3, 4)},
    **{("BeamSearch", i): InputRole.SCALE for i in (5, 6)},
    **{(search, 2): InputRole.COUNT for search in ("GreedySearch", "Sampling")},
    **{(search, 3): InputRole.SCALE for search in ("GreedySearch", "Sampling")},
}

# Of several roles the strictest decides.
_PRIORITY = (
    InputRole.SHAPE, InputRole.SCALE, InputRole.COUNT, InputRole.CEILING, InputRole.SIZE, InputRole.DEPTH,
    InputRole.LENGTH, InputRole.ZERO, InputRole.INDEX,
    InputRole.POSITION, InputRole.ADDITIVE_MASK, InputRole.MASK, InputRole.DATA,
)  # fmt: skip


_WORDS = ("cats_strings", "keys_strings", "classlabels_strings", "stopwords", "pool_strings", "string_vocabulary")
_MOST_WORDS = 4096


def input_constraints(model: LoadedModel) -> dict[str, InputConstraints]:
    """Return the use of every input that must be fed."""
    graph = read(model)
    return {value.name: _use(value, graph) for value in model.inputs}


def _use(value: onnx.ValueInfoProto, graph: Reading) -> InputConstraints:
    found: list[tuple[InputRole, int | str | None]] = []
    words: list[str] = []
    dims = value.type.tensor_type.shape.dim
    count = dims[0].dim_value if len(dims) == 1 else 1
    aim: RequiredValues = ()
    as_it_is = {value.name}
    seen = {value.name}
    stack = [(value.name, 0)]
    while stack:
        name, offset = stack.pop()
        for node, index in graph.readers.get(name, ()):
            found += _role_at(node, index, offset, graph)
            words += _words(node)
            aim = aim or (goal(node, index, count, graph) if name in as_it_is else ())
            shift = _passes(node, index, graph)
            if shift is not None and len(seen) < 200:
                for output in node.output:
                    if output and output not in seen:
                        seen.add(output)
                        stack.append((output, offset + shift))
                        if name in as_it_is and node.op_type in ("Identity", "Cast"):
                            as_it_is.add(output)
    role, limit = _decide(value, found)
    bounded_by = tuple(limit for role, limit in found if isinstance(limit, str))
    rank = len(dims) if value.type.tensor_type.HasField("shape") else 0
    demanded = sizes_behind(value.name, rank, graph)
    columns = _columns(value.name, graph) if role is InputRole.INDEX and limit is not None else ()
    return InputConstraints(role, limit, bounded_by, tuple(dict.fromkeys(words)), aim, columns, demanded)


def _columns(name: str, graph: Reading) -> tuple[int, ...]:
    """Return the bounds of each column of an input that only an operator with index tuples reads."""
    readers = graph.readers.get(name, ())
    if len(readers) != 1 or readers[0][0].op_type not in ("GatherND", "ScatterND"):
        return ()
    sizes = _indexed_sizes(readers[0][0], graph)
    return tuple(size for size in sizes if isinstance(size, int)) if all(isinstance(n, int) for n in sizes) else ()


def _indexed_sizes(node: onnx.NodeProto, graph: Reading) -> list[int | str | None]:
    """Return the sizes of the axes that the tuples of GatherND or ScatterND index."""
    shape, indices = graph.shape(node.input[0]) or (), graph.shape(node.input[1])
    batch = attribute_value(node, "batch_dims", 0)
    count = indices[-1] if indices and isinstance(indices[-1], int) else len(shape)
    return list(shape[batch : batch + count])


def _passes(node: onnx.NodeProto, index: int, graph: Reading) -> int | None:
    """Return what an operator adds to the value on its way through; None when the value ends there."""
    if node.op_type in _SAME_VALUE and (index == 0 or node.op_type == "Concat"):
        return 0
    if node.op_type in ("Add", "Sub") and len(node.input) == 2:
        other = graph.constant(node.input[1 - index])
        if other is not None and other.dtype.kind in "iu" and other.size == 1 and not (node.op_type == "Sub" and index):
            amount = int(other.reshape(-1)[0])
            return amount if node.op_type == "Add" else -amount
    return None


def _role_at(
    node: onnx.NodeProto, index: int, offset: int, graph: Reading
) -> Iterable[tuple[InputRole, int | str | None]]:
    operator = node.op_type
    if index in _INDEXED.get(operator, {}):
        yield InputRole.INDEX, _table_size(node, _INDEXED[operator][index], offset, graph)
    elif operator == "OneHot" and index == 0:
        depth = graph.constant(node.input[1])
        yield InputRole.INDEX, int(depth.reshape(-1)[0]) if depth is not None else None
    elif (operator, index) in _ROLES:
        yield _ROLES[operator, index], max(attribute_value(node, "vocab_size", 0), 0) or None
    elif operator == "Sub" and index == 1 and _is_one(graph.constant(node.input[0])):
        yield InputRole.MASK, 2


def _is_one(array: np.ndarray | None) -> bool:
    return array is not None and array.size == 1 and float(array.reshape(-1)[0]) == 1.0


def _table_size(node: onnx.NodeProto, table: int, offset: int, graph: Reading) -> int | str | None:
    """How many rows an index may name: the table's size on the indexed axis, or the name of that size."""
    shape = graph.shape(node.input[table])
    if not shape:
        return 1
    if node.op_type in ("GatherND", "ScatterND"):
        sizes = _indexed_sizes(node, graph)
    else:
        axis = 0 if node.op_type == "RoiAlign" else attribute_value(node, "axis", 0)
        sizes = [shape[axis]] if -len(shape) <= axis < len(shape) else [None]
    if len(sizes) == 1 and isinstance(sizes[0], str) and not offset:
        return sizes[0]
    known = [size for size in sizes if isinstance(size, int)]
    return max(min(known) - offset, 1) if known and len(known) == len(sizes) else 1


def _words(node: onnx.NodeProto) -> Iterator[str]:
    """Yield strings that an operator knows: half of made-up words should be among them."""
    for attribute in node.attribute:
        if attribute.name in _WORDS:
            yield from (word.decode("utf-8", "replace") for word in attribute.strings[:_MOST_WORDS])
        elif node.op_type == "RegexFullMatch" and attribute.name == "pattern":
            letters = {letter for letter in attribute.s.decode("utf-8", "replace") if letter.isalnum()}
            yield from sorted({chr(ord(letter) + step) for letter in letters for step in (-1, 0, 1)})


def _decide(
    value: onnx.ValueInfoProto, found: list[tuple[InputRole, int | str | None]]
) -> tuple[InputRole, int | None]:
    """Of all roles the strictest, with the smallest bound; names only help where the graph says nothing."""
    name = value.name.lower()
    elem = value.type.tensor_type.elem_type
    limits = [limit for role, limit in found if role is InputRole.INDEX and isinstance(limit, int)]
    limit = min(limits) if limits else None
    roles = {role for role, _ in found}
    floating = elem in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    if floating:
        if "mask" in name:
            return InputRole.ADDITIVE_MASK, None
        return next((role for role in (InputRole.SCALE, InputRole.ZERO) if role in roles), InputRole.DATA), None
    if elem == TensorProto.BOOL:
        return (InputRole.OFF if InputRole.OFF in roles else InputRole.MASK), 2
    if "position" in name and (not roles or InputRole.INDEX in roles):
        return InputRole.POSITION, limit
    if "mask" in name and InputRole.INDEX not in roles:
        return InputRole.MASK, 2
    if "length" in name and not roles:
        return InputRole.LENGTH, None
    role = next((role for role in _PRIORITY if role in roles), InputRole.DATA)
    return role, limit
