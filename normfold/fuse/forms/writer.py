"""Where a norm is to be written, what a form of it is, and the writer that makes its operators.

A cost is counted in passes over the data: 1 for an operator that reads and writes the whole value, a fraction for one
that only changes its shape or works on reduced values. ``normfold.targets`` says which operators a runtime has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.fuse.recognize.candidates import Norm
from normfold.fuse.recognize.polynomial import Kind, Parameter
from normfold.fuse.recognize.region import Region
from normfold.fuse.recognize.views import Sizes, count_of
from normfold.graph.editor import Editor, require_fits
from normfold.graph.reader import GraphReader, attribute
from normfold.operators.table import REDUCTION_AXES_ARE_INPUTS
from normfold.targets.target import Target

LAYOUT, SMALL, PASS = 0.2, 0.3, 1.0  # costs: of a change of shape, of work on reduced values, of a pass over the data
# Mul and ReduceSum are faster along the last axes, and 1.4 to 5 times as slow along others (ONNX Runtime 1.31, CPU).
LENGTH, OTHER_LENGTH, LENGTHS = 2.7, 1.4, ("ReduceL1", "ReduceL2", "ReduceSumSquare")
LAYERNORM, RMSNORM, INSTANCENORM, GROUPNORM, LPNORM = "layernorm", "rmsnorm", "instancenorm", "groupnorm", "lpnorm"
_LAYOUTS = 4  # changes of shape to look through for a parameter of the right one
_WIDER = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)


@dataclass(frozen=True, eq=False)
class NormContext:
    """Where a norm is to be written: its region, the target, and the newest operator set that may be used.

    ``order`` is how the root is transposed before and back behind the norm; empty where it is not. Everything here is
    said of the transposed root. The parameters of a norm may take ``spare`` more bytes than they have.
    """

    region: Region
    target: Target
    opset: int
    spare: float = math.inf
    order: tuple[int, ...] = ()

    @property
    def sizes(self) -> Sizes:
        """Return the shape of the root, transposed as ``order`` says."""
        own = self.region.views[0]
        return tuple(own[axis] for axis in self.order) if self.order else own

    @property
    def rank(self) -> int:
        """Return the number of axes."""
        return len(self.sizes)

    @property
    def axes(self) -> tuple[int, ...] | None:
        """Return the axes that the norm reduces; None where it reduces groups of channels."""
        own = self.region.reduction.grouping.axes
        return tuple(sorted(self.order.index(axis) for axis in own)) if self.order and own is not None else own

    @property
    def groups(self) -> int | None:
        """Return the number of channel groups.

        None where there are none, or where axis 1 is not that of the channels.
        """
        grouping = self.region.reduction.grouping
        channel = self.order.index(grouping.channel) if self.order else grouping.channel
        return grouping.groups if channel == 1 else None

    def channels_first(self) -> NormContext | None:
        """Return the same norm behind a Transpose that brings the last axis to axis 1, that of the channels."""
        grouping = self.region.reduction.grouping
        if self.order or grouping.groups is None or grouping.channel == 1:
            return None
        return replace(self, order=(0, self.rank - 1, *range(1, self.rank - 1)))

    @property
    def transposes(self) -> float:
        """Return the cost of the Transposes before and behind; one that meets its inverse is free."""
        if not self.order:
            return 0.0
        before = self.region.root.producer()
        is_undone = before is not None and before.op_type == "Transpose" and _perm(before) == _inverse(self.order)
        return PASS * (1 if is_undone else 2)

    @property
    def reduced(self) -> Sizes:
        """Return the shape of the root's moments."""
        return tuple(1 if axis in (self.axes or ()) else size for axis, size in enumerate(self.sizes))

    def types(self, norm: Norm) -> tuple[ir.DataType, ir.DataType] | None:
        """Return the element types of the root and of the norm."""
        before = self.region.reader.dtype(self.region.root)
        after = self.region.reader.dtype(norm.site) or before
        return None if before not in _WIDER or after not in _WIDER else (before, after)

    def working_type(self, norm: Norm, operator: str) -> ir.DataType | None:
        """Return the type that the form computes in: the wider of both, or float where only that has a kernel."""
        types = self.types(norm)
        if types is None:
            return None
        widest = max(types, key=_WIDER.index)
        for dtype in (widest, ir.DataType.FLOAT):
            if _WIDER.index(dtype) >= _WIDER.index(widest) and self.target.has(operator, dtype.name):
                return dtype
        return None

    def reduction_cost(self, operator: str) -> float:
        """Return the cost of reducing the whole value: ONNX Runtime takes its time for lengths on CPU."""
        if not self.target.slow_lengths or operator not in LENGTHS:
            return PASS
        axes = self.axes or ()
        return LENGTH if axes == tuple(range(self.rank - len(axes), self.rank)) else OTHER_LENGTH

    def casts(self, norm: Norm, dtype: ir.DataType) -> float:
        """Return the cost of the Casts to ``dtype`` and back."""
        types = self.types(norm) or (dtype, dtype)
        return PASS * sum(kind is not dtype for kind in types)


