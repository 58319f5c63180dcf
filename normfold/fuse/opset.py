"""Raises a model to a newer operator set with the official converter, on a skeleton that holds no large weight.

The converter (https://onnx.ai/onnx/api/version_converter.html) loses or mistakes some things; each is put back or
refused here: it drops node metadata and functions, takes values of one name in two bodies for one, keeps the per-group
scales of GroupNormalization 18, takes a BatchNormalization in training mode for inference, gives Upsample and Resize
10 other coordinates, and makes float32 numbers of the attributes of Clip and Pad, whatever they are applied to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, version_converter

from normfold.errors import CrashError
from normfold.graph.display_names import name_of
from normfold.graph.editor import UniqueNames
from normfold.graph.reader import GraphReader, attribute, graphs_of, opset_of
from normfold.native import isolated
from normfold.operators.table import RANDOM, is_standard

_CONVERTER_ERRORS = (version_converter.ConvertError, onnx.checker.ValidationError)

_LARGE = 1024  # elements; smaller constants may be axes or shapes that the converter needs to see


_NUMBERS = {"Clip": (1, 2), "Pad": (2,)}
"""Inputs that were attributes, and are of the type of what the operator is applied to."""

# Operators that got new types in operator set 22, and for it no kernel in ONNX Runtime (1.31, CPU).
_NEW_TYPES = 22
_WITHOUT_KERNEL = RANDOM | {"GlobalLpPool", "MaxRoiPool", "RoiAlign"}


class OpsetRaiseError(Exception):
    """The model stays at its operator set; the message says why."""


def raise_opset(model: ir.Model, opset: int, newest_ir: int) -> None:
    """Raise ``model`` in place to ``opset``, and its IR version as far as that needs; an OpsetRaiseError leaves it."""
    present = opset_of(model.graph)
    if opset <= present:
        return
    needed_ir = min_ir_version(opset)
    if needed_ir > newest_ir:
        raise OpsetRaiseError(f"operator set {opset} needs IR version {needed_ir}; the target reads up to {newest_ir}")
    _refuse_known_faults(model, present, opset)
    with _names_apart(model) as own_names:
        scales = dict(_group_scales(model)) if present < 21 <= opset else {}
        converted = ir.from_proto(_converted(model, opset))
        _put_back(model, converted)
        _give_types(converted)
        for name, scale in scales.items():
            _widen_scale(converted.graph, name, scale)
    for value in _named_values(converted):
        if value.name not in converted.graph.initializers:  # large weights of bodies lie there now, under free names
            value.name = own_names.get(value.name or "", value.name)
    if model.ir_version < 4 <= needed_ir:
        _freeze_initializers(converted.graph)
    model.graph = converted.graph
    model.ir_version = max(model.ir_version, needed_ir)


@contextmanager
def _names_apart(model: ir.Model) -> Iterator[dict[str, str]]:
    """Give each value a name that no value of another graph has, and its own name again at the end.

    Yields the own names by the others. The branches of a merged decoder share hundreds of names.
    """
    names, seen = UniqueNames(model), set[str]()
    renamed: list[tuple[ir.Value, str, ir.TensorProtocol | None]] = []
    try:
        for value in _named_values(model):
            name = value.name or ""
            if name in seen:
                renamed.append((value, name, value.const_value))
                _rename(value, names.new(name), value.const_value)
            seen.add(name)
        yield {value.name or "": name for value, name, _ in renamed}
    finally:
        for value, name, tensor in renamed:
            _rename(value, name, None)
            value.const_value = tensor


def _rename(value: ir.Value, name: str, content: ir.TensorProtocol | None) -> None:
    """Rename a value, and give it ``content`` as a tensor of its own: that of a proto would rename the caller's."""
    value.const_value = None
    value.name = name
    if isinstance(content, ir.ExternalTensor):
        value.const_value = copy(content)
        value.const_value.name = name
    elif content is not None:
        value.const_value = ir.serde.deserialize_tensor(ir.serde.serialize_tensor(content))
        value.const_value.name = name


