"""The operators that a norm can be written as: what each form can hold, what it costs, and how it is written.

A cost is counted in passes over the data: 1 for an operator that reads and writes the whole value, a fraction for one
that only changes its shape or works on reduced values. ``normfold.targets`` says which operators a runtime has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from normfold.affine import Array, compact
from normfold.edit import Editor, require_fits
from normfold.fuse.moments import Parameter
from normfold.fuse.recognize import Norm
from normfold.fuse.region import Region
from normfold.fuse.rules import MVN_EPSILON
from normfold.fuse.views import Sizes, count_of
from normfold.graph import GraphReader
from normfold.targets import Target

LAYOUT, SMALL, PASS = 0.2, 0.3, 1.0  # costs: of a change of shape, of work on reduced values, of a pass over the data
LAYERNORM, RMSNORM, INSTANCENORM, GROUPNORM, LPNORM = "layernorm", "rmsnorm", "instancenorm", "groupnorm", "lpnorm"
_LAYOUTS = 4  # changes of shape to look through for a parameter of the right one
_LARGE_SCALE = 1 << 14  # elements
_WIDER = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a norm is to be written: its region, the target, and the newest operator set that may be used."""

    region: Region
    target: Target
    opset: int

    @property
    def sizes(self) -> Sizes:
        return self.region.views[0]

    @property
    def rank(self) -> int:
        return len(self.sizes)

    @property
    def axes(self) -> tuple[int, ...] | None:
        return self.region.home.grouping.axes

    @property
    def groups(self) -> int | None:
        return self.region.home.grouping.groups

    def types(self, norm: Norm) -> tuple[ir.DataType, ir.DataType] | None:
        """The element types of the root and of the norm."""
        before = self.region.reader.dtype(self.region.root)
        after = self.region.reader.dtype(norm.site) or before
        return None if before not in _WIDER or after not in _WIDER else (before, after)

    def working_type(self, norm: Norm, operator: str) -> ir.DataType | None:
        """The type that the form computes in: the wider of both, or float where only that has a kernel."""
        types = self.types(norm)
        if types is None:
            return None
        widest = max(types, key=_WIDER.index)
        for dtype in (widest, ir.DataType.FLOAT):
            if _WIDER.index(dtype) >= _WIDER.index(widest) and self.target.has(operator, dtype.name):
                return dtype
        return None

    def casts(self, norm: Norm, dtype: ir.DataType) -> float:
        types = self.types(norm) or (dtype, dtype)
        return PASS * sum(kind is not dtype for kind in types)


@dataclass(frozen=True)
class Form:
    """One way to write a norm: ``holds`` says whether it can, ``cost`` how many passes, ``write`` does it."""

    operator: str
    rule: str
    opset: int
    holds: Callable[[Place, Norm], bool]
    cost: Callable[[Place, Norm], float]
    write: Callable[[Writer, Norm], ir.Value]
    name: Callable[[Place, Norm], str]
    spelling: Callable[[Place, Norm], tuple[str, ...]] | None = None


