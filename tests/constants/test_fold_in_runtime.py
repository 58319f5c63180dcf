"""Constants that the runtime computes: which are stored, and which are left as they are."""

from __future__ import annotations

import pytest

import normfold
from normfold.graph import reader
from tests.fold.rows import assert_sound, fold, operators
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort

STORED = {
    "softmax of stored logits next to a weight": (
        "(float[N,3,8,8] x) => (float[N,4,6,6] y) <float[4,3,3,3] v, float[3] a, float[4,1,1] k, int64[4] q={1,3,1,1}> "
        "{ s = Softmax(a) u = Reshape(s, q) w = Mul(v, u) c = Conv(x, w) y = Mul(c, k) }",
        "Conv",
    ),
    "rows scattered into a table": (
        "(int64[N] x) => (float[N,4] y) <float[5,4] t, int64[2,1] i={0,3}, float[2,4] u, float[4] k> "
        "{ s = ScatterND(t, i, u) g = Gather(s, x) y = Mul(g, k) }",
        "Gather",
    ),
    "halves of a weight": (
        "(float[N,3] x) => (float[N,2] y) <float[3,4] w, int64[2] p={2,2}, float[2] k> "
        "{ a, b = Split<axis=1>(w, p) d = Add(a, b) c = MatMul(x, d) y = Mul(c, k) }",
        "MatMul",
    ),
}
LEFT = {
    "numbers drawn at random": (
        "(float[N,3] x) => (float[N,3] y) <float[3] t> { r = RandomNormalLike(t) a = Add(x, r) y = Relu(a) }",
        "RandomNormalLike Add Relu",
    ),
    "a weight that is quantized": (
        "(float[N,3] x) => (float[N,2] y) <int8[3,2] q, float s={0.1}> { w = DequantizeLinear(q, s) y = MatMul(x, w) }",
        "DequantizeLinear MatMul",
    ),
    "what would be much larger": (
        "(float[N,300] x) => (float[N,300,300] y) <float[300] t, int64[1] a={2}> "
        '{ e = Einsum<equation="i,j->ij">(t, t) u = Unsqueeze(x, a) y = Mul(u, e) }',
        "Einsum Unsqueeze Mul",
    ),
}


def test_what_constant_texts_say_is_stored() -> None:
    model = parse(
        """(float[N,4] x) => (float[N,4] y) <float[4,4] w, float[4] k, string[1] text = {"axb"}> {
        m = RegexFullMatch<pattern = "a.*b">(text) f = Cast<to=1>(m) a = Add(x, f) h = MatMul(a, w) y = Mul(h, k) }""",
        opset=20,
    )
    assert operators(assert_sound(model, same_decisions_in_float64=False).model) == "Gemm"


@pytest.mark.parametrize("name", STORED)
def test_what_is_stored(name: str) -> None:
    text, left = STORED[name]
    assert operators(assert_sound(parse(text), same_decisions_in_float64=False).model) == left


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left(name: str) -> None:
    text, left = LEFT[name]
    assert operators(fold(parse(text)).model) == left


def test_what_takes_long_to_compute_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "(float[N,1] x) => (float[N,128] y) <float[128,128] t> { s = Softmax(t) m = MatMul(s, t) y = MatMul(x, m) }"
    assert operators(fold(parse(text.replace("N,1]", "N,128]"))).model) == "MatMul"
    monkeypatch.setattr(reader, "MOST_COMPUTED", -(10**9))
    assert operators(fold(parse(text.replace("N,1]", "N,128]"))).model) == "Softmax MatMul MatMul"


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
