"""Find self-attention spelled in operators, whose parts ONNX Runtime and its tool for transformers fuse into one.

Both look for Softmax between two products, of Q, K and V that are each a MatMul and a bias of the same value, parted
into heads by Reshape and Transpose. They know it by the scale of the scores and by all three biases. Kept, these cost
nothing: a scale becomes a number in the product behind it, a bias one in the product before it.
Source: https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/python/tools/transformers/fusion_attention.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from normfold.graph.reader import GraphReader
from normfold.operators.table import is_standard

_MOVES = ("Reshape", "Transpose")
_SCALES = ("Mul", "Div")
_DEPTH = 8  # operators between a projection and the product, or between the product and Softmax


@dataclass(frozen=True)
class _Projection:
    """Q, K or V: the value that is projected, the Add of the bias, and the scales behind it."""

    source: ir.Value | None
    parts: tuple[ir.Node, ...]


def parts_of_attention(reader: GraphReader) -> Iterator[ir.Node]:
    """Yield the scales and the biases of each self-attention of a graph."""
    for node in reader.graph:
        if node.op_type == "Softmax" and is_standard(node):
            yield from _parts(reader, node)


def _parts(reader: GraphReader, softmax: ir.Node) -> tuple[ir.Node, ...]:
    """Return the scales and biases around a Softmax; none where it is not that of a self-attention."""
    scores, scales = _scores(reader, softmax.inputs[0])
    readers = softmax.outputs[0].consumers()
    if scores is None or len(readers) != 1 or readers[0].op_type != "MatMul":
        return ()
    found = [_projection(reader, value) for value in (*scores.inputs, readers[0].inputs[1])]
    sources = {None if each is None else each.source for each in found}
    if len(sources) != 1 or None in sources:
        return ()
    return (*scales, *(part for each in found if each is not None for part in each.parts))


def _scores(reader: GraphReader, value: ir.Value | None) -> tuple[ir.Node | None, list[ir.Node]]:
    """Return the product of Q and K that a Softmax reads through scales and masks, and the scales."""
    scales: list[ir.Node] = []
    for _ in range(_DEPTH):
        node = None if value is None else value.producer()
        if node is None or not is_standard(node):
            break
        if node.op_type == "MatMul":
            return node, scales
        index = _scaled(reader, node)
        if index is not None:
            scales.append(node)
        elif node.op_type == "Add":
            index = next((i for i, each in enumerate(node.inputs) if _comes_from_product(each)), None)
        if index is None:
            break
        value = node.inputs[index]
    return None, scales


def _comes_from_product(value: ir.Value | None) -> bool:
    """Say whether a term of a sum is the scores, and not the mask."""
    node = None if value is None else value.producer()
    if node is not None and node.op_type in _SCALES:
        return any(map(_comes_from_product, node.inputs))
    return node is not None and node.op_type == "MatMul"


def _projection(reader: GraphReader, value: ir.Value | None) -> _Projection | None:
    """Follow a factor of a product through heads and scales to the MatMul and bias that make it."""
    parts: list[ir.Node] = []
    is_moved = False
    for _ in range(_DEPTH):
        node = None if value is None else value.producer()
        if node is None or not is_standard(node):
            break
        index: int | None = 0 if node.op_type in _MOVES else _scaled(reader, node)
        if node.op_type == "Add":
            return _biased(reader, node, parts) if is_moved else None
        if index is None:
            break
        is_moved |= node.op_type == "Transpose"
        parts += () if node.op_type in _MOVES else (node,)
        value = node.inputs[index]
    return None


def _biased(reader: GraphReader, add: ir.Node, parts: list[ir.Node]) -> _Projection | None:
    """Return what a MatMul by a constant projects, where ``add`` is its bias."""
    for value, other in (add.inputs, add.inputs[::-1]):
        node = None if value is None else value.producer()
        if node is not None and node.op_type == "MatMul" and reader.is_constant(other):
            return _Projection(node.inputs[0], (*parts, add)) if reader.is_constant(node.inputs[1]) else None
    return None


def _scaled(reader: GraphReader, node: ir.Node) -> int | None:
    """Return which input of a Mul or Div a constant of one element scales; None where it is something else."""
    if node.op_type not in _SCALES:
        return None
    for index in range(2 if node.op_type == "Mul" else 1):
        other = node.inputs[1 - index]
        if (
            reader.is_constant(other)
            and reader.shape(other) is not None
            and all(size == 1 for size in reader.shape(other) or ())
        ):
            return index
    return None
