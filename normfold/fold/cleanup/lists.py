"""Take tensors out of lists whose content one can see: a Split in place of SplitToSequence, a Concat of the elements.

Exporters that no optimizer follows write chunk, unbind and cat of torch with lists. No affine passes a list.
Source: https://onnx.ai/onnx/operators/onnx__SplitToSequence.html
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.graph.editor import Editor, bypass
from normfold.graph.reader import GraphReader, attribute, has_parameters, input_at
from normfold.operators.table import is_standard

_SIZES_AS_INPUT = 13  # the operator set from which the sizes of a Split are an input


def take_out_of_lists(editor: Editor) -> None:
    """Let operators of a graph read the elements of lists without the lists, which are dead afterwards."""
    for node in list(editor.reader.graph):
        if not is_standard(node) or has_parameters(node):
            continue
        if node.op_type == "SplitToSequence":
            _split(editor, node)
        elif node.op_type in ("SequenceAt", "ConcatFromSequence"):
            _read_elements(editor, node)


def _split(editor: Editor, node: ir.Node) -> None:
    """Write a Split, or a Gather for each element, where all that is read of a list are elements of known number."""
    reader, parts = editor.reader, node.outputs[0]
    takers = [reading for reading, _ in parts.uses()]
    places = [_place(reader, taker) for taker in takers]
    if not takers or None in places or parts.is_graph_output():
        return
    if input_at(node, 1) is None:
        _gather(editor, node)
        return
    sizes = _sizes(reader, node)
    if sizes is None or any(not -len(sizes) <= place < len(sizes) for place in places if place is not None):
        return
    attributes, inputs = {"axis": attribute(node, "axis", 0)}, [node.inputs[0]]
    if reader.opset < _SIZES_AS_INPUT:
        attributes["split"] = sizes.tolist()
    else:
        inputs.append(editor.constant(sizes, ir.DataType.INT64, f"{parts.name}_sizes"))
    split = ir.node("Split", inputs, attributes, num_outputs=len(sizes))
    split.name = editor.names.new(f"{node.name or parts.name}_split")
    editor.insert_before(node, [split])
    for taker, place in zip(takers, places, strict=True):
        value = split.outputs[place or 0]
        value.shape, value.type = taker.outputs[0].shape, taker.outputs[0].type
        bypass(taker, value)


def _gather(editor: Editor, node: ir.Node) -> None:
    """Make each SequenceAt behind a list of single slices a Gather; a vector as its index keeps the axis."""
    for taker in list(node.outputs[0].consumers()):
        place = _place(editor.reader, taker)
        index = np.asarray([place] if attribute(node, "keepdims", 1) else place, np.int64)
        listed = editor.constant(index, ir.DataType.INT64, f"{taker.outputs[0].name}_index")
        editor.become(taker, "Gather", [node.inputs[0], listed], {"axis": attribute(node, "axis", 0)})


def _place(reader: GraphReader, node: ir.Node) -> int | None:
    """Return the constant place from which a SequenceAt takes its element."""
    known = reader.constant(node.inputs[1]) if node.op_type == "SequenceAt" and is_standard(node) else None
    return None if known is None or not reader.holds(node) else int(known.reshape(()))


def _sizes(reader: GraphReader, node: ir.Node) -> np.ndarray | None:
    """Return the sizes of the parts: those that are given, or as many of one size as the axis has, and the rest."""
    given, shape = reader.constant(node.inputs[1]), reader.shape(node.inputs[0])
    if given is None or given.ndim:
        return given
    whole = None if shape is None else shape[attribute(node, "axis", 0)]
    if not isinstance(whole, int) or given < 1:
        return None
    rest = whole % int(given)
    return np.asarray([int(given)] * (whole // int(given)) + [rest] * (rest > 0), np.int64)


def _read_elements(editor: Editor, node: ir.Node) -> None:
    """Let what takes one or all elements of a list that is written out read the elements themselves."""
    made = None if node.inputs[0] is None else node.inputs[0].producer()
    if made is None or made.op_type != "SequenceConstruct" or not is_standard(made):
        return
    elements = list(made.inputs)
    if node.op_type == "SequenceAt":
        place = _place(editor.reader, node)
        element = elements[place] if place is not None and -len(elements) <= place < len(elements) else None
        if element is not None:
            bypass(node, element)
    elif not attribute(node, "new_axis", 0):
        editor.become(node, "Concat", elements, {"axis": attribute(node, "axis", 0)})
