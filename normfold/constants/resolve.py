"""Infer shapes and write what they determine into a graph and its Ifs and Loops, until nothing new is found.

Small constants are computed operator by operator, each result rounded to its own type as the runtime rounds it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from normfold.constants.loop_shapes import learn_loop_shapes, without_declared_shapes
from normfold.constants.shape_values import (
    ROUNDS,
    WHOLE,
    Dimension,
    PartialInts,
    add_result,
    dimension,
    named_targets,
    shapes_of,
    stored_integers,
)
from normfold.graph.evaluators import EVALUATORS, Quota
from normfold.graph.evaluators import evaluate as evaluate_node
from normfold.graph.quantization import QUANTIZERS
from normfold.operators.shape_inference import infer_shapes
from normfold.operators.table import is_standard

FOLLOWED = ("If", "Loop")
LARGEST = 2**18  # elements; a larger result of constants is left to the runtime
MOST = 2**23  # elements of all such results
_NUMPY: dict[int, type[np.generic]] = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.INT64: np.int64,
    onnx.TensorProto.INT32: np.int32,
    onnx.TensorProto.BOOL: np.bool_,
}
_Known = TypeVar("_Known")


@dataclass(frozen=True)
class _Scope:
    """What is known by name in a graph and those around it: values, shapes, types, and small constants."""

    values: MutableMapping[str, PartialInts] = field(default_factory=dict)
    shapes: MutableMapping[str, tuple[Dimension, ...]] = field(default_factory=dict)
    types: MutableMapping[str, onnx.TypeProto.Tensor] = field(default_factory=dict)
    tensors: MutableMapping[str, onnx.TensorProto] = field(default_factory=dict)
    quota: Quota = field(default_factory=lambda: Quota(MOST))

    def inside(self, graph: onnx.GraphProto) -> _Scope:
        """Return what is known in a graph in this scope."""
        shapes = _around(self.shapes, dict(shapes_of(graph)))
        values = _around(self.values, stored_integers(graph))
        for node in graph.node:
            add_result(values, node, shapes)
        types = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        return _Scope(values, shapes, _around(self.types, types), _around(self.tensors, tensors), self.quota)


def _around(outer: MutableMapping[str, _Known], inner: dict[str, _Known]) -> MutableMapping[str, _Known]:
    return ChainMap(inner, outer) if outer else inner


def resolve(without_weights: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]:
    """Infer shapes and write what they determine into the graph, again and again until nothing new is found.

    Gives a copy of ``without_weights`` whose determined values are Constant nodes, and the new target of each Reshape
    by the path of its output. Raises what ``onnx.shape_inference`` raises.
    """
    reshape_targets: dict[str, tuple[int, ...]] = {}
    model = given = without_declared_shapes(without_weights)
    quota = Quota(MOST)
    for _ in range(ROUNDS):
        model = infer_shapes(model)
        if _rewrite(model.graph, _Scope(quota=quota), reshape_targets):
            _forget_shapes(model.graph, given.graph)
        elif (learned := learn_loop_shapes(model)) is not None:
            model = learned
        else:
            return model, reshape_targets
    return infer_shapes(model), reshape_targets


def _rewrite(
    graph: onnx.GraphProto, around: _Scope, reshape_targets: dict[str, tuple[int, ...]], path: str = ""
) -> bool:
    """Replace determined values by Constants and targets of Reshapes by known ones; say whether there were any."""
    scope = around.inside(graph)
    changed = _fold_constants(graph, scope)
    targets = named_targets(graph, scope.values, scope.shapes)
    for node in graph.node:
        value = scope.values.get(node.output[0]) if len(node.output) == 1 else None
        if value is not None and value.is_known and node.op_type != "Constant":
            data = np.array(value.entries, _dtype_of(scope, node.output[0]))
            _become_constant(node, data.reshape(()) if value.is_scalar else data)
            changed = True
        elif node.output[0] in targets and path + node.output[0] not in reshape_targets:
            target = reshape_targets[path + node.output[0]] = targets[node.output[0]]
            name = f"{node.output[0]}::target"
            graph.initializer.append(numpy_helper.from_array(np.array(target, np.int64), name))
            node.input[1] = name
            changed = True
        for inner, body in followed(node, path):
            changed |= _rewrite(body, scope, reshape_targets, inner)
    return changed


def followed(node: onnx.NodeProto, path: str) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Yield the branches of an If and the body of a Loop with their paths; of a Scan, values are not followed."""
    return bodies_with_paths(node, path) if node.op_type in FOLLOWED and is_standard(node) else iter(())