# -- writing ------------------------------------------------------------------------------------------------------
@dataclass(eq=False)
class Writer:
    """Makes the nodes of one norm; the caller puts them into the graph."""

    editor: Editor
    place: Place
    norm: Norm
    operator: str
    nodes: list[ir.Node] = field(default_factory=list)

    def statistics(self) -> tuple[ir.Value, ir.Value]:
        """Mean and inverse deviation, as further outputs of the norm that was written."""
        (node,) = [node for node in self.nodes if node.op_type == "LayerNormalization"]
        node.resize_outputs(3)
        return node.outputs[1], node.outputs[2]

    @property
    def reader(self) -> GraphReader:
        return self.editor.reader

    @property
    def dtype(self) -> ir.DataType:
        dtype = self.place.working_type(self.norm, self.operator)
        assert dtype is not None, "asked by holds()"
        return dtype

    @property
    def hint(self) -> str:
        return self.norm.site.name or "norm"

    def emit(
        self, operator: str, inputs: list[ir.Value | None], attributes: dict[str, object] | None = None,
        shape: Sizes | None = None, dtype: ir.DataType | None = None,
    ) -> ir.Value:  # fmt: skip
        """A new node; its output's type and shape are known at once."""
        name = self.editor.names.new(f"{self.hint}_{operator}")
        node = ir.node(operator, inputs, attributes or {}, name=name)  # type: ignore[arg-type]  # plain Python values
        self.nodes.append(node)
        output = node.outputs[0]
        output.type = ir.TensorType(dtype or self.dtype)
        sizes = self.place.sizes if shape is None else shape
        output.shape = ir.Shape([None if isinstance(s, str) and s.startswith("?") else s for s in sizes])
        return output

    def entry(self) -> ir.Value:
        """The root in the working type."""
        root = self.place.region.root
        if self.reader.dtype(root) is self.dtype:
            return root
        return self.emit("Cast", [root], {"to": int(self.dtype)})

    def finish(self, value: ir.Value) -> ir.Value:
        """The result in the type that the readers expect."""
        types = self.place.types(self.norm)
        if types is None or types[1] is self.dtype:
            return value
        return self.emit("Cast", [value], {"to": int(types[1])}, dtype=types[1])

    def vector(self, array: Array, hint: str) -> ir.Value:
        """A new constant in the working type."""
        dtype = self.dtype
        producer = self.norm.site.producer()
        assert producer is not None, "a norm is made by an operator"
        return self.editor.constant(require_fits(array, dtype, producer), dtype, f"{self.hint}_{hint}")

    def integers(self, numbers: list[int], hint: str) -> ir.Value:
        """A new constant of whole numbers, for shapes."""
        return self.editor.constant(np.asarray(numbers, dtype=np.int64), ir.DataType.INT64, f"{self.hint}_{hint}")

    def parameter(self, parameter: Parameter, sizes: tuple[int, ...], factor: Array) -> ir.Value:
        """A scale or shift computed elsewhere, in the shape and type that the operator wants, times a constant."""
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
    """``value``, or what it was reshaped from where that has the wanted shape."""
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
    """Whether scale and shift vary along ``axes`` at most."""
    parameters = [each.dims for each in (norm.gamma_parameter, norm.beta_parameter) if each is not None]
    shapes = [norm.gamma.shape, norm.beta.shape, *parameters]
    return all(size == 1 or axis in axes for shape in shapes for axis, size in enumerate(shape))


def _has_constant_affine(norm: Norm) -> bool:
    return norm.gamma_parameter is None and norm.beta_parameter is None


def _static(place: Place, axes: tuple[int, ...]) -> tuple[int, ...] | None:
    sizes = [place.sizes[axis] for axis in axes]
    return tuple(size for size in sizes if isinstance(size, int)) if count_of(sizes) is not None else None


def gives_statistics(place: Place, form: Form, norm: Norm) -> bool:
    """Whether the form can give its mean and inverse deviation too, which are always float32."""
    is_plain = form.operator == "LayerNormalization" and _permutation(place) is None
    return is_plain and place.working_type(norm, form.operator) is ir.DataType.FLOAT


def _fits(norm: Norm, *, is_centred: bool) -> bool:
    return norm.is_centred is is_centred and norm.n2 == 0 and not norm.spread.outer


# -- over the last axes: LayerNormalization, RMSNormalization -----------------------------------------------------
def _holds_over_axes(place: Place, norm: Norm, operator: str) -> bool:
    axes = place.axes
    return (
        axes is not None
        and place.working_type(norm, operator) is not None
        and _static(place, axes) is not None
        and varies_within(norm, axes)
    )


def _holds_layernorm(place: Place, norm: Norm) -> bool:
    return _fits(norm, is_centred=True) and _holds_over_axes(place, norm, "LayerNormalization")


def _holds_rmsnorm(place: Place, norm: Norm) -> bool:
    return _fits(norm, is_centred=False) and _has_no_beta(norm) and _holds_over_axes(place, norm, "RMSNormalization")


def _has_no_beta(norm: Norm) -> bool:
    return norm.beta_parameter is None and not norm.beta.any()


def _permutation(place: Place) -> list[int] | None:
    """How to bring the norm's axes to the end; None where they are there."""
    axes = place.axes or ()
    if axes == tuple(range(place.rank - len(axes), place.rank)):
        return None
    return [axis for axis in range(place.rank) if axis not in axes] + list(axes)


