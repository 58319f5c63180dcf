"""Models with an input fixed to a size of 0: nothing flows through them, so they are compared with that size free.

No other check sees a number of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from normfold.runtime.loaded_model import LoadedModel


def has_zero_sized_input(model: LoadedModel) -> bool:
    """Whether an input is fixed to no elements at all."""
    return any(True for _ in _zeros(model.graph))


def with_free_sizes(model: LoadedModel) -> LoadedModel:
    """Return a copy that takes any size where an input was fixed to 0.

    What is declared of other values goes, as it may be 0 because of that.
    """
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model.skeleton)
    for name, dim in list(_zeros(skeleton.graph)):
        dim.dim_param = name
    del skeleton.graph.value_info[:]
    for value in skeleton.graph.output:
        value.type.tensor_type.ClearField("shape")
    return replace(model, skeleton=skeleton)


def _zeros(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorShapeProto.Dimension]]:
    """Return the dimensions of inputs that are fixed to 0, each with a name for when it is free."""
    for value in graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value == 0:
                yield f"{value.name}:{axis}", dim
