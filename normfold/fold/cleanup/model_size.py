"""What a model costs: its operators, the bytes of its weights, and those of the types that were inferred."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from normfold.graph.reader import graphs_of
from normfold.graph.weight_bytes import FREE, weight_bytes

_TYPES_PART = 0.01


@dataclass(frozen=True)
class ModelSize:
    """The operators of a model, Constant nodes and those of bodies and functions included, and its weights in bytes.

    ``batchnorms`` are those of the operators that are a BatchNormalization.
    """

    operators: int
    weights: int
    batchnorms: int = 0

    @staticmethod
    def of(model: ir.Model) -> ModelSize:
        """Count a model."""
        found = Counter(node.op_type for _, graph in graphs_of(model) for node in graph)
        return ModelSize(found.total(), weight_bytes(model), found["BatchNormalization"])

    def is_leaner(self, other: ModelSize, growth: float) -> bool:
        """Return whether this is the better one of two equal models: fewer operators, or as many and fewer bytes.

        ``growth`` is the part of its weights by which fewer operators may enlarge the other, at least FREE bytes.
        """
        if self.operators < other.operators:
            return self.weights <= other.weights + max(FREE, other.weights * growth)
        return self.operators == other.operators and self.weights < other.weights


def has_inferred_types(model: ir.Model) -> bool:
    """Return whether the model says the type of any value inside it."""
    return any(_says_type(value) for _, graph in graphs_of(model) for node in graph for value in node.outputs)


def drop_costly_types(model: ir.Model, weights: int) -> None:
    """Forget, in place, the inferred types inside a model where they cost more than a part of its ``weights`` bytes.

    A runtime infers types when it loads the model, and some less than was known here: without the shapes of both
    addends ONNX Runtime executes no Add and LayerNormalization as one SkipLayerNormalization.
    """
    typed = [v for _, graph in graphs_of(model) for node in graph for v in node.outputs if _says_type(v)]
    if sum(map(_bytes_of_type, typed)) > _TYPES_PART * weights:
        for value in typed:
            value.type = value.shape = None


def _bytes_of_type(value: ir.Value) -> int:
    """Return about how many bytes of a file say the type of a value."""
    dims = value.shape or ()
    return len(value.name or "") + 12 + sum(4 + (0 if isinstance(dim, int) else len(dim.value or "")) for dim in dims)


def _says_type(value: ir.Value) -> bool:
    return not value.is_graph_output() and (value.type is not None or value.shape is not None)
