"""Bodies of If, Loop and Scan, and of functions, laid open: copies of their operators in the main graph.

A copy of a body gets what the body gets: a branch the values that it captures, whether a feed takes it or not; a Loop
or Scan the values of its first turn, and a second copy the second turn's; a function what its caller gives. So a value
that a body makes has a name in the main graph, and a fold inside has evidence of its own like any other. An If then
chooses between what the copies of its branches make, so it is no difference itself where these agree.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from normfold.operators.table import is_standard
from normfold.operators.walk import attribute_value, initializer_names, subgraphs
from normfold.runtime.loaded_model import LoadedModel

_CALLS = 4
"""So many calls of one function are laid open."""


Copying = Generator[onnx.NodeProto, None, list[str]]
"""Yields the operators of a copy, and returns the names of what it hands on."""


@dataclass(frozen=True)
class Copy:
    """One copy of a body: the path of the body in the model, and what the names of its values begin with."""

    path: str
    prefix: str


def inline_bodies(
    model: LoadedModel, paths: Collection[str], closed: tuple[str, ...] = ()
) -> tuple[LoadedModel, tuple[Copy, ...]]:
    """Return the model with copies of the bodies at ``paths`` (as in ``Finding.graph``), and where each copy is.

    What the model computes stays as it is. A body that cannot be laid open has no copy, nor has one whose prefix is
    among ``closed``.
    """
    opening = _Opening(model.skeleton, _needed(model.skeleton, set(paths)), closed)
    nodes = list(opening.opened(model.graph.node, "", {}, ""))
    taken = set(model.producers) | {value.name for value in model.graph.input} | initializer_names(model.graph)
    if not opening.copies or taken & opening.made:
        return model, ()
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    del skeleton.graph.node[:]
    skeleton.graph.node.extend(nodes)
    skeleton.graph.initializer.extend(opening.tensors)
    skeleton.opset_import.extend(
        helper.make_opsetid(domain, version) for domain, version in opening.more_opsets.items()
    )
    return replace(model, skeleton=skeleton), tuple(copy for copy in opening.copies if copy.path in paths)


def differing_branches(one: LoadedModel, other: LoadedModel) -> set[str]:
    """Return the paths of the branches of each If that both models have and that is not the same in them."""
    ours, theirs = (dict(_branches(model.graph.node, "")) for model in (one, other))
    return {path for path in ours.keys() & theirs.keys() if ours[path] != theirs[path]}


def _branches(nodes: Iterable[onnx.NodeProto], path: str) -> Iterator[tuple[str, list[onnx.AttributeProto]]]:
    for node in nodes:
        for body_path, _, body in _bodies(node, path) if node.op_type == "If" and is_standard(node) else ():
            yield body_path, sorted(node.attribute, key=lambda attribute: attribute.name)
            yield from _branches(body.node, body_path)


def _bodies(node: onnx.NodeProto, path: str) -> Iterator[tuple[str, str, onnx.GraphProto]]:
    """Return the body graph in each attribute of a node, with its path as ``normfold.graph.graphs_of`` tells it.

    Yield with it the last step of the path.
    """
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            step = f"{_name_of(node)}.{attribute.name}"
            yield f"{path}/{step}".lstrip("/"), step, attribute.g


def _name_of(node: onnx.NodeProto) -> str:
    return node.name or next(filter(None, node.output), "") or node.op_type


def _identifier(domain: str, name: str, overload: str) -> str:
    return ":".join(filter(None, (domain, name, overload)))


def _called(node: onnx.NodeProto) -> str:
    return _identifier(node.domain, node.op_type, node.overload)


def _needed(model: onnx.ModelProto, wanted: set[str]) -> set[str]:
    """Return the ``wanted`` paths, and those of every body and function through which they are reached."""
    inside: dict[str, set[str]] = {}

    def walk(nodes: Iterable[onnx.NodeProto], path: str) -> None:
        for node in nodes:
            inside.setdefault(path, set()).add(_called(node))
            for body_path, _, body in _bodies(node, path):
                inside[path].add(body_path)
                walk(body.node, body_path)

    walk(model.graph.node, "")
    for function in model.functions:
        walk(function.node, _identifier(function.domain, function.name, function.overload))
    needed: set[str] = set()
    fresh = wanted
    while fresh:
        needed |= fresh
        fresh = {path for path, those in inside.items() if path and those & needed} - needed
    return needed


@dataclass
class _Opening:
    """Copies while they are made. ``made`` are the names that they add to the main graph."""

    model: onnx.ModelProto
    needed: set[str]
    closed: tuple[str, ...]
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    more_opsets: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def opened(
        self, nodes: Iterable[onnx.NodeProto], path: str, names: Mapping[str, str], prefix: str
    ) -> Iterator[onnx.NodeProto]:
        """Yield ``nodes``, which stand at ``path``, behind copies of what is needed of the bodies of each.

        ``names`` are those that the values of that graph have in the main graph.
        """
        functions = {_identifier(f.domain, f.name, f.overload): f for f in self.model.functions}
        for node in nodes:
            called = _called(node)
            if called in functions and called in self.needed:
                yield from self._function(functions[called], called, node, names, prefix)
            here = _renamed(node, names) if path else node
            for body_path, step, body in _bodies(node, path):
                inner = f"{prefix}{step}/"
                if body_path not in self.needed or not is_standard(node) or inner.startswith(self.closed):
                    continue
                if node.op_type == "If":
                    inside = yield from self._copy(body, body_path, dict(names), inner)
                    here = _choosing(here, step.rpartition(".")[2], inner, [inside[v.name] for v in body.output])
                else:
                    yield from self._turns(node, body, body_path, names, inner)
            yield here

    def _turns(
        self, node: onnx.NodeProto, body: onnx.GraphProto, path: str, names: Mapping[str, str], prefix: str
    ) -> Iterator[onnx.NodeProto]:
        given, second = [names.get(name, name) for name in node.input], f"{prefix[:-1]}, turn 2/"
        if node.op_type == "Loop":
            first = yield from self._loop_turn(body, path, names, given[2:], prefix, 0)
            then = self._loop_turn(body, path, names, first, second, 1)
        elif node.op_type == "Scan" and self._opset() >= 9:
            state = given[: -attribute_value(node, "num_scan_inputs", 0)]
            first = yield from self._scan_turn(node, body, path, names, [*given, *state], prefix, 0)
            then = self._scan_turn(node, body, path, names, [*given, *first], second, -1)
        else:
            return
        if not second.startswith(self.closed):
            yield from then

    def _opset(self) -> int:
        return max((o.version for o in self.model.opset_import if is_standard(o)), default=1)

    def _loop_turn(
        self, body: onnx.GraphProto, path: str, names: Mapping[str, str], carried: Sequence[str], prefix: str, turn: int
    ) -> Copying:
        """One turn of a Loop, begun with the ``carried`` values; what it hands on to the next."""
        shape = [1] * len(body.input[0].type.tensor_type.shape.dim)
        number = self._constant(prefix + body.input[0].name, np.full(shape, turn, np.int64))
        goes_on = self._constant(prefix + body.input[1].name, np.array(True))
        inside = yield from self._copy(body, path, _bound(names, body, [number, goes_on, *carried]), prefix)
        return [inside.get(value.name, value.name) for value in body.output[1 : 1 + len(carried)]]

    def _scan_turn(
        self,
        node: onnx.NodeProto,
        body: onnx.GraphProto,
        path: str,
        names: Mapping[str, str],
        given: Sequence[str],
        prefix: str,
        place: int,
    ) -> Copying:
        """One turn of a Scan, at the first (0) or the last (-1) place of its inputs.

        ``given`` are all inputs of the node, and the state behind them; gives the state for the next turn.
        """
        count = attribute_value(node, "num_scan_inputs", 0)
        scanned = node.input[-count:]
        state = given[len(node.input) :]
        axes = attribute_value(node, "scan_input_axes", list[int]()) or [0] * count
        backward = attribute_value(node, "scan_input_directions", list[int]()) or [0] * count
        slices = []
        for formal, sequence, axis, is_backward in zip(body.input[len(state) :], scanned, axes, backward, strict=False):
            at = self._constant(f"{prefix}{formal.name} at", np.array(-1 - place if is_backward else place, np.int64))
            slices.append(prefix + formal.name)
            source = names.get(sequence, sequence)
            yield helper.make_node("Gather", [source, at], [slices[-1]], axis=axis)
        inside = yield from self._copy(body, path, _bound(names, body, [*state, *slices]), prefix)
        return [inside.get(value.name, value.name) for value in body.output[: len(state)]]

    def _function(
        self,
        function: onnx.FunctionProto,
        path: str,
        node: onnx.NodeProto,
        names: Mapping[str, str],
        prefix: str,
    ) -> Iterator[onnx.NodeProto]:
        own = {o.domain: o.version for o in self.model.opset_import}
        if any(own.get(o.domain, o.version) != o.version for o in function.opset_import):
            return  # its operators mean something else in the main graph
        self.calls[path] = self.calls.get(path, 0) + 1
        if self.calls[path] > _CALLS:
            return
        self.more_opsets |= {o.domain: o.version for o in function.opset_import if o.domain not in own}
        given = [names.get(name, name) for name in node.input] + [""] * len(function.input)
        body = onnx.GraphProto()
        body.node.extend(_with_attributes(function, node))
        inside = dict(zip(function.input, given, strict=False))
        inner = f"{prefix}{_name_of(node)}:{function.name}/"
        if not inner.startswith(self.closed):
            yield from self._copy(body, path, inside, inner)

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def _copy(
        self, body: onnx.GraphProto, path: str, names: dict[str, str], prefix: str
    ) -> Generator[onnx.NodeProto, None, dict[str, str]]:
        """Copy a body whose inputs are among ``names``; return the names of all its values in the main graph."""
        own = {*initializer_names(body), *(name for node in body.node for name in node.output if name)}
        inside = names | {name: prefix + name for name in own}
        self.made.update(prefix + name for name in own)
        for tensor in body.initializer:
            self.tensors.append(_named(tensor, inside[tensor.name]))
        self.copies.append(Copy(path, prefix))
        yield from self.opened(body.node, path, inside, prefix)
        return {value.name: value.name for value in body.output} | inside


def _bound(names: Mapping[str, str], body: onnx.GraphProto, given: Sequence[str]) -> dict[str, str]:
    return dict(names) | dict(zip((value.name for value in body.input), given, strict=False))


def _choosing(node: onnx.NodeProto, branch: str, prefix: str, values: Sequence[str]) -> onnx.NodeProto:
    """Return an If that gives ``values`` of the main graph where it would run that branch."""
    made = [f"{prefix}output {number}" for number in range(len(values))]
    nodes = [helper.make_node("Identity", [value], [name]) for value, name in zip(values, made, strict=True)]
    body = onnx.GraphProto(name=branch, node=nodes, output=[onnx.ValueInfoProto(name=name) for name in made])
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    next(attribute for attribute in copy.attribute if attribute.name == branch).g.CopyFrom(body)
    return copy


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a copy of a node whose values have other names, also where its own bodies capture them."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    for graph in subgraphs(copy):
        _rename_captures(graph, names)
    return copy


def _rename_captures(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    own = {value.name for value in graph.input} | initializer_names(graph)
    own.update(name for node in graph.node for name in node.output)
    outer = {name: new for name, new in names.items() if name not in own}
    for node in graph.node:
        node.input[:] = [outer.get(name, name) for name in node.input]
        for inner in subgraphs(node):
            _rename_captures(inner, outer)
    for value in graph.output:
        value.name = outer.get(value.name, value.name)


def _with_attributes(function: onnx.FunctionProto, call: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the operators of a function with the attributes that the call gives, or else the function's defaults."""
    given = {a.name: a for a in (*function.attribute_proto, *call.attribute)}
    nodes = []
    for node in function.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        _bind([copy], given)
        nodes.append(copy)
    return nodes


def _bind(nodes: Iterable[onnx.NodeProto], given: Mapping[str, onnx.AttributeProto]) -> None:
    for node in nodes:
        kept = []
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                kept.append(attribute)
            elif attribute.ref_attr_name in given:
                bound = onnx.AttributeProto()
                bound.CopyFrom(given[attribute.ref_attr_name])
                bound.name = attribute.name
                kept.append(bound)
        copies = [onnx.AttributeProto.FromString(attribute.SerializeToString()) for attribute in kept]
        del node.attribute[:]
        node.attribute.extend(copies)
        for graph in subgraphs(node):
            _bind(graph.node, given)
