"""Names that norms have by what stands around them."""

from __future__ import annotations

import pytest

import normfold
from normfold.files.protos.convert import to_ir
from normfold.fuse.recognize.surroundings import is_made_from
from normfold.graph.reader import GraphReader
from tests.fuse.recognize.test_published import NUMBERS, X3, X4
from tests.onnx_text import parse

NAMES = {
    "FilterResponseNorm with TLU": f"{X4} <{NUMBERS}, float[8,1,1] g, float[8,1,1] b, float[8,1,1] t> {{ p = Mul(x, x)"
    "m = ReduceMean<axes=[2,3]>(p) w = Add(m, eps) r = Sqrt(w) n = Div(x, r) h = Mul(n, g) k = Add(h, b)"
    "y = Max(k, t) }",
    "standardization": "(float[N,M] x) => (float[N,M] y) <float least = {0.04}> { m = ReduceMean<axes=[1]>(x)"
    "d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[1]>(p) s = Sqrt(v) t = Max(s, least) y = Div(d, t) }",
    "ScaleNorm": f"{X3} <float g = {{3.0}}> {{ l = ReduceL2<axes=[-1]>(x) n = Div(x, l) y = Mul(n, g) }}",
    "GroupNorm": f"{X4} <int64[3] groups = {{0, 4, -1}}, float[4] g = {{1, 1, 1, 1}}, float[4] b = {{0, 0, 0, 0}}>"
    "{ r = Reshape(x, groups) n = InstanceNormalization(r, g, b) s = Shape(x) y = Reshape(n, s) }",
    "AdaLN": "(float[N,6,8] x, float[N,1,8] s, float[N,1,8] t) => (float[N,6,8] y) <float eps = {0.001}>"
    "{ m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) q = ReduceMean<axes=[-1]>(p) w = Add(q, eps)"
    "r = Sqrt(w) n = Div(d, r) h = Mul(n, s) y = Add(h, t) }",
    "AdaIN": "(float[N,8,5,5] x, float[N,1,1,8] s, float[N,8,1,1] t) => (float[N,8,5,5] y) <float eps = {0.001}>"
    "{ m = GlobalAveragePool(x) d = Sub(x, m) p = Mul(d, d) q = GlobalAveragePool(p) w = Add(q, eps) r = Sqrt(w)"
    "n = Div(d, r) a = Transpose<perm=[0,2,3,1]>(n) h = Mul(a, s) k = Transpose<perm=[0,3,1,2]>(h) y = Add(k, t) }",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_seen_begins_with_the_published_name(name: str) -> None:
    (norm,) = [each for each in normfold.inspect(parse(NAMES[name])).verdicts if each.finding.is_norm]
    assert norm.finding.what.startswith(f"{name}: "), norm.finding.what


def test_what_a_value_is_made_from() -> None:
    text = "(float[4] x, float[4] z) => (float[4] y) { a = Relu(x) b = Neg(a) c = Abs(z) y = Add(b, c) }"
    model = to_ir(parse(text))
    reader = GraphReader(model, model.graph)
    named = {output.name: output for node in reader.graph for output in node.outputs}
    assert is_made_from(reader, named["y"], [named["a"]])
    assert is_made_from(reader, named["a"], [named["a"]])
    assert not is_made_from(reader, named["c"], [named["a"], named["b"]])
    assert not is_made_from(reader, named["a"], [named["y"]])
    assert not is_made_from(reader, named["y"], [])
