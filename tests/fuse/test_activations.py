"""Spelled activations: which are written again, which are left, and that the result is the same function."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.gelu import activations_of, parts_kept_together
from normfold.fuse.activations import fuse_activations
from normfold.fuse.engine import fuse_norms
from normfold.graph.reader import GraphReader
from tests.onnx_text import feeds_of, parse, run_in_ort

_X = "(float[N,5,8] x) => (float[N,5,8] y) "
_ERF = _X + (
    "<float root = {1.4142135}, float inverse = {0.70710678}, float one = {1.0}, float half = {0.5},"
    "float[1] two = {2.0}>"
)
_TANH = _X + (
    "<float c = {0.044715}, float ck = {0.0356774},"
    "float k = {0.7978845608}, float one = {1.0}, float half = {0.5}, float three = {3.0}>"
)
GELU, SPELLED = ["Gelu"], ["Div", "Erf", "Add", "Mul", "Mul"]
BY_TANH = ["Pow", "Mul", "Add", "Mul", "Tanh", "Mul", "Add", "Mul"]

REWRITTEN = [
    ("torch", _ERF + "{ a = Div(x, root) e = Erf(a) p = Add(e, one) m = Mul(half, p) y = Mul(x, m) }", 17, SPELLED),
    ("torch, newer", _ERF + "{ a = Div(x, root) e = Erf(a) p = Add(e, one) m = Mul(half, p) y = Mul(x, m) }", 20, GELU),
    ("Keras", _ERF + "{ h = Mul(x, half) a = Mul(x, inverse) e = Erf(a) p = Add(one, e) y = Mul(h, p) }", 17, SPELLED),
    ("divided", _ERF + "{ a = Div(x, root) e = Erf(a) p = Add(e, one) m = Mul(x, p) y = Div(m, two) }", 17, SPELLED),
    ("distributed", _ERF + "{ a = Div(x, root) e = Erf(a) h = Mul(x, half) m = Mul(h, e) y = Add(m, h) }", 17, SPELLED),
    ("no half", _ERF + "{ a = Div(x, root) e = Erf(a) p = Add(e, one) y = Mul(x, p) }", 17, [*SPELLED, "Mul"]),
    ("Flax", _TANH + "{ s = Mul(x, x) q = Mul(x, s) d = Mul(c, q) r = Add(x, d) u = Mul(k, r) t = Tanh(u)"
     "p = Add(one, t) h = Mul(half, p) y = Mul(x, h) }", 21, BY_TANH),
    ("half behind, tanh", _TANH + "{ q = Pow(x, three) d = Mul(q, c) s = Add(x, d) u = Mul(s, k) t = Tanh(u)"
     "p = Add(t, one) h = Mul(x, p) y = Mul(h, half) }", 17, BY_TANH),
    ("half in the middle, tanh", _TANH + "{ q = Pow(x, three) d = Mul(q, c) s = Add(x, d) u = Mul(s, k) t = Tanh(u)"
     "p = Add(t, one) h = Mul(p, half) y = Mul(x, h) }", 17, BY_TANH),
    ("distributed, tanh", _TANH + "{ q = Pow(x, three) d = Mul(q, ck) s = Mul(x, k) u = Add(s, d) t = Tanh(u)"
     "p = Add(t, one) h = Mul(x, half) y = Mul(h, p) }", 17, BY_TANH),
    ("factored, tanh", _TANH + "{ kx = Mul(x, k) cx = Mul(x, c) cxx = Mul(cx, x) o = Add(cxx, one) u = Mul(kx, o)"
     "t = Tanh(u) p = Add(t, one) h = Mul(half, x) y = Mul(h, p) }", 17, BY_TANH),
]  # fmt: skip
LEFT = [
    ("BERT", _ERF + "{ a = Div(x, root) e = Erf(a) p = Add(e, one) m = Mul(x, p) y = Mul(m, half) }", 17),
    ("BERT, half first", _ERF + "{ a = Div(x, root) e = Erf(a) p = Add(e, one) h = Mul(x, half) y = Mul(p, h) }", 17),
    ("HuggingFace, tanh", _TANH + "{ q = Pow(x, three) d = Mul(q, c) s = Add(x, d) u = Mul(s, k) t = Tanh(u)"
     "p = Add(t, one) h = Mul(x, half) y = Mul(h, p) }", 17),
    ("another root", _ERF + "{ a = Div(x, two) e = Erf(a) p = Add(e, one) m = Mul(half, p) y = Mul(x, m) }", 17),
    ("minus", _ERF + "{ a = Div(x, root) e = Erf(a) p = Sub(e, one) m = Mul(half, p) y = Mul(x, m) }", 17),
    ("no square", _TANH + "{ d = Mul(x, c) s = Add(x, d) u = Mul(s, k) t = Tanh(u) p = Add(t, one) h = Mul(x, half)"
     "y = Mul(h, p) }", 17),
    ("double", "(double[N,8] x) => (double[N,8] y) <double root = {1.414213562}, double one = {1.0},"
     "double half = {0.5}> { a = Div(x, root) e = Erf(a) p = Add(e, one) m = Mul(half, p) y = Mul(x, m) }", 17),
    ("a constant of higher rank", "(float[N,8] x) => (float[1,N,8] y) <float root = {1.4142135}, float one = {1.0},"
     "float[1,1,1] half = {0.5}> { a = Div(x, root) e = Erf(a) p = Add(e, one) m = Mul(half, p) y = Mul(x, m) }", 17),
]  # fmt: skip


def fused(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Outcome]]:
    intermediate = ir.from_proto(model)
    verdicts = fuse_activations(intermediate, Selection())
    return ir.to_proto(intermediate), [verdict.outcome for verdict in verdicts]


@pytest.mark.parametrize(
    ("text", "opset", "written"), [row[1:] for row in REWRITTEN], ids=[row[0] for row in REWRITTEN]
)
def test_an_activation_is_written_as_the_runtime_executes_it(text: str, opset: int, written: list[str]) -> None:
    model = parse(text, opset=opset)
    result, outcomes = fused(model)
    assert outcomes == [Outcome.FUSED]
    assert [node.op_type for node in result.graph.node if node.op_type != "Constant"] == written
    onnx.checker.check_model(result, full_check=True)
    feeds = feeds_of(model)
    wanted, got = (run_in_ort(each, feeds, ["y"])["y"] for each in (model, result))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-5)  # the tables of ONNX Runtime's tanh and erf differ
    assert fused(result) == (result, [])


@pytest.mark.parametrize(("text", "opset"), [row[1:] for row in LEFT], ids=[row[0] for row in LEFT])
def test_an_activation_that_is_none_or_as_it_should_be_is_left(text: str, opset: int) -> None:
    model = parse(text, opset=opset)
    result, outcomes = fused(model)
    assert not outcomes
    assert [node.op_type for node in result.graph.node] == [node.op_type for node in model.graph.node]


def test_a_value_that_is_read_elsewhere_keeps_the_spelling() -> None:
    text = REWRITTEN[0][1].replace("(float[N,5,8] y)", "(float[N,5,8] y, float[N,5,8] p)")
    assert fused(parse(text))[1] == []


def test_other_targets_keep_every_spelling_together() -> None:
    model = ir.from_proto(parse(REWRITTEN[0][1]))
    assert not fuse_activations(model, Selection(target="tensorrt"))
    reader = GraphReader(model, model.graph)
    assert len(list(parts_kept_together(reader, every_spelling=True))) == 5
    assert not list(parts_kept_together(reader, every_spelling=False))


@pytest.mark.parametrize("row", [LEFT[0], LEFT[1], LEFT[2]], ids=lambda row: row[0])
def test_the_spelling_that_is_executed_as_one_is_kept_together(row: tuple[str, str, int]) -> None:
    model = ir.from_proto(parse(row[1]))
    reader = GraphReader(model, model.graph)
    assert len(list(parts_kept_together(reader, every_spelling=False))) == len(model.graph)
    (found,) = activations_of(reader)
    assert found.is_executed_as_one


@pytest.mark.parametrize(
    ("norm", "operators"),
    [
        ("y = LayerNormalization(g, scale, shift)", [*SPELLED, "LayerNormalization"]),
        (
            "m = ReduceMean<axes=[-1]>(g) d = Sub(g, m) q = Mul(d, d) v = ReduceMean<axes=[-1]>(q) w = Add(v, c)"
            " s = Sqrt(w) n = Div(d, s) f = Mul(n, scale) y = Add(f, shift)",
            [*SPELLED, "LayerNormalization"],
        ),
    ],
)
def test_a_norm_leaves_the_half_of_a_gelu_in_front_of_it(norm: str, operators: list[str]) -> None:
    """Its own scale does not matter to a LayerNorm, but without the half the runtime does not find the Gelu."""
    weights = "float[8] scale, float[8] shift, float c = {0.00001}>"
    spelled = "{ a = Div(x, root) e = Erf(a) p = Add(e, one) h = Mul(x, p) g = Mul(h, half) "
    model = ir.from_proto(parse(f"{_ERF[:-1]}, {weights} {spelled}{norm} }}"))
    fuse_norms(model)
    assert [node.op_type for node in model.graph] == operators
