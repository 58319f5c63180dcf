"""Find products of integers as dynamic quantization writes them, which a runtime executes as one operator.

``DynamicQuantizeLinear -> MatMulInteger or ConvInteger -> Cast -> Mul by (input's scale * weight's scale) [-> Add]``.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from normfold.graph.reader import GraphReader
from normfold.operators.table import is_standard

_PRODUCTS = ("MatMulInteger", "ConvInteger")


def scales_at(reader: GraphReader, node: ir.Node) -> int | None:
    """Return the input of ``node`` that holds the scales of the product of integers at its other input, or None."""
    makers = [None if value is None else value.producer() for value in node.inputs]
    if node.op_type != "Mul" or not is_standard(node):
        return None
    for index, (scales, cast) in enumerate((makers, makers[::-1])):
        product = cast.inputs[0] if cast is not None and cast.op_type == "Cast" else None
        maker = None if product is None else product.producer()
        if maker is not None and maker.op_type in _PRODUCTS and is_product_of_scales(reader, scales):
            return index
    return None


def is_product_of_scales(reader: GraphReader, node: ir.Node | None) -> bool:
    """Return whether ``node`` multiplies a constant scale and one that is found at run time."""
    if node is None or node.op_type != "Mul" or sum(map(reader.is_constant, node.inputs)) != 1:
        return False
    makers = [value.producer() for value in node.inputs if value is not None]
    return any(maker is not None and maker.op_type == "DynamicQuantizeLinear" for maker in makers)


def products_of_scales(reader: GraphReader) -> Iterator[ir.Node]:
    """Yield the products of scales: no fold may take them for factors of a value."""
    return (node for node in reader.graph if is_product_of_scales(reader, node))
