"""Find dynamically quantized products, which a runtime executes as one operator with their scales and bias.

``DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul by the scales [-> Add of the bias]``, where the scales are the
product of the input's own scale and the weight's. Source: ``onnxruntime.quantization.quantize_dynamic``.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from normfold.graph.reader import GraphReader


def parts_of_quantized_products(reader: GraphReader) -> Iterator[ir.Node]:
    """Yield the operators behind each MatMulInteger of a dynamically quantized value that belong to its product."""
    for node in reader.graph:
        if node.op_type != "MatMulInteger" or node.domain not in ("", "ai.onnx"):
            continue
        quantizer = None if node.inputs[0] is None else node.inputs[0].producer()
        if quantizer is not None and quantizer.op_type == "DynamicQuantizeLinear":
            yield from _scales_and_bias(reader, node, quantizer.outputs[1])


def _scales_and_bias(reader: GraphReader, product: ir.Node, scale: ir.Value) -> Iterator[ir.Node]:
    cast = _only_reader(product, "Cast")
    scaled = None if cast is None else _only_reader(cast, "Mul")
    if cast is None or scaled is None:
        return
    other = next((value for value in scaled.inputs if value is not cast.outputs[0]), None)
    scales = None if other is None else other.producer()
    if scales is None or scales.op_type != "Mul" or scale not in scales.inputs:
        return
    yield from (scales, scaled)
    bias = _only_reader(scaled, "Add")
    if bias is not None and any(map(reader.is_constant, bias.inputs)):
        yield bias


def _only_reader(node: ir.Node, operator: str) -> ir.Node | None:
    readers = node.outputs[0].consumers()
    return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None