def _named_values(model: ir.Model) -> list[ir.Value]:
    """Return each value that has a name in its graph: inputs, initializers, and what operators make."""
    found: dict[ir.Value, None] = {}
    for _, graph in graphs_of(model):
        found.update(dict.fromkeys(graph.inputs))
        if isinstance(graph, ir.Graph):
            found.update(dict.fromkeys(graph.initializers.values()))
        found.update(dict.fromkeys(output for node in graph for output in node.outputs))
    return [value for value in found if value.name]


def min_ir_version(opset: int) -> int:
    """Return the oldest IR version that may hold an operator set."""
    return int(helper.find_min_ir_version_for([helper.make_opsetid("", opset)], ignore_unknown=True))


def _refuse_known_faults(model: ir.Model, present: int, opset: int) -> None:
    if model.functions:
        raise OpsetRaiseError("the converter knows no model functions")
    for _, graph in graphs_of(model):
        for node in graph:
            if not is_standard(node):
                continue
            if node.op_type == "BatchNormalization" and _is_training(node, present):
                raise OpsetRaiseError(f"{name_of(node)} is a BatchNormalization in training mode")
            if node.op_type in _WITHOUT_KERNEL and present < _NEW_TYPES <= opset:
                raise OpsetRaiseError(
                    f"{name_of(node)}: ONNX Runtime has no {node.op_type} of operator set {_NEW_TYPES}"
                )
            if node.op_type == "Upsample" or (node.op_type == "Resize" and present < 11):
                raise OpsetRaiseError(f"{name_of(node)}: the converter changes the coordinates of {node.op_type}")
            if node.op_type == "Hardmax" and present < 13 <= opset and attribute(node, "axis", 1) != -1:
                raise OpsetRaiseError(f"{name_of(node)}: the converter forgets that Hardmax 11 flattens")


def _is_training(node: ir.Node, present: int) -> bool:
    return present < 14 and any(output.name for output in node.outputs[1:])


def _group_scales(model: ir.Model) -> Iterator[tuple[str, list[ir.Value]]]:
    """Yield scale and bias of each GroupNormalization, by the name of its output."""
    for path, graph in graphs_of(model):
        reader = GraphReader(model, graph, path)
        for node in graph:
            if node.op_type != "GroupNormalization" or not is_standard(node):
                continue
            shape = reader.shape(node.inputs[0])
            constants = [reader.constant(value) for value in node.inputs[1:3]]
            if path or shape is None or len(shape) < 2 or not isinstance(shape[1], int):
                raise OpsetRaiseError(f"{name_of(node)}: the channels of a GroupNormalization 18 are not known")
            if any(constant is None for constant in constants):
                raise OpsetRaiseError(f"{name_of(node)}: the scale of a GroupNormalization 18 is computed at run time")
            repeats = shape[1] // int(attribute(node, "num_groups"))
            values = []
            for value, constant in zip(node.inputs[1:3], constants, strict=True):
                assert value is not None and constant is not None, "asked above"
                dtype = reader.dtype(value) or ir.DataType.FLOAT
                array = np.repeat(constant.reshape(-1), repeats).astype(dtype.numpy())
                name = f"{node.outputs[0].name}_{value.name}_channels"
                tensor = ir.Tensor(array, dtype=dtype, name=name)
                values.append(
                    ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor)
                )
            yield node.outputs[0].name or "", values


def _widen_scale(graph: ir.Graph, name: str, scales: list[ir.Value]) -> None:
    node = next(node for node in graph if node.outputs and node.outputs[0].name == name)
    for index, value in enumerate(scales, start=1):
        graph.register_initializer(value)
        node.replace_input_with(index, value)


