"""The Editor: the only thing that changes a graph, and only by whole plans.

It copies weights on write, keeps the exact value of every constant it wrote so that later folds start from
the unrounded one, gives each new value an unused name, and stamps provenance on every node it touches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.affine import Array, squeeze_leading
from normfold.algebra.weight import Weight
from normfold.files.data_file import empty_on_disk
from normfold.findings.reason import Reason, Refusal
from normfold.graph.display_names import copy_display_name, name_of, set_display_name
from normfold.graph.reader import EXACT, FLOATS, GraphReader, graphs_of, input_at, is_read

OWN_ELEMENTS = 8  # of a constant of so many or fewer each reader gets its own, under a name that says whose it is
RULE, FROM = "normfold.rule", "normfold.from"


@dataclass(frozen=True, eq=False)
class Rewrite:
    """What one operator becomes: new constants by input index, attributes, another operator name, an Add behind it.

    ``drops`` are attributes that the other operator does not have.
    """

    node: ir.Node
    inputs: Mapping[int, npt.NDArray[Any] | Weight] = field(default_factory=dict)
    attributes: Mapping[str, int | float | Sequence[float]] = field(default_factory=dict)
    operator: str = ""
    drops: tuple[str, ...] = ()
    shift_after: Array | None = None

    @property
    def weights_changed(self) -> int:
        """Return how many constants change."""
        return len(self.inputs)

    @property
    def operators_added(self) -> int:
        """Return how many operators come behind it."""
        return int(self.shift_after is not None)


def require_fits(array: Array, dtype: ir.DataType | None, node: ir.Node) -> Array:
    """``array`` unchanged, or a Refusal when rounding it to ``dtype`` would overflow."""
    _require_in_range(max(array.max(initial=0.0), -array.min(initial=0.0)), dtype, node)
    return array


def require_rows_fit(
    largest: Array, dtype: ir.DataType | None, node: ir.Node, before: Array, shift: Array | None = None
) -> None:
    """Refuse, as ``require_fits`` does, and where a row of a weight would lose its digits by becoming subnormal.

    ``largest`` are the largest magnitudes of the rows, ``before`` those that the model came with, ``shift`` what is
    added to each row's product. A dead row may vanish: one that was subnormal itself, or is nothing against its shift
    or against the other rows.
    """
    most, limits = float(largest.max(initial=0.0)), float_range(dtype, node)
    _require_in_range(most, dtype, node)
    lost = (largest > 0) & (largest < limits.smallest)
    lost &= (before >= limits.smallest) & (largest > limits.epsilon**2 * most)
    if shift is not None:
        lost &= largest > limits.epsilon * np.abs(shift)
    if lost.any():
        raise Refusal(Reason.OUT_OF_RANGE, name_of(node), detail=f"row {int(np.argmax(lost))} would become subnormal")


def require_no_faint_rows(largest: Array, node: ir.Node, before: Array, shift: Array) -> None:
    """Refuse a scale that leaves most rows of a weight so small that their products with small values are subnormal.

    Such products take a processor up to 100 times as long, and the tail of a Gelu is full of small values; behind the
    sum the scale is one product a row. A row that is nothing against its shift does not count, as for
    ``require_rows_fit``, nor one that came so.
    """
    faint = (largest > 0) & (largest < _FAINT) & (before >= _FAINT)
    faint &= largest > float(np.finfo(np.float32).eps) * np.abs(shift)
    if 2 * np.count_nonzero(faint) > faint.size:
        detail = f"{np.count_nonzero(faint)} of {faint.size} rows would be below {_FAINT:.1g}, which is slow"
        raise Refusal(Reason.OUT_OF_RANGE, name_of(node), detail=detail)


def _require_in_range(largest: float, dtype: ir.DataType | None, node: ir.Node) -> None:
    """Refuse the largest magnitude of an array (not a number where an element is none) that its type cannot hold."""
    if not np.isfinite(largest):
        raise Refusal(Reason.OUT_OF_RANGE, name_of(node), detail="a folded weight is not finite")
    limits = float_range(dtype, node)
    if largest > limits.largest:
        raise Refusal(Reason.OUT_OF_RANGE, name_of(node), detail=f"|{largest:.3g}| is above {limits.largest:.3g}")


_FAINT = 2.0**-60
"""A float32 of this size times 2**-67, which a Gelu gives for -13, is subnormal."""


@dataclass(frozen=True)
class FloatRange:
    """The largest finite and the smallest normal number of a type, and the distance from 1 to the next number."""

    largest: float
    smallest: float
    epsilon: float


_LIMITS = {
    ir.DataType.FLOAT16: FloatRange(65504.0, 2.0**-14, 2.0**-10),
    ir.DataType.BFLOAT16: FloatRange(3.3895313892515355e38, 2.0**-126, 2.0**-7),
    ir.DataType.FLOAT: FloatRange(float(np.finfo(np.float32).max), 2.0**-126, 2.0**-23),
    ir.DataType.DOUBLE: FloatRange(float(np.finfo(np.float64).max), 2.0**-1022, 2.0**-52),
}


def float_range(dtype: ir.DataType | None, node: ir.Node) -> FloatRange:
    """Return the limits of a floating type; Refusal for every other type."""
    limits = _LIMITS.get(dtype) if dtype is not None else None
    if limits is None:
        raise Refusal(Reason.NOT_FLOATING, name_of(node), detail=f"the type is {dtype}")
    return limits


def bypass(node: ir.Node, value: ir.Value) -> None:
    """Let the readers of ``node`` read ``value`` instead; a node that makes an output becomes an Identity."""
    if not node.outputs[0].is_graph_output():
        node.outputs[0].replace_all_uses_with(value)
        if node.graph is not None and not any(map(is_read, node.outputs)):
            node.graph.remove(node, safe=True)
        return
    node.op_type = "Identity"
    node.attributes.clear()
    node.resize_inputs(1)
    node.resize_outputs(1)
    node.replace_input_with(0, value)


def make_cast(node: ir.Node, dtype: ir.DataType) -> None:
    """Make a CastLike a Cast, where the type that it takes from its second input is known."""
    node.op_type = "Cast"
    node.attributes["to"] = ir.AttrInt64("to", int(dtype))
    node.resize_inputs(1)


class UniqueNames:
    """Every name of a model, so that a new one never collides, in any graph or subgraph. Read at the first new one."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._last: dict[str, int] = {}  # the last number behind a hint, so that a shared weight is not counted again

    @cached_property
    def _taken(self) -> set[str]:
        taken: set[str] = set()
        for _, graph in graphs_of(self._model):
            taken.update(value.name or "" for value in graph.inputs)
            if isinstance(graph, ir.Graph):
                taken.update(graph.initializers)
            for node in graph:
                taken.update((node.name or "", *(value.name or "" for value in node.outputs)))
        return taken

    def new(self, hint: str) -> str:
        """``hint`` itself where it is free, else with the first free number behind it."""
        name, number = hint, self._last.get(hint, 1)
        while name in self._taken:
            number += 1
            name = f"{hint}_{number}"
        self._last[hint] = number
        self._taken.add(name)
        return name


