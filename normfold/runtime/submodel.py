"""Parts of a loaded model that run on their own: what makes some values, from the inputs or from other values."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx

from normfold.runtime.loaded_model import LoadedModel

MADE = "\u207amade"


@dataclass(frozen=True)
class Submodel:
    """A part of a loaded model that runs on its own.

    ``injected`` are the values that must be fed with the graph inputs; ``outputs`` maps each wanted value to the name
    of the part's output that carries it.
    """

    model: LoadedModel
    feeds: tuple[str, ...]
    injected: tuple[str, ...]
    outputs: Mapping[str, str]


def submodel(model: LoadedModel, targets: Collection[str], boundary: Mapping[str, onnx.TypeProto]) -> Submodel:
    """Return the nodes that compute ``targets`` from the graph inputs and the values of ``boundary``.

    A value that is both wanted and cut is computed from the cut values before it, under a name of its own, while its
    readers get the value that is fed. So each target shows only the error that is made between the cuts and itself.
    """
    graph = model.graph
    made_by = model.producers
    cuts = {name: kind for name, kind in boundary.items() if name in made_by}
    nodes, needed = _upstream(model, targets, cuts)
    small = onnx.ModelProto(
        ir_version=model.skeleton.ir_version,
        opset_import=model.skeleton.opset_import,
        functions=model.skeleton.functions,
    )
    small.graph.name = graph.name
    order = sorted(nodes)
    small.graph.node.extend(graph.node[index] for index in order)
    for place in {bisect_left(order, made_by[name]) for name in cuts if made_by[name] in nodes}:
        node = small.graph.node[place]
        node.output[:] = [name + MADE if name in cuts else name for name in node.output]
    injected = tuple(name for name in cuts if name in needed)
    outputs = {name: name + MADE if name in cuts else name for name in targets}
    for name in targets:
        if name not in made_by:  # an input or an initializer is an output: a copy of it is what the part can give
            outputs[name] = name + MADE
            needed.add(name)
            small.graph.node.add(op_type="Identity", input=[name], output=[name + MADE])
    small.graph.input.extend(graph.input[place] for place in _places(needed, model.input_places))
    small.graph.input.extend(onnx.ValueInfoProto(name=name, type=cuts[name]) for name in injected)
    declared = model.declared
    for name, made in outputs.items():
        small.graph.output.add(name=made, type=declared[name].type if name in declared else None)
    weights = [graph.initializer[place] for place in _places(needed, model.initializer_places)]
    small.graph.initializer.extend(weights)
    inside = (name for index in order for name in graph.node[index].output if name in declared)
    small.graph.value_info.extend(declared[name] for name in inside if name not in outputs)
    fed = model.input_names.intersection(needed).difference(cuts)
    feeds = tuple(graph.input[place].name for place in _places(fed, model.input_places))
    given = model.given.only([tensor.name for tensor in weights])
    return Submodel(replace(model, skeleton=small, given=given), feeds, injected, outputs)


def _places(names: Iterable[str], places: Mapping[str, int]) -> list[int]:
    """Return the places of those names that have one, in order."""
    return sorted(places[name] for name in names if name in places)


def types_of(values: Mapping[str, Any]) -> dict[str, onnx.TypeProto]:
    """Return the types of all values that can be fed back: tensors of numbers."""
    return {
        name: _tensor_type(v.dtype, v.ndim)
        for name, v in values.items()
        if isinstance(v, np.ndarray) and v.dtype != object
    }


@cache
def _tensor_type(dtype: np.dtype, rank: int) -> onnx.TypeProto:
    """Return the type of a tensor with free sizes."""
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(dtype), [None] * rank)


SHAPES = frozenset({"Shape", "Size"})
"""Operators that read how large a value is, and none of its numbers."""


def sources(
    model: LoadedModel, target: str, cuts: Set[str], through_shapes: bool = True, uncut: Set[str] = frozenset()
) -> set[str]:
    """Return the graph inputs and the values of ``cuts`` without ``uncut`` from which ``target`` is made.

    Without ``through_shapes`` those of which only the shape is read are left out.
    """
    _, needed = _upstream(model, [target], cuts, through_shapes, uncut)
    return (needed & cuts) - uncut | (needed & model.input_names)


def first_downstream(model: LoadedModel, value: str, among: Collection[str]) -> list[str]:
    """Return the first values of ``among`` downstream of ``value``. Its shape is no evidence of its content."""
    return [name for name in downstream(model, value, among) if name in among]


def downstream(model: LoadedModel, value: str, among: Collection[str]) -> list[str]:
    """Return the values downstream of ``value`` up to the first of ``among``, those included."""
    found: dict[str, None] = {}
    stack = [value]
    while stack:
        for index in model.readers.get(stack.pop(), ()):
            node = model.graph.node[index]
            for output in () if node.op_type in SHAPES else node.output:
                if output and output != value and output not in found:
                    found[output] = None
                    if output not in among:
                        stack.append(output)
    return list(found)


def _upstream(
    model: LoadedModel,
    targets: Iterable[str],
    cuts: Collection[str],
    through_shapes: bool = True,
    uncut: Set[str] = frozenset(),
) -> tuple[set[int], set[str]]:
    """Return indices of the nodes needed for ``targets`` without passing a cut, and every name those nodes read."""
    nodes: set[int] = set()
    needed: set[str] = set()
    stack = [model.producers[name] for name in targets if name in model.producers]
    while stack:
        index = stack.pop()
        if index in nodes:
            continue
        nodes.add(index)
        if not through_shapes and model.graph.node[index].op_type in SHAPES:
            continue
        names = model.reads[index]
        needed.update(names)
        open_names = (name for name in names if name not in cuts or name in uncut)
        stack.extend(model.producers[name] for name in open_names if name in model.producers)
    return nodes, needed
