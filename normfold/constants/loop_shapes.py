"""Which sizes of the values that a Loop carries stay what they were at its beginning, in every turn.

The standard lets a state change its shape from turn to turn, so shape inference says nothing of it, and what a file
declares may hold of the first turn only. A size stays where a turn that begins with it ends with it, given that all
the others stay as well: what does not is given up, until nothing has to be.
Source: https://onnx.ai/onnx/operators/onnx__Loop.html
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from normfold.constants.shape_values import shapes_of
from normfold.operators.shape_inference import infer_shapes
from normfold.operators.table import is_standard
from normfold.operators.walk import graphs_within, subgraphs

_Sizes = tuple[int | None, ...]
_Key = tuple[int, int]  # of a state: the number of its Loop, and its own


def without_declared_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without what the file says of the shapes inside the bodies of its Loops: a copy if it has any."""
    if next(_loops(model.graph), None) is None:
        return model
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for *_, body in _loops(copied.graph):
        for value in body.input[2:]:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
        _forget_made(body)
    return copied


def learn_loop_shapes(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """Return ``model``, whose shapes were inferred, with the sizes that its Loops keep; None where nothing is new."""
    wanted = _at_the_beginning(model)
    while wanted:
        trial = onnx.ModelProto()
        trial.CopyFrom(model)
        _assume(trial, wanted)
        trial = infer_shapes(trial)
        kept = _kept(trial, wanted)
        if kept == wanted:
            return trial
        wanted = kept
    return None


def _at_the_beginning(model: onnx.ModelProto) -> dict[_Key, _Sizes]:
    """Return the sizes of each state that has a shape at the beginning, and none in the body so far."""
    found: dict[_Key, _Sizes] = {}
    for number, (around, loop, body) in enumerate(_loops(model.graph)):
        shapes = {name: shape for graph in around for name, shape in shapes_of(graph)}
        for state, (outer, inner) in enumerate(zip(loop.input[2:], body.input[2:], strict=False)):
            if outer in shapes and inner.type.HasField("tensor_type") and not inner.type.tensor_type.HasField("shape"):
                found[number, state] = tuple(size if isinstance(size, int) else None for size in shapes[outer])
    return found


def _assume(model: onnx.ModelProto, wanted: dict[_Key, _Sizes]) -> None:
    """Declare the sizes of states, and forget what was inferred without them."""
    for number, (_, _, body) in enumerate(_loops(model.graph)):
        for state, value in enumerate(body.input[2:]):
            sizes = wanted.get((number, state))
            if sizes is not None:
                kind = onnx.helper.make_tensor_type_proto(value.type.tensor_type.elem_type, sizes)
                value.type.CopyFrom(kind)
        _forget_made(body)


def _kept(model: onnx.ModelProto, wanted: dict[_Key, _Sizes]) -> dict[_Key, _Sizes]:
    """Return what of the wanted sizes a turn ends with again; a state whose rank changes is not among them."""
    kept: dict[_Key, _Sizes] = {}
    for number, (_, _, body) in enumerate(_loops(model.graph)):
        shapes = dict(shapes_of(body))
        for state, value in enumerate(body.output[1:]):
            sizes, after = wanted.get((number, state)), shapes.get(value.name)
            if sizes is not None and after is not None and len(after) == len(sizes):
                kept[number, state] = tuple(a if a == b else None for a, b in zip(sizes, after, strict=True))
    return kept


def _loops(
    graph: onnx.GraphProto, around: tuple[onnx.GraphProto, ...] = ()
) -> Iterator[tuple[tuple[onnx.GraphProto, ...], onnx.NodeProto, onnx.GraphProto]]:
    """Yield each Loop, those in bodies included, with the graphs around it and its body; the outer one first."""
    around = (*around, graph)
    for node in graph.node:
        for body in subgraphs(node):
            if node.op_type == "Loop" and is_standard(node):
                yield around, node, body
            yield from _loops(body, around)


def _forget_made(body: onnx.GraphProto) -> None:
    """Drop the shapes of what a body makes, in the bodies in it too."""
    for graph in (body, *graphs_within(body.node)):
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