class Editor:
    """Applies decisions to one graph."""

    def __init__(self, reader: GraphReader, names: UniqueNames) -> None:
        self.reader = reader
        self.names = names
        self._written: dict[tuple[object, ...], list[tuple[ir.Value, npt.NDArray[Any]]]] = {}

    # -- constants -----------------------------------------------------------------------------------------------
    def constant(self, array: npt.NDArray[Any] | Weight, dtype: ir.DataType, hint: str) -> ir.Value:
        """Return a new constant, rounded once to ``dtype``, its exact value remembered; large equal ones are one."""
        if isinstance(array, Weight):
            rounded = array.rounded(dtype.numpy(), empty_on_disk)
        else:
            rounded = np.asarray(array).astype(dtype.numpy(), order="C")  # a scalar stays one
        same = self._written.setdefault((dtype, rounded.shape, _sample(rounded)), [])
        if rounded.size > OWN_ELEMENTS:
            for known, content in same:
                if known.is_initializer() and np.array_equal(content.view(np.uint8), rounded.view(np.uint8)):
                    return known
        value = self._new_constant(array, rounded, dtype, hint)
        same.append((value, rounded))
        return value

    def _new_constant(
        self, array: npt.NDArray[Any] | Weight, rounded: npt.NDArray[Any], dtype: ir.DataType, hint: str
    ) -> ir.Value:
        name = self.names.new(hint)
        tensor = ir.Tensor(rounded, dtype=dtype, name=name)
        graph = self.reader.graph
        if isinstance(graph, ir.Graph):
            value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor)
            graph.register_initializer(value)
        else:
            value = self._constant_node(graph, tensor, name)
        set_display_name(value, hint.removesuffix("_folded"))
        if dtype in FLOATS:
            value.meta[EXACT] = array if isinstance(array, Weight) else _frozen(array)
        return value

    def _constant_node(self, function: ir.Function, tensor: ir.Tensor[Any], name: str) -> ir.Value:
        """Functions have no initializers, so their constants are nodes."""
        node = ir.node("Constant", [], {"value": tensor})
        value = node.outputs[0]
        value.name, value.shape, value.dtype, value.const_value = (
            name,
            ir.Shape(tensor.numpy().shape),
            tensor.dtype,
            tensor,
        )
        first = next(iter(function), None)
        if first is None:
            function.append(node)
        else:
            function.insert_before(first, node)
            self.reader.numbers.insert_first(node)
        return value

    # -- nodes ---------------------------------------------------------------------------------------------------
    def rewrite(self, change: Rewrite, rule: str, source: str) -> ir.Value:
        """Carry out one ``Rewrite``; returns the value that now stands where the node's first output stood."""
        node = change.node
        dtype = self._float_type(node)
        for index, array in sorted(change.inputs.items()):
            previous = input_at(node, index)
            hint = previous.name if previous is not None and previous.name else f"{name_of(node)}.input{index}"
            kind = self.reader.dtype(previous) if previous is not None else None
            kind = dtype if kind is None else kind
            if isinstance(array, np.ndarray) and array.dtype != np.float64:  # integers say themselves what they are
                kind = ir.DataType.from_numpy(array.dtype)
            value = self.constant(array, kind, f"{hint}_folded")
            if previous is not None:
                copy_display_name(previous, value)
            if index >= len(node.inputs):
                node.resize_inputs(index + 1)
            node.replace_input_with(index, value)
            _widen_result(node, value)
        for name in change.drops:
            node.attributes.pop(name, None)
        for name, setting in change.attributes.items():
            node.attributes[name] = _attribute(name, setting)
        if change.operator:
            node.op_type = change.operator
        stamp(node, rule, source)
        for unused in (output for output in node.outputs[1:] if not output.uses() and not output.is_graph_output()):
            self.rename(unused)  # such as the mean that a norm gives as another output
        if change.shift_after is None:
            return node.outputs[0]
        return self._add_after(node, change.shift_after, dtype, rule, source)

    def _float_type(self, node: ir.Node) -> ir.DataType:
        for value in (*node.inputs[1:], *node.inputs[:1], *node.outputs):
            dtype = self.reader.dtype(value)
            if dtype in _LIMITS:
                return dtype
        return ir.DataType.FLOAT

    def _add_after(self, node: ir.Node, shift: Array, dtype: ir.DataType, rule: str, source: str) -> ir.Value:
        """Write the shift of a MatMul: an Add directly behind it that takes over its output's readers."""
        out = node.outputs[0]
        constant = self.constant(squeeze_leading(shift), dtype, f"{out.name}_shift")
        add = ir.node("Add", [out, constant], name=self.names.new(f"{name_of(node)}_shift"))
        self.insert_after(node, add)
        self.take_over(out, add.outputs[0], add)
        stamp(add, rule, source)
        return add.outputs[0]

    def become(
        self,
        node: ir.Node,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, int | float | Sequence[float]],
    ) -> None:
        """Make a node another standard operator that gives the same output."""
        node.op_type = operator
        node.attributes.clear()
        for name, setting in attributes.items():
            node.attributes[name] = _attribute(name, setting)
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)

    def insert_after(self, anchor: ir.Node, node: ir.Node) -> None:
        """Put ``node`` directly behind ``anchor`` in the graph."""
        for output in node.outputs:
            output.name = output.name or self.names.new(f"{name_of(node)}_out")
        self.reader.graph.insert_after(anchor, node)
        self.reader.numbers.insert_after(anchor, node)

    def take_over(self, old: ir.Value, new: ir.Value, keep: ir.Node | None = None) -> None:
        """Let every reader of ``old`` (but ``keep``) read ``new``; ``new`` takes the name, ``old`` gets another one."""
        new.shape, new.type = old.shape, old.type
        for node, index in list(old.uses()):
            if node is not keep:
                node.replace_input_with(index, new)
        self._replace_output(old, new)
        copy_display_name(old, new)
        name, old.name = old.name, self.names.new(f"{old.name}_folded")
        new.name = name

    def bypass(
        self, nodes: Sequence[ir.Node], entry: ir.Value, site: ir.Value, *, upstream_takes_name: bool, rule: str
    ) -> None:
        """Remove ``nodes``, which lead from ``entry`` to ``site``: the readers of ``site`` read ``entry``.

        An output of the graph keeps its name: ``entry`` takes it, or, where it has to keep its own, an Identity does.
        """
        is_output = site.is_graph_output()
        if is_output and not self._may_take_an_output(entry):
            self._identity_for(nodes, entry, site, rule)
            self.remove(nodes)
            return
        for node, index in list(site.uses()):
            node.replace_input_with(index, entry)
        self._replace_output(site, entry)
        if is_output or upstream_takes_name:
            name, site.name = site.name, self.names.new(f"{site.name}_gone")
            entry.name = name
        if is_output or entry.shape is None:
            entry.shape, entry.type = site.shape, site.type
        self.remove(nodes)

    def _replace_output(self, old: ir.Value, new: ir.Value) -> None:
        """Let the graph give ``new`` wherever it gives ``old``."""
        outputs = self.reader.graph.outputs
        while old.is_graph_output() and old in outputs:
            outputs[outputs.index(old)] = new

    def _may_take_an_output(self, value: ir.Value) -> bool:
        """Return whether a value is made in this graph and not yet an output of it."""
        return self.reader.holds(value.producer()) and not value.is_graph_output()

    def _identity_for(self, nodes: Sequence[ir.Node], entry: ir.Value, site: ir.Value, rule: str) -> None:
        """Write an Identity that makes the output ``site`` of an ``entry`` that cannot have its name."""
        node = ir.node("Identity", [entry], name=self.names.new(f"{name_of(nodes[-1])}_identity"))
        self.insert_before(nodes[-1], [node])
        stamp(node, rule, ", ".join(name_of(each) for each in nodes))
        self.take_over(site, node.outputs[0])

    def remove(self, nodes: Sequence[ir.Node]) -> None:
        """Take nodes out of the graph of which nothing else reads the results."""
        self.reader.graph.remove(nodes, safe=True)

    def widen(self, value: ir.Value) -> None:
        """Give the value one more channel than it has."""
        if value.shape is not None and isinstance(value.shape[1], int):
            sizes = list(value.shape)
            value.shape = ir.Shape([sizes[0], value.shape[1] + 1, *sizes[2:]])

    def rename(self, value: ir.Value) -> None:
        """Give a new name to a value whose content a fold changed."""
        if value.name:
            value.name = self.names.new(f"{value.name}_folded")

    def insert_before(self, anchor: ir.Node, nodes: Sequence[ir.Node]) -> None:
        """Put ``nodes``, in their order, directly before ``anchor``."""
        for node in nodes:
            for output in node.outputs:
                output.name = output.name or self.names.new(f"{name_of(node)}_out")
            self.reader.graph.insert_before(anchor, node)
        self.reader.numbers.insert_before(anchor, nodes)