def _cost_over_axes(operator: str) -> Callable[[Place, Norm], float]:
    def cost(place: Place, norm: Norm) -> float:
        dtype = place.working_type(norm, operator)
        assert dtype is not None, "asked by holds()"
        spread_out = 2 if _is_spread_out(place, norm) else 0
        return PASS * ((1 if _permutation(place) is None else 3) + spread_out) + place.casts(norm, dtype)

    return cost


def _is_spread_out(place: Place, norm: Norm) -> bool:
    """Whether a per-channel scale would have to be repeated for every position, to be a weight much larger."""
    count = count_of([place.sizes[axis] for axis in place.axes or ()]) or 0
    own = max(norm.gamma.size, norm.beta.size)
    return count > _LARGE_SCALE and 1 < own <= count // 4


def _write_over_axes(operator: str) -> Callable[[Writer, Norm], ir.Value]:
    def write(writer: Writer, norm: Norm) -> ir.Value:
        place = writer.place
        axes, order = place.axes or (), _permutation(place)
        sizes = tuple(int(place.sizes[axis]) for axis in axes)
        value = writer.entry()
        shape = place.sizes if order is None else tuple(place.sizes[axis] for axis in order)
        if order is not None:
            value = writer.emit("Transpose", [value], {"perm": order}, shape=shape)
        scale = _operand(writer, norm.gamma, norm.gamma_parameter, place, "scale")
        inputs: list[ir.Value | None] = [value, scale]
        if not _has_no_beta(norm):
            inputs.append(_operand(writer, norm.beta, norm.beta_parameter, place, "bias"))
        attributes: dict[str, object] = {"axis": -len(sizes), "epsilon": norm.spread.eps}
        value = writer.emit(operator, inputs, attributes, shape=shape)
        if order is not None:
            back = [int(axis) for axis in np.argsort(order)]
            value = writer.emit("Transpose", [value], {"perm": back})
        return writer.finish(value)

    return write


def _operand(writer: Writer, array: Array, parameter: Parameter | None, place: Place, hint: str) -> ir.Value:
    """Scale or bias with exactly the shape of the axes: one that broadcasts runs at half speed."""
    axes = place.axes or ()
    sizes = tuple(int(place.sizes[axis]) for axis in axes)
    own = array.reshape([array.shape[axis] for axis in axes])
    if parameter is not None:
        return writer.parameter(parameter, sizes, own)
    return writer.vector(np.ascontiguousarray(np.broadcast_to(own, sizes)), hint)


def _name_over_axes(operator: str) -> Callable[[Place, Norm], str]:
    return lambda place, norm: operator if _permutation(place) is None else f"Transpose-{operator}-Transpose"


# -- RMSNorm below opset 23 ---------------------------------------------------------------------------------------
def _holds_division(place: Place, norm: Norm) -> bool:
    types = place.types(norm)
    return (
        place.target.rmsnorm_below_23
        and (place.opset < 23 or not place.target.operators.get("RMSNormalization"))
        and _fits(norm, is_centred=False)
        and _has_no_beta(norm)
        and norm.gamma_parameter is None
        and place.axes is not None
        and types is not None
        and _permutation(place) is None
    )


def _division_type(place: Place, norm: Norm) -> ir.DataType:
    """float16 squares overflow, so the spelling computes in float."""
    types = place.types(norm)
    assert types is not None, "asked by holds()"
    return ir.DataType.DOUBLE if ir.DataType.DOUBLE in types else ir.DataType.FLOAT


def _cost_division(place: Place, norm: Norm) -> float:
    has_eps, has_gamma = norm.spread.eps != 0, not (norm.gamma == 1).all()
    casts = place.casts(norm, _division_type(place, norm))
    return PASS * (3 + has_gamma) + SMALL * (1 + has_eps) + casts


def _spelling_division(place: Place, norm: Norm) -> tuple[str, ...]:
    """The operators that are written, for a comparison with those that are there."""
    dtype, types = _division_type(place, norm), place.types(norm) or ()
    casts = ("Cast",) * sum(kind is not dtype for kind in types)
    add = ("Add",) if norm.spread.eps else ()
    scale = () if (norm.gamma == 1).all() else ("Mul",)
    return ("Pow", "ReduceMean", *add, "Sqrt", "Div", *scale, *casts)


