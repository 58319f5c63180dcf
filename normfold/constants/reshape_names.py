"""Sizes of reshaped values by name, where shape inference gives up or finds new names.

TensorFlow takes the target of a Reshape from a Shape through Gather, Cast, Slice and Concat. ``normfold.shapes`` can
follow that; here the result becomes the shape of the reshaped value, and inference goes on from there.
"""

from __future__ import annotations

from math import prod

import onnx

from normfold.constants.shape_values import ROUNDS, Dimension, evaluate, shapes_of, without_rest
from normfold.graph.ml_operators import infer_shapes


def named_reshapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the result of each Reshape and Expand the named sizes of its target, which inference loses, and go on."""
    for _ in range(ROUNDS):
        shapes = dict(shapes_of(model.graph))
        values = evaluate(model.graph, shapes)
        known = {info.name: info for info in model.graph.value_info}
        better = {}
        for node in model.graph.node:
            is_shaped = node.op_type in ("Reshape", "Expand") and node.output[0] in known
            target = values.get(node.input[1]) if is_shaped else None
            if target is not None and not target.is_scalar and not _allows_zero(node):
                shape = _named if node.op_type == "Reshape" else _expanded
                named = shape(target.entries, shapes.get(node.input[0]))
                if _says_more(named, shapes.get(node.output[0])):
                    better[node.output[0]] = named
        if not better:
            break
        renamed: dict[str, Dimension] = {}
        for name, named in better.items():
            kind = known[name].type.tensor_type.elem_type
            renamed |= _equal_sizes(shapes.get(name), named)
            known[name].CopyFrom(onnx.helper.make_tensor_value_info(name, kind, named))
        _rename(model.graph, renamed)
        model = infer_shapes(model)
    return model


def _equal_sizes(old: tuple[Dimension, ...] | None, new: tuple[Dimension, ...]) -> dict[str, Dimension]:
    """Return what each name of a shape may be replaced by wherever it occurs."""
    pairs = zip(old or (), new, strict=True) if old else ()
    return {name: size for name, size in pairs if isinstance(name, str) and size is not None and size != name}


def _rename(graph: onnx.GraphProto, renamed: dict[str, Dimension]) -> None:
    for value in graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            size = renamed.get(dim.dim_param) if dim.HasField("dim_param") else None
            if isinstance(size, int):
                dim.dim_value = size
            elif size is not None:
                dim.dim_param = size


def _named(target: tuple[Dimension, ...], source: tuple[Dimension, ...] | None) -> tuple[Dimension, ...]:
    """Return the sizes that a Reshape to ``target`` gives; None for what is not known."""
    copied = [
        source[at] if entry == 0 and source is not None and at < len(source) else entry
        for at, entry in enumerate(target)
    ]
    entries = tuple(None if entry == 0 else entry for entry in copied)
    if -1 not in entries:
        return entries
    entries = without_rest(entries, source)
    rest = _only_name_left(entries, source)
    return tuple(rest if entry == -1 else entry for entry in entries)


def _expanded(target: tuple[Dimension, ...], source: tuple[Dimension, ...] | None) -> tuple[Dimension, ...]:
    """Return the sizes that an Expand to ``target`` gives: of two sizes that broadcast, the one that is not 1."""
    length = len(target) if source is None else max(len(target), len(source))
    wanted = (1,) * (length - len(target)) + target
    own: tuple[Dimension, ...] = (None,) * length if source is None else (1,) * (length - len(source)) + source
    return tuple(b if a == 1 else a if b in (1, a) else None for a, b in zip(own, wanted, strict=True))


def _only_name_left(target: tuple[Dimension, ...], source: tuple[Dimension, ...] | None) -> str | None:
    """Return the size of the -1 of ``target``, where all other sizes are those of the input."""
    if source is None or None in source or target.count(-1) != 1 or None in target:
        return None
    left = [entry for entry in source if not isinstance(entry, int)]
    for entry in target:
        if isinstance(entry, str):
            if entry not in left:
                return None
            left.remove(entry)
    numbers = [prod(entry for entry in side if isinstance(entry, int) and entry != -1) for side in (target, source)]
    return str(left[0]) if len(left) == 1 and numbers[0] == numbers[1] != 0 else None


def _says_more(named: tuple[Dimension, ...], known: tuple[Dimension, ...] | None) -> bool:
    """Say whether a size is a number or a known name, where only an unknown or a new name was known."""
    if known is None or len(known) != len(named):
        return known is None
    return any(
        new is not None and new != old and not isinstance(old, int) for new, old in zip(named, known, strict=True)
    )


def _allows_zero(node: onnx.NodeProto) -> bool:
    return any(entry.name == "allowzero" and entry.i for entry in node.attribute)
