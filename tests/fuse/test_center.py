"""LayerNorm into RMSNorm: which residual streams can lose their mean, and which operator stands in the way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import normfold
from normfold.files.protos.convert import to_ir
from normfold.findings.reason import Reason
from normfold.runtime.fused_operators import fused_operators
from tests.onnx_text import feeds_of, parse, run_in_ort

DEEP = " ".join(
    f"n{i} = LayerNormalization(x{i}, g, b) a{i} = MatMul(n{i}, q) x{i + 1} = Add(x{i}, a{i})" for i in range(4)
)
WEIGHTS = "float[8] g, float[8] b, float[8] g2, float[8] b2, float[8,8] q, float[8,8] o, float[8] ob, float[8,4] h"
BLOCK = "n = LayerNormalization(x, g, b) a = MatMul(n, q) t = Tanh(a) p = MatMul(t, o) r = Add(p, ob) z = Add(x, r)"
END = "m = LayerNormalization(z, g2, b2) y = MatMul(m, h)"

CENTERED = {
    "a table and a pre-norm block (GPT-2)": (
        f"(int64[N,6] i) => (float[N,6,4] y) <float[16,8] w, float[6,8] pos, {WEIGHTS}>"
        f"{{ e = Gather(w, i) x = Add(e, pos) {BLOCK} {END} }}"
    ),
    "a convolution into patches and a class token (ViT)": (
        f"(float[2,3,8,8] k) => (float[2,17,4] y) <float[8,3,2,2] c, float[8] cb, float[2,1,8] cls, float[1,17,8] pos,"
        f"int64[3] flat = {{2, 8, 16}}, {WEIGHTS}> {{ u = Conv<strides=[2,2]>(k, c, cb) v = Reshape(u, flat)"
        f"w = Transpose<perm=[0,2,1]>(v) j = Concat<axis=1>(cls, w) x = Add(j, pos) {BLOCK} {END} }}"
    ),
    "linear layers, one with a scale (CLIP, Whisper)": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, float s = {{0.5}}, {WEIGHTS}>"
        f"{{ u = MatMul(k, w) x = Mul(u, s) {BLOCK} {END} }}"
    ),
    "a Cast between floating types and a Dropout at inference": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, float ratio = {{0.5}}, bool train = {{0}}, {WEIGHTS}>"
        f"{{ u = MatMul(k, w) d = Dropout(u, ratio, train) e = Cast<to=11>(d) x = Cast<to=1>(e) {BLOCK} {END} }}"
    ),
    "the mean of all tokens before the last norm (BEiT)": (
        f"(float[N,6,5] k) => (float[N,4] y) <float[5,8] w, {WEIGHTS}> {{ x = MatMul(k, w) {BLOCK}"
        " p1 = ReduceMean<axes=[1], keepdims=0>(z) m = LayerNormalization(p1, g2, b2) y = MatMul(m, h) }"
    ),
    "the mean of all places before the last norm": (  # the pool was said to stand in the way
        f"(float[N,6,5] k) => (float[N,1,4] y) <float[5,8] w, {WEIGHTS}> {{ x = MatMul(k, w)"
        f" {BLOCK} t1 = Transpose<perm=[0,2,1]>(z) p1 = GlobalAveragePool(t1) q1 = Transpose<perm=[0,2,1]>(p1)"
        " m = LayerNormalization(q1, g2, b2) y = MatMul(m, h) }"
    ),
    "the scale of a layer (BEiT, DINOv2)": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, float[8] pos, {WEIGHTS}> {{ x = MatMul(k, w)"
        f" {BLOCK.replace('z = Add(x, r)', 'l = Mul(r, pos) z = Add(x, l)')} {END} }}"
    ),
    "a Gemm": (
        f"(float[N,5] k) => (float[N,4] y) <float[8,5] w, float[8] wb, {WEIGHTS}>"
        f"{{ x = Gemm<transB=1>(k, w, wb) {BLOCK} {END} }}"
    ),
}


@pytest.mark.parametrize("text", CENTERED.values(), ids=CENTERED)
def test_no_layernorm_is_left(text: str) -> None:
    original = parse(text)
    result = normfold.optimize(original, center=True)
    kinds = Counter(node.op_type for node in result.model.graph.node)
    assert not kinds["LayerNormalization"]
    assert kinds["RMSNormalization"] == 2
    assert [each.rule for each in result.verdicts if each.finding.operator == "LayerNormalization"] == ["center"] * 2
    feeds = feeds_of(original)
    got, wanted = run_in_ort(result.model, feeds, ["y"]), run_in_ort(original, feeds, ["y"])
    np.testing.assert_allclose(got["y"], wanted["y"], rtol=1e-4, atol=1e-5)


LATE = {
    "an activation of the stem (Whisper)": "u = MatMul(k, w) x0 = Relu(u)",
    "a LayerNorm of the embeddings (CLIP, RobertaPreLayerNorm)": "u = MatMul(k, w) x0 = LayerNormalization(u, g, b)",
}


@pytest.mark.parametrize("stem", LATE.values(), ids=LATE)
def test_the_mean_of_what_is_not_linear_is_subtracted_at_run_time(stem: str) -> None:
    original = parse(
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, {WEIGHTS}>"
        f"{{ {stem} {DEEP} m = LayerNormalization(x4, g2, b2) y = MatMul(m, h) }}"
    )
    result = normfold.optimize(original, center=True)
    kinds = Counter(node.op_type for node in result.model.graph.node)
    assert not kinds["LayerNormalization"]
    assert (kinds["ReduceMean"], kinds["Sub"]) == (1, 1)
    feeds = feeds_of(original)
    got, wanted = run_in_ort(result.model, feeds, ["y"]), run_in_ort(original, feeds, ["y"])
    np.testing.assert_allclose(got["y"], wanted["y"], rtol=1e-4, atol=1e-5)


def test_the_mean_is_subtracted_behind_a_whole_gelu() -> None:
    gelu = "u = MatMul(k, w) d = Div(u, root) e = Erf(d) f = Add(e, one) v = Mul(u, f) x0 = Mul(v, half)"
    original = parse(
        "(float[N,6,5] k) => (float[N,6,4] y) <float root = {1.4142135}, float one = {1.0}, float half = {0.5},"
        f" float[5,8] w, {WEIGHTS}> {{ {gelu} {DEEP} m = LayerNormalization(x4, g2, b2) y = MatMul(m, h) }}"
    )
    result = normfold.optimize(original, center=True)
    assert "LayerNormalization" not in {node.op_type for node in result.model.graph.node}
    assert [each.operator for each in fused_operators(to_ir(result.model)) or ()].count("Gelu") == 1


STREAM = f"u = MatMul(k, w) x = Identity(u) {BLOCK}"
KEPT = {
    "post-norm, as in BERT": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, {WEIGHTS}> {{ u = MatMul(k, w)"
        "x = LayerNormalization(u, g, b) a = MatMul(x, q) t = Tanh(a) p = MatMul(t, o) r = Add(x, p)"
        "z = Identity(r) m = LayerNormalization(z, g2, b2) y = MatMul(m, h) }",
        "LayerNormalization writes the stream",
    ),
    "the stream is read without a norm": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, {WEIGHTS}> {{ {STREAM} f = Tanh(z) {END} }}".replace(
            "y = MatMul(m, h)", "l = Add(m, f) y = MatMul(l, h)"
        ),
        "Tanh reads the stream",
    ),
    "an activation writes the stream": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, {WEIGHTS}>"
        f"{{ u = MatMul(k, w) x = Relu(u) {BLOCK} {END} }}",
        "Relu writes the stream",
    ),
    "a Cast to integers rounds the stream": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, {WEIGHTS}>"
        f"{{ u = MatMul(k, w) i = Cast<to=6>(u) x = Cast<to=1>(i) {BLOCK} {END} }}",
        "Cast writes the stream",
    ),
    "a Dropout in training writes the stream": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, float ratio = {{0.5}}, bool train = {{1}}, {WEIGHTS}>"
        f"{{ u = MatMul(k, w) x = Dropout(u, ratio, train) {BLOCK} {END} }}",
        "Dropout writes the stream",
    ),
    "a Cast to integers reads the stream": (
        f"(float[N,6,5] k) => (float[N,6,4] y) <float[5,8] w, {WEIGHTS}>"
        f"{{ {STREAM} i = Cast<to=6>(z) f = Cast<to=1>(i) {END} }}".replace(
            "y = MatMul(m, h)", "l = Add(m, f) y = MatMul(l, h)"
        ),
        "Cast reads the stream",
    ),
    "the stream is an output": (
        f"(float[N,6,5] k) => (float[N,6,4] y, float[N,6,8] z) <float[5,8] w, {WEIGHTS}> {{ {STREAM} {END} }}",
        "is an output of the graph",
    ),
    "the stream is an input": (
        f"(float[N,6,8] x) => (float[N,6,4] y) <{WEIGHTS}> {{ {BLOCK} {END} }}",
        "comes from outside",
    ),
}


@pytest.mark.parametrize(("text", "detail"), KEPT.values(), ids=KEPT)
def test_what_stands_in_the_way_is_named(text: str, detail: str) -> None:
    original = parse(text)
    verdicts = normfold.inspect(original, center=True).verdicts
    reasons = [obstacle for each in verdicts for obstacle in each.obstacles if obstacle.reason is Reason.NOT_CENTERED]
    assert reasons and any(detail in obstacle.detail for obstacle in reasons), [str(each) for each in reasons]


def test_without_the_option_nothing_is_centered() -> None:
    result = normfold.optimize(parse(CENTERED["a Gemm"]))
    assert Counter(node.op_type for node in result.model.graph.node)["LayerNormalization"] == 2