def _write_division(writer: Writer, norm: Norm) -> ir.Value:
    """Pow, ReduceMean, Add, Sqrt, Div, Mul: what ONNX Runtime fuses."""
    place = writer.place
    dtype, types = _division_type(place, norm), place.types(norm)
    assert types is not None, "asked by holds()"
    value = place.region.root
    if types[0] is not dtype:
        value = writer.emit("Cast", [value], {"to": int(dtype)}, dtype=dtype)
    axes = [axis - place.rank for axis in place.axes or ()]
    reduced = tuple(1 if axis in (place.axes or ()) else size for axis, size in enumerate(place.sizes))
    number = writer.editor.constant(np.asarray(2.0), dtype, f"{writer.hint}_two")
    square = writer.emit("Pow", [value, number], dtype=dtype)
    if writer.reader.opset >= 18:
        mean = writer.emit("ReduceMean", [square, writer.integers(axes, "axes")], {"keepdims": 1}, reduced, dtype)
    else:
        mean = writer.emit("ReduceMean", [square], {"axes": axes, "keepdims": 1}, reduced, dtype)
    if norm.spread.eps:
        epsilon = writer.editor.constant(np.asarray(norm.spread.eps), dtype, f"{writer.hint}_epsilon")
        mean = writer.emit("Add", [mean, epsilon], None, reduced, dtype)
    root = writer.emit("Sqrt", [mean], None, reduced, dtype)
    value = writer.emit("Div", [value, root], dtype=dtype)
    if not (norm.gamma == 1).all():
        gamma = writer.editor.constant(_without_lead(norm.gamma), dtype, f"{writer.hint}_scale")
        value = writer.emit("Mul", [value, gamma], dtype=dtype)
    if types[1] is not dtype:
        value = writer.emit("Cast", [value], {"to": int(types[1])}, dtype=types[1])
    return value


def _without_lead(array: Array) -> Array:
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return array


# -- over channels or groups of channels: InstanceNormalization, GroupNormalization -------------------------------
def _holds_instancenorm(place: Place, norm: Norm) -> bool:
    return (
        _fits(norm, is_centred=True)
        and 3 <= place.rank <= place.target.instancenorm_rank
        and place.groups is not None
        and place.groups == place.sizes[1]
        and place.working_type(norm, "InstanceNormalization") is not None
        and varies_within(norm, (1,))
        and not _is_layernorm_rather(place, norm)
    )


def _is_layernorm_rather(place: Place, norm: Norm) -> bool:
    """[N, T, C] over C without an affine along T: what is called LayerNorm."""
    return place.rank == 3 and varies_within(norm, ()) and isinstance(place.sizes[2], int)


def _write_instancenorm(writer: Writer, norm: Norm) -> ir.Value:
    scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "scale")
    bias = _per_channel(writer, norm.beta, norm.beta_parameter, "bias")
    value = writer.emit("InstanceNormalization", [writer.entry(), scale, bias], {"epsilon": norm.spread.eps})
    return writer.finish(value)


def _per_channel(
    writer: Writer, array: Array, parameter: Parameter | None, hint: str, form: tuple[int, ...] = ()
) -> ir.Value:
    """One number a channel, as a vector or in another ``form``."""
    size = int(writer.place.sizes[1])
    form = form or (size,)
    whole = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (size,))).reshape(form)
    return writer.vector(whole, hint) if parameter is None else writer.parameter(parameter, form, whole)


def _holds_groups(place: Place, norm: Norm, operator: str) -> bool:
    return (
        _fits(norm, is_centred=True)
        and place.groups is not None
        and isinstance(place.sizes[1], int)
        and place.working_type(norm, operator) is not None
        and varies_within(norm, (1,))
    )


def _holds_groupnorm(place: Place, norm: Norm) -> bool:
    is_static = not place.target.static_groupnorm or count_of(place.sizes[1:]) is not None
    return is_static and place.rank >= 3 and _holds_groups(place, norm, "GroupNormalization")


def _write_groupnorm(writer: Writer, norm: Norm) -> ir.Value:
    scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "scale")
    bias = _per_channel(writer, norm.beta, norm.beta_parameter, "bias")
    attributes: dict[str, object] = {"epsilon": norm.spread.eps, "num_groups": writer.place.groups}
    return writer.finish(writer.emit("GroupNormalization", [writer.entry(), scale, bias], attributes))


def _holds_reshaped(place: Place, norm: Norm) -> bool:
    is_instancenorm = place.rank >= 3 and place.groups == place.sizes[1]
    return not is_instancenorm and _holds_groups(place, norm, "InstanceNormalization")