def _widen_result(node: ir.Node, constant: ir.Value) -> None:
    """Write the shape of arithmetic whose constant has become larger than its result was, as a scale by channel."""
    result, shape = node.outputs[0], constant.shape
    if node.op_type in ("Mul", "Add") and result.shape is not None and result.shape.is_static() and shape is not None:
        result.shape = ir.Shape(np.broadcast_shapes(result.shape.numpy(), shape.numpy()))


def _sample(array: npt.NDArray[Any]) -> bytes:
    """Return some bytes of an array that tell most different ones apart."""
    flat = array.reshape(-1)
    return flat[:: max(1, flat.size // 64)].tobytes()


def _attribute(name: str, setting: int | float | Sequence[float]) -> ir.Attr:
    if isinstance(setting, Sequence):
        if all(isinstance(each, int) for each in setting):
            return ir.AttrInt64s(name, [int(each) for each in setting])
        return ir.AttrFloat32s(name, list(setting))
    return ir.AttrFloat32(name, setting) if isinstance(setting, float) else ir.AttrInt64(name, setting)


def stamp(node: ir.Node, rule: str, source: str) -> None:
    """Provenance: which rule made or changed the node, and on whose behalf."""
    node.metadata_props[RULE] = rule
    earlier = node.metadata_props.get(FROM)
    node.metadata_props[FROM] = f"{earlier}, {source}" if earlier else source


def _frozen(array: Array) -> Array:
    exact = np.asarray(array, dtype=np.float64)
    exact.setflags(write=False)
    return exact
