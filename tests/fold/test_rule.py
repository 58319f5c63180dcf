"""What a refusal says: the operator in the way by the name it came with, and the figures of what failed."""

from __future__ import annotations

import pytest

from normfold.files.protos.convert import to_ir
from normfold.fold.engine import fold_affines
from tests.fold.rows import assert_ledger, fold
from tests.onnx_text import parse

BN = "float[4] g, float[4] be, float[4] m, float[4] var"
NORM = "c = BatchNormalization(x, g, be, m, var)"


def ahead(shape: str, behind: str, weights: str = "float one", more: str = "") -> str:
    """Text in which a BatchNormalization makes c of x [N,4,6,6], and ``behind`` makes y of c."""
    return f"(float[N,4,6,6] x{more}) => (float[{shape}] y) <{BN}, {weights}> {{ {NORM} {behind} }}"


# Text, and what is said of its first affine.
SAYS = {
    "zero padding, and no channel to carry it": (
        ahead("N,5,6,6", "y = Conv<pads=[1,1,1,1]>(c, w)", "float[5,4,3,3] w"),
        "at y (pads [1, 1, 1, 1]; as one more channel: no convolution before it at c)",
    ),
    "the axis that is normalized": (
        ahead("N,4,6,6", "y = LayerNormalization<axis=1>(c, k)", "float[4,6,6] k"),
        "at y (it varies along axis 1, which is normalized)",
    ),
    "how many are negative": (
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,1,1] k = {1, -1, 2, -2}> { c = Mul(x, k) y = Relu(c) }",
        "at y (Relu; 2 of 4 are negative)",
    ),
    "the axis that a product sums": (
        ahead("N,4,6,6", "d = Transpose<perm=[0,2,3,1]>(c) y = MatMul(d, z)", more=", float[N,6,4,6] z"),
        "at y (a product takes a scale only; 4 of 4 have one)",
    ),
    "the axis of a scale that a product sums": (
        "(float[N,5,4] x, float[N,4,3] z) => (float[N,5,3] y) <float[4] k>"
        " { c = Mul(x, k) d = Relu(z) y = MatMul(c, d) }",
        "at y (it varies along axis 2, which is summed)",
    ),
    "the size that is broadcast": (
        "(float[N,1,6] x, float[N,5,6] z) => (float[N,5,6] y) <float[5,1] k>"
        " { a = Relu(x) c = Add(a, z) y = Mul(c, k) }",
        "at c (a of size 1 is broadcast along axis 1)",
    ),
    "the input where the way back ends": (
        "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float[4] k> { a = Add(x, z) c = Mul(a, k) y = Relu(c) }",
        "at a (input x)",
    ),
    "the reader that needs it unchanged": (
        "(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z)"
        f" <float[4,3,1,1] w, {BN}> {{ a = Conv(x, w) c = BatchNormalization(a, g, be, m, var) y = Relu(c)"
        " z = Tanh(a) }",
        "at z (it reads a)",
    ),
    "what training mode is": (
        f"(float[N,4,6,6] x) => (float[N,4,6,6] y) <{BN}>"
        " { c, p, q = BatchNormalization<training_mode=1>(x, g, be, m, var) y = Relu(c) }",
        "at c (training_mode is 1)",
    ),
    "an override by its name": (
        "(float[N,4] x, float[4] k) => (float[N,4] y) <float[4] k = {1,2,3,4}> { c = Mul(x, k) y = Relu(c) }",
        "at c (initializer k)",
    ),
    "the channels of a pixel shuffle": (
        ahead("N,1,12,12", "d = DepthToSpace<blocksize=2>(c) y = Conv(d, w)", "float[1,1,1,1] w"),
        "at d (it varies along axis 1 inside the 4 channels of a block)",
    ),
    "the sum that its branches stand in": (
        "(float[N,5,6] x) => (float[N,5,6] y) <float[6] k> { c = Add(x, k) y = Add(c, x) }",
        "branches: NF125 folding it would cost more operators or multiply-adds than it saves at y",
    ),
}


@pytest.mark.parametrize(("text", "said"), SAYS.values(), ids=SAYS)
def test_a_refusal_says(text: str, said: str) -> None:
    verdict = fold_affines(to_ir(parse(text, opset=17)))[0]
    assert said in " | ".join(map(str, verdict.obstacles))


# These refusals once named no operator, or no axes where axes are in the way: assert_ledger.
NAMES_ITS_OPERATOR = {
    "LRN": "b = LRN<size=3>(a)",
    "Selu": "c = Selu(a) b = Mul(c, s)",
    "DFT": "c = Unsqueeze(a, i) d = DFT(c) b = Abs(d)",
}


@pytest.mark.parametrize("name", NAMES_ITS_OPERATOR)
def test_a_refusal_names_its_operator_and_axes(name: str) -> None:
    head = "(float[N,4,3] x) => (float y) <float[4,1] s, int64[1] i = {3}>"
    text = f"{head} {{ a = Mul(x, s) {NAMES_ITS_OPERATOR[name]} y = ReduceMax<keepdims=0>(b) }}"
    model = parse(text, opset=17)
    assert_ledger(model, fold(model))