def _group_affine(place: Place, norm: Norm) -> tuple[Array, Array] | None:
    """Scale and shift as vectors of one number a group; None where they vary inside a group."""
    groups, channels = place.groups or 1, int(place.sizes[1])
    if not _has_constant_affine(norm):
        return None
    result = []
    for array in (norm.gamma, norm.beta):
        whole = compact(np.broadcast_to(array.reshape(-1), (channels,)).reshape(groups, -1))
        if whole.shape[1] > 1:
            return None
        result.append(np.broadcast_to(whole.reshape(-1), (groups,)))
    return result[0], result[1]


def _affine_operators(place: Place, norm: Norm, dtype: ir.DataType | None) -> tuple[str, ...]:
    """What writes the scale and shift behind a GroupNorm's Reshape."""
    if _group_affine(place, norm) is not None:
        return ()
    if _has_no_beta(norm):
        return ("Mul",)
    if norm.gamma_parameter is None and (norm.gamma == 1).all():
        return ("Add",)
    fast = dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE)
    return ("BatchNormalization",) if place.target.batchnorm_affine and fast else ("Mul", "Add")


def _cost_reshaped(place: Place, norm: Norm) -> float:
    dtype = place.working_type(norm, "InstanceNormalization")
    casts = place.casts(norm, dtype) if dtype else 0.0
    shape = 0.0 if _shape_back(place) else LAYOUT
    return PASS * (1 + len(_affine_operators(place, norm, dtype))) + 2 * LAYOUT + shape + casts


def _shape_back(place: Place) -> list[int] | None:
    """The target of the Reshape back to the root's shape; None where it is known only at run time."""
    unknown = [axis for axis, size in enumerate(place.sizes) if axis and not isinstance(size, int)]
    if len(unknown) > 1:
        return None
    return [0, *(size if isinstance(size, int) else -1 for size in place.sizes[1:])]


