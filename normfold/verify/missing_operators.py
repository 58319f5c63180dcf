"""Cut two models at the operators that the runtime has no kernel for, so that all the rest is proven.

What such an operator reads becomes an output of the cut model, and what it makes an input with made-up values. Both
models must hold the same operators, with the same attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import ModelRunError, Runner

_STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_ROUNDS = 20
_MESSAGES = tuple(
    map(
        re.compile,
        (
            r"([\w.]+)\(-?\d+\) is not a registered function/op",
            r"No Op registered for ([\w.]+)",
            r"implementation for ([\w.]+)\(",
        ),
    )
)


def has_foreign_operators(model: LoadedModel) -> bool:
    """Return whether an operator is neither of ONNX nor of ONNX Runtime nor a function of the model."""
    functions = {(function.domain, function.name) for function in model.skeleton.functions}
    return any(
        node.domain not in _STANDARD and (node.domain, node.op_type) not in functions for node in model.graph.node
    )


def cut_at_missing(
    one: LoadedModel, other: LoadedModel, open_session: Callable[[LoadedModel], Runner]
) -> tuple[LoadedModel, LoadedModel, tuple[str, ...]] | None:
    """Return both models without the operators that have no kernel, and the names of these.

    None where nothing is missing, or where no cut makes the rest run: the models differ in these operators, or they
    stand inside of a body.
    """
    missing = _missing(one, open_session)
    nodes, others = (_nodes(model, missing) for model in (one, other))
    if not missing or [_identity(node) for node in nodes] != [_identity(node) for node in others]:
        return None
    types = _types(one, nodes)
    names = tuple(f"{node.op_type} {node.name or node.output[0]}" for node in nodes)
    return _without(one, missing, types), _without(other, missing, types), names


def _missing(model: LoadedModel, open_session: Callable[[LoadedModel], Runner]) -> frozenset[str]:
    """Return the types of operators that the runtime names when it refuses the model.

    There are none where it refuses for more.
    """
    found: frozenset[str] = frozenset()
    for _ in range(_ROUNDS):
        cut = _without(model, found, _types(model, _nodes(model, found))) if found else model
        try:
            open_session(cut).close()
        except ModelRunError as error:
            named = next((match[1] for each in _MESSAGES if (match := each.search(error.detail))), "")
            operator = named.rpartition(".")[2]
            if operator in found or not _nodes(model, {operator}):
                return frozenset()
            found |= {operator}
        else:
            return found
    return frozenset()


def _nodes(model: LoadedModel, operators: Collection[str]) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in operators]


def _identity(node: onnx.NodeProto) -> tuple[object, ...]:
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
    return (node.domain, node.op_type, *node.output, *attributes)


def _types(model: LoadedModel, nodes: Collection[onnx.NodeProto]) -> dict[str, onnx.TypeProto]:
    """Return the types of what the operators make.

    They are as declared, else as of what they read, else numbers of any shape.
    """
    known = dict(model.declared)
    if any(name not in known for node in nodes for name in node.output):
        try:
            inferred = onnx.shape_inference.infer_shapes(model.skeleton).graph
            known = {value.name: value for value in inferred.value_info} | known
        except (onnx.shape_inference.InferenceError, ValueError):
            pass
    found: dict[str, onnx.TypeProto] = {value.name: value.type for value in model.inputs}
    found |= {name: value.type for name, value in known.items()}
    for node in nodes:
        like = found.get(node.input[0]) if node.input else None
        for name in node.output:
            if name not in found:
                found[name] = like or helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    return {name: found[name] for node in nodes for name in node.output if name}


def _without(model: LoadedModel, operators: Collection[str], types: dict[str, onnx.TypeProto]) -> LoadedModel:
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    graph = skeleton.graph
    kept = [node for node in graph.node if node.op_type not in operators]
    cut = _nodes(model, operators)
    made = {name for node in cut for name in node.output if name}
    del graph.node[:]
    graph.node.extend(kept)
    outputs = [value for value in graph.output if value.name not in made]
    for node in cut:
        for index, name in enumerate(node.input):
            if name and name not in made:
                copy = f"{node.output[0]} input {index}"
                graph.node.add(op_type="Identity", input=[name], output=[copy])
                outputs.append(onnx.ValueInfoProto(name=copy))
    del graph.output[:]
    graph.output.extend(outputs)
    read = {name for names in map(set, (node.input for node in kept)) for name in names}
    graph.input.extend(onnx.ValueInfoProto(name=name, type=types[name]) for name in types if name in read)
    return replace(model, skeleton=skeleton, operators=frozenset(node.op_type for node in graph.node))
