"""The operators that an affine is written as when it stays: none, Mul, Add, one BatchNormalization, or Mul and Add."""

from __future__ import annotations

from normfold.findings.rules import Selection
from tests.fold.rows import BN8, Folds, assert_folds, every, fold, operators
from tests.onnx_text import parse

BACKWARD = {
    "two norms in a row become one": Folds(
        f"(float[N,8,5,5] x) => (float[N,8,5,5] y) <{BN8}, float[8] g2, float[8] be2, float[8] m2, "
        "float[8] var2> "
        "{ c = BatchNormalization(x, g, be, m, var) y = BatchNormalization(c, g2, be2, m2, var2) }",
        "BatchNormalization",
        "merge",
        kept="y",
    ),
    "multiply and add by channel become one batchnorm": Folds(
        "(float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8,1,1] k, float[8,1,1] t> { c = Mul(k, x) y = Add(c, t) }",
        "BatchNormalization",
        "merge",
        kept="y",
    ),
    "add and multiply on the last axis become multiply and add only where that is less": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] k, float[8] t, float[8] u> "
        "{ c = Add(x, t) d = Mul(c, k) y = Add(d, u) }",
        "Mul Add",
        "merge",
        kept="d y",
    ),
    "a norm meets another through a transpose": Folds(
        f"(float[N,8,5] x) => (float[N,5,8] y) <{BN8}, float[8] k> "
        "{ c = BatchNormalization(x, g, be, m, var) d = Transpose<perm=[0,2,1]>(c) y = Mul(d, k) }",
        "BatchNormalization Transpose",
        kept="c",
    ),
}
FOLDS = {
    "a division by what was multiplied with": Folds(
        "(float[4,4] x) => (float[4,4] y) <float[4] c> { a = Mul(x, c) b = Div(a, c) y = Relu(b) }",
        "Relu",
        "removal",
        values={"c": (0.49, 1.1, 4.9, 0.98)},
    ),
}


test_folds_backward = every(BACKWARD)
test_folds = every(FOLDS)


def test_an_input_that_only_two_scales_separate_from_an_output_keeps_its_name() -> None:
    text = (
        "(float[2,3] x) => (float[2,3] y, float[2,5] z) <float k = {2}, float j = {0.5}, float[3,5] w>"
        "{ c = Mul(x, k) y = Mul(c, j) z = MatMul(c, w) }"
    )
    assert_folds(Folds(text, "Identity MatMul", "forward merge"))


def test_no_batchnorm_is_written_where_there_was_none() -> None:
    text = "(float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8,1,1] k, float[8,1,1] l, float[8,1,1] t>"
    model = parse(text + "{ c = Mul(x, k) d = Add(c, t) y = Mul(d, l) }")
    assert operators(fold(model).model) == "BatchNormalization"
    assert operators(fold(model, Selection(new_batchnorm=False)).model) == "Mul Add"
    norm = parse(
        f"(float[N,8,5,5] x) => (float[N,8,5,5] y) <{BN8}, float[8,1,1] k>"
        "{ c = BatchNormalization(x, g, be, m, var) y = Mul(c, k) }"
    )
    assert operators(fold(norm, Selection(new_batchnorm=False)).model) == "BatchNormalization"