def _write_reshaped(writer: Writer, norm: Norm) -> ir.Value:
    """Reshape, InstanceNormalization, Reshape, and one operator for scale and shift."""
    place = writer.place
    groups = place.groups or 1
    own = _group_affine(place, norm)
    scale, bias = own if own is not None else (np.ones(groups), np.zeros(groups))
    entry = writer.entry()
    length = count_of(place.sizes[1:])
    view: Sizes = (place.sizes[0], groups, "?" if length is None else length // groups)
    value = writer.emit("Reshape", [entry, writer.integers([0, groups, -1], "groups")], shape=view)
    inputs: list[ir.Value | None] = [value, writer.vector(scale, "scale"), writer.vector(bias, "bias")]
    value = writer.emit("InstanceNormalization", inputs, {"epsilon": norm.spread.eps}, shape=view)
    back = _shape_back(place)
    if back is None:
        shape = writer.emit("Shape", [entry], shape=(place.rank,), dtype=ir.DataType.INT64)
    else:
        shape = writer.integers(back, "shape")
    value = writer.emit("Reshape", [value, shape])
    return writer.finish(_write_affine(writer, norm, value))


def _write_affine(writer: Writer, norm: Norm, value: ir.Value) -> ir.Value:
    size = int(writer.place.sizes[1])
    form = (size, *(1,) * (writer.place.rank - 2))
    for operator in _affine_operators(writer.place, norm, writer.dtype):
        if operator == "BatchNormalization":
            scale = _per_channel(writer, norm.gamma, norm.gamma_parameter, "gamma")
            shift = _per_channel(writer, norm.beta, norm.beta_parameter, "beta")
            mean, variance = writer.vector(np.zeros(size), "mean"), writer.vector(np.ones(size), "var")
            value = writer.emit(operator, [value, scale, shift, mean, variance], {"epsilon": 0.0})
        elif operator == "Mul":
            value = writer.emit(
                operator, [value, _per_channel(writer, norm.gamma, norm.gamma_parameter, "gamma", form)]
            )
        else:
            value = writer.emit(operator, [value, _per_channel(writer, norm.beta, norm.beta_parameter, "beta", form)])
    return value


def _name_reshaped(place: Place, norm: Norm) -> str:
    affine = _affine_operators(place, norm, place.working_type(norm, "InstanceNormalization"))
    return "-".join(("Reshape", "InstanceNormalization", "Reshape", *affine))


# -- LpNormalization, MeanVarianceNormalization -------------------------------------------------------------------
def _lp_scale(place: Place, norm: Norm) -> float | None:
    """What is left to multiply by; None where it is not one number."""
    if norm.gamma.size != 1 or norm.gamma_parameter is not None:
        return None
    gamma = float(norm.gamma.reshape(-1)[0])
    if norm.n2 == -1:
        return gamma
    count = count_of([place.sizes[axis] for axis in place.axes or ()])
    if norm.n2 or count is None:
        return None
    scale = gamma * float(count) ** 0.5
    return 1.0 if abs(scale - 1) < 1e-12 else scale


def _holds_lpnorm(place: Place, norm: Norm) -> bool:
    return (
        not norm.is_centred
        and not norm.spread.eps
        and not norm.spread.outer
        and _has_no_beta(norm)
        and place.axes is not None
        and len(place.axes) == 1
        and place.working_type(norm, "LpNormalization") is not None
        and _lp_scale(place, norm) == 1.0
    )


def _cost_lpnorm(place: Place, norm: Norm) -> float:
    """Along any axis but the last its kernel takes 1.7 times as long as ReduceL2 and Div (ONNX Runtime 1.31)."""
    is_last = place.axes == (place.rank - 1,)
    return _cost_plain("LpNormalization")(place, norm) + (0.0 if is_last else 1.5 * PASS)


def _write_lpnorm(writer: Writer, norm: Norm) -> ir.Value:
    axes = writer.place.axes or ()
    value = writer.emit("LpNormalization", [writer.entry()], {"axis": axes[0] - writer.place.rank, "p": 2})
    return writer.finish(value)


def _holds_mvn(place: Place, norm: Norm) -> bool:
    return (
        norm.is_centred
        and not norm.spread.eps
        and abs(norm.spread.outer - MVN_EPSILON) < 1e-3 * MVN_EPSILON
        and norm.n2 == 0
        and place.axes is not None
        and _has_constant_affine(norm)
        and not norm.beta.any()
        and bool((norm.gamma == 1).all())
        and place.working_type(norm, "MeanVarianceNormalization") is not None
    )


def _write_mvn(writer: Writer, norm: Norm) -> ir.Value:
    axes = list(writer.place.axes or ())
    return writer.finish(writer.emit("MeanVarianceNormalization", [writer.entry()], {"axes": axes}))


def _cost_plain(operator: str) -> Callable[[Place, Norm], float]:
    def cost(place: Place, norm: Norm) -> float:
        dtype = place.working_type(norm, operator)
        return PASS + (place.casts(norm, dtype) if dtype else 0.0)

    return cost


def _plain(operator: str) -> Callable[[Place, Norm], str]:
    return lambda place, norm: operator


_LN, _RMS, _GN, _IN = "LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"
_DIV = "Pow-ReduceMean-Sqrt-Div"
_LP, _MVN = "LpNormalization", "MeanVarianceNormalization"

# In the order of preference where the costs are equal.
FORMS: tuple[Form, ...] = (
    Form(_IN, INSTANCENORM, 6, _holds_instancenorm, _cost_plain(_IN), _write_instancenorm, _plain(_IN)),
    Form(_LN, LAYERNORM, 17, _holds_layernorm, _cost_over_axes(_LN), _write_over_axes(_LN), _name_over_axes(_LN)),
    Form(_GN, GROUPNORM, 21, _holds_groupnorm, _cost_plain(_GN), _write_groupnorm, _plain(_GN)),
    Form(_IN, GROUPNORM, 6, _holds_reshaped, _cost_reshaped, _write_reshaped, _name_reshaped),
    Form(_LP, LPNORM, 1, _holds_lpnorm, _cost_lpnorm, _write_lpnorm, _plain(_LP)),
    Form(_RMS, RMSNORM, 23, _holds_rmsnorm, _cost_over_axes(_RMS), _write_over_axes(_RMS), _name_over_axes(_RMS)),
    Form(_DIV, RMSNORM, 1, _holds_division, _cost_division, _write_division, _plain(_DIV), _spelling_division),
    Form(_MVN, LAYERNORM, 13, _holds_mvn, _cost_plain(_MVN), _write_mvn, _plain(_MVN)),
)
