"""How large a model is: its operators by type, its weights in elements and bytes, its opset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from normfold.findings.verdict import Verdict

if TYPE_CHECKING:  # a report that comes from the cache is shown without loading onnx
    import onnx_ir as ir


@dataclass(frozen=True)
class Statistics:
    """Sizes of a model: nodes by operator (subgraphs and functions included), weight elements and bytes, opset."""

    operators: tuple[tuple[str, int], ...]
    parameters: int
    weight_bytes: int
    opset: int

    @property
    def nodes(self) -> int:
        """How many operators there are in all. Constant is not counted: it does nothing when the model runs."""
        return sum(count for operator, count in self.operators if operator != "Constant")


def statistics(model: ir.Model) -> Statistics:
    """Count a model. Constant nodes count as weights, so that two spellings of one model have equal sizes."""
    operators = Counter(node.op_type for node in _nodes(model))
    sizes = [(prod(tensor.shape.numpy()), tensor.nbytes) for tensor in _weights(model)]
    return Statistics(
        tuple(sorted(operators.items())),
        sum(count for count, _ in sizes),
        sum(size for _, size in sizes),
        model.opset_imports.get("", 0),
    )


def op_types(verdicts: Iterable[Verdict], *models: ir.Model) -> dict[str, str]:
    """Return the type of each operator that took over a finding, by its name."""
    from normfold.graph.display_names import name_of

    wanted = {name for verdict in verdicts for name in verdict.into}
    nodes = ((name_of(node), node) for model in models if wanted for node in _nodes(model))
    return {name: node.op_type for name, node in nodes if name in wanted}


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.graph.all_nodes()


def _weights(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    import onnx_ir as ir

    for graph in (model.graph, *model.graph.subgraphs()):
        tensors = (value.const_value for value in graph.initializers.values())
        yield from (tensor for tensor in tensors if tensor is not None and tensor.dtype != ir.DataType.STRING)
    for node in _nodes(model):
        attribute = node.attributes.get("value") if node.op_type == "Constant" else None
        if isinstance(attribute, ir.Attr) and attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
            tensor = attribute.as_tensor()
            if tensor.dtype != ir.DataType.STRING:
                yield tensor
