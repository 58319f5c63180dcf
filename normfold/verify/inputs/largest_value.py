"""How large a value becomes for a feed, before anything is run: a size may double at every operator."""

from __future__ import annotations

from math import prod

import onnx

from normfold.operators.shape_inference import infer_shapes
from normfold.runtime.loaded_model import LoadedModel

_LEAST_BYTES = 1 / 2  # of an element, whatever its type


def bytes_of_largest_value(model: LoadedModel, shapes: frozenset[tuple[str, tuple[int, ...]]]) -> int:
    """Return how many bytes the largest value that shape inference knows takes at least; 0 where it knows none.

    ``shapes`` are those of inputs, by name.
    """
    given = dict(shapes)
    sized = onnx.ModelProto()
    sized.CopyFrom(model.skeleton)
    del sized.graph.value_info[:]
    for value in sized.graph.input:
        if value.name in given and value.type.tensor_type.HasField("shape"):  # a guessed rank ends onnx 1.20 in a Conv
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, given[value.name]))
    try:
        values = infer_shapes(sized).graph.value_info
    except (onnx.shape_inference.InferenceError, ValueError):
        return 0
    known = (value.type.tensor_type.shape.dim for value in values if value.type.tensor_type.HasField("shape"))
    return int(max((prod(dim.dim_value for dim in shape) for shape in known), default=0) * _LEAST_BYTES)
