"""The pre-clean: constant folding and shape inference, by onnxsim in a process of its own, or shape inference alone.

Only facts come back: which values are constant, and which shapes and types values have. They are applied to the
model as it is, so node names, value names, metadata, functions and overridable initializers cannot get lost. Weights
never take part (see ``skeleton``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from normfold.constants.materialize import Room
from normfold.constants.named_sizes import with_named_sizes
from normfold.constants.resolve import bodies_with_paths, followed, path_inside, resolve
from normfold.constants.shape_values import WHOLE, evaluate, named_targets, shapes_of
from normfold.errors import CrashError
from normfold.files.limits import MOST_COMPUTED
from normfold.files.protos.repairs import drop_identities
from normfold.files.protos.skeleton import skeleton
from normfold.graph.editor import make_cast
from normfold.graph.evaluators import EVALUATORS, work
from normfold.graph.reader import GraphReader, attributes_of, bodies_of, is_read
from normfold.native import isolated
from normfold.operators.shape_inference import infer_shapes
from normfold.operators.table import is_standard

TIME_LIMIT = 120.0  # seconds
PROCESSOR_LIMIT = 4, 0.002  # seconds in all, and more for each operator: a Loop may run 2^31 times over constants
MEMORY_LIMIT = 3 * 2**29  # bytes
_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_EXACT = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_WORKER = Path(__file__).with_name("onnxsim_worker.py")


@dataclass(frozen=True)
class InferredFacts:
    """What was found out about values by name: constants, shapes and types, and targets of Reshapes by their output.

    Types are known inside bodies as well, by the path of a value. They come as one message, because to pickle each
    alone takes longer than to infer it. ``note`` says what did not work out. ``computed`` are the elements that the
    operators on constants make in every run, but for those on weights.
    """

    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    typed: onnx.GraphProto = field(default_factory=onnx.GraphProto)
    reshape_targets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    note: str = ""
    computed: int = 0

    @cached_property
    def types(self) -> dict[str, onnx.TypeProto]:
        """The types by the paths of their values."""
        return {value.name: value.type for value in self.typed.value_info}


def simplify(proto: onnx.ModelProto, fold: bool = True) -> InferredFacts:
    """Find constants and shapes of ``proto``; ``fold=False`` finds shapes only. A model it dislikes gives a note."""
    without_weights = skeleton(proto, freeze=False)
    drop_identities(without_weights.graph)
    try:
        return isolated.call("constant folding", infer_facts, without_weights, fold)
    except CrashError as error:
        return InferredFacts(note=f"constants and shapes were left out: {error}")


def infer_facts(without_weights: onnx.ModelProto, fold: bool) -> InferredFacts:
    """Find the facts of a model without its big weights."""
    if not fold:
        model, _, note = _resolved(without_weights, shapes_only=True)
        return InferredFacts(typed=_typed(model.graph), note=note)
    model, reshape_targets, note = _resolved(without_weights)
    constants = dict(_new_constants(without_weights, model, reshape_targets))
    computed = _elements_of_constants(model.graph)
    if not note and computed <= MOST_COMPUTED and _has_something_to_fold(model):
        try:
            model = _run_onnxsim(model)
        except _Failed as error:
            note = f"onnxsim failed and was left out: {error}"
        else:
            model, more, note = _resolved(model)
            reshape_targets |= more
            constants |= dict(_new_constants(without_weights, model, reshape_targets))
    constants |= _in_one_run(without_weights, constants)
    return InferredFacts(constants, _typed(model.graph), reshape_targets, note, computed)


def _elements_of_constants(graph: onnx.GraphProto) -> int:
    """Return how many elements the operators on constants make, as far as sizes are known; of products also sum."""
    sizes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.value_info}
    constant = {tensor.name for tensor in graph.initializer} | {""}
    elements = 0
    for node in graph.node:
        if node.op_type != "Constant" and constant.issuperset(node.input):
            constant.update(node.output)
            elements += work(node.op_type, [sizes.get(name, [0]) for name in (*node.input[:1], *node.output)])
    return elements


def _resolved(
    without_weights: onnx.ModelProto, shapes_only: bool = False
) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]], str]:
    try:
        if shapes_only:
            return infer_shapes(without_weights), {}, ""
        model, reshape_targets = resolve(without_weights)
        model = with_named_sizes(model)
        shapes = dict(shapes_of(model.graph))
        named = named_targets(model.graph, evaluate(model.graph, shapes), shapes)
        return model, named | reshape_targets, ""
    except Exception as error:  # noqa: BLE001  # its C++ core raises unrelated classes for models it cannot follow
        return without_weights, {}, f"shape inference failed: {str(error).strip()[:200]}"


def _has_something_to_fold(model: onnx.ModelProto) -> bool:
    """Say whether a needed operator computes from constants alone, and is not one that we evaluate."""
    constant = {tensor.name for tensor in model.graph.initializer} | {""}
    needed = _needed(model.graph)
    for node in model.graph.node:
        if not all(name in constant for name in node.input):
            continue
        if node.op_type not in EVALUATORS and node.input and needed & set(node.output):
            return True
        constant.update(node.output)
    return False


def _needed(graph: onnx.GraphProto) -> set[str]:
    """Return the values that the outputs depend on."""
    needed = {value.name for value in graph.output}
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(_reads(node))
    return needed


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)


class _Failed(Exception):
    """onnxsim gave no result."""


def _run_onnxsim(without_weights: onnx.ModelProto) -> onnx.ModelProto:
    seconds = int(PROCESSOR_LIMIT[0] + PROCESSOR_LIMIT[1] * len(without_weights.graph.node))
    command = [sys.executable, str(_WORKER), str(MEMORY_LIMIT), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command,
            input=without_weights.SerializeToString(),
            capture_output=True,
            env=environment,
            timeout=TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _Failed(f"it took more than {TIME_LIMIT:.0f} s") from error
    except OSError as error:
        raise _Failed(str(error)) from error
    if done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise _Failed(f"it took more than {seconds} s of the processor")
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise _Failed(lines[-1][:200] if lines else f"it ended with code {done.returncode}")
    try:
        folded: onnx.ModelProto = onnx.ModelProto.FromString(done.stdout)
    except DecodeError as error:
        raise _Failed("its result cannot be read") from error
    return folded


def _new_constants(
    before: onnx.ModelProto, folded: onnx.ModelProto, reshape_targets: Container[str]
) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield the values that ``before`` computes and ``folded`` holds as constants, by the names that ``before`` has.

    onnxsim lets equal constants share one name, so a constant is looked up where the same node reads it; except for the
    target of a Reshape in ``reshape_targets``, whose -1 holds for this one reader only.
    """
    computed = {name for node in before.graph.node if node.op_type != "Constant" for name in node.output if name}
    constants = {tensor.name: tensor for tensor in folded.graph.initializer}
    for node in folded.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    yield from ((name, tensor) for name, tensor in constants.items() if name in computed)
    after = {node.output[0]: node for node in folded.graph.node if node.output}
    for node in before.graph.node:
        same_node = after.get(node.output[0]) if node.output else None
        if same_node is None or same_node.op_type != node.op_type or len(same_node.input) != len(node.input):
            continue
        for (path, branch), (_, then) in zip(followed(node, ""), followed(same_node, ""), strict=True):
            yield from _integers_in_branch(branch, then, path)
        own_target = node.op_type == "Reshape" and node.output[0] in reshape_targets
        for old, new in zip(node.input[: 1 if own_target else None], same_node.input, strict=False):
            if old in computed and new in constants:
                yield old, constants[new]


