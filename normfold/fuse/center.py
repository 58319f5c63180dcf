"""Turn LayerNorm into RMSNorm where that is exact: take the mean out of everything that writes the residual stream.

A LayerNorm does not see the mean of its input. Where every reader of a residual stream is a LayerNorm, the stream may
lose its mean at once: where every writer is linear or a table, ``W <- W - mean(W)`` along the output channels and
``b <- b - mean(b)`` do that, sums of values without a mean have none, and each LayerNorm becomes an RMSNorm
(https://arxiv.org/abs/2401.15024, section 3.1). Behind a writer that is not linear, such as the activation of a stem
or a LayerNorm of embeddings, the mean is subtracted while the model runs, where enough norms gain by that. With
post-norm every LayerNorm writes a stream that one norm reads, and nothing is done.

It is no default of any target, because it is not always faster: on ONNX Runtime 1.31, CPU, one thread, 40 rounds in
turns, ViT tiny runs 1.02 times as fast (quartiles 1.00 to 1.05), OPT 1.02, StableLM 1.06 (1.01 to 1.18), Whisper tiny
1.00, the text encoder of CLIP 1.00, and GPT-2 0.94 (0.91 to 0.97) or 1.01 in other sessions. Norms take less than 2 %
of the time of such networks.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.findings.rules import Selection
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.fold.gelu import parts_kept_together
from normfold.fuse.engine import CENTER as RULE
from normfold.fuse.engine import newest_allowed
from normfold.fuse.opset import OpsetRaiseError, raise_opset
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, UniqueNames, require_fits, stamp
from normfold.graph.reader import GraphReader, attribute, input_at, opset_of
from normfold.graph.training import passes_values
from normfold.operators.table import RESHAPES, is_standard
from normfold.targets.table import target_of

_RMSNORM = "RMSNormalization"
_RMSNORM_OPSET = 23
_SHARED = 1 << 16  # elements of a weight that is not copied: the mean of what it gives is subtracted instead
_NORMS_A_MEAN = 4  # LayerNorms that must gain for each mean that is subtracted at run time
_LAYOUT = RESHAPES | {"Expand", "Slice", "Gather"}


@dataclass(eq=False)
class Stream:
    """A residual stream: its values with the axis of the mean, its writers, and the LayerNorms that read it.

    ``activations`` are operators that a runtime executes as one; ``not_linear`` are writers that no weight can be taken
    the mean out of, with what is in the way.
    """

    activations: Container[ir.Node]
    axes: dict[ir.Value, int] = field(default_factory=dict)
    writers: dict[ir.Node, None] = field(default_factory=dict)
    not_linear: dict[ir.Value, Refusal] = field(default_factory=dict)
    constants: dict[tuple[ir.Node, int], int] = field(default_factory=dict)
    norms: dict[ir.Node, None] = field(default_factory=dict)


def center_norms(model: ir.Model, options: Selection) -> tuple[Verdict, ...]:
    """Center the residual streams of the main graph in place; return one verdict for each of its LayerNorms."""
    names = UniqueNames(model)
    reader = GraphReader(model, model.graph)
    streams, refused = _streams(reader, options)
    if not streams:
        return tuple(refused)
    obstacle = _raised(model, options)
    if obstacle is not None:
        stay = [norm for stream in streams for norm in stream.norms]
        return (*refused, *(_kept(norm, obstacle) for norm in stay))
    reader = GraphReader(model, model.graph)  # raising the operator set makes new operators
    streams, refused = _streams(reader, options)
    editor = Editor(reader, names)
    for stream in streams:  # before any LayerNorm is replaced, which may be such a writer
        for value in stream.not_linear:
            _subtract_mean(editor, value, stream.axes[value])
    return (*refused, *(verdict for stream in streams for verdict in _write(editor, stream)))


def _streams(reader: GraphReader, options: Selection) -> tuple[list[Stream], list[Verdict]]:
    """Return the streams that can be centered, and verdicts for the LayerNorms of the others."""
    streams: list[Stream] = []
    refused: list[Verdict] = []
    activations = frozenset(parts_kept_together(reader, every_spelling=True))
    for node in reader.graph:
        if not _is_layernorm(node) or any(node in stream.norms for stream in streams):
            continue
        try:
            streams.append(_grown(reader, node, Stream(activations), options))
        except Refusal as refusal:
            refused.append(_kept(node, refusal.obstacle))
    return streams, refused


def _is_layernorm(node: ir.Node) -> bool:
    return is_standard(node) and node.op_type == "LayerNormalization"


def _raised(model: ir.Model, options: Selection) -> Obstacle | None:
    """Raise the model to the operator set that has RMSNormalization, or say why not."""
    target, present = target_of(options), opset_of(model.graph)
    if present >= _RMSNORM_OPSET:
        return None
    if newest_allowed(options, target, present) < _RMSNORM_OPSET:
        return Obstacle(Reason.NEEDS_OPSET, detail=f"{_RMSNORM} needs operator set {_RMSNORM_OPSET}")
    try:
        raise_opset(model, _RMSNORM_OPSET, target.newest_ir)
    except OpsetRaiseError as fault:
        return Obstacle(Reason.CONVERTER, detail=str(fault))
    return None


def _kept(node: ir.Node, obstacle: Obstacle) -> Verdict:
    return Verdict(_finding(node), Outcome.KEPT, obstacles=(obstacle,))


def _finding(node: ir.Node) -> Finding:
    return Finding(name_of(node), node.op_type, node.outputs[0].name or "", what="LayerNormalization", is_norm=True)


# -- finding a stream -----------------------------------------------------------------------------------------------
def _grown(reader: GraphReader, norm: ir.Node, stream: Stream, options: Selection) -> Stream:
    """Return the stream that ``norm`` reads; Refusal names the operator that stands in the way."""
    waiting = [(_entry(reader, norm, options), _rank_of(reader, norm.inputs[0], norm) - 1)]
    while waiting:
        value, axis = waiting.pop()
        if stream.axes.get(value, axis) != axis:
            raise Refusal(Reason.NOT_CENTERED, name_of(norm), detail="the mean would be taken along two axes")
        if value in stream.axes:
            continue
        stream.axes[value] = axis
        waiting += _upstream(reader, stream, value, axis)
        try:
            waiting += _downstream(reader, stream, value, axis, options)
        except Refusal as refusal:
            raise stream.not_linear.get(value, refusal) from None
    if len(stream.not_linear) * _NORMS_A_MEAN > len(stream.norms):
        raise next(iter(stream.not_linear.values()))
    return stream


def _entry(reader: GraphReader, norm: ir.Node, options: Selection) -> ir.Value:
    """Return the input of a LayerNorm that may become an RMSNorm."""
    value, name = norm.inputs[0], name_of(norm)
    reason = options.reason_to_leave(name, RULE)
    if reason is not None:
        raise Refusal(reason, name)
    rank = _rank_of(reader, value, norm)
    if int(attribute(norm, "axis", -1)) % rank != rank - 1 or any(v.uses() for v in norm.outputs[1:]):
        raise Refusal(Reason.NO_FORM, name, detail="it normalizes several axes, or its statistics are read")
    dtype = reader.dtype(value)
    if dtype is None or not target_of(options).has(_RMSNORM, dtype.name):
        raise Refusal(Reason.NO_KERNEL, name, detail=_RMSNORM)
    assert value is not None, "a LayerNormalization has an input"
    return value


def _rank_of(reader: GraphReader, value: ir.Value | None, node: ir.Node) -> int:
    """Return the rank of a value; Refusal where it is unknown."""
    assert value is not None, "the operator has this input"
    return len(reader.require_shape(value, node))


def _refuse(node: ir.Node, detail: str) -> Refusal:
    return Refusal(Reason.NOT_CENTERED, name_of(node), node.outputs[0].name or "", detail)


def _upstream(reader: GraphReader, stream: Stream, value: ir.Value, axis: int) -> list[tuple[ir.Value, int]]:
    """Return what a value of the stream is made of; a linear operator or a table ends the way."""
    node = value.producer()
    if node is None or not reader.holds(node):
        raise Refusal(Reason.NOT_CENTERED, detail=f"{value.name} comes from outside, where no weight can be changed")
    if is_standard(node) and _is_writer(reader, node, axis):
        stream.writers[node] = None
        return []
    try:
        if node in stream.activations:
            raise _refuse(node, f"{node.op_type} is the end of an activation")
        passed = _passes(reader, node, axis)
    except Refusal as refusal:
        stream.not_linear[value] = refusal
        return []
    return [
        (operand, place)
        for index, operand, place in passed
        if not _is_constant_part(reader, stream, node, index, operand, place)
    ]


def _is_constant_part(
    reader: GraphReader, stream: Stream, node: ir.Node, index: int, operand: ir.Value, axis: int
) -> bool:
    """Say whether an addend is a constant; it is centered itself."""
    if not reader.is_constant(operand):
        return False
    stream.constants[(node, index)] = axis
    return True


def _is_writer(reader: GraphReader, node: ir.Node, axis: int) -> bool:
    """Say whether a node is linear with a constant weight, and ``axis`` is that of its output channels."""
    weight = input_at(node, 1)
    if any(map(reader.is_quantized, node.inputs)):
        return False  # the integers have no place for a mean
    if node.op_type == "Gather":
        table = node.inputs[0]
        shape = None if table is None else reader.shape(table)
        is_row = shape is not None and len(shape) == 2 and attribute(node, "axis", 0) in (0, -2)
        return reader.is_constant(table) and is_row and axis == _rank_of(reader, node.outputs[0], node) - 1
    if node.op_type not in ("MatMul", "Gemm", "Conv") or not reader.is_constant(weight):
        return False
    rank = _rank_of(reader, node.outputs[0], node)
    bias = input_at(node, 2)
    if bias is not None and not reader.is_constant(bias):
        return False
    if node.op_type == "Conv":
        return axis == 1 and attribute(node, "group", 1) == 1
    return axis == rank - 1 and len(reader.shape(weight) or ()) == 2


def _passes(reader: GraphReader, node: ir.Node, axis: int) -> list[tuple[int, ir.Value, int]]:
    """Return the inputs of which a node makes a value without a mean, each with its index and the axis of the mean."""
    if not is_standard(node):
        raise _refuse(node, f"{node.op_type} writes the stream, and no weight of it takes the mean out")
    rank = _rank_of(reader, node.outputs[0], node)
    operands = [(index, value) for index, value in enumerate(node.inputs) if value is not None]
    if node.op_type in ("Add", "Sum", "Sub"):
        return [(index, value, _aligned(reader, node, value, axis, rank)) for index, value in operands]
    if node.op_type in ("ReduceMean", "ReduceSum", "GlobalAveragePool"):
        return [(0, operands[0][1], _axis_before_reduction(reader, node, axis))]
    if node.op_type == "Concat" and int(attribute(node, "axis", 0)) % rank != axis:
        return [(index, value, axis) for index, value in operands]
    if node.op_type == "Transpose":
        perm = attribute(node, "perm") or tuple(reversed(range(rank)))
        return [(0, operands[0][1], int(perm[axis]))]
    if node.op_type in ("Mul", "Div"):
        scalars = [index for index, value in operands if _is_scalar(reader, value)]
        if len(scalars) == 1 and (node.op_type == "Mul" or scalars == [1]):
            return [(index, value, axis) for index, value in operands if index not in scalars]
    if passes_values(reader, node):
        return [(0, operands[0][1], axis)]
    if node.op_type in _LAYOUT:
        return [(0, operands[0][1], _axis_before(reader, node, operands[0][1], axis, rank))]
    raise _refuse(node, f"{node.op_type} writes the stream, and no weight of it takes the mean out")


def _is_scalar(reader: GraphReader, value: ir.Value) -> bool:
    array = reader.constant(value) if reader.is_constant(value) else None
    return array is not None and array.size == 1


def _aligned(reader: GraphReader, node: ir.Node, value: ir.Value, axis: int, rank: int) -> int:
    """Return the axis of an addend that broadcasting brings to ``axis``; it must be as long there as the sum."""
    shape, whole = reader.require_shape(value, node), reader.require_shape(node.outputs[0], node)
    own = axis - (rank - len(shape))
    if own < 0 or not isinstance(whole[axis], int) or shape[own] != whole[axis]:
        raise _refuse(node, "an addend has not every channel")
    return own


def _axis_before_reduction(reader: GraphReader, node: ir.Node, axis: int) -> int:
    """Return the axis of the mean before a reduction of other axes, as in the mean of all tokens."""
    rank = _rank_of(reader, node.inputs[0], node)
    axes = range(2, rank) if node.op_type == "GlobalAveragePool" else reader.axes(node)
    reduced = {each % rank for each in axes or range(rank)}
    kept = [each for each in range(rank) if attribute(node, "keepdims", 1) or each not in reduced]
    if axis >= len(kept) or kept[axis] in reduced:
        raise _refuse(node, f"{node.op_type} takes the channels")
    return kept[axis]


def _axis_before(reader: GraphReader, node: ir.Node, value: ir.Value, axis: int, rank: int) -> int:
    """Return the axis of the mean before a change of layout that keeps the channels together."""
    before, after = reader.require_shape(value, node), reader.require_shape(node.outputs[0], node)
    size = after[axis]
    is_last = axis == rank - 1
    own = len(before) - 1 if is_last else axis
    if node.op_type in ("Slice", "Gather", "Squeeze", "Unsqueeze", "Expand") and not is_last:
        raise _refuse(node, f"{node.op_type} with the channels on axis {axis}")
    if node.op_type == "Gather" and int(attribute(node, "axis", 0)) % len(before) == own:
        raise _refuse(node, "Gather picks channels")
    fits = own < len(before) and isinstance(size, int) and before[own] == size
    is_behind = is_last or (axis == 1 and before[:2] == after[:2])
    if not fits or not is_behind:
        raise _refuse(node, f"{node.op_type} mixes the channels with other axes")
    return own


def _downstream(
    reader: GraphReader, stream: Stream, value: ir.Value, axis: int, options: Selection
) -> list[tuple[ir.Value, int]]:
    """Return what is made of a value of the stream; every other reader must be a LayerNorm, or ask for the shape."""
    if value.is_graph_output():
        raise Refusal(Reason.NOT_CENTERED, detail=f"{value.name} is an output of the graph")
    found = []
    for node in reader.readers(value):
        if _is_layernorm(node) and node.inputs[0] is value:
            if axis != _rank_of(reader, value, node) - 1:
                raise _refuse(node, "it normalizes another axis")
            _entry(reader, node, options)
            stream.norms[node] = None
        elif node.op_type != "Shape":
            found.append((node.outputs[0], _axis_behind(reader, node, value, axis)))
    return found


def _axis_behind(reader: GraphReader, node: ir.Node, value: ir.Value, axis: int) -> int:
    """Return the axis of the mean in what ``node`` makes of ``value``: the one that leads back to ``axis``."""
    rank = _rank_of(reader, node.outputs[0], node) if is_standard(node) else 0
    for place in range(rank):
        try:
            before = [own for _, operand, own in _passes(reader, node, place) if operand is value]
        except Refusal:
            continue
        if before and all(own == axis for own in before):
            return place
    raise _refuse(node, f"{node.op_type} reads the stream and sees its mean")


# -- writing --------------------------------------------------------------------------------------------------------
def _write(editor: Editor, stream: Stream) -> list[Verdict]:
    """Center the writers of a stream and make RMSNorms of its LayerNorms."""
    try:
        changes = [change for node in stream.writers for change in _centered_weights(editor.reader, node)]
        changes += [
            (node, index, _without_mean(editor.reader.constant(node.inputs[index]), axis))
            for (node, index), axis in stream.constants.items()
        ]
        for node, _, array in changes:
            require_fits(array, editor.reader.dtype(node.outputs[0]), node)
    except Refusal as refusal:
        return [_kept(norm, refusal.obstacle) for norm in stream.norms]
    for node, index, array in changes:
        old = node.inputs[index]
        assert old is not None, "it was read above"
        dtype = editor.reader.dtype(old) or ir.DataType.FLOAT
        node.replace_input_with(index, editor.constant(array, dtype, f"{old.name}_centered"))
    for node in stream.writers:
        if _is_shared(editor.reader, node):
            _subtract_mean(editor, node.outputs[0], -1)
    for value in stream.axes:
        editor.rename(value)
    why = f"the mean is taken out of {len(stream.writers) + len(stream.constants)} writers of the residual stream"
    return [_write_norm(editor, norm, why) for norm in stream.norms]


def _without_mean(array: Array | None, axis: int) -> Array:
    assert array is not None, "is_constant() was asked first"
    return np.asarray(array - array.mean(axis=axis, keepdims=True))


def _is_shared(reader: GraphReader, node: ir.Node) -> bool:
    """Say whether a large table has other readers, such as the output layer that is tied to an embedding."""
    table = node.inputs[0] if node.op_type == "Gather" else None
    array = None if table is None else reader.shape(table)
    size = int(np.prod([each for each in array or () if isinstance(each, int)]))
    return table is not None and len(table.uses()) > 1 and size > _SHARED


def _centered_weights(reader: GraphReader, node: ir.Node) -> list[tuple[ir.Node, int, Array]]:
    """Return new weights of a writer: nothing on average over its output channels."""
    if _is_shared(reader, node):
        return []
    if node.op_type == "Gather":
        return [(node, 0, _without_mean(reader.constant(node.inputs[0]), -1))]
    is_rows = node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0))
    found = [(node, 1, _without_mean(reader.constant(node.inputs[1]), 0 if is_rows else -1))]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = reader.constant(node.inputs[2])
        assert bias is not None, "asked by _is_writer()"
        width = (reader.shape(node.outputs[0]) or (0,))[1 if node.op_type == "Conv" else -1]
        if not isinstance(width, int):
            raise _refuse(node, "the number of its channels is not known")
        whole = np.broadcast_to(bias, (*bias.shape[:-1], width))
        found.append((node, 2, _without_mean(whole, -1)))
    return found


def _subtract_mean(editor: Editor, value: ir.Value, axis: int) -> None:
    """Subtract the mean behind a table that is too large to be copied, or an operator that is not linear."""
    node = value.producer()
    assert node is not None, "a graph input is no writer"
    axes = editor.constant(np.asarray([axis], np.int64), ir.DataType.INT64, f"{value.name}_axes")
    mean = ir.node("ReduceMean", [value, axes], {"keepdims": 1}, name=editor.names.new(f"{value.name}_ReduceMean"))
    centered = ir.node("Sub", [value, mean.outputs[0]], name=editor.names.new(f"{value.name}_Sub"))
    for made in (mean, centered):
        made.outputs[0].type = value.type
        stamp(made, RULE, name_of(node))
    sizes = None if value.shape is None else list(value.shape)
    if sizes is not None:
        sizes[axis] = 1
        mean.outputs[0].shape = ir.Shape(sizes)
    centered.outputs[0].shape = value.shape
    for reading, index in list(value.uses()):
        if reading is not mean and reading is not centered:
            reading.replace_input_with(index, centered.outputs[0])
    editor.insert_after(node, mean)
    editor.insert_after(mean, centered)


def _write_norm(editor: Editor, norm: ir.Node, why: str) -> Verdict:
    """Write RMSNormalization, and an Add where the LayerNorm has a bias, which a MatMul behind takes."""
    finding, site = _finding(norm), norm.outputs[0]
    beta = input_at(norm, 2)
    attributes = {"axis": -1, "epsilon": float(attribute(norm, "epsilon", 1e-5))}
    nodes = [ir.node(_RMSNORM, norm.inputs[:2], attributes, name=editor.names.new(f"{site.name}_{_RMSNORM}"))]
    if beta is not None and (array := editor.reader.constant(beta)) is not None and not array.any():
        beta = None
    if beta is not None:
        name = editor.names.new(f"{site.name}_Add")
        nodes.append(ir.node("Add", [nodes[0].outputs[0], beta], name=name))
    nodes[-1].metadata_props.update(norm.metadata_props)
    for node in nodes:
        node.outputs[0].type, node.outputs[0].shape = site.type, site.shape
        stamp(node, RULE, finding.name)
    editor.insert_before(norm, nodes)
    editor.take_over(site, nodes[-1].outputs[0])
    editor.remove([norm])
    form = "-".join(node.op_type for node in nodes)
    into = tuple(name_of(node) for node in nodes)
    return Verdict(finding, Outcome.FUSED, RULE, into=into, sites=(finding.site,), form=form, why=why)
