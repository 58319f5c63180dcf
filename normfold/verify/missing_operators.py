"""Cut two models at the operators that the runtime has no kernel for, so that all the rest is proven.

What such an operator reads becomes an output of the cut model, and what it makes an input with made-up values. One
inside of a body takes the whole If, Loop or Scan with it. Both models must hold the same operators, with the same
attributes and bodies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from normfold.operators.table import DEFAULT_DOMAINS, ML_DOMAIN, RUNTIME_DOMAIN
from normfold.operators.walk import every_node, nodes_within, reads, subgraphs
from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.session import ModelRunError, Runner

_STANDARD = frozenset({*DEFAULT_DOMAINS, ML_DOMAIN, RUNTIME_DOMAIN})
_ROUNDS = 20
_KINDS = {
    "tensor(float)": None,
    "tensor(int64)": helper.make_tensor_type_proto(TensorProto.INT64, None),
    "tensor(bool)": helper.make_tensor_type_proto(TensorProto.BOOL, None),
    "seq(tensor(float))": helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None)),
}
"""What is made up for a reader that takes it, in the order in which it is asked."""

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
        node.domain not in _STANDARD and (node.domain, node.op_type) not in functions
        for node in every_node(model.skeleton)
    )


def cut_at_missing(
    one: LoadedModel, other: LoadedModel, open_session: Callable[[LoadedModel], Runner]
) -> tuple[LoadedModel, LoadedModel, tuple[str, ...]] | None:
    """Return both models without the operators that have no kernel, and the names of these.

    None where nothing is missing, or where no cut makes the rest run, or the models differ in these operators.
    """
    missing = _missing(one, open_session)
    nodes, others = (_nodes(model, missing) for model in (one, other))
    if not missing or [_identity(node) for node in nodes] != [_identity(node) for node in others]:
        return None
    types = _types(one, nodes)
    names = tuple(name for node in nodes for name in _names(node, missing))
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
    """Return the operators of the main graph that are of these types, or have one in a body."""
    return [node for node in model.graph.node if any(_names(node, operators))]


def _names(node: onnx.NodeProto, operators: Collection[str]) -> Iterator[str]:
    """Yield what to call the operators of these types: one of the main graph, or those in its bodies."""
    name = node.name or node.output[0]
    if node.op_type in operators:
        yield f"{node.op_type} {name}"
    else:
        inner = dict.fromkeys(each.op_type for each in nodes_within([node]) if each.op_type in operators)
        yield from (f"{operator} in {node.op_type} {name}" for operator in inner)


def _identity(node: onnx.NodeProto) -> tuple[object, ...]:
    plain = (a for a in node.attribute if not (a.HasField("g") or a.graphs))
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in plain)
    return (node.domain, node.op_type, *node.output, *attributes, *map(_identity_of_body, subgraphs(node)))


def _identity_of_body(body: onnx.GraphProto) -> tuple[object, ...]:
    """Return what a body computes; types and descriptions are no part of it."""
    names = [[value.name for value in values] for values in (body.input, body.output)]
    tensors = sorted(tensor.SerializeToString(deterministic=True) for tensor in body.initializer)
    return (*names, *tensors, *((*node.input, _identity(node)) for node in body.node))


def _types(model: LoadedModel, nodes: Collection[onnx.NodeProto]) -> dict[str, onnx.TypeProto]:
    """Return the types of what the operators make.

    They are as declared, else what a reader asks for, else as of what they read, else numbers of any shape. What reads
    a stored tensor first (QONNX Quant of a weight) gives one of its shape, where sizes are not declared.
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
    stored = {tensor.name: _type_of(tensor) for tensor in model.skeleton.graph.initializer}
    found = stored | found
    for node in nodes:
        bodies = list(subgraphs(node))
        like = found.get(node.input[0]) if node.input and not bodies else None
        found = (_made_by(node, bodies[0]) if bodies else _asked_for(model, node)) | found
        for name in node.output:
            if name in found and node.input and node.input[0] in stored:
                found[name] = _with_sizes_of(found[name], stored[node.input[0]])
            elif name not in found:
                found[name] = like or helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    return {name: found[name] for node in nodes for name in node.output if name}


def _type_of(tensor: onnx.TensorProto) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(tensor.data_type, tensor.dims)


def _with_sizes_of(declared: onnx.TypeProto, stored: onnx.TypeProto) -> onnx.TypeProto:
    """Return the declared type with the shape of a tensor of the same rank, if it does not say every size itself."""
    own, other = declared.tensor_type, stored.tensor_type
    is_whole = all(size.HasField("dim_value") for size in own.shape.dim)
    if not declared.HasField("tensor_type") or is_whole or len(own.shape.dim) != len(other.shape.dim):
        return declared
    return helper.make_tensor_type_proto(own.elem_type, [size.dim_value for size in other.shape.dim])


def _asked_for(model: LoadedModel, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
    """Return the types of results for which a reader of the standard takes no floating point numbers."""
    versions = {opset.domain: opset.version for opset in model.skeleton.opset_import}
    found: dict[str, onnx.TypeProto] = {}
    for reader in every_node(model.skeleton):
        for index, name in enumerate(reader.input if not set(reader.input).isdisjoint(node.output) else ()):
            schema = _schema(reader, versions)
            if schema is not None and name in node.output:
                taken = schema.inputs[min(index, len(schema.inputs) - 1)].types
                kind = next((_KINDS[kind] for kind in _KINDS if kind in taken), None)
                found |= {} if kind is None else {name: kind}
    return found


def _schema(node: onnx.NodeProto, versions: dict[str, int]) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
    except onnx.defs.SchemaError:
        return None


def _made_by(node: onnx.NodeProto, body: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """Return the types of what a body makes; its shapes may be those of one turn."""
    values = body.output[1:] if node.op_type == "Loop" else body.output
    kinds = (value.type.tensor_type.elem_type or TensorProto.FLOAT for value in values)
    return {name: helper.make_tensor_type_proto(kind, None) for name, kind in zip(node.output, kinds, strict=False)}


def _without(model: LoadedModel, operators: Collection[str], types: dict[str, onnx.TypeProto]) -> LoadedModel:
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    graph = skeleton.graph
    cut = _nodes(model, operators)
    left_out = {node.output[0] for node in cut}
    kept = [node for node in graph.node if node.output[0] not in left_out]
    made = {name for node in cut for name in node.output if name}
    del graph.node[:]
    graph.node.extend(kept)
    outputs = [value for value in graph.output if value.name not in made]
    for node in cut:
        for index, name in enumerate(reads(node)):
            if name not in made:
                copy = f"{node.output[0]} input {index}"
                graph.node.add(op_type="Identity", input=[name], output=[copy])
                outputs.append(onnx.ValueInfoProto(name=copy))
    del graph.output[:]
    graph.output.extend(outputs)
    read = {name for node in kept for name in reads(node)}
    graph.input.extend(onnx.ValueInfoProto(name=name, type=types[name]) for name in types if name in read)
    return replace(model, skeleton=skeleton, operators=frozenset(node.op_type for node in graph.node))
