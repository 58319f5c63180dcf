"""Where a rule ends: what lies on its border stays what it computes, for every size of a symbolic dimension."""

from __future__ import annotations

import onnx
import pytest

import normfold
from normfold.files.convert import to_ir, to_proto
from normfold.fold.cleanup.tidy import tidy
from tests.fold.rows import fold, operators
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort

AFTER = "float[4,5] w"
HALVES = "float[1,4] c={0.5,0.5,0.5,0.5}"
# name: (text, operators left, opset)
EDGES = {
    "a constant of equal numbers gives a maximum its shape": (
        f"(float[N,1] x) => (float[N,5] y) <{HALVES}, float k={{2.5}}, {AFTER}> "
        "{ a = Mul(x, k) b = Max(a, c) y = MatMul(b, w) }",
        "Max MatMul",
        17,
    ),
    "a fill of equal numbers gives a choice its shape": (
        f"(bool[N,1] q, float[N,1] x) => (float[N,5] y) <{HALVES}, float k={{2.5}}, {AFTER}> "
        "{ a = Mul(x, k) b = Where(q, a, c) y = MatMul(b, w) }",
        "Where MatMul",
        17,
    ),
    "a constant gives a maximum its rank": (
        "(float[N,4] x) => (float[1,N,4] y) <float[1,1,1] c={0.5}, float k={2.5}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Max(a, c) y = Mul(b, k) }",
        "MatMul Max",
        17,
    ),
    "an exponent gives a power its rank": (
        "(float[N,4] x) => (float[1,N,4] y) <float[1,1,1] p={2}, float[4] pos, float[4,4] w> "
        "{ a = MatMul(x, w) b = Pow(a, p) y = Mul(b, pos) }",
        "MatMul Pow Mul",
        17,
    ),
    "Einsum of one, backward": (
        "(float[N,4] x) => (float[4,N] y) <float[4,4] w, float k={2.5}> "
        '{ a = MatMul(x, w) b = Einsum<equation="ij->ji">(a) y = Mul(b, k) }',
        "MatMul Einsum",
        17,
    ),
    "Einsum of one, forward": (
        "(float[N,4] x) => (float[N,5] y) <float[4] s, float[4,5] w> "
        '{ a = Mul(x, s) b = Einsum<equation="ij->ji">(a) c = Transpose<perm=[1,0]>(b) y = MatMul(c, w) }',
        "Einsum Transpose MatMul",
        17,
    ),
    "Einsum of three, beside a constant": (
        "(float[N,4] x, float[4,5] p) => (float[N,5] y) <float[4,4] w, float k={2.5}> "
        '{ a = Einsum<equation="ij,jk,kl->il">(x, w, p) y = Mul(a, k) }',
        "Einsum",
        17,
    ),
    "sums of Einsum of three": (
        "(float[N,4] x, float[4,5] p, float[4,5] q) => (float[N,5] y) <float[4,4] w, float[4,4] v> "
        '{ a = Einsum<equation="ij,jk,kl->il">(x, w, p) b = Einsum<equation="ij,jk,kl->il">(x, v, q) y = Add(a, b) }',
        "Einsum Einsum Add",
        17,
    ),
    "bounds the wrong way round": (
        "(float[N,4] x) => (float[N,4] y) <float lo={1}, float hi={-1}, float k={-2}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Clip(a, lo, hi) y = Mul(b, k) }",
        "MatMul Clip Mul",
        17,
    ),
    "a norm of no axes": (
        "(float[N,4] x) => (float[N,5] y) <float k={-2}, float[4,5] w> "
        "{ a = Mul(x, k) b = ReduceL1<noop_with_empty_axes=1>(a) y = MatMul(b, w) }",
        "Mul ReduceL1 MatMul",
        18,
    ),
    "an addend of lower rank lacks a scale": (
        "(float[N,3,4] x, float[3,4] z) => (float[N,3,5] y) <float[4] s, float[4,4] v, float[4,5] w> "
        "{ a = Mul(z, s) b = MatMul(x, v) c = Add(a, b) y = MatMul(c, w) }",
        "MatMul Add MatMul",
        17,
    ),
    "an addend of lower rank lacks a scale, the other is reshaped": (
        "(float[N,12] x, float[3,4] z) => (float[N,3,5] y) <float[4] s, float[12,12] v, int64[3] i={-1,3,4}, "
        "float[4,5] w> { a = Mul(z, s) b = MatMul(x, v) r = Reshape(b, i) c = Add(a, r) y = MatMul(c, w) }",
        "MatMul Reshape Add MatMul",
        17,
    ),
    "no bound, written as a number that float32 rounds down": (
        "(float[N,4] x) => (float[N,4] y) <float lo={0}, float hi={3.4e38}, float k={2}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Clip(a, lo, hi) y = Mul(b, k) }",
        "MatMul Clip",
        17,
    ),
    "a bound that would leave its type": (
        "(float[N,4] x) => (float[N,4] y) <float lo={-1}, float hi={3e38}, float k={2}, float[4,4] w> "
        "{ a = MatMul(x, w) b = Clip(a, lo, hi) y = Mul(b, k) }",
        "MatMul Clip Mul",
        17,
    ),
    "a slice that begins before the front": (
        "(float[N,4] x) => (float[N,1] y) <float[4] s, float[1,1] w, int64[1] b={-10}, int64[1] e={-100}, "
        "int64[1] i={1}, int64[1] p={-1}> { a = Mul(x, s) c = Slice(a, b, e, i, p) y = MatMul(c, w) }",
        "Slice MatMul",
        17,
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_every_edge_stays_equal_at_every_size(name: str) -> None:
    text, left, opset = EDGES[name]
    model = parse(text, opset=opset)
    folded = fold(model).model
    assert operators(folded) == left
    for size in (1, 2, 3):
        feeds = feeds_of(model, symbolic=size)
        assert_close(run_in_ort(model, feeds, ["y"]), run_in_ort(folded, feeds, ["y"]), note=name)


def test_a_dropout_of_old_stays_unless_it_is_tested() -> None:
    text = "(float[N,4] x) => (float[N,4] y) {{ a = Dropout{}(x) y = Relu(a) }}"
    told, untold = (to_ir(parse(text.format(setting), opset=6)) for setting in ("<is_test=1>", ""))
    tidy(told)
    tidy(untold)
    assert operators(to_proto(told)) == "Relu"
    assert operators(to_proto(untold)) == "Dropout Relu"


CONSTANTS = {
    "integers of a power": "<int64[4] c={2,3,4,5}, float h={0.5}, float[4,4] w> { a = Pow(c, h) s = Cast<to=1>(a) ",
    "integers of a mean": "<int64[4] c={2,3,4,6}, float[4,4] w> { a = ReduceMean(c) s = Cast<to=1>(a) ",
    "a product cut to integers": (
        "<float[4] c={0.7,0.1,0.3,0.6}, float t={10}, float[4,4] w> "
        "{ a = Mul(c, t) b = Cast<to=7>(a) s = Cast<to=1>(b) "
    ),
    "a product that is compared": (
        "<float[4] c={0.7,0.1,0.3,0.6}, float[4] d={7,1,3,6}, float t={10}, float[4,4] w> "
        "{ a = Mul(c, t) b = Equal(a, d) s = Where(b, c, d) "
    ),
    "axes of nothing": "<float[4] c, int64[0] i={}, float[4,4] w> { s = ReduceSum(c, i) ",
    "large integers": (
        "<int64[1] c={9007199254740993}, int64[1] d={1}, int64[1] e={9007199254740992}, float[4,4] w> "
        "{ a = Div(c, d) b = Sub(a, e) s = Cast<to=1>(b) "
    ),
}


@pytest.mark.parametrize("simplify", [True, False])
@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_what_the_runtime_makes_of_them(name: str, simplify: bool) -> None:
    model = parse(f"(float[N,4] x) => (float[N,4] y) {CONSTANTS[name]} k = MatMul(x, w) y = Mul(k, s) }}")
    folded = normfold.optimize(model, verify=False, onnxsim=simplify).model
    assert operators(folded) == "MatMul"
    feeds = feeds_of(model)
    assert_close(run_in_ort(model, feeds, ["y"]), run_in_ort(folded, feeds, ["y"]), note=name)


def test_operators_that_read_a_parameter_of_their_function_are_compared_by_its_name() -> None:
    text = """<ir_version: 8, opset_import: ["":17, "own":1]> g (float[N,4] x) => (float[N,4] y)
        { y = own.f<p=0.2, q=0.3>(x) }
        <domain: "own", opset_import: ["":17]> f <p, q> (x) => (y) {
        a = LeakyRelu<alpha: float = @p>(x) b = LeakyRelu<alpha: float = @p>(x) c = LeakyRelu<alpha: float = @q>(x)
        d = Add(a, b) y = Sub(d, c) }"""
    model = onnx.parser.parse_model(text)
    folded = fold(model).model
    assert [node.op_type for node in folded.functions[0].node] == ["LeakyRelu", "LeakyRelu", "Add", "Sub"]
    feeds = feeds_of(model)
    assert_close(run_in_ort(model, feeds, ["y"]), run_in_ort(folded, feeds, ["y"]), note="function")
