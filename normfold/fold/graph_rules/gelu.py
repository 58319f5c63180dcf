"""Constant arithmetic inside GELU: four or five operators that runtimes execute as one, so it must stay together.

``x * 0.5 * (1 + erf(x / sqrt(2)))`` and ``x * 0.5 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3)))`` in any order of
factors. Source: https://onnx.ai/onnx/operators/onnx__Gelu.html
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import onnx_ir as ir

from normfold.graph.operators import is_standard
from normfold.graph.reader import GraphReader

_SIGMOID_LIKE = ("Erf", "Tanh")


def parts_of_activations(reader: GraphReader) -> Iterator[ir.Node]:
    """Every Mul, Add, Div, Pow that belongs to a GELU of this graph."""
    for node in reader.graph:
        if node.op_type in _SIGMOID_LIKE and is_standard(node):
            yield from _gelu_around(reader, node)


def _gelu_around(reader: GraphReader, core: ir.Node) -> Iterator[ir.Node]:
    """Return the operators around an Erf or Tanh, if it is followed by ``+ 1`` and a product with a variable."""
    one = _only_reader(core.outputs[0])
    if one is None or one.op_type != "Add" or not _is_number(reader, one, 1.0):
        return
    product = _only_reader(one.outputs[0])
    if product is None or product.op_type != "Mul" or not _meets_a_variable(reader, product):
        return
    yield one
    yield product
    yield from _halves(reader, product)
    yield from _arguments(reader, core, _inputs_of(reader, one, product), depth=5)


def _meets_a_variable(reader: GraphReader, product: ir.Node) -> bool:
    """Return whether it is multiplied by x, here or behind the factor 0.5; a Tanh that is only rescaled is no GELU."""
    if not any(reader.is_constant(value) for value in product.inputs):
        return True
    after = _only_reader(product.outputs[0])
    return after is not None and after.op_type == "Mul" and not any(map(reader.is_constant, after.inputs))


def _inputs_of(reader: GraphReader, one: ir.Node, product: ir.Node) -> set[ir.Value | None]:
    """Return what may be the GELU's own input: the other factor, or what was halved to make it."""
    others = [value for value in product.inputs if value is not one.outputs[0]]
    makers = [value.producer() for value in others if value is not None]
    halved = [node for node in makers if node is not None and node.op_type in ("Mul", "Div")]
    inner = [value for node in halved if _is_half(reader, node) for value in node.inputs]
    return {*inner} or {*others}


def _halves(reader: GraphReader, product: ir.Node) -> Iterator[ir.Node]:
    """Return the factor 0.5: behind the product, before it, or on its other operand."""
    after = _only_reader(product.outputs[0])
    around = [after, *(value.producer() for value in product.inputs if value is not None)]
    for node in around:
        if node is not None and node.op_type in ("Mul", "Div") and _is_half(reader, node):
            yield node
            return


def _is_half(reader: GraphReader, node: ir.Node) -> bool:
    return any(_is_number(reader, node, number) for number in (0.5, 2.0))


def _arguments(reader: GraphReader, node: ir.Node, inputs: Container[ir.Value | None], depth: int) -> Iterator[ir.Node]:
    """Return the arithmetic that makes the argument of Erf or Tanh, up to the ``inputs`` of the activation."""
    for value in node.inputs:
        if value in inputs:
            continue
        producer = None if value is None else value.producer()
        if producer is None or depth == 0 or producer.op_type not in ("Mul", "Div", "Add", "Pow"):
            continue
        if any(reader.is_constant(operand) for operand in producer.inputs) or producer.op_type == "Mul" or depth < 5:
            yield producer
            yield from _arguments(reader, producer, inputs, depth - 1)


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = value.consumers()
    return readers[0] if len(readers) == 1 else None


def _is_number(reader: GraphReader, node: ir.Node, number: float) -> bool:
    constants = [reader.constant(value) for value in node.inputs]
    return any(
        array is not None and array.size == 1 and abs(float(array.reshape(())) - number) < 1e-3 for array in constants
    )
