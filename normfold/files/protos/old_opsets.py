"""Read a model of operator sets 1 to 6 as one of operator set 7, the oldest that ONNX Runtime promises to execute.

Schemas of onnx say which attributes went and which defaults changed; a row of ``_ROWS`` says the rest of an operator.
The official converter forgets ``axis`` of a broadcast, does not know most operators of sets 1 to 5, and takes a
BatchNormalization without ``is_test`` for one of inference. Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from normfold.errors import CrashError, SourceError
from normfold.files.protos.skeleton import skeleton
from normfold.native import isolated
from normfold.operators.shape_inference import infer_shapes
from normfold.operators.table import is_standard
from normfold.operators.walk import inner_graphs

OLDEST_OPSET = 7
OLDEST_IR = 3
_FLOAT, _INTS, _GRAPH = onnx.AttributeProto.FLOAT, onnx.AttributeProto.INTS, onnx.AttributeProto.GRAPH
_BATCHNORM_OUTPUTS = 5
_CONCAT_NAMES_AXIS = 4
_FIELDS = {"f": _FLOAT, "i": onnx.AttributeProto.INT, "s": onnx.AttributeProto.STRING} | {
    "t": onnx.AttributeProto.TENSOR,
    "g": _GRAPH,
}
_LISTS = {"floats": onnx.AttributeProto.FLOATS, "ints": _INTS, "strings": onnx.AttributeProto.STRINGS}


def modernize(model: onnx.ModelProto, *, assume_eval: bool = False) -> str:
    """Raise a model of an operator set before 7 in place, and return a note; "" where it is not that old.

    ``assume_eval`` takes a Dropout in training mode as one of inference. SourceError for what operator set 7 lacks.
    """
    opsets = [entry for entry in model.opset_import if is_standard(entry)]
    opset = opsets[0].version if opsets else 1
    if not opsets and not 0 < model.ir_version < OLDEST_IR:
        return ""
    if model.ir_version < OLDEST_IR:
        _name_types(model)
        model.ir_version = OLDEST_IR
    if opset >= OLDEST_OPSET:
        return ""
    if not opsets:
        opsets = [model.opset_import.add()]
    opsets[0].version = OLDEST_OPSET
    _Modernizer(model, opset, assume_eval).run()
    return f"operator set {opset} is read as operator set {OLDEST_OPSET}"


def _name_types(model: onnx.ModelProto) -> None:
    """Write the type of each attribute, which IR version 1 left to be seen from the field that is used."""
    for graph in (model.graph, *inner_graphs(model)):
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            if attribute.type == onnx.AttributeProto.UNDEFINED:
                used = [kind for name, kind in _FIELDS.items() if attribute.HasField(name)]
                used += [kind for name, kind in _LISTS.items() if getattr(attribute, name)]
                attribute.type = used[0] if used else _INTS


@dataclass(frozen=True)
class _Old:
    """An operator of an old operator set; a row edits ``node`` and yields operators to stand before it."""

    node: onnx.NodeProto
    opset: int
    constants: dict[str, onnx.TensorProto]
    ranks: dict[str, int]
    new_name: Callable[[str], str]
    assume_eval: bool

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute."""
        found = next((each for each in self.node.attribute if each.name == name), None)
        return default if found is None else helper.get_attribute_value(found)

    def put(self, name: str, value: Any) -> None:
        """Set an attribute."""
        _drop(self.node, name)
        self.node.attribute.append(helper.make_attribute(name, value))

    def constant(self, index: int) -> np.ndarray:
        """Return the content of an input. SourceError where it is not constant."""
        name = self.node.input[index]
        if name not in self.constants:
            raise self.refused(f"{name} is computed at run time; make it a constant")
        return np.asarray(numpy_helper.to_array(self.constants[name])).reshape(-1)

    def rank(self, index: int) -> int:
        """Return the number of dimensions of an input. SourceError where it is not known."""
        name = self.node.input[index]
        if name not in self.ranks:
            raise self.refused(f"the rank of {name} is not known; declare it in value_info")
        return self.ranks[name]

    def stored(self, name: str, numbers: list[int]) -> onnx.NodeProto:
        """Return a Constant of a vector of integers, which may be an input of the operator."""
        tensor = numpy_helper.from_array(np.array(numbers, np.int64))
        return helper.make_node("Constant", [], [self.new_name(name)], value=tensor)

    def refused(self, why: str) -> SourceError:
        """Return the error that says why the operator cannot be raised."""
        named = self.node.name or self.node.output[0]
        return SourceError(f"{named} is a {self.node.op_type} of operator set {self.opset}: {why}, or export it again")


def _drop(node: onnx.NodeProto, name: str) -> None:
    for at in reversed([at for at, each in enumerate(node.attribute) if each.name == name]):
        del node.attribute[at]


_Row = Callable[[_Old], Iterator[onnx.NodeProto]]


