"""What a model costs: its operators and the bytes of its weights, and the inferred types that a file need not carry."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from normfold.fold.search.growth import FREE, weight_bytes
from normfold.graph.reader import graphs_of


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


def drop_inferred_types(model: ir.Model) -> None:
    """Forget, in place, the types and shapes of all values inside a model: a runtime infers them when it loads it."""
    for _, graph in graphs_of(model):
        for node in graph:
            for value in node.outputs:
                if _says_type(value):
                    value.type = value.shape = None


def _says_type(value: ir.Value) -> bool:
    return not value.is_graph_output() and (value.type is not None or value.shape is not None)
