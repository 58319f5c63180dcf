"""How large a value becomes for a feed, before anything is run: a size may double at every operator."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from normfold.operators.shape_inference import infer_shapes
from normfold.runtime.loaded_model import LoadedModel
from normfold.verify.inputs.generate import Feed

_LEAST_BYTES = 1 / 2  # of an element, whatever its type


def bytes_of_largest_value(model: LoadedModel, feed: Feed) -> int:
    """Return how many bytes the largest value that shape inference knows takes at least; 0 where it knows none."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model.skeleton)
    del sized.graph.value_info[:]
    for value in sized.graph.input:
        array = feed.values.get(value.name)
        if isinstance(array, np.ndarray) and value.type.HasField("tensor_type"):
            value.CopyFrom(
                onnx.helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, array.shape)
            )
    try:
        values = infer_shapes(sized).graph.value_info
    except (onnx.shape_inference.InferenceError, ValueError):
        return 0
    shapes = (value.type.tensor_type.shape.dim for value in values if value.type.tensor_type.HasField("shape"))
    return int(max((prod(dim.dim_value for dim in shape) for shape in shapes), default=0) * _LEAST_BYTES)