def _integers_in_branch(
    before: onnx.GraphProto, resolved: onnx.GraphProto, path: str
) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield the integers that a branch computed and now holds, by their paths: conditions of Ifs inside it, say."""
    computed = {node.output[0]: node for node in before.node if node.op_type != "Constant" and node.output}
    for node in resolved.node:
        was = computed.get(node.output[0]) if node.output else None
        if was is None:
            continue
        if node.op_type == "Constant" and node.attribute[0].name == "value" and node.attribute[0].t.data_type in WHOLE:
            yield path + node.output[0], node.attribute[0].t
        for (inner, branch), (_, then) in zip(followed(was, path), followed(node, path), strict=False):
            yield from _integers_in_branch(branch, then, inner)


def _in_one_run(
    without_weights: onnx.ModelProto, constants: Mapping[str, onnx.TensorProto]
) -> dict[str, onnx.TensorProto]:
    """Compute those constants again that half precision decides, as a run of the model makes them.

    They were made one operator at a time and rounded between them; the runtime goes on in float32. Where a Cast to
    integers or a comparison follows, that is another number, not another rounding.
    """
    rounded: dict[str, onnx.TensorProto] = {}
    for node in without_weights.graph.node:
        for name in node.output:
            if name in constants and (constants[name].data_type in _HALF or not rounded.keys().isdisjoint(node.input)):
                rounded[name] = constants[name]
    if all(tensor.data_type in _HALF for tensor in rounded.values()):
        return {}
    from normfold.runtime.loaded_model import load
    from normfold.runtime.session import ModelRunError, OrtRunner
    from normfold.runtime.submodel import submodel

    # What nothing else reads is not asked for: the runtime would round it.
    readers = (node for node in without_weights.graph.node if constants.keys().isdisjoint(node.output))
    read = {name for node in readers for name in _reads(node)}
    wanted = [name for name in rounded if name in read]
    small = submodel(load(without_weights), wanted, {})
    try:
        with OrtRunner(small.model) as runner:
            values = runner.run({}, list(small.outputs.values()))
    except ModelRunError:  # then a run of the model shows nothing either
        return {}
    found = (onnx.numpy_helper.from_array(value, name) for name, value in zip(wanted, values, strict=True))
    return {tensor.name: tensor for tensor in found if tensor.data_type == rounded[tensor.name].data_type}


def _typed(graph: onnx.GraphProto) -> onnx.GraphProto:
    typed = onnx.GraphProto()
    for path, kind in _known_types(graph):
        typed.value_info.add(name=path, type=kind)
    return typed


def _known_types(graph: onnx.GraphProto, path: str = "") -> Iterator[tuple[str, onnx.TypeProto]]:
    """Yield types by the path of a value: its name, in a body behind the path of the body."""
    for value in (*graph.value_info, *graph.output):
        if value.type.HasField("tensor_type"):
            yield path + value.name, value.type
    for node in graph.node:
        for inner, body in bodies_with_paths(node, path):
            yield from _known_types(body, inner)


def _typed_values(graph: ir.Graph, path: str = "") -> Iterator[tuple[str, ir.Value]]:
    """Yield the values that the operators of a graph and its bodies make, by the same paths."""
    for node in graph:
        yield from ((path + output.name, output) for output in node.outputs if output.name)
        names = [output.name or "" for output in node.outputs]
        for attribute in attributes_of(node):
            for number, body in enumerate(bodies_of(attribute)):
                yield from _typed_values(body, path_inside(path, names, attribute.name, number))


# -- applying -----------------------------------------------------------------------------------------------------


def apply_facts(model: ir.Model, facts: InferredFacts) -> None:
    """Write the facts into a model: unknown types and shapes become known, constant values initializers."""
    values = dict(_typed_values(model.graph))
    read: dict[bytes, ir.Shape | None] = {}
    for path, known in facts.types.items():
        if path in values:
            _learn_type(values[path], known, read)
    for node in model.graph.all_nodes():
        _cast_by_type(node)
    reader = GraphReader(model, model.graph)
    room = Room.of(model)
    for path, value in reversed(values.items()):  # what a constant is made of goes with what made it
        tensor = None if value.producer() is None or value.is_graph_output() else facts.constants.get(path)
        if tensor is None or _is_evaluated_later(reader, value):
            continue
        array = ir.serde.deserialize_tensor(tensor)
        if room.takes(value, array.nbytes):
            _make_constant(value, array)
    _drop_expands_to_own_shape(reader)
    for path, target in facts.reshape_targets.items():
        producer = values[path].producer() if path in values else None
        if producer is not None and producer.op_type == "Reshape":
            _set_target(producer, target)


def _cast_by_type(node: ir.Node) -> None:
    """Make a CastLike a Cast: only the type of its second input counts, and of a constant it makes a constant."""
    dtype = node.outputs[0].dtype if node.op_type == "CastLike" and is_standard(node) else None
    if dtype is not None:
        make_cast(node, dtype)


def _drop_expands_to_own_shape(reader: GraphReader) -> None:
    """Remove each Expand to the computed target of the Reshape before it, while one can see that both are the same.

    Of a constant target the shapes tell, and a 0 in it means another size to each of the two.
    """
    for node in reader.graph:
        reshape = node.inputs[0].producer() if node.op_type == "Expand" and node.inputs[0] is not None else None
        if reshape is None or reshape.op_type != "Reshape" or not (is_standard(node) and is_standard(reshape)):
            continue
        is_same = reshape.inputs[1] is node.inputs[1] and reader.constant(node.inputs[1]) is None
        if is_same and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(reshape.outputs[0])
            reader.graph.remove(node, safe=True)


def _is_evaluated_later(reader: GraphReader, value: ir.Value) -> bool:
    """Say whether the reader knows a weight exactly; the operators that make it stay, so that norms are found there."""
    return value.dtype in _EXACT and reader.is_constant(value)


def _learn_type(value: ir.Value, known: onnx.TypeProto, read: dict[bytes, ir.Shape | None]) -> None:
    """Complete the type of a value; ``read`` holds what was read before, since most values share few shapes."""
    if value.type is None:
        value.type = ir.serde.deserialize_type_proto_for_type(known)
    content = known.SerializeToString()
    if content not in read:
        read[content] = ir.serde.deserialize_type_proto_for_shape(known)
    shape = read[content]
    if shape is None:
        return
    if value.shape is None:
        value.shape = shape.copy()
    elif len(value.shape) == len(shape):
        keeps_names = value.is_graph_output()
        pairs = zip(value.shape, shape, strict=True)
        value.shape = ir.Shape([_better(old, new, keeps_names) for old, new in pairs])


def _better(old: int | ir.SymbolicDim, new: int | ir.SymbolicDim, keeps_names: bool) -> int | ir.SymbolicDim:
    """Return the more precise of two dimensions; of two names the new one, which may be that of an equal size."""
    if isinstance(old, int) or isinstance(new, int):
        return old if isinstance(old, int) else new
    return old if new.value is None or (keeps_names and old.value is not None) else new


def _make_constant(value: ir.Value, array: ir.TensorProtocol) -> None:
    """Replace a computed value by an initializer of the same name, and remove what only served to compute it."""
    node, name = value.producer(), value.name
    graph = None if node is None else node.graph
    if not isinstance(graph, ir.Graph):
        return  # gone with what it was read by
    value.name = None
    constant = ir.Value(
        name=name, const_value=array, type=ir.TensorType(array.dtype), shape=ir.Shape(array.shape.numpy())
    )
    value.replace_all_uses_with(constant)
    graph.register_initializer(constant)
    _remove_dead(node)


def _set_target(reshape: ir.Node, target: tuple[int, ...]) -> None:
    """Give a Reshape a constant target, and remove what only served to compute the old one."""
    if not isinstance(reshape.graph, ir.Graph):
        return  # gone with what it was read by
    old = reshape.inputs[1]
    name = f"{reshape.outputs[0].name}::target"
    array = ir.tensor(list(target), dtype=ir.DataType.INT64, name=name)
    constant = ir.Value(
        name=name, const_value=array, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([len(target)])
    )
    reshape.graph.register_initializer(constant)
    reshape.replace_input_with(1, constant)
    _remove_dead(None if old is None else old.producer())


def _remove_dead(node: ir.Node | None) -> None:
    """Remove ``node`` if nothing reads it, and then what it alone read, and so on; all in one graph."""
    graph = None if node is None else node.graph
    dead = [node]
    while dead:
        node = dead.pop()
        if node is None or graph is None or node.graph is not graph:
            continue
        if any(map(is_read, node.outputs)):
            continue
        producers = [source.producer() for source in node.inputs if source is not None]
        graph.remove(node, safe=True)
        dead.extend(producers)
