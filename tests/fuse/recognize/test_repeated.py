"""Values that hold one number, and numbers of elements that a graph counts at run time."""

from __future__ import annotations

import onnx_ir as ir
import pytest

import normfold
from normfold.fuse.engine import fuse_norms
from normfold.fuse.recognize.repeated import is_sized_by, repeated_number
from normfold.graph.reader import GraphReader
from tests.onnx_text import assert_close, feeds_of, parse, run_in_float64

HEAD = "(float[N,3,4] x, float[M] other) => (float[N,3,4] y) <int64[2] last = {1, 2}, float two = {2.0}>"
NUMBERS = {
    "ConstantOfShape": ("s = Shape(x) v = ConstantOfShape<value = float[1] {3.0}>(s)", 3.0),
    "zeros": ("s = Shape(x) v = ConstantOfShape(s)", 0.0),
    "Expand and Reshape": ("s = Shape(x) e = Expand(two, s) v = Reshape(e, s)", 2.0),
    "a sum of two": ("s = Shape(x) o = ConstantOfShape<value = float[1] {3.0}>(s) v = Add(o, two)", 5.0),
    "a sum along axes of known sizes": ("s = Shape(x) e = Expand(two, s) v = ReduceSum(e, last)", 24.0),
    "a sum with data": ("v = Add(x, two)", None),
    "data": ("v = Identity(x)", None),
}


def graph_of(body: str) -> tuple[GraphReader, dict[str, ir.Value]]:
    model = ir.from_proto(parse(f"{HEAD} {{ {body} y = Identity(x) }}"))
    values = {value.name or "": value for node in model.graph for value in node.outputs}
    return GraphReader(model, model.graph, ""), values | {value.name or "": value for value in model.graph.inputs}


@pytest.mark.parametrize(("body", "number"), NUMBERS.values(), ids=NUMBERS)
def test_the_number_that_a_value_repeats(body: str, number: float | None) -> None:
    reader, values = graph_of(body)
    assert repeated_number(reader, values["v"]) == number


@pytest.mark.parametrize("source", ["x", "other"])
def test_a_size_comes_from_the_data_or_from_elsewhere(source: str) -> None:
    _, values = graph_of(f"s = Shape({source}) g = Gather<axis=0>(s, last) v = ConstantOfShape(s)")
    assert is_sized_by(values["v"], {values["x"]}) is (source == "x")


VARIANCE = (
    "(float[N,3,C] x) => (float[N,3,C] y) <float eps = {0.0009765625}, int64[1] last = {-1}>"
    "{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) q = ReduceSum(p, last) n = Size(x) k = Size(OF)"
    "a = Cast<to=1>(n) b = Cast<to=1>(k) c = Div(a, b) v = Div(q, c) w = Add(v, eps) r = Sqrt(w) i = Reciprocal(r)"
    "y = Mul(d, i) }"
)


COUNTS = [("q", "4", True), ("q", "C", True), ("x", "4", True), ("eps", "4", False), ("d", "4", True)]


@pytest.mark.parametrize(("of", "channels", "fused"), COUNTS)
def test_a_number_of_elements_is_counted_as_paddle_does(of: str, channels: str, fused: bool) -> None:
    original = parse(VARIANCE.replace("OF", of).replace("C]", f"{channels}]"))
    model = ir.from_proto(original)
    assert any(each.is_changed for each in fuse_norms(model)) is fused
    feeds = feeds_of(original)
    assert_close(run_in_float64(ir.to_proto(model), feeds), run_in_float64(original, feeds), note="float64")


@pytest.mark.parametrize(
    ("sizes", "form"),
    [
        ("a = Mul(hs, ws) c = Mul(a, two)", "InstanceNormalization"),  # was as below
        ("a = Mul(hs, ws) c = Mul(hs, hs)", "Pow-ReduceMean-Sqrt-Div"),
    ],
)
def test_a_sum_is_divided_by_sizes_that_are_multiplied_at_run_time(sizes: str, form: str) -> None:
    model = parse(
        "(float[N,4,H,W] x) => (float[N,4,H,W] y) <int64[1] two = {2}, int64[1] h = {2}, int64[1] w = {3},"
        "int64[1] n = {0}, int64[2] ends = {2, 3}, float eps = {0.001}> { sx = Shape(x)"
        f"hs = Gather(sx, h) ws = Gather(sx, w) ns = Gather(sx, n) {sizes} split = Concat<axis=0>(ns, two, two, a)"
        "r = Reshape(x, split) k = ReduceSum(r, ends) f = Cast<to=1>(c) m = Div(k, f) d = Sub(r, m)"
        "p = Mul(d, d) q = ReduceMean<axes=[2,3]>(p) e = Add(q, eps) s = Sqrt(e) o = Div(d, s) y = Reshape(o, sx) }"
    )
    result = normfold.optimize(model)
    assert [verdict.form for verdict in result.fused] == [form]
