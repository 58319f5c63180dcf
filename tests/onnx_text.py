"""Models written in ONNX text, run in float64 or in ONNX Runtime without its own optimizations, and compared.

``parse`` gives random values to every declared tensor that no node makes, so a table row is only text::

    (float[N,4,9,9] x) => (float[N,8,7,7] y) <float[8,4,3,3] w, float[8] var> { y = Conv(x, w) }

A name that starts with ``var`` or ``pos`` gets positive values; ``= {1, 2}`` in the text gives values of one's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import onnxruntime as ort
from onnx import numpy_helper
from onnx.reference.op_run import OpRun

from normfold.operators.shape_inference import infer_shapes
from normfold.operators.table import RUNTIME_DOMAIN

Tensors = dict[str, npt.NDArray[Any]]
Values = Mapping[str, Sequence[float] | float]
WIDENED = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 4e-6, np.dtype(np.float16): 8e-3}


# -- making ------------------------------------------------------------------------------------------------------
def parse(
    text: str, *, opset: int = 17, ir_version: int = 8, seed: int = 0, domains: str = "", values: Values | None = None
) -> onnx.ModelProto:
    """The checked model of a graph in ONNX text, with shapes inferred and random weights where none are given.

    ``values`` gives weights that the text cannot: numbers of float16, whose text is their bits.
    """
    imports = f'"":{opset}' + (f", {domains}" if domains else "")
    header = f"<ir_version: {ir_version}, opset_import: [{imports}]> g "
    model = onnx.parser.parse_model(header + text)
    fill(model.graph, np.random.default_rng(seed), values or {})
    check(model)
    return infer_shapes(model)


def check(model: onnx.ModelProto, *, full: bool = False) -> None:
    """Check by onnx, in another domain what the standard one has no more, or in ONNX Runtime only."""
    known = onnx.ModelProto()
    known.CopyFrom(model)
    unknown = {"SimplifiedLayerNormalization"} | (
        {"GroupNormalization"} if model.opset_import[0].version < 21 else set()
    )
    moved = [node for node in known.graph.node if node.op_type in unknown]
    for node in moved:
        node.domain = RUNTIME_DOMAIN
    if moved and not any(used.domain == RUNTIME_DOMAIN for used in known.opset_import):
        known.opset_import.append(onnx.helper.make_opsetid(RUNTIME_DOMAIN, 1))
    onnx.checker.check_model(known, full_check=full)


def fill(graph: onnx.GraphProto, rng: np.random.Generator, values: Values) -> None:
    """Make an initializer of every declared value that a node reads and no node makes."""
    read = set(_names_read(graph.node))
    made = {name for node in graph.node for name in node.output}
    declared = [value for value in graph.value_info if value.name not in made]
    for value in declared:
        kind = value.type.tensor_type
        shape = [dim.dim_value for dim in kind.shape.dim]
        array = some_values(rng, shape, positive=value.name.startswith(("var", "pos")))
        if value.name in values:
            array = np.reshape(np.asarray(values[value.name], np.float64), shape)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if value.name in read:
            graph.initializer.append(numpy_helper.from_array(np.asarray(array.astype(dtype)), value.name))
        graph.value_info.remove(value)


def _names_read(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from _names_read(attribute.g.node)


def some_values(rng: np.random.Generator, shape: Iterable[int], *, positive: bool = False) -> npt.NDArray[np.float64]:
    """Values of both signs, none near zero, so that a lost sign or factor always shows."""
    size = tuple(shape)
    return np.asarray(rng.uniform(0.4, 1.6, size) * (1.0 if positive else rng.choice((-1.0, 1.0), size)))


def feeds_of(model: onnx.ModelProto, *, seed: int = 1, symbolic: int = 3) -> Tensors:
    """Random feeds for the inputs that are no initializers; every symbolic dimension is ``symbolic``."""
    rng = np.random.default_rng(seed)
    fixed = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name in fixed:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value or symbolic for dim in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        array = rng.integers(0, 2, shape) if np.dtype(dtype).kind in "bi" else rng.standard_normal(shape)
        feeds[value.name] = np.asarray(array).astype(dtype)
    return feeds


# -- widening ----------------------------------------------------------------------------------------------------
def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model in float64: every float16 and float32 tensor, type and Cast target, subgraphs included."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    _widen_graph(wide.graph)
    for function in wide.functions:
        _widen_nodes(function.node)
    return wide


def _widen_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in WIDENED:
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    _widen_nodes(graph.node)


def _widen_nodes(nodes: Iterable[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _widen_graph(attribute.g)
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                numbers = attribute.floats if attribute.name == "value_floats" else np.float64(attribute.f)
                wide = numpy_helper.from_array(np.asarray(numbers, np.float64))
                attribute.CopyFrom(onnx.helper.make_attribute("value", wide))
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i in WIDENED:
                attribute.i = onnx.TensorProto.DOUBLE


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in WIDENED:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def text_of(model: onnx.ModelProto) -> str:
    """The graph in ONNX text, weights by their shape only."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.initializer[:], bare.graph.value_info[:]
    for tensor in model.graph.initializer:
        bare.graph.value_info.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return str(onnx.printer.to_text(bare.graph))


