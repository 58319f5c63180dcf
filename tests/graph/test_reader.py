"""A number that an operator needs is one element; what has more or none is a refusal with its reason."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

import normfold
from normfold.files.protos.convert import to_ir, to_proto
from normfold.findings.reason import Reason, Refusal
from normfold.graph import reader as module
from normfold.graph.reader import GraphReader, count_uses
from tests.onnx_text import parse


def _clip(lowest: list[float] | float) -> tuple[GraphReader, ir.Node]:
    x = ir.val("x", ir.DataType.FLOAT, ["N"])
    low = ir.Value(name="low", const_value=ir.tensor(np.asarray(lowest, np.float32)))
    node = ir.node("Clip", [x, low])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[low], opset_imports={"": 17})
    return GraphReader(ir.Model(graph, ir_version=8), graph), node


@pytest.mark.parametrize("lowest", [0.5, [0.5]])
def test_a_number_has_one_element(lowest: list[float] | float) -> None:
    reader, clip = _clip(lowest)
    assert reader.require_number(clip, 1, Reason.DYNAMIC_PARAMETERS) == 0.5


@pytest.mark.parametrize("lowest", [[], [0.5, 1.0]])
def test_what_is_no_number_is_refused(lowest: list[float]) -> None:
    reader, clip = _clip(lowest)
    with pytest.raises(Refusal) as refused:
        reader.require_number(clip, 1, Reason.DYNAMIC_PARAMETERS)
    assert refused.value.obstacle.reason is Reason.DYNAMIC_PARAMETERS
    assert f"{len(lowest)} elements" in refused.value.obstacle.detail


def test_constants_that_are_made_of_little_are_few_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each counts once, however often it is asked for; one that is too large does not stand in the way of others."""
    monkeypatch.setattr(module, "MOST_COMPUTED", 20_000)
    text = "a = Expand(n, large) b = Expand(n, small) c = Neg(b) d = Expand(n, small) y = Sum(a, b, c, d, x)"
    sizes = "float[1] n = {2.0}, int64[2] large = {200, 200}, int64[2] small = {80, 80}"
    model = to_ir(parse(f"(float[N,1] x) => (float[N,80] y) <{sizes}> {{ {text} }}"))
    for _ in range(2):
        reader = GraphReader(model, model.graph)
        found = {value.name: reader.constant(value) for node in model.graph for value in node.outputs}
        assert [name for name, array in found.items() if array is not None] == ["b", "c", "d"]


def test_a_product_counts_by_what_it_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COMPUTED", 100_000)
    text = "a = Expand(n, to) b = MatMul(a, a) y = Sum(b, x)"
    model = to_ir(
        parse(f"(float[N,1] x) => (float[N,200] y) <float[1] n = {{2.0}}, int64[2] to = {{200, 200}}> {{ {text} }}")
    )
    expand, product, _ = model.graph
    reader = GraphReader(model, model.graph)
    assert reader.constant(expand.outputs[0]) is not None
    assert reader.constant(product.outputs[0]) is None


def test_a_quantized_weight_that_is_too_large_to_compute_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_COMPUTED", 1000)
    text = "a = Expand(n, to) w = DequantizeLinear(a, s) y = MatMul(x, w)"
    sizes = "int8[1] n = {2}, int64[2] to = {200, 200}, float s = {0.5}"
    model = to_ir(parse(f"(float[N,200] x) => (float[N,200] y) <{sizes}> {{ {text} }}"))
    reader = GraphReader(model, model.graph)
    assert reader.weight(model.graph.node(1).outputs[0]) is None
    assert normfold.optimize(to_proto(model), verify=False)


def test_uses_are_counted_with_each_input() -> None:
    model = to_ir(parse("(float[N] x) => (float[N] y) { a = Add(x, x) y = Mul(a, x) }"))
    assert [count_uses(value) for value in (*model.graph.inputs, *model.graph.outputs)] == [3, 0]