def _converted(model: ir.Model, opset: int) -> onnx.ModelProto:
    """Return the converter's result for a skeleton of ``model``: its large weights are inputs."""
    skeleton = _skeleton(model)
    try:
        converted: onnx.ModelProto = isolated.call(
            "the version converter", version_converter.convert_version, skeleton, opset
        )
    except (CrashError, RuntimeError, ValueError, TypeError, *_CONVERTER_ERRORS) as fault:
        raise OpsetRaiseError(f"the converter failed: {str(fault).strip().splitlines()[-1][:200]}") from fault
    if helper.make_opsetid("", opset).version not in [each.version for each in converted.opset_import]:
        raise OpsetRaiseError(f"the converter did not reach operator set {opset}")
    return converted


def _skeleton(model: ir.Model) -> onnx.ModelProto:
    """Return the model with each large initializer as an input; ``model`` is afterwards as it was."""
    graph = model.graph
    taken: list[tuple[ir.Graph, ir.Value]] = []
    inputs = list(graph.inputs)
    try:
        for _, body in graphs_of(model):
            if isinstance(body, ir.Graph):
                for value in [value for value in body.initializers.values() if _is_large(value)]:
                    taken.append((body, value))
                    body.initializers.pop(value.name or "")
        graph.inputs.extend(value for _, value in taken if value not in inputs)
        return ir.to_proto(model)
    finally:
        for _ in range(len(graph.inputs) - len(inputs)):
            graph.inputs.pop()
        for body, value in taken:
            body.register_initializer(value)


def _is_large(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and int(tensor.size) > _LARGE and value.name is not None


def _put_back(model: ir.Model, converted: ir.Model) -> None:
    """Restore weights, node metadata and shapes, which the converter did not see or has lost."""
    weights = {
        name: value.const_value
        for _, body in graphs_of(model)
        if isinstance(body, ir.Graph)
        for name, value in body.initializers.items()
    }
    own_inputs = {value.name for value in model.graph.inputs}
    graph = converted.graph
    for value in list(graph.inputs):
        name = value.name or ""
        if name in weights and value.const_value is None:
            if name not in own_inputs:
                graph.inputs.remove(value)
            value.const_value = weights[name]
            graph.register_initializer(value)
    for name, value in graph.initializers.items():
        value.const_value = weights.get(name, value.const_value)
    before = {output.name: output for _, body in graphs_of(model) for node in body for output in node.outputs}
    for _, body in graphs_of(converted):
        for node in body:
            for output in node.outputs:
                _restore(output, before.get(output.name))


def _restore(output: ir.Value, old: ir.Value | None) -> None:
    if old is None:
        return
    output.type = output.type or old.type
    output.shape = old.shape if old.shape is not None else output.shape
    output.metadata_props.update(old.metadata_props)
    was, now = old.producer(), output.producer()
    if was is not None and now is not None:
        now.metadata_props.update(was.metadata_props)
        now.doc_string = now.doc_string or was.doc_string


def _give_types(converted: ir.Model) -> None:
    """Give the numbers that were attributes, now each a Constant, the type of what their operator makes."""
    for _, body in graphs_of(converted):
        for node in body:
            made = [node.inputs[at] for at in _NUMBERS.get(node.op_type, ()) if at < len(node.inputs)]
            for constant in [value.producer() for value in made if value is not None]:
                stored = None if constant is None else constant.attributes.get("value")
                wanted = node.outputs[0].dtype
                if constant is not None and stored is not None and wanted not in (None, stored.as_tensor().dtype):
                    with np.errstate(over="ignore"):  # the largest float32, where there was no limit, is infinite
                        number = stored.as_tensor().numpy().astype(wanted.numpy())
                    constant.attributes["value"] = ir.AttrTensor("value", ir.Tensor(number, wanted))


def _freeze_initializers(graph: ir.Graph) -> None:
    """Drop initializers from the inputs: before IR version 4 each was listed there and fixed all the same."""
    for value in [value for value in graph.inputs if value.is_initializer()]:
        graph.inputs.remove(value)