def bodies_with_paths(node: onnx.NodeProto, path: str) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Yield each body of an operator, with the path that stands before the names of its values."""
    for attribute in node.attribute:
        bodies = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
        for number, body in enumerate(bodies):
            yield path_inside(path, node.output, attribute.name, number), body


def path_inside(path: str, outputs: Sequence[str], attribute: str, number: int) -> str:
    r"""Return the path of a body, given by what its operator makes: operators need no names, and no name holds \0."""
    return "\0".join((path + (outputs[0] if outputs else ""), attribute, str(number), ""))


def _fold_constants(graph: onnx.GraphProto, scope: _Scope) -> bool:
    """Replace operators on constants by their small results; say whether there were any."""
    changed = False
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            scope.tensors[node.output[0]] = node.attribute[0].t
        is_ready = node.op_type in EVALUATORS and len(node.output) == 1 and is_standard(node)
        if not is_ready or node.op_type in ("Identity", *QUANTIZERS):
            continue
        if not all(name in scope.tensors for name in node.input):
            continue
        result = _computed(node, [scope.tensors[name] for name in node.input], scope)
        if result is not None:
            _become_constant(node, result)
            scope.tensors[node.output[0]] = node.attribute[0].t
            changed = True
    return changed


def _computed(node: onnx.NodeProto, operands: Sequence[onnx.TensorProto], scope: _Scope) -> np.ndarray[Any, Any] | None:
    """Return the result of an operator on constants in its own type; None where unknown, large, or failing."""
    kind = scope.types.get(node.output[0])
    dtype = None if kind is None else _NUMPY.get(kind.elem_type)
    if kind is None or dtype is None or not kind.HasField("shape"):
        return None
    dims = [dimension(dim) for dim in kind.shape.dim]
    if not all(isinstance(dim, int) for dim in dims):
        return None
    size = prod(int(dim or 0) for dim in dims)
    if size > LARGEST or not scope.quota.take(size):
        return None
    arrays = [numpy_helper.to_array(operand) for operand in operands]
    wide = [array.astype(np.float64) if array.dtype.kind == "f" else array for array in arrays]
    with np.errstate(all="ignore"):
        try:
            result = evaluate_node(_attributes_of(node), wide).astype(dtype)
        except (ArithmeticError, IndexError, TypeError, ValueError):
            return None  # an invalid model; the runtime will say so
    return result if list(result.shape) == dims else None


def _attributes_of(node: onnx.NodeProto) -> ir.Node:
    """Return the node as the evaluators read it: operands come from the caller, attributes from the node."""
    without_inputs = onnx.NodeProto(op_type=node.op_type, attribute=node.attribute, output=node.output)
    return ir.serde.deserialize_node(without_inputs)


def _become_constant(node: onnx.NodeProto, data: np.ndarray[Any, Any]) -> None:
    name = node.output[0]
    node.CopyFrom(onnx.helper.make_node("Constant", [], [name], value=numpy_helper.from_array(data, name)))


def _dtype_of(scope: _Scope, name: str) -> type[np.generic]:
    kind = int(scope.types[name].elem_type) if name in scope.types else 0
    return _NUMPY[kind] if kind in WHOLE else np.int64


def _forget_shapes(graph: onnx.GraphProto, given: onnx.GraphProto) -> None:
    """Drop inferred shapes: inference keeps what is written, also where it could now say more."""
    del graph.value_info[:]
    graph.value_info.extend(given.value_info)
    before = {node.output[0]: node for node in given.node if node.op_type in FOLLOWED}
    for node in graph.node:
        if node.op_type in FOLLOWED and node.output[0] in before:
            pairs = zip(followed(node, ""), followed(before[node.output[0]], ""), strict=True)
            for (_, body), (_, as_given) in pairs:
                _forget_shapes(body, as_given)
