"""Zeros of a Pad go into the operators behind it, where these do the same with padding of their own."""

from __future__ import annotations

import pytest

from normfold.files.protos.convert import to_ir
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.engine import fold_affines
from tests.fold.rows import Folds, assert_folds, every, fold, model_of, operators
from tests.onnx_text import parse

PADS = "int64[8] p = {0, 0, 0, 1, 0, 0, 1, 2}"
KERNEL = "float[4,3,3,3] w"


def padded(
    shape: str, behind: str, weights: str = f"{KERNEL}, {PADS}", pad: str = "c = Pad(x, p)", more: str = ""
) -> str:
    """Text in which ``pad`` makes c of x [N,3,6,6], by default one row and three columns larger."""
    return f"(float[N,3,6,6] x) => (float[{shape}] y{more}) <{weights}> {{ {pad} {behind} }}"


FOLDS = {
    "a convolution": Folds(padded("N,4,5,7", "y = Conv(c, w)"), "Conv", "forward"),
    "one with padding of its own": Folds(
        padded("N,4,3,4", "y = Conv<pads=[0,1,0,0], strides=[2,2]>(c, w)"), "Conv", "forward"
    ),
    "one that says VALID": Folds(padded("N,4,5,7", 'y = Conv<auto_pad="VALID">(c, w)'), "Conv", "forward"),
    "two of them": Folds(
        padded(
            "N,4,5,7", "d = Conv(c, w) e = Conv(c, u) f = Relu(d) y = Add(e, f)", f"{KERNEL}, float[4,3,3,3] u, {PADS}"
        ),
        "Conv Conv Relu Add",
        "forward",
    ),
    "one behind another Pad": Folds(padded("N,4,6,10", "d = Pad(c, p) y = Conv(d, w)"), "Conv", "forward"),
    "pads by axis": Folds(
        padded(
            "N,4,4,7", "y = Conv(c, w)", f"{KERNEL}, int64[2] p = {{1, 2}}, int64[1] a = {{-1}}", "c = Pad(x, p, , a)"
        ),
        "Conv",
        "forward",
        opset=18,
    ),
    "attributes of opset 2": Folds(
        padded("N,4,5,7", "y = Conv(c, w)", KERNEL, "c = Pad<pads=[0,0,0,1,0,0,1,2]>(x)"), "Conv", "forward", opset=10
    ),
    "channels last": Folds(
        "(float[N,6,6,3] x) => (float[N,4,5,7] y) <float[4,3,3,3] w, int64[8] p = {0, 0, 1, 0, 0, 1, 2, 0}>"
        " { a = Relu(x) c = Pad(a, p) d = Transpose<perm=[0,3,1,2]>(c) y = Conv(d, w) }",
        "Relu Transpose Conv",
        "forward",
    ),
    "an average": Folds(padded("N,3,5,7", "y = AveragePool<kernel_shape=[3,3]>(c)", PADS), "AveragePool", "forward"),
    "an average that counts its padding": Folds(
        padded("N,3,6,7", "y = AveragePool<kernel_shape=[3,3], pads=[1,0,0,0], count_include_pad=1>(c)", PADS),
        "AveragePool",
        "forward",
    ),
    "a maximum of what is not negative": Folds(
        padded("N,3,5,7", "y = MaxPool<kernel_shape=[3,3]>(c)", PADS, "a = Relu(x) c = Pad(a, p)"),
        "Relu MaxPool",
        "forward",
    ),
    "which lets branches be one": Folds(
        padded(
            "N,4,6,6",
            "d = Conv(c, w) e = Conv(x, u) y = Add(d, e)",
            f"{KERNEL}, float[4,3,1,1] u, int64[8] p = {{0, 0, 1, 1, 0, 0, 1, 1}}",
        ),
        "Conv",
        "forward branches",
    ),
}
STAYS = {
    "a maximum": padded("N,3,5,7", "y = MaxPool<kernel_shape=[3,3]>(c)", PADS),
    "a maximum whose windows may be all padding": padded(
        "N,3,6,8", "y = MaxPool<kernel_shape=[2,2]>(c)", PADS, "a = Relu(x) c = Pad(a, p)"
    ),
    "an average that does not count its own": padded(
        "N,3,6,7", "y = AveragePool<kernel_shape=[3,3], pads=[1,0,0,0]>(c)", PADS
    ),
    "an average rounded up": padded(
        "N,3,3,4", "y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(c)", PADS
    ),
    "another value": padded("N,4,5,7", "y = Conv(c, w)", f"{KERNEL}, {PADS}, float v = {{1}}", "c = Pad(x, p, v)"),
    "another mode": padded("N,4,5,7", "y = Conv(c, w)", pad='c = Pad<mode="edge">(x, p)'),
    "channels": padded("N,4,4,4", "y = Conv(c, w)", "float[4,5,3,3] w, int64[8] p = {0, 2, 0, 0, 0, 0, 0, 0}"),
    "cut": padded("N,4,5,3", "y = Conv(c, w)", f"{KERNEL}, int64[8] p = {{0, 0, 0, -1, 0, 0, 1, 0}}"),
    "an output": padded("N,4,5,7", "y = Conv(c, w)", more=", float[N,3,7,9] c"),
    "another reader": padded("N,4,5,7", "y = Conv(c, w) z = Sigmoid(c)", more=", float[N,3,7,9] z"),
    "SAME": padded("N,4,7,9", 'y = Conv<auto_pad="SAME_UPPER">(c, w)'),
    "a transposed convolution": padded("N,4,9,11", "y = ConvTranspose(c, w)", f"float[3,4,3,3] w, {PADS}"),
    "zeros next to a magnitude that is negative, as that of the lowest integer is": (
        "(int8[N,3,4,4] x) => (int8[N,3,6,6] y) <int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}> "
        "{ a = Abs(x) b = Pad(a, p) y = MaxPool<kernel_shape=[2,2]>(b) }"
    ),
}


test_folds = every(FOLDS)


@pytest.mark.parametrize("name", STAYS)
def test_stays(name: str) -> None:
    model = parse(STAYS[name], opset=17)
    result = fold(model)
    assert not result.verdicts and operators(result.model) == operators(model)


def test_a_common_shift_goes_through_the_pad_before_it_is_merged() -> None:
    row = Folds(
        padded("N,4,5,7", "y = Conv(c, w)", f"{KERNEL}, {PADS}, float t = {{2}}", "a = Add(x, t) c = Pad(a, p)"),
        "Pad Conv",
        "forward",
    )
    assert_folds(row)


def test_it_can_be_switched_off() -> None:
    model = to_ir(model_of(FOLDS["a convolution"]))
    (verdict,) = fold_affines(model)
    assert verdict.outcome is Outcome.FOLDED and verdict.into == ("y",)
    assert not fold_affines(to_ir(model_of(FOLDS["a convolution"])), Selection(skip=frozenset({"pad"})))
