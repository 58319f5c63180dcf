"""Constants that only a runtime can compute: operators on constants that ``graph/evaluators.py`` does not know.

Softmax of stored logits, ScatterND into a table, a resized position embedding: the runtime computes them once, as it
would in every run, and the weight behind them is a constant. What the model draws at random, quantizes, or would make
it much larger stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from normfold.constants.materialize import Room
from normfold.errors import CrashError
from normfold.graph.editor import Editor, UniqueNames
from normfold.graph.evaluators import EVALUATORS, LARGEST, work
from normfold.graph.quantization import QUANTIZERS
from normfold.graph.reader import GraphReader, attributes_of
from normfold.native import isolated
from normfold.native.ort_session import open_session
from normfold.operators.table import RANDOM, is_standard
from normfold.runtime.time_limit import Watch

_SECOND_THOUGHTS = (*QUANTIZERS, "Constant", "Dropout")
_LONGEST = 5.0  # seconds
_KINDS = "fiub"  # numpy's letters for numbers and truth values


@dataclass(frozen=True, eq=False)
class _ConstantPart:
    """Operators on constants, in order, and which of their values shall be stored."""

    nodes: tuple[ir.Node, ...]
    wanted: tuple[ir.Value, ...]


def evaluate_by_runtime(model: ir.Model) -> None:
    """Store, in place, what the runtime makes of constants; do nothing where it cannot run them."""
    reader = GraphReader(model, model.graph)
    part = _part_of(reader, Room.of(model))
    if not part.wanted:
        return
    arrays = _run(model, part)
    editor = Editor(reader, UniqueNames(model))
    for value, array in zip(part.wanted, arrays, strict=False):
        dtype = value.dtype
        if dtype is None or array.dtype != dtype.numpy():
            continue
        constant = editor.constant(array, dtype, f"{value.name}_constant")
        value.replace_all_uses_with(constant)


def _part_of(reader: GraphReader, room: Room) -> _ConstantPart:
    known: set[ir.Value] = {value for value in reader.graph.initializers.values() if reader.is_constant(value)}  # type: ignore[union-attr]  # the main graph is no function
    nodes = []
    for node in reader.graph:
        if node.op_type == "Constant" and reader.is_constant(node.outputs[0]):
            known.update(node.outputs)
        elif all(value is None or value in known for value in node.inputs) and _is_evaluable(reader, node):
            known.update(node.outputs)
            nodes.append(node)
    inside = set(nodes)
    wanted = [value for node in nodes if _needs_runtime(node) for value in node.outputs if _is_met(value, inside)]
    fitting = [value for value in wanted if room.takes(value, _bytes_of(value))]
    needed = _before(fitting, inside)
    return _ConstantPart(tuple(node for node in nodes if node in needed), tuple(fitting))


def _bytes_of(value: ir.Value) -> int:
    return prod(_sizes(value)) * (4 if value.dtype is None else max(1, value.dtype.bitwidth // 8))


def _needs_runtime(node: ir.Node) -> bool:
    return node.op_type not in EVALUATORS or len(node.outputs) > 1


def _is_met(value: ir.Value, inside: set[ir.Node]) -> bool:
    """Say whether a reader outside the part, or an operator that we evaluate ourselves, reads the value."""
    if value.is_graph_output():
        return False
    return any(user not in inside or not _needs_runtime(user) for user, _ in value.uses())


def _is_evaluable(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether a node is deterministic, of the standard, and of numbers in known, moderate amount."""
    if not is_standard(node) or not node.inputs or node.op_type in (*_SECOND_THOUGHTS, *RANDOM):
        return False
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    if any(found.is_ref() or found.type in graphs for found in attributes_of(node)):
        return False
    is_small = all(prod(_sizes(value)) <= LARGEST for value in node.inputs if value is not None)
    if not is_small or not all(_is_moderate(value) for value in node.outputs if value.name):
        return False
    shapes = [_sizes(value) for value in (*node.inputs[:1], *node.outputs) if value is not None]
    return reader.may_make(node.outputs[0], work(node.op_type, shapes))


def _is_moderate(value: ir.Value) -> bool:
    if value.dtype is None or value.shape is None or not value.shape.is_static():
        return False
    try:
        kind = value.dtype.numpy().kind
    except TypeError:  # a type that numpy does not have
        return False
    return kind in _KINDS and prod(_sizes(value)) <= LARGEST


def _sizes(value: ir.Value) -> Sequence[int]:
    return () if value.shape is None or not value.shape.is_static() else value.shape.numpy()


def _before(values: Sequence[ir.Value], inside: set[ir.Node]) -> set[ir.Node]:
    """Return the operators of the part that ``values`` are made by."""
    found: set[ir.Node] = set()
    waiting = [value.producer() for value in values]
    while waiting:
        node = waiting.pop()
        if node is None or node in found or node not in inside:
            continue
        found.add(node)
        waiting.extend(value.producer() for value in node.inputs if value is not None)
    return found


def _run(model: ir.Model, part: _ConstantPart) -> Sequence[np.ndarray[Any, Any]]:
    """Return what the runtime computes, without its own optimizations; nothing where it cannot."""
    try:
        return isolated.call("computing constants", outputs_of, _proto(model, part).SerializeToString())
    except CrashError:
        return ()


def outputs_of(model: bytes) -> Sequence[np.ndarray[Any, Any]]:
    """Return the outputs of a model without inputs, or nothing if ONNX Runtime does not run it in time."""
    try:
        with Watch(_LONGEST).run() as limited:
            found: Sequence[np.ndarray[Any, Any]] = open_session(model).run(None, {}, limited.options)
    except Exception:  # noqa: BLE001  # the runtime raises a class of its own for each kind of failure
        return ()
    return found


def _proto(model: ir.Model, part: _ConstantPart) -> onnx.ModelProto:
    outputs = [ir.serde.serialize_value(value) for value in part.wanted]
    graph = onnx.helper.make_graph(
        [ir.serde.serialize_node(node) for node in (*_constants_of(part), *part.nodes)],
        "constants",
        [],
        outputs,
        list(_initializers_of(part)),
    )
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in model.graph.opset_imports.items()]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=max(4, model.ir_version))


def _constants_of(part: _ConstantPart) -> list[ir.Node]:
    """Return the Constant nodes that the part reads."""
    producers = (value.producer() for node in part.nodes for value in node.inputs if value is not None)
    found = (node for node in producers if node is not None and node.op_type == "Constant")
    return list(dict.fromkeys(found))


def _initializers_of(part: _ConstantPart) -> Iterator[onnx.TensorProto]:
    values = (value for node in part.nodes for value in node.inputs if value is not None)
    for value in dict.fromkeys(value for value in values if value.is_initializer()):
        tensor = value.const_value
        assert tensor is not None, "is_constant() was asked first"
        if isinstance(tensor, ir.StringTensor):  # an array of them is no tensor for onnx
            texts, dims = tensor.string_data(), tensor.shape.numpy()
            yield onnx.TensorProto(name=value.name, data_type=onnx.TensorProto.STRING, dims=dims, string_data=texts)
        else:
            yield onnx.numpy_helper.from_array(tensor.numpy(), value.name)
