"""Count what is left in a model file: norms, operators, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from normfold.findings.rules import Selection
from normfold.findings.verdict import Finding
from normfold.fuse.engine import find_norms
from normfold.fuse.recognize.norm_operators import NORM_OPERATORS


@dataclass(frozen=True)
class Census:
    """What a file has: BatchNormalizations, norms spelled as several operators, operators, bytes of all its files.

    Operators are counted in every graph and function; Constant nodes are data and do not count.
    """

    batchnorms: int
    decomposed: int
    operators: int
    size: int

    @property
    def norms(self) -> int:
        """All norms that are left, of both kinds."""
        return self.batchnorms + self.decomposed


def count(path: Path) -> Census:
    """Return the census of a file. Its external data count as bytes and are not read."""
    model = onnx.load(path, load_external_data=False)
    operators = Counter(node.op_type for node in every_node(model))
    return Census(
        batchnorms=operators["BatchNormalization"],
        decomposed=sum(map(is_decomposed, find_norms(ir.load(path), Selection()))),
        operators=operators.total() - operators["Constant"],
        size=size_of(path, model),
    )


def is_decomposed(finding: Finding) -> bool:
    """Return whether a norm is spelled as several operators, none of which is a norm itself."""
    _, _, operators = finding.what.partition("decomposed as ")
    return bool(operators) and not any(operator in operators.partition(";")[0] for operator in NORM_OPERATORS)


def every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of the graph, of its subgraphs and of the model's functions."""
    for function in model.functions:
        yield from _nodes(function.node)
    yield from _nodes(model.graph.node)


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def size_of(path: Path, model: onnx.ModelProto) -> int:
    """Return the bytes of a model file and of the files that hold its external data."""
    locations = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    files = [path, *(path.parent / name for name in locations)]
    return sum(file.stat().st_size for file in files if file.exists())
