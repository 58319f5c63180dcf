"""Sizes by name, where shape inference gives up or finds new names: of what is reshaped, and behind windows.

TensorFlow takes the target of a Reshape from a Shape through Gather, Cast, Slice and Concat, which ``shape_values`` can
follow. The result becomes the shape of the reshaped value, and inference goes on from there, operator by operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from normfold.constants.shape_values import (
    LONGEST,
    MADE_UP,
    ROUNDS,
    Dimension,
    PartialInts,
    add_result,
    allows_zero,
    dimension,
    shapes_of,
    stored_integers,
    without_rest,
)
from normfold.constants.window_sizes import window_sizes
from normfold.operators.shape_inference import infer_shapes


def with_named_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give each Reshape, Expand, convolution and pool the named sizes of its result, which inference loses; go on."""
    for _ in range(ROUNDS):
        if not _Sizes(model).learn():
            break
        model = infer_shapes(model)
    return model


class _Sizes:
    """The shapes of a graph while they become known: what one Reshape tells is carried on to all that follow it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = self._graph = model.graph
        self._opsets = list(model.opset_import)
        self._shapes = dict(shapes_of(graph))
        self._inferred = {info.name: info for info in graph.value_info}
        values = (*graph.input, *graph.value_info, *graph.output)
        self._kinds = {value.name: value.type.tensor_type.elem_type for value in values}
        self._kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        self._changed: set[str] = set()
        self._renamed: dict[str, Dimension] = {}
        self._having: dict[Dimension, list[str]] = {}
        for name in self._inferred:
            for size in self._shapes.get(name, ()):
                self._having.setdefault(size, []).append(name)

    def learn(self) -> bool:
        """Write down what the targets tell; say whether that was anything."""
        values = stored_integers(self._graph)
        for node in self._graph.node:
            add_result(values, node, self._shapes)
            target = self._target(node, values) if node.op_type in ("Reshape", "Expand") else None
            if target is not None and not target.is_scalar and not allows_zero(node):
                shape = _named if node.op_type == "Reshape" else _expanded
                entries = tuple(map(self._current, target.entries))
                self._improve(node.output[0], shape(entries, self._shapes.get(node.input[0])))
            elif not self._changed.isdisjoint(node.input):
                for name, dims in self._made_by(node, values):
                    self._improve(name, dims)
            if (behind := window_sizes(node, self._shapes)) is not None:
                self._improve(node.output[0], behind)
        for name in self._changed:
            info = onnx.helper.make_tensor_value_info(name, self._kinds[name], self._shapes[name])
            self._inferred[name].CopyFrom(info)
        return bool(self._changed)

    def _target(self, node: onnx.NodeProto, values: Mapping[str, PartialInts]) -> PartialInts | None:
        """Return what is known of the sizes that an operator is given: how many they are, at least."""
        if len(node.input) < 2 or node.input[1] in values:
            return values.get(node.input[1]) if len(node.input) > 1 else None
        count = self._shapes.get(node.input[1], (None,))[0]
        return PartialInts((None,) * count) if isinstance(count, int) and count <= LONGEST else None

    def _made_by(
        self, node: onnx.NodeProto, values: Mapping[str, PartialInts]
    ) -> Iterator[tuple[str, tuple[Dimension, ...]]]:
        """Yield what inference tells of the results of one operator."""
        names = [name for name in node.input if name]
        if not all(self._kinds.get(name) for name in names):
            return
        kinds = {n: onnx.helper.make_tensor_type_proto(self._kinds[n], self._shapes.get(n)) for n in names}
        known = {n: values[n].entries for n in names if n in values and values[n].is_known and not values[n].is_scalar}
        data = {n: onnx.helper.make_tensor(n, self._kinds[n], [len(e)], np.array(e)) for n, e in known.items()}
        version = next((opset.version for opset in self._opsets if opset.domain == node.domain), 0)
        try:
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
            made = onnx.shape_inference.infer_node_outputs(schema, node, kinds, data, opset_imports=self._opsets)
        except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError, RuntimeError):
            return  # the inference of the whole model goes on here
        for name, kind in made.items():
            if kind.tensor_type.HasField("shape"):
                yield name, tuple(map(dimension, kind.tensor_type.shape.dim))

    def _current(self, size: Dimension) -> Dimension:
        """Return what is known by now of a size that had this name before."""
        while isinstance(size, str) and size in self._renamed:
            size = self._renamed[size]
        return size

    def _improve(self, name: str, shape: tuple[Dimension, ...]) -> None:
        known = self._shapes.get(name)
        if name not in self._inferred or not _says_more(shape, known):
            return
        old = known or (None,) * len(shape)
        self._shapes[name] = tuple(
            f"{MADE_UP}{name}_{axis}" if new is None and before is None else before if new is None else new
            for axis, (before, new) in enumerate(zip(old, shape, strict=True))
        )
        self._changed.add(name)
        for size in self._shapes[name]:
            self._having.setdefault(size, []).append(name)
        for before, new in zip(old, shape, strict=True):
            if isinstance(before, str) and new is not None and self._current(new) != before:
                self._rename(before, self._current(new))

    def _rename(self, old: str, new: Dimension) -> None:
        """Replace a name wherever it was inferred."""
        self._renamed[old] = new
        for name in self._having.pop(old, ()):
            self._shapes[name] = tuple(new if size == old else size for size in self._shapes[name])
            self._changed.add(name)
            self._having.setdefault(new, []).append(name)


def _named(target: tuple[Dimension, ...], source: tuple[Dimension, ...] | None) -> tuple[Dimension, ...]:
    """Return the sizes that a Reshape to ``target`` gives; None for what is not known."""
    copied = [
        source[at] if entry == 0 and source is not None and at < len(source) else entry
        for at, entry in enumerate(target)
    ]
    entries = tuple(None if entry == 0 else entry for entry in copied)
    return tuple(None if entry == -1 else entry for entry in without_rest(entries, source))


def _expanded(target: tuple[Dimension, ...], source: tuple[Dimension, ...] | None) -> tuple[Dimension, ...]:
    """Return the sizes that an Expand to ``target`` gives: of two sizes that broadcast, the one that is not 1."""
    length = len(target) if source is None else max(len(target), len(source))
    wanted = (1,) * (length - len(target)) + target
    own: tuple[Dimension, ...] = (None,) * length if source is None else (1,) * (length - len(source)) + source
    return tuple(b if a == 1 else a if b in (1, a) else None for a, b in zip(own, wanted, strict=True))


def _says_more(named: tuple[Dimension, ...], known: tuple[Dimension, ...] | None) -> bool:
    """Say whether a size is a number or a known name, where only an unknown or a new name was known."""
    if known is None or len(known) != len(named):
        return known is None
    return any(
        new is not None and new != old and not isinstance(old, int) for new, old in zip(named, known, strict=True)
    )