# -- running -----------------------------------------------------------------------------------------------------
def values_of(model: onnx.ModelProto) -> list[str]:
    """Names of everything that the main graph's nodes make, in order."""
    return [name for node in model.graph.node for name in node.output if name]


def run_in_ort(model: onnx.ModelProto, feeds: Tensors, names: Iterable[str]) -> Tensors:
    """The named values, computed by ONNX Runtime at DISABLE_ALL on one thread."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in shown.graph.output}
    wanted = list(names)
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(wanted, session.run(wanted, feeds), strict=True))


def is_known_to_reference(model: onnx.ModelProto) -> bool:
    """Whether ``run_in_float64`` has every operator; one that quantizes its input counts as none."""
    try:
        onnx.reference.ReferenceEvaluator(model, new_ops=list(CORRECTED))
    except NotImplementedError:  # what the evaluator raises is one
        return False
    return all(node.op_type != "DynamicQuantizeLinear" for node in model.graph.node)


def run_in_float64(model: onnx.ModelProto, feeds: Tensors) -> Tensors:
    """The outputs of the widened model, computed by the reference evaluator."""
    wide = widened(model)
    evaluator = onnx.reference.ReferenceEvaluator(wide, new_ops=list(CORRECTED))
    names = [value.name for value in wide.graph.output]
    widest = {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array  # what is not a float stays
        for name, array in feeds.items()
    }
    return dict(zip(names, evaluator.run(None, widest), strict=True))


class ConvTranspose(OpRun):
    """Written here, because the one that comes with onnx takes no groups: each input position adds its kernel."""

    def _run(self, x, w, b=None, **attributes):  # type: ignore[no-untyped-def]  # the signature of OpRun
        groups, space = attributes.get("group") or 1, x.ndim - 2
        ones = [1] * space
        strides, dilations = (list(attributes.get(name) or ones) for name in ("strides", "dilations"))
        pads, more = list(attributes.get("pads") or [0, 0] * space), attributes.get("output_padding") or [0] * space
        reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
        full = [(n - 1) * s + r + o for n, s, r, o in zip(x.shape[2:], strides, reach, more, strict=True)]
        result = np.zeros((x.shape[0], w.shape[1] * groups, *full), x.dtype)
        split_x = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
        split_w = w.reshape(groups, -1, *w.shape[1:])
        for at in np.ndindex(*w.shape[2:]):
            tap = split_w.reshape(*split_w.shape[:3], -1)[..., np.ravel_multi_index(at, w.shape[2:])]
            part = np.einsum("ngc...,gcm->ngm...", split_x, tap).reshape(*result.shape[:2], *x.shape[2:])
            spots: tuple[Any, ...] = tuple(
                slice(k * d, k * d + (n - 1) * s + 1, s)
                for k, d, n, s in zip(at, dilations, x.shape[2:], strides, strict=True)
            )
            result[(slice(None), slice(None), *spots)] += part
        cut: tuple[Any, ...] = tuple(slice(pads[i], full[i] - pads[space + i]) for i in range(space))
        result = result[(slice(None), slice(None), *cut)]
        shift = 0.0 if b is None else b.reshape(-1, *ones)
        return (result + shift,)


def _windows(x: npt.NDArray[Any], attributes: Mapping[str, Any], fill: float) -> npt.NDArray[Any]:
    """The windows of a pool, in the last axes; what lies outside is ``fill``."""
    space = x.ndim - 2
    kernel = attributes["kernel_shape"]
    pads = list(attributes.get("pads") or [0] * 2 * space)
    strides = list(attributes.get("strides") or [1] * space)
    around = [(0, 0), (0, 0), *zip(pads[:space], pads[space:], strict=True)]
    wide = np.pad(x, around, constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(wide, kernel, axis=tuple(range(2, x.ndim)))
    return windows[(slice(None), slice(None), *(slice(None, None, step) for step in strides))]


class MaxPool(OpRun):
    """Written here, because the one that comes with onnx loses pads that differ by axis."""

    def _run(self, x, **attributes):  # type: ignore[no-untyped-def]  # the signature of OpRun
        windows = _windows(x, attributes, -np.inf)
        return (windows.max(axis=tuple(range(x.ndim, windows.ndim))),)


class AveragePool(OpRun):
    """As MaxPool. The divisor counts the padding only where asked."""

    def _run(self, x, **attributes):  # type: ignore[no-untyped-def]  # the signature of OpRun
        axes = tuple(range(x.ndim, 2 * x.ndim - 2))
        total = _windows(x, attributes, 0.0).sum(axis=axes)
        outside = 1.0 if attributes.get("count_include_pad") else 0.0
        return (total / _windows(np.ones_like(x), attributes, outside).sum(axis=axes),)


class GlobalMaxPool(OpRun):
    """The one that comes with onnx loses an axis of size 1."""

    def _run(self, x):  # type: ignore[no-untyped-def]  # the signature of OpRun
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class GlobalAveragePool(OpRun):
    """As GlobalMaxPool."""

    def _run(self, x):  # type: ignore[no-untyped-def]  # the signature of OpRun
        return (x.mean(axis=tuple(range(2, x.ndim)), keepdims=True),)


class GlobalLpPool(OpRun):
    """The one that onnx does not bring."""

    def _run(self, x, p=None):  # type: ignore[no-untyped-def]  # the signature of OpRun
        order = 2 if p is None else p
        return ((np.abs(x) ** order).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / order),)


class BatchNormalization(OpRun):
    """For every opset: the one that comes with onnx takes other attributes in each, and mixes statistics up to 13."""

    def _run(self, x, scale, bias, mean, var, **attributes):  # type: ignore[no-untyped-def]  # the signature of OpRun
        is_training = bool(attributes.get("training_mode"))
        if is_training:
            others = tuple(axis for axis in range(x.ndim) if axis != 1)
            mean, var = x.mean(axis=others), x.var(axis=others)
        epsilon = np.float32(1e-5) if attributes.get("epsilon") is None else attributes["epsilon"]
        form = x.shape[1:] if attributes.get("spatial") == 0 else (-1, *[1] * (x.ndim - 2))
        factor = scale / np.sqrt(var + float(epsilon))
        result = (x - mean.reshape(form)) * factor.reshape(form) + bias.reshape(form)
        return (result, mean, var) if is_training else (result,)


class LpNormalization(OpRun):
    """Of order 1 too: the one that comes with onnx sums the values, and not their magnitudes."""

    def _run(self, x, axis=None, p=None):  # type: ignore[no-untyped-def]  # the signature of OpRun
        return (x / np.linalg.norm(x, ord=p, axis=axis, keepdims=True),)


class MeanVarianceNormalization(OpRun):
    """In the type of its input: the one that comes with onnx computes in float32."""

    def _run(self, x, axes=None):  # type: ignore[no-untyped-def]  # the signature of OpRun
        where = tuple(axes)
        return ((x - x.mean(axis=where, keepdims=True)) / (x.std(axis=where, keepdims=True) + 1e-9),)


class GroupNormalization(OpRun):
    """In the type of its input: the one that comes with onnx computes in float32."""

    def _run(self, x, scale, bias, epsilon=None, num_groups=None, stash_type=None):  # type: ignore[no-untyped-def]  # the signature of OpRun
        groups = x.reshape(x.shape[0], num_groups, -1)
        mean, var = groups.mean(axis=2, keepdims=True), groups.var(axis=2, keepdims=True)
        normed = ((groups - mean) / np.sqrt(var + float(epsilon))).reshape(x.shape)
        form = (-1, *[1] * (x.ndim - 2))
        return (normed * scale.reshape(form) + bias.reshape(form),)


class DequantizeLinear(OpRun):
    """With scales of float64, for every opset, by tensor, by channel or by blocks."""

    def _run(self, x, scale, zero=None, **attributes):  # type: ignore[no-untyped-def]  # the signature of OpRun
        axis = 1 if attributes.get("axis") is None else attributes["axis"]

        def spread(parameter: npt.NDArray[Any]) -> npt.NDArray[Any]:
            if parameter.size == 1:
                return parameter.reshape(())
            if attributes.get("block_size"):
                return np.repeat(parameter, attributes["block_size"], axis=axis).take(range(x.shape[axis]), axis=axis)
            return parameter.reshape([-1 if at == axis else 1 for at in range(x.ndim)])

        numbers = x.astype(scale.dtype) - (0 if zero is None else spread(zero).astype(scale.dtype))
        return (numbers * spread(scale),)


class Gelu(OpRun):
    """An operator of another domain that ONNX Runtime knows too."""

    op_domain = "com.microsoft"

    def _run(self, x, approximate=None):  # type: ignore[no-untyped-def]  # the signature of OpRun
        return (x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),)


class SimplifiedLayerNormalization(OpRun):
    """An operator of ONNX Runtime in the standard domain."""

    def _run(self, x, scale, axis=None, epsilon=None, stash_type=None):  # type: ignore[no-untyped-def]  # the signature of OpRun
        axes = tuple(range((-1 if axis is None else axis) % x.ndim, x.ndim))
        epsilon = np.float32(1e-5) if epsilon is None else epsilon
        return (x / np.sqrt((x**2).mean(axis=axes, keepdims=True) + float(epsilon)) * scale,)


class Crop(OpRun):
    """An operator of opset 1 that onnx brings no more; ``border`` is left, top, right, bottom."""

    def _run(self, x, border=None):  # type: ignore[no-untyped-def]  # the signature of OpRun
        left, top, right, bottom = border
        return (x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right],)


CORRECTED: tuple[type[OpRun], ...] = (
    ConvTranspose,
    MaxPool,
    AveragePool,
    GlobalMaxPool,
    GlobalAveragePool,
    GlobalLpPool,
    BatchNormalization,
    DequantizeLinear,
    GroupNormalization,
    LpNormalization,
    MeanVarianceNormalization,
    Gelu,
    SimplifiedLayerNormalization,
    Crop,
)


def rounding_of(model: onnx.ModelProto) -> float:
    """The relative tolerance of the narrowest type that a model computes in."""
    kinds = {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.value_info)}
    dtypes = [np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)) for kind in kinds if kind]
    return max((TOLERANCE[dtype] for dtype in dtypes if dtype in TOLERANCE), default=0.0)


# -- comparing ---------------------------------------------------------------------------------------------------
def assert_close(
    got: Mapping[str, npt.NDArray[Any]], wanted: Mapping[str, npt.NDArray[Any]], *, note: str, limit: float = 0.0
) -> None:
    """Equal names, shapes and values, within the rounding of the type against the largest value of each tensor.

    ``limit`` is the relative tolerance where some of the model computes in a narrower type.
    """
    assert list(got) == list(wanted), note
    for name, want in wanted.items():
        have = got[name]
        assert have.shape == want.shape, f"{note}: {name} has shape {have.shape}, expected {want.shape}"
        assert have.dtype == want.dtype, f"{note}: {name} has type {have.dtype}, expected {want.dtype}"
        if want.dtype.kind != "f":
            np.testing.assert_array_equal(have, want, err_msg=f"{note}: {name}")
            continue
        largest = float(np.abs(want.astype(np.float64)).max(initial=1e-3))
        worst = float(np.abs(have.astype(np.float64) - want.astype(np.float64)).max(initial=0.0))
        allowed = max(limit, TOLERANCE[want.dtype]) * largest
        assert worst <= allowed, f"{note}: {name} differs by {worst:.3g}, allowed are {allowed:.3g}"
