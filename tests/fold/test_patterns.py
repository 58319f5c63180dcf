"""Small patterns in ONNX text that exact algebra shrinks, one family a file, with the number of operators it leaves.

An entry of ``patterns/*.onnxtxt`` is a line ``# name -> operators``, with ``: opset 11; domains "ai.onnx.ml":3; without
reference`` behind it where that is needed, then lines ``# weight = numbers`` for weights of its own, then the model.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from normfold.operators.shape_inference import infer_shapes
from tests.fold.rows import assert_ledger, assert_names, assert_same_algebra, assert_same_values, fold
from tests.onnx_text import parse

HEADER = re.compile(r"# (?P<name>.*) -> (?P<least>\d+)(?:: (?P<options>.*))?\n(?P<values>(?:#.*\n)*)(?P<text>[^#]*)$")
PATTERNS = {
    f"{file.stem}: {entry.splitlines()[0][2:].rpartition(' -> ')[0]}": entry
    for file in sorted(Path(__file__).with_name("patterns").glob("*.onnxtxt"))
    for entry in file.read_text().split("\n\n")
}


def read(entry: str) -> tuple[onnx.ModelProto, int, bool]:
    """Return the model of an entry, its fewest operators, and whether the reference evaluator runs it."""
    found = HEADER.match(entry)
    assert found, entry
    options = dict((*option.split(" ", 1), "")[:2] for option in (found["options"] or "").split("; "))
    lines = found["values"].replace("\n#   ", " ").splitlines()
    values = {line[2:].split(" = ")[0]: [float(n) for n in line.split(" = ")[1].split(",")] for line in lines}
    domains = options.get("domains", "")
    model = parse(found["text"], opset=int(options.get("opset", 17)), domains=domains, values=values)
    return infer_shapes(model) if domains else model, int(found["least"]), "without" not in options


def count(graph: onnx.GraphProto) -> int:
    """Return the number of operators of a graph and of the bodies in it."""
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return len(graph.node) + sum(count(body) for body in bodies)


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern(name: str) -> None:
    """At most so many operators are left, they compute the same, and every promise of a fold is kept."""
    model, least, has_reference = read(PATTERNS[name])
    result = fold(model)
    assert count(result.model.graph) <= least, [node.op_type for node in result.model.graph.node]
    assert_ledger(model, result)
    assert_names(model, result.model)
    assert_same_values(model, result.model)
    if has_reference:
        assert_same_algebra(model, result.model)