class _Modernizer:
    """Apply the rows in two passes: the second asks for ranks, which are inferred from what the first has raised."""

    def __init__(self, model: onnx.ModelProto, opset: int, assume_eval: bool) -> None:
        self.model, self.opset, self.assume_eval = model, opset, assume_eval
        self.constants = {tensor.name: tensor for graph in self._graphs() for tensor in graph.initializer}
        nodes = self._nodes()
        self.constants |= {
            node.output[0]: node.attribute[0].t
            for node in nodes
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t")
        }
        self.taken = {name for node in nodes for name in (*node.input, *node.output)} | set(self.constants)

    def run(self) -> None:
        """Raise every operator."""
        for node in self._nodes():
            own = {each.name for each in node.attribute}
            node.attribute.extend(each for each in _changed_defaults(node.op_type, self.opset) if each.name not in own)
        self._apply(_ROWS, {})
        if any(map(_asks_for_ranks, self._nodes())):
            self._apply(_ROWS_OF_RANKS, _ranks(self.model))
        for node in self._nodes():
            for name in _gone(node, self.opset):
                _drop(node, name)

    def _graphs(self) -> list[onnx.GraphProto]:
        """Return all graphs, those of bodies before the one around them, which is written again with them."""
        return [self.model.graph, *inner_graphs(self.model)][::-1]

    def _nodes(self) -> list[onnx.NodeProto]:
        return [node for graph in self._graphs() for node in graph.node if is_standard(node)]

    def _apply(self, rows: dict[str, _Row], ranks: dict[str, int]) -> None:
        for graph in self._graphs():
            self._apply_to(graph, rows, ranks)

    def _apply_to(self, graph: onnx.GraphProto, rows: dict[str, _Row], ranks: dict[str, int]) -> None:
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            if is_standard(node) and node.op_type in rows:
                old = _Old(node, self.opset, self.constants, ranks, self._new_name, self.assume_eval)
                nodes.extend(rows[node.op_type](old))
            nodes.append(node)
        if len(nodes) > len(graph.node):
            copies = onnx.GraphProto(node=nodes)
            del graph.node[:]
            graph.node.extend(copies.node)

    def _new_name(self, base: str) -> str:
        name = next(name for n in count() if (name := f"{base}_{n}" if n else base) not in self.taken)
        self.taken.add(name)
        return name


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number of dimensions of each value of which it is known."""
    known = skeleton(model)
    for graph in (known.graph, *inner_graphs(known)):
        for node in graph.node:
            if _asks_for_ranks(node):  # its first input has the rank of the result
                node.op_type = "Identity"
                del node.input[1:], node.attribute[:]
    with suppress(CrashError, RuntimeError, ValueError, TypeError):  # what the model says of itself remains
        known = isolated.call("shape inference", infer_shapes, known)
    graphs = [known.graph, *inner_graphs(known)]
    values = [value for graph in graphs for value in (*graph.input, *graph.output, *graph.value_info)]
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
    return ranks | {tensor.name: len(tensor.dims) for graph in graphs for tensor in graph.initializer}


# -- attributes, as the schemas say -------------------------------------------------------------------------------


def _schemas(operator: str, opset: int) -> tuple[onnx.defs.OpSchema, onnx.defs.OpSchema] | None:
    """Return an operator as ``opset`` and as operator set 7 have it; None of one that onnx does not know."""
    try:
        return onnx.defs.get_schema(operator, opset, ""), onnx.defs.get_schema(operator, OLDEST_OPSET, "")
    except onnx.defs.SchemaError:
        return None


@cache
def _changed_defaults(operator: str, opset: int) -> tuple[onnx.AttributeProto, ...]:
    """Return the numbers that an attribute had by default, and has no longer."""
    schemas = _schemas(operator, opset)
    if schemas is None:
        return ()
    old, new = (schema.attributes for schema in schemas)
    return tuple(
        old[name].default_value
        for name in sorted(old.keys() & new.keys())
        if old[name].default_value.type == _FLOAT and old[name].default_value != new[name].default_value
    )


def _gone(node: onnx.NodeProto, opset: int) -> set[str]:
    """Return the attributes of an old operator that operator set 7 lacks."""
    schemas = _schemas(node.op_type, opset)
    if schemas is None:
        return set()
    return {*schemas[0].attributes, "consumed_inputs"} - set(schemas[1].attributes)


# -- one operator -------------------------------------------------------------------------------------------------


def _batchnorm(old: _Old) -> Iterator[onnx.NodeProto]:
    """Say training by further outputs, as operator set 7 does, and inference by none."""
    outputs = old.node.output
    if old.get("is_test", 0) or old.assume_eval:
        del outputs[1:]
    else:
        outputs.extend(old.new_name(f"{outputs[0]}_statistics") for _ in range(_BATCHNORM_OUTPUTS - len(outputs)))
    yield from ()


def _cast(old: _Old) -> Iterator[onnx.NodeProto]:
    """Give the type as a number, and not by its name."""
    kind = old.get("to")
    if isinstance(kind, bytes):
        number = dict(onnx.TensorProto.DataType.items()).get(kind.decode().upper())
        if number is None:
            raise old.refused(f"expected the name of a type, got {kind.decode()!r}; mend it")
        old.put("to", number)
    yield from ()


def _concat(old: _Old) -> Iterator[onnx.NodeProto]:
    """Name the axis, which was 1 by default in operator sets 1 to 3."""
    if old.opset < _CONCAT_NAMES_AXIS:
        old.put("axis", old.get("axis", 1))
    yield from ()


def _dropout(old: _Old) -> Iterator[onnx.NodeProto]:
    """Refuse training, which no operator before set 12 has."""
    if not old.get("is_test", 0) and not old.assume_eval:
        raise old.refused("it draws at random (is_test=0); pass --assume-eval")
    yield from ()


def _lp_pool(old: _Old) -> Iterator[onnx.NodeProto]:
    """Give the order of the norm as an integer."""
    order = float(old.get("p", 2.0))
    if order != int(order):
        raise old.refused(f"expected an integer p, got {order}; round it")
    old.put("p", int(order))
    yield from ()


def _pad(old: _Old) -> Iterator[onnx.NodeProto]:
    """Rename ``paddings``."""
    for attribute in old.node.attribute:
        attribute.name = "pads" if attribute.name == "paddings" else attribute.name
    yield from ()


def _reshape(old: _Old) -> Iterator[onnx.NodeProto]:
    """Make the attribute ``shape`` an input."""
    if len(old.node.input) < 2:
        yield (stored := old.stored(f"{old.node.output[0]}_shape", list(old.get("shape", []))))
        old.node.input.append(stored.output[0])


def _split(old: _Old) -> Iterator[onnx.NodeProto]:
    """Make the input ``split`` an attribute."""
    if len(old.node.input) > 1:
        old.put("split", [int(size) for size in old.constant(1)])
        del old.node.input[1:]
    yield from ()


def _upsample(old: _Old) -> Iterator[onnx.NodeProto]:
    """Give scales for all four axes, and the mode by its later name."""
    if old.get("scales") is None:
        old.put("scales", [1.0, 1.0, float(old.get("height_scale", 1.0)), float(old.get("width_scale", 1.0))])
    if old.get("mode") == b"bilinear":
        old.put("mode", "linear")
    yield from ()


_ROWS: dict[str, _Row] = {
    "BatchNormalization": _batchnorm,
    "Cast": _cast,
    "Concat": _concat,
    "Dropout": _dropout,
    "GlobalLpPool": _lp_pool,
    "LpPool": _lp_pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Split": _split,
    "Upsample": _upsample,
}


def _broadcast(old: _Old) -> Iterator[onnx.NodeProto]:
    """Give the second operand a size of 1 for each axis behind those that ``axis`` puts it on."""
    axis, rank = old.get("axis"), old.ranks.get(old.node.input[1])
    if axis is None or axis < 0 or rank == 0:
        return
    yield from _unsqueezed(old, old.rank(0) - axis - old.rank(1))


def _slope(old: _Old) -> Iterator[onnx.NodeProto]:
    """Put one slope a channel on axis 1."""
    if old.ranks.get(old.node.input[1]) == 1 and old.constants.get(old.node.input[1], onnx.TensorProto()).dims != [1]:
        yield from _unsqueezed(old, old.rank(0) - 2)


def _tile(old: _Old) -> Iterator[onnx.NodeProto]:
    """Say for every axis how often it is repeated."""
    if len(old.node.input) > 2:
        repeats = [1] * old.rank(0)
        repeats[int(old.constant(2)[0])] = int(old.constant(1)[0])
        yield (stored := old.stored(f"{old.node.output[0]}_repeats", repeats))
        del old.node.input[1:]
        old.node.input.append(stored.output[0])


def _unsqueezed(old: _Old, more: int) -> Iterator[onnx.NodeProto]:
    """Yield an Unsqueeze that gives the second operand ``more`` axes at its end."""
    if more > 0:
        name, rank = old.node.input[1], old.rank(1)
        old.node.input[1] = old.new_name(f"{name}_broadcast")
        yield helper.make_node("Unsqueeze", [name], [old.node.input[1]], axes=list(range(rank, rank + more)))


_ROWS_OF_RANKS: dict[str, _Row] = {
    **dict.fromkeys(("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"), _broadcast),
    "PRelu": _slope,
    "Tile": _tile,
}


def _asks_for_ranks(node: onnx.NodeProto) -> bool:
    """Return whether an operator is to be raised by a row of ranks."""
    if not is_standard(node) or node.op_type not in _ROWS_OF_RANKS:
        return False
    return _ROWS_OF_RANKS[node.op_type] is not _broadcast or any(each.name == "axis" for each in node.attribute)