def _perm(node: ir.Node) -> tuple[int, ...]:
    return tuple(attribute(node, "perm", ()))


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.argsort(order))


@dataclass(frozen=True)
class Form:
    """One way to write a norm: ``holds`` says whether it can, ``cost`` how many passes, ``write`` does it."""

    operator: str
    rule: str
    opset: int
    holds: Callable[[NormContext, Norm], bool]
    cost: Callable[[NormContext, Norm], float]
    write: Callable[[Writer, Norm], ir.Value]
    name: Callable[[NormContext, Norm], str]
    decomposition: Callable[[NormContext, Norm], tuple[str, ...]] | None = None


# -- writing ------------------------------------------------------------------------------------------------------
@dataclass(eq=False)
class Writer:
    """Makes the nodes of one norm; the caller puts them into the graph."""

    editor: Editor
    context: NormContext
    norm: Norm
    operator: str
    nodes: list[ir.Node] = field(default_factory=list)

    def statistics(self) -> tuple[ir.Value, ir.Value]:
        """Return mean and inverse deviation, as further outputs of the norm that was written."""
        (node,) = [node for node in self.nodes if node.op_type == "LayerNormalization"]
        node.resize_outputs(3)
        return node.outputs[1], node.outputs[2]

    @property
    def reader(self) -> GraphReader:
        """Return the reader of the graph."""
        return self.editor.reader

    @property
    def dtype(self) -> ir.DataType:
        """Return the type that the form computes in."""
        dtype = self.context.working_type(self.norm, self.operator)
        assert dtype is not None, "asked by holds()"
        return dtype

    @property
    def hint(self) -> str:
        """Return the beginning of the names of new values."""
        return self.norm.site.name or "norm"

    def emit(
        self, operator: str, inputs: list[ir.Value | None], attributes: dict[str, object] | None = None,
        shape: Sizes | None = None, dtype: ir.DataType | None = None,
    ) -> ir.Value:  # fmt: skip
        """Add a node; its output's type and shape are known at once."""
        name = self.editor.names.new(f"{self.hint}_{operator}")
        node = ir.node(operator, inputs, attributes or {}, name=name)  # type: ignore[arg-type]  # plain Python values
        self.nodes.append(node)
        output = node.outputs[0]
        output.type = ir.TensorType(dtype or self.dtype)
        sizes = self.context.sizes if shape is None else shape
        output.shape = ir.Shape([None if isinstance(s, str) and s.startswith("?") else s for s in sizes])
        return output

    def reduce(self, operator: str, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Add a reduction of ``value``, shaped as the root, over the norm's axes."""
        axes = [axis - self.context.rank for axis in self.context.axes or ()]
        if self.reader.opset >= REDUCTION_AXES_ARE_INPUTS:
            return self.emit(
                operator, [value, self.integers(axes, "axes")], {"keepdims": 1}, self.context.reduced, dtype
            )
        if self.reader.opset < 11:  # no negative axes yet
            axes = list(self.context.axes or ())
        return self.emit(operator, [value], {"axes": axes, "keepdims": 1}, self.context.reduced, dtype)

    def entry(self) -> ir.Value:
        """Return the root in the working type, transposed as the context says."""
        context = self.context
        value, own = context.region.root, context.region.views[0]
        if self.reader.dtype(value) is not self.dtype:
            value = self.emit("Cast", [value], {"to": int(self.dtype)}, shape=own)
        return self.emit("Transpose", [value], {"perm": list(context.order)}) if context.order else value

    def finish(self, value: ir.Value) -> ir.Value:
        """Return the result in the type that the readers expect."""
        context = self.context
        types, own = context.types(self.norm), context.region.views[0]
        if context.order:
            value = self.emit("Transpose", [value], {"perm": list(_inverse(context.order))}, shape=own)
        if types is None or types[1] is self.dtype:
            return value
        return self.emit("Cast", [value], {"to": int(types[1])}, dtype=types[1], shape=own)

    def vector(self, array: Array, hint: str) -> ir.Value:
        """Add a constant in the working type."""
        dtype = self.dtype
        producer = self.norm.site.producer()
        assert producer is not None, "a norm is made by an operator"
        return self.editor.constant(require_fits(array, dtype, producer), dtype, f"{self.hint}_{hint}")

    def integers(self, numbers: list[int], hint: str) -> ir.Value:
        """Add a constant of whole numbers, for shapes."""
        return self.editor.constant(np.asarray(numbers, dtype=np.int64), ir.DataType.INT64, f"{self.hint}_{hint}")

    def parameter(self, parameter: Parameter, sizes: tuple[int, ...], factor: Array) -> ir.Value:
        """Bring a scale or shift computed elsewhere into the shape and type of the operator, times a constant."""
        value = _in_shape(self.reader, parameter.value, sizes)
        shape = self.reader.shape(value)
        if shape != sizes:
            operator = "Reshape" if count_of(_known(shape)) == count_of(sizes) else "Expand"
            value = self.emit(operator, [value, self.integers(list(sizes), "shape")], shape=sizes)
            value.type = ir.TensorType(self.reader.dtype(parameter.value) or self.dtype)
        if self.reader.dtype(parameter.value) is not self.dtype:
            value = self.emit("Cast", [value], {"to": int(self.dtype)}, shape=sizes)
        if not (factor == 1).all():
            constant = self.vector(np.broadcast_to(factor, sizes), "factor")
            value = self.emit("Mul", [value, constant], shape=sizes)
        return value


def _known(shape: tuple[int | str | None, ...] | None) -> Sizes:
    return tuple("?" if size is None else size for size in shape or ())


def _in_shape(reader: GraphReader, value: ir.Value, sizes: tuple[int, ...]) -> ir.Value:
    """Return ``value``, or the value it was reshaped from where that has the wanted shape."""
    source: ir.Value | None = value
    for _ in range(_LAYOUTS):
        if source is None or reader.shape(source) == sizes:
            break
        node = source.producer()
        is_layout = node is not None and node.op_type in (
            "Reshape",
            "Flatten",
            "Unsqueeze",
            "Squeeze",
            "Cast",
            "Identity",
        )
        source = node.inputs[0] if node is not None and is_layout else None
    is_same = source is not None and reader.shape(source) == sizes and reader.dtype(source) == reader.dtype(value)
    return source if source is not None and is_same else value


def varies_within(norm: Norm, axes: tuple[int, ...]) -> bool:
    """Say whether scale and shift vary along ``axes`` at most."""
    parameters = [each.dims for each in (norm.gamma_parameter, norm.beta_parameter) if each is not None]
    shapes = [norm.gamma.shape, norm.beta.shape, *parameters]
    return all(size == 1 or axis in axes for shape in shapes for axis, size in enumerate(shape))


def has_constant_affine(norm: Norm) -> bool:
    """Say whether scale and shift are constants."""
    return norm.gamma_parameter is None and norm.beta_parameter is None


def static_sizes(context: NormContext, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the sizes of ``axes``; None where one is not known."""
    sizes = [context.sizes[axis] for axis in axes]
    return tuple(size for size in sizes if isinstance(size, int)) if count_of(sizes) is not None else None


def fits(norm: Norm, kind: Kind) -> bool:
    """Say whether only an epsilon under the root comes to the moment of that kind."""
    return (
        norm.denominator.kind is kind
        and norm.n_half_powers == 0
        and not norm.denominator.outer_eps
        and not norm.denominator.lower_bound
    )


def has_no_beta(norm: Norm) -> bool:
    """Say whether nothing is added."""
    return norm.beta_parameter is None and not norm.beta.any()


def cost_plain(operator: str) -> Callable[[NormContext, Norm], float]:
    """Return the cost of one operator with its Casts."""

    def cost(context: NormContext, norm: Norm) -> float:
        """Count the passes."""
        dtype = context.working_type(norm, operator)
        return PASS + (context.casts(norm, dtype) if dtype else 0.0)

    return cost


def plain(operator: str) -> Callable[[NormContext, Norm], str]:
    """Return the function that names the operator itself."""
    return lambda context, norm: operator
