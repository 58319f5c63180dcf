"""Which operators pass their values on: a Dropout at inference and a Cast between floating types, no other."""

from __future__ import annotations

import pytest

from normfold.files.protos.convert import to_ir
from normfold.graph.reader import GraphReader
from normfold.graph.training import passes_values
from tests.onnx_text import parse

CASES = {
    "Identity": ("y = Identity(x)", 17, True),
    "Relu": ("y = Relu(x)", 17, False),
    "Dropout": ("y = Dropout(x)", 17, True),
    "Dropout not in training": ("y = Dropout(x, r, off)", 17, True),
    "Dropout in training": ("y = Dropout(x, r, on)", 17, False),
    "Dropout that an input puts into training": ("y = Dropout(x, r, t)", 17, False),
    "Cast to double": ("d = Cast<to=11>(x) y = Identity(d)", 17, True),
    "Cast to half": ("d = Cast<to=10>(x) y = Identity(d)", 17, True),
    "Cast to integers": ("d = Cast<to=6>(x) y = Identity(d)", 17, False),
    "Cast of integers": ("y = Cast<to=1>(n)", 17, False),
    "CastLike of a float": ("d = CastLike(x, wide) y = Identity(d)", 17, True),
    "CastLike of an integer": ("d = CastLike(x, n) y = Identity(d)", 17, False),
}


@pytest.mark.parametrize("name", CASES)
def test_values_are_passed(name: str) -> None:
    nodes, opset, expected = CASES[name]
    kind = "double" if "double" in name or "of a float" in name else "float16" if "half" in name else "float"
    kind = "int32" if name in ("Cast to integers", "CastLike of an integer") else kind
    text = f"(float[2] x, bool t, int32[2] n) => ({kind}[2] y) <float r={{0.5}}, bool on={{1}}, bool off={{0}}, "
    model = to_ir(parse(f"{text} double wide={{0.0}}> {{ {nodes} }}", opset=opset))
    assert passes_values(GraphReader(model, model.graph), model.graph[0]) is expected
